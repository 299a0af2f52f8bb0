"""The step on a cluster of three: a broker is lost, leaders move, the leader of an output partition freezes in mid-batch.

State is the fold of the log, outputs are there once by id, and per key in the order of the input (review 6, 17).
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.ids import random_id
from streams.kafka.producer import OrderedProducer, ProduceFailed
from streams.step.contract import Output
from tests.embedded_fixtures import PostgresServer
from tests.kafka_cluster import Cluster, running_cluster
from tests.step_processes import Role, await_idle, judge, total
from tests.step_world import World, await_until, value

pytestmark = pytest.mark.deep
LIMIT_S = 90.0
BATCH = 300
KEYS = 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def world(cluster: Cluster, postgres_server: PostgresServer) -> Iterator[World]:
    yield World(cluster.bootstrap, postgres_server.fresh_database("brokers"), replication=3)
    cluster.heal()


@pytest.fixture
def role(world: World, tmp_path: Path) -> Iterator[Role]:
    made = Role(world, tmp_path)
    yield made
    made.close()


class Writer:
    """Writes numbered inputs with one producer, as a receiver would: what it wrote is in the log, in this order."""

    def __init__(self, world: World) -> None:
        self.numbers = range(0)
        self._world = world
        self._producer = OrderedProducer(world.bootstrap, client_id="writer")

    def write(self) -> None:
        """One more batch; returns when it is acknowledged by two brokers."""
        fresh = range(self.numbers.stop, self.numbers.stop + BATCH)
        outputs = [Output(self._world.source, f"k{n % KEYS}".encode(), value(n)) for n in fresh]
        self._producer.produce_all(outputs, LIMIT_S)
        self.numbers = range(fresh.stop)

    def await_counted(self, keep: Callable[[], None] = lambda: None) -> None:
        """Wait until the role has handled all of it; `keep` is called again and again meanwhile."""

        def counted() -> bool:
            keep()
            return total(self._world) == len(self.numbers)

        await_until(counted, LIMIT_S, "all are counted")


@pytest.fixture
def writer(world: World) -> Iterator[Writer]:
    made = Writer(world)
    yield made
    made._producer.close()


def end(process_role: Role, world: World, writer: Writer) -> None:
    """The role ends in order, and what it left is right."""
    writer.await_counted()
    await_idle(world, LIMIT_S)
    process = process_role.processes[-1]
    process.terminate()
    assert process.wait(LIMIT_S) == 0, "it was not to end before it was told to"
    judge(world, writer.numbers, range(0))


@pytest.mark.finding(17)
def test_brokers_are_lost_in_turn_under_load(
    cluster: Cluster, world: World, role: Role, writer: Writer
) -> None:
    """SIGKILL of the broker that leads the first output partition; two go on; it comes back; then whoever leads now."""
    role.start(batch=40)
    lost: set[int] = set()
    for _ in range(2):
        writer.write()
        await_until(lambda: total(world) > len(writer.numbers) - BATCH + 40, LIMIT_S, "some are counted")
        broker = cluster.leader(world.target, 0)
        lost.add(broker.number)
        broker.kill()
        writer.write()
        writer.await_counted()
        broker.start()
        cluster.await_whole(world.target)
        cluster.await_whole(world.source)
    assert len(lost) > 1, "it was always the same broker"
    end(role, world, writer)


def test_leaders_move_under_load(cluster: Cluster, world: World, role: Role, writer: Writer) -> None:
    """A broker goes and comes back, and is given its partitions again by election, while it is written and read."""
    role.start(batch=40)
    writer.write()
    await_until(lambda: total(world) > 0, LIMIT_S, "it is at work")
    broker = cluster.leader(world.source, 1)
    broker.kill()
    cluster.await_led_by_others(world.source, broker)
    writer.write()
    broker.start()
    cluster.await_whole(world.source)
    cluster.await_whole(world.target)
    for _ in range(3):
        writer.write()
        cluster.elect_preferred(world.source)
        cluster.elect_preferred(world.target)
    assert cluster.leader(world.source, 1) is broker
    end(role, world, writer)


@pytest.mark.parametrize("then", ["it wakes up", "the role is killed"])
@pytest.mark.finding(17)
def test_the_leader_freezes_in_the_middle_of_a_batch(
    cluster: Cluster, world: World, role: Role, writer: Writer, then: str
) -> None:
    """Half of a batch is acknowledged, the other half waits for a leader that says nothing: others take over, role and writer
    find them within seconds, and nothing of one key goes before what was to go before it."""
    group = random_id()
    writer.write()
    role.arm("mid_produce", 2, stop=True)
    process = role.start(group, batch=100)
    await_until(lambda: not role.fault_file.exists() and role.frozen(process), LIMIT_S, "in mid-batch")
    leader = cluster.leader(world.target, 0)
    leader.freeze()
    process.send_signal(signal.SIGCONT)
    if then == "the role is killed":
        process.kill()
        process.wait(10)

    def keep_running() -> None:
        """A role that happens to ask the frozen broker first ends, and is started anew, as a supervisor does."""
        if role.processes[-1].poll() is not None:
            role.start(group, batch=100)

    cluster.await_led_by_others(world.target, leader)
    writer.write()
    writer.await_counted(keep_running)
    leader.thaw()
    cluster.await_whole(world.target)
    writer.write()
    end(role, world, writer)


def test_fewer_than_two_in_sync_take_nothing(
    cluster: Cluster, world: World, role: Role, writer: Writer
) -> None:
    """With one broker left nothing is acknowledged, and nothing is lost: it goes on when a second one is back. What was not
    acknowledged goes to a topic that nobody reads: it may be in the log in the end, or not."""
    writer.write()
    role.start(batch=40)
    writer.await_counted()
    left = cluster.leader(world.target, 0)
    others = [broker for broker in cluster.brokers.values() if broker is not left]
    for broker in others:
        broker.kill()
    stuck = OrderedProducer(left.address, client_id="stuck")
    with pytest.raises(ProduceFailed, match="not acknowledged"):
        stuck.produce_all([Output(world.urgent, b"k0", b"{}")], 5.0)
    stuck.close()
    for broker in others:
        broker.start()
    cluster.await_whole(world.target)
    writer.write()
    end(role, world, writer)
