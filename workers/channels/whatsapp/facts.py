"""A flat reading of any fragment, for `sealpost parse`: what it is to us, and what the provider wrote. Nothing is decided by it.

Source: channel-apis §2.1 and §2.2, August 2026.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from workers import meta
from workers.channel import UnparseableFragment
from workers.channels.whatsapp import receive, wire
from workers.inbound_values import (
    Inbound,
    InboundAccountError,
    InboundAccountNews,
    InboundAddressChange,
    InboundEcho,
    InboundEdit,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundTemplateStatus,
    InboundUnsupported,
    JsonObject,
)

_KINDS = {
    InboundMessage: "message", InboundStatus: "status", InboundEdit: "edit", InboundRevoke: "revoke",
    InboundReaction: "reaction", InboundAddressChange: "address_change", InboundEcho: "echo",
    InboundTemplateStatus: "template_status", InboundAccountNews: "account_news", InboundAccountError: "account_error",
    InboundUnsupported: "unsupported",
}  # fmt: skip
_KINDS_BY_LIST = {"messages": "message", "statuses": "status"}
_OPT_OUT_KINDS = {"stop": "opt_out", "resume": "resume"}
"""`resume` lifts an opt-out and is no consent, so it is neither an opt-out nor an opt-in."""


def describe(raw: JsonObject) -> list[JsonObject]:
    """The facts of one fragment, or of an element without anything around it: one object for an inbound value, with `kind` and
    `supported`; `reject` when it is none, `why` when it is none or not supported.
    """
    raw = dict(meta.mapping(raw))
    parts = [raw] if "entry" in raw else receive.alone(raw) or [raw]
    return [line for part in parts for line in _of_fragment(part)]


def _of_fragment(raw: JsonObject) -> list[JsonObject]:
    value = meta.mapping(raw.get("value"))
    name, item = receive.item_of(value)
    found = _facts(raw.get("field"), name, item, value)
    try:
        values = receive.parse(raw)
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
    if isinstance(one, InboundAddressChange):
        return {"old": [a.value for a in one.old], "new": [a.value for a in one.new]}
    if isinstance(one, InboundUnsupported) and one.provider_kind != "other":
        return {"why": one.provider_kind}
    return {}


def _supported(one: Inbound) -> bool:
    if isinstance(one, InboundMessage):
        return one.kind != "unsupported"
    return not isinstance(one, InboundUnsupported)


# ---- what the provider wrote ----------------------------------------------------------------------------------------


def _facts(field: object, name: str, item: JsonObject, value: Mapping[str, Any]) -> JsonObject:
    """The facts of one fragment under flat names; never raises. `name` is the list that `item` stood in, ""
    for none.
    """
    contact = meta.mapping(
        (value.get("contacts") or [None])[0] if isinstance(value.get("contacts"), list) else None
    )
    found: JsonObject = {"phone_number_id": meta.mapping(value.get("metadata")).get("phone_number_id")}
    if name == "messages":
        return found | _message_facts(item, contact)
    if name == "statuses":
        return found | _status_facts(item, contact)
    if name == "errors":
        return found | _error_facts(item) | {"value_errors": [item.get("code")]}
    found["field"] = field
    if name == "message_echoes":
        return found | _message_facts(item, contact) | _echoed_to(item)
    if name == "user_id_update":
        ids, parents = meta.mapping(item.get("user_id")), meta.mapping(item.get("parent_user_id"))
        return found | {
            "wa_id": item.get("wa_id"),
            "bsuid_previous": ids.get("previous"),
            "bsuid_current": ids.get("current"),
            "parent_bsuid_previous": parents.get("previous"),
            "parent_bsuid_current": parents.get("current"),
            "timestamp": meta.time_s(item.get("timestamp")),
        }
    if name:
        return found | _plain(item) | {"timestamp": meta.time_s(item.get("timestamp"))}
    return found | _news_facts(value)


def _echoed_to(item: JsonObject) -> JsonObject:
    """Whom staff wrote to; a user id counts before that of the contact beside it."""
    to, user_id = item.get("to"), item.get("to_user_id")
    found = {"to": to, "to_user_id": user_id, "bsuid": _bsuid(user_id, to)}
    return {key: part for key, part in found.items() if part is not None or key == "to"}


def _bsuid(*ids: object) -> str | None:
    """The first business-scoped user id among these."""
    return next((a.value for a in map(wire.address, ids) if a is not None and a.kind == "bsuid"), None)


def _error_facts(error: Mapping[str, Any]) -> JsonObject:
    """What an error object says, wherever it stands."""
    more = {
        "message": error.get("message"),
        "details": meta.mapping(error.get("error_data")).get("details") or error.get("details"),
    }
    told = {"error_code": error.get("code"), "title": error.get("title")}
    return told | {key: part for key, part in more.items() if part is not None}


def _message_facts(item: JsonObject, contact: Mapping[str, Any]) -> JsonObject:
    profile, context = meta.mapping(contact.get("profile")), meta.mapping(item.get("context"))
    type_ = item.get("type")
    ids = (
        item.get("from_user_id"),
        item.get("from"),
        contact.get("user_id"),
        contact.get("wa_id"),
    )
    found: JsonObject = {
        "type": type_,
        "from": item.get("from"),
        "id": item.get("id"),
        "timestamp": meta.time_s(item.get("timestamp")),
        "profile_name": profile.get("name"),
        "username": profile.get("username"),
        "bsuid": _bsuid(*ids),
        "parent_bsuid": contact.get("parent_user_id") or item.get("from_parent_user_id"),
        "group_id": item.get("group_id"),
        "in_reply_to": context.get("id"),
        "forwarded": context.get("forwarded"),
        "frequently_forwarded": context.get("frequently_forwarded"),
    }
    product = meta.mapping(context.get("referred_product"))
    found |= {f"referred_{key}": part for key, part in product.items() if isinstance(part, str)}
    referral = meta.mapping(item.get("referral"))
    found |= {f"referral_{key}": part for key, part in referral.items() if isinstance(part, str)}
    found |= {"ctwa_clid": referral["ctwa_clid"]} if "ctwa_clid" in referral else {}
    optional = (
        "username",
        "bsuid",
        "parent_bsuid",
        "group_id",
        "in_reply_to",
        "forwarded",
        "frequently_forwarded",
    )
    found = {key: part for key, part in found.items() if part is not None or key not in optional}
    listed = item.get("errors")
    if isinstance(listed, list) and listed:
        found |= _error_facts(meta.mapping(listed[0]))
    part = item.get(type_) if isinstance(type_, str) else None
    return found | _part_facts(type_, part, item)


_MEDIUM = {
    "media_id": "id",
    "mime": "mime_type",
    "sha256": "sha256",
    "caption": "caption",
    "filename": "filename",
}
_RENAMED = {"text": {"text": "body"}, "button": {"text": "text", "payload": "payload"}}
"""Types that say all in a few plain members → our names for them."""


def _part_facts(type_: object, part: Any, item: JsonObject) -> JsonObject:
    """What stands in the object that is called like the message's type."""
    inner = meta.mapping(part)
    if not isinstance(type_, str):
        return {}
    if type_ in _RENAMED:
        return {ours: inner.get(theirs) for ours, theirs in _RENAMED[type_].items()}
    if type_ == "interactive":
        return _interactive_facts(inner)
    if type_ in wire.MEDIA_TYPES:
        found = {ours: inner.get(theirs) for ours, theirs in _MEDIUM.items()}
        return found | {key: inner[key] for key in ("voice", "animated", "url") if key in inner}
    if type_ == "contacts":
        return _cards_facts(part, item)
    if type_ == "reaction":
        emoji = inner.get("emoji")
        return {"target": inner.get("message_id"), "emoji": emoji, "removed": not emoji}
    if type_ == "order":
        return _order_facts(inner)
    if type_ == "revoke":
        return {"event": "deleted", "original_message_id": inner.get("original_message_id")}
    if type_ == "edit":
        return _edit_facts(inner)
    if type_ == "unsupported":
        return {"unsupported_type": inner["type"]} if "type" in inner else {}
    if type_ == "system":
        told = {key: text for key, text in inner.items() if isinstance(text, str) and key != "type"}
        return told | {"event": inner.get("type"), "system_type": inner.get("type")}
    return _plain(inner)


def _edit_facts(inner: Mapping[str, Any]) -> JsonObject:
    edited = meta.mapping(inner.get("message"))
    type_ = edited.get("type")
    found: JsonObject = {
        "event": "edited",
        "original_message_id": inner.get("original_message_id"),
        "edited_type": type_,
        "text": wire.shown_text(type_, edited),
    }
    if isinstance(type_, str) and type_ in wire.MEDIA_TYPES:
        medium = meta.mapping(edited.get(type_))
        found |= {ours: medium.get(theirs) for ours, theirs in _MEDIUM.items()}
    return found


def _order_facts(inner: Mapping[str, Any]) -> JsonObject:
    """With the first product's own facts, as an example of what was ordered."""
    listed = inner.get("product_items")
    products = listed if isinstance(listed, list) else []
    first = meta.mapping(products[0]) if products else {}
    return {
        **_plain(first),
        "catalog_id": inner.get("catalog_id"),
        "count": len(products),
        "text": inner.get("text"),
    }


def _cards_facts(part: Any, item: JsonObject) -> JsonObject:
    cards = part if isinstance(part, list) else []
    card = meta.mapping(cards[0]) if cards else {}
    origin = meta.mapping(part).get("origin") or item.get("origin") or card.get("origin")
    name = meta.mapping(card.get("name")).get("formatted_name")
    phones = card.get("phones")
    phone = meta.mapping(phones[0]) if isinstance(phones, list) and phones else {}
    numbers = {"first_phone": phone.get("phone"), "first_wa_id": phone.get("wa_id")}
    found = {"count": len(cards), "first_formatted_name": name, "origin": origin}
    return found | {key: number for key, number in numbers.items() if number is not None}


def _interactive_facts(inner: Mapping[str, Any]) -> JsonObject:
    type_ = inner.get("type")
    if not isinstance(type_, str):
        return {}
    choice = meta.mapping(inner.get(type_))
    found: JsonObject = {"type": f"interactive/{type_}"}
    if type_ == "nfm_reply":
        said = {key: choice.get(key) for key in ("name", "body", "response_json")}
        return found | said | {"response": _decoded(choice.get("response_json"))}
    if type_ not in ("button_reply", "list_reply"):
        return found | _plain(choice)
    names = {"choice_id": "id", "choice_title": "title", "choice_description": "description"}
    return found | {ours: choice.get(theirs) for ours, theirs in names.items()}


def _plain(part: Mapping[str, Any]) -> JsonObject:
    return {key: plain for key, plain in part.items() if isinstance(plain, str | int | float)}


def _decoded(text: object) -> Any:
    """The answers of a form: JSON inside JSON, of any kind; None when it is none."""
    try:
        return orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        return None


def _status_facts(item: JsonObject, contact: Mapping[str, Any]) -> JsonObject:
    listed = item.get("errors")
    listed = listed if isinstance(listed, list) else [listed]
    error = next((one for one in listed if isinstance(one, dict)), {})
    codes = [one.get("code") for one in listed if isinstance(one, dict)]
    pricing, conversation = meta.mapping(item.get("pricing")), meta.mapping(item.get("conversation"))
    payment = meta.mapping(item.get("payment"))
    found = {
        "recipient_type": item.get("recipient_type"),
        "recipient_participant_id": item.get("recipient_participant_id"),
        "bsuid": _bsuid(item.get("recipient_user_id"), item.get("recipient_id"), contact.get("user_id")),
        "parent_bsuid": contact.get("parent_user_id") or item.get("parent_recipient_user_id"),
        "biz_opaque_callback_data": item.get("biz_opaque_callback_data"),
        **_error_facts(error),
        "error_codes": codes if len(codes) > 1 else None,
        "conversation_id": conversation.get("id"),
        "conversation_origin": meta.mapping(conversation.get("origin")).get("type"),
        "conversation_expires": meta.time_s(conversation.get("expiration_timestamp")),
        "price_category": pricing.get("category"),
        "pricing_model": pricing.get("pricing_model"),
        "pricing_type": pricing.get("type"),
        "billable": pricing.get("billable"),
        "payment_reference": payment.get("reference_id"),
    }
    return {
        "type": "status",
        "id": item.get("id"),
        "status": item.get("status"),
        "recipient": item.get("recipient_id"),
        "timestamp": meta.time_s(item.get("timestamp")),
    } | {key: part for key, part in found.items() if part is not None}


def _news_facts(value: Mapping[str, Any]) -> JsonObject:
    """News about templates, the number or the account: what is plain, one level deep, and the provider's long names in short. Of
    a list of objects the first one, as an example."""
    short = {
        "message_template_name": "template",
        "message_template_id": "template_id",
        "message_template_language": "language",
        "message_template_category": "category",
        "current_limit": "limit",
    }
    found: JsonObject = {}
    for key, part in value.items():
        example = part[0] if isinstance(part, list) and part else part
        inner = example if isinstance(example, dict) and key not in receive.COMPANIONS else {key: part}
        found |= {short.get(k, k): one for k, one in inner.items() if isinstance(one, str | int | float)}
    plain = {short.get(k, k): one for k, one in value.items() if isinstance(one, str | int | float)}
    return {key: part for key, part in (found | plain).items() if key != "messaging_product"}
