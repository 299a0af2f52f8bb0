"""What short and deep runs under fire have in common: waiting for rest, judging, and the report that is printed.

Every report names seed and commit; the same seed gives the same schedule.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.http_client import call
from schemas import topics
from schemas.clock import boot_s
from streams.kafka import admin, group_offsets
from tests.acceptance_quiet import OUTBOUND_GROUP
from tests.faults.installation import CALL_S, Installation
from tests.faults.killer import Blow, Killer
from tests.faults.ledger import Truth, judge, second_deliveries, stops_without_effect, unknown_messages
from tests.faults.ledger_reading import CHANNEL, EVENT_TOPICS, Reader
from tests.faults.traffic import Traffic
from tests.step_world import await_until

ROOT = Path(__file__).parents[2]
LISTED = 12
"""Findings printed in full; of a broken rule the first ones tell."""
BROKEN_PROGRAM = re.compile(
    r"ended by a fault of this program|Fatal Python error|Segmentation fault|MemoryError"
    # These two ask for an operator, and nothing that is done here needs one.
    r"|deploy\.roles: (PositionInvalid|StopPartition)"
)
POSITIONS = "select role, topic, partition, next_offset from step.position"
WAITING = """select count(*) from step.due
    where role = 'inbound' and at < extract(epoch from clock_timestamp()) * 1000 + 1000000"""
"""Statuses that inbound looks at again within a quarter of an hour; a step of the clock may have put one hours off."""


def commit() -> str:
    """The commit under test, `+` when the tree differs from it; `unknown` outside a repository."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    argv = ["git", "-C", str(ROOT), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def at_rest(installation: Installation) -> list[str]:
    """What is still under way, in words; empty when every role has done everything that there is to do."""
    state = call("GET", f"{installation.simulator_url}/control/state", timeout_s=CALL_S).body
    waiting: list[str] = []
    if state["statuses_waiting"] or state["webhooks"]["waiting"]:
        waiting.append("the provider has something to report")
    ends = {
        (topic, number): end
        for topic in (*EVENT_TOPICS, topics.inbound(CHANNEL), topics.TENANTS)
        for number, end in admin.end_offsets(installation.kafka.bootstrap, topic).items()
    }
    reader = installation.rows
    for database in ("vault", "streams", "projections"):
        for role, topic, number, position in reader(database, POSITIONS):
            if position < ends.get((topic, number), 0):
                waiting.append(f"{role} reads {topic}/{number}: {position} of {ends[(topic, number)]}")
    if reader("vault", WAITING) != [(0,)]:
        waiting.append("inbound has parked statuses")
    parts = [part for part in ends if part[0].startswith("sealpost.outbound.")]
    done = group_offsets.read(installation.kafka.bootstrap, OUTBOUND_GROUP, parts)
    waiting += [
        f"outbound {part}: {done.get(part, 0)} of {ends[part]}"
        for part in parts
        if done.get(part, 0) < ends[part]
    ]
    return waiting


def await_rest(installation: Installation, limit_s: float) -> None:
    """Wait until everything is done, seen twice in a row: what one role finishes may be another's work."""
    quiet = 0
    last: list[str] = []

    def resting() -> bool:
        nonlocal quiet, last
        last = at_rest(installation)
        quiet = 0 if last else quiet + 1
        return quiet >= 2

    try:
        await_until(resting, limit_s, "everything is done")
    except AssertionError:
        raise AssertionError(f"not at rest after {limit_s:g} s: {last[:LISTED]}") from None


def broken_programs(installation: Installation) -> list[str]:
    """Lines in the logs of roles that tell of a fault of the program itself, not of one that was made."""
    found: list[str] = []
    for log in sorted((installation.folder / "logs").glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()
        found += [f"{log.name}: {line}" for line in lines if BROKEN_PROGRAM.search(line)]
    return found


def own_ends(installation: Installation) -> Counter[str]:
    """Why roles ended by themselves: the kind of error in the last line before an end, by role."""
    ends: Counter[str] = Counter()
    for log in sorted((installation.folder / "logs").glob("*.*.log")):
        for line in log.read_text(errors="replace").splitlines():
            match = re.search(r" ERROR (\w+) deploy\.roles: (\w+)", line)
            if match:
                ends[f"{match[1]} {match[2]}"] += 1
    return ends


@dataclass
class Report:
    """What a run was and what it found."""

    name: str
    seed: int
    started_s: float = field(default_factory=boot_s)
    blows: Counter[Blow] = field(default_factory=Counter)
    spells: Counter[str] = field(default_factory=Counter)
    inward: int = 0
    outward: int = 0
    seconds: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def judge(
        self, installation: Installation, traffic: Traffic, killers: Sequence[Killer] = (), step_ms: int = 0
    ) -> Truth:
        """Read everything and compare."""
        for killer in killers:
            self.blows.update(killer.blows)
            installation.faults += killer.faults
        truth = Reader(installation, traffic.said, traffic.silent).truth()
        truth.step_ms = step_ms
        self.inward, self.outward = traffic.inward, traffic.outward
        self.seconds, self.unknown = second_deliveries(truth), unknown_messages(truth)
        self.findings += [str(finding) for finding in judge(truth)]
        self.findings += broken_programs(installation)
        seen = call("GET", f"{installation.simulator_url}/control/state", timeout_s=CALL_S).body
        dropped = seen["webhooks"]["dropped"]
        if dropped:
            self.findings.append(
                f"the simulator gave up {dropped} webhooks: the run proves nothing about them"
            )
        if "500" in traffic.said.refused:
            self.findings.append(f"the API answered 500 {traffic.said.refused['500']} times")
        if found := stops_without_effect(truth):
            self.notes.append(f"stops that a stepped clock dated before the yes: {len(found)}")
        self.note("own ends", dict(own_ends(installation)))
        self.note("other answers of the API", traffic.said.refused)
        return truth

    def note(self, what: str, facts: Mapping[str, int]) -> None:
        """A line of counts for the summary."""
        if facts:
            self.notes.append(
                f"{what}: " + ", ".join(f"{name} {count}" for name, count in sorted(facts.items()))
            )

    def lines(self) -> list[str]:
        """The summary."""
        blows = ", ".join(f"{count} {blow.value}" for blow, count in self.blows.items()) or "none"
        head = [
            f"{self.name}: seed {self.seed}, commit {commit()}, {boot_s() - self.started_s:.0f} s",
            f"  blows: {blows}; spells of bad lines: {self.spells.total()}; messages in {self.inward}, out {self.outward}",
            f"  second deliveries by claim: {len(self.seconds)}; unknown: {len(self.unknown)}",
        ]
        more = [f"  {note}" for note in self.notes]
        more += [f"  again: {line}" for line in self.seconds]
        if self.findings:
            more.append(f"  FINDINGS: {len(self.findings)}")
            more += [f"  ! {finding}" for finding in self.findings[:LISTED]]
        return [*head, *more]

    def passed(self) -> None:
        """Print the summary; AssertionError when something was found."""
        text = "\n".join(self.lines())
        print(text)
        assert not self.findings, text
