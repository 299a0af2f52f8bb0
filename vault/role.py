"""The role `vault`: applies consents, subscriptions, deletions and tenants to the vault; it alone raises permissions and
writes fences (DESIGN §7, protocols §5–7)."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.clock import now_ms, to_ms, to_text
from schemas.envelope import Event, EventData, InvalidEvent
from schemas.events import consents, deletions, registry, subscriptions
from schemas.ids import derived_id, event_id, is_id
from schemas.stores import VAULT
from schemas.topics import CHANNELS, CONSENTS, DELETIONS, GUARDED, SUBSCRIPTIONS, TENANTS, inbound
from streams.step.contract import Cursor, Effects, Item, Poison, Record
from streams.step.deadletter import dead_letter
from vault import applying, restoring
from vault.base import as_json
from vault.errors import UnreadableLedger
from vault.permissions import Lower, Raise, lower_permissions, raise_permissions
from vault.proofs import Proof, tie_evidence
from vault.vault import Vault

LOG = logging.getLogger(__name__)
BEHIND_POISON = "BehindPoison"
NO_TENANT_KEY = b"sealpost: events about tenants that have no keys"
"""Keys ids of answers to a tenant without keys; such ids name nobody."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A valid event; `acted_ms` is the time of the person's act where the type has one, of settings the event's time."""

    event: Event
    data: EventData
    acted_ms: int


class VaultHandler:
    """Handler of the step engine; its database is the vault."""

    role = "vault"
    topics: tuple[str, ...] = (DELETIONS, CONSENTS, SUBSCRIPTIONS, TENANTS)
    priority_topic: str | None = DELETIONS

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        """Decode and validate."""
        return [_prepare(record) for record in records]

    def apply(self, cursor: Cursor, items: Sequence[Item], effects: Effects) -> None:
        """Apply events to the vault: settings, subjects and consents first, erasures last; within each, order does not
        matter, for everything only grows."""
        woken = [item for item in items if item.due is not None]
        kept = self._set_aside(cursor, [item for item in items if item.due is None], effects)
        inputs: list[Applied] = [item.value for item in kept]
        restoring.fence_destroyed(
            cursor, [(i.event, i.data) for i in inputs if isinstance(i.data, deletions.KeyDestroyed)]
        )
        applying.apply_tenants(self._vault, cursor, [item for item in kept if _topic(item) == TENANTS])
        states = applying.hold_subjects(
            cursor, ((i.event.subject, i.event.tenant) for i in inputs if is_id(i.event.subject))
        )
        living = [
            i for i in inputs if states.get((i.event.subject, i.event.tenant)) not in ("erased", "lost")
        ]
        applying.note_lost(
            cursor, [i.event for i in living if isinstance(i.data, subscriptions.SubjectCreated)]
        )
        applying.apply_lists(cursor, [(i.event, i.data, i.acted_ms) for i in living])
        _apply_consents(cursor, living)
        for item in (*woken, *kept):
            event = Event.model_validate(item.due.body["event"]) if item.due else item.value.event
            data = registry.read(event) if item.due else item.value.data
            if not isinstance(data, deletions.ErasureRequested):
                continue
            if restoring.too_early(cursor, item, event):
                effects.wake(item.partition, restoring.deferred(event))
            else:
                self._erase(cursor, item, event, data, effects)

    def poisoned(self, cursor: Cursor, poison: Poison, effects: Effects) -> None:
        """Restrict the subject of an unreadable consent or deletion; UnreadableLedger when nobody knows whom it concerns."""
        record = poison.record
        if record.topic not in GUARDED:
            return
        subject = poison.subject or _key_subject(record)
        if subject is None:
            raise UnreadableLedger(
                f"{record.topic}/{record.partition} offset {record.offset}: subject unknown ({poison.reason})"
            )
        cursor.execute(
            "insert into vault.blocked (subject, topic, at, since_ms) values (%s, %s, %s, %s) on conflict do nothing",
            [subject, record.topic, record.offset, now_ms()],
        )
        cursor.execute(
            "update vault.subjects set state = 'restricted' where subject = %s and state = 'active'",
            [subject],
        )
        LOG.error("subject restricted: %s/%s offset %s", record.topic, record.partition, record.offset)

    def caught_up(self, cursor: Cursor, partitions: Sequence[int]) -> None:
        """Note that these partitions were read to their ends by this incarnation of the database: just now, or as long ago as a
        withdrawal may lie unread in a raw topic."""
        cursor.execute(
            """insert into vault.incarnations (incarnation, since_ms)
               select vault.incarnation(), case when exists (select from vault.incarnations) then vault.now_ms() else 0 end
               on conflict do nothing"""
        )
        cursor.execute(
            """insert into vault.follower (partition, reached_ms, incarnation)
               select value::integer, vault.acts_known_ms(%s::json), vault.incarnation()
               from json_array_elements_text(%s::json) order by 1
               on conflict (partition) do update
               set reached_ms = excluded.reached_ms, incarnation = excluded.incarnation""",
            [as_json([inbound(channel) for channel in CHANNELS]), as_json(sorted(partitions))],
        )

    def _set_aside(self, cursor: Cursor, items: Sequence[Item], effects: Effects) -> list[Item]:
        """Dead-letter what stands behind a poisoned event of its subject. An erasure does not wait: it ends everything that
        could be replayed before it, in whatever order."""
        subjects = {item.value.event.subject for item in items if _topic(item) in GUARDED}
        subjects = {subject for subject in subjects if is_id(subject)}
        if not subjects:
            return list(items)
        cursor.execute(
            "select b.subject from json_array_elements_text(%s::json) as a join vault.blocked b on b.subject = a.value::uuid",
            [as_json(sorted(subjects))],
        )
        blocked = {subject.hex for (subject,) in cursor.fetchall()}
        kept: list[Item] = []
        for item in items:
            behind = item.value.event.subject in blocked and _topic(item) in GUARDED
            if not behind or isinstance(item.value.data, deletions.ErasureRequested) or item.record is None:
                kept.append(item)
            else:
                letter = dead_letter(item.record, self.role, BEHIND_POISON, self._vault.times)
                effects.emit(item.partition, letter.topic, letter.key, letter.value)
        return kept

    def _erase(
        self, cursor: Cursor, item: Item, event: Event, asked: deletions.ErasureRequested, effects: Effects
    ) -> None:
        tenant, subject = event.tenant, event.subject
        erased = self._vault.erase(cursor, tenant, subject, item.now_ms)
        if erased is None:
            refused = deletions.ErasureRefused(erasure=asked.erasure, reason="unknown_subject")
            self._write(item, event, "erasure_refused", refused, item.now_ms, effects, NO_TENANT_KEY)
            return
        fence, others = erased
        ids = self._vault.tenant_ids_within(cursor, tenant)
        t1 = to_text(fence.t1_ms)
        destroyed = deletions.KeyDestroyed(
            erasure=asked.erasure,
            classes=["identity", "content"] + ["evidence"] * (fence.evidence == "destroyed"),
            evidence=fence.evidence,
            t1=t1,
            day_keys_until=to_text(fence.day_keys_until_ms),
        )
        self._write(item, event, "key_destroyed", destroyed, fence.t1_ms, effects, ids)
        purged = deletions.StorePurged(erasure=asked.erasure, store=VAULT, purged_at=t1)
        self._write(item, event, "store_purged", purged, fence.t1_ms, effects, ids)
        # Their keys are gone as well: what is asked for here is their KeyDestroyed, and that the other stores purge them.
        for other in others:
            again = asked.model_copy(update={"erasure": derived_id(ids, "erasure", asked.erasure, other)})
            self._write(item, event, "linked_erasure", again, fence.t1_ms, effects, ids, subject=other)
        for one in (subject, *others):
            self._vault.forget_leases(tenant, one)

    def _write(
        self,
        item: Item,
        cause: Event,
        slot: str,
        data: deletions.ErasureRefused
        | deletions.KeyDestroyed
        | deletions.StorePurged
        | deletions.ErasureRequested,
        at_ms: int,
        effects: Effects,
        ids: bytes,
        subject: str | None = None,
    ) -> None:
        """Write an answer to an erasure; its id comes from the erasure, so a repeat writes the same bytes."""
        event = registry.build(
            data,
            id=event_id(ids, data.erasure, self.role, slot),
            role=self.role,
            tenant=cause.tenant,
            subject=subject or cause.subject,
            at_ms=at_ms,
            cause=cause.id,
            correlation=cause.correlationid,
        )
        effects.emit(item.partition, DELETIONS, event.key(), event.to_bytes())


def _prepare(record: Record) -> Item | Poison:
    try:
        event = Event.from_bytes(record.value)
        data = registry.read(event)
        if record.topic != TENANTS and not is_id(event.subject):
            raise InvalidEvent("the subject is no id")
        acted_at = event.time if record.topic == TENANTS else getattr(data, "acted_at", None)
        acted_ms = record.time_ms if acted_at is None else to_ms(acted_at)
    except (InvalidEvent, ValueError) as error:
        return Poison(record, type(error).__name__, _key_subject(record))
    return Item(event.id, record.partition, record.time_ms, Applied(event, data, acted_ms), record)


def _key_subject(record: Record) -> str | None:
    key = (record.key or b"").decode("ascii", "replace")
    return key if is_id(key) else None


def _topic(item: Item) -> str:
    return item.record.topic if item.record is not None else ""


def _apply_consents(cursor: Cursor, inputs: Iterable[Applied]) -> None:
    raises: list[Raise] = []
    lowers: list[Lower] = []
    proofs: list[Proof] = []
    for i in inputs:
        event, channel = i.event, i.event.channel or ""
        match i.data:
            case consents.ConsentGiven():
                raises.append(
                    Raise(
                        event.tenant,
                        event.subject,
                        channel,
                        i.data.purpose,
                        i.acted_ms,
                        event.id,
                        i.data.optin,
                    )
                )
            case consents.ConsentWithdrawn():
                lowers.append(Lower(event.tenant, event.subject, channel, i.data.purpose, i.acted_ms))
        proof = _proof(i)
        proofs += [proof] if proof is not None else []
    raise_permissions(cursor, raises)
    lower_permissions(cursor, lowers)
    tie_evidence(cursor, proofs, [(given.subject, given.tenant) for given in raises])


def _proof(applied: Applied) -> Proof | None:
    """What an event says about the evidence it carries; None when that can be no part of a consent."""
    event, data = applied.event, applied.data
    sealed = data.sealed.evidence if data.sealed else None
    if sealed is None:
        return None
    gen, channel = sealed.gen, event.channel or ""
    match data:
        case consents.OptInRequested() | consents.OptInConfirmed() | consents.ConsentGiven():
            return Proof(event.tenant, event.subject, gen, channel, data.purpose, optin=data.optin)
        case consents.ConsentWithdrawn():
            return Proof(
                event.tenant, event.subject, gen, channel, data.purpose, withdrawn_ms=applied.acted_ms
            )
    return None
