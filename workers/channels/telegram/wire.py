"""The provider's JSON as pydantic models: only what Sealpost reads, everything else is ignored and stays in the fragment.

Below them `facts`: a flat reading of any update, for `sealpost parse`. Last, updates as the provider writes them, for the
simulator.

Source: https://core.telegram.org/bots/api#update and #message (channel-apis §6.1, 2026-08-19).
"""

import re
from collections.abc import Container, Mapping
from typing import Any

import orjson
from pydantic import Field, StrictInt

from schemas.addresses import Address
from workers.channel import UnparseableFragment
from workers.inbound_values import FileKind, JsonObject, Media
from workers.webhook_body import Part

MS_PER_S = 1000
TIME_MAX_S = 10**11
"""Above it a time in seconds is none (it would be the year 5138)."""
CHAT_ID_MAX = 2**52 - 1
"""Ids have at most 52 bits; those of groups and channels are negative."""
_CHAT_ID = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,15}", re.ASCII)
_START = re.compile(r"/start(?:@\w+)? +(\S.*)", re.ASCII)
_PAYLOAD = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
PRESS = "callback"
"""The word that we call pressed buttons by; no message is one."""
PAID_REACTION = "⭐"
"""What a reaction that was paid for looks like; it has no emoji of its own."""

UPDATES = frozenset((
    "message", "edited_message", "channel_post", "edited_channel_post", "business_connection",
    "business_message", "edited_business_message", "deleted_business_messages", "guest_message", "message_reaction",
    "message_reaction_count", "inline_query", "chosen_inline_result", "callback_query", "shipping_query",
    "pre_checkout_query", "purchased_paid_media", "poll", "poll_answer", "my_chat_member", "chat_member",
    "chat_join_request", "chat_boost", "removed_chat_boost", "managed_bot",
))  # fmt: skip
"""Kinds of updates that may stand in clear; another one is `other`."""

MESSAGE_KINDS = (
    "text", "animation", "audio", "document", "live_photo", "paid_media", "photo", "sticker", "story", "video", "video_note",
    "voice", "checklist", "contact", "dice", "game", "poll", "venue", "location", "invoice", "successful_payment",
    "refunded_payment", "users_shared", "chat_shared", "gift", "unique_gift", "connected_website",
    "write_access_allowed", "passport_data", "proximity_alert_triggered", "web_app_data", "pinned_message",
    "message_auto_delete_timer_changed", "chat_background_set", "new_chat_members", "left_chat_member", "new_chat_title",
    "new_chat_photo", "delete_chat_photo", "group_chat_created", "supergroup_chat_created", "channel_chat_created",
    "migrate_to_chat_id", "migrate_from_chat_id", "forum_topic_created", "video_chat_started", "video_chat_ended",
    "video_chat_scheduled", "giveaway", "boost_added",
)  # fmt: skip
"""Members of a message that say what it is, the more special before those that come along with it for old programs."""

FILES: Mapping[str, FileKind] = {
    "photo": "image", "video": "video", "animation": "video", "video_note": "video", "audio": "audio", "voice": "voice",
    "document": "document", "sticker": "sticker",
}  # fmt: skip
"""Kinds of messages that are files, and of which kind."""
PLACES = frozenset(("location", "venue"))

GROUPS = frozenset(("group", "supergroup", "channel"))
MEMBER_STATUSES = frozenset(("creator", "administrator", "member", "restricted", "left", "kicked"))


class _Wire(Part):
    ID_FIELDS = ("id", "message_id")


class Chat(_Wire):
    """Where something was written. Only a private chat is one person."""

    id: StrictInt
    type: str = ""


class User(_Wire):
    """Who did something."""

    id: StrictInt
    is_bot: bool | None = None
    first_name: str | None = None
    last_name: str | None = None

    @property
    def name(self) -> str | None:
        """What the person shows of herself."""
        return " ".join(part for part in (self.first_name, self.last_name) if part) or None


class Message(_Wire):
    """What every message has, whatever its kind; `date` is read by `time_ms`."""

    message_id: StrictInt
    chat: Chat
    date: Any = None
    edit_date: Any = None
    sender: User | None = Field(default=None, alias="from")


class Button(_Wire):
    """A message whose button was pressed; it may be too old to be shown whole."""

    message_id: StrictInt
    chat: Chat


class Callback(_Wire):
    """A button was pressed. There is no time in it."""

    id: str = Field(min_length=1)
    sender: User = Field(alias="from")
    message: Button | None = None
    inline_message_id: str | None = None
    data: str | None = None


class Member(_Wire):
    """How the bot stands in a chat."""

    status: str


class Membership(_Wire):
    """The bot's standing changed: in a private chat the person blocked it, or lets it write again."""

    chat: Chat
    sender: User = Field(alias="from")
    date: Any = None
    new_chat_member: Member


class Reaction(_Wire):
    """A person changed her reactions to a message; both lists are full."""

    chat: Chat
    message_id: StrictInt
    date: Any = None
    user: User | None = None
    new_reaction: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def emoji(self) -> str | None:
        """What she reacts with now, "" for nothing any more; None where none of it can be shown (a picture of some set)."""
        shown = (
            PAID_REACTION if one.get("type") == "paid" else one.get("emoji") for one in self.new_reaction
        )
        emoji = "".join(one for one in shown if isinstance(one, str))
        return emoji if emoji or not self.new_reaction else None


def time_ms(seconds: object) -> int:
    """Seconds → milliseconds; UnparseableFragment when it is no time."""
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds < TIME_MAX_S:
        raise UnparseableFragment("timestamp")
    return seconds * MS_PER_S


def recipient(text: str) -> Address | None:
    """The id of a private chat, which is the person's id; None for groups, channels and user names."""
    text = text.strip()
    return (
        Address("telegram", "chat", text) if _CHAT_ID.fullmatch(text) and int(text) <= CHAT_ID_MAX else None
    )


def address(number: int) -> Address:
    """The same of a number; UnparseableFragment when nobody has it."""
    found = recipient(str(number))
    if found is None:
        raise UnparseableFragment("no_address")
    return found


def message_ref(chat: int | str, message: int) -> str:
    """What we call a message: its number counts within its chat only."""
    return f"{chat}:{message}"


def message_number(chat: str, ref: str) -> int | None:
    """The number in what we call a message of this chat; None for anything else."""
    number = ref.removeprefix(f"{chat}:")
    return int(number) if number != ref and _NUMBER.fullmatch(number) else None


def press_ref(query: str) -> str:
    """What we call a pressed button."""
    return f"{PRESS}:{query}"


def query_of(ref: str) -> str | None:
    """The id by which a pressed button is answered, in what we call it; None for anything else."""
    query = ref.removeprefix(f"{PRESS}:")
    return query if query not in ("", ref) else None


def sent_message(body: bytes) -> int | None:
    """The number of the message that an answer says was sent; None when it says none."""
    try:
        found = mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None
    number = mapping(found.get("result")).get("message_id")
    whole = isinstance(number, int) and not isinstance(number, bool)
    return number if found.get("ok") is True and whole else None


def message_kind(item: Mapping[str, Any]) -> str:
    """What kind of message it is, a word that may stand in clear."""
    return next((kind for kind in MESSAGE_KINDS if item.get(kind) is not None), "other")


def words_of(item: Mapping[str, Any]) -> str | None:
    """What a message says in words: its text, or what stands under a file."""
    return next((words for name in ("text", "caption") if isinstance(words := item.get(name), str)), None)


def file_of(kind: str, item: Mapping[str, Any]) -> tuple[Media, ...]:
    """The file that a message of this kind is, called by the id with which the bot can fetch it; of a photo the largest size."""
    if kind not in FILES:
        return ()
    part = largest(item.get(kind)) if kind == "photo" else mapping(item.get(kind))
    ref, mime_type, name = (
        value if isinstance(value := part.get(key), str) else None
        for key in ("file_id", "mime_type", "file_name")
    )
    return (Media(FILES[kind], mime_type, ref, name=name),)


def largest(sizes: object) -> Mapping[str, Any]:
    """The largest of a photo's sizes, by bytes, else by pixels; of equals the last."""
    found: Mapping[str, Any] = {}
    for size in map(mapping, sizes if isinstance(sizes, list) else ()):
        if _bulk(size) >= _bulk(found):
            found = size
    return found


def _bulk(size: Mapping[str, Any]) -> tuple[int, int]:
    bytes_, width, height = (
        value if isinstance(value := size.get(name), int) else 0 for name in ("file_size", "width", "height")
    )
    return bytes_, width * height


def start_token(text: str | None) -> str | None:
    """What the link carried by which somebody pressed Start; None where the text is no such start."""
    start = _START.fullmatch(text) if text is not None else None
    return start[1] if start and _PAYLOAD.fullmatch(start[1]) else None


def is_forwarded(item: Mapping[str, Any]) -> bool:
    """True for somebody else's words, passed on; the last three are how older servers say it."""
    names = ("forward_origin", "forward_from", "forward_from_chat", "forward_date")
    return any(item.get(name) is not None for name in names)


def button_title(item: Mapping[str, Any], data: str) -> str | None:
    """What stood on the button with this data; None when the message is not shown."""
    keyboard = mapping(mapping(item.get("message")).get("reply_markup")).get("inline_keyboard")
    for row in keyboard if isinstance(keyboard, list) else ():
        for button in map(mapping, row if isinstance(row, list) else ()):
            if button.get("callback_data") == data and isinstance(button.get("text"), str):
                return str(button["text"])
    return None


def known(word: object, words: frozenset[str]) -> str:
    """A provider's word if it is on the list of those that may stand in clear, else `other`."""
    return word if isinstance(word, str) and word in words else "other"


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


# ---- facts --------------------------------------------------------------------------------------------------------

_SENDER = ("first_name", "last_name", "username", "language_code", "is_bot")


def facts(kind: str, item: Mapping[str, Any], update_id: object) -> JsonObject:
    """The facts of one update under flat names; never raises."""
    sender = mapping(item.get("from") or item.get("user") or item.get("sender_chat"))
    chat = mapping(item.get("chat") or mapping(item.get("message")).get("chat"))
    names = [part for part in (sender.get("first_name"), sender.get("last_name")) if isinstance(part, str)]
    found: JsonObject = {
        "update_id": update_id,
        "update": kind,
        "from": sender.get("id"),
        "name": " ".join(names) or None,
        **{name: sender.get(name) for name in _SENDER},
        "chat_id": chat.get("id"),
        "chat_type": chat.get("type"),
        "chat_title": chat.get("title"),
        "timestamp": item.get("date"),
    }
    if kind == "callback_query":
        found |= _callback_facts(item)
    elif kind in ("my_chat_member", "chat_member"):
        found |= _member_facts(item, chat)
    elif kind == "message_reaction":
        found |= _reaction_facts(item)
    elif kind == "message_reaction_count":
        found |= _reaction_count_facts(item)
    elif "message_id" in item:
        found |= _message_facts(kind, item)
    else:
        found["type"] = kind
        found |= _apart(kind, {name for name, fact in found.items() if fact is not None}, _plain(item))
    return {name: fact for name, fact in found.items() if fact is not None}


def _message_facts(kind: str, item: Mapping[str, Any]) -> JsonObject:
    type_, text = message_kind(item), item.get("text")
    origin = mapping(item.get("forward_origin"))
    start = _START.fullmatch(text) if isinstance(text, str) else None
    entities = item.get("entities") or item.get("caption_entities")
    sources = (
        item.get("forward_from"), *(origin.get(name) for name in ("sender_user", "sender_chat", "chat")),
        item.get("forward_from_chat"),
    )  # fmt: skip
    original = next((source for source in map(mapping, sources) if source), {})
    found: JsonObject = {
        "type": type_,
        "event": "edited" if kind.startswith("edited_") else None,
        "edit_date": item.get("edit_date"),
        "message_id": item.get("message_id"),
        "text": text,
        "caption": item.get("caption"),
        "entities": len(entities) if isinstance(entities, list) else None,
        "start_payload": start[1] if start else None,
        "in_reply_to": mapping(item.get("reply_to_message")).get("message_id"),
        "quote": mapping(item.get("quote")).get("text"),
        "message_thread_id": item.get("message_thread_id"),
        "author_signature": item.get("author_signature"),
        "forwarded": True if is_forwarded(item) else None,
        "forward_origin": origin.get("type"),
        "forward_from": original.get("id"),
        "forward_sender_name": origin.get("sender_user_name") or item.get("forward_sender_name"),
        "forward_date": item.get("forward_date") or origin.get("date"),
        "media_group_id": item.get("media_group_id"),
        "business_connection_id": item.get("business_connection_id"),
    }
    return found | _apart(type_, _HEAD, _part_facts(type_, item.get(type_)))


_HEAD = frozenset((
    "update_id", "update", "from", "name", *_SENDER, "chat_id", "chat_type", "chat_title", "timestamp", "type", "event",
    "edit_date", "message_id", "text", "caption", "entities", "date",
))  # fmt: skip
"""Facts of the message itself."""


def _apart(kind: str, taken: Container[str], part: JsonObject) -> JsonObject:
    """Facts of a part; one that is called like a fact of the whole has the part's name before its own."""
    return {f"{kind}_{name}" if name in taken else name: fact for name, fact in part.items()}


def _part_facts(type_: str, part: Any) -> JsonObject:
    """What stands in the object that is called like the message's kind."""
    inner = mapping(part)
    if type_ == "photo":
        best, sizes = largest(part), len(part) if isinstance(part, list) else 0
        return {"sizes": sizes, "largest_file_size": best.get("file_size")} | _plain(best)
    if type_ == "contact":
        return {"phone_number": inner.get("phone_number"), "vcard": inner.get("vcard")} | {
            f"contact_{name}": inner.get(name) for name in ("first_name", "last_name", "user_id")
        }
    if type_ == "venue":
        return _plain(inner) | _plain(mapping(inner.get("location")))
    if type_ == "poll":
        return _plain(inner) | {"options": _each(inner.get("options"), "text")}
    if type_ == "users_shared":
        return {"user_ids": _each(inner.get("users"), "user_id")} | _plain(inner)
    if type_ == "new_chat_members":
        return {type_: _each(part, "id")}
    return _plain(inner if isinstance(part, dict) else {type_: part} if type_ != "text" else {})


def _callback_facts(item: Mapping[str, Any]) -> JsonObject:
    data, message = item.get("data"), mapping(item.get("message"))
    return {
        "type": "callback_query",
        "id": item.get("id"),
        "data": data,
        "title": button_title(item, data) if isinstance(data, str) else None,
        "message_id": message.get("message_id"),
        "inline_message_id": item.get("inline_message_id"),
        "chat_instance": item.get("chat_instance"),
        "game_short_name": item.get("game_short_name"),
    }


def _member_facts(item: Mapping[str, Any], chat: Mapping[str, Any]) -> JsonObject:
    old, new = mapping(item.get("old_chat_member")), mapping(item.get("new_chat_member"))
    events = {"kicked": "blocked", "member": "unblocked"} if chat.get("type") == "private" else {}
    return {
        "type": "chat_member",
        "event": events.get(str(new.get("status"))),
        "old_status": old.get("status"),
        "status": new.get("status"),
        "member": mapping(new.get("user")).get("id"),
    }


def _reaction_facts(item: Mapping[str, Any]) -> JsonObject:
    found: JsonObject = {"type": "reaction", "event": "reaction", "message_id": item.get("message_id")}
    for name in ("old_reaction", "new_reaction"):
        listed = item.get(name)
        reactions = [mapping(one) for one in listed] if isinstance(listed, list) else []
        found[name] = [one.get("emoji") or one.get("custom_emoji_id") or one.get("type") for one in reactions]
    return found | {"removed": not found["new_reaction"]}


def _reaction_count_facts(item: Mapping[str, Any]) -> JsonObject:
    listed = item.get("reactions")
    counts = [mapping(one) for one in listed] if isinstance(listed, list) else []
    kinds = [mapping(one.get("type")) for one in counts]
    return {
        "type": "reaction_count",
        "message_id": item.get("message_id"),
        "reactions": [one.get("emoji") or one.get("custom_emoji_id") or one.get("type") for one in kinds],
        "counts": [one.get("total_count") for one in counts],
    }


def _each(listed: object, name: str) -> list[Any]:
    """One member of each object of a list."""
    return [mapping(one).get(name) for one in listed] if isinstance(listed, list) else []


def _plain(part: Mapping[str, Any]) -> JsonObject:
    """What is plain: words, numbers, and lists of them."""
    return {
        name: value
        for name, value in part.items()
        if isinstance(value, str | int | float)
        or (isinstance(value, list) and value and all(isinstance(one, str | int | float) for one in value))
    }


# ---- as the provider writes it (for the simulator) ----------------------------------------------------------------


def person_json(person: int, name: str | None) -> tuple[JsonObject, JsonObject]:
    """(user, private chat) of one person."""
    shown = {"first_name": name or "Person"}
    return {"id": person, "is_bot": False, **shown}, {"id": person, "type": "private", **shown}


def update_json(update_id: int, kind: str, item: JsonObject) -> bytes:
    """A whole webhook body."""
    return orjson.dumps({"update_id": update_id, kind: item})
