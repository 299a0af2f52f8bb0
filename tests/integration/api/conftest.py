"""One running API a module, with the roles it needs; a tenant with an agreement, and a person who has written."""

from collections.abc import Iterator

import pytest

from tests.api_world import ApiWorld, Person, Tenant, running_api
from tests.embedded_fixtures import KafkaServer, PostgresServer


@pytest.fixture(scope="module")
def world(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiWorld]:
    """The API on the session's Kafka and a database of its own."""
    with running_api(kafka_server, postgres_server, tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="module")
def tenant(world: ApiWorld) -> Tenant:
    """A tenant with an agreement."""
    return world.tenant()


@pytest.fixture(scope="module")
def ada(tenant: Tenant) -> Person:
    """A person of the tenant."""
    return tenant.person()
