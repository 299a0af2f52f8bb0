"""What a handler and the step engine say to one another (DESIGN §6, protocols §1).

A handler is pure but for its own tables: it gets items inside the engine's transaction, writes its rows through the
cursor it is given, and leaves outputs and wakes in `Effects`. It never produces, commits or acknowledges.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import psycopg

Cursor = psycopg.Cursor[Any]


class Record(NamedTuple):
    """One Kafka record as read; `time_ms` is the broker's (LogAppendTime). A tuple, as all that is made for every event: a
    frozen dataclass takes three times as long."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class Due:
    """A wake whose time has come: an input with `now = at_ms`, handled by the owner of its partition."""

    partition: int
    at_ms: int
    seq: int
    key: str
    kind: str
    body: dict[str, Any]


class Item(NamedTuple):
    """One input of a handler: a record that `prepare` understood, or a due wake.

    `id` is what repeats are dropped by (32 hex digits; ignored for wakes); `value` is whatever `prepare` made of it.
    """

    id: str
    partition: int
    now_ms: int
    value: Any
    record: Record | None = None
    due: Due | None = None


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that `prepare` cannot handle: it is dead-lettered with `reason`, a class name without personal data.

    `subject` is set when the record at least tells whom it is about.
    """

    record: Record
    reason: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """Records and what `prepare` made of them, one answer each: what a step may begin with."""

    records: Sequence[Record]
    answers: list[Item | Poison]


class Output(NamedTuple):
    """A record to produce once the transaction has committed."""

    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Wake:
    """A row for the `due` table: `body` is JSON; `key` lets the handler find and cancel its own wakes."""

    at_ms: int
    key: str
    kind: str
    body: dict[str, Any]


@dataclass(slots=True)
class Effects:
    """What a step leaves behind beside the handler's own rows, by partition number of the input that caused it."""

    outputs: dict[int, list[Output]] = field(default_factory=dict)
    wakes: dict[int, list[Wake]] = field(default_factory=dict)

    def emit(self, partition: int, topic: str, key: bytes, value: bytes) -> None:
        """Produce this record after the commit, behind those emitted before for the same partition."""
        self.outputs.setdefault(partition, []).append(Output(topic, key, value))

    def wake(self, partition: int, wake: Wake) -> None:
        """Hand this back to the handler, as a Due item of the same partition, once its time has come."""
        self.wakes.setdefault(partition, []).append(wake)


class Handler(Protocol):
    """A stateful reader of topics."""

    role: str
    """Names the owner rows, positions, outbox and due rows: unique within a database."""
    topics: tuple[str, ...]
    """All co-partitioned; `priority_topic` is read to its end at take-over before any other."""
    priority_topic: str | None

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        """Decode, validate, open: one answer a record, in order. No effects; may be repeated, and may run in another thread
        while `apply` handles the batch before."""
        ...

    def apply(self, cursor: Cursor, items: Sequence[Item], effects: Effects) -> None:
        """Handle new items in order, inside the step's transaction. Applying an item twice must equal once."""
        ...

    def poisoned(self, cursor: Cursor, poison: Poison, effects: Effects) -> None:
        """A record is being dead-lettered: restrict or mark its subject, inside the same transaction."""
        ...

    def caught_up(self, cursor: Cursor, partitions: Sequence[int]) -> None:
        """Called at most once a second, in a transaction of its own, for owned partitions read to their end."""
        ...
