"""Role clock: of two, one works."""

import threading
from pathlib import Path

import psycopg
import pytest

import vault
from deploy import housekeeping
from deploy.deadletters import WaitingLetters
from deploy.housekeeping import Housekeeper
from schemas import topics
from schemas.ids import random_bytes, random_id
from streams.kafka import admin
from streams.kafka.consumer import read_to_end
from streams.kafka.producer import OrderedProducer
from streams.step.contract import Output
from streams.step.migrate import apply_migrations
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.step_world import await_until
from vault.keyring import MasterKey
from vault.vault import Vault


def test_only_the_clock_that_holds_the_lock_produces_what_was_not_sent(
    kafka_server: KafkaServer, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second clock is ready and writes nothing; when the first is gone it takes over."""
    monkeypatch.setattr(housekeeping, "COMMANDS_ROUND_S", 0.05)
    bootstrap = kafka_server.bootstrap
    admin.apply_topics(bootstrap, topics.catalogue(), 4, 1, embedded=True)
    dsn = postgres_server.fresh_database("vault")
    apply_migrations(dsn, Path(str(vault.__file__)).parent / "sql")
    store, letters, stop = (
        Vault(dsn, MasterKey(random_bytes(32))),
        WaitingLetters(bootstrap),
        threading.Event(),
    )
    producer = OrderedProducer(bootstrap, client_id="test-clock", give_up=stop)
    keeper = Housekeeper(store, producer, (dsn,), letters)
    mark = random_id().encode()
    with store.transaction() as cursor:
        outputs = [Output(topics.MESSAGES, mark, b"x")]
        store.record_request(cursor, "shop", "test", "one", b"", b"", outputs)
        cursor.execute("update vault.requests set created_ms = 0")
    first = psycopg.connect(dsn, autocommit=True)
    first.execute("select pg_advisory_lock(%s)", (housekeeping.LOCK,))
    rounds: list[None] = []
    monkeypatch.setattr(keeper, "count_dead_letters", lambda: rounds.append(None))
    monkeypatch.setattr(housekeeping, "LETTERS_ROUND_S", 0.0)
    running = threading.Thread(target=keeper.run, args=(stop,), daemon=True)
    running.start()
    try:
        await_until(
            lambda: keeper.ready and len(rounds) >= 3, 60, "the second clock has gone round three times"
        )
        assert written(bootstrap, mark) == 0
        first.close()
        await_until(lambda: written(bootstrap, mark) == 1, 60, "the second clock has taken over")
    finally:
        stop.set()
        running.join(60)
        first.close()
        letters.close()
        producer.close()
        store.close()


def written(bootstrap: str, key: bytes) -> int:
    """Records with this key."""
    return sum(record.key == key for record in read_to_end(bootstrap, topics.MESSAGES, timeout_s=60))
