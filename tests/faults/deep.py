"""Runs under fire: `python -m tests.faults.deep [--seed N] [PART …]`.

Each part is an installation of its own; without parts all are run.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.up import ROLES
from tests.acceptance_instance import SHORT_TIMES
from tests.faults.fire import Report, await_rest
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
    rest_s=120.0,
    times=SHORT_TIMES,
)


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
        installation.provider_takes(plan.delay_s)
        traffic.start()
        killer.start()
        weather.start()
        erasing = threading.Thread(target=_erase_some, args=(traffic, plan.erasures), daemon=True)
        erasing.start()
        _change_while(installation, killer, plan)
        length_s = 3 * plan.messages / plan.rate_per_s
        await_until(
            lambda: min(traffic.inward, traffic.outward) >= plan.messages,
            length_s,
            "all messages are written",
        )
        killer.stop()
        erasing.join()
        traffic.stop()
        installation.await_ready()
        await_rest(installation, plan.rest_s)
        report.spells = weather.spells
        report.judge(installation, traffic, [killer])
    return report


def _change_while(installation: Installation, killer: Killer, plan: Plan) -> None:
    """1 → 3 → 2 instances and another feed, at quarters of the schedule."""
    whole_s = plan.strikes * plan.gap_s
    for count, part in ((3, 0.25), (2, 0.75)):
        await_until(lambda: killer.progress >= part, whole_s * 4, "the killer goes on")  # noqa: B023  # called at once
        for role in SCALED:
            installation.scale(role, count)
        if count == 3:
            await_until(lambda: killer.progress >= 0.5, whole_s * 4, "the killer goes on")
            installation.feed = "batch"
            installation.restart("streams")
    await_until(lambda: killer.done, whole_s * 4, "the killer has done")


def _erase_some(traffic: Traffic, count: int) -> None:
    for person in traffic.people[:count]:
        traffic.erase(person)
