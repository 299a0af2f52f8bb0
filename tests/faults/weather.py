"""Bad lines with a seed: now and then the way to Kafka, PostgreSQL or the provider is cut, stalled, deaf or slow for a while.

In the middle of it a role that uses the line is killed: it dies with something begun that it could not end.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from signal import SIGKILL

from tests.faults.installation import Installation
from tests.faults.killer import Blow
from tests.faults.proxy import Proxy, Way

LINES: dict[str, tuple[str, ...]] = {
    "kafka": ("inbound", "streams", "vault", "outbound"),
    "postgres": ("inbound", "outbound", "projector", "api"),
    "provider": ("outbound",),
}
"""Line → roles that are killed while it is bad."""
SLOW_S = 0.1
KINDS: dict[str, Callable[[Proxy], None]] = {
    "cut": lambda proxy: proxy.cut(),
    "stalled": lambda proxy: proxy.stall(),
    "stalled answers": lambda proxy: proxy.stall(Way.TO_CLIENT),
    "deaf": lambda proxy: proxy.deaf(),
    "deaf to answers": lambda proxy: proxy.deaf(Way.TO_CLIENT),
    "deaf to questions": lambda proxy: proxy.deaf(Way.TO_SERVER),
    "slow": lambda proxy: proxy.delay(SLOW_S),
}


@dataclass(frozen=True, slots=True)
class Spell:
    """A line is bad for a while, after a while, and a role is killed meanwhile."""

    after_s: float
    line: str
    kind: str
    lasts_s: float
    killed: str


def forecast(seed: int, count: int, *, gap_s: float, lasts_s: Sequence[float]) -> list[Spell]:
    """`count` spells of bad weather, every line in turn."""
    chance = random.Random(f"weather {seed}")
    spells = []
    for number in range(count):
        line = list(LINES)[number % len(LINES)]
        wait_s, kind, long_s = (
            gap_s * chance.uniform(0.5, 1.5),
            chance.choice(list(KINDS)),
            chance.choice(list(lasts_s)),
        )
        spells.append(Spell(wait_s, line, kind, long_s, chance.choice(LINES[line])))
    return spells


class Weather:
    """Carries a forecast out in a thread of its own."""

    def __init__(self, installation: Installation, spells: Sequence[Spell]) -> None:
        self.spells: Counter[str] = Counter()
        """What there was, by line and kind."""
        self.blows: Counter[Blow] = Counter()
        """Processes killed in bad weather."""
        self._installation = installation
        self._coming = spells
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weather", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def done(self) -> bool:
        """True when the forecast is at its end."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Fair from now on."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for spell in self._coming:
            if self._stop.wait(spell.after_s):
                return
            proxy: Proxy = getattr(self._installation.lines, spell.line)
            name = f"{spell.line} {spell.kind}"
            self._installation.fault(spell.kind, spell.line)
            self.spells[name] += 1
            KINDS[spell.kind](proxy)
            self._stop.wait(spell.lasts_s / 2)
            self._kill(spell.killed)
            self._stop.wait(spell.lasts_s / 2)
            proxy.heal()
            self._installation.fault("healed", spell.line)

    def _kill(self, role: str) -> None:
        """All instances: whoever takes over meets the same line."""
        victims = self._installation.victims()
        for name in victims.instances(role):
            self._installation.fault(SIGKILL.name, role)
            self.blows[Blow.KILL] += victims.send(name, SIGKILL)
