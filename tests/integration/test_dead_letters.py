"""Dead letters that wait: counted from the log by role clock, shown one by one by the command line."""

import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from prometheus_client import REGISTRY

import vault
from deploy.deadletters import WaitingLetters, fields, lines
from deploy.housekeeping import Housekeeper
from deploy.settings import Settings
from schemas import topics
from schemas.clock import now_ms
from schemas.constants import DAY_S, PRODUCTION
from schemas.events.inbound import IngressKeyPublished
from schemas.ids import random_bytes, random_id
from streams.kafka import admin
from streams.kafka.producer import OrderedProducer
from streams.step.contract import Output, Record
from streams.step.deadletter import dead_letter
from streams.step.migrate import apply_migrations
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.step_world import await_until
from vault.daykeys import DAYS_AHEAD
from vault.keyring import MasterKey
from vault.vault import Vault

PARTITIONS = 4
DEAD_MS = round((PRODUCTION.day_key_s + 2 * DAY_S) * 1000)
"""A record of before this cannot be replayed any more."""


@pytest.fixture(scope="module")
def bootstrap(kafka_server: KafkaServer) -> str:
    admin.apply_topics(kafka_server.bootstrap, topics.catalogue(), PARTITIONS, 1, embedded=True)
    return kafka_server.bootstrap


@pytest.fixture(scope="module")
def producer(bootstrap: str) -> Iterator[OrderedProducer]:
    made = OrderedProducer(bootstrap, client_id="test-letters")
    yield made
    made.close()


@pytest.fixture
def letters(bootstrap: str) -> Iterator[WaitingLetters]:
    made = WaitingLetters(bootstrap)
    yield made
    made.close()


def letter(age_ms: int = 0, value: bytes | None = b"red-4711") -> Output:
    """A dead letter of a record so old."""
    key = random_id().encode()
    return dead_letter(Record(topics.MESSAGES, 0, 7, key, value, now_ms() - age_ms), "test", "InvalidEvent")


def waiting() -> float | None:
    """The metric."""
    return REGISTRY.get_sample_value("sealpost_deadletters_waiting")


def test_those_that_can_be_replayed_are_counted(
    letters: WaitingLetters, bootstrap: str, producer: OrderedProducer
) -> None:
    """New ones at each look, those whose day key is dead not at all."""
    before = letters.look()
    producer.produce_all([letter(), letter(), letter(value=None), letter(DEAD_MS)])
    assert letters.look() == before + 3
    producer.produce_all([letter()])
    assert letters.look() == before + 4
    assert letters.look() == before + 4
    assert waiting() == before + 4
    again = WaitingLetters(bootstrap)
    assert again.look() == before + 4, "a fresh process counts the same"
    again.close()


def test_role_clock_keeps_the_gauge(
    bootstrap: str, producer: OrderedProducer, postgres_server: PostgresServer
) -> None:
    """Within some seconds of a new letter. The day keys it publishes on its way are counted as events."""
    dsn = postgres_server.fresh_database("vault")
    apply_migrations(dsn, Path(str(vault.__file__)).parent / "sql")
    store, letters = Vault(dsn, MasterKey(random_bytes(32))), WaitingLetters(bootstrap)
    stop = threading.Event()
    clock_producer = OrderedProducer(bootstrap, client_id="test-clock", give_up=stop)
    keeper = Housekeeper(store, clock_producer, (dsn,), letters)
    with store.transaction() as cursor:
        store.register_tenant(cursor, "shop")
    keys = {"topic": topics.INGRESS_KEYS, "type": IngressKeyPublished.TYPE}
    published = REGISTRY.get_sample_value("sealpost_events_total", keys) or 0
    running = threading.Thread(target=keeper.run, args=(stop,), daemon=True)
    running.start()
    try:
        await_until(lambda: keeper.ready and waiting() is not None, 60, "the first round is through")
        before = waiting() or 0
        assert REGISTRY.get_sample_value("sealpost_events_total", keys) == published + DAYS_AHEAD + 1
        producer.produce_all([letter()])
        await_until(lambda: waiting() == before + 1, 90, "the new letter is counted")
    finally:
        stop.set()
        running.join(60)
        letters.close()
        clock_producer.close()
        store.close()


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"7", b"\xff"])
def test_what_is_no_letter_says_nothing(value: bytes | None) -> None:
    assert fields(Record(topics.DEADLETTERS, 0, 0, None, value, 0)) == {}


def test_the_list_shows_where_from_and_why(bootstrap: str, producer: OrderedProducer) -> None:
    """Also of a letter that holds no bytes; never what one holds."""
    marked = [letter(), letter(value=None)]
    producer.produce_all(marked)
    shown = [orjson.loads(line) for line in lines(Settings(kafka=bootstrap))]
    mine = [line for line in shown if line["role"] == "test"]
    assert {line["bytes"] for line in mine} >= {0, 8}
    assert all(set(line["origin"]) == {"topic", "partition", "offset"} for line in mine)
    assert "red-4711" not in str(shown)
