"""The killer: the same seed gives the same schedule, everybody's turn comes, and only its own children are struck."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.embedded.supervisor import Program, Supervisor
from tests.faults.killer import Blow, Killer, Strike, Victims, schedule
from tests.step_world import await_until

ROLES = ("receiver", "inbound", "api", "vault", "streams", "outbound", "projector", "clock")
LIMIT_S = 60.0
SLEEPER = "import time; time.sleep(600)"


def test_the_same_seed_gives_the_same_schedule() -> None:
    first, again, other = (schedule(seed, ROLES, 100, gap_s=4, frozen_s=(1, 12)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_everybody_is_struck_in_every_way_alone_and_in_pairs() -> None:
    strikes = schedule(1, ROLES, 300, gap_s=4, frozen_s=(1, 12))
    struck = Counter(role for strike in strikes for role in strike.whom)
    assert set(struck) == set(ROLES)
    assert max(struck.values()) - min(struck.values()) <= 2, "in turn"
    assert {len(strike.whom) for strike in strikes} == {1, 2}
    assert all(len(set(strike.whom)) == len(strike.whom) for strike in strikes)
    assert {(role, strike.blow) for strike in strikes for role in strike.whom} == {
        (role, blow) for role in ROLES for blow in Blow
    }
    assert 3.5 < sum(strike.after_s for strike in strikes) / 300 < 4.5


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor()
    for name in ("a.1", "a.2", "b.1"):
        made.start(Program(name, (sys.executable, "-c", SLEEPER), tmp_path / f"{name}.log"))
    yield made
    made.stop()


def victims(supervisor: Supervisor) -> Victims:
    return Victims(
        lambda role: sorted(name for name in supervisor.running() if name.startswith(role)),
        lambda name, wanted: supervisor.child(name).send(wanted),
    )


def test_it_strikes_and_remembers(supervisor: Supervisor) -> None:
    """Killed and ended processes come back under other ids, a frozen one thaws; nobody else is touched."""
    before = supervisor.running()
    killer = Killer(
        victims(supervisor),
        [
            Strike(0.01, Blow.KILL, ("a",), 0.9, 0.0),
            Strike(0.01, Blow.FREEZE, ("b",), 0.5, 0.3),
            Strike(0.01, Blow.TERM, ("nobody",), 0.5, 0.0),
        ],
    )
    killer.start()
    await_until(lambda: killer.done and len(killer.faults) == 3, LIMIT_S, "two strikes and a thaw")
    assert [(fault.what, fault.whom) for fault in killer.faults] == [
        ("SIGKILL", "a"), ("SIGSTOP", "b"), ("SIGCONT", "b"),
    ]  # fmt: skip

    def all_back() -> bool:
        """Under another id where one was killed: the supervisor may not have seen its end yet."""
        found = supervisor.running()
        return found.keys() == before.keys() and found["a.2"] != before["a.2"]

    await_until(all_back, LIMIT_S, "all are back")
    after = supervisor.running()
    assert [name for name in before if before[name] != after[name]] == ["a.2"]
    assert psutil.Process(after["b.1"]).status() != psutil.STATUS_STOPPED
    assert killer.blows == {Blow.KILL: 1, Blow.FREEZE: 1}


def test_whoever_is_frozen_when_it_stops_is_thawed(supervisor: Supervisor) -> None:
    killer = Killer(victims(supervisor), [Strike(0.0, Blow.FREEZE, ("b",), 0.5, 600.0)])
    killer.start()
    frozen = psutil.Process(supervisor.running()["b.1"])
    await_until(lambda: frozen.status() == psutil.STATUS_STOPPED, LIMIT_S, "it is frozen")
    killer.stop()
    await_until(lambda: frozen.status() != psutil.STATUS_STOPPED, LIMIT_S, "it is thawed")
