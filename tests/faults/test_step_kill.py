"""The step under SIGKILL at every gap, frozen past its session, and with its database killed under it."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.clock import now_ms
from schemas.ids import random_id
from streams.step.fault_points import POINTS
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.step_processes import Role, await_idle, judge, total
from tests.step_world import World, await_until

LIMIT_S = 90.0


@pytest.fixture
def world(kafka_server: KafkaServer, postgres_server: PostgresServer) -> World:
    return World(kafka_server.bootstrap, postgres_server.fresh_database("kill"))


@pytest.fixture
def role(world: World, tmp_path: Path) -> Iterator[Role]:
    made = Role(world, tmp_path)
    yield made
    made.close()


@pytest.mark.finding(5, 6)
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
@pytest.mark.finding(6, 12)
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
    await_idle(world, LIMIT_S)
    assert process.poll() is None, "the role waits for its database, it does not end"
    process.terminate()
    assert process.wait(LIMIT_S) == 0
    judge(world, numbers, range(0))
