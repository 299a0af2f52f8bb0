"""Tables of medians and ranges, and the rows of `results.csv`."""

import csv
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from schemas.clock import today

RESULTS = Path(__file__).with_name("results.csv")
COLUMNS = (
    "day",
    "commit",
    "machine",
    "command",
    "variant",
    "unit",
    "median",
    "min",
    "max",
    "rounds",
    "ratio",
)


def table(rounds: Mapping[str, Sequence[float]], *, limit: str, unit: str) -> list[str]:
    """One line a variant: median, range, and the median over the rounds of variant / limit of the same round."""
    lines = [f"{'variant':<34} {unit:>12} {'min–max':>21} {'of limit':>9}"]
    for variant, values in rounds.items():
        spread = f"{min(values):,.0f}–{max(values):,.0f}"
        lines.append(
            f"{variant:<34} {statistics.median(values):>12,.0f} {spread:>21} {ratio(rounds, variant, limit):>9.3f}"
        )
    return lines


def ratio(rounds: Mapping[str, Sequence[float]], variant: str, limit: str) -> float:
    """Median over the rounds of variant / limit."""
    return statistics.median(value / base for value, base in zip(rounds[variant], rounds[limit], strict=True))


def record(command: str, rounds: Mapping[str, Sequence[float]], *, limit: str, unit: str) -> None:
    """Append one row a variant to `results.csv`."""
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        for variant, values in rounds.items():
            figures = (
                f"{statistics.median(values):.1f}",
                f"{min(values):.1f}",
                f"{max(values):.1f}",
                len(values),
            )
            share = f"{ratio(rounds, variant, limit):.3f}"
            writer.writerow((today(), _commit(), _machine(), command, variant, unit, *figures, share))


def _machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{platform.machine()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB"


def _commit() -> str:
    answer = subprocess.run(
        ["/usr/bin/env", "git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=RESULTS.parent,
    )
    return answer.stdout.strip() or "uncommitted"
