"""Faust with a bad line to its broker: whatever its client raises, the role ends in words, or goes on by itself."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import SealpostError
from streams.processors.faust_feed import FaustEnded
from tests import faust_role
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.faults.proxy import Proxy
from tests.step_processes import judge, total
from tests.step_world import Counting, World, await_until

LIMIT_S = 60.0
SESSION_S = 6.0
MORE = 100


class Running:
    """A Faust feed in a thread, on a line of its own."""

    def __init__(self, world: World, line: Proxy, data_dir: Path) -> None:
        self.stop = threading.Event()
        self.error: SealpostError | None = None
        config: dict[str, Any] = {
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
        handler = Counting(world.source, world.target)
        self.thread = threading.Thread(target=self._run, args=(config, handler), daemon=True)
        self.thread.start()

    def _run(self, config: dict[str, Any], handler: Counting) -> None:
        try:
            faust_role.run(config, self.stop, handler)
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
def line(kafka_server: KafkaServer) -> Iterator[Proxy]:
    with kafka_server.proxy() as proxy:
        yield proxy


def test_a_start_without_a_broker_ends_in_words(world: World, line: Proxy, tmp_path: Path) -> None:
    """Nothing of ours is broken: the supervisor starts the role anew, and then it works."""
    line.cut()
    refused = Running(world, line, tmp_path)
    refused.thread.join(LIMIT_S)
    assert isinstance(refused.error, FaustEnded), refused.error
    line.heal()
    world.produce(range(MORE))
    running = Running(world, line, tmp_path)
    await_until(lambda: total(world) == MORE, LIMIT_S, "all are counted")
    running.end()
    judge(world, range(MORE), range(0))


def test_cut_and_deaf_for_a_while_it_goes_on_by_itself(world: World, line: Proxy, tmp_path: Path) -> None:
    """Or it ends in words and the next one goes on; in either case everything is counted once."""
    running = Running(world, line, tmp_path)
    numbers = range(0)
    for fault in (line.cut, line.deaf, line.stall):
        fresh = range(numbers.stop, numbers.stop + MORE)
        numbers = range(fresh.stop)
        world.produce(fresh[: MORE // 2])
        await_until(lambda: total(world) >= fresh[MORE // 2 - 1], LIMIT_S, "some are counted")  # noqa: B023  # called at once
        fault()
        world.produce(fresh[MORE // 2 :])
        line.heal()
        if not running.thread.is_alive():
            running = Running(world, line, tmp_path)
    await_until(lambda: total(world) == len(numbers), LIMIT_S, "all are counted")
    running.end()
    judge(world, numbers, range(0))
