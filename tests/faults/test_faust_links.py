"""Faust with a bad line to its broker: whatever its client raises, the role ends in words, or goes on by itself."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from schemas.errors import SealpostError
from streams.processors.faust_feed import FaustEnded
from tests import faust_role
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.faults.proxy import Proxy, Way
from tests.step_processes import await_idle, judge, total
from tests.step_world import Counting, World, await_until

LIMIT_S = 90.0
SESSION_S = 6.0
MORE = 100


class Running:
    """A Faust feed in a thread, on a line of its own, and its followers: who ends in words is started anew by a supervisor."""

    def __init__(self, world: World, line: Proxy, data_dir: Path) -> None:
        self._world = world
        self._config: dict[str, Any] = {
            "bootstrap": world.bootstrap,
            "line": line.address,
            "dsn": world.dsn,
            "source": world.source,
            "target": world.target,
            "role": "counting",
            "group": f"{world.name}.counting",
            "session_s": SESSION_S,
            "data_dir": str(data_dir),
            "first": [],
        }
        self._stop = threading.Event()
        self.start()

    @property
    def group(self) -> str:
        return str(self._config["group"])

    def start(self) -> None:
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            faust_role.run(self._config, self._stop, Counting(self._world.source, self._world.target))
        except BaseException as error:  # noqa: BLE001  # judged in the thread of the test
            self.error = error

    def await_counted(self, count: int) -> None:
        """Wait until so many are counted, by this feed or one that follows it."""

        def counted() -> bool:
            if not self.thread.is_alive():
                assert isinstance(self.error, SealpostError), f"ended without words: {self.error!r}"
                self.start()
            return total(self._world) >= count

        await_until(counted, LIMIT_S, f"{count} are counted")

    def end(self) -> None:
        await_idle(self._world, LIMIT_S)
        self._stop.set()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def world(kafka_server: KafkaServer, postgres_server: PostgresServer) -> World:
    return World(kafka_server.bootstrap, postgres_server.fresh_database("faust"))


@pytest.fixture
def line(kafka_server: KafkaServer) -> Iterator[Proxy]:
    with kafka_server.proxy() as proxy:
        yield proxy


def test_a_start_without_a_broker_ends_in_words(world: World, line: Proxy, tmp_path: Path) -> None:
    """Nothing of ours is broken: the supervisor starts the role anew, and then it works."""
    line.cut()
    running = Running(world, line, tmp_path)
    running.thread.join(LIMIT_S)
    assert isinstance(running.error, FaustEnded), running.error
    line.heal()
    world.produce(range(MORE))
    running.await_counted(MORE)
    running.end()
    judge(world, range(MORE), range(0))


Noticed = Callable[[Proxy, Callable[[], int]], bool]
FAULTS: dict[str, tuple[Callable[[Proxy], None], Noticed]] = {
    "cut": (lambda line: line.cut(), lambda line, _: line.connections == 0),
    "deaf": (lambda line: line.deaf(), lambda line, _: line.lost[Way.TO_SERVER] > 0),
    "stalled past its session": (lambda line: line.stall(), lambda _, members: members() == 0),
}
"""(what goes wrong; when it has had its effect, by the line and by the members that the broker counts)."""


@pytest.mark.parametrize("how", FAULTS)
def test_a_bad_line_for_a_while(world: World, line: Proxy, tmp_path: Path, how: str) -> None:
    """It goes on by itself, or it ends in words and the next one goes on: everything is counted once."""
    fault, noticed = FAULTS[how]
    client = AdminClient({"bootstrap.servers": world.bootstrap})
    running = Running(world, line, tmp_path)

    def members() -> int:
        found = client.describe_consumer_groups([running.group])[running.group]
        return len(found.result(LIMIT_S).members)

    world.produce(range(MORE))
    running.await_counted(MORE)
    fault(line)
    world.produce(range(MORE, 2 * MORE))
    await_until(lambda: noticed(line, members), LIMIT_S, "the fault has had its effect")
    line.heal()
    running.await_counted(2 * MORE)
    running.end()
    judge(world, range(2 * MORE), range(0))
