"""Webhooks of WhatsApp: is it authentic, what are its parts, what does each part say.

A fragment is one change that holds one element, in the provider's own words, with the contact it belongs to:
`{"entry", "time"?, "field", "value": {"metadata", "contacts", "messages" | "statuses" | … : [one]}}`; what
has not even that form is `{"malformed": …}`.
"""

import hmac
import json
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Literal, NoReturn

import orjson

from workers.channel import (
    Accepted,
    Authenticity,
    ConnectionSecrets,
    Denied,
    Fragment,
    Handshake,
    Inbound,
    InboundAccountError,
    InboundMessage,
    InboundOptOut,
    InboundStatus,
    InboundUnsupported,
    JsonObject,
    MessageKind,
    ReportedStatus,
    UnparseableBody,
    UnparseableFragment,
    WebhookRequest,
)
from workers.channels.whatsapp import errors, wire

SIGNATURE_HEADER = "x-hub-signature-256"
SIGNATURE_PREFIX = "sha256="
SIGNATURE_CHARACTERS = len(SIGNATURE_PREFIX) + 64
FRAGMENTS_MAX = 20_000
"""Fragments of one body: a 3 MB body of real statuses has about 10,000; more is no WhatsApp webhook but an
attempt to flood.
"""
COMPANION_MAX_BYTES = 8_192
"""A contact or metadata above this is not copied to each fragment, so that a body cannot grow by being
split.
"""
WORD_MAX_CHARACTERS = 64

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
_NON_ASCII = re.compile(r"[^\x00-\x7f]")


# ---- authentic? ---------------------------------------------------------------------------------------------------


def authenticate(request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
    """Check `X-Hub-Signature-256` over the raw body, or answer Meta's handshake (GET). Constant time; never
    raises.
    """
    if request.method == "GET":
        return _handshake(request, connection)
    if request.method != "POST":
        return Denied(405, "method")
    if not connection.app_secret:
        return Denied(401, "no_secret")
    given = request.headers.get(SIGNATURE_HEADER, "")
    if not given:
        return Denied(401, "missing")
    if len(given) != SIGNATURE_CHARACTERS or not given.startswith(SIGNATURE_PREFIX):
        return Denied(401, "malformed")
    if _same(given, signature(connection.app_secret, request.body)):
        return Accepted()
    escaped = _escaped(request.body)
    if escaped is not None and _same(given, signature(connection.app_secret, escaped)):
        return Accepted()
    return Denied(401, "mismatch")


def signature(app_secret: str, body: bytes) -> str:
    """The header's value for a body: `sha256=` and 64 lower-case hexadecimal digits."""
    return SIGNATURE_PREFIX + hmac.new(app_secret.encode(), body, sha256).hexdigest()


def _handshake(request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
    query = request.query
    if query.get("hub.mode") != "subscribe" or not connection.verify_token:
        return Denied(403, "handshake")
    if not _same(query.get("hub.verify_token", ""), connection.verify_token):
        return Denied(403, "handshake")
    return Handshake(query.get("hub.challenge", "").encode("utf-8", "replace"))


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _escaped(body: bytes) -> bytes | None:
    r"""The body with everything outside ASCII as lower-case `\uXXXX`, the form Meta signs; None when there is
    nothing to escape.
    """
    if body.isascii():
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return _NON_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text).encode("ascii")


# ---- parts --------------------------------------------------------------------------------------------------------


def split(body: bytes) -> list[Fragment]:
    """One fragment for every message, status, error and other news, in order; UnparseableBody when the body
    is none of WhatsApp's.
    """
    found = _loads(body)
    if (
        not isinstance(found, dict)
        or found.get("object") != wire.OBJECT
        or not isinstance(found.get("entry"), list)
    ):
        raise UnparseableBody("an authentic body is no WhatsApp webhook")
    fragments: list[Fragment] = []
    for fragment in _fragments(found["entry"]):
        if len(fragments) == FRAGMENTS_MAX:
            raise UnparseableBody("an authentic body has more parts than a WhatsApp webhook can have")
        fragments.append(fragment)
    return fragments


def _loads(body: bytes) -> Any:
    """JSON; a lone surrogate (half an emoji in a name that was cut) becomes `?` instead of losing the whole
    body.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        text = json.dumps(json.loads(body, parse_constant=_no_constant), ensure_ascii=False)
        return orjson.loads(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise UnparseableBody("an authentic body is no JSON") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _fragments(entries: Sequence[Any]) -> Iterator[Fragment]:
    for entry in entries:
        changes = entry.get("changes") if isinstance(entry, dict) else None
        if not isinstance(changes, list):
            yield _malformed(entry)
            continue
        head = {"entry": _word(entry.get("id"))}
        if isinstance(entry.get("time"), int):
            head["time"] = entry["time"]
        for change in changes:
            value = change.get("value") if isinstance(change, dict) else None
            if not isinstance(value, dict) or not isinstance(change.get("field"), str):
                yield _malformed(change)
            else:
                yield from _of_change({**head, "field": _word(change["field"])}, value)


def _of_change(head: JsonObject, value: JsonObject) -> Iterator[Fragment]:
    metadata = value.get("metadata")
    around = {"metadata": metadata if isinstance(metadata, dict) and _small(metadata) else {}}
    account_ref = _word(wire.mapping(metadata).get("phone_number_id"))
    around["metadata"] = (
        {**around["metadata"], "phone_number_id": account_ref} if account_ref else around["metadata"]
    )
    contacts = value.get("contacts")
    known = [c for c in contacts if isinstance(c, dict) and _small(c)] if isinstance(contacts, list) else []
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
    update = wire.mapping(item.get("user_id"))
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


def _small(part: JsonObject) -> bool:
    return len(orjson.dumps(part)) <= COMPANION_MAX_BYTES


def _word(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and len(value) <= WORD_MAX_CHARACTERS else ""


# ---- values -------------------------------------------------------------------------------------------------------


def parse(raw: JsonObject) -> list[Inbound]:
    """Read one fragment; [] for what means nothing (`deleted`). UnparseableFragment for what is not as
    documented.
    """
    raw = dict(wire.mapping(raw))
    if "field" not in raw or "malformed" in raw:
        raise UnparseableFragment("malformed")
    value = wire.mapping(raw.get("value"))
    field = raw.get("field")
    account_ref = _word(wire.mapping(value.get("metadata")).get("phone_number_id"))
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
    return [InboundUnsupported(account_ref, wire.known(field, wire.FIELDS), "other", None, raw)]


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
    head = wire.read(wire.MessageHead, item)
    at_ms = wire.time_ms(head.timestamp)
    provider_kind = wire.known(head.type, wire.MESSAGE_TYPES)
    if head.group_id is not None:
        return InboundUnsupported(account_ref, "messages", "group", head.id, raw)
    if provider_kind in NO_ACT_OF_A_PERSON:
        return InboundUnsupported(account_ref, "messages", provider_kind, head.id, raw)
    contact = contact_of(value)
    addresses = wire.sender_addresses(head.sender, head.from_user_id, contact)
    if not addresses:
        raise UnparseableFragment("no_address")
    kind, provider_kind, text, option_id, option_title = _said(head.type, provider_kind, item)
    answered = wire.mapping(item.get("context")).get("id")
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
            wire.read(wire.TextBody, item.get("text")).body,
            None,
            None,
        )
    if type_ == "button":
        pressed = wire.read(wire.QuickReply, item.get("button"))
        return "button_reply", "button", None, pressed.payload, pressed.text
    if type_ == "interactive":
        answer = wire.read(wire.Interactive, item.get("interactive"))
        inner = f"interactive/{wire.known(answer.type, wire.INTERACTIVE_TYPES)}"
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
    status = wire.read(wire.Status, item)
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
            provider_time_ms=wire.time_ms(status.timestamp),
            recipient=wire.address(status.recipient_user_id) or wire.address(status.recipient_id),
            echo=status.biz_opaque_callback_data,
            error_code=meaning.code if meaning else None,
            error_class=meaning.failure_class if meaning else None,
            raw_error=error,
        )
    ]


def _preference(account_ref: str, item: JsonObject, value: Any, raw: JsonObject) -> Inbound:
    preference = wire.read(wire.Preference, item)
    if preference.category != "marketing_messages" or preference.value not in (
        "stop",
        "resume",
    ):
        return InboundUnsupported(account_ref, "user_preferences", "other", None, raw)
    at_ms = wire.time_ms(preference.timestamp)
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
    raw = dict(wire.mapping(raw))
    value = wire.mapping(raw.get("value"))
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
