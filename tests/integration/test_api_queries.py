"""The query API: what is shown of a person, opened; what is shown once the person is erased."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import psycopg
import pytest

from schemas import topics
from schemas.clock import now_ms, to_text
from schemas.content import TextReference
from schemas.events import messages, statuses
from schemas.ids import message_id, random_id
from tests.api_world import ApiWorld, Person, Tenant, running_api
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.step_world import await_until

NOTICE_URL = "https://obsthof.example/datenschutz"


@pytest.fixture(scope="module")
def world(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiWorld]:
    folder: Path = tmp_path_factory.mktemp("api")
    with running_api(kafka_server, postgres_server, folder) as running:
        yield running


@pytest.fixture(scope="module")
def tenant(world: ApiWorld) -> Tenant:
    return world.tenant()


def status(person: Person, model: type[statuses.MessageSent], message: str, **more: object) -> None:
    """A status event of a message."""
    fields = {"message": message, "account": person.tenant.account, "acted_at": to_text(now_ms()), **more}
    person.tenant.world.produce(person.event(model.model_validate(fields), {}))
