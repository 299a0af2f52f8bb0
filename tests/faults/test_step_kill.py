"""The step under SIGKILL at every gap, frozen past its session, and with its database killed under it."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from schemas.clock import now_ms
from schemas.ids import derived_id, random_id
from streams.step.fault_points import FAULT_FILE, POINTS
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.step_world import ID_KEY, World, await_until, expected_counts

ROOT = Path(__file__).parents[2]
LIMIT_S = 40.0
SESSION_S = 6.0
"""The broker's smallest session timeout."""


class Role:
    """Role processes of one world, one after the other or beside one another."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.fault_file = folder / "fault"
        self.log = folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, group: str | None = None, batch: int = 40) -> "subprocess.Popen[bytes]":
        """Start one; without `group` in a group of its own, which spares waiting for the session of a dead member."""
        config = {
            "bootstrap": self.world.bootstrap,
            "dsn": self.world.dsn,
            "source": self.world.source,
            "target": self.world.target,
            "role": "counting",
            "group": group or random_id(),
            "priority": None,
            "session_s": SESSION_S,
            "batch": batch,
        }
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.step_role", orjson.dumps(config).decode()],
                cwd=ROOT,
                env={**os.environ, FAULT_FILE: str(self.fault_file)},
                stderr=log,
            )
        self.processes.append(process)
        return process

    def arm(self, point: str, count: int = 1, *, stop: bool = False) -> None:
        """Name the point at which the next process dies, or freezes."""
        self.fault_file.write_text(f"counting {point} {count}{' stop' if stop else ''}")

    def frozen(self, process: "subprocess.Popen[bytes]") -> bool:
        """True when a process is stopped."""
        return Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


@pytest.fixture
def world(kafka_server: KafkaServer, postgres_server: PostgresServer) -> World:
    return World(kafka_server.bootstrap, postgres_server.fresh_database("kill"))


@pytest.fixture
def role(world: World, tmp_path: Path) -> Iterator[Role]:
    made = Role(world, tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.wait(10)
    print(made.log.read_text()[-4000:])


def judge(world: World, numbers: Sequence[int], waking: Sequence[int], *, tidy: bool = True) -> None:
    """State is the fold of the log, outputs are complete and once by id, wakes were handled once."""
    expected = expected_counts(numbers)
    for number in waking:
        expected[f"k{number % 20}"] += 1
    outputs = world.outputs()  # asserts that what was sent again is equal in every byte
    wanted = [derived_id(ID_KEY, "out", world.source, derived_id(ID_KEY, str(n))) for n in numbers]
    wanted += [derived_id(ID_KEY, "out", "due", derived_id(ID_KEY, str(n))) for n in waking]
    assert world.counts() == expected
    assert sorted(output["id"] for output in outputs) == sorted(wanted)
    assert world.rows("select count(*) from step.due") == [(0,)]
    # An owner that had to go before it was idle leaves acknowledged outputs recorded; the next one drops them.
    assert not tidy or world.rows("select count(*) from step.outbox") == [(0,)]
    assert world.letters() == []


def total(world: World) -> int:
    return sum(world.counts().values())


def test_killed_at_every_gap_of_the_step(world: World, role: Role) -> None:
    """Every point of the engine, each at its first and at a later step, with repeats in the log and wakes under way."""
    seed = random.Random(3)
    step_points = [point for point in POINTS if POINTS.index(point) >= POINTS.index("before_commit")]
    plan = [(point, 1) for point in POINTS] + [(point, seed.randint(2, 4)) for point in step_points]
    numbers = range(0)
    for point, count in plan:
        fresh = range(len(numbers), len(numbers) + 200)
        numbers = range(fresh.stop)
        world.produce([*fresh[:150], *seed.sample(range(fresh.start + 150), 30)])
        world.produce(fresh[150:], wake_at=now_ms())
        role.arm(point, count)
        process = role.start()
        assert process.wait(LIMIT_S) == -signal.SIGKILL, f"{point} was not reached"
        assert not role.fault_file.exists()
    waking = [n for n in numbers if n % 200 >= 150]
    process = role.start()
    await_until(lambda: total(world) == len(numbers) + len(waking), LIMIT_S, "everything is counted")
    process.terminate()
    assert process.wait(LIMIT_S) == 0
    repeated = len(world.records(world.target)) - len(world.outputs())
    assert repeated > 0, "the kills made nobody send again: the test tests nothing"
    judge(world, numbers, waking)


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "mid_produce"])
def test_frozen_past_its_session(world: World, role: Role, point: str) -> None:
    """The frozen owner holds an open transaction, or outputs not yet sent; the next owner goes on; then it wakes up."""
    group = random_id()
    world.produce(range(400))
    role.arm(point, 3, stop=True)
    frozen = role.start(group)
    await_until(lambda: not role.fault_file.exists() and role.frozen(frozen), LIMIT_S, "frozen")
    latter = role.start(group)
    await_until(lambda: total(world) == 400, LIMIT_S, "the next owner has gone on")
    frozen.send_signal(signal.SIGCONT)
    world.produce(range(400, 600))
    await_until(lambda: total(world) == 600, LIMIT_S, "both have gone on, or one")
    if point != "before_commit":
        # It went on producing what it had recorded, and was fenced at its next transaction.
        assert frozen.poll() in (None, 1)
    for process in (frozen, latter):
        process.terminate()
    assert latter.wait(LIMIT_S) == 0
    assert frozen.wait(LIMIT_S) in (0, 1)
    judge(world, range(600), range(0), tidy=False)


def test_the_database_is_killed_under_load(world: World, role: Role, postgres_server: PostgresServer) -> None:
    process = role.start(batch=20)
    numbers = range(0)
    for _ in range(3):
        fresh = range(numbers.stop, numbers.stop + 600)
        numbers = range(fresh.stop)
        world.produce(fresh)
        await_until(lambda: total(world) > fresh.start + 100, LIMIT_S, "some are counted")  # noqa: B023  # called at once
        postgres_server.kill()
    await_until(lambda: total(world) == len(numbers), LIMIT_S, "all are counted")
    assert process.poll() is None, "the role waits for its database, it does not end"
    process.terminate()
    assert process.wait(LIMIT_S) == 0
    judge(world, numbers, range(0))
