"""A cache of what may be held for a short time only (DESIGN §7, Leases).

The deadline is on the boot clock and noted before the call that fetched the value, so it is never later than the moment of
issue plus the lease. Errors and absence are never cached; one fetch at a time a key (the others wait for it); batches.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Generic, TypeVar

from schemas.clock import boot_s

K = TypeVar("K")
V = TypeVar("V")
LIMIT = 100_000
"""Entries kept at most (about 250 bytes each); the longest unused go first."""


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    deadline_s: float


@dataclass(slots=True)
class _Flight(Generic[K, V]):
    """One fetch under way, by the thread that started it."""

    done: Event = field(default_factory=Event)
    results: Mapping[K, V] = field(default_factory=dict)
    deadline_s: float = 0.0
    error: BaseException | None = None


class LeaseCache(Generic[K, V]):
    """Leased values by key; thread-safe."""

    def __init__(self, life_s: float, limit: int = LIMIT, keep: Callable[[V], bool] | None = None) -> None:
        """`keep` says which values may be cached; the others are answered and forgotten."""
        self._life_s = life_s
        self._keep = keep
        self._limit = limit
        self._lock = Lock()
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._flights: dict[K, _Flight[K, V]] = {}

    def get_many(self, keys: Collection[K], fetch: Callable[[list[K]], Mapping[K, V]]) -> dict[K, V]:
        """Values of all keys that exist: leased ones at once, the rest by one call of `fetch`, which must answer with what
        it found. What it does not answer is absent from the result and not cached; what it raises goes to all who wait."""
        found, missing = self._held(dict.fromkeys(keys))
        while missing:
            own, flight, others = self._start(missing, found)
            if own:
                self._fly(own, flight, fetch)
                found.update((key, flight.results[key]) for key in own if key in flight.results)
            missing = self._land(others, found)
        return found

    def _held(self, keys: Iterable[K]) -> tuple[dict[K, V], list[K]]:
        """What is leased now, and the keys that are not: on hot paths that is everything, and nothing else is to be done."""
        found: dict[K, V] = {}
        missing: list[K] = []
        now = boot_s()
        with self._lock:
            for key in keys:
                entry = self._entries.get(key)
                if entry is not None and now < entry.deadline_s:
                    self._entries.move_to_end(key)
                    found[key] = entry.value
                else:
                    missing.append(key)
        return found, missing

    def forget(self, keys: Iterable[K]) -> None:
        """Drop leases before their deadline."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)

    def forget_where(self, matches: Callable[[K], bool]) -> None:
        """Drop all leases whose key matches; walks the whole cache."""
        with self._lock:
            for key in [key for key in self._entries if matches(key)]:
                del self._entries[key]

    def _start(
        self, keys: list[K], found: dict[K, V]
    ) -> tuple[list[K], _Flight[K, V], dict[K, _Flight[K, V]]]:
        own: list[K] = []
        others: dict[K, _Flight[K, V]] = {}
        flight: _Flight[K, V] = _Flight()
        now = boot_s()
        with self._lock:
            for key in keys:
                entry = self._entries.get(key)
                if entry is not None and now < entry.deadline_s:
                    self._entries.move_to_end(key)
                    found[key] = entry.value
                elif key in self._flights:
                    others[key] = self._flights[key]
                else:
                    self._flights[key] = flight
                    own.append(key)
        return own, flight, others

    def _fly(self, own: list[K], flight: _Flight[K, V], fetch: Callable[[list[K]], Mapping[K, V]]) -> None:
        deadline_s = boot_s() + self._life_s
        try:
            flight.results = fetch(own)
            flight.deadline_s = deadline_s
        except BaseException as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                for key in own:
                    del self._flights[key]
                    if key in flight.results and (self._keep is None or self._keep(flight.results[key])):
                        self._entries[key] = _Entry(flight.results[key], deadline_s)
                        self._entries.move_to_end(key)
                while len(self._entries) > self._limit:
                    self._entries.popitem(last=False)
            flight.done.set()

    @staticmethod
    def _land(others: dict[K, _Flight[K, V]], found: dict[K, V]) -> list[K]:
        """Wait for the flights of other threads; returns the keys whose answer came too late and must be asked for again."""
        again: list[K] = []
        for key, flight in others.items():
            flight.done.wait()
            if flight.error is not None:
                raise flight.error
            if boot_s() >= flight.deadline_s:
                again.append(key)
            elif key in flight.results:
                found[key] = flight.results[key]
        return again
