"""Webhooks of Messenger: what are its parts, what does each part say (whether it is authentic: `workers.meta`).

A fragment is one element, in the provider's own words, with the list it stood in:
`{"entry", "time"?, "messaging" | "standby" | "changes": [one]}`; what has not even that form is
`{"malformed": …}`. A delivery that names several messages becomes one fragment a message.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workers import meta
from workers.channel import Fragment, UnparseableBody, UnparseableFragment, read_echo
from workers.channels.messenger import wire
from workers.inbound_values import (
    Inbound,
    InboundMessage,
    InboundStatus,
    InboundUnsupported,
    JsonObject,
    MessageKind,
)
from workers.webhook_body import load_body

ACTS = frozenset(("message", "postback", "referral", "reaction", "message_edit"))
"""Kinds by which a person turns to us. Each opens the service window
(https://developers.facebook.com/docs/messenger-platform/policy/policy-overview), but for an edit, which Meta does not
name there: at worst a send is refused. An opt-in to the provider's own marketing messages is none.
"""
_KINDS = {"message": "message", "postback": "message", "delivery": "status"}
"""What an element is that cannot be attributed to anybody."""


# ---- parts --------------------------------------------------------------------------------------------------------


def split(body: bytes) -> list[Fragment]:
    """One fragment for every element of every entry, in order; UnparseableBody when the body is none of
    Messenger's.
    """
    found = load_body(body)
    if (
        not isinstance(found, dict)
        or found.get("object") != wire.OBJECT
        or not isinstance(found.get("entry"), list)
    ):
        raise UnparseableBody("an authentic body is no Messenger webhook")
    fragments: list[Fragment] = []
    for fragment in _fragments(found["entry"]):
        if len(fragments) == meta.FRAGMENTS_MAX:
            raise UnparseableBody("an authentic body has more parts than a Messenger webhook can have")
        fragments.append(fragment)
    return fragments


def _fragments(entries: Sequence[Any]) -> Iterator[Fragment]:
    for entry in entries:
        names = (
            [name for name in (*wire.LISTS, "changes") if name in entry] if isinstance(entry, dict) else []
        )
        if not names:
            yield _malformed(entry)
            continue
        head: JsonObject = {"entry": meta.short_id(entry.get("id"))}
        if isinstance(entry.get("time"), int):
            head["time"] = entry["time"]
        for name in names:
            listed = entry[name]
            for element in listed if isinstance(listed, list) else [listed]:
                if isinstance(element, dict):
                    yield from _of_element(head, name, element)
                else:
                    yield _malformed(element, head["entry"])


def _of_element(head: JsonObject, name: str, element: JsonObject) -> Iterator[Fragment]:
    account_ref = head["entry"] or wire.page(element)
    for one in _one_delivery_each(element) if name != "changes" else [element]:
        yield Fragment(account_ref, wire.person(one), {**head, name: [one]})


def _one_delivery_each(element: JsonObject) -> Iterator[JsonObject]:
    """The element once for each message that it says is delivered; as it is when it names none or one."""
    delivery = meta.mapping(element.get("delivery"))
    mids = delivery.get("mids")
    if wire.kind_of(element) != "delivery" or not isinstance(mids, list) or len(mids) < 2:
        yield element
        return
    around = {key: part for key, part in element.items() if key != "delivery"}
    rest = {key: part for key, part in delivery.items() if key != "mids"}
    if not meta.small({**around, **rest}):
        around = {role: {"id": wire.party(element, role)} for role in ("sender", "recipient")}
        around["timestamp"] = element.get("timestamp") if isinstance(element.get("timestamp"), int) else None
        rest = {}
    for mid in mids:
        yield {**around, "delivery": {"mids": [mid], **rest}}


def _malformed(part: Any, account_ref: str = "") -> Fragment:
    return Fragment(account_ref, "", {"malformed": part})


# ---- values -------------------------------------------------------------------------------------------------------


def parse(raw: JsonObject) -> list[Inbound]:
    """Read one fragment; [] for what means nothing (an element of another page). UnparseableFragment for what
    is not as documented.
    """
    raw = dict(meta.mapping(raw))
    name, element = element_of(raw)
    if not name:
        raise UnparseableFragment("malformed")
    entry = meta.short_id(raw.get("entry"))
    if name == "changes":
        field = element.get("field")
        if not isinstance(field, str):
            raise UnparseableFragment("malformed")
        return [InboundUnsupported(entry, meta.known(field, wire.FIELDS), "other", None, raw)]
    own = wire.page(element)
    if entry and own and own != entry:
        return []
    return _values(name, element, entry or own, raw)


def element_of(raw: JsonObject) -> tuple[str, JsonObject]:
    """Name of the list a fragment holds, and its one element; ("", {}) when it holds none."""
    for name in (*wire.LISTS, "changes"):
        items = raw.get(name)
        if isinstance(items, list) and len(items) == 1 and isinstance(items[0], dict):
            return name, items[0]
    return "", {}


def _values(name: str, element: JsonObject, account_ref: str, raw: JsonObject) -> list[Inbound]:
    kind = wire.kind_of(element)
    if kind == "delivery":
        return _deliveries(name, element, account_ref, raw)
    if wire.is_echo(element):
        return [_echo(name, element, account_ref, raw)]
    if name == "standby" or kind not in ACTS:
        return [InboundUnsupported(account_ref, name, kind, None, raw)]
    return [_message(kind, element, account_ref, raw)]


def _deliveries(name: str, element: JsonObject, account_ref: str, raw: JsonObject) -> list[Inbound]:
    """A delivery that names no message has only a watermark: it is counted and tells nothing (README)."""
    delivery = wire.Delivery.read(element["delivery"])
    if not delivery.mids:
        return [InboundUnsupported(account_ref, name, "delivery", None, raw)]
    at_ms = meta.time_ms(element.get("timestamp"))
    recipient = wire.address(wire.person(element))
    return [InboundStatus(account_ref, mid, "delivered", at_ms, recipient) for mid in delivery.mids]


def _echo(name: str, element: JsonObject, account_ref: str, raw: JsonObject) -> Inbound:
    """The copy of what the page sent: ours if it carries an id of ours, then it says that the message went out;
    else a colleague's or another app's.
    """
    message = wire.Message.read(element["message"])
    metadata = message.metadata if isinstance(message.metadata, str) else None
    if read_echo(metadata) is None:
        return InboundUnsupported(account_ref, name, "echo", message.mid, raw)
    return InboundStatus(
        account_ref,
        message.mid,
        "sent",
        meta.time_ms(element.get("timestamp")),
        recipient=wire.address(wire.person(element)),
        echo=metadata,
    )


@dataclass(frozen=True, slots=True)
class _Said:
    """What a person did; fields as in InboundMessage. `more`: something rides along that these fields do not hold."""

    provider_id: str
    kind: MessageKind
    provider_kind: str
    text: str | None = None
    option_id: str | None = None
    option_title: str | None = None
    in_reply_to: str | None = None
    more: bool = False


def _message(kind: str, element: JsonObject, account_ref: str, raw: JsonObject) -> InboundMessage:
    at_ms = meta.time_ms(element.get("timestamp"))
    who = wire.address(wire.person(element))
    if who is None:
        raise UnparseableFragment("no_address")
    if kind == "message":
        said = _said_message(element["message"])
    elif kind == "postback":
        said = _said_postback(element)
    else:
        said = _said_otherwise(kind, element)
    return InboundMessage(
        account_ref=account_ref,
        provider_id=said.provider_id,
        provider_time_ms=at_ms,
        addresses=(who,),
        name=None,
        kind=said.kind,
        provider_kind=said.provider_kind,
        text=said.text,
        option_id=said.option_id,
        option_title=said.option_title,
        in_reply_to=said.in_reply_to,
        raw=raw if said.more or said.kind == "unsupported" or "referral" in element else None,
    )


def _said_message(raw: object) -> _Said:
    message = wire.Message.read(raw)
    part, mid = meta.mapping(raw), message.mid
    answered = meta.mapping(part.get("reply_to")).get("mid")
    in_reply_to = answered if isinstance(answered, str) else None
    attachments = part.get("attachments")
    more = bool(attachments or part.get("referral"))
    if message.is_deleted:
        # The id is that of the message that was deleted, and must not count as a repetition of it.
        return _Said(f"deleted:{mid}", "unsupported", "deleted", in_reply_to=mid)
    if message.quick_reply is not None:
        option_id = message.quick_reply.payload
        return _Said(mid, "button_reply", "quick_reply", None, option_id, message.text, in_reply_to, more)
    if message.text is not None:
        return _Said(mid, "text", "text", message.text, in_reply_to=in_reply_to, more=more)
    first = meta.mapping(attachments[0]) if isinstance(attachments, list) and attachments else {}
    type_ = meta.known(first.get("type"), wire.ATTACHMENT_TYPES)
    return _Said(mid, "unsupported", type_, in_reply_to=in_reply_to)


def _said_postback(element: JsonObject) -> _Said:
    pressed = wire.Postback.read(element["postback"])
    return _Said(
        pressed.mid or wire.made_id("postback", element),
        "button_reply",
        "postback",
        option_id=pressed.payload,
        option_title=pressed.title,
        more=bool(meta.mapping(element["postback"]).get("referral")),
    )


def _said_otherwise(kind: str, element: JsonObject) -> _Said:
    """A referral, a reaction, an edit: the message they may be about is another one, so they have ids of their own."""
    about = meta.mapping(element[kind]).get("mid")
    in_reply_to = about if isinstance(about, str) else None
    return _Said(wire.made_id(kind, element), "unsupported", kind, in_reply_to=in_reply_to)


# ---- facts, for the command line ----------------------------------------------------------------------------------


def describe(raw: JsonObject) -> list[JsonObject]:
    """The facts of one fragment, or of an element without anything around it: one object an inbound value, with
    `kind` and `supported`; `reject` when it is none, `why` when it is none or not supported.
    """
    raw = dict(meta.mapping(raw))
    if wire.kind_of(raw) != "other" and not element_of(raw)[0]:
        raw = {"messaging": [raw]}
    name, element = element_of(raw)
    if not name:
        found = {"object": raw["object"]} if isinstance(raw.get("object"), str) else {}
        return [found | {"kind": "rejected", "supported": False, "reject": True, "why": "malformed"}]
    found = wire.facts(name, element, meta.short_id(raw.get("entry")))
    try:
        values = parse(raw)
    except UnparseableFragment as error:
        kind = _KINDS.get(wire.kind_of(element), "unsupported") if error.why == "no_address" else "rejected"
        reject = {"reject": True} if kind == "rejected" else {}
        return [found | {"kind": kind, "supported": False, "why": error.why} | reject]
    if not values:
        return [found | {"kind": "ignored", "supported": False, "why": "another page"}]
    return [found | _meaning(one) for one in values]


def _meaning(one: Inbound) -> JsonObject:
    """What it means for us, beside the provider's facts."""
    if isinstance(one, InboundMessage):
        return {"kind": "message", "supported": one.kind != "unsupported"}
    if isinstance(one, InboundStatus):
        ours = {"status": one.status, "id": one.provider_id}
        return {"kind": "status", "supported": True} | ours | ({"echo": one.echo} if one.echo else {})
    why = one.provider_kind if isinstance(one, InboundUnsupported) and one.provider_kind != "other" else None
    return {"kind": "unsupported", "supported": False} | ({"why": why} if why else {})
