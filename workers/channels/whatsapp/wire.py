"""The provider's JSON as pydantic models: only what Sealpost reads, everything else is ignored and stays in
the fragment.

Below them `facts`: a flat reading of any fragment, for `sealpost parse`; it knows more kinds than Sealpost
handles yet.

Source: channel-apis §2.1 to §2.3 (pywa, nyaruka/courier, Meta's reference), August 2026.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import Field, ValidationError

from schemas import ids
from schemas.addresses import Address, international_number
from workers import meta
from workers.inbound_values import JsonObject
from workers.webhook_body import Part

_USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")

FIELDS = frozenset((
    "messages", "user_preferences", "user_id_update", "smb_message_echoes", "smb_app_state_sync",
    "history", "message_template_status_update", "message_template_quality_update",
    "message_template_components_update", "template_category_update", "phone_number_quality_update",
    "phone_number_name_update", "account_update", "account_review_update", "account_alerts",
    "account_settings_update", "business_capability_update", "business_username_updates", "security",
    "flows", "calls", "partner_solutions", "payment_configuration_update", "automatic_events",
    "tracking_events",
))  # fmt: skip
"""Names of webhook fields that may stand in clear; another one is `other`."""

MESSAGE_TYPES = frozenset((
    "text", "image", "video", "document", "audio", "voice", "sticker", "location", "contacts", "button",
    "interactive", "reaction", "order", "system", "edit", "revoke", "request_welcome", "unsupported",
    "unknown", "errors", "ephemeral",
))  # fmt: skip
"""Message types that may stand in clear; another one is `other`."""

INTERACTIVE_TYPES = frozenset((
    "button_reply", "list_reply", "nfm_reply", "call_permission_reply",
))  # fmt: skip


class Profile(Part):
    """What the person shows of herself."""

    name: str | None = None


class Contact(Part):
    """Who wrote. `wa_id` may hold a business-scoped user id; the phone may be missing altogether."""

    wa_id: str | None = None
    user_id: str | None = None
    profile: Profile | None = None


class TextBody(Part):
    """A typed text."""

    body: str


class QuickReply(Part):
    """The button of a template that was pressed."""

    text: str
    payload: str | None = None


class Choice(Part):
    """A reply button or a row of a list."""

    id: str
    title: str


class Interactive(Part):
    """An answer to an interactive message."""

    type: str
    button_reply: Choice | None = None
    list_reply: Choice | None = None


class MessageHead(Part):
    """What every message has, whatever its type; `timestamp` is read by `meta.time_ms`, the part of its type by
    `read`.
    """

    id: str = Field(min_length=1)
    type: str = "unknown"
    timestamp: Any = None
    sender: str | None = Field(default=None, alias="from")
    from_user_id: str | None = None
    group_id: Any = None


class Status(Part):
    """What became of a message we sent."""

    id: str = Field(min_length=1)
    status: str
    timestamp: Any = None
    recipient_id: str | None = None
    recipient_user_id: str | None = None
    recipient_type: str | None = None
    biz_opaque_callback_data: str | None = None
    errors: list[JsonObject] = Field(default_factory=list)


class Preference(Part):
    """The person used WhatsApp's own switch for marketing messages; `timestamp` is a number here."""

    wa_id: str | None = None
    user_id: str | None = None
    category: str
    value: str
    timestamp: Any = None


def read_contact(raw: object) -> Contact | None:
    """The contact, or None when there is none or it is malformed: a bad profile must not lose the message."""
    try:
        return Contact.model_validate(raw)
    except ValidationError:
        return None


def address(text: object) -> Address | None:
    """A phone or a business-scoped user id by its form, never by the field it stood in; None when it is
    neither.

    Parent ids (`CC.ENT.…`) are none either: nothing is sent to them, and they join a person over several
    businesses.
    """
    found = recipient(text) if isinstance(text, str) else None
    return None if found is None or ".ENT." in found.value else found


def recipient(text: str) -> Address | None:
    """A phone or a user id `CC.…` as somebody wrote it, normalised; None when it is neither."""
    text = text.strip()
    if _USER_ID.fullmatch(text):
        return Address("whatsapp", "bsuid", text)
    number = international_number(text)
    return None if number is None else Address("whatsapp", "phone", number)


def sender_addresses(sender: str | None, user_id: str | None, contact: Contact | None) -> tuple[Address, ...]:
    """All addresses of one sender: at most one user id and one phone, the user id first. What the message
    itself says goes before what the contact says.
    """
    texts = (
        user_id,
        sender,
        contact.user_id if contact else None,
        contact.wa_id if contact else None,
    )
    found: dict[str, Address] = {}
    for candidate in map(address, dict.fromkeys(texts)):
        if candidate is not None:
            found.setdefault(candidate.kind, candidate)
    return tuple(found[kind] for kind in ("bsuid", "phone") if kind in found)


# ---- as the provider writes it (for the simulator) ----------------------------------------------------------------

OBJECT = "whatsapp_business_account"
BUSINESS_ACCOUNT_ID = "100000000000001"
_OUTGOING, _INCOMING = 0x11, 0x12
_ID_TOKEN_CHARACTERS = 18


def message_id(person: str, *, outgoing: bool) -> str:
    """A `wamid.…` like the provider's: base64 that holds the person's number in clear."""
    who = person.encode()
    token = ids.random_id()[:_ID_TOKEN_CHARACTERS].upper().encode()
    direction = _OUTGOING if outgoing else _INCOMING
    head = b"\x1c\x18" + bytes([len(who)]) + who + b"\x15\x02\x00"
    raw = head + bytes([direction, 0x18, len(token)]) + token + b"\x00"
    return "wamid." + base64.b64encode(raw).decode()


def status_json(message: JsonObject, word: str, at_s: int, error: JsonObject | None) -> JsonObject:
    """One status object of an accepted message (`id`, `to`, `type`, `biz_opaque_callback_data`?)."""
    status: JsonObject = {"id": message["id"], "status": word, "timestamp": str(at_s)}
    status["recipient_id" if message["to"].isdigit() else "recipient_user_id"] = message["to"]
    if "biz_opaque_callback_data" in message:
        status["biz_opaque_callback_data"] = message["biz_opaque_callback_data"]
    if error is not None:
        return status | {"errors": [error]}
    template = message["type"] == "template"
    pricing = {"billable": template, "pricing_model": "PMP", "category": "utility" if template else "service"}
    return status | {"pricing": pricing}


def webhook_json(changes: list[JsonObject]) -> bytes:
    """A whole webhook body with these changes."""
    return orjson.dumps({"object": OBJECT, "entry": [{"id": BUSINESS_ACCOUNT_ID, "changes": changes}]})


# ---- facts --------------------------------------------------------------------------------------------------------

MEDIA_TYPES = frozenset((
    "image", "video", "document", "audio", "voice", "sticker",
))  # fmt: skip


def facts(field: object, name: str, item: JsonObject, value: Mapping[str, Any]) -> JsonObject:
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
        return found | {
            "error_code": item.get("code"),
            "title": item.get("title"),
            "value_errors": [item.get("code")],
        }
    found["field"] = field
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
        plain = {key: part for key, part in item.items() if isinstance(part, str | int | float)}
        return found | plain | {"timestamp": meta.time_s(item.get("timestamp"))}
    return found | _news_facts(value)


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
        "bsuid": next(
            (a.value for a in map(address, ids) if a is not None and a.kind == "bsuid"),
            None,
        ),
        "parent_bsuid": contact.get("parent_user_id"),
        "group_id": item.get("group_id"),
        "in_reply_to": context.get("id"),
        "forwarded": context.get("forwarded"),
        "frequently_forwarded": context.get("frequently_forwarded"),
    }
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
    part = item.get(type_) if isinstance(type_, str) else None
    return found | _part_facts(type_, part, item)


def _part_facts(type_: object, part: Any, item: JsonObject) -> JsonObject:
    """What stands in the object that is called like the message's type."""
    inner = meta.mapping(part)
    if not isinstance(type_, str):
        return {}
    if type_ == "text":
        return {"text": inner.get("body")}
    if type_ == "button":
        return {"text": inner.get("text"), "payload": inner.get("payload")}
    if type_ == "interactive":
        return _interactive_facts(inner)
    if type_ in MEDIA_TYPES:
        names = {
            "media_id": "id",
            "mime": "mime_type",
            "sha256": "sha256",
            "caption": "caption",
            "filename": "filename",
        }
        found = {ours: inner.get(theirs) for ours, theirs in names.items()}
        return found | {key: inner[key] for key in ("voice", "animated", "url") if key in inner}
    if type_ == "contacts":
        cards = part if isinstance(part, list) else []
        first = meta.mapping(meta.mapping(cards[0]).get("name")) if cards else {}
        origin = (
            inner.get("origin")
            or item.get("origin")
            or (meta.mapping(cards[0]).get("origin") if cards else None)
        )
        return {
            "count": len(cards),
            "first_formatted_name": first.get("formatted_name"),
            "origin": origin,
        }
    if type_ == "reaction":
        emoji = inner.get("emoji")
        return {"target": inner.get("message_id"), "emoji": emoji, "removed": not emoji}
    if type_ == "order":
        products = inner.get("product_items")
        count = len(products) if isinstance(products, list) else 0
        return {
            "catalog_id": inner.get("catalog_id"),
            "count": count,
            "text": inner.get("text"),
        }
    if type_ in ("edit", "revoke"):
        edited = meta.mapping(inner.get("message"))
        event = {"event": "deleted" if type_ == "revoke" else "edited"}
        text = {"text": meta.mapping(edited.get("text")).get("body")} if type_ == "edit" else {}
        return event | text | {"original_message_id": inner.get("original_message_id")}
    if type_ in ("unsupported", "unknown"):
        listed = item.get("errors")
        error = meta.mapping(listed[0]) if isinstance(listed, list) and listed else {}
        return {"error_code": error.get("code"), "title": error.get("title")}
    if type_ == "system":
        renamed = {"type": "system_type"}
        return {renamed.get(key, key): text for key, text in inner.items() if isinstance(text, str)}
    return {key: plain for key, plain in inner.items() if isinstance(plain, str | int | float)}


def _interactive_facts(inner: Mapping[str, Any]) -> JsonObject:
    type_ = inner.get("type")
    choice = meta.mapping(inner.get(type_)) if isinstance(type_, str) else {}
    found: JsonObject = {"type": f"interactive/{type_}"}
    if type_ == "nfm_reply":
        return found | {key: choice.get(key) for key in ("name", "body", "response_json")}
    names = {
        "choice_id": "id",
        "choice_title": "title",
        "choice_description": "description",
    }
    return found | {ours: choice.get(theirs) for ours, theirs in names.items()}


def _status_facts(item: JsonObject, contact: Mapping[str, Any]) -> JsonObject:
    listed = item.get("errors")
    error = meta.mapping(listed[0]) if isinstance(listed, list) and listed else {}
    pricing, conversation = (
        meta.mapping(item.get("pricing")),
        meta.mapping(item.get("conversation")),
    )
    ids = (
        item.get("recipient_user_id"),
        item.get("recipient_id"),
        contact.get("user_id"),
    )
    found = {
        "recipient_type": item.get("recipient_type"),
        "bsuid": next(
            (a.value for a in map(address, ids) if a is not None and a.kind == "bsuid"),
            None,
        ),
        "biz_opaque_callback_data": item.get("biz_opaque_callback_data"),
        "error_code": error.get("code"),
        "title": error.get("title"),
        "details": meta.mapping(error.get("error_data")).get("details") or error.get("details"),
        "conversation_id": conversation.get("id"),
        "price_category": pricing.get("category"),
        "billable": pricing.get("billable"),
    }
    return {
        "type": "status",
        "id": item.get("id"),
        "status": item.get("status"),
        "recipient": item.get("recipient_id"),
        "timestamp": meta.time_s(item.get("timestamp")),
    } | {key: part for key, part in found.items() if part is not None}


def _news_facts(value: Mapping[str, Any]) -> JsonObject:
    """News about templates, the number or the account: what is plain, and the provider's long names in
    short.
    """
    short = {
        "message_template_name": "template",
        "message_template_id": "template_id",
        "message_template_language": "language",
        "message_template_category": "category",
        "current_limit": "limit",
    }
    plain = {key: part for key, part in value.items() if isinstance(part, str | int | float)}
    return {short.get(key, key): part for key, part in plain.items() if key != "messaging_product"}
