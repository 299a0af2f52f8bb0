"""README.md is never stale: its six commands run as they stand there, and its figures are those that were measured."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance_instance import running_instance
from tests.acceptance_pages import ROOT, Claim, Shell, read_page, section, wrongly_shown
from tests.acceptance_quiet import await_quiet
from tests.bench.__main__ import BENCHES

README = (ROOT / "README.md").read_text()
PAGE = read_page(section(README, "Check it yourself in ten minutes"))
FIGURE = re.compile(r"([\d,]+(?:\.\d+)?) ?(?:/s|ms|s)\b")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A reader's second terminal, in a checkout where `make run` serves."""
    folder: Path = tmp_path_factory.mktemp("readme")
    with running_instance(folder) as instance:
        terminal = Shell(folder / "checkout", instance)
        terminal.prepare(PAGE.preparation)
        yield terminal


@pytest.mark.parametrize("claim", PAGE.claims, ids=lambda claim: claim.promise)
def test_what_a_reader_sees(shell: Shell, claim: Claim) -> None:
    """One after the other, they print what README says. A reader takes his time: what came before has come to its end."""
    await_quiet(shell.instance)
    wrong = wrongly_shown(shell, claim)
    assert not wrong, wrong


def test_there_are_six_commands_with_what_they_print() -> None:
    """Each under its heading."""
    assert PAGE.faults == ()
    assert [claim.promise[:2] for claim in PAGE.claims] == [f"{number}." for number in range(1, 7)]


def is_measured(figure: str, medians: list[float]) -> bool:
    """True when it is one of the medians, as exact as it is written."""
    value, half = float(figure.replace(",", "")), 0.05 if "." in figure else 0.5
    return any(abs(median - value) <= half + 1e-9 for median in medians)


def test_the_figures_are_measured() -> None:
    """Each is the median of a row of results.csv, and names the bench that makes it anew."""
    with (ROOT / "tests/bench/results.csv").open() as rows:
        medians = [float(row["median"]) for row in csv.DictReader(rows)]
    lines = [line for line in section(README, "Measured").splitlines() if "ARGS=" in line and line[0] == "|"]
    assert len(lines) > 5
    for line in lines:
        _, _, seen, limit, bench, _ = line.split("|")
        figures = FIGURE.findall(f"{seen} {limit}")
        assert figures, line
        assert [figure for figure in figures if not is_measured(figure, medians)] == [], line
        assert bench.strip("` ").removeprefix("ARGS=") in BENCHES, line
    assert not is_measured("6,345", medians)
