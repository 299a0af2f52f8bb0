"""The provider's JSON as pydantic models: only what Sealpost reads, everything else is ignored and stays in
the fragment.

Below them `facts`: a flat reading of any element, for `sealpost parse`; it knows more kinds than Sealpost
handles yet.

Source: https://developers.facebook.com/docs/messenger-platform/reference/webhook-events and channel-apis
§3.1 (nyaruka/courier, jgorset/facebook-messenger), checked 2026-11-25.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any

import orjson
from pydantic import Field

from schemas import ids
from schemas.addresses import Address
from workers import meta
from workers.channel import UnparseableFragment
from workers.inbound_values import JsonObject
from workers.webhook_body import Part

OBJECT = "page"
LISTS = ("messaging", "standby")
"""Lists of an entry whose elements stand for themselves; `standby` has those of threads that another app owns."""
KINDS = (
    "message", "postback", "referral", "optin", "delivery", "read", "reaction", "message_edit", "account_linking",
    "pass_thread_control", "take_thread_control", "request_thread_control", "app_roles", "policy_enforcement",
    "game_play", "response_feedback",
)  # fmt: skip
"""Keys that tell what an element is, the first one found; they may stand in clear, another one is `other`."""
FIELDS = frozenset((
    "feed", "mention", "leadgen", "ratings", "conversations", "inbox_labels", "live_videos", "videos", "name",
    "messages", "messaging_postbacks", "message_echoes", "messaging_optins", "messaging_referrals",
    "messaging_feedback", "messaging_customer_information", "send_cart", "group_feed", "page_upcoming_change",
))  # fmt: skip
"""Names of fields of `changes` that may stand in clear."""
ATTACHMENT_TYPES = frozenset((
    "image", "video", "audio", "file", "location", "fallback", "template", "sticker", "reel", "ig_reel", "post",
    "ig_post", "appointment_booking",
))  # fmt: skip
"""Types of attachments that may stand in clear."""
_PSID = re.compile(r"[0-9]{1,32}", re.ASCII)


class _Wire(Part):
    ID_FIELDS = ("mid",)


class QuickReply(_Wire):
    """The quick reply that was pressed; its title is the message's text."""

    payload: str | None = None


class Message(_Wire):
    """What a person sent, or the copy of what the page sent (`is_echo`)."""

    mid: str = Field(min_length=1)
    text: str | None = None
    quick_reply: QuickReply | None = None
    is_deleted: bool = False
    metadata: Any = None


class Postback(_Wire):
    """A button was pressed: of a message, of the menu, or Get Started. Old payloads have no `mid`."""

    mid: str | None = None
    title: str | None = None
    payload: str | None = None


class Delivery(_Wire):
    """Which messages of ours were delivered; `mids` may be missing, then only `watermark` tells."""

    mids: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)


def kind_of(element: Mapping[str, Any]) -> str:
    """What an element is, as a word that may stand in clear."""
    if "policy-enforcement" in element:
        return "policy_enforcement"
    return next((kind for kind in KINDS if kind in element), "other")


def party(element: Mapping[str, Any], role: str) -> str:
    """The id of `sender` or `recipient`, "" where there is none."""
    return meta.short_id(meta.mapping(element.get(role)).get("id"))


def is_echo(element: Mapping[str, Any]) -> bool:
    """True for the copy of what the page sent: there sender and recipient have changed places."""
    return meta.mapping(element.get("message")).get("is_echo") is True


def person(element: Mapping[str, Any]) -> str:
    """The id of the person an element is about, "" where nobody is meant."""
    return party(element, "recipient" if is_echo(element) else "sender")


def page(element: Mapping[str, Any]) -> str:
    """The id of the page an element is about."""
    return party(element, "sender" if is_echo(element) else "recipient")


def address(text: str) -> Address | None:
    """A page-scoped id as somebody wrote it; None when it is none."""
    text = text.strip()
    return Address("messenger", "psid", text) if _PSID.fullmatch(text) else None


def made_id(kind: str, element: Mapping[str, Any]) -> str:
    """An id of what the provider gives none, made of its facts: a repetition has the same one."""
    facts = {
        key: part for key, part in element.items() if key in (*KINDS, "sender", "recipient", "timestamp")
    }
    return f"{kind}:{sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()}"


# ---- as the provider writes it (for the simulator) ----------------------------------------------------------------

_ID_BYTES = 32


def message_id() -> str:
    """An `m_…` like the provider's."""
    return "m_" + ids.random_bytes(_ID_BYTES).hex()


def status_json(message: JsonObject, word: str, at_ms: int) -> JsonObject:
    """What reports `sent` (an echo), `delivered` or `read` of a message as `/control/messages` shows it."""
    to, own = {"id": message["to"]}, {"id": message["account"]}
    if word == "sent":
        said = {"mid": message["id"], "text": message["body"], "is_echo": True, "app_id": 1000000000000001}
        said |= {"metadata": message["metadata"]} if "metadata" in message else {}
        return {"sender": own, "recipient": to, "timestamp": at_ms, "message": said}
    what: JsonObject = {"watermark": at_ms}
    if word == "delivered":
        what |= {"mids": [message["id"]]}
    kind = "delivery" if word == "delivered" else "read"
    return {"sender": to, "recipient": own, "timestamp": at_ms, kind: what}


def webhook_json(page_id: str, elements: list[JsonObject], at_ms: int) -> bytes:
    """A whole webhook body with these elements of one page."""
    return orjson.dumps({"object": OBJECT, "entry": [{"id": page_id, "time": at_ms, "messaging": elements}]})


# ---- facts --------------------------------------------------------------------------------------------------------


def facts(name: str, element: JsonObject, entry: str) -> JsonObject:
    """The facts of one element under flat names; never raises. `name` is the list that it stood in, `entry`
    the page's id.
    """
    if name == "changes":
        return _change_facts(element, entry)
    found: JsonObject = {
        "entry_id": entry or None,
        "from": party(element, "sender") or None,
        "recipient": party(element, "recipient") or None,
        "user_ref": meta.mapping(element.get("sender")).get("user_ref"),
        "standby": True if name == "standby" else None,
    } | _time_facts(element.get("timestamp"))
    kind = kind_of(element)
    part = element.get(kind, element.get("policy-enforcement"))
    found |= _PART_FACTS.get(kind, _plain_facts)(meta.mapping(part))
    if kind != "referral":
        beside = _referral_facts(meta.mapping(element.get("referral")))
        found |= {key: fact for key, fact in beside.items() if fact is not None}
    kept = {"text", "type"} if kind == "message" else {"type"}
    found.setdefault("type", kind)
    found.setdefault("event", kind)
    return {key: fact for key, fact in found.items() if fact is not None or key in kept}


def _time_facts(timestamp: object) -> JsonObject:
    try:
        at_ms = meta.time_ms(timestamp)
    except UnparseableFragment:
        return {"timestamp": timestamp}
    return {"timestamp": timestamp, "timestamp_s": at_ms // meta.MS_PER_S, "timestamp_ms": at_ms}


def _change_facts(change: JsonObject, entry: str) -> JsonObject:
    value = meta.mapping(change.get("value"))
    sender = meta.mapping(value.get("from"))
    found = {"entry_id": entry, "event": "change", "from": sender.get("id"), "name": sender.get("name")}
    plain = {key: part for key, part in value.items() if isinstance(part, str | int | float)}
    return plain | {key: part for key, part in found.items() if part} | {"field": change.get("field")}


def _plain_facts(part: Mapping[str, Any]) -> JsonObject:
    return {key: plain for key, plain in part.items() if isinstance(plain, str | int | float)}


def _message_facts(part: Mapping[str, Any]) -> JsonObject:
    given = part.get("attachments")
    attachments = [meta.mapping(one) for one in given] if isinstance(given, list) else []
    quick = meta.mapping(part.get("quick_reply"))
    first = attachments[0].get("type") if attachments else None
    titles = [meta.mapping(one.get("payload")).get("title") or one.get("title") for one in attachments]
    return {
        "id": part.get("mid"),
        "mid": part.get("mid"),
        "type": "quick_reply" if quick else "text" if "text" in part else first or "unsupported",
        "text": part.get("text"),
        "payload": quick.get("payload"),
        "attachments": [_attachment_facts(one) for one in attachments] if attachments else None,
        "attachment_titles": [title for title in titles if isinstance(title, str)] or None,
        "in_reply_to": meta.mapping(part.get("reply_to")).get("mid"),
        "sticker_id": part.get("sticker_id"),
        "event": "echo"
        if part.get("is_echo") is True
        else "deleted"
        if part.get("is_deleted") is True
        else None,
        "is_echo": part.get("is_echo"),
        "is_deleted": part.get("is_deleted"),
        "app_id": part.get("app_id"),
        "metadata": part.get("metadata"),
    } | _referral_facts(meta.mapping(part.get("referral")))


def _attachment_facts(attachment: Mapping[str, Any]) -> JsonObject:
    """Type and what a colleague may open: a URL only where it is one of the web's, for Meta also writes paths there."""
    payload = meta.mapping(attachment.get("payload"))
    place = meta.mapping(payload.get("coordinates"))
    url = payload.get("url")
    found = {
        "type": attachment.get("type"),
        "url": url if isinstance(url, str) and url.startswith(("https://", "http://")) else None,
        "sticker_id": payload.get("sticker_id"),
        "template_type": payload.get("template_type"),
        "lat": place.get("lat"),
        "long": place.get("long"),
    }
    return {key: fact for key, fact in found.items() if fact is not None}


def _postback_facts(part: Mapping[str, Any]) -> JsonObject:
    names = {"id": "mid", "mid": "mid", "title": "title", "payload": "payload"}
    found = {ours: part.get(theirs) for ours, theirs in names.items()}
    return found | _referral_facts(meta.mapping(part.get("referral")))


def _referral_facts(part: Mapping[str, Any]) -> JsonObject:
    found = {"referral_type": part.get("type"), "referer_uri": part.get("referer_uri")}
    return found | {key: part.get(key) for key in ("ref", "source", "ad_id")}


def _optin_facts(part: Mapping[str, Any]) -> JsonObject:
    marketing = part.get("type") == "notification_messages"
    names = {
        "token": "notification_messages_token", "frequency": "notification_messages_frequency",
        "expiry_ms": "token_expiry_timestamp", "token_status": "user_token_status",
        "timezone": "notification_messages_timezone", "notification_messages_status": "notification_messages_status",
        "title": "title", "payload": "payload", "ref": "ref", "optin_type": "type",
    }  # fmt: skip
    found: JsonObject = {ours: part.get(theirs) for ours, theirs in names.items()}
    if "user_ref" in part:
        found["user_ref"] = part["user_ref"]
    return found | {"event": "marketing opt-in" if marketing else "opt-in"}


def _delivery_facts(part: Mapping[str, Any]) -> JsonObject:
    return {
        "status": "delivered",
        "mids": part.get("mids"),
        "watermark_ms": part.get("watermark"),
        "seq": part.get("seq"),
    }


def _read_facts(part: Mapping[str, Any]) -> JsonObject:
    return {
        "status": "read",
        "watermark_ms": part.get("watermark"),
        "mid": part.get("mid"),
        "seq": part.get("seq"),
    }


def _reaction_facts(part: Mapping[str, Any]) -> JsonObject:
    action = part.get("action")
    names = {"target": "mid", "mid": "mid", "emoji": "emoji", "reaction": "reaction"}
    return {ours: part.get(theirs) for ours, theirs in names.items()} | {
        "action": action,
        "removed": action == "unreact",
    }


def _edit_facts(part: Mapping[str, Any]) -> JsonObject:
    names = {"mid": "mid", "original_message_id": "mid", "text": "text", "num_edit": "num_edit"}
    return {ours: part.get(theirs) for ours, theirs in names.items()} | {"event": "edited"}


_PART_FACTS = {
    "message": _message_facts, "postback": _postback_facts, "referral": _referral_facts, "optin": _optin_facts,
    "delivery": _delivery_facts, "read": _read_facts, "reaction": _reaction_facts, "message_edit": _edit_facts,
}  # fmt: skip
