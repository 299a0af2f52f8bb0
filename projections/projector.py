"""The projector: a handler of the step engine that folds the log into the read models of `projections.v1`.

`deletions` is read first. A purge empties every person table of the subject and leaves a fence, so that whatever names the
subject later, from a topic that was read late, makes no row.
"""

import logging
from collections.abc import Sequence

import orjson

from projections import tables
from projections.changes import Changes, Purge, changes_of
from projections.tables import Row
from schemas.clock import MS_PER_S, now_ms, to_text
from schemas.envelope import Event, InvalidEvent
from schemas.events.deletions import StorePurged
from schemas.events.registry import build
from schemas.ids import event_id, is_id
from schemas.metrics import gauge, histogram
from schemas.stores import PROJECTION_V1
from schemas.topics import CONSENTS, DELETIONS, GUARDED, MESSAGES, STATUSES, SUBSCRIPTIONS
from streams.step.contract import Cursor, Effects, Item, Poison, Record
from streams.step.errors import StopPartition

ROLE = "projector"
MODEL = "v1"
log = logging.getLogger(__name__)

Person = tuple[str, str]

_FENCED = """
select f.tenant, f.subject from projections.fence f
join json_to_recordset(%s::json) as r(tenant text, subject text) using (tenant, subject)
"""
_DELETE = """
delete from projections.{table} m using json_to_recordset(%s::json) as r(tenant text, subject text)
where m.tenant = r.tenant and m.subject = r.subject
"""


class ProjectorHandler:
    """Applies subject topics to the read models; its only output is StorePurged. Needs the projections database alone."""

    role = ROLE
    topics: tuple[str, ...] = (SUBSCRIPTIONS, CONSENTS, MESSAGES, STATUSES, DELETIONS)
    priority_topic: str | None = DELETIONS

    def __init__(self) -> None:
        self._freshness = gauge("sealpost_projection_freshness_seconds").labels(MODEL)
        self._delay = histogram("sealpost_stage_delay_seconds").labels("projection")
        self._unknown_types: set[str] = set()

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        """Decode and validate each record and turn it into rows."""
        return [self._prepare_one(record) for record in records]

    def _prepare_one(self, record: Record) -> Item | Poison:
        try:
            event = Event.from_bytes(record.value)
            if not is_id(event.subject):
                raise InvalidEvent("the subject is no id")
            if record.key != event.key():
                raise InvalidEvent("the record key is not the subject")
            changes = changes_of(event, record)
        except InvalidEvent as error:
            return Poison(record, type(error).__name__, _subject_of(record))
        if (
            any(table is tables.UNKNOWN_EVENT for table, _ in changes.rows)
            and event.type not in self._unknown_types
        ):
            self._unknown_types.add(event.type)
            log.warning(
                "events of an unknown type are counted in projections.unknown_event",
                extra={"topic": record.topic},
            )
        return Item(event.id, record.partition, record.time_ms, changes, record=record)

    def apply(self, cursor: Cursor, items: Sequence[Item], effects: Effects) -> None:
        """Fold a batch: fences first, then one statement a table, then purges and their receipts."""
        batch = [(item, changes) for item in items if isinstance(changes := item.value, Changes)]
        if not batch:
            return
        purges = {(c.tenant, c.subject): c.purge for _, c in batch if c.purge is not None}
        fenced = _fenced(cursor, {(c.tenant, c.subject) for _, c in batch}) | purges.keys()
        rows: dict[str, list[Row]] = {table.name: [] for table in tables.MERGE_ORDER}
        for _, changes in batch:
            is_fenced = (changes.tenant, changes.subject) in fenced
            for table, row in changes.rows:
                if not is_fenced or table in tables.OF_ERASURES:
                    rows[table.name].append(row)
        for table in tables.MERGE_ORDER:
            table.merge(cursor, rows[table.name])
        if purges:
            _purge(cursor, purges)
        for item, changes in batch:
            if changes.purge is not None:
                _receipt(item, changes, changes.purge, effects)
        self._measure([item.now_ms for item, _ in batch])

    def poisoned(self, cursor: Cursor, poison: Poison, effects: Effects) -> None:
        """Mark the subject's row stale: what is shown of it lacks an event. StopPartition when a consent or a deletion does not
        even tell whom it concerns: a wrong permission would be shown of somebody, or somebody's rows would stay for ever."""
        record = poison.record
        try:
            event = Event.from_bytes(record.value)
        except InvalidEvent:
            event = None
        if event is not None and is_id(event.subject):
            person = (event.tenant, event.subject)
            if not _fenced(cursor, {person}):
                seen_at = to_text(record.time_ms)
                changes = Changes(event.tenant, event.subject)
                changes.add(tables.SUBJECT, first_event_at=seen_at, stale=True)
                tables.SUBJECT.merge(cursor, [row for _, row in changes.rows])
        elif poison.subject is not None:
            cursor.execute(
                "update projections.subject set stale = true where subject = %s", (poison.subject,)
            )
        elif record.topic in GUARDED:
            where = f"{record.topic}/{record.partition} offset {record.offset}"
            raise StopPartition(f"role {ROLE}: {where} does not tell whom it concerns ({poison.reason})")

    def caught_up(self, cursor: Cursor, partitions: Sequence[int]) -> None:
        """All that is in the log is shown."""
        self._freshness.set(0)

    def _measure(self, times_ms: Sequence[int]) -> None:
        now = now_ms()
        self._freshness.set(max(0.0, (now - max(times_ms)) / MS_PER_S))
        self._delay.observe(max(0.0, (now - min(times_ms)) / MS_PER_S))


def _subject_of(record: Record) -> str | None:
    key = (record.key or b"").decode("ascii", "replace")
    return key if is_id(key) else None


def _as_json(persons: set[Person]) -> str:
    return orjson.dumps(
        [{"tenant": tenant, "subject": subject} for tenant, subject in sorted(persons)]
    ).decode()


def _fenced(cursor: Cursor, persons: set[Person]) -> set[Person]:
    rows = cursor.execute(_FENCED, (_as_json(persons),)).fetchall()
    return {(row[0], row[1]) for row in rows}


def _purge(cursor: Cursor, purges: dict[Person, Purge]) -> None:
    fences: list[Row] = [
        {"tenant": tenant, "subject": subject, "erasure": purge.erasure, "erased_at": purge.t1}
        for (tenant, subject), purge in purges.items()
    ]
    tables.FENCE.merge(cursor, fences)
    persons = _as_json(set(purges))
    for table in tables.OF_A_PERSON:
        cursor.execute(_DELETE.format(table=table.name), (persons,))


def _receipt(item: Item, changes: Changes, purge: Purge, effects: Effects) -> None:
    """StorePurged; its id follows from the KeyDestroyed that caused it, so a repeat is dropped by every reader."""
    now = now_ms()
    receipt = build(
        StorePurged(erasure=purge.erasure, store=PROJECTION_V1, purged_at=to_text(now)),
        id=event_id(purge.erasure.encode(), purge.cause, ROLE, "store_purged"),
        role=ROLE,
        tenant=changes.tenant,
        subject=changes.subject,
        at_ms=now,
        cause=purge.cause,
        correlation=purge.correlation,
    )
    effects.emit(item.partition, DELETIONS, receipt.key(), receipt.to_bytes())
