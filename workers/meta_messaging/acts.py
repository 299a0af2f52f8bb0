"""What the control side of the simulator can make a person do, as the elements of webhooks that the provider would send."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workers import meta
from workers.inbound_values import JsonObject
from workers.meta_messaging import wire
from workers.meta_messaging.platform import Platform
from workers.simulated_provider import control_choice
from workers.simulation import InvalidControl

_OPENING = frozenset(("message", "postback", "referral", "reaction"))
"""Kinds by which a person turns to the business, so that the service window opens
(https://developers.facebook.com/docs/messenger-platform/policy/policy-overview)."""
_STICKER_URL = "https://scontent.example/sticker.png"
_APP_ID = 2000000000000002
"""Of the app or inbox by which a colleague writes."""


@dataclass(frozen=True, slots=True)
class Act:
    """What a person does, or a colleague: an element, the list it stands in, and the id of the message in it, if it is one."""

    person: str
    list_name: str
    element: JsonObject
    at_ms: int
    opens_window: bool

    @property
    def id(self) -> str | None:
        """The provider's id of a message or a pressed button."""
        part = meta.mapping(self.element.get("message", self.element.get("postback")))
        mid = part.get("mid")
        return mid if isinstance(mid, str) else None


def read_act(platform: Platform, body: JsonObject, own: str, now_ms: int) -> Act:
    """The act of a control request; InvalidControl names the field that is wrong."""
    found = wire.address(platform, str(body.get("from", "")))
    if found is None:
        raise InvalidControl("from: a scoped id (digits) is needed")
    at_s = body.get("at")
    if at_s is not None and (
        not isinstance(at_s, int) or isinstance(at_s, bool) or not 0 <= at_s < meta.MILLISECONDS_FROM
    ):
        raise InvalidControl("at: seconds since 1970")
    at_ms = now_ms if at_s is None else at_s * meta.MS_PER_S
    if "change" in body:
        change = body["change"]
        if not isinstance(change, dict) or not isinstance(change.get("field"), str):
            raise InvalidControl("change: field and value are needed")
        return Act(found.value, wire.CHANGES, change, at_ms, opens_window=False)
    said = _said(platform, body)
    name = "standby" if body.get("standby") is True else "messaging"
    sides = {"sender": {"id": found.value}, "recipient": {"id": own}}
    if wire.is_echo(said):
        sides = {"sender": sides["recipient"], "recipient": sides["sender"]}
    opens = wire.kind_of(said) in _OPENING and not wire.is_echo(said)
    return Act(found.value, name, {**sides, "timestamp": at_ms, **said}, at_ms, opens)


def _said(platform: Platform, body: JsonObject) -> JsonObject:
    """The part of the element that tells what was done; a message or a pressed button gets an id where the request gives none."""
    if isinstance(body.get("type"), str):
        return {body["type"]: body.get("raw", {})}
    act = next((act for name, act in _ACTS.items() if name in body), _written)
    said = act(body)
    if "ref" in body:
        link = {"referral": _referral(platform, body["ref"])}
        for kind in said.keys() & {"message", "postback"}:
            said[kind] |= link
        said = said or link
    for kind in said.keys() & {"message", "postback"}:
        said[kind] = {"mid": str(body.get("id") or wire.message_id())} | said[kind]
    return said


def _written(body: JsonObject) -> JsonObject:
    """A message; nothing where only a link is opened."""
    message = _attached(body)
    if not message and "text" not in body and "ref" in body:
        return {}
    if "text" in body or not message:
        message["text"] = _text(body, "text", "what the person writes")
    if isinstance(body.get("reply_to"), str):
        message["reply_to"] = {"mid": body["reply_to"]}
    return {"message": message}


def _attached(body: JsonObject) -> JsonObject:
    """Files, a sticker, a place, a reply to a story."""
    found: JsonObject = {}
    if "media" in body:
        listed = body["media"]
        files = [meta.mapping(one) for one in listed] if isinstance(listed, list) else []
        if not files or not all(isinstance(one.get("type"), str) for one in files):
            raise InvalidControl('media: a list of {"type", "url"}')
        found["attachments"] = [
            {"type": one["type"]} | ({"payload": {"url": one["url"]}} if "url" in one else {})
            for one in files
        ]
    if "sticker" in body:
        sticker = body["sticker"]
        found["sticker_id"] = sticker
        found["attachments"] = [{"type": "image", "payload": {"url": _STICKER_URL, "sticker_id": sticker}}]
    if "location" in body:
        place = meta.mapping(body["location"])
        if not {"lat", "long"} <= place.keys():
            raise InvalidControl("location: lat and long are needed")
        found["attachments"] = [{"type": "location", "payload": {"coordinates": dict(place)}}]
    if "story" in body:
        found["reply_to"] = {"story": dict(meta.mapping(body["story"]))}
    return found


def _quick_reply(body: JsonObject) -> JsonObject:
    pressed = control_choice(body, "quick_reply")
    return {"message": {"text": pressed["title"], "quick_reply": {"payload": pressed["id"]}}}


def _button(body: JsonObject) -> JsonObject:
    pressed = control_choice(body, "button")
    return {"postback": {"title": pressed["title"], "payload": pressed["id"]}}


def _edited(body: JsonObject) -> JsonObject:
    changed = {"mid": _text(body, "edited", "the message that is changed"), "num_edit": 1}
    return {"message_edit": changed | {"text": _text(body, "text", "what it says now")}}


def _deleted(body: JsonObject) -> JsonObject:
    gone = _text(body, "deleted", "the message that is taken back")
    return {"message": {"mid": gone, "is_deleted": True}}


def _reaction(body: JsonObject) -> JsonObject:
    given = meta.mapping(body["reaction"])
    if not isinstance(given.get("mid"), str) or not isinstance(given.get("emoji"), str):
        raise InvalidControl("reaction: mid, and emoji (empty: taken away), are needed")
    liked = {"action": "react", "emoji": given["emoji"], "reaction": "other"}
    return {"reaction": {"mid": given["mid"], **(liked if given["emoji"] else {"action": "unreact"})}}


def _opt_in(body: JsonObject) -> JsonObject:
    return {"optin": {"ref": _text(body, "optin", "what the button on the web site carried")}}


def _colleague(body: JsonObject) -> JsonObject:
    words = _text(body, "colleague", "what somebody of the business writes")
    return {"message": {"text": words, "is_echo": True, "app_id": _APP_ID}}


_ACTS: Mapping[str, Callable[[JsonObject], JsonObject]] = {
    "button": _button,
    "quick_reply": _quick_reply,
    "edited": _edited,
    "deleted": _deleted,
    "reaction": _reaction,
    "optin": _opt_in,
    "colleague": _colleague,
}
"""Acts by the field of the control request that asks for them."""


def _text(body: JsonObject, name: str, what: str) -> str:
    found: Any = body.get(name)
    if not isinstance(found, str):
        raise InvalidControl(f"{name}: {what}")
    return found


def _referral(platform: Platform, ref: Any) -> JsonObject:
    if not isinstance(ref, str):
        raise InvalidControl("ref: what the link carried")
    return {"ref": ref, "source": platform.link_source, "type": "OPEN_THREAD"}
