"""The batch feed: assignment, priority, due rows, waiting for the database, ending."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from prometheus_client import REGISTRY

from schemas.clock import now_ms
from schemas.constants import BATCH_RECORDS, Times
from schemas.errors import SealpostError
from streams.kafka import admin, group_offsets
from streams.kafka.consumer import ReadFailed
from streams.kafka.producer import OrderedProducer
from streams.step import batch_feed
from streams.step.batch_feed import BatchFeed
from streams.step.contract import Cursor, Item, Poison, Record
from streams.step.engine import Engine, PositionInvalid, StopPartition
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.integration.step_topics import make_anew
from tests.step_world import Counting, World, await_until, expected_counts

TIMES = Times(session_s=6.0)
LIMIT_S = 60.0


class Running:
    """A feed in a thread."""

    def __init__(self, world: World, handler: Counting, batch_records: int = BATCH_RECORDS) -> None:
        self.world = world
        self.handler = handler
        self.stop = threading.Event()
        self.error: SealpostError | None = None
        self.producer = OrderedProducer(world.bootstrap, client_id="feed-test", give_up=self.stop)
        cluster = admin.ClusterIdentity(world.bootstrap)
        self.engine = Engine(handler, world.dsn, self.producer, cluster=cluster, times=TIMES)
        group = f"{world.name}.{handler.role}"
        self.feed = BatchFeed(
            self.engine, world.bootstrap, times=TIMES, group=group, batch_records=batch_records
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.feed.run(self.stop)
        except SealpostError as error:
            self.error = error
        finally:
            self.engine.close()
            self.producer.close()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def world(kafka_server: KafkaServer, postgres_server: PostgresServer) -> World:
    return World(kafka_server.bootstrap, postgres_server.fresh_database("feed"))


@pytest.fixture
def started() -> Iterator[list[Running]]:
    running: list[Running] = []
    yield running
    for feed in running:
        feed.end()


def start(
    started: list[Running], world: World, handler: Counting | None = None, batch_records: int = BATCH_RECORDS
) -> Running:
    running = Running(world, handler or Counting(world.source, world.target), batch_records)
    started.append(running)
    return running


def total(world: World) -> int:
    return sum(world.counts().values())


def test_everything_is_read_from_the_start_and_followed_at_once(world: World, started: list[Running]) -> None:
    world.produce(range(300))
    running = start(started, world)
    await_until(lambda: total(world) == 300, LIMIT_S, "300 records counted")
    assert running.feed.ready
    for number in range(300, 320):
        world.produce([number])
        await_until(lambda: total(world) == number + 1, LIMIT_S, "one more counted")  # noqa: B023  # called at once
    await_until(lambda: len(set(running.handler.reached)) == 4, LIMIT_S, "all partitions told as caught up")
    running.end()
    assert running.error is None
    assert world.counts() == expected_counts(range(320))
    assert len(world.awaited_outputs(320)) == 320
    assert world.rows("select count(*) from step.outbox") == [(0,)]
    group = f"{world.name}.counting"
    committed = group_offsets.read(world.bootstrap, group, [(world.source, n) for n in range(4)])
    assert sum(committed.values()) == 320
    assert (
        REGISTRY.get_sample_value(
            "sealpost_consumer_lag_records", {"role": "counting", "topic": world.source}
        )
        == 0
    )


def test_the_priority_topic_is_read_to_its_end_first(world: World, started: list[Running]) -> None:
    world.produce(range(100))
    world.produce(range(1000, 3000), topic=world.urgent)
    handler = Counting(world.source, world.target, priority=world.urgent)
    start(started, world, handler)
    await_until(lambda: total(world) == 2100, LIMIT_S, "all counted")
    topics = [word.split(":")[0] for word in handler.order]
    assert topics == [world.urgent] * 2000 + [world.source] * 100
    world.produce([5000], topic=world.urgent)
    world.produce([5001])
    await_until(lambda: total(world) == 2102, LIMIT_S, "both topics are followed")


def test_two_members_share_and_the_rest_goes_to_the_one_that_stays(
    world: World, started: list[Running]
) -> None:
    first = start(started, world)
    await_until(lambda: len(first.engine.owned) == 4, LIMIT_S, "the first owns all")
    second = start(started, world)
    await_until(lambda: len(first.engine.owned) == len(second.engine.owned) == 2, LIMIT_S, "two each")
    assert sorted(first.engine.owned + second.engine.owned) == [0, 1, 2, 3]
    world.produce(range(400))
    await_until(lambda: total(world) == 400, LIMIT_S, "400 counted")
    assert first.handler.order
    assert second.handler.order
    first.end()
    await_until(lambda: len(second.engine.owned) == 4, LIMIT_S, "the second owns all")
    world.produce(range(400, 500))
    await_until(lambda: total(world) == 500, LIMIT_S, "500 counted")
    assert world.counts() == expected_counts(range(500))
    assert len(world.awaited_outputs(500)) == 500


def test_wakes_come_when_they_are_due(world: World, started: list[Running]) -> None:
    running = start(started, world)
    at = now_ms() + 3000
    world.produce([1], wake_at=at)
    await_until(lambda: any(w.startswith("due:") for w in running.handler.order), LIMIT_S, "the wake came")
    assert at <= now_ms() < at + 30_000
    await_until(lambda: len(world.outputs()) == 2, LIMIT_S, "its output is there")
    assert world.rows("select count(*) from step.due") == [(0,)]
    # A row that another process wrote is found within two turns.
    with psycopg.connect(world.dsn) as connection:
        connection.execute(
            "insert into step.due (role, partition, at, key, kind, body) values ('counting', 0, 1, 'k', 'later', %s)",
            (orjson.dumps({"of": "0" * 32}).decode(),),
        )
    await_until(lambda: len(world.outputs()) == 3, LIMIT_S, "the foreign row was handled")


def freeze_idle_session(server: PostgresServer, application: str) -> int:
    """SIGSTOP the one session of an application while it is outside a transaction; its process id."""
    sessions = "select pid, state from pg_stat_activity where application_name = %s"
    with psycopg.connect(server.admin_dsn(), autocommit=True) as connection:
        while True:
            ((pid, _),) = connection.execute(sessions, (application,)).fetchall()
            os.kill(pid, signal.SIGSTOP)
            ((_, state),) = connection.execute(sessions, (application,)).fetchall()
            if state == "idle":
                return int(pid)
            os.kill(pid, signal.SIGCONT)


def test_the_database_is_frozen_gone_and_back(
    world: World, started: list[Running], postgres_server: PostgresServer
) -> None:
    running = start(started, world)
    world.produce(range(100))
    await_until(lambda: total(world) == 100, LIMIT_S, "100 counted")
    owned = running.engine.owned
    postgres_server.stop()
    world.produce(range(100, 200))
    await_until(lambda: not running.feed.ready, LIMIT_S, "not ready without the database")
    assert running.thread.is_alive()
    postgres_server.start()
    await_until(lambda: running.feed.ready, LIMIT_S, "ready again")
    await_until(lambda: total(world) == 200, LIMIT_S, "200 counted")
    assert running.engine.owned == owned
    # A server that is frozen keeps the connection and says nothing: only the client's own limit helps.
    running.engine._watchdog._seconds = 2.0
    pid = freeze_idle_session(postgres_server, "sealpost-counting")
    try:
        world.produce(range(200, 300))
        # The frozen session holds no lock, so another connection goes on where it stood.
        await_until(lambda: total(world) == 300, LIMIT_S, "300 counted")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert world.counts() == expected_counts(range(300))
    assert len(world.awaited_outputs(300)) == 300
    assert running.error is None


@pytest.mark.finding(14)
def test_a_topic_made_anew_stops_the_role_in_words(world: World, started: list[Running]) -> None:
    running = start(started, world)
    world.produce(range(100))
    await_until(lambda: total(world) == 100, LIMIT_S, "100 counted")
    make_anew(world)
    world.produce(range(100, 300))
    running.thread.join(LIMIT_S)
    assert isinstance(running.error, PositionInvalid), running.error
    again = start(started, world)
    again.thread.join(LIMIT_S)
    assert isinstance(again.error, PositionInvalid), again.error
    assert "made anew" in str(again.error)


def test_kafka_goes_away_and_comes_back(
    world: World, started: list[Running], kafka_server: KafkaServer
) -> None:
    running = start(started, world)
    world.produce(range(100))
    await_until(lambda: total(world) == 100, LIMIT_S, "100 counted")
    kafka_server.kill()
    world.produce(range(100, 200))
    await_until(lambda: total(world) == 200, LIMIT_S, "200 counted")
    await_until(lambda: len(world.outputs()) == 200, LIMIT_S, "200 forwarded")
    running.handler.reached.clear()
    await_until(
        lambda: len(set(running.handler.reached)) == 4,
        LIMIT_S,
        "told as caught up again, with another leader epoch",
    )
    assert running.error is None


class FencedRightAfterLosing(Consumer):
    """A real member of the group that, once told to, is fenced in the very call in which its partitions are taken back: what a
    cut connection and a name that the broker gave to another session come to."""

    told = threading.Event()

    def subscribe(self, topics: list[str], *args: Any, **callbacks: Any) -> None:
        """Keep the callback for what is lost."""
        self._lost = callbacks["on_lost"]
        self._topics = topics
        super().subscribe(topics, *args, **callbacks)

    def poll(self, timeout: float = -1) -> Message | None:
        """As ever; when told, once: the partitions go, and Kafka's last word comes."""
        if not self.told.is_set():
            return super().poll(timeout)
        self.told.clear()
        self._lost(self, [TopicPartition(self._topics[0], 0)])
        return Message(error=KafkaError(KafkaError._FATAL, "fenced", fatal=True))  # its own codes begin so


def test_a_member_fenced_while_its_partitions_go_ends(
    world: World, started: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last word of a consumer is told once: passed over, the role would hang, ready never again and never started anew."""
    monkeypatch.setattr(batch_feed, "Consumer", FencedRightAfterLosing)
    world.produce(range(50))
    running = start(started, world)
    await_until(lambda: total(world) == 50, LIMIT_S, "all is read")
    FencedRightAfterLosing.told.set()
    await_until(lambda: running.error is not None, LIMIT_S, "the feed ends")
    assert isinstance(running.error, ReadFailed)


class Prepares(Counting):
    """Counts what it was asked to prepare; `number` that it stops at."""

    def __init__(self, world: World, stops_at: int | None = None) -> None:
        super().__init__(world.source, world.target)
        self.prepared = 0
        self.stops_at = stops_at

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        self.prepared += len(records)
        if any(orjson.loads(record.value or b"")["number"] == self.stops_at for record in records):
            raise StopPartition("as the test wants it")
        return super().prepare(records)


def test_the_next_batch_is_prepared_while_the_database_works(world: World, started: list[Running]) -> None:
    """In the transaction of a full batch the one behind it is prepared already; everything is handled once, in order."""
    handler = Prepares(world)
    seen: list[int] = []

    def wait_for_the_next(_cursor: Cursor, items: Sequence[Item]) -> None:
        seen.append(len(items))
        if len(seen) == 2:
            await_until(lambda: handler.prepared > sum(seen), LIMIT_S, "the next batch is prepared")

    handler.before_apply = wait_for_the_next
    world.produce(range(500))
    start(started, world, handler, batch_records=50)
    await_until(lambda: total(world) == 500, LIMIT_S, "all counted")
    assert world.counts() == expected_counts(range(500))
    assert len(world.awaited_outputs(500)) == 500
    assert handler.prepared == 500


def test_what_was_prepared_ahead_goes_with_the_partitions(world: World, started: list[Running]) -> None:
    """Members come and go in the middle of a backlog."""
    world.produce(range(3000))
    first = start(started, world, batch_records=20)
    await_until(lambda: total(world) > 100, LIMIT_S, "the first is at work")
    second = start(started, world, batch_records=20)
    await_until(lambda: len(second.engine.owned) == 2, LIMIT_S, "they share")
    first.end()
    await_until(lambda: total(world) == 3000, 2 * LIMIT_S, "all counted")
    assert world.counts() == expected_counts(range(3000))
    assert len(world.awaited_outputs(3000)) == 3000
    assert first.error is second.error is None


def test_what_was_prepared_ahead_is_read_again_when_the_database_was_away(
    world: World, started: list[Running]
) -> None:
    handler = Prepares(world)
    batches: list[int] = []

    def fail_in_the_third(_cursor: Cursor, items: Sequence[Item]) -> None:
        batches.append(len(items))
        if len(batches) == 3:
            raise psycopg.OperationalError("as the test wants it")

    handler.before_apply = fail_in_the_third
    world.produce(range(500))
    running = start(started, world, handler, batch_records=50)
    await_until(lambda: total(world) == 500, LIMIT_S, "all counted")
    assert world.counts() == expected_counts(range(500))
    assert len(world.awaited_outputs(500)) == 500
    assert running.error is None
    assert handler.prepared >= 550, "the failed batch was prepared anew"


def test_a_batch_that_stops_the_role_ahead_leaves_the_one_before_done(
    world: World, started: list[Running]
) -> None:
    """What prepare raises in its own thread ends the role as it would in the feed's."""
    world.produce(range(40), keys=1)
    world.produce([999], keys=1)
    running = start(started, world, Prepares(world, stops_at=999), batch_records=20)
    running.thread.join(LIMIT_S)
    assert isinstance(running.error, StopPartition)
    assert world.counts() == {"k0": 40}
