"""What a bench found: a table for the reader, rows of `results.csv` for later."""

import csv
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

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
    "cpu_us",
    "database_us",
    "of_aim",
    "load",
)
"""`ratio`: median over the rounds of variant / limit. `cpu_us`: processor time an event of the process that is measured,
`database_us`: of PostgreSQL. `of_aim`: 1 and above is met. `load`: load average of the last minute, on cores that everything
shares."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant in one round. `cpu_us`: processor time an event of the measured process, `database_us`: of PostgreSQL; None
    where they say nothing."""

    value: float
    cpu_us: float | None = None
    database_us: float | None = None


@dataclass(frozen=True, slots=True)
class Aim:
    """What DESIGN §14 asks of a variant: of its value, or of its ratio to the limit."""

    wanted: float
    of: Literal["at least", "at most", "ratio"] = "at least"

    def share(self, value: float, ratio: float) -> float:
        """1 and above is met."""
        if self.of == "at most":
            return self.wanted / value if value else 1.0
        return (ratio if self.of == "ratio" else value) / self.wanted

    def __str__(self) -> str:
        words = {"at least": "≥ {:,g}", "at most": "≤ {:,g}", "ratio": "≥ {:.0%} of the limit"}
        return words[self.of].format(self.wanted)


@dataclass
class Figures:
    """Variants in rounds. `limit` is the variant that all are compared with, in the same round."""

    command: str
    unit: str
    limit: str
    aims: Mapping[str, Aim | tuple[Aim, ...]] = field(default_factory=dict)
    found: dict[str, list[Measured]] = field(default_factory=dict)

    def add(self, variant: str, measured: Measured) -> None:
        """One more round of a variant."""
        self.found.setdefault(variant, []).append(measured)

    def rounds(self, count: int, variants: Mapping[str, Callable[[], Measured]]) -> None:
        """Measure all variants in turn, so often: what disturbs the machine for a while disturbs them all."""
        for number in range(count):
            for name, measure in variants.items():
                self.add(name, measure())
                print(
                    f"  round {number + 1}  {name}: {self.found[name][-1].value:,.1f} {self.unit}", flush=True
                )

    def values(self, variant: str) -> list[float]:
        """What the rounds gave."""
        return [one.value for one in self.found[variant]]

    def ratio(self, variant: str) -> float:
        """Median over the rounds of variant / limit."""
        pairs = zip(self.values(variant), self.values(self.limit), strict=True)
        return statistics.median(value / base for value, base in pairs)

    def processor(self, variant: str) -> list[str]:
        """Median processor times an event, of the process and of the database; empty where they are not known."""
        of_each = (
            [one.cpu_us for one in self.found[variant]],
            [one.database_us for one in self.found[variant]],
        )
        known = [[one for one in some if one is not None] for some in of_each]
        return [f"{statistics.median(some):.1f}" if some else "" for some in known]

    def of_aims(self, variant: str) -> list[tuple[Aim, float]]:
        """Each aim of a variant with the share reached."""
        aims = self.aims.get(variant, ())
        value, ratio = statistics.median(self.values(variant)), self.ratio(variant)
        return [(aim, aim.share(value, ratio)) for aim in ((aims,) if isinstance(aims, Aim) else aims)]

    def finish(self) -> None:
        """Print the table, append the rows."""
        print(f"\n{self.command}, load average {os.getloadavg()[0]:.1f}")
        print(
            f"{'variant':<40} {self.unit:>12} {'min–max':>21} {'of limit':>9} {'CPU us':>8} {'DB us':>7}  of aim"
        )
        for variant in self.found:
            print(self._line(variant))
        print(flush=True)
        self._record()

    def _line(self, variant: str) -> str:
        values, (cpu, database) = self.values(variant), self.processor(variant)
        digits = ",.1f" if max(values) < 100 else ",.0f"
        spread = f"{min(values):{digits}}–{max(values):{digits}}"
        aims = "; ".join(f"{share:.0%} of {aim}" for aim, share in self.of_aims(variant))
        middle = f"{statistics.median(values):{digits}}"
        return f"{variant:<40} {middle:>12} {spread:>21} {self.ratio(variant):>9.3f} {cpu:>8} {database:>7}  {aims}"

    def _record(self) -> None:
        with RESULTS.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            where = (today(), _commit(), _machine(), self.command)
            for variant in self.found:
                values = self.values(variant)
                shares = [share for _, share in self.of_aims(variant)]
                writer.writerow(
                    (
                        *where,
                        variant,
                        self.unit,
                        *(f"{one:.1f}" for one in (statistics.median(values), min(values), max(values))),
                        len(values),
                        f"{self.ratio(variant):.3f}",
                        *self.processor(variant),
                        f"{min(shares):.3f}" if shares else "",
                        f"{os.getloadavg()[0]:.1f}",
                    )
                )


def _machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{platform.machine()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB"


def _commit() -> str:
    """The commit measured; with `+` where something but earlier results differs from it."""
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", ":/", f":!{RESULTS.name}")
    return (commit or "uncommitted") + ("+" if changed else "")


def _git(*words: str) -> str:
    command = ["/usr/bin/env", "git", *words]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=RESULTS.parent)
    return answer.stdout.strip()
