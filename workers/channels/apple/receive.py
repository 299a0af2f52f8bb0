"""Webhooks of Apple: is it authentic, what is in it, what does it say.

A fragment is one message in the provider's own words; a webhook has one. Source:
https://register.apple.com/resources/messages/msp-rest-api/messages-received (channel-apis §5.1).
"""

from collections.abc import Mapping
from typing import Any

from workers.channel import (
    Accepted,
    Authenticity,
    ConnectionSecrets,
    Denied,
    Fragment,
    UnparseableBody,
    UnparseableFragment,
    WebhookRequest,
)
from workers.channels.apple import wire
from workers.inbound_values import Inbound, InboundMessage, InboundOptOut, InboundUnsupported, JsonObject
from workers.webhook_body import load_body

_SCHEME = "bearer "
_TIME_MAX_S = 10**11
"""Above it a time in seconds is none (it would be the year 5138)."""
_MS_PER_S = 1000
_RESELLER_TYPES = frozenset(("text", "text-with-attachments", "attachments"))
_CONTENT = ("body", "attachments", "interactiveData", "interactiveDataRef", "richLinkData", "richLinkDataRef")
"""Members by which a message of a kind we do not know says something."""


# ---- authentic? ---------------------------------------------------------------------------------------------------


def authenticate(request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
    """Check Apple's bearer token in constant time; never raises. It is signed with the MSP secret (the connection's `app_secret`)
    and made out to our MSP id (its `app_id`). The body is not signed, so at least headers and body must name the same message.
    https://register.apple.com/resources/messages/msp-rest-api/common-specs
    """
    if request.method != "POST":
        return Denied(405, "method")
    key = wire.key_of(connection.app_secret)
    if key is None or not connection.app_id:
        return Denied(403, "no_secret")
    given = request.headers.get("authorization", "")
    if not given:
        return Denied(403, "missing")
    if given[: len(_SCHEME)].lower() != _SCHEME:
        return Denied(403, "malformed")
    claims = wire.read_token(given[len(_SCHEME) :].strip(), key)
    if isinstance(claims, str):
        return Denied(403, claims)
    audience = claims.get("aud")
    if connection.app_id not in (audience if isinstance(audience, list) else [audience]):
        return Denied(403, "audience")
    signed_at_ms = _time_ms(claims.get("iat"))
    if signed_at_ms is None:
        return Denied(403, "malformed")
    return Accepted(signed_at_ms) if _same_message(request) else Denied(403, "mismatch")


def _time_ms(seconds: object) -> int | None:
    """Milliseconds; None when it is no time."""
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return int(seconds * _MS_PER_S) if number and 0 < seconds < _TIME_MAX_S else None  # type: ignore[operator] # a number


def _same_message(request: WebhookRequest) -> bool:
    """False when a header and the body both name something, and not the same. What is no body is for `split` to say."""
    try:
        found = wire.mapping(load_body(wire.opened(request.body)))
    except UnparseableBody:
        return True
    return all(
        header not in request.headers or member not in found or request.headers[header] == found[member]
        for header, member in wire.HEADERS.items()
    )


# ---- parts --------------------------------------------------------------------------------------------------------


def split(body: bytes) -> list[Fragment]:
    """The one fragment of a message; UnparseableBody when the body is none of Apple's. What a reseller made of one, and an
    interactive answer by itself, are taken as well, by their form.
    """
    found = load_body(wire.opened(body))
    if not isinstance(found, dict) or not (
        isinstance(found.get("type"), str) or wire.is_data(found) or wire.is_reseller(found)
    ):
        raise UnparseableBody("an authentic body is no message of Apple's")
    return [Fragment(_account_ref(found), _id(found.get(wire.SOURCE)), found)]


def _account_ref(item: Mapping[str, Any]) -> str:
    return _id(item.get(wire.SOURCE if wire.is_outbound(item) else wire.DESTINATION))


def _id(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= wire.ID_MAX_CHARACTERS else ""


# ---- values -------------------------------------------------------------------------------------------------------


def parse(raw: JsonObject) -> list[Inbound]:
    """Read one fragment; [] for one that means nothing (somebody types). UnparseableFragment for what is not as documented."""
    item = wire.mapping(raw)
    if wire.is_reseller(item):
        type_ = wire.known(item.get("type"), _RESELLER_TYPES)
        return [InboundUnsupported("", "reseller", type_, None, dict(item))]
    if wire.is_data(item):
        kind = wire.answer_of(item).provider_kind
        return [InboundUnsupported("", "data", kind, None, dict(item))]
    head = wire.Head.read(item)
    if head.type in wire.TYPING:
        return []
    if wire.is_outbound(item):
        kind = wire.known(head.type, wire.TYPES)
        return [InboundUnsupported(head.source_id, "outbound", kind, head.id, dict(item))]
    return [_value(head, dict(item))]


def _value(head: wire.Head, item: JsonObject) -> Inbound:
    if head.type == "close":
        return _closed(head)
    if head.type == "text":
        return _text(head, item)
    if head.type == "interactive":
        return _interactive(head, item)
    kind = wire.known(head.type, wire.TYPES)
    if any(member in item for member in _CONTENT):
        return _message(head, item, kind="unsupported", provider_kind=kind, raw=item)
    return InboundUnsupported(head.destination_id, "message", kind, head.id, item)


def _closed(head: wire.Head) -> InboundOptOut:
    """The person deleted or blocked the chat; or, under a number, declined an invitation. The sender is part of the id: it is all
    that tells two closings apart should ids repeat."""
    return InboundOptOut(
        account_ref=head.destination_id,
        provider_id=f"{head.id}:{head.source_id}",
        provider_time_ms=0,
        addresses=(wire.person(head.source_id),),
        scope="all",
        value="stop",
    )


def _text(head: wire.Head, item: JsonObject) -> InboundMessage:
    body, files = item.get("body"), wire.media(item.get("attachments"))
    if files:
        caption = body.replace(wire.PLACE_OF_FILE, "").strip() if isinstance(body, str) else ""
        return _message(
            head, item, kind="media", provider_kind="attachments", text=caption or None, media=files, raw=item
        )
    if not isinstance(body, str):
        raise UnparseableFragment("malformed")
    return _message(head, item, kind="text", provider_kind="text", text=body)


def _interactive(head: wire.Head, item: JsonObject) -> InboundMessage:
    """An answer; what is kept elsewhere, because it is large, is read there by whoever wants it: here it is kept as named."""
    data = wire.data_of(item)
    if not data:
        kind = "data_by_reference" if "interactiveDataRef" in item else "extension"
        return _message(head, item, kind="unsupported", provider_kind=kind, raw=item)
    answer = wire.answer_of(data)
    session = wire.word(wire.mapping(item.get("interactiveData")).get("sessionIdentifier"))
    chosen = answer.kind in ("button_reply", "list_reply")
    return _message(
        head,
        item,
        provider_id=wire.answer_id(head.source_id, session, answer) if session else head.id,
        kind=answer.kind,
        provider_kind=answer.provider_kind,
        option_id=answer.option_id,
        option_title=answer.option_title,
        in_reply_to=session,
        raw=None if chosen and "interactiveDataRef" not in item else item,
    )


def _message(head: wire.Head, item: Mapping[str, Any], **said: Any) -> InboundMessage:
    """A message with what Apple says of each: no time and no name."""
    known: dict[str, Any] = {
        "provider_id": head.id,
        "in_reply_to": wire.word(item.get("replyToMessageId")),
        "token": wire.word(item.get("intent")) or wire.word(item.get("group")),
    }
    return InboundMessage(
        account_ref=head.destination_id,
        provider_time_ms=0,
        addresses=(wire.person(head.source_id),),
        name=None,
        **(known | {name: value for name, value in said.items() if value is not None}),
    )


# ---- facts, for the command line ----------------------------------------------------------------------------------


def describe(raw: JsonObject) -> list[JsonObject]:
    """The facts of one fragment: one object, with `kind` and `supported`; `reject` when nothing can be read, `why` when it is
    not read or not supported.
    """
    found = wire.facts(wire.mapping(raw))
    kind = found.pop("kind", "unsupported")
    try:
        values = parse(raw)
    except UnparseableFragment as error:
        return [_line("rejected", False, {"reject": True, "why": error.why}, found)]
    if not values:
        return [_line("ignored", False, {"why": "typing"}, found)]
    one = values[0]
    if isinstance(one, InboundOptOut):
        return [_line("opt_out", True, {"scope": one.scope}, found)]
    if isinstance(one, InboundMessage):
        return [_line("message", one.kind != "unsupported", {}, found)]
    why = getattr(one, "field", "other")
    return [_line(kind, False, {} if why == "other" else {"why": why}, found)]


def _line(kind: str, supported: bool, more: JsonObject, found: JsonObject) -> JsonObject:
    """Our words first, and never replaced by a provider's field of the same name."""
    ours = {"kind": kind, "supported": supported, **more}
    return {**ours, **found, **ours}
