"""The run under fire, short for the tests and long for `make test-deep`: `python -m tests.faults.deep [--seed N] [PART …]`.

Each part is an installation of its own in a process of its own. `kills` takes as long as all others together, so it runs
beside them.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.up import ROLES
from tests.acceptance_instance import SHORT_TIMES
from tests.faults import outages
from tests.faults.fire import ROOT, Report, await_rest, commit
from tests.faults.installation import Installation, running_installation
from tests.faults.killer import Killer, schedule
from tests.faults.traffic import Traffic
from tests.faults.weather import Weather, forecast
from tests.step_world import await_until

SEED = 20_261_125
SCALED = ("inbound", "streams", "outbound", "projector")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard a run with kills is."""

    strikes: int
    gap_s: float
    messages: int
    rate_per_s: float
    people: int
    erasures: int
    frozen_s: tuple[float, ...]
    spells: int
    spell_s: tuple[float, ...]
    rest_s: float
    delay_s: float = 0.1
    """How long the provider takes to answer: so that calls are in flight whenever a blow falls."""
    seed: int = SEED
    times: Mapping[str, str] = field(default_factory=dict)


SHORT = Plan(
    strikes=20,
    gap_s=2.5,
    messages=1_000,
    rate_per_s=20.0,
    people=60,
    erasures=2,
    frozen_s=(0.5, 5.0),
    spells=6,
    spell_s=(0.5, 1.5, 3.0),
    rest_s=300.0,
    times=SHORT_TIMES,
)
DEEP = Plan(
    strikes=225,
    gap_s=4.7,
    messages=20_000,
    rate_per_s=20.0,
    people=300,
    erasures=8,
    frozen_s=(1.0, 4.0, 13.0),
    spells=30,
    spell_s=(1.0, 3.0, 8.0),
    rest_s=420.0,
)
"""Times are the production's. Frozen for 13 s is frozen past the session."""
BESIDE: tuple[tuple[str, ...], ...] = (("kills",), ("outages", "disk", "clock"))
"""Parts that run one after the other, each row beside the others."""


def run_kills(folder: Path, plan: Plan) -> Report:
    """Every role killed, ended and frozen in turn and in pairs while messages run both ways; instances come and go; the
    processors change their feed."""
    report = Report("kills", plan.seed)
    with running_installation(folder, times=plan.times) as installation:
        traffic = Traffic(installation, seed=plan.seed, people=plan.people, rate_per_s=plan.rate_per_s)
        strikes = schedule(plan.seed, ROLES, plan.strikes, gap_s=plan.gap_s, frozen_s=plan.frozen_s)
        killer = Killer(installation.victims(), strikes)
        length_s = plan.strikes * plan.gap_s
        spells = forecast(plan.seed, plan.spells, gap_s=length_s / (plan.spells + 1), lasts_s=plan.spell_s)
        weather = Weather(installation, spells)
        installation.provider_takes(plan.delay_s, traffic.silent)
        traffic.start()
        killer.start()
        weather.start()
        erasing = threading.Thread(target=_erase_some, args=(traffic, plan.erasures), daemon=True)
        erasing.start()
        _change_while(installation, killer, plan)
        limit_s = length_s + 6 * plan.messages / plan.rate_per_s
        await_until(lambda: traffic.written(plan.messages), limit_s, "all messages are written")
        await_until(lambda: weather.done, limit_s, "the weather has passed")
        killer.stop()
        weather.stop()
        erasing.join()
        traffic.stop()
        installation.await_ready()
        await_rest(installation, plan.rest_s)
        report.spells, report.blows = weather.spells, weather.blows
        report.judge(installation, traffic, [killer])
    return report


def _change_while(installation: Installation, killer: Killer, plan: Plan) -> None:
    """1 → 3 → 2 instances; in the second half another feed, and members that keep their names."""
    whole_s = plan.strikes * plan.gap_s
    for count, part in ((3, 0.25), (2, 0.75)):
        await_until(lambda: killer.progress >= part, whole_s * 4, "the killer goes on")  # noqa: B023  # called at once
        for role in SCALED:
            installation.scale(role, count)
        if count == 3:
            await_until(lambda: killer.progress >= 0.5, whole_s * 4, "the killer goes on")
            installation.feed, installation.named = "batch", True
            for role in SCALED:
                installation.restart(role)
    await_until(lambda: killer.done, whole_s * 4, "the killer has done")


def _erase_some(traffic: Traffic, count: int) -> None:
    for person in traffic.people[:count]:
        traffic.erase(person)


PARTS: Mapping[str, Callable[[Path, int], Report]] = {
    "kills": lambda folder, seed: run_kills(folder, replace(DEEP, seed=seed)),
    "outages": lambda folder, seed: outages.run_outages(folder, outages.Outages(seed)),
    "disk": lambda folder, seed: outages.run_disk(folder, outages.Outages(seed)),
    "clock": lambda folder, seed: outages.run_clock(folder, outages.Outages(seed)),
}


SHOWN_LINES = 200
"""Of a part's output, from its end; the whole lies in the folder. A report has a line for each second delivery."""


def run_all(names: Sequence[str], seed: int, folder: Path) -> list[str]:
    """Run parts in processes of their own; the names of those that failed. Their output comes when each ends."""
    failed: list[str] = []

    def run_row(row: Sequence[str]) -> None:
        for name in row:
            argv = [
                sys.executable,
                "-m",
                "tests.faults.deep",
                f"--seed={seed}",
                f"--here={folder / name}",
                name,
            ]
            done = subprocess.run(
                argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
            (folder / f"{name}.out").write_text(done.stdout)
            said = [line for line in done.stdout.splitlines() if not line.startswith("%")]
            print("\n".join(said[-SHOWN_LINES:]), flush=True)
            if done.returncode:
                failed.append(name)

    rows = [[name for name in row if name in names] for row in BESIDE]
    with ThreadPoolExecutor(len(rows)) as pool:
        for ended in [pool.submit(run_row, row) for row in rows]:
            ended.result()
    return failed


def main() -> int:
    """Run the parts asked for; 1 when one of them found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.deep")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--here", type=Path, help="run one part in this process and this folder")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without")
    given = parser.parse_args()
    names = given.parts or list(PARTS)
    if unknown := set(names) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if given.here is not None:
        PARTS[names[0]](given.here, given.seed).passed()
        return 0
    print(f"seed {given.seed}, commit {commit()}: {', '.join(names)}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="sealpost-deep-"))
    failed = run_all(names, given.seed, folder)
    if failed:
        print(f"FAILED: {', '.join(failed)} (seed {given.seed}, commit {commit()}); logs in {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"all right: {', '.join(names)} (seed {given.seed}, commit {commit()})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
