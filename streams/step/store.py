"""The engine's own rows: owner, positions, outbox, seen, due. Statements only; what they mean is the engine's business.

No Python list is ever a SQL parameter here (psycopg adapts them element by element): arrays are literals, rows are JSON.
"""

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson
import psycopg

from schemas.errors import SealpostError
from streams.step.contract import Cursor, Due, Output, Wake
from streams.step.postgres import Connection

OUTBOX_FORMAT = 1
_HEADER = struct.Struct("<BII")

TopicPart = tuple[str, int]

_LOCK = """
select o.partition from step.owner o
join unnest(%s::integer[], %s::bigint[]) as mine(partition, epoch) on o.partition = mine.partition and o.epoch = mine.epoch
where o.role = %s order by o.partition for update of o
"""
_NOTE_SEEN = "select place from step.note_seen(%s, %s::date, %s::uuid[], %s) as place"
_POSITIONS = """
insert into step.position (role, topic, partition, next_offset, cluster_id, topic_id)
select %s, p.topic, p.partition, p.next_offset, %s, p.topic_id
from json_to_recordset(%s::json) as p(topic text, partition integer, next_offset bigint, topic_id text)
on conflict (role, topic, partition) do update
set next_offset = excluded.next_offset, cluster_id = excluded.cluster_id, topic_id = excluded.topic_id
"""
_OUTBOX = """
insert into step.outbox (role, partition, records) values (%s, %s, %b)
on conflict (role, partition) do update set records = excluded.records
"""
_OUTBOX_GONE = "delete from step.outbox where role = %s and partition = any(%s::integer[])"
_DUE = """
select d.partition, d.at, d.seq, d.key, d.kind, d.body
from unnest(%s::integer[]) as mine(partition)
cross join lateral (
    select * from step.due where role = %s and partition = mine.partition and at <= %s order by at, seq limit %s
) d order by d.at, d.seq limit %s
"""
_NEXT_DUE = """
select min(d.at) from unnest(%s::integer[]) as mine(partition)
cross join lateral (
    select at from step.due where role = %s and partition = mine.partition order by at, seq limit 1
) d
"""
_DUE_DONE = """
delete from step.due d
using unnest(%s::integer[], %s::bigint[], %s::bigint[]) as done(partition, at, seq)
where d.role = %s and d.partition = done.partition and d.at = done.at and d.seq = done.seq
"""
_WAKES = """
insert into step.due (role, partition, at, key, kind, body)
select %s, w.partition, w.at, w.key, w.kind, w.body
from rows from (json_to_recordset(%s::json) as (partition integer, at bigint, key text, kind text, body jsonb))
with ordinality as w(partition, at, key, kind, body, place) order by w.place
"""
_OWN = """
insert into step.owner (role, partition, epoch) select %s, mine.partition, 1 from unnest(%s::integer[]) as mine(partition)
order by mine.partition
on conflict (role, partition) do update set epoch = owner.epoch + 1 returning partition, epoch
"""


class OutboxUnreadable(SealpostError):
    """An outbox row is not of a known format: it was written by a newer release. Start that release again."""


@dataclass(frozen=True, slots=True)
class StoredPosition:
    """A row of `step.position`."""

    next_offset: int
    cluster_id: str
    topic_id: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a take-over found: new epochs, stored positions, recorded outputs by partition."""

    epochs: Mapping[int, int]
    positions: Mapping[TopicPart, StoredPosition]
    outbox: Mapping[int, Sequence[Output]]


def literal(numbers: Iterable[int]) -> str:
    """An array literal of integers."""
    return "{" + ",".join(map(str, numbers)) + "}"


def lock_owners(connection: Connection, role: str, epochs: Mapping[int, int]) -> psycopg.Cursor[Any]:
    """Lock the owner rows that still carry these epochs; as many rows come back as are still ours."""
    return connection.execute(_LOCK, (literal(epochs), literal(epochs.values()), role), prepare=True)


def note_seen(
    connection: Connection, role: str, day: date, ids: Sequence[str], kept_days: int
) -> psycopg.Cursor[Any]:
    """Note ids (different ones); the rows are the places, from 1, of those that had been noted before."""
    return connection.execute(_NOTE_SEEN, (role, day, "{" + ",".join(ids) + "}", kept_days), prepare=True)


def write_positions(
    connection: Connection,
    role: str,
    cluster_id: str,
    topic_ids: Mapping[str, str],
    positions: Mapping[TopicPart, int],
) -> None:
    """Upsert next offsets."""
    rows = [
        {"topic": topic, "partition": partition, "next_offset": offset, "topic_id": topic_ids[topic]}
        for (topic, partition), offset in sorted(positions.items())
    ]
    connection.execute(_POSITIONS, (role, cluster_id, orjson.dumps(rows).decode()), prepare=True)


def write_outbox(connection: Connection, role: str, partition: int, outputs: Sequence[Output]) -> None:
    """Replace a partition's outbox row."""
    connection.execute(_OUTBOX, (role, partition, encode_outputs(outputs)), prepare=True)


def drop_outbox(connection: Connection, role: str, partitions: Iterable[int]) -> None:
    """Delete outbox rows; every record in them is acknowledged."""
    connection.execute(_OUTBOX_GONE, (role, literal(partitions)), prepare=True)


def read_due(
    connection: Connection, role: str, partitions: Sequence[int], now_ms: int, limit: int
) -> psycopg.Cursor[Any]:
    """Rows (partition, at, seq, key, kind, body) that are due, by (at, seq)."""
    return connection.execute(_DUE, (literal(partitions), role, now_ms, limit, limit), prepare=True)


def next_due_ms(connection: Connection, role: str, partitions: Sequence[int]) -> int | None:
    """When the first row becomes due, or None."""
    row = connection.execute(_NEXT_DUE, (literal(partitions), role), prepare=True).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def drop_due(connection: Connection, role: str, done: Sequence[Due]) -> None:
    """Delete rows that are handled."""
    columns = (
        literal(d.partition for d in done),
        literal(d.at_ms for d in done),
        literal(d.seq for d in done),
    )
    connection.execute(_DUE_DONE, (*columns, role), prepare=True)


def write_wakes(connection: Connection, role: str, wakes: Mapping[int, Sequence[Wake]]) -> None:
    """Insert due rows, in order."""
    rows = [
        {"partition": partition, "at": wake.at_ms, "key": wake.key, "kind": wake.kind, "body": wake.body}
        for partition, some in wakes.items()
        for wake in some
    ]
    connection.execute(_WAKES, (role, orjson.dumps(rows).decode()), prepare=True)


def make_seen_days(connection: Connection, first: date, count: int) -> None:
    """Make the day partitions of `seen` that are missing."""
    connection.execute("select step.make_seen_partitions(%s, %s)", (first, count))


def own(cursor: Cursor, role: str, partitions: Sequence[int]) -> Found:
    """Raise the epochs and read what the owner before left."""
    numbers = literal(partitions)
    cursor.execute(_OWN, (role, numbers))
    epochs = {int(row[0]): int(row[1]) for row in cursor.fetchall()}
    cursor.execute(
        "select topic, partition, next_offset, cluster_id, topic_id from step.position "
        "where role = %s and partition = any(%s::integer[])",
        (role, numbers),
    )
    positions = {
        (row[0], int(row[1])): StoredPosition(int(row[2]), row[3], row[4]) for row in cursor.fetchall()
    }
    cursor.execute(
        "select partition, records from step.outbox where role = %s and partition = any(%s::integer[]) order by partition",
        (role, numbers),
        binary=True,
    )
    outbox = {int(row[0]): decode_outputs(bytes(row[1])) for row in cursor.fetchall()}
    return Found(epochs, positions, outbox)


def encode_outputs(outputs: Sequence[Output]) -> bytes:
    """Records as bytes, in columns: header, topic names, topic numbers, key and value lengths, keys, values."""
    topics = list(dict.fromkeys(output.topic for output in outputs))
    numbers = {topic: number for number, topic in enumerate(topics)}
    names = "\n".join(topics).encode()
    columns = (
        array("I", [numbers[output.topic] for output in outputs]),
        array("I", [len(output.key) for output in outputs]),
        array("I", [len(output.value) for output in outputs]),
    )
    return b"".join(
        (
            _HEADER.pack(OUTBOX_FORMAT, len(outputs), len(names)),
            names,
            *(column.tobytes() for column in columns),
            *(output.key for output in outputs),
            *(output.value for output in outputs),
        )
    )


def decode_outputs(raw: bytes) -> list[Output]:
    """The inverse of `encode_outputs`, byte for byte; OutboxUnreadable when it is of another format."""
    if len(raw) < _HEADER.size or raw[0] != OUTBOX_FORMAT:
        raise OutboxUnreadable("an outbox row is of an unknown format")
    _, count, names_length = _HEADER.unpack_from(raw)
    at = _HEADER.size + names_length
    topics = raw[_HEADER.size : at].decode().split("\n")
    columns: list[array[int]] = []
    for _ in range(3):
        column = array("I")
        size = count * column.itemsize
        column.frombytes(raw[at : at + size])
        columns.append(column)
        at += size
    parts: list[list[bytes]] = []
    for lengths in columns[1:]:
        cut: list[bytes] = []
        for length in lengths:
            cut.append(raw[at : at + length])
            at += length
        parts.append(cut)
    return [Output(topics[number], key, value) for number, key, value in zip(columns[0], *parts, strict=True)]
