"""Answers about one subject: rows of the read models, what the vault says, and the words behind sealed blocks.

The vault's word about a subject's state wins: an erased subject is erased for every caller at T1, whatever a projection
still holds; a subject that the projection has not heard of yet is shown with empty lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from projections.api import models
from projections.api.opening import Fields, Opening
from projections.api.reading import Place, Reader, Row, arriving
from projections.erasures import STATES
from projections.tables import ECHO, STATUS_TIMES
from schemas.clock import at_ms, to_text
from schemas.content import TextReference
from schemas.events import messages, registry, statuses
from schemas.http import Refusal
from schemas.ids import is_id
from schemas.settings import TenantSettings
from schemas.topics import CONSENTS
from schemas.wording import notice_of, wording
from vault.vault import Vault

_CONSENT_TYPES = {
    model.__name__: registry.type_name(model)
    for model, topic in registry.TOPIC_OF.items()
    if topic == CONSENTS
}
_EDITED = registry.type_name(messages.MessageEdited)
_REACTED = registry.type_name(messages.MessageReacted)


class SettingsSource(Protocol):
    """Published settings (streams.kafka.settings_follower)."""

    def tenant(self, tenant: str) -> TenantSettings | None:
        """Settings of one tenant."""
        ...


@dataclass(frozen=True, slots=True)
class Gone:
    """The subject is erased, or lost in a restore: nothing else is told."""

    state: Literal["erased", "lost"]
    erased_at: str | None


@dataclass(frozen=True, slots=True)
class Living:
    """The subject is there."""

    state: Literal["active", "restricted"]


class Answers:
    """Builds the answers of the query API."""

    def __init__(self, vault: Vault, reader: Reader, settings: SettingsSource) -> None:
        self._vault, self._reader, self._settings = vault, reader, settings

    def standing(self, tenant: str, subject: str) -> Gone | Living:
        """Whether the subject is there; Refusal `not_found` when the tenant has no such subject."""
        state = self._vault.subject_state(tenant, subject) if is_id(subject) else None
        if state is None:
            raise Refusal("not_found")
        if state.state == "erased" or state.state == "lost":
            return Gone(state.state, None if state.erased_at_ms is None else to_text(state.erased_at_ms))
        fenced_at = self._reader.fence(tenant, subject)
        if fenced_at is not None:
            # A vault that was restored is behind its ledger: the fence holds all the same.
            return Gone("erased", _text(fenced_at))
        return Living(state.state)

    def is_there(self, tenant: str, subject: str) -> bool:
        """False for a subject that is erased, lost, or none of the tenant's."""
        try:
            return isinstance(self.standing(tenant, subject), Living)
        except Refusal:
            return False

    def subject(self, tenant: str, subject: str) -> models.SubjectAnswer:
        """State, profile, addresses, subscriptions."""
        standing = self.standing(tenant, subject)
        if isinstance(standing, Gone):
            return _gone(subject, standing)
        row = self._reader.subject(tenant, subject) or {}
        addresses = self._reader.addresses(tenant, subject)
        opening = Opening(self._vault, tenant, subject)
        profile_event = row.get("profile_event")
        opening.want("profile", profile_event, "sealpost.profile.updated.v1", "identity", row.get("profile"))
        for address in addresses:
            name, event = f"address {address['event']}", address["event"]
            kind = "unbound" if address["unbound"] else "bound"
            opening.want(name, event, f"sealpost.address.{kind}.v1", "identity", address["sealed"])
        opening.open()
        if opening.met_erased and isinstance(again := self.standing(tenant, subject), Gone):
            return _gone(subject, again)
        answer = models.SubjectAnswer(
            subject=subject,
            state=standing.state,
            profile=models.Profile(name=opening.of("profile").get("name")),
            addresses=_shown_addresses(addresses, opening),
            subscriptions=[_shown_subscription(one) for one in self._reader.subscriptions(tenant, subject)],
            permissions=[_shown_permission(one) for one in self._reader.permissions(tenant, subject)],
        )
        created_at = row.get("created_at") or row.get("first_event_at")
        if created_at is not None:
            answer.created_at = _text(created_at)
        if row.get("language"):
            answer.language = row["language"]
        if blocks := self._reader.blocks(tenant, subject):
            answer.blocked = [_shown_block(one) for one in blocks]
        if row.get("stale"):
            answer.stale = True
        if opening.met_unreadable:
            answer.unreadable = True
        return answer

    def messages(
        self, tenant: str, subject: str, after: Place | None, limit: int
    ) -> tuple[models.MessagesAnswer, Place | None]:
        """A page of messages and where the next page begins."""
        standing = self.standing(tenant, subject)
        if isinstance(standing, Gone):
            return models.MessagesAnswer(state=standing.state, items=[]), None
        rows = self._reader.messages(tenant, subject, after, limit + 1)
        page = rows[:limit]
        opening = Opening(self._vault, tenant, subject)
        for row in page:
            _want_message(opening, row)
        opening.open()
        if opening.met_erased and isinstance(again := self.standing(tenant, subject), Gone):
            return models.MessagesAnswer(state=again.state, items=[]), None
        settings = self._settings.tenant(tenant) or TenantSettings(tenant)
        items = [_message(row, opening, settings) for row in page]
        following = Place.of(page[-1]) if len(rows) > limit else None
        return models.MessagesAnswer(items=items), following

    def consents(self, tenant: str, subject: str) -> models.ConsentsAnswer:
        """The consent history with its evidence, in the order of the events."""
        standing = self.standing(tenant, subject)
        if isinstance(standing, Gone):
            return models.ConsentsAnswer(state=standing.state, items=[])
        rows = self._reader.consents(tenant, subject)
        opening = Opening(self._vault, tenant, subject)
        for row in rows:
            event_type = _CONSENT_TYPES.get(row["type"], "")
            opening.want(row["event"], row["event"], event_type, "evidence", row["evidence"])
        opening.open()
        if opening.met_erased and isinstance(again := self.standing(tenant, subject), Gone):
            return models.ConsentsAnswer(state=again.state, items=[])
        settings = self._settings.tenant(tenant) or TenantSettings(tenant)
        return models.ConsentsAnswer(
            items=[_consent(row, opening.of(row["event"]), settings) for row in rows]
        )

    def erasure(self, tenant: str, erasure: str) -> models.ErasureAnswer:
        """How far an erasure is; Refusal `not_found` when the projection knows none of this id.

        An id that was answered a moment ago is on its way through the log: it is looked for a little longer.
        """
        row = arriving(lambda: self._reader.erasure(tenant, erasure)) if is_id(erasure) else None
        if row is None:
            raise Refusal("not_found")
        receipts = self._reader.receipts(tenant, erasure)
        t1, t2 = row["t1"], row["t2"]
        if t2 is None and t1 is not None:
            t2 = t1 + timedelta(seconds=self._vault.times.leases_over_s)
        answer = models.ErasureAnswer(
            erasure_id=erasure,
            subject=row["subject"],
            state=STATES[row["state_rank"]],
            t0=_text_or_none(row["t0"]),
            t1=_text_or_none(t1),
            t2=_text_or_none(t2),
            tr=_text_or_none(row["tr"]),
            t3=_text_or_none(row["t3"]),
            receipts=[models.Receipt(store=r["store"], purged_at=_text(r["purged_at"])) for r in receipts],
        )
        for name in ("requested_by", "reason", "evidence", "missing", "certificate"):
            if row[name] is not None:
                setattr(answer, name, row[name])
        if row["settled_at"] is not None:
            answer.settled_at = _text(row["settled_at"])
        return answer


def _text(at: datetime) -> str:
    return to_text(at_ms(at))


def _text_or_none(at: datetime | None) -> str | None:
    return None if at is None else _text(at)


def _gone(subject: str, gone: Gone) -> models.SubjectAnswer:
    return models.SubjectAnswer(subject=subject, state=gone.state, erased_at=gone.erased_at)


def _shown_addresses(rows: list[Row], opening: Opening) -> list[models.ShownAddress]:
    """Each address once, however often it was bound, and none that reaches the person no more; one that cannot be read is shown
    as null."""
    shown: dict[tuple[str, str, str], models.ShownAddress] = {}
    for row in rows:
        address = opening.of(f"address {row['event']}").get("address")
        place = (row["channel"], row["kind"], address or row["event"])
        if row["unbound"]:
            shown.pop(place, None)
        else:
            entry = models.ShownAddress(channel=row["channel"], kind=row["kind"], address=address)
            shown.setdefault(place, entry)
    return list(shown.values())


def _shown_block(row: Row) -> models.ShownBlock:
    return models.ShownBlock(channel=row["channel"], account=row["account"], since=_text(row["changed_at"]))


def _shown_subscription(row: Row) -> models.ShownSubscription:
    activated_at, ended_at = row["activated_at"], row["ended_at"]
    is_active = activated_at is not None and (ended_at is None or activated_at > ended_at)
    since = activated_at if is_active else ended_at
    shown = models.ShownSubscription(
        list=row["list"],
        purpose=row["purpose"],
        channel=row["channel"],
        state="active" if is_active else "ended",
        since=_text_or_none(since),
    )
    for name in ("language", "basis"):
        if row[name] is not None:
            setattr(shown, name, row[name])
    if not is_active and row["end_reason"] is not None:
        shown.reason = row["end_reason"]
    return shown


def _shown_permission(row: Row) -> models.ShownPermission:
    given_at, withdrawn_at = row["given_at"], row["withdrawn_at"]
    is_given = given_at is not None and (withdrawn_at is None or given_at > withdrawn_at)
    shown = models.ShownPermission(
        purpose=row["purpose"], channel=row["channel"], state="given" if is_given else "withdrawn"
    )
    if given_at is not None:
        shown.given_at = _text(given_at)
    if withdrawn_at is not None:
        shown.withdrawn_at = _text(withdrawn_at)
    return shown


def _want_message(opening: Opening, row: Row) -> None:
    """Ask for what a message says; of one that was taken back for nothing."""
    message = row["message"]
    if row["taken_back_at"] is None:
        opening.want(message, row["content_event"], row["content_type"] or "", "content", row["content"])
        opening.want(f"edit {message}", row["edit_event"], _EDITED, "content", row["edit"])
        opening.want(f"reaction {message}", row["reaction_event"], _REACTED, "content", row["reaction"])


def _message(row: Row, opening: Opening, settings: TenantSettings) -> models.MessageItem:
    message = row["message"]
    content, edit = opening.of(message), opening.of(f"edit {message}")
    reaction = opening.of(f"reaction {message}")
    is_incoming = row["direction"] == "in"
    status = "received" if is_incoming else statuses.of_rank(row["status_rank"])
    item = models.MessageItem(
        message_id=row["message"],
        direction=row["direction"],
        channel=row["channel"],
        purpose=row["purpose"],
        kind=row["kind"],
        text=_words(row, content, settings) if row["edit"] is None else _text_of(edit),
        status=status,
        reason=row["reason"],
        times=_times(row, is_incoming),
    )
    if content.get("type") == "template":
        item.template = {name: content.get(name) for name in ("name", "language", "variables")}
    if row["code"] is not None:
        item.code = row["code"]
    if row["kind"] == ECHO:
        item.by = "staff"
    if row["edited_at"] is not None:
        item.edited_at = _text(row["edited_at"])
    if row["taken_back_at"] is not None:
        item.revoked_at = _text(row["taken_back_at"])
    if reaction.get("emoji"):
        item.reaction = reaction.get("emoji")
    if content.unreadable or edit.unreadable or reaction.unreadable:
        item.unreadable = True
    return item


def _text_of(fields: Fields) -> str | None:
    words = fields.get("text") or fields.get("option_title") or fields.get("emoji")
    return words if isinstance(words, str) else None


def _words(row: Row, content: Fields, settings: TenantSettings) -> str | None:
    if row["text"] is not None:
        reference = TextReference.model_validate(row["text"])
        return wording(settings, reference, row["about"] or row["purpose"] or "", row["notice"])
    return _text_of(content)


def _times(row: Row, is_incoming: bool) -> dict[str, str]:
    first = {} if row["kind"] == ECHO else {"received" if is_incoming else "requested": row["asked_at"]}
    reached: Mapping[str, Any] = {**first, **{status: row[column] for status, column in STATUS_TIMES.items()}}
    return {status: _text(at) for status, at in reached.items() if at is not None}


_CLEAR_OF_CONSENT = (
    "optin", "account", "language", "legal_basis", "entry_point", "message", "method", "requested_at", "text_hash",
    "notice_hash", "form", "link", "campaign",
)  # fmt: skip
"""What is shown of a consent event as it stands in it."""


def _consent(row: Row, evidence: Fields, settings: TenantSettings) -> models.ConsentItem:
    data: dict[str, Any] = row["data"]
    item = models.ConsentItem(
        event=row["event"],
        type=row["type"],
        purpose=row["purpose"],
        channel=row["channel"],
        acted_at=_text_or_none(row["acted_at"]),
        recorded_at=_text(row["recorded_at"]),
    )
    for name in _CLEAR_OF_CONSENT:
        if data.get(name) is not None:
            setattr(item, name, data[name])
    reference = TextReference.model_validate(data["text"]) if data.get("text") else None
    named: str | None = data.get("notice")
    if reference is not None:
        words = wording(settings, reference, row["purpose"], named)
        item.text = models.ShownText(**reference.model_dump(), wording=words)
    if named is not None:
        notice = notice_of(settings, named, reference.language if reference else settings.default_language)
        item.notice = models.ShownNotice(reference=named)
        if notice is not None and notice.reference == named:
            item.notice.url = notice.url
    if evidence.values is not None:
        item.evidence = evidence.values
    elif evidence.erased:
        item.evidence = {"state": "erased"}
    if evidence.unreadable:
        item.evidence, item.unreadable = None, True
    return item
