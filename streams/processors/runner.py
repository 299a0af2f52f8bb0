"""Runs a pure processor as a handler of the step engine: rows in, decision, rows and events out (DESIGN §6, §8).

The only state is in the database: a row a subject, a fence a purged subject. Fences are rows of the same database and are
looked at in the transaction that decides, so no cache of them can be behind.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
import psycopg

from schemas.clock import MS_PER_S, boot_s, now_ms
from schemas.envelope import Event, InvalidEvent
from schemas.errors import SealpostError
from schemas.events import registry
from schemas.events.deletions import KeyDestroyed, SubjectErased
from schemas.ids import is_id
from schemas.metrics import counter, histogram
from schemas.settings import TenantSettings
from schemas.topics import GUARDED
from streams.processors.contract import Count, Decision, Heard, Ids, Input, NewEvent, Processor, Woken
from streams.processors.erasure.certificate import Signer, certify
from streams.step.contract import Cursor, Effects, Item, Poison, Record, Wake
from streams.step.errors import DatabaseAway, StopPartition
from vault.errors import UnknownTenant, VaultError

LOG = logging.getLogger(__name__)
SETTINGS_WAIT_S = 10.0
"""How long a step waits for the settings topic to be read to its end; afterwards the step is tried again."""
POSTPONE_S = 1.0
"""A wake that comes while the log has not been read to its end is looked at again after this."""
POSTPONE_LIMIT_S = 300.0
"""Wakes are postponed only so long after the start: a reader that never reaches the end must not hold them up for ever."""
OBSERVE_S = 10.0
"""Pause between two counts for gauges."""

_LOAD = """
select k.subject, k.tenant, s.version, s.state, f.subject is not null
from json_to_recordset(%s::json) as k(subject text, tenant text)
left join streams.state s on s.processor = %s and s.subject = k.subject and s.tenant = k.tenant
left join streams.fence f on f.processor = %s and f.subject = k.subject and f.tenant = k.tenant
"""
_SAVE = """
insert into streams.state (processor, subject, tenant, version, state, unfinished)
select %s, r.subject, r.tenant, %s, r.state, r.unfinished
from json_to_recordset(%s::json) as r(subject text, tenant text, state jsonb, unfinished boolean)
order by r.subject, r.tenant
on conflict (processor, subject, tenant) do update
set version = excluded.version, state = excluded.state, unfinished = excluded.unfinished
"""
_PURGE = """
with gone as (
    select * from json_to_recordset(%s::json) as g(subject text, tenant text)
), rows as (
    delete from streams.state s using gone where s.processor = %s and s.subject = gone.subject and s.tenant = gone.tenant
), due as (
    delete from step.due d using gone where d.role = %s and d.key = gone.subject
)
insert into streams.fence (processor, subject, tenant, fenced_at)
select %s, gone.subject, gone.tenant, %s from gone order by gone.subject, gone.tenant
on conflict do nothing
"""
_STALE = "update streams.state set stale = true where processor = %s and subject = %s"

Key = tuple[str, str]
"""Subject and tenant."""


class SettingsSource(Protocol):
    """Where settings come from: streams.kafka.settings_follower.SettingsFollower."""

    def tenant(self, tenant: str) -> TenantSettings | None:
        """Settings of one tenant as known now."""
        ...

    def refresh(self, timeout_s: float) -> None:
        """Return once everything published before this call is known."""
        ...


@dataclass(slots=True)
class _Row:
    """A subject's row while a batch is decided."""

    state: dict[str, Any] | None
    fenced: bool
    unfinished: bool = False
    changed: bool = False
    purged_at: int | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """One input, whom it is about and where it came from."""

    subject: str
    tenant: str
    partition: int
    cause: str
    given: Input


@dataclass(slots=True)
class _Reached:
    """Until when the log of each partition is known to have been read, in wall-clock milliseconds."""

    since_s: float = field(default_factory=boot_s)
    until_ms: dict[int, int] = field(default_factory=dict)

    def covers(self, partition: int, at_ms: int) -> bool:
        """True when everything said before `at_ms` was read, or waiting for that has lasted long enough."""
        return self.until_ms.get(partition, 0) >= at_ms or boot_s() - self.since_s > POSTPONE_LIMIT_S


class ProcessorHandler:
    """The handler of one processor, for Engine on any feed."""

    def __init__(
        self,
        processor: Processor,
        *,
        settings: SettingsSource,
        id_key: Callable[[str], bytes],
        signer: Signer | None = None,
        observe: Callable[[Cursor], None] | None = None,
    ) -> None:
        """`id_key`: tenant → id key (vault.tenant_ids), `signer`: signs where SubjectErased is written; a value, because a step
        writes in one database only; `observe` sets gauges from the rows now and then."""
        self.processor = processor
        self.role = processor.name
        self.topics = processor.topics
        self.first_topics = processor.first_topics
        self.priority_topic = processor.first_topics[0] if processor.first_topics else None
        self._settings = settings
        self._id_key = id_key
        self._signer = signer
        self._observe = observe
        self._observed_s = float("-inf")
        self._keys: dict[str, bytes] = {}
        self._rank = {topic: rank for rank, topic in enumerate(processor.topics)}
        self._reached = _Reached()

    # Handler

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        """Decode and validate; wait for settings that a decision depends on.

        StopPartition when a record of `consents` or `deletions` does not even tell whom it is about; DatabaseAway when
        the settings or the vault cannot be read.
        """
        answers = [self._read(record) for record in records]
        heard = [a.value for a in answers if isinstance(a, Item) and a.value is not None]
        if any(self.processor.lacks(self._settings.tenant(one.event.tenant), one) for one in heard):
            self._refresh()
        return [self._known(answer) for answer in answers]

    def apply(self, cursor: Cursor, items: Sequence[Item], effects: Effects) -> None:
        """Decide each input on its subject's row; rows are read and written once a batch, in key order."""
        work = [one for item in self._ordered(items) if (one := self._work(item, effects)) is not None]
        if not work:
            return
        rows = self._load(cursor, {(one.subject, one.tenant) for one in work})
        for one in work:
            row = rows[(one.subject, one.tenant)]
            ledger = isinstance(one.given, Heard) and isinstance(one.given.data, KeyDestroyed)
            if not row.fenced or ledger:
                self._decide(one, row, effects)
        self._save(cursor, rows)

    def poisoned(self, cursor: Cursor, poison: Poison, effects: Effects) -> None:
        """Mark the subject's row: it may be behind the log until the dead letter is replayed."""
        subject = poison.subject or _subject_of(poison.record)
        if subject is not None:
            cursor.execute(_STALE, (self.role, subject))

    def caught_up(self, cursor: Cursor, partitions: Sequence[int]) -> None:
        """Wakes until now may be handled: nothing said before them is unread."""
        at = now_ms()
        self._reached.until_ms.update(dict.fromkeys(partitions, at))
        if self._observe is not None and boot_s() - self._observed_s >= OBSERVE_S:
            self._observed_s = boot_s()
            self._observe(cursor)

    # Reading

    def _read(self, record: Record) -> Item | Poison:
        try:
            event = Event.from_bytes(record.value)
            if event.type not in self.processor.handled:
                if event.type not in registry.MODELS:
                    raise InvalidEvent("unknown event type")
                return Item(event.id, record.partition, record.time_ms, None, record)
            heard = Heard(event, registry.read(event), record.time_ms)
        except InvalidEvent as error:
            subject = _subject_of(record)
            if subject is None and record.topic in GUARDED:
                where = f"{record.topic}/{record.partition} offset {record.offset}"
                raise StopPartition(f"role {self.role}: {where} does not tell whom it is about") from None
            return Poison(record, type(error).__name__, subject)
        return Item(event.id, record.partition, record.time_ms, heard, record)

    def _known(self, answer: Item | Poison) -> Item | Poison:
        """Poison for events of a tenant that neither the settings (where they matter) nor the vault knows."""
        if isinstance(answer, Poison) or answer.value is None:
            return answer
        heard: Heard = answer.value
        settings = self._settings.tenant(heard.event.tenant)
        assert answer.record is not None  # _read always gives one
        try:
            self._tenant_key(heard.event.tenant)
        except UnknownTenant as error:
            return Poison(answer.record, type(error).__name__, heard.event.subject)
        if settings is None and self.processor.lacks(None, heard):
            return Poison(answer.record, UnknownTenant.__name__, heard.event.subject)
        return answer

    def _refresh(self) -> None:
        try:
            self._settings.refresh(SETTINGS_WAIT_S)
        except SealpostError as error:
            raise DatabaseAway(
                f"role {self.role}: settings are not readable ({type(error).__name__})"
            ) from None

    def _tenant_key(self, tenant: str) -> bytes:
        """A tenant's id key; it never changes, so it is asked for once."""
        if tenant not in self._keys:
            try:
                self._keys[tenant] = self._id_key(tenant)
            except UnknownTenant:
                raise
            except VaultError as error:
                raise StopPartition(
                    f"role {self.role}: an id key cannot be read ({type(error).__name__})"
                ) from None
            except psycopg.Error as error:
                raise DatabaseAway(f"role {self.role}: vault ({type(error).__name__})") from None
        return self._keys[tenant]

    # Deciding

    def _ordered(self, items: Sequence[Item]) -> Iterable[Item]:
        """Within a batch: the ledger, then consents, then messages, as the processor names its topics."""
        last = len(self._rank)
        return sorted(items, key=lambda i: -1 if i.record is None else self._rank.get(i.record.topic, last))

    def _work(self, item: Item, effects: Effects) -> _Work | None:
        if item.due is not None:
            body = dict(item.due.body)
            subject, tenant, at = str(body.pop("subject")), str(body.pop("tenant")), int(body.pop("at"))
            if not self._reached.covers(item.partition, at):
                later = now_ms() + round(POSTPONE_S * MS_PER_S)
                effects.wake(item.partition, Wake(later, item.due.key, item.due.kind, dict(item.due.body)))
                return None
            given = Woken(item.due.kind, body, at)
            return _Work(subject, tenant, item.partition, f"{item.due.kind}/{at}", given)
        if item.value is None:
            return None
        heard: Heard = item.value
        return _Work(heard.event.subject, heard.event.tenant, item.partition, heard.event.id, heard)

    def _decide(self, one: _Work, row: _Row, effects: Effects) -> None:
        settings = self._settings.tenant(one.tenant) or TenantSettings(one.tenant)
        ids = Ids(self._tenant_key(one.tenant), self.role, one.cause)
        decision = self.processor.decide(settings, ids, row.state, one.given)
        if decision.purge:
            row.purged_at, row.fenced, row.state, row.changed = one.given.now_ms, True, None, False
            _forget_wakes(effects, one)
        elif decision.state != row.state:
            row.state, row.changed = decision.state, True
        row.unfinished = decision.unfinished
        self._leave(one, decision, effects)

    def _leave(self, one: _Work, decision: Decision, effects: Effects) -> None:
        for new in decision.events:
            event = self._event(one, new)
            topic = registry.TOPIC_OF[type(new.data)].replace("*", new.channel or "")
            effects.emit(one.partition, topic, event.key(), event.to_bytes())
        for wake in decision.wakes:
            body = {**wake.body, "subject": one.subject, "tenant": one.tenant, "at": wake.at_ms}
            effects.wake(one.partition, Wake(wake.at_ms, one.subject, wake.kind, body))
        for count in decision.counts:
            _count(count)

    def _event(self, one: _Work, new: NewEvent) -> Event:
        data = new.data
        if isinstance(data, SubjectErased) and data.certificate is None:
            if self._signer is None:
                raise StopPartition(f"role {self.role} writes SubjectErased but was given no signer")
            data = certify(data, self._signer)
        return registry.build(
            data,
            id=new.id,
            role=self.role,
            tenant=one.tenant,
            subject=one.subject,
            at_ms=one.given.now_ms,
            channel=new.channel,
            cause=new.cause,
            correlation=new.correlation,
        )

    # Rows

    def _load(self, cursor: Cursor, keys: set[Key]) -> dict[Key, _Row]:
        wanted = [{"subject": subject, "tenant": tenant} for subject, tenant in sorted(keys)]
        cursor.execute(_LOAD, (orjson.dumps(wanted).decode(), self.role, self.role), prepare=True)
        return {
            (subject, tenant): _Row(self._today(version, state), bool(fenced))
            for subject, tenant, version, state, fenced in cursor.fetchall()
        }

    def _today(self, version: int | None, state: dict[str, Any] | None) -> dict[str, Any] | None:
        if state is None or version is None or version == self.processor.state_version:
            return state
        try:
            return self.processor.upcast(state, version)
        except ValueError as error:
            raise StopPartition(f"role {self.role}: {error}; start the release that wrote it") from None

    def _save(self, cursor: Cursor, rows: Mapping[Key, _Row]) -> None:
        changed = [
            {"subject": subject, "tenant": tenant, "state": row.state, "unfinished": row.unfinished}
            for (subject, tenant), row in sorted(rows.items())
            if row.changed and row.state is not None
        ]
        if changed:
            rows_json = orjson.dumps(changed).decode()
            cursor.execute(_SAVE, (self.role, self.processor.state_version, rows_json), prepare=True)
        gone = [(key, row.purged_at) for key, row in sorted(rows.items()) if row.purged_at is not None]
        for (subject, tenant), at in gone:
            key = orjson.dumps([{"subject": subject, "tenant": tenant}]).decode()
            cursor.execute(_PURGE, (key, self.role, self.role, self.role, at))


def _subject_of(record: Record) -> str | None:
    """The subject a record is keyed by, when its key is an id."""
    key = (record.key or b"").decode("ascii", errors="replace")
    return key if is_id(key) else None


def _forget_wakes(effects: Effects, one: _Work) -> None:
    """Wakes set for a purged subject earlier in the same batch are not in the table yet."""
    kept = [wake for wake in effects.wakes.pop(one.partition, ()) if wake.key != one.subject]
    if kept:
        effects.wakes[one.partition] = kept


def _count(count: Count) -> None:
    if count.metric.endswith("_total"):
        counter(count.metric).labels(*count.labels).inc(count.value)
    else:
        histogram(count.metric).labels(*count.labels).observe(count.value)
