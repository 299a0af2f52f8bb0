"""Messenger payloads of our own making, after channel-apis §3.1 and Meta's reference of webhook events."""

from pathlib import Path
from typing import Any

import orjson

PAGE, PERSON = "1234567890", "5678901234567890"
AT_MS = 1_764_000_000_123
FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
NO_FIXTURES = "the folder ../shared/fixtures with other projects' payloads is not here"
JsonObject = dict[str, Any]


def element(**parts: Any) -> JsonObject:
    """One element from the person to the page."""
    return {"sender": {"id": PERSON}, "recipient": {"id": PAGE}, "timestamp": AT_MS, **parts}


def text(words: str = "Hallo", mid: str = "m_1", **fields: Any) -> JsonObject:
    """A text."""
    return element(message={"mid": mid, "text": words, **fields})


def echo(mid: str = "m_9", **fields: Any) -> JsonObject:
    """The copy of what the page sent."""
    message = {"mid": mid, "text": "Guten Tag", "is_echo": True, "app_id": 1, **fields}
    return {"sender": {"id": PAGE}, "recipient": {"id": PERSON}, "timestamp": AT_MS, "message": message}


def webhook(*elements: Any, name: str = "messaging", page: str = PAGE) -> bytes:
    """A body with one entry."""
    return orjson.dumps({"object": "page", "entry": [{"id": page, "time": AT_MS, name: list(elements)}]})
