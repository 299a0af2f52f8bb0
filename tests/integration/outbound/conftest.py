"""A world to send in: a tenant, its provider, and no role yet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.sending_world import SendingWorld


@pytest.fixture
def world(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[SendingWorld]:
    """A tenant, its provider, and no role yet."""
    made = SendingWorld(kafka_server.bootstrap, postgres_server.fresh_database("sending"), tmp_path)
    try:
        yield made
    finally:
        made.close()
