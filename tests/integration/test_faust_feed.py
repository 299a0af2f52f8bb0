"""The Faust feed with a counting handler: reads, follows, repairs, waits, ends."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer

from schemas.clock import now_ms
from schemas.errors import SealpostError
from streams.kafka import admin, group_offsets
from streams.kafka.consumer import consumer_settings
from streams.kafka.producer import OrderedProducer
from streams.processors.faust_feed import FaustEnded, group_error
from streams.step.contract import Output
from tests import faust_role
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.step_world import Counting, World, await_until, expected_counts, value

LIMIT_S = 80.0
SESSION_S = 6.0


class Running:
    """A Faust feed in a thread with a loop of its own."""

    def __init__(self, world: World, data_dir: Path, first: list[str] | None = None) -> None:
        self.handler = Counting(world.source, world.target)
        self.config: dict[str, Any] = {
            "bootstrap": world.bootstrap,
            "dsn": world.dsn,
            "source": world.source,
            "target": world.target,
            "role": "counting",
            "group": f"{world.name}.counting",
            "session_s": SESSION_S,
            "data_dir": str(data_dir),
            "first": first or [],
        }
        self.stop = threading.Event()
        self.error: SealpostError | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            faust_role.run(self.config, self.stop, self.handler)
        except SealpostError as error:
            self.error = error

    def end(self) -> None:
        self.stop.set()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def world(kafka_server: KafkaServer, postgres_server: PostgresServer) -> World:
    return World(kafka_server.bootstrap, postgres_server.fresh_database("faust"))


@pytest.fixture
def started() -> Iterator[list[Running]]:
    running: list[Running] = []
    yield running
    for feed in running:
        feed.end()


def start(started: list[Running], world: World, data_dir: Path, first: list[str] | None = None) -> Running:
    running = Running(world, data_dir, first)
    started.append(running)
    return running


def total(world: World) -> int:
    return sum(world.counts().values())


def test_everything_is_read_from_the_start_and_followed(
    world: World, started: list[Running], tmp_path: Path
) -> None:
    """What was there, what comes later, and a wake; a stop commits nothing that was not handled; a restart repeats nothing."""
    world.produce(range(300))
    feed = start(started, world, tmp_path)
    await_until(lambda: total(world) == 300, LIMIT_S, "the backlog")
    world.produce(range(300, 400))
    world.produce([400], wake_at=now_ms() + 500)
    refused = group_offsets.write(world.bootstrap, f"{world.name}.counting", {(world.source, 0): 0})
    assert not refused, "offsets are set in an empty group only"
    await_until(lambda: total(world) == 402, LIMIT_S, "what came later, and the wake")
    feed.end()
    assert feed.error is None
    start(started, world, tmp_path)
    world.produce(range(401, 411))
    await_until(lambda: total(world) == 412, LIMIT_S, "after a restart")
    assert len(world.awaited_outputs(412)) == 412
    assert len(world.records(world.target)) == 412


def test_wakes_and_the_look_at_the_log_s_ends_do_not_wait_for_a_lull(
    world: World, started: list[Running], tmp_path: Path
) -> None:
    """A batch always waits: what has come due is handled, and that the ends were reached is said, all the same."""
    world.produce(range(100))
    feed = start(started, world, tmp_path)
    await_until(lambda: total(world) == 100, LIMIT_S, "it reads")
    lull = threading.Event()
    numbers = iter(range(1_000, 1_000_000))

    def load() -> None:
        producer = OrderedProducer(world.bootstrap, client_id="load")
        while not lull.is_set():
            some = [next(numbers) for _ in range(20)]
            producer.produce_all(
                [Output(world.source, f"k{n % 20}".encode(), value(n)) for n in some], LIMIT_S
            )
            lull.wait(0.02)
        producer.close()

    def slow(_cursor: Any, _items: Any) -> None:
        lull.wait(0.05)

    feed.handler.before_apply = slow
    loading = threading.Thread(target=load)
    loading.start()
    try:
        await_until(lambda: total(world) > 300, LIMIT_S, "the load has begun")
        reached = len(feed.handler.reached)
        world.produce([100], wake_at=now_ms() + 300)
        await_until(
            lambda: any(word.startswith("due:") for word in feed.handler.order),
            LIMIT_S,
            "the wake is handled",
        )
        await_until(lambda: len(feed.handler.reached) > reached, LIMIT_S, "the ends are looked at")
        assert loading.is_alive()
    finally:
        lull.set()
        loading.join(LIMIT_S)


def test_a_group_that_is_ahead_of_the_database_loses_nothing(
    world: World, started: list[Running], tmp_path: Path
) -> None:
    """The database is new, the group has committed the end: what lies before is read all the same."""
    world.produce(range(200))
    ends = {(world.source, n): end for n, end in admin.end_offsets(world.bootstrap, world.source).items()}
    assert group_offsets.write(world.bootstrap, f"{world.name}.counting", ends)
    assert group_offsets.read(world.bootstrap, f"{world.name}.counting", list(ends)) == ends
    start(started, world, tmp_path)
    await_until(lambda: total(world) == 200, LIMIT_S, "what the group had passed over")
    assert world.counts() == expected_counts(range(200))


def test_first_topics_are_read_before_the_others(
    world: World, started: list[Running], tmp_path: Path
) -> None:
    """At take-over the first topic is read to its end before a record of the other is handled."""
    world.produce(range(100))
    world.produce(range(1000, 1100), topic=world.urgent)
    feed = start(started, world, tmp_path, [world.urgent])
    await_until(lambda: total(world) == 200, LIMIT_S, "both topics")
    topics = [word.split(":")[0] for word in feed.handler.order]
    assert topics == [world.urgent] * 100 + [world.source] * 100
    world.produce([1100], topic=world.urgent)
    world.produce([100])
    await_until(lambda: total(world) == 202, LIMIT_S, "both are followed")


def test_it_waits_for_the_database_and_goes_on(
    world: World, started: list[Running], tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """PostgreSQL away: the feed keeps its place, waits, and goes on; nothing is lost or counted twice."""
    world.produce(range(50))
    feed = start(started, world, tmp_path)
    await_until(lambda: total(world) == 50, LIMIT_S, "the backlog")
    postgres_server.stop()
    world.produce(range(50, 150))
    postgres_server.start()
    await_until(lambda: total(world) == 150, LIMIT_S, "after the database is back")
    assert world.counts() == expected_counts(range(150))
    assert len(world.awaited_outputs(150)) == 150
    assert feed.error is None


def test_it_goes_on_after_the_broker_was_killed(
    world: World, started: list[Running], tmp_path: Path, kafka_server: KafkaServer
) -> None:
    """Kafka dies and comes back: the feed goes on, or ends with a reason and its successor goes on; nothing is lost."""
    world.produce(range(50))
    feed = start(started, world, tmp_path)
    await_until(lambda: total(world) == 50, LIMIT_S, "the backlog")
    kafka_server.kill()
    world.produce(range(50, 150))
    await_until(
        lambda: total(world) == 150 or not feed.thread.is_alive(), 2 * LIMIT_S, "after the broker is back"
    )
    if not feed.thread.is_alive():
        assert feed.error is not None
        start(started, world, tmp_path)
    await_until(lambda: total(world) == 150, LIMIT_S, "everything")
    assert world.counts() == expected_counts(range(150))
    assert len(world.awaited_outputs(150)) == 150


def test_a_group_that_cannot_be_joined_ends_the_feed(
    world: World, started: list[Running], tmp_path: Path
) -> None:
    """A member of another protocol is there, such as the batch feed before the setting was changed: the feed ends with a reason
    instead of waiting for ever; once the other is gone, its successor reads."""
    world.produce(range(50))
    other = Consumer(
        consumer_settings(
            world.bootstrap, group=f"{world.name}.counting", client_id="other", session_s=SESSION_S
        )
    )
    other.subscribe([world.source])
    await_until(lambda: other.poll(0.1) is not None or bool(other.assignment()), LIMIT_S, "it has joined")
    feed = start(started, world, tmp_path)
    feed.thread.join(LIMIT_S)
    assert isinstance(feed.error, FaustEnded)
    assert "InconsistentGroupProtocol" in str(feed.error)
    other.close()
    start(started, world, tmp_path)
    await_until(lambda: total(world) == 50, LIMIT_S, "the successor reads")


def test_a_group_is_not_judged_before_its_client_has_started() -> None:
    """While the app starts, the client is there and its coordinator is not: no error yet."""

    async def judge() -> BaseException | None:
        client = AIOKafkaConsumer(group_id="starting")
        thread = SimpleNamespace(_consumer=client)
        return group_error(SimpleNamespace(_consumer=SimpleNamespace(_thread=thread)))

    assert asyncio.run(judge()) is None


def test_caught_up_is_told(world: World, started: list[Running], tmp_path: Path) -> None:
    """The handler hears that all partitions were read to their end."""
    world.produce(range(20))
    feed = start(started, world, tmp_path)
    await_until(lambda: {0, 1, 2, 3} <= set(feed.handler.reached), LIMIT_S, "caught up")
    assert total(world) == 20


def test_a_failing_step_ends_the_feed(world: World, started: list[Running], tmp_path: Path) -> None:
    """An error that says something about the process, not about one input, comes out of `run`."""
    feed = start(started, world, tmp_path)
    await_until(lambda: bool(feed.handler.reached), LIMIT_S, "it runs")

    def fail(*_: Any) -> None:
        raise FaustEnded("on purpose")

    feed.handler.before_apply = fail
    feed.handler.poisoned = fail  # type: ignore[assignment,method-assign]  # not even a dead letter can be written
    world.produce([1])
    feed.thread.join(LIMIT_S)
    assert not feed.thread.is_alive()
    assert type(feed.error).__name__ == "StopPartition"
