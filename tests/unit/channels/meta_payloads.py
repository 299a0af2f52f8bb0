"""Payloads of Meta's messaging platforms of our own making, after channel-apis §3.1, §4 and Meta's own reference."""

from pathlib import Path
from typing import Any

import orjson

from workers.channel import Channel
from workers.channels.instagram import channel as instagram
from workers.channels.messenger import channel as messenger
from workers.inbound_values import Inbound, InboundMessage, InboundUnsupported

INSTAGRAM, MESSENGER = instagram.CHANNEL, messenger.CHANNEL
OBJECTS = {"instagram": "instagram", "messenger": "page"}
BOTH = (MESSENGER, INSTAGRAM)
FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
NO_FIXTURES = "the folder ../shared/fixtures with other projects' payloads is not here"
ACCOUNT, PERSON = "1234567890", "5678901234567890"
AT_MS = 1_764_000_000_123
JsonObject = dict[str, Any]


def element(**parts: Any) -> JsonObject:
    """One element from the person to the account."""
    return {"sender": {"id": PERSON}, "recipient": {"id": ACCOUNT}, "timestamp": AT_MS, **parts}


def text(words: str = "Hallo", mid: str = "m_1", **fields: Any) -> JsonObject:
    """A text."""
    return element(message={"mid": mid, "text": words, **fields})


def echo(mid: str = "m_9", **fields: Any) -> JsonObject:
    """The copy of what the business sent."""
    message = {"mid": mid, "text": "Guten Tag", "is_echo": True, "app_id": 1, **fields}
    return {"sender": {"id": ACCOUNT}, "recipient": {"id": PERSON}, "timestamp": AT_MS, "message": message}


def webhook(channel: Channel, *elements: Any, name: str = "messaging", entry: str = ACCOUNT) -> bytes:
    """A body with one entry."""
    entries = [{"id": entry, "time": AT_MS, name: list(elements)}]
    return orjson.dumps({"object": OBJECTS[channel.name], "entry": entries})


def values(channel: Channel, body: bytes) -> list[Inbound]:
    """What a whole body says."""
    return [value for fragment in channel.split(body) for value in channel.parse(fragment.raw)]


def one(channel: Channel, part: dict[str, Any], name: str = "messaging") -> Inbound:
    """What one element says, in a list of this name."""
    (value,) = values(channel, webhook(channel, part, name=name))
    return value


def message(channel: Channel, part: dict[str, Any], name: str = "messaging") -> InboundMessage:
    """The message that it is."""
    value = one(channel, part, name)
    assert isinstance(value, InboundMessage)
    return value


def unsupported(channel: Channel, part: dict[str, Any], name: str = "messaging") -> tuple[str, str]:
    """The words of what is kept and counted."""
    value = one(channel, part, name)
    assert isinstance(value, InboundUnsupported)
    assert value.raw
    return value.field, value.provider_kind
