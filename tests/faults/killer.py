"""A killer with a seed: who is struck, how and when follows from the seed alone, so that a failure can be made again.

It strikes children of its own supervisor, by process id, and nothing else. Roles are struck in turn, in a new order each round,
alone and in pairs; what has several instances loses one of them.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

from schemas.clock import now_ms
from tests.faults.ledger import Fault

PAIR_EVERY = 3
"""One strike in so many hits two roles at once."""
SPREAD = 0.5
"""Gaps are spread by this part of their mean, so that no kill finds the same moment as the one before."""


class Blow(Enum):
    """How a process is struck."""

    KILL = "SIGKILL"
    TERM = "SIGTERM"
    FREEZE = "SIGSTOP"


WEIGHTS: dict[Blow, int] = {Blow.KILL: 7, Blow.TERM: 1, Blow.FREEZE: 2}


@dataclass(frozen=True, slots=True)
class Strike:
    """One blow: after a wait, to one role or two. `pick` chooses among instances, `frozen_s` is for FREEZE."""

    after_s: float
    blow: Blow
    whom: tuple[str, ...]
    pick: float
    frozen_s: float


def schedule(
    seed: int, roles: Sequence[str], count: int, *, gap_s: float, frozen_s: Sequence[float]
) -> list[Strike]:
    """`count` strikes, on average `gap_s` apart; frozen processes stay so for one of `frozen_s`."""
    chance = random.Random(seed)
    strikes: list[Strike] = []
    waiting: list[str] = []
    while len(strikes) < count:
        wanted = 2 if len(roles) > 1 and len(strikes) % PAIR_EVERY == PAIR_EVERY - 1 else 1
        whom: list[str] = []
        while len(whom) < wanted:
            if not waiting:
                waiting = chance.sample(list(roles), len(roles))
            role = waiting.pop()
            if role not in whom:
                whom.append(role)
        (blow,) = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        wait_s = gap_s * chance.uniform(1 - SPREAD, 1 + SPREAD)
        strikes.append(Strike(wait_s, blow, tuple(whom), chance.random(), chance.choice(list(frozen_s))))
    return strikes


class Victims:
    """What the killer needs to know of those it may strike."""

    def __init__(
        self, instances: Callable[[str], Sequence[str]], send: Callable[[str, Signals], bool]
    ) -> None:
        """`instances`: names of a role's processes; `send`: signals one of them, False when it does not run."""
        self.instances = instances
        self.send = send


class Killer:
    """Carries a schedule out in a thread of its own, and remembers what it did."""

    def __init__(self, victims: Victims, strikes: Sequence[Strike]) -> None:
        self.faults: list[Fault] = []
        self.blows: Counter[Blow] = Counter()
        """Processes struck."""
        self._victims = victims
        self._strikes = strikes
        self._carried_out = 0
        self._stop = threading.Event()
        self._frozen: list[threading.Timer] = []
        self._thread = threading.Thread(target=self._run, name="killer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def done(self) -> bool:
        """True when the schedule is at its end."""
        return not self._thread.is_alive()

    @property
    def progress(self) -> float:
        """The part of the schedule that is carried out."""
        return self._carried_out / max(1, len(self._strikes))

    def stop(self) -> None:
        """Strike no more; whoever is frozen is thawed."""
        self._stop.set()
        self._thread.join()
        for timer in self._frozen:
            if timer.is_alive():
                timer.cancel()
                self._thaw(*timer.args)

    def _run(self) -> None:
        for strike in self._strikes:
            if self._stop.wait(strike.after_s):
                return
            for role in strike.whom:
                self._strike(strike, role)
            self._carried_out += 1

    def _strike(self, strike: Strike, role: str) -> None:
        names = list(self._victims.instances(role))
        if not names:
            return
        name = names[int(strike.pick * len(names))]
        wanted = {Blow.KILL: SIGKILL, Blow.TERM: SIGTERM, Blow.FREEZE: SIGSTOP}[strike.blow]
        at_ms = now_ms()
        if not self._victims.send(name, wanted):
            return
        self.faults.append(Fault(at_ms, wanted.name, role))
        self.blows[strike.blow] += 1
        if strike.blow is Blow.FREEZE:
            timer = threading.Timer(strike.frozen_s, self._thaw, (name, role))
            timer.daemon = True
            self._frozen.append(timer)
            timer.start()

    def _thaw(self, name: str, role: str) -> None:
        """Also a process that was killed meanwhile and started again gets this; it does nothing to one that runs."""
        if self._victims.send(name, SIGCONT):
            self.faults.append(Fault(now_ms(), "SIGCONT", role))
