"""Webhooks of WhatsApp: what are its parts, what does each part say (whether it is authentic: `workers.meta`; what is neither
message nor status: `news`).

A fragment is one change that holds one element, in the provider's own words, with the contact it belongs to:
`{"entry", "time"?, "field", "value": {"metadata", "contacts", "messages" | "statuses" | … : [one]}}`; what
has not even that form is `{"malformed": …}`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workers import meta
from workers.channel import Fragment, UnparseableBody, UnparseableFragment
from workers.channels.whatsapp import errors, news, wire
from workers.inbound_values import (
    Inbound,
    InboundAccountError,
    InboundEdit,
    InboundMessage,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundUnsupported,
    JsonObject,
    Media,
    MessageKind,
    ReportedStatus,
)
from workers.webhook_body import load_body

ITEM_LISTS = (
    "messages",
    "statuses",
    "errors",
    "user_preferences",
    "user_id_update",
    "message_echoes",
)
"""Lists in a change's value whose elements stand for themselves."""
COMPANIONS = frozenset(("messaging_product", "metadata", "contacts"))
IGNORED_STATUSES = frozenset(("deleted",))
STATUSES: dict[str, ReportedStatus] = {
    "sent": "sent", "delivered": "delivered", "read": "read", "played": "played", "failed": "failed",
}  # fmt: skip
KEPT_BY_VALUE = frozenset(("text", "button_reply", "list_reply"))
"""Kinds of messages of which the typed value says all; of every other one the fragment is kept whole."""

# ---- parts --------------------------------------------------------------------------------------------------------


def split(body: bytes) -> list[Fragment]:
    """One fragment for every message, status, error and other news, in order; UnparseableBody when the body
    is none of WhatsApp's.
    """
    found = load_body(body)
    if (
        not isinstance(found, dict)
        or found.get("object") != wire.OBJECT
        or not isinstance(found.get("entry"), list)
    ):
        raise UnparseableBody("an authentic body is no WhatsApp webhook")
    fragments: list[Fragment] = []
    for fragment in _fragments(found["entry"]):
        if len(fragments) == meta.FRAGMENTS_MAX:
            raise UnparseableBody("an authentic body has more parts than a WhatsApp webhook can have")
        fragments.append(fragment)
    return fragments


def _fragments(entries: Sequence[Any]) -> Iterator[Fragment]:
    for entry in entries:
        changes = entry.get("changes") if isinstance(entry, dict) else None
        if not isinstance(changes, list):
            yield _malformed(entry)
            continue
        head = {"entry": meta.short_id(entry.get("id"))}
        if isinstance(entry.get("time"), int):
            head["time"] = entry["time"]
        for change in changes:
            value = change.get("value") if isinstance(change, dict) else None
            if not isinstance(value, dict) or not isinstance(change.get("field"), str):
                yield _malformed(change)
            else:
                yield from _of_change({**head, "field": meta.short_id(change["field"])}, value)


def alone(found: JsonObject) -> list[JsonObject]:
    """The fragments of an element without what surrounds it in a webhook, by its form: a change, its value, a message or a
    status; [] for anything else. For `sealpost parse`: no webhook looks so.
    """
    field, value = found.get("field"), found.get("value")
    if not isinstance(field, str) or not isinstance(value, dict):
        if {"id", "status"} <= found.keys():
            value = {"statuses": [found]}
        elif {"id", "type", "timestamp"} <= found.keys():
            value = {"messages": [found]}
        else:
            value = found
        name = next((name for name in ITEM_LISTS if name in value), None)
        if name is None:
            return []
        field = name if name in wire.FIELDS else "messages"
    return [fragment.raw for fragment in _of_change({"entry": "", "field": meta.short_id(field)}, value)]


def _of_change(head: JsonObject, value: JsonObject) -> Iterator[Fragment]:
    metadata = value.get("metadata")
    around = {"metadata": metadata if isinstance(metadata, dict) and meta.small(metadata) else {}}
    account_ref = meta.short_id(meta.mapping(metadata).get("phone_number_id"))
    around["metadata"] = (
        {**around["metadata"], "phone_number_id": account_ref} if account_ref else around["metadata"]
    )
    contacts = value.get("contacts")
    known = (
        [c for c in contacts if isinstance(c, dict) and meta.small(c)] if isinstance(contacts, list) else []
    )
    by_id = {c[key]: c for c in known for key in ("user_id", "wa_id") if isinstance(c.get(key), str)}
    for name in ITEM_LISTS:
        items = value.get(name)
        if items is None:
            continue
        for item in items if isinstance(items, list) else [items]:
            if not isinstance(item, dict):
                yield _malformed(item, account_ref)
                continue
            contact = _contact_of(name, item, known, by_id)
            inner = {**around, "contacts": [contact] if contact else [], name: [item]}
            yield Fragment(account_ref, _sender_ref(name, item, contact), {**head, "value": inner})
    rest = {key: part for key, part in value.items() if key not in COMPANIONS and key not in ITEM_LISTS}
    if rest:
        sender_ref = _sender_ref("", {}, known[0]) if len(known) == 1 else ""
        yield Fragment(
            account_ref,
            sender_ref,
            {**head, "value": {**around, "contacts": known, **rest}},
        )


def _malformed(part: Any, account_ref: str = "") -> Fragment:
    return Fragment(account_ref, "", {"malformed": part})


def _ids_of(name: str, item: JsonObject) -> list[str]:
    """The ids by which an element of a list names its person, the most stable first."""
    update = meta.mapping(item.get("user_id"))
    candidates: tuple[Any, ...] = (
        item.get("from_user_id"), item.get("recipient_user_id"), update.get("previous"), item.get("user_id"),
        item.get("from"), item.get("recipient_id"), item.get("wa_id"),
    )  # fmt: skip
    if name == "message_echoes":
        candidates = news.echo_recipients(item)
    return [text for text in candidates if isinstance(text, str) and text]


def _contact_of(
    name: str, item: JsonObject, known: list[JsonObject], by_id: dict[str, JsonObject]
) -> JsonObject | None:
    """The contact that belongs to an element: the one it names, else the only one if the two do not
    contradict each other.
    """
    ids = _ids_of(name, item)
    for text in ids:
        if text in by_id:
            return by_id[text]
    if len(known) != 1 or item.get("group_id") is not None or item.get("recipient_type") == "group":
        return None
    contact = known[0]
    mine = {a.kind: a.value for a in map(wire.address, ids) if a is not None}
    theirs = [a for a in map(wire.address, (contact.get("user_id"), contact.get("wa_id"))) if a is not None]
    return None if any(mine.get(a.kind, a.value) != a.value for a in theirs) else contact


def _sender_ref(name: str, item: JsonObject, contact: JsonObject | None) -> str:
    ids = _ids_of(name, item) + (
        [str(contact.get(key) or "") for key in ("user_id", "wa_id")] if contact else []
    )
    found = {a.kind: a.value for a in map(wire.address, reversed(dict.fromkeys(ids))) if a is not None}
    return found.get("bsuid") or found.get("phone") or (ids[0] if ids else "")


# ---- values -------------------------------------------------------------------------------------------------------


def parse(raw: JsonObject) -> list[Inbound]:
    """Read one fragment; [] for what means nothing (`deleted`). UnparseableFragment for what is not as
    documented.
    """
    raw = dict(meta.mapping(raw))
    if "field" not in raw or "malformed" in raw:
        raise UnparseableFragment("malformed")
    value = meta.mapping(raw.get("value"))
    field = raw.get("field")
    account_ref = meta.short_id(meta.mapping(value.get("metadata")).get("phone_number_id"))
    name, item = item_of(value)
    if field == "messages" and name == "messages":
        return [_message(account_ref, item, value, raw)]
    if field == "messages" and name == "statuses":
        return _status(account_ref, item, value, raw)
    if field == "messages" and name == "errors":
        code = errors.classify_reported(item)
        if code.code is None:
            raise UnparseableFragment("error_code")
        return [InboundAccountError(account_ref, code.code, code.failure_class)]
    if not isinstance(field, str):
        return [InboundUnsupported(account_ref, "other", "other", None, raw)]
    return [news.read(account_ref, field, name, item, contact_of(value), raw)]


def item_of(value: Any) -> tuple[str, JsonObject]:
    """Name of the list a fragment's value holds, and its one element; ("", {}) when it holds none."""
    for name in ITEM_LISTS:
        items = value.get(name)
        if isinstance(items, list) and len(items) == 1 and isinstance(items[0], dict):
            return name, items[0]
    return "", {}


def contact_of(value: Any) -> wire.Contact | None:
    """The contact of a fragment's element."""
    contacts = value.get("contacts")
    return wire.read_contact(contacts[0]) if isinstance(contacts, list) and contacts else None


def _message(account_ref: str, item: JsonObject, value: Any, raw: JsonObject) -> Inbound:
    head = wire.MessageHead.read(item)
    at_ms = meta.time_ms(head.timestamp)
    if head.group_id is not None:
        return InboundUnsupported(account_ref, "messages", "group", head.id, raw)
    contact = contact_of(value)
    if head.type == "system":
        return news.of_person(account_ref, head, at_ms, item, contact, raw)
    if head.type == "request_welcome":
        return InboundUnsupported(account_ref, "messages", "request_welcome", head.id, raw)
    addresses = wire.sender_addresses(head.sender, head.from_user_id, contact)
    if not addresses:
        raise UnparseableFragment("no_address")
    if head.type in wire.ABOUT_A_MESSAGE:
        target = wire.Target.read(item.get(head.type))
        if head.type == "reaction":
            return InboundReaction(account_ref, head.id, at_ms, addresses, target.id, target.emoji or "")
        if head.type == "revoke":
            return InboundRevoke(account_ref, head.id, at_ms, addresses, target.id)
        text = wire.shown_text(target.message.get("type", "text"), target.message)
        return InboundEdit(account_ref, head.id, at_ms, addresses, target.id, text, raw)
    said = _said(head.type, item)
    context = meta.mapping(item.get("context"))
    answered = context.get("id")
    advertised = "referral" in item or "referred_product" in context
    return InboundMessage(
        account_ref=account_ref,
        provider_id=head.id,
        provider_time_ms=at_ms,
        addresses=addresses,
        name=contact.profile.name if contact and contact.profile else None,
        kind=said.kind,
        provider_kind=said.provider_kind,
        text=said.text,
        option_id=said.option_id,
        option_title=said.option_title,
        in_reply_to=answered if isinstance(answered, str) else None,
        raw=raw if advertised or said.kind not in KEPT_BY_VALUE else None,
        forwarded=True in (context.get("forwarded"), context.get("frequently_forwarded")),
        media=said.media,
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What a message says, by its type; fields as in `InboundMessage`."""

    kind: MessageKind
    provider_kind: str
    text: str | None = None
    option_id: str | None = None
    option_title: str | None = None
    media: tuple[Media, ...] = ()


def _said(type_: str, item: JsonObject) -> _Said:
    part = item.get(type_)
    if type_ == "text":
        return _Said("text", "text", wire.TextBody.read(part).body)
    if type_ == "button":
        pressed = wire.QuickReply.read(part)
        return _Said("button_reply", "button", None, pressed.payload, pressed.text)
    if type_ == "interactive" and part is not None:
        return _answered(wire.Interactive.read(part))
    provider_kind = meta.known(type_, wire.MESSAGE_TYPES)
    if type_ in wire.MEDIA_TYPES:
        media = wire.media_of(type_, part)
        if media is not None:
            return _Said("media", provider_kind, wire.shown_text(type_, item), media=(media,))
    if type_ == "location" and _is_place(part):
        return _Said("location", provider_kind)
    if type_ == "contacts" and isinstance(part, list):
        return _Said("contacts", provider_kind)
    if type_ == "order" and isinstance(part, dict):
        note = part.get("text")
        return _Said("order", provider_kind, note if isinstance(note, str) and note else None)
    return _Said("unsupported", provider_kind)


def _answered(answer: wire.Interactive) -> _Said:
    inner = f"interactive/{meta.known(answer.type, wire.INTERACTIVE_TYPES)}"
    kinds: tuple[Literal["button_reply", "list_reply"], ...] = ("button_reply", "list_reply")
    for kind in kinds:
        if answer.type == kind:
            choice = answer.button_reply if kind == "button_reply" else answer.list_reply
            if choice is None:
                raise UnparseableFragment("malformed")
            return _Said(kind, inner, None, choice.id, choice.title)
    if answer.type == "nfm_reply":
        if answer.nfm_reply is None:
            raise UnparseableFragment("malformed")
        return _Said("form_reply", inner)
    return _Said("unsupported", inner)


def _is_place(part: object) -> bool:
    """Both coordinates are degrees; zero is one of them."""
    place = meta.mapping(part)
    bounds = ((place.get("latitude"), 90), (place.get("longitude"), 180))
    return all(
        isinstance(one, int | float) and not isinstance(one, bool) and -most <= one <= most
        for one, most in bounds
    )


def _status(account_ref: str, item: JsonObject, value: Any, raw: JsonObject) -> list[Inbound]:
    status = wire.Status.read(item)
    if status.status in IGNORED_STATUSES:
        return []
    known = STATUSES.get(status.status)
    if known is None or status.recipient_type == "group":
        kind = "group" if status.recipient_type == "group" else "unknown"
        return [InboundUnsupported(account_ref, "statuses", kind, status.id, raw)]
    error = status.error
    meaning = errors.classify_reported(error or {}) if known == "failed" else None
    recipient = wire.address(status.recipient_user_id) or wire.address(status.recipient_id)
    if recipient is None:
        # With a hidden number some payloads name the recipient beside the status only.
        recipient = next(iter(wire.sender_addresses(None, None, contact_of(value))), None)
    return [
        InboundStatus(
            account_ref=account_ref,
            provider_id=status.id,
            status=known,
            provider_time_ms=meta.time_ms(status.timestamp),
            recipient=recipient,
            echo=status.biz_opaque_callback_data,
            error_code=meaning.code if meaning else None,
            error_class=meaning.failure_class if meaning else None,
            raw_error=error,
            opted_out=meaning is not None and meaning.opted_out,
            message_only=meaning is not None and meaning.message_only,
        )
    ]
