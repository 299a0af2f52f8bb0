"""What we need of Faust, and what it does not do, against a live broker (issue, item 6; review 6)."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import SealpostError
from streams.kafka import admin, group_offsets
from streams.step.errors import StopPartition
from tests import faust_role
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.plain_faust import COMMIT_S, PlainFaust
from tests.step_world import PARTITIONS, Counting, World, await_until, expected_counts

LIMIT_S = 100.0
SESSION_S = 6.0
"""The broker's own lower limit."""


@pytest.fixture
def world(kafka_server: KafkaServer, postgres_server: PostgresServer) -> World:
    return World(kafka_server.bootstrap, postgres_server.fresh_database("faust"))


def committed(world: World, group: str) -> int:
    """Sum of the offsets a group has committed: as every partition begins at 0, the number of records it will not read again."""
    parts = [(world.source, number) for number in range(PARTITIONS)]
    try:
        return sum(group_offsets.read(world.bootstrap, group, parts).values())
    except admin.KafkaAway:
        return 0  # a broker that has just started is loading its groups


def config(world: World, data_dir: Path, **more: Any) -> dict[str, Any]:
    """Configuration of a Faust role on this world."""
    return {
        "bootstrap": world.bootstrap,
        "dsn": world.dsn,
        "source": world.source,
        "target": world.target,
        "role": "counting",
        "group": f"{world.name}.ours",
        "session_s": SESSION_S,
        "data_dir": str(data_dir),
        "first": [],
        **more,
    }


def run_ours(
    world: World, data_dir: Path, handler: Counting, stop: threading.Event
) -> tuple[threading.Thread, list[SealpostError]]:
    """Our feed in a thread, and the error it ends with."""
    errors: list[SealpostError] = []

    def run() -> None:
        try:
            faust_role.run(config(world, data_dir), stop, handler)
        except SealpostError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def finish(world: World, data_dir: Path, numbers: range) -> None:
    """Start our feed anew and let it read everything: state is the fold of the log, each output there once by id."""
    stop = threading.Event()
    thread, errors = run_ours(world, data_dir, Counting(world.source, world.target), stop)
    try:
        await_until(lambda: world.counts() == expected_counts(numbers), LIMIT_S, "the fold of the log")
    finally:
        stop.set()
        thread.join(LIMIT_S)
    assert not errors
    assert sorted(output["of"] for output in world.outputs()) == sorted(
        orjson.loads(record.value or b"")["id"] for record in world.records(world.source)
    )


def test_an_agent_that_raises(world: World, tmp_path: Path) -> None:
    """A plain agent that raises loses the event: it is acknowledged. Ours ends with the event unread, and reads it again."""
    world.produce(range(40))

    async def raising(stream: Any, plain: PlainFaust) -> None:
        async for value in stream:
            plain.seen.append(value)
            if len(plain.seen) == 1:
                raise ValueError("the agent fails")

    plain = PlainFaust(world.bootstrap, f"{world.name}.plain", world.source, tmp_path, raising)
    try:
        await_until(
            lambda: committed(world, f"{world.name}.plain") == 40, LIMIT_S, "the plain agent's commit"
        )
    finally:
        plain.end()
    assert plain.seen.count(plain.seen[0]) == 1, "acknowledged after its failure, and never seen again"
    assert len(plain.seen) == 40

    def refuse(*_: Any) -> None:
        raise StopPartition("on purpose")

    handler, stop = Counting(world.source, world.target), threading.Event()
    handler.before_apply = refuse
    thread, errors = run_ours(world, tmp_path, handler, stop)
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert [type(error) for error in errors] == [StopPartition]
    assert committed(world, f"{world.name}.ours") == 0
    finish(world, tmp_path, range(40))


@pytest.mark.finding(6)
def test_a_shutdown_inside_a_batch(world: World, tmp_path: Path) -> None:
    """A plain `take` that is stopped inside a batch has acknowledged it. Ours finishes its step; what is not handled stays."""
    world.produce(range(40))

    async def endless(stream: Any, plain: PlainFaust) -> None:
        async for values in stream.take(1000, within=0.2):
            plain.seen += values
            plain.inside.set()
            await asyncio.sleep(3600)

    plain = PlainFaust(world.bootstrap, f"{world.name}.plain", world.source, tmp_path, endless)
    assert plain.inside.wait(LIMIT_S)
    plain.end()
    assert committed(world, f"{world.name}.plain") > 0, "the batch was not handled, and yet acknowledged"

    stop, inside = threading.Event(), threading.Event()

    def slow(*_: Any) -> None:
        inside.set()
        stop.wait(LIMIT_S)
        threading.Event().wait(1.0)

    handler = Counting(world.source, world.target)
    handler.before_apply = slow
    thread, errors = run_ours(world, tmp_path, handler, stop)
    assert inside.wait(LIMIT_S)
    stop.set()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert not errors
    handled = sum(world.counts().values())
    assert handled > 0, "the step under way was finished"
    assert committed(world, f"{world.name}.ours") <= handled
    finish(world, tmp_path, range(40))


@pytest.mark.finding(6)
def test_noack_take_acknowledges_nothing(world: World, tmp_path: Path) -> None:
    """Everything was taken, nothing acknowledged by hand: nothing is committed, not even at the stop."""
    world.produce(range(40))

    async def taking(stream: Any, plain: PlainFaust) -> None:
        async for events in stream.noack_take(10, within=0.1):
            plain.seen += [event.value for event in events]

    plain = PlainFaust(world.bootstrap, f"{world.name}.plain", world.source, tmp_path, taking)
    await_until(lambda: len(plain.seen) == 40, LIMIT_S, "all events")
    threading.Event().wait(4 * COMMIT_S)  # several commits had their turn
    plain.end()
    assert committed(world, f"{world.name}.plain") == 0


class Role:
    """Our feed as a process."""

    def __init__(self, configuration: dict[str, Any], folder: Path, name: str) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faust_role", orjson.dumps(configuration).decode()],
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[2],
            )

    def says(self, words: str) -> bool:
        """True when its log has these words."""
        return words in self.log.read_text()

    def frozen(self) -> bool:
        """True while the kernel has it stopped."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


@pytest.fixture
def roles() -> Iterator[list[Role]]:
    running: list[Role] = []
    yield running
    for role in running:
        if role.process.poll() is None:
            os.kill(role.process.pid, signal.SIGCONT)
            role.process.kill()
        role.process.wait()


@pytest.mark.parametrize("point", ["before_commit", "before_produce"])
@pytest.mark.finding(6)
def test_a_frozen_owner_over_a_rebalance(world: World, tmp_path: Path, roles: list[Role], point: str) -> None:
    """An owner that is frozen inside a step for longer than its session, and then goes on: the other has taken over meanwhile,
    the frozen one's step is fenced or was recorded and is produced once by id; state is the fold of the log."""
    marker = tmp_path / "freeze"
    world.produce(range(200))
    first = Role(config(world, tmp_path / "a", freeze=[point, str(marker)]), tmp_path, "first")
    roles.append(first)
    await_until(lambda: sum(world.counts().values()) == 200, LIMIT_S, "the first owner reads")
    marker.touch()
    world.produce(range(200, 300))
    await_until(first.frozen, LIMIT_S, "the first owner is frozen inside a step")
    second = Role(config(world, tmp_path / "b"), tmp_path, "second")
    roles.append(second)
    await_until(
        lambda: second.says("took over partitions [0, 1, 2, 3]"), LIMIT_S, "the second owner takes over"
    )
    await_until(lambda: world.counts() == expected_counts(range(300)), LIMIT_S, "the second owner goes on")
    world.produce(range(300, 400))
    os.kill(first.process.pid, signal.SIGCONT)
    await_until(lambda: world.counts() == expected_counts(range(400)), LIMIT_S, "everything is handled")
    world.produce(range(400, 500))
    await_until(lambda: world.counts() == expected_counts(range(500)), LIMIT_S, "and goes on")
    assert second.process.poll() is None or first.process.poll() is None, "somebody serves"
    assert len(world.awaited_outputs(500)) == 500
    code = first.process.poll()
    assert code in (None, 1), "ended with a reason, or serves as a member like any other"
    if code == 1:
        assert first.says("Fenced") or first.says("DatabaseAway")


def test_members_share_whole_partition_numbers(world: World, tmp_path: Path, roles: list[Role]) -> None:
    """Three members of a group over two topics: each partition number of both topics has one owner."""
    world.produce(range(60))
    world.produce(range(1000, 1060), topic=world.urgent)
    roles += [
        Role(config(world, tmp_path / name, first=[world.urgent]), tmp_path, name) for name in ("a", "b", "c")
    ]
    for role in roles:
        await_until(lambda role=role: role.says("taken"), LIMIT_S, "a member has joined")  # type: ignore[misc]  # bound now
    world.produce(range(60, 160))
    world.produce(range(1060, 1160), topic=world.urgent)
    await_until(lambda: sum(world.counts().values()) == 320, LIMIT_S, "all of both topics")
    assert len(world.awaited_outputs(320)) == 320
    for role in roles:
        assert role.process.poll() is None, role.log.read_text()[-2000:]
        assert not role.says("are shared with another member")
