"""How often one source may ask, or one form be used: token buckets by a keyed hash of its address or name, in memory; no address
is kept or logged."""

from collections import OrderedDict
from dataclasses import dataclass

from schemas.clock import boot_s
from schemas.ids import keyed_hash, random_bytes

SOURCES_MAX = 20_000
"""Buckets kept; the one longest unused goes first. Bounds the memory that strangers can take."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` at once, and one more every `every_s` seconds."""

    burst: int
    every_s: float


class Limiter:
    """One limit for many sources. For one event loop."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._key = random_bytes(32)
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def allows(self, source: str) -> bool:
        """Take one from the source's bucket; False when it is empty."""
        name, now_s = keyed_hash(self._key, source)[:16], boot_s()
        left, at_s = self._buckets.pop(name, (float(self._limit.burst), now_s))
        left = min(self._limit.burst, left + (now_s - at_s) / self._limit.every_s)
        allowed = left >= 1.0
        self._buckets[name] = (left - 1.0 if allowed else left, now_s)
        if len(self._buckets) > SOURCES_MAX:
            self._buckets.popitem(last=False)
        return allowed
