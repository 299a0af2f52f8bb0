"""A world to send in: a tenant, its provider, and no role yet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.constants import Times
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.sending_world import TIMES, SendingWorld


@pytest.fixture
def world(
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[SendingWorld]:
    """A tenant, its provider, and no role yet; a test may ask for other times."""
    times: Times = getattr(request, "param", TIMES)
    made = SendingWorld(kafka_server.bootstrap, postgres_server.fresh_database("sending"), tmp_path, times)
    try:
        yield made
    finally:
        made.close()
