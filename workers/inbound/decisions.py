"""What follows from one fragment: pure. A parsed value and what the vault said about it in, events and withdrawals out.

Events are drafts: their personal fields are named, not yet sealed. Drafts stand in the order in which they are written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import orjson

from schemas import clock, ids, texts
from schemas.addresses import Address
from schemas.envelope import EventData
from schemas.events.consents import ConsentWithdrawn, Method
from schemas.events.messages import Entry, MessageReceived, ReceivedIntent
from schemas.events.statuses import (
    MessageDelivered,
    MessageFailed,
    MessageRead,
    MessageSent,
    MessageSubmitted,
)
from schemas.events.subscriptions import (
    AddressBound,
    AddressUnbound,
    ProfileUpdated,
    ReachChanged,
    SubjectCreated,
)
from schemas.reasons import reach_ended_ms
from vault.claims import ClaimInfo
from vault.permissions import Lower
from vault.subjects import ResolvedSender
from workers.inbound.entries import without_token
from workers.inbound.fragments import ENTRY, Received
from workers.inbound_values import InboundMessage, InboundOptOut, InboundStatus, Media

ENTRY_POINT = "chat"
"""How somebody came who wrote to us of herself."""
_STATUSES: dict[str, type[MessageSent] | type[MessageDelivered] | type[MessageRead] | type[MessageFailed]] = {
    "sent": MessageSent, "delivered": MessageDelivered, "read": MessageRead, "played": MessageRead, "failed": MessageFailed,
}  # fmt: skip
_METHODS: dict[str, Method] = {"button_reply": "button", "list_reply": "button"}
"""How a person said what she said, where it was not in words of her own."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it is sealed. `identity`, `content`, `evidence`: plaintext of the blocks sealed for this very event.

    `evidence_of` is the id of the draft whose evidence block this one carries as a copy.
    """

    id: str
    subject: str
    data: EventData
    identity: bytes | None = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    evidence: bytes | None = field(default=None, repr=False)
    evidence_of: str | None = None


class Decision(NamedTuple):
    """What is to be written for one fragment. `why` says why nothing is."""

    drafts: tuple[Draft, ...] = ()
    lowers: tuple[Lower, ...] = ()
    why: Literal["erased", "resume", "unknown_recipient", "own_echo"] | None = None


@dataclass(frozen=True, slots=True)
class Came:
    """By which way a message came, told by a token in it: what events say of it, what the proof keeps of it, and the words
    without the token."""

    entry: Entry
    evidence: dict[str, Any] = field(repr=False)
    rest: str = field(repr=False)


NOTHING = Decision()
"""Nothing is to be written."""
RESUMED = Decision(why="resume")
"""A person lifted the provider's own switch. That is no consent: it changes nothing, and makes nobody known."""


def decide_message(
    received: Received,
    value: InboundMessage,
    who: ResolvedSender,
    purposes: Sequence[str],
    came: Came | None = None,
) -> Decision:
    """A person wrote. `purposes` are those of the tenant that need consent: STOP withdraws each of them, first."""
    if who.dropped:
        return Decision(why="erased")
    found = _found(value, came)
    intent, language = _intent(found, came, only_came=value.provider_kind == ENTRY)
    proved = intent is not None
    if value.standby:
        # Another app has the conversation: what she forbids holds, and nothing is answered.
        intent = None
    at = clock.to_text(received.at_ms)
    data = MessageReceived(
        message=received.id,
        account=received.account,
        kind=value.kind,
        provider_kind=value.provider_kind,
        intent=intent,
        language=language,
        acted_at=at,
        entry=came.entry if came else None,
    )
    evidence = None
    if proved:
        evidence = evidence_of_act(
            value.addresses,
            value.provider_time_ms,
            value.provider_id,
            value.kind,
            value.words,
            value.name,
            came.evidence if came else None,
        )
    message = Draft(received.id, who.subject, data, content=_content(value), evidence=evidence)
    stopped = purposes if found is not None and found.intent == "stop" else ()
    method = _METHODS.get(value.kind, "keyword")
    withdrawals = withdrawals_of(received, who.subject, stopped, method, language, evidence_of=message.id)
    drafts = (*introduction(received, value.name, who), *withdrawals, message)
    return Decision(drafts, lowers_of(received, who.subject, stopped))


def withdrawals_of(
    received: Received,
    subject: str,
    purposes: Sequence[str],
    method: Method,
    language: str | None,
    *,
    evidence: bytes | None = None,
    evidence_of: str | None = None,
) -> list[Draft]:
    """Withdrawals of all `purposes` by one act. Its evidence is sealed once, for the first event, and the others copy the block;
    where the draft `evidence_of` has it, all do. With neither, what caused them is the proof."""
    drafts: list[Draft] = []
    for purpose in purposes:
        data = ConsentWithdrawn(
            purpose=purpose, method=method, language=language, acted_at=clock.to_text(received.at_ms)
        )
        event_id = received.event_id(f"consent_withdrawn.{purpose}")
        drafts.append(Draft(event_id, subject, data, evidence=evidence, evidence_of=evidence_of))
        if evidence is not None:
            evidence, evidence_of = None, drafts[0].id
    return drafts


def _found(value: InboundMessage, came: Came | None) -> texts.Recognised | None:
    """What the words say. Beside a token a no anywhere counts; where nothing can be read (a kind that is not known, a button
    without its title) a STOP does, and nothing else."""
    words = came.rest if came else without_token(value.words)
    found = texts.recognise(words)
    if came is not None and (found is None or found.intent not in ("stop", "no")):
        found = texts.refusal_in(words) or found
    if value.words and value.kind != "unsupported":
        return found
    if found is None and not value.forwarded:
        found = texts.recognise(value.option_id or "")
    return found if found is not None and found.intent == "stop" else None


def _intent(
    found: texts.Recognised | None, came: Came | None, *, only_came: bool
) -> tuple[ReceivedIntent | None, str | None]:
    """What a message asks for, and the language it shows. A token says that somebody wants to be signed up, unless the words
    beside it say no; one that counts no more, and a link that was only opened, lead to the question in the chat."""
    if came is None or (found is not None and found.intent in ("stop", "no")):
        return (found.intent, found.language) if found is not None else (None, None)
    entry = came.entry
    language = (found.language if found is not None else None) or entry.language
    ticked = entry.kind in ("form", "api") and entry.outcome == "fresh" and not only_came
    return ("signup" if ticked else "start"), language


def decide_opt_out(
    received: Received,
    value: InboundOptOut,
    who: ResolvedSender,
    purposes: Sequence[str],
    *,
    reach_changed: bool = False,
) -> Decision:
    """A person used the provider's own switch to stop, which withdraws. `reach_changed`: the account reaches her no more."""
    if who.dropped:
        return Decision(why="erased")
    evidence = evidence_of_act(
        value.addresses, value.provider_time_ms, value.provider_id, "provider_preference", value.value, None
    )
    withdrawals = withdrawals_of(
        received, who.subject, purposes, "provider_preference", None, evidence=evidence
    )
    drafts = [*introduction(received, None, who), *withdrawals]
    if reach_changed:
        drafts.append(reach_draft(received, who.subject, reachable=False))
    return Decision(tuple(drafts), lowers_of(received, who.subject, purposes))


def decide_status(
    received: Received,
    value: InboundStatus,
    claim: ClaimInfo,
    purposes: Sequence[str],
    *,
    reach_changed: bool = False,
) -> Decision:
    """The provider reports what became of a message that is ours, and by the code of a failure perhaps that the person said no,
    which withdraws, first. `reach_changed`: since the time that the provider names the account reaches her no more, or again."""
    content = {"provider_id": value.provider_id}
    if value.raw_error is not None:
        content["provider_error"] = orjson.dumps(value.raw_error).decode()
    data = _STATUSES[value.status](
        message=claim.message,
        part=claim.part,
        account=claim.account,
        purpose=claim.purpose,
        reason=value.error_class,
        code=value.error_code,
        acted_at=clock.to_text(received.at_ms),
    )
    status = Draft(received.id, claim.subject, data, content=orjson.dumps(content))
    failed = value.status == "failed"
    act = replace(received, at_ms=min(received.at_ms, value.provider_time_ms))
    # On another account than the message went out on, somebody else's echo may stand.
    no = failed and value.opted_out and claim.account == received.account
    stopped = purposes if no else ()
    drafts = withdrawals_of(act, claim.subject, stopped, "provider_preference", None)
    if reach_changed:
        since = replace(act, at_ms=reach_ended_ms(act.at_ms)) if failed else act
        drafts.append(reach_draft(since, claim.subject, reachable=not failed))
    return Decision((*drafts, status), lowers_of(act, claim.subject, stopped))


def submitted_by_echo(received: Received, value: InboundStatus, claim: ClaimInfo) -> Draft:
    """What is written in outbound's place when a status shows that the provider took a message of unknown outcome."""
    data = MessageSubmitted(
        message=claim.message,
        part=claim.part,
        account=claim.account,
        purpose=claim.purpose,
        attempt=claim.attempt,
        acted_at=clock.to_text(received.at_ms),
    )
    cause = f"{claim.message}.{claim.part}"
    event_id = ids.event_id(received.id_key, cause, "inbound", f"submitted_by_echo.{claim.attempt}")
    return Draft(event_id, claim.subject, data, content=orjson.dumps({"provider_id": value.provider_id}))


def reach_draft(received: Received, subject: str, *, reachable: bool) -> Draft:
    """The account reaches the person no more, or does again."""
    data = ReachChanged(account=received.account, reachable=reachable, acted_at=clock.to_text(received.at_ms))
    return Draft(received.event_id("reach_changed"), subject, data)


def introduction(received: Received, name: str | None, who: ResolvedSender) -> list[Draft]:
    """What an act tells about the person before it is told itself."""
    drafts: list[Draft] = []
    if who.created:
        data = SubjectCreated(account=received.account, entry_point=ENTRY_POINT)
        drafts.append(
            Draft(ids.event_id(received.id_key, who.subject, "inbound", "subject_created"), who.subject, data)
        )
    drafts += unbound_drafts(received, who.unbound)
    drafts += bound_drafts(received, who.subject, who.bound)
    if who.name_changed and name is not None:
        identity = orjson.dumps({"name": name})
        drafts.append(
            Draft(received.event_id("profile_updated"), who.subject, ProfileUpdated(), identity=identity)
        )
    if who.reachable_again:
        drafts.append(reach_draft(received, who.subject, reachable=True))
    return drafts


def bound_drafts(received: Received, subject: str, bound: Sequence[Address]) -> list[Draft]:
    """Addresses that reach the subject from now on."""
    drafts: list[Draft] = []
    kinds: dict[str, int] = {}
    for address in bound:
        number = kinds[address.kind] = kinds.get(address.kind, 0) + 1
        data = AddressBound(address_kind=address.kind, account=received.account)
        slot = address_slot("address_bound", address.kind, number)
        drafts.append(Draft(received.event_id(slot), subject, data, identity=identity_of(address)))
    return drafts


def unbound_drafts(received: Received, unbound: Sequence[tuple[str, Address]]) -> list[Draft]:
    """Addresses that do not reach a subject any more, because they reach another."""
    drafts: list[Draft] = []
    kinds: dict[str, int] = {}
    for subject, address in unbound:
        number = kinds[address.kind] = kinds.get(address.kind, 0) + 1
        gone = AddressUnbound(address_kind=address.kind, account=received.account, reason="changed")
        slot = address_slot("address_unbound", address.kind, number)
        drafts.append(Draft(received.event_id(slot), subject, gone, identity=identity_of(address)))
    return drafts


def identity_of(address: Address) -> bytes:
    """The sealed part of an event about an address."""
    return orjson.dumps({"address": address.value, "kind": address.kind})


def address_slot(what: str, kind: str, number: int) -> str:
    """One act may bind several addresses of a kind: those of another subject that turned out to be the same person. They are
    numbered, and not named by the address: an id is in clear for ever, and must not confirm a guess at it."""
    return f"{what}.{kind}" if number == 1 else f"{what}.{kind}.{number}"


def _content(value: InboundMessage) -> bytes:
    content: dict[str, Any] = {
        "text": value.text,
        "option_id": value.option_id,
        "option_title": value.option_title,
        "provider_id": value.provider_id,
        "provider_time": clock.to_text(value.provider_time_ms),
        "in_reply_to": value.in_reply_to,
        "forwarded": value.forwarded or None,
        "media": [_file(one) for one in value.media] or None,
        "raw": value.raw,
    }
    return orjson.dumps({name: part for name, part in content.items() if part is not None})


def _file(media: Media) -> dict[str, str]:
    parts = {
        "kind": media.kind,
        "mime_type": media.mime_type,
        "ref": media.ref,
        "url": media.url,
        "name": media.name,
    }
    return {name: part for name, part in parts.items() if part is not None}


def evidence_of_act(
    addresses: Sequence[Address],
    provider_time_ms: int,
    provider_id: str,
    kind: str,
    text: str,
    name: str | None,
    entry: dict[str, Any] | None = None,
) -> bytes:
    """What proves an act of consent or withdrawal: who said what, and when; `entry`: by which way she came."""
    told = {
        "text": text,
        "sender": addresses[0].value,
        "kind": kind,
        "provider_time": clock.to_text(provider_time_ms),
        "name": name,
        "provider_id": provider_id,
    }
    return orjson.dumps(told if entry is None else {**told, "entry": entry})


def lowers_of(received: Received, subject: str, purposes: Sequence[str]) -> tuple[Lower, ...]:
    """The permissions that fall with a withdrawal of these purposes."""
    return tuple(
        Lower(received.tenant, subject, received.channel, purpose, received.at_ms) for purpose in purposes
    )
