"""Processes of the step engine for fault tests, and the judge of what they left."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from schemas.ids import derived_id, random_id
from streams.step.fault_points import FAULT_FILE
from tests.step_world import ID_KEY, World, await_until, expected_counts

ROOT = Path(__file__).parents[1]
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

    def close(self) -> None:
        """Kill what still runs; the end of their log."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(60)
        print(self.log.read_text()[-4000:])

    def arm(self, point: str, count: int = 1, *, stop: bool = False) -> None:
        """Name the point at which the next process dies, or freezes."""
        self.fault_file.write_text(f"counting {point} {count}{' stop' if stop else ''}")

    def frozen(self, process: "subprocess.Popen[bytes]") -> bool:
        """True when a process is stopped."""
        return Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def await_idle(world: World, limit_s: float) -> None:
    """Wait until nothing is recorded to be sent: the owner is at work, what it sent is acknowledged, and nothing is left to do.
    An owner that had to go before leaves acknowledged outputs recorded."""
    await_until(
        lambda: world.rows("select count(*) from step.outbox") == [(0,)], limit_s, "the owner is idle"
    )


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
    assert_input_order(world)
    # Unless the last owner had to go before it was idle (see await_idle); the next one drops them.
    assert not tidy or world.rows("select count(*) from step.outbox") == [(0,)]
    assert world.letters() == []


def assert_input_order(world: World) -> None:
    """Per key, outputs stand in the log in the order in which their inputs do (review 17); wakes have an order of their own."""
    asked = [(record.key, orjson.loads(record.value or b"")["id"]) for record in world.records(world.source)]
    outputs = [(record.key, orjson.loads(record.value or b"")) for record in world.records(world.target)]
    derived = {derived_id(ID_KEY, "out", world.source, cause): cause for _, cause in asked}
    answered = [(key, derived[output["id"]]) for key, output in outputs if output["id"] in derived]
    for wanted in {key for key, _ in asked}:
        first = list(dict.fromkeys(cause for key, cause in asked if key == wanted))
        found = list(dict.fromkeys(cause for key, cause in answered if key == wanted))
        assert found == first, "outputs of a key are not in the order of its inputs"


def total(world: World) -> int:
    return sum(world.counts().values())
