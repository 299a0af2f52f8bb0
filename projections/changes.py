"""What each event changes in the read models: an event in, rows out. Pure; the rows are folded by projections.tables."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from projections import tables
from projections.erasures import RANK
from projections.tables import Row, Table
from schemas.clock import to_ms, to_text
from schemas.envelope import Event, EventData, InvalidEvent
from schemas.events import consents, deletions, messages, registry, statuses, subscriptions
from schemas.topics import STATUSES
from streams.step.contract import Record

CANONICAL_TIME_LENGTH = len("2026-11-23T10:00:00.123Z")


@dataclass(frozen=True, slots=True)
class Purge:
    """KeyDestroyed: every row of the subject goes, a fence stays, a receipt is written."""

    erasure: str
    cause: str
    correlation: str
    t1: str


@dataclass(slots=True)
class Changes:
    """What one event asks for. `rows` of person tables are dropped when the subject is fenced."""

    tenant: str
    subject: str
    rows: list[tuple[Table, Row]] = field(default_factory=list)
    purge: Purge | None = None

    def add(self, table: Table, **columns: Any) -> None:
        """A row of this tenant's, and of a person table this subject's."""
        row: Row = {"tenant": self.tenant, **columns}
        if table not in tables.OF_ERASURES:
            row["subject"] = self.subject
        self.rows.append((table, row))


@dataclass(frozen=True, slots=True)
class _Reading:
    """An event on its way into rows."""

    event: Event
    record: Record
    into: Changes

    def block(self, key_class: str) -> dict[str, Any] | None:
        """The sealed block as it stands in the event; `registry.read` has checked its form."""
        found: dict[str, Any] | None = (self.event.data.get("sealed") or {}).get(key_class)
        return found

    @property
    def time(self) -> str:
        return instant(self.event.time)

    @property
    def logged_at(self) -> str:
        """The broker's time of the record."""
        return to_text(self.record.time_ms)

    @property
    def channel(self) -> str:
        return self.event.channel or ""


def instant(text: str) -> str:
    """A time as `2026-11-23T10:00:00.123Z`, so that times compare as text; InvalidEvent when it is none."""
    try:
        at = to_ms(text)
    except ValueError:
        raise InvalidEvent("a time is not RFC 3339") from None
    return text if len(text) == CANONICAL_TIME_LENGTH and text.endswith("Z") else to_text(at)


def changes_of(event: Event, record: Record) -> Changes:
    """The rows an event asks for; InvalidEvent when its data is not valid. A type not known here becomes a counted row."""
    into = Changes(event.tenant, event.subject)
    reading = _Reading(event, record, into)
    if event.type not in registry.MODELS:
        into.add(
            tables.UNKNOWN_EVENT,
            event=event.id,
            topic=record.topic,
            type=event.type[:200],
            recorded_at=to_text(record.time_ms),
        )
        return into
    data = registry.read(event)
    if isinstance(data, consents.OptInRequested) and not data.account:
        # Of a page, where nobody is known yet: the subject is the opt-in itself, and shown is what comes of it.
        return into
    if not isinstance(data, _ABOUT_ERASURES):
        into.add(tables.SUBJECT, first_event_at=reading.time)
    read = _READERS.get(type(data))
    if read is not None:
        read(reading, data)
    if type(data).__module__ == consents.__name__:
        _consent_row(reading, data)
    return into


def _subject_created(r: _Reading, d: subscriptions.SubjectCreated) -> None:
    r.into.add(tables.SUBJECT, first_event_at=r.time, created_at=r.time, entry_point=d.entry_point)


def _address_bound(r: _Reading, d: subscriptions.AddressBound) -> None:
    r.into.add(
        tables.ADDRESS,
        event=r.event.id,
        channel=r.channel,
        kind=d.address_kind,
        account=d.account,
        bound_at=r.time,
        log_offset=r.record.offset,
        sealed=r.block("identity"),
    )


def _address_unbound(r: _Reading, d: subscriptions.AddressUnbound) -> None:
    r.into.add(
        tables.ADDRESS,
        event=r.event.id,
        channel=r.channel,
        kind=d.address_kind,
        account=d.account,
        bound_at=r.time,
        unbound=True,
        log_offset=r.record.offset,
        sealed=r.block("identity"),
    )


def _reach_changed(r: _Reading, d: subscriptions.ReachChanged) -> None:
    changed_at = instant(d.acted_at)
    r.into.add(
        tables.REACH, channel=r.channel, account=d.account, reachable=d.reachable, changed_at=changed_at
    )


def _profile_updated(r: _Reading, _d: subscriptions.ProfileUpdated) -> None:
    r.into.add(
        tables.SUBJECT,
        first_event_at=r.time,
        profile=r.block("identity"),
        profile_event=r.event.id,
        profile_at=r.time,
    )


def _subscription_activated(r: _Reading, d: subscriptions.SubscriptionActivated) -> None:
    r.into.add(
        tables.SUBSCRIPTION,
        subscription=d.subscription,
        list=d.list,
        purpose=d.purpose,
        channel=r.channel,
        account=d.account,
        language=d.language,
        basis=d.basis,
        activated_at=instant(d.acted_at),
    )
    _language(r, d.language, d.acted_at)


def _subscription_ended(r: _Reading, d: subscriptions.SubscriptionEnded) -> None:
    r.into.add(
        tables.SUBSCRIPTION,
        subscription=d.subscription,
        list=d.list,
        purpose=d.purpose,
        channel=r.channel,
        ended_at=instant(d.acted_at),
        end_reason=d.reason,
    )


def _language(r: _Reading, language: str | None, acted_at: str) -> None:
    if language:
        r.into.add(tables.SUBJECT, first_event_at=r.time, language=language, language_at=instant(acted_at))


def _consent_row(r: _Reading, data: EventData) -> None:
    acted_at: str | None = getattr(data, "acted_at", None)
    r.into.add(
        tables.CONSENT,
        event=r.event.id,
        log_offset=r.record.offset,
        type=type(data).__name__,
        purpose=r.event.data["purpose"],
        channel=r.channel,
        acted_at=instant(acted_at) if acted_at else None,
        recorded_at=r.logged_at,
        data={name: value for name, value in r.event.data.items() if name != "sealed"},
        evidence=r.block("evidence"),
    )


def _opt_in_requested(r: _Reading, d: consents.OptInRequested) -> None:
    _language(r, d.language, d.acted_at)


def _consent_given(r: _Reading, d: consents.ConsentGiven) -> None:
    r.into.add(
        tables.PERMISSION,
        channel=r.channel,
        purpose=d.purpose,
        given_at=instant(d.acted_at),
        given_by=r.event.id,
    )
    _language(r, d.language, d.acted_at)


def _consent_withdrawn(r: _Reading, d: consents.ConsentWithdrawn) -> None:
    r.into.add(tables.PERMISSION, channel=r.channel, purpose=d.purpose, withdrawn_at=instant(d.acted_at))
    _language(r, d.language, d.acted_at)


def _message_received(r: _Reading, d: messages.MessageReceived) -> None:
    r.into.add(
        tables.MESSAGE,
        message=d.message,
        direction="in",
        channel=r.channel,
        account=d.account,
        kind=d.kind,
        asked_at=instant(d.acted_at),
        logged_at=r.logged_at,
        log_offset=r.record.offset,
        **_content(r),
    )


def _about_message(r: _Reading, message: str, account: str, **columns: Any) -> None:
    """Something about a message, which may be read later or never."""
    r.into.add(
        tables.MESSAGE,
        message=message,
        channel=r.channel,
        account=account,
        first_status_logged_at=r.logged_at,
        **columns,
    )


def _message_edited(r: _Reading, d: messages.MessageEdited) -> None:
    _about_message(
        r,
        d.message,
        d.account,
        direction="in",
        edited_at=instant(d.acted_at),
        edit_made_at=instant(d.provider_time or d.acted_at),
        edit_event=r.event.id,
        edit=r.block("content"),
    )


def _message_revoked(r: _Reading, d: messages.MessageRevoked) -> None:
    _about_message(r, d.message, d.account, direction="in", revoked_at=instant(d.acted_at))


def _message_reacted(r: _Reading, d: messages.MessageReacted) -> None:
    if d.message is not None:
        # The message may be one that staff wrote, whose echo is still to come: that says which way it went.
        _about_message(
            r,
            d.message,
            d.account,
            reaction_event=r.event.id,
            reaction=r.block("content"),
            reacted_at=instant(d.acted_at),
            reaction_made_at=instant(d.provider_time or d.acted_at),
        )
        return
    # To one of ours, which only the sealed part names: it stands in the chat by itself.
    r.into.add(
        tables.MESSAGE,
        message=r.event.id,
        direction="in",
        channel=r.channel,
        account=d.account,
        kind=tables.REACTION,
        asked_at=instant(d.acted_at),
        logged_at=r.logged_at,
        log_offset=r.record.offset,
        **_content(r),
    )


def _message_echoed(r: _Reading, d: messages.MessageEchoed) -> None:
    acted_at = instant(d.acted_at)
    r.into.add(
        tables.MESSAGE,
        message=d.message,
        direction="out",
        channel=r.channel,
        account=d.account,
        kind=tables.ECHO,
        asked_at=acted_at,
        logged_at=r.logged_at,
        log_offset=r.record.offset,
        status_rank=statuses.rank("sent"),
        sent_at=acted_at,
        **_content(r),
    )


def _message_requested(r: _Reading, d: messages.MessageRequested) -> None:
    r.into.add(
        tables.MESSAGE,
        message=d.message,
        direction="out",
        channel=r.channel,
        account=d.account,
        purpose=d.purpose,
        kind=d.kind,
        text=r.event.data.get("text"),
        notice=d.notice,
        about=d.about,
        template=d.template,
        language=d.language,
        asked_at=r.time,
        logged_at=r.logged_at,
        log_offset=r.record.offset,
        status_rank=statuses.rank("requested"),
        **_content(r),
    )


def _content(r: _Reading) -> Row:
    """The content block with the identity it was sealed for."""
    block = r.block("content")
    if block is None:
        return {}
    return {
        "content": block,
        "content_event": block.get("sealed_in") or r.event.id,
        "content_type": block.get("type") or r.event.type,
    }


def _status(r: _Reading, d: statuses.MessageSubmitted) -> None:
    place = statuses.rank_in_message(d.STATUS, d.part, d.reason)
    if place is None:
        return
    acted_at = instant(d.acted_at)
    # A status's own sealed content is the provider's id and error; only a copy of the command's content is shown.
    copied = _content(r) if (r.block("content") or {}).get("sealed_in") else {}
    r.into.add(
        tables.MESSAGE,
        message=d.message,
        direction="out",
        channel=r.channel or None,
        account=d.account,
        purpose=d.purpose,
        template=d.template,
        language=d.language,
        first_status_at=acted_at,
        first_status_logged_at=r.logged_at,
        status_rank=place,
        reason=d.reason,
        code=d.code,
        **{tables.STATUS_TIMES[d.STATUS]: acted_at},
        **copied,
    )


def _erasure(r: _Reading, erasure: str, **columns: Any) -> None:
    r.into.add(tables.ERASURE, erasure=erasure, subject=r.event.subject, **columns)


def _erasure_requested(r: _Reading, d: deletions.ErasureRequested) -> None:
    _erasure(r, d.erasure, state_rank=RANK["requested"], requested_by=d.requested_by, t0=instant(d.t0))


def _erasure_refused(r: _Reading, d: deletions.ErasureRefused) -> None:
    _erasure(r, d.erasure, state_rank=RANK["refused"], reason=d.reason)


def _key_destroyed(r: _Reading, d: deletions.KeyDestroyed) -> None:
    t1, tr = instant(d.t1), instant(d.day_keys_until)
    _erasure(r, d.erasure, state_rank=RANK["keys_destroyed"], t1=t1, tr=tr, evidence=d.evidence)
    r.into.purge = Purge(d.erasure, r.event.id, r.event.correlationid or r.event.id, t1)


def _store_purged(r: _Reading, d: deletions.StorePurged) -> None:
    r.into.add(tables.RECEIPT, erasure=d.erasure, store=d.store, purged_at=instant(d.purged_at))


def _subject_erased(r: _Reading, d: deletions.SubjectErased) -> None:
    _erasure(
        r,
        d.erasure,
        state_rank=RANK["erased"],
        t0=instant(d.t0),
        t1=instant(d.t1),
        t2=instant(d.t2),
        tr=instant(d.tr),
        t3=instant(d.t3),
        certificate=r.event.data.get("certificate"),
    )
    for receipt in d.receipts:
        purged_at = instant(receipt.purged_at)
        r.into.add(tables.RECEIPT, erasure=d.erasure, store=receipt.store, purged_at=purged_at)


def _erasure_incomplete(r: _Reading, d: deletions.ErasureIncomplete) -> None:
    _erasure(r, d.erasure, state_rank=RANK["incomplete"], missing=d.missing)


def _erasure_settled(r: _Reading, d: deletions.ErasureSettled) -> None:
    _erasure(r, d.erasure, state_rank=RANK["settled"], settled_at=r.time)


_ABOUT_ERASURES = (
    deletions.ErasureRequested,
    deletions.ErasureRefused,
    deletions.KeyDestroyed,
    deletions.StorePurged,
    deletions.SubjectErased,
    deletions.ErasureIncomplete,
    deletions.ErasureSettled,
)
_READERS: dict[type[EventData], Callable[[_Reading, Any], None]] = {
    subscriptions.SubjectCreated: _subject_created,
    subscriptions.AddressBound: _address_bound,
    subscriptions.AddressUnbound: _address_unbound,
    subscriptions.ReachChanged: _reach_changed,
    subscriptions.ProfileUpdated: _profile_updated,
    subscriptions.SubscriptionActivated: _subscription_activated,
    subscriptions.SubscriptionEnded: _subscription_ended,
    consents.OptInRequested: _opt_in_requested,
    consents.ConsentGiven: _consent_given,
    consents.ConsentWithdrawn: _consent_withdrawn,
    messages.MessageReceived: _message_received,
    messages.MessageEdited: _message_edited,
    messages.MessageRevoked: _message_revoked,
    messages.MessageReacted: _message_reacted,
    messages.MessageEchoed: _message_echoed,
    messages.MessageRequested: _message_requested,
    **{model: _status for model, topic in registry.TOPIC_OF.items() if topic == STATUSES},
    deletions.ErasureRequested: _erasure_requested,
    deletions.ErasureRefused: _erasure_refused,
    deletions.KeyDestroyed: _key_destroyed,
    deletions.StorePurged: _store_purged,
    deletions.SubjectErased: _subject_erased,
    deletions.ErasureIncomplete: _erasure_incomplete,
    deletions.ErasureSettled: _erasure_settled,
}
