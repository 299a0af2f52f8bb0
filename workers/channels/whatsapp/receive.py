"""Webhooks of WhatsApp: what are its parts, what does each part say (whether it is authentic: `workers.meta`).

A fragment is one change that holds one element, in the provider's own words, with the contact it belongs to:
`{"entry", "time"?, "field", "value": {"metadata", "contacts", "messages" | "statuses" | … : [one]}}`; what
has not even that form is `{"malformed": …}`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from workers import meta
from workers.channel import Fragment, UnparseableBody, UnparseableFragment
from workers.channels.whatsapp import errors, wire
from workers.inbound_values import (
    Inbound,
    InboundAccountError,
    InboundMessage,
    InboundOptOut,
    InboundStatus,
    InboundUnsupported,
    JsonObject,
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
NO_ACT_OF_A_PERSON = frozenset(("system", "request_welcome"))
"""Message types that are news about a person and no message of hers: they open no window and make no
subject.
"""

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
            contact = _contact_of(item, known, by_id)
            inner = {**around, "contacts": [contact] if contact else [], name: [item]}
            yield Fragment(account_ref, _sender_ref(item, contact), {**head, "value": inner})
    rest = {key: part for key, part in value.items() if key not in COMPANIONS and key not in ITEM_LISTS}
    if rest:
        sender_ref = _sender_ref({}, known[0]) if len(known) == 1 else ""
        yield Fragment(
            account_ref,
            sender_ref,
            {**head, "value": {**around, "contacts": known, **rest}},
        )


def _malformed(part: Any, account_ref: str = "") -> Fragment:
    return Fragment(account_ref, "", {"malformed": part})


def _ids_of(item: JsonObject) -> list[str]:
    """The ids by which an element names its person, the most stable first."""
    update = meta.mapping(item.get("user_id"))
    candidates = (
        item.get("from_user_id"), item.get("recipient_user_id"), update.get("previous"), item.get("user_id"),
        item.get("from"), item.get("recipient_id"), item.get("wa_id"),
    )  # fmt: skip
    return [text for text in candidates if isinstance(text, str) and text]


def _contact_of(item: JsonObject, known: list[JsonObject], by_id: dict[str, JsonObject]) -> JsonObject | None:
    """The contact that belongs to an element: the one it names, else the only one if the two do not
    contradict each other.
    """
    ids = _ids_of(item)
    for text in ids:
        if text in by_id:
            return by_id[text]
    if len(known) != 1 or item.get("group_id") is not None or item.get("recipient_type") == "group":
        return None
    contact = known[0]
    mine = {a.kind: a.value for a in map(wire.address, ids) if a is not None}
    theirs = [a for a in map(wire.address, (contact.get("user_id"), contact.get("wa_id"))) if a is not None]
    return None if any(mine.get(a.kind, a.value) != a.value for a in theirs) else contact


def _sender_ref(item: JsonObject, contact: JsonObject | None) -> str:
    ids = _ids_of(item) + ([str(contact.get(key) or "") for key in ("user_id", "wa_id")] if contact else [])
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
        return _status(account_ref, item, raw)
    if field == "messages" and name == "errors":
        code = errors.classify_reported(item)
        if code.code is None:
            raise UnparseableFragment("error_code")
        return [InboundAccountError(account_ref, code.code, code.failure_class)]
    if field == "user_preferences" and name == "user_preferences":
        return [_preference(account_ref, item, value, raw)]
    return [InboundUnsupported(account_ref, meta.known(field, wire.FIELDS), "other", None, raw)]


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
    provider_kind = meta.known(head.type, wire.MESSAGE_TYPES)
    if head.group_id is not None:
        return InboundUnsupported(account_ref, "messages", "group", head.id, raw)
    if provider_kind in NO_ACT_OF_A_PERSON:
        return InboundUnsupported(account_ref, "messages", provider_kind, head.id, raw)
    contact = contact_of(value)
    addresses = wire.sender_addresses(head.sender, head.from_user_id, contact)
    if not addresses:
        raise UnparseableFragment("no_address")
    kind, provider_kind, text, option_id, option_title = _said(head.type, provider_kind, item)
    answered = meta.mapping(item.get("context")).get("id")
    return InboundMessage(
        account_ref=account_ref,
        provider_id=head.id,
        provider_time_ms=at_ms,
        addresses=addresses,
        name=contact.profile.name if contact and contact.profile else None,
        kind=kind,
        provider_kind=provider_kind,
        text=text,
        option_id=option_id,
        option_title=option_title,
        in_reply_to=answered if isinstance(answered, str) else None,
        raw=raw if kind == "unsupported" else None,
    )


_Said = tuple[MessageKind, str, str | None, str | None, str | None]


def _said(type_: str, provider_kind: str, item: JsonObject) -> _Said:
    """(kind, provider's kind, text, option id, option title) of a message by its type."""
    if type_ == "text":
        return (
            "text",
            "text",
            wire.TextBody.read(item.get("text")).body,
            None,
            None,
        )
    if type_ == "button":
        pressed = wire.QuickReply.read(item.get("button"))
        return "button_reply", "button", None, pressed.payload, pressed.text
    if type_ == "interactive":
        answer = wire.Interactive.read(item.get("interactive"))
        inner = f"interactive/{meta.known(answer.type, wire.INTERACTIVE_TYPES)}"
        kinds: tuple[Literal["button_reply", "list_reply"], ...] = (
            "button_reply",
            "list_reply",
        )
        for kind in kinds:
            if answer.type == kind:
                choice = answer.button_reply if kind == "button_reply" else answer.list_reply
                if choice is None:
                    raise UnparseableFragment("malformed")
                return kind, inner, None, choice.id, choice.title
        return "unsupported", inner, None, None, None
    return "unsupported", provider_kind, None, None, None


def _status(account_ref: str, item: JsonObject, raw: JsonObject) -> list[Inbound]:
    status = wire.Status.read(item)
    if status.status in IGNORED_STATUSES:
        return []
    known = STATUSES.get(status.status)
    if known is None or status.recipient_type == "group":
        kind = "group" if status.recipient_type == "group" else "unknown"
        return [InboundUnsupported(account_ref, "statuses", kind, status.id, raw)]
    error = status.errors[0] if status.errors else None
    meaning = errors.classify_reported(error or {}) if known == "failed" else None
    return [
        InboundStatus(
            account_ref=account_ref,
            provider_id=status.id,
            status=known,
            provider_time_ms=meta.time_ms(status.timestamp),
            recipient=wire.address(status.recipient_user_id) or wire.address(status.recipient_id),
            echo=status.biz_opaque_callback_data,
            error_code=meaning.code if meaning else None,
            error_class=meaning.failure_class if meaning else None,
            raw_error=error,
        )
    ]


def _preference(account_ref: str, item: JsonObject, value: Any, raw: JsonObject) -> Inbound:
    preference = wire.Preference.read(item)
    if preference.category != "marketing_messages" or preference.value not in (
        "stop",
        "resume",
    ):
        return InboundUnsupported(account_ref, "user_preferences", "other", None, raw)
    at_ms = meta.time_ms(preference.timestamp)
    addresses = wire.sender_addresses(preference.wa_id, preference.user_id, contact_of(value))
    if not addresses:
        raise UnparseableFragment("no_address")
    return InboundOptOut(
        account_ref=account_ref,
        provider_id=f"user_preferences:{addresses[0].value}:{preference.value}:{at_ms}",
        provider_time_ms=at_ms,
        addresses=addresses,
        scope="marketing",
        value="stop" if preference.value == "stop" else "resume",
    )


# ---- facts, for the command line ----------------------------------------------------------------------------------

_KINDS = {
    InboundMessage: "message", InboundStatus: "status", InboundAccountError: "account_error", InboundUnsupported: "unsupported",
}  # fmt: skip
_KINDS_BY_LIST = {"messages": "message", "statuses": "status"}
_OPT_OUT_KINDS = {"stop": "opt_out", "resume": "resume"}
"""`resume` lifts an opt-out and is no consent, so it is neither an opt-out nor an opt-in."""


def describe(raw: JsonObject) -> list[JsonObject]:
    """The facts of one fragment: one object for an inbound value, with `kind` and `supported`; `reject` when
    it is none, `why` when it is none or not supported.
    """
    raw = dict(meta.mapping(raw))
    value = meta.mapping(raw.get("value"))
    name, item = item_of(value)
    found = wire.facts(raw.get("field"), name, item, value)
    try:
        values = parse(raw)
    except UnparseableFragment as error:
        nobody = error.why == "no_address"
        kind = _KINDS_BY_LIST.get(name) or _OPT_OUT_KINDS.get(str(item.get("value"))) if nobody else None
        reject = {} if nobody else {"reject": True}
        return [_line(kind or "rejected", False, reject | {"why": error.why}, found)]
    if not values:
        return [_line("ignored", False, {}, found)]
    return [_line(_kind(one), _supported(one), _meaning(one), found) for one in values]


def _line(kind: str, supported: bool, more: JsonObject, found: JsonObject) -> JsonObject:
    """Our words first, and never replaced by a provider's field of the same name."""
    ours = {"kind": kind, "supported": supported, **more}
    return {**ours, **found, **ours}


def _kind(one: Inbound) -> str:
    return _OPT_OUT_KINDS[one.value] if isinstance(one, InboundOptOut) else _KINDS[type(one)]


def _meaning(one: Inbound) -> JsonObject:
    """What it means for us, beside the provider's facts."""
    if isinstance(one, InboundStatus | InboundAccountError) and one.error_class is not None:
        return {"error_class": one.error_class}
    if isinstance(one, InboundUnsupported) and one.provider_kind != "other":
        return {"why": one.provider_kind}
    return {}


def _supported(one: Inbound) -> bool:
    if isinstance(one, InboundMessage):
        return one.kind != "unsupported"
    return not isinstance(one, InboundUnsupported)
