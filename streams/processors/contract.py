"""What a processor and its runner say to one another: values only (DESIGN §8, protocols §8).

A processor is pure: no I/O, no keys, no clock but the input's broker time. Applying any input twice, at any distance,
equals once: it keeps in its state what it needs to know a repeat, and derives every id from the cause.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

from schemas.envelope import Event, EventData
from schemas.ids import derived_id, event_id, message_id
from schemas.settings import TenantSettings


@dataclass(frozen=True, slots=True)
class Ids:
    """Makes the ids of what one input leads to. `key` is the tenant's id key, `cause` an event id or another lasting name."""

    key: bytes = field(repr=False)
    role: str
    cause: str

    def event(self, slot: str) -> str:
        """Id of an event; `slot` is a constant name in the code."""
        return event_id(self.key, self.cause, self.role, slot)

    def message(self, day: date, slot: str) -> str:
        """Id of a message asked for on this UTC day."""
        return message_id(day, self.key, self.cause, self.role, slot)

    def thing(self, slot: str) -> str:
        """Id of something that is neither event nor message: an opt-in, a subscription."""
        return derived_id(self.key, "thing", self.cause, self.role, slot)

    def because(self, cause: str) -> "Ids":
        """The same for another cause: what several inputs may lead to is named by what they have in common."""
        return Ids(self.key, self.role, cause)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event as input; `now_ms` is the broker's time of its record."""

    event: Event
    data: EventData
    now_ms: int


@dataclass(frozen=True, slots=True)
class Woken:
    """A wake as input; `now_ms` is the time it was set for, `body` what was left with it."""

    kind: str
    body: Mapping[str, Any]
    now_ms: int


Input = Heard | Woken


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to write. Tenant, subject and time are those of the input; the topic follows from the type."""

    id: str
    data: EventData
    channel: str | None = None
    cause: str | None = None
    correlation: str | None = None


@dataclass(frozen=True, slots=True)
class NewWake:
    """Hand `body` back as `Woken` once `at_ms` has come. A wake that is no longer wanted is recognised by the state."""

    at_ms: int
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Count:
    """Something to count or observe: metric of the catalogue, its labels, and the value (1 for a counter)."""

    metric: str
    labels: tuple[str, ...]
    value: float = 1.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What an input leads to. `state` None means that no row is kept; `purge` deletes the row and leaves a fence;
    `unfinished` marks the row for a gauge."""

    state: dict[str, Any] | None
    events: tuple[NewEvent, ...] = ()
    wakes: tuple[NewWake, ...] = ()
    counts: tuple[Count, ...] = ()
    purge: bool = False
    unfinished: bool = False


class Processor(Protocol):
    """A pure decision maker. State is the JSON of its row, one row a (tenant, subject)."""

    @property
    def name(self) -> str:
        """Role, group and source of what it writes; never changes, for ids are derived from it."""
        ...

    @property
    def topics(self) -> tuple[str, ...]:
        """What it reads; all co-partitioned."""
        ...

    @property
    def first_topics(self) -> tuple[str, ...]:
        """Topics of these that are read to their end, in this order, before the others, whenever partitions are taken over."""
        ...

    @property
    def handled(self) -> frozenset[str]:
        """Event types it decides on; others are skipped."""
        ...

    @property
    def state_version(self) -> int:
        """Layout of the state; a row of another layout is brought up by `upcast`."""
        ...

    def upcast(self, state: dict[str, Any], version: int) -> dict[str, Any]:
        """A state of an older layout in today's; ValueError when the layout is not known."""
        ...

    def lacks(self, settings: TenantSettings | None, heard: Heard) -> bool:
        """True when these settings may be too old to decide: the runner reads them to their end, then decides in any case."""
        ...

    def decide(
        self, settings: TenantSettings, ids: Ids, state: dict[str, Any] | None, given: Input
    ) -> Decision:
        """Decide one input; `ids` has the input as its cause."""
        ...
