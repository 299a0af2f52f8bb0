"""Rates as pure arithmetic on a clock that is handed in (boot seconds).

The generic cell rate algorithm: one number, the time at which the next message would be due had all been sent evenly; a
message may go while that time is not further ahead than the burst allows.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Rate:
    """At most `burst` messages at once and one every `interval_s` in the long run."""

    interval_s: float
    burst: int
    _due_s: float = field(default=0.0)
    _held_s: float = field(default=0.0)

    def wait_s(self, now_s: float) -> float:
        """0 when a message may go now, else how long it must wait."""
        return max(0.0, self._held_s - now_s, self._due_s - now_s - (self.burst - 1) * self.interval_s)

    def take(self, now_s: float) -> None:
        """A message goes now."""
        self._due_s = max(self._due_s, now_s) + self.interval_s

    def give_back(self) -> None:
        """The message taken last did not go after all."""
        self._due_s -= self.interval_s

    def hold(self, until_s: float) -> None:
        """Nothing goes before this time; afterwards no burst is owed."""
        self._held_s = max(self._held_s, until_s)
        self._due_s = max(self._due_s, until_s + (self.burst - 1) * self.interval_s)

    def change(self, interval_s: float, burst: int, now_s: float) -> None:
        """Other figures from now on. What went already counts on, message for message; a hold stands."""
        owed = max(0.0, self._due_s - now_s) / self.interval_s
        self.interval_s, self.burst = interval_s, burst
        self._due_s = now_s + owed * interval_s

    def idle(self, now_s: float) -> bool:
        """True when this has no memory worth keeping: a new one would answer the same."""
        return self._due_s <= now_s


class PairRates:
    """The provider's limit between one account and one person; keeps only pairs whose burst is not whole again."""

    SWEEP_EVERY = 10_000
    """Pairs taken between two sweeps: bounds memory at little cost."""

    def __init__(self, interval_s: float, burst: int) -> None:
        self._interval_s = interval_s
        self._burst = burst
        self._pairs: dict[tuple[str, str], Rate] = {}
        self._since_sweep = 0

    def __len__(self) -> int:
        return len(self._pairs)

    def change(self, interval_s: float, burst: int, now_s: float) -> None:
        """Other figures from now on, for every pair."""
        self._interval_s, self._burst = interval_s, burst
        for rate in self._pairs.values():
            rate.change(interval_s, burst, now_s)

    def wait_s(self, pair: tuple[str, str], now_s: float) -> float:
        """0 when a message to this person may go now, else how long it must wait."""
        rate = self._pairs.get(pair)
        return rate.wait_s(now_s) if rate else 0.0

    def give_back(self, pair: tuple[str, str]) -> None:
        """The message to this person taken last did not go after all."""
        rate = self._pairs.get(pair)
        if rate is not None:
            rate.give_back()

    def take(self, pair: tuple[str, str], now_s: float) -> None:
        """A message to this person goes now."""
        rate = self._pairs.get(pair)
        if rate is None:
            rate = self._pairs[pair] = Rate(self._interval_s, self._burst)
        rate.take(now_s)
        self._since_sweep += 1
        if self._since_sweep >= self.SWEEP_EVERY:
            self._since_sweep = 0
            self._pairs = {known: kept for known, kept in self._pairs.items() if not kept.idle(now_s)}
