"""Telegram updates of our own making, after channel-apis §6."""

from pathlib import Path
from typing import Any

import orjson

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
NO_FIXTURES = "the folder ../shared/fixtures with other projects' payloads is not here"
PERSON = 7_400_000_000_001
GROUP = -1_001_234_567_890
JsonObject = dict[str, Any]
USER: JsonObject = {
    "id": PERSON,
    "is_bot": False,
    "first_name": "Ada",
    "last_name": "Byron",
    "username": "ada",
}
CHAT: JsonObject = {"id": PERSON, "type": "private", "first_name": "Ada"}
SUPERGROUP: JsonObject = {"id": GROUP, "type": "supergroup", "title": "Group"}


def update(kind: str, item: Any, update_id: int = 10_000) -> bytes:
    """A webhook body."""
    return orjson.dumps({"update_id": update_id, kind: item})


def message(text: str | None = "Hallo", **fields: Any) -> JsonObject:
    """A text in a private chat, unless `fields` say otherwise."""
    said = {} if text is None else {"text": text}
    return {"message_id": 17, "from": USER, "chat": CHAT, "date": 1_763_900_000, **said, **fields}


def pressed(**fields: Any) -> JsonObject:
    """A pressed button, with the message it stood on."""
    keyboard = {
        "inline_keyboard": [[{"text": "Nein", "callback_data": "n"}, {"text": "Ja", "callback_data": "j"}]]
    }
    stood_on = {
        "message_id": 16,
        "chat": CHAT,
        "date": 1_763_899_000,
        "text": "Ja?",
        "reply_markup": keyboard,
    }
    return {"id": "4382", "from": USER, "message": stood_on, "chat_instance": "1", "data": "j", **fields}


def membership(status: str, **fields: Any) -> JsonObject:
    """The bot's standing with a person changed."""
    bot = {"id": 7_000_000_001, "is_bot": True, "first_name": "Bot"}
    old = "kicked" if status == "member" else "member"
    return {
        "chat": CHAT, "from": USER, "date": 1_763_900_000,
        "old_chat_member": {"user": bot, "status": old}, "new_chat_member": {"user": bot, "status": status}, **fields,
    }  # fmt: skip


def reaction(**fields: Any) -> JsonObject:
    """A person likes a message of ours."""
    liked = [{"type": "emoji", "emoji": "👍"}]
    return {
        "chat": CHAT, "message_id": 16, "user": USER, "date": 1_763_900_000, "old_reaction": [], "new_reaction": liked, **fields,
    }  # fmt: skip
