"""Positions: what belongs to this log, and what a batch moves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from schemas import topics
from streams.kafka.admin import ClusterIdentity, LogRange
from streams.step.contract import Record
from streams.step.errors import Fenced, PositionInvalid
from streams.step.store import StoredPosition, TopicPart

COMPACTED = frozenset(topic.name for topic in topics.catalogue() if topic.compact)
"""Topics in whose logs offsets may be missing."""


@dataclass(frozen=True, slots=True)
class Unread:
    """The records of a batch at or above the positions, and where reading goes on after them."""

    records: list[Record]
    moved: dict[TopicPart, int]


def check(
    role: str, part: TopicPart, stored: StoredPosition | None, log: LogRange, cluster: ClusterIdentity
) -> int:
    """The offset at which to go on reading; the start of the log when the role has never read it.

    PositionInvalid when the position is of another cluster or topic, below the start of the log or beyond its end.
    """
    topic, partition = part
    if stored is None:
        return log.low
    where = f"role {role}, {topic}/{partition}: position {stored.next_offset}"
    if stored.cluster_id != cluster.cluster_id:
        raise PositionInvalid(f"{where} belongs to cluster {stored.cluster_id}, this is {cluster.cluster_id}")
    if stored.topic_id != cluster.topic_id(topic):
        raise PositionInvalid(f"{where} belongs to another topic of this name; it was made anew")
    if stored.next_offset > log.high:
        raise PositionInvalid(f"{where} is beyond the end of the log ({log.high})")
    if stored.next_offset < log.low and topic not in COMPACTED:
        raise PositionInvalid(f"{where} is below the start of the log ({log.low}): records are gone unread")
    return max(stored.next_offset, log.low)


def unread(
    role: str,
    records: Sequence[Record],
    positions: Mapping[TopicPart, int],
    compacted: Collection[str] = COMPACTED,
) -> Unread:
    """Skip what is below the positions; PositionInvalid at a gap, Fenced for a partition without a position here."""
    taken: list[Record] = []
    moved: dict[TopicPart, int] = {}
    part: TopicPart | None = None
    expected = 0
    for record in records:
        if part is None or record.partition != part[1] or record.topic != part[0]:
            if part is not None:
                moved[part] = expected
            part = (record.topic, record.partition)
            known = moved.get(part, positions.get(part))
            if known is None:
                raise Fenced(f"role {role} does not own {part[0]}/{part[1]}")
            expected = known
        offset = record.offset
        if offset < expected:
            continue
        if offset > expected and record.topic not in compacted:
            raise PositionInvalid(
                f"role {role}, {record.topic}/{record.partition}: offset {offset} follows {expected - 1}; "
                "the records between are gone"
            )
        expected = offset + 1
        taken.append(record)
    if part is not None:
        moved[part] = expected
    return Unread(taken, moved)
