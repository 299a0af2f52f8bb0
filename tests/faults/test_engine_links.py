"""The step with a bad line to its database or its broker: whatever was lost on the way, state is the fold and outputs are once.

The commit is the one moment at which a lost byte makes a difference: before it nothing has happened, after it everything has,
whether its answer came or not.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from schemas.constants import Times
from schemas.errors import SealpostError
from streams.kafka import admin
from streams.kafka.producer import OrderedProducer
from streams.step.batch_feed import BatchFeed
from streams.step.engine import Engine
from streams.step.postgres import Watchdog
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.faults.proxy import Mode, Proxy, Way
from tests.step_processes import await_idle, judge, total
from tests.step_world import Counting, World, await_until

LIMIT_S = 120.0
WATCHDOG_S = 4.0
"""How long the client waits for a server that has gone silent; the product's 45 s, shortened, and yet more than a busy machine
needs for a statement: whoever gives up early meets the fault while taking over, not in a step."""
FIRST, MORE = 200, 100


@dataclass
class Linked:
    """A feed in a thread, with its own lines to broker and database."""

    world: World
    bootstrap: str
    dsn: str
    socket_s: float = 1.0
    stop: threading.Event = field(default_factory=threading.Event)
    errors: list[SealpostError] = field(default_factory=list)

    def __post_init__(self) -> None:
        extra = {"socket.timeout.ms": round(self.socket_s * 1000)}
        self.producer = OrderedProducer(self.bootstrap, client_id="linked", give_up=self.stop, extra=extra)
        handler = Counting(self.world.source, self.world.target)
        cluster = admin.ClusterIdentity(self.world.bootstrap)
        times = Times(session_s=6.0)
        self.engine = Engine(handler, self.dsn, self.producer, cluster=cluster, times=times)
        self.engine._watchdog = Watchdog(WATCHDOG_S)
        self.feed = BatchFeed(self.engine, self.world.bootstrap, times=times, group=self.world.name)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.feed.run(self.stop)
        except SealpostError as error:
            self.errors.append(error)
        finally:
            self.engine.close()
            self.producer.close()

    def end(self) -> None:
        """Stop in order; nothing may have ended it before."""
        self.stop.set()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()
        assert self.errors == []


@pytest.fixture
def world(kafka_server: KafkaServer, postgres_server: PostgresServer) -> World:
    return World(kafka_server.bootstrap, postgres_server.fresh_database("links"))


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with postgres_server.proxy() as proxy:
        yield proxy


@pytest.fixture
def broker(kafka_server: KafkaServer) -> Iterator[Proxy]:
    with kafka_server.proxy() as proxy:
        yield proxy


def settle(world: World, linked: Linked, count: int) -> None:
    """Everything is handled, the role ends in order, and what it left is right."""
    await_until(lambda: total(world) == count, LIMIT_S, "everything is counted")
    world.awaited_outputs(count)
    await_idle(world, LIMIT_S)
    linked.end()
    judge(world, range(count), range(0))


BEFORE_COMMIT: dict[str, Callable[[Proxy, bytes], None]] = {
    "cut": lambda proxy, pattern: proxy.arm(pattern, Way.TO_SERVER, None),
    "stalled": lambda proxy, pattern: proxy.arm(pattern, Way.TO_SERVER, Mode.STALL),
    "deaf": lambda proxy, pattern: proxy.arm(pattern, Way.TO_SERVER, Mode.DEAF, Way.TO_SERVER),
}


@pytest.mark.parametrize("how", BEFORE_COMMIT)
def test_the_database_is_lost_before_the_commit(
    world: World, postgres_server: PostgresServer, database: Proxy, how: str
) -> None:
    """Nothing of the step has happened; the role gives the connection up by itself, waits, and does the step once."""
    linked = Linked(world, world.bootstrap, postgres_server.through(database, world.dsn))
    world.produce(range(FIRST))
    await_until(lambda: total(world) == FIRST, LIMIT_S, "the first are counted")
    BEFORE_COMMIT[how](database, world.source.encode())
    world.produce(range(FIRST, FIRST + MORE))
    await_until(lambda: not database.armed(), LIMIT_S, "the step has met the fault")
    await_until(lambda: not linked.engine.owned, LIMIT_S, "the role has given its connection up")
    assert total(world) == FIRST
    database.heal()
    settle(world, linked, FIRST + MORE)


@pytest.mark.parametrize("noticed", ["by the role", "by a reset"])
def test_the_answer_to_the_commit_is_lost(
    world: World, postgres_server: PostgresServer, database: Proxy, noticed: str
) -> None:
    """The step has happened and the role does not know: its outputs are recorded, and sent after the next take-over."""
    linked = Linked(world, world.bootstrap, postgres_server.through(database, world.dsn))
    world.produce(range(FIRST))
    await_until(lambda: total(world) == FIRST, LIMIT_S, "the first are counted")
    world.awaited_outputs(FIRST)
    database.arm(world.source.encode(), Way.TO_SERVER, Mode.DEAF, Way.TO_CLIENT)
    world.produce(range(FIRST, FIRST + MORE))
    await_until(lambda: total(world) > FIRST, LIMIT_S, "a step has happened")
    if noticed == "by the role":
        await_until(lambda: not linked.engine.owned, LIMIT_S, "the role has given its connection up")
        assert len(world.outputs()) == FIRST, "nothing goes out before the role knows that it is recorded"
    database.heal()
    settle(world, linked, FIRST + MORE)


@pytest.mark.parametrize("way", list(Way))
def test_the_broker_goes_deaf_during_produce(world: World, broker: Proxy, way: Way) -> None:
    """Records are lost, or their acks are: the producer sends them again, the log holds each once and in order."""
    linked = Linked(world, broker.address, world.dsn)
    world.produce(range(FIRST))
    world.awaited_outputs(FIRST)
    broker.arm(world.target.encode(), Way.TO_SERVER, Mode.DEAF, way)
    world.produce(range(FIRST, FIRST + MORE))
    await_until(lambda: broker.lost[way] > 0, LIMIT_S, "bytes are lost")
    await_until(lambda: broker.accepted > 2, LIMIT_S, "the producer tries another connection")
    assert total(world) > FIRST, "what is to be sent is recorded first"
    broker.heal()
    settle(world, linked, FIRST + MORE)
    assert len(world.records(world.target)) == FIRST + MORE, "a record was written twice"


def test_the_broker_is_slow_and_comes_and_goes(world: World, broker: Proxy) -> None:
    """Delays and resets one after the other while it sends."""
    linked = Linked(world, broker.address, world.dsn, socket_s=10.0)
    for round_ in range(4):
        broker.delay(0.05 * round_)
        world.produce(range(round_ * MORE, (round_ + 1) * MORE))
        broker.cut()
        broker.heal()
    settle(world, linked, 4 * MORE)
