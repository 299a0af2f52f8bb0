"""Webhooks of Messenger; how they are read is shared and stands in `workers/meta_messaging/receive.py` and `facts.py`."""

from workers.channel import Fragment
from workers.channels.messenger.wire import PLATFORM
from workers.inbound_values import Inbound, JsonObject
from workers.meta_messaging import facts, receive


def split(body: bytes) -> list[Fragment]:
    """Fragments of a body, in order."""
    return receive.split(PLATFORM, body)


def parse(raw: JsonObject) -> list[Inbound]:
    """Values of one fragment."""
    return receive.parse(PLATFORM, raw)


def describe(raw: JsonObject) -> list[JsonObject]:
    """Facts of one fragment, for the command line."""
    return facts.describe(PLATFORM, raw)
