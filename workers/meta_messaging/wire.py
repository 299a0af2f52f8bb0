"""The JSON of Meta's messaging webhooks as pydantic models: only what Sealpost reads, everything else is ignored and stays in
the fragment. Last, webhooks as the provider writes them, for the simulator.

Source: https://developers.facebook.com/docs/messenger-platform/reference/webhook-events and channel-apis §3.1 and §4
(nyaruka/courier, jgorset/facebook-messenger, weni-ai/courier, chatwoot), checked 2026-11-25.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from schemas import ids
from schemas.addresses import Address
from workers import meta
from workers.channel import UnparseableFragment
from workers.inbound_values import FileKind, JsonObject, Media
from workers.meta_messaging.platform import Platform
from workers.webhook_body import Part

LISTS = ("messaging", "standby")
"""Lists of an entry whose elements stand for themselves; `standby` has those of threads that another app owns."""
CHANGES = "changes"
TEST_ENTRY = "0"
"""The entry's id in what the test button of the developer console sends."""
KINDS = (
    "message", "postback", "referral", "optin", "delivery", "read", "reaction", "message_edit", "account_linking",
    "pass_thread_control", "take_thread_control", "request_thread_control", "app_roles", "policy_enforcement",
    "game_play", "response_feedback", "messaging_feedback", "messaging_customer_information",
)  # fmt: skip
"""Keys that tell what an element is, the first one found; they may stand in clear, another one is `other`."""
ELEMENT_FIELDS = frozenset((
    "messages", "messaging_postbacks", "message_echoes", "messaging_optins", "messaging_referral", "messaging_referrals",
    "messaging_seen", "message_reads", "message_deliveries", "message_reactions", "message_edits", "message_edit",
    "messaging_handover", "messaging_handovers", "standby",
))  # fmt: skip
"""Fields of `changes` whose value is an element like those of `messaging`."""
FIELDS = ELEMENT_FIELDS | frozenset((
    "feed", "mention", "mentions", "leadgen", "ratings", "conversations", "inbox_labels", "live_videos", "videos", "name",
    "messaging_feedback", "messaging_customer_information", "send_cart", "group_feed", "page_upcoming_change", "comments",
    "live_comments", "story_insights",
))  # fmt: skip
"""Names of fields of `changes` that may stand in clear."""
_FILES: Mapping[str, FileKind] = {
    "image": "image", "video": "video", "audio": "audio", "file": "document", "sticker": "sticker", "like_heart": "sticker",
}  # fmt: skip
"""Attachments that are files, and of which kind. A heart is a sticker without a picture of its own."""
ATTACHMENT_TYPES = frozenset(_FILES) | frozenset((
    "location", "fallback", "template", "reel", "ig_reel", "post", "ig_post", "share", "story_mention", "ephemeral",
    "appointment_booking",
))  # fmt: skip
"""Types of attachments that may stand in clear."""
_SWITCHED: Mapping[str, Literal["stop", "resume"]] = {
    "STOP_NOTIFICATIONS": "stop", "STOP NOTIFICATIONS": "stop",
    "RESUME_NOTIFICATIONS": "resume", "RESUME NOTIFICATIONS": "resume",
}  # fmt: skip
"""What a person does with the provider's switch for marketing messages → our word. Meta's samples write an underscore, its
reference a space."""
WEB = ("https://", "http://")
"""How a link begins that can be opened; Meta also writes paths."""
_SCOPED_ID = re.compile(r"[0-9]{1,32}", re.ASCII)


class _Wire(Part):
    ID_FIELDS = ("mid",)


class QuickReply(_Wire):
    """The quick reply that was pressed; its title is the message's text."""

    payload: str | None = None


class Message(_Wire):
    """What a person sent, or the copy of what the business sent (`is_echo`)."""

    mid: str = Field(min_length=1)
    text: str | None = None
    quick_reply: QuickReply | None = None
    is_deleted: bool = False
    metadata: Any = None


class Postback(_Wire):
    """A button was pressed: of a message, of the menu, an ice breaker, or Get Started. Old payloads have no `mid`."""

    mid: str | None = None
    title: str | None = None
    payload: str | None = None


class Delivery(_Wire):
    """Which messages of ours were delivered; `mids` may be missing, then only `watermark` tells."""

    mids: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    watermark: Any = None


class Read(_Wire):
    """What was read: one message of ours (`mid`, Instagram), or all up to a time (`watermark`, Messenger)."""

    mid: Annotated[str, Field(min_length=1)] | None = None
    watermark: Any = None


class Edit(_Wire):
    """What a message of the person says now."""

    mid: str = Field(min_length=1)
    text: str | None = None


class Reaction(_Wire):
    """A person reacted to the message `mid`, or took that back (`action` is `unreact`). `reaction` is a word for the emoji."""

    mid: Annotated[str, Field(min_length=1)] | None = None
    action: str | None = None
    emoji: str | None = None
    reaction: str | None = None


class OptIn(_Wire):
    """`ref` of a button on a web site; with `type` it is an opt-in to the provider's own marketing messages, or with
    `notification_messages_status` that the person stops or resumes them."""

    type: str | None = None
    ref: str | None = None
    notification_messages_status: Any = None


def kind_of(element: Mapping[str, Any]) -> str:
    """What an element is, as a word that may stand in clear."""
    if "policy-enforcement" in element:
        return "policy_enforcement"
    return next((kind for kind in KINDS if kind in element), "other")


def party(element: Mapping[str, Any], role: str) -> str:
    """The id of `sender` or `recipient`, "" where there is none."""
    return meta.short_id(meta.mapping(element.get(role)).get("id"))


def is_echo(element: Mapping[str, Any]) -> bool:
    """True for the copy of what the business sent: there sender and recipient have changed places."""
    return meta.mapping(element.get("message")).get("is_echo") is True


def person(element: Mapping[str, Any]) -> str:
    """The id of the person an element is about, "" where nobody is meant."""
    return party(element, "recipient" if is_echo(element) else "sender")


def account(element: Mapping[str, Any]) -> str:
    """The id of the account an element is about."""
    return party(element, "sender" if is_echo(element) else "recipient")


def address(platform: Platform, text: str) -> Address | None:
    """A scoped id as somebody wrote it; None when it is none."""
    text = text.strip()
    return Address(platform.channel, platform.address_kind, text) if _SCOPED_ID.fullmatch(text) else None


def time_ms(timestamp: object) -> int:
    """A time as Meta writes it → milliseconds: seconds or milliseconds, as number or digits, or ISO 8601 with its zone."""
    if isinstance(timestamp, str) and "T" in timestamp:
        try:
            moment = datetime.fromisoformat(timestamp)
        except ValueError:
            raise UnparseableFragment("timestamp") from None
        at_ms = round(moment.timestamp() * meta.MS_PER_S) if moment.tzinfo is not None else -1
        if not 0 <= at_ms < 10**meta.TIME_DIGITS_MAX:
            raise UnparseableFragment("timestamp")
        return at_ms
    return meta.time_ms(timestamp)


def made_id(kind: str, element: Mapping[str, Any]) -> str:
    """An id of what the provider gives none, made of its facts: a repetition has the same one."""
    facts = {
        key: part for key, part in element.items() if key in (*KINDS, "sender", "recipient", "timestamp")
    }
    return f"{kind}:{sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()}"


def attachments_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was sent along, in order."""
    given = message.get("attachments")
    return [meta.mapping(one) for one in given] if isinstance(given, list) else []


def attachment_word(attachment: Mapping[str, Any]) -> str:
    """What an attachment is, as a word that may stand in clear; a sticker comes as an image."""
    if meta.mapping(attachment.get("payload")).get("sticker_id") is not None:
        return "sticker"
    return meta.known(attachment.get("type"), ATTACHMENT_TYPES)


def media_of(attachments: Sequence[Mapping[str, Any]], sticker: object) -> Iterator[tuple[str, Media]]:
    """The files among the attachments, each with its word; `sticker` is the message's own sticker, where it names one."""
    for attachment in attachments:
        word = attachment_word(attachment)
        if word in _FILES:
            payload = meta.mapping(attachment.get("payload"))
            ref = meta.short_id(payload.get("sticker_id")) or meta.short_id(payload.get("attachment_id"))
            yield word, Media(_FILES[word], ref=ref or None, url=web_link(payload.get("url")))
    if not attachments and meta.short_id(sticker):
        yield "sticker", Media("sticker", ref=meta.short_id(sticker))


def switched(status: object) -> Literal["stop", "resume"] | None:
    """What `notification_messages_status` says that the person did; None where it says nothing we know."""
    return _SWITCHED.get(status) if isinstance(status, str) else None


def web_link(url: object) -> str | None:
    """A link that can be opened; None for a path and for what is no link."""
    return url if isinstance(url, str) and url.startswith(WEB) else None


def token_of(*referrals: object) -> str | None:
    """What the link carried (`ref`) by which somebody came; None where none of the referrals has it."""
    for referral in referrals:
        ref = meta.mapping(referral).get("ref")
        if isinstance(ref, str) and ref:
            return ref
    return None


# ---- as the provider writes it (for the simulator) ----------------------------------------------------------------

_ID_BYTES = 32


def message_id() -> str:
    """An `m_…` like the provider's."""
    return "m_" + ids.random_bytes(_ID_BYTES).hex()


def status_json(platform: Platform, message: JsonObject, word: str, at_ms: int) -> JsonObject:
    """What reports `sent` (an echo), `delivered` or `read` of a message as `/control/messages` shows it."""
    to, own = {"id": message["to"]}, {"id": message["account"]}
    if word == "sent":
        said = {"mid": message["id"], "is_echo": True, "app_id": 1000000000000001}
        if "url" in message:
            said["attachments"] = [{"type": message["type"], "payload": {"url": message["url"]}}]
        else:
            said["text"] = message["body"]
        said |= {name: message[name] for name in ("metadata",) if name in message}
        return {"sender": own, "recipient": to, "timestamp": at_ms, "message": said}
    what: JsonObject = {"watermark": at_ms}
    if word == "delivered":
        what |= {"mids": [message["id"]]}
    elif platform.read_names_message:
        what = {"mid": message["id"]}
    kind = "delivery" if word == "delivered" else "read"
    return {"sender": to, "recipient": own, "timestamp": at_ms, kind: what}


def webhook_json(
    platform: Platform, account_id: str, elements: list[JsonObject], at_ms: int, name: str = "messaging"
) -> bytes:
    """A whole webhook body with these elements of one account, in the list of this name."""
    entry = {"id": account_id, "time": at_ms, name: elements}
    return orjson.dumps({"object": platform.object, "entry": [entry]})
