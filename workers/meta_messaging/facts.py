"""A flat reading of any element of Meta's messaging webhooks, for `sealpost parse`: every fact the provider tells, and what it
means for us.
"""

from collections.abc import Mapping
from typing import Any

from workers import meta
from workers.channel import UnparseableFragment
from workers.inbound_values import (
    Inbound,
    InboundEcho,
    InboundEdit,
    InboundEntry,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundUnsupported,
    InboundWatermark,
    JsonObject,
)
from workers.meta_messaging import receive, wire
from workers.meta_messaging.platform import Platform

_UNADDRESSED = {"message": "message", "postback": "message", "delivery": "status", "read": "status"}
"""What an element is that cannot be attributed to anybody."""
_MEANT: Mapping[type, str] = {
    InboundEcho: "echo",
    InboundEdit: "edit",
    InboundEntry: "entry",
    InboundReaction: "reaction",
    InboundRevoke: "revoke",
    InboundWatermark: "watermark",
}
_SWITCHED = {"stop": "opt_out", "resume": "resume"}
"""`resume` lifts an opt-out and is no consent, so it is neither an opt-out nor an opt-in."""


def describe(platform: Platform, raw: JsonObject) -> list[JsonObject]:
    """The facts of one fragment, or of an element without anything around it: one object an inbound value, with
    `kind` and `supported`; `reject` when it is none, `why` when it is none or not supported.
    """
    raw = dict(meta.mapping(raw))
    if not receive.element_of(raw)[0]:
        raw = _alone(raw)
    name, element = receive.element_of(raw)
    if not name:
        found = {"object": raw["object"]} if isinstance(raw.get("object"), str) else {}
        return [found | {"kind": "rejected", "supported": False, "reject": True, "why": "malformed"}]
    inner, part = receive.unwrapped(name, element)
    found = facts(inner, part, meta.short_id(raw.get("entry")))
    if inner != name:
        found["field"] = element["field"]
    try:
        values = receive.parse(platform, raw)
    except UnparseableFragment as error:
        unaddressed = _UNADDRESSED.get(wire.kind_of(part), "unsupported")
        kind = unaddressed if error.why == "no_address" else "rejected"
        reject = {"reject": True} if kind == "rejected" else {}
        return [found | {"kind": kind, "supported": False, "why": error.why} | reject]
    if not values:
        return [found | {"kind": "ignored", "supported": False, "why": "another account"}]
    return [found | _meaning(one) for one in values]


def _alone(raw: JsonObject) -> JsonObject:
    """An element or a change with nothing around it, in its list; anything else as it is."""
    if wire.kind_of(raw) != "other":
        return {"messaging": [raw]}
    return {wire.CHANGES: [raw]} if {"field", "value"} <= raw.keys() else raw


def _meaning(one: Inbound) -> JsonObject:
    """What it means for us, beside the provider's facts."""
    if isinstance(one, InboundMessage):
        token = {"token": one.token} if one.token is not None else {}
        return {"kind": "message", "supported": one.kind != "unsupported"} | token
    if isinstance(one, InboundStatus):
        ours = {"status": one.status, "id": one.provider_id}
        return {"kind": "status", "supported": True} | ours | ({"echo": one.echo} if one.echo else {})
    if isinstance(one, InboundUnsupported):
        why = {} if one.provider_kind == "other" else {"why": one.provider_kind}
        return {"kind": "unsupported", "supported": False} | why
    if isinstance(one, InboundOptOut):
        return {"kind": _SWITCHED[one.value], "supported": True}
    return {"kind": _MEANT[type(one)], "supported": True}


def facts(name: str, element: JsonObject, entry: str) -> JsonObject:
    """The facts of one element under flat names; never raises. `name` is the list that it stood in, `entry`
    the account's id.
    """
    if name == "changes":
        return _change_facts(element, entry)
    found: JsonObject = {
        "entry_id": entry or None,
        "from": wire.party(element, "sender") or None,
        "recipient": wire.party(element, "recipient") or None,
        "user_ref": meta.mapping(element.get("sender")).get("user_ref"),
        "standby": True if name == "standby" else None,
    } | _time_facts(element.get("timestamp"))
    kind = wire.kind_of(element)
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
        at_ms = wire.time_ms(timestamp)
    except UnparseableFragment:
        return {"timestamp": timestamp}
    return {"timestamp": timestamp, "timestamp_s": at_ms // meta.MS_PER_S, "timestamp_ms": at_ms}


def _change_facts(change: JsonObject, entry: str) -> JsonObject:
    value = meta.mapping(change.get("value"))
    sender, media = meta.mapping(value.get("from")), meta.mapping(value.get("media"))
    found = {
        "entry_id": entry,
        "event": "change",
        "from": sender.get("id"),
        "name": sender.get("name"),
        "username": sender.get("username"),
        "media_id": media.get("id"),
        "media_product_type": media.get("media_product_type"),
        "ad_id": media.get("ad_id"),
        "comment_id": value.get("id") if change.get("field") in ("comments", "live_comments") else None,
    }
    plain = {key: part for key, part in value.items() if isinstance(part, str | int | float)}
    return plain | {key: part for key, part in found.items() if part} | {"field": change.get("field")}


def _plain_facts(part: Mapping[str, Any]) -> JsonObject:
    return {key: plain for key, plain in part.items() if isinstance(plain, str | int | float)}


def _message_facts(part: Mapping[str, Any]) -> JsonObject:
    attachments = wire.attachments_of(part)
    story = meta.mapping(meta.mapping(part.get("reply_to")).get("story"))
    quick = meta.mapping(part.get("quick_reply"))
    first = attachments[0].get("type") if attachments else None
    titles = [meta.mapping(one.get("payload")).get("title") or one.get("title") for one in attachments]
    payloads = [meta.mapping(one.get("payload")) for one in attachments]
    posts = {name: next((one[name] for one in payloads if name in one), None) for name in _POSTS}
    place = next((one.get("payload") for one in attachments if one.get("type") == "location"), None)
    where = meta.mapping(meta.mapping(place).get("coordinates"))
    return (
        {
            "id": part.get("mid"),
            "mid": part.get("mid"),
            "latitude": where.get("lat"),
            "longitude": where.get("long"),
            "type": "quick_reply" if quick else "text" if "text" in part else first or "unsupported",
            "text": part.get("text"),
            "payload": quick.get("payload"),
            "attachments": [_attachment_facts(one) for one in attachments] if attachments else None,
            "attachment_titles": [title for title in titles if isinstance(title, str)] or None,
            "in_reply_to": meta.mapping(part.get("reply_to")).get("mid"),
            "story_id": story.get("id"),
            "story_url": story.get("url"),
            "sticker_id": part.get("sticker_id"),
            "is_unsupported": part.get("is_unsupported"),
            "event": "echo"
            if part.get("is_echo") is True
            else "deleted"
            if part.get("is_deleted") is True
            else None,
            "is_echo": part.get("is_echo"),
            "is_deleted": part.get("is_deleted"),
            "app_id": part.get("app_id"),
            "metadata": part.get("metadata"),
        }
        | posts
        | _referral_facts(meta.mapping(part.get("referral")))
    )


_POSTS = ("reel_video_id", "ig_post_media_id")
"""What a post or reel that was sent on is called."""


def _attachment_facts(attachment: Mapping[str, Any]) -> JsonObject:
    """Type and what a colleague may open: a URL only where it is one of the web's, for Meta also writes paths there."""
    payload = meta.mapping(attachment.get("payload"))
    place = meta.mapping(payload.get("coordinates"))
    # Of a shared link the link stands beside the payload.
    beside = attachment.get("url") if attachment.get("type") == "fallback" else None
    found = {
        "type": attachment.get("type"),
        "url": wire.web_link(payload.get("url")) or wire.web_link(beside),
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
    ad = _plain_facts(meta.mapping(part.get("ads_context_data")))
    found: JsonObject = {f"ad_{key.removeprefix('ad_')}": told for key, told in ad.items()}
    found |= {
        "referral_type": part.get("type"),
        "referer_uri": part.get("referer_uri"),
        "product_id": meta.mapping(part.get("product")).get("id"),
    }
    return found | {key: part.get(key) for key in ("ref", "source", "ad_id")}


def _optin_facts(part: Mapping[str, Any]) -> JsonObject:
    stopped = wire.switched(part.get("notification_messages_status")) == "stop"
    marketing = part.get("type") == "notification_messages"
    names = {
        "token": "notification_messages_token", "one_time_token": "one_time_notif_token",
        "frequency": "notification_messages_frequency",
        "expiry_ms": "token_expiry_timestamp", "token_status": "user_token_status",
        "timezone": "notification_messages_timezone", "notification_messages_status": "notification_messages_status",
        "title": "title", "payload": "payload", "ref": "ref", "optin_type": "type",
    }  # fmt: skip
    found: JsonObject = {ours: part.get(theirs) for ours, theirs in names.items()}
    if "user_ref" in part:
        found["user_ref"] = part["user_ref"]
    return found | {
        "event": "marketing opt-out" if stopped else "marketing opt-in" if marketing else "opt-in"
    }


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


def _feedback_facts(part: Mapping[str, Any]) -> JsonObject:
    """The answers to a form, by question: `{question: answer}`, and what was added in words under `<question>.follow_up`."""
    screens = part.get("feedback_screens")
    answers: JsonObject = {}
    for screen in screens if isinstance(screens, list) else []:
        for question, told in meta.mapping(meta.mapping(screen).get("questions")).items():
            answer = meta.mapping(told)
            follow_up = meta.mapping(answer.get("follow_up"))
            answers |= {question: answer.get("payload")}
            answers |= {f"{question}.follow_up": follow_up.get("payload")} if follow_up else {}
    return _plain_facts(part) | {"answers": answers}


def _edit_facts(part: Mapping[str, Any]) -> JsonObject:
    names = {"mid": "mid", "original_message_id": "mid", "text": "text", "num_edit": "num_edit"}
    return {ours: part.get(theirs) for ours, theirs in names.items()} | {"event": "edited"}


_PART_FACTS = {
    "message": _message_facts, "postback": _postback_facts, "referral": _referral_facts, "optin": _optin_facts,
    "delivery": _delivery_facts, "read": _read_facts, "reaction": _reaction_facts, "message_edit": _edit_facts,
    "messaging_feedback": _feedback_facts,
}  # fmt: skip
