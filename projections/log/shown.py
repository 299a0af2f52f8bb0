"""What is shown of a record: its clear fields, and of each sealed block its key class and size. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas import topics
from schemas.clock import to_text
from schemas.envelope import Event, InvalidEvent, KeyClass
from schemas.events.inbound import FragmentReceived
from streams.step.contract import Record

DAY_KEY = "day key"
"""Class of what the receiver sealed: the tenant's day key, not one of the person's."""
_NONCE_AND_TAG_BYTES = 28
CLASSES: tuple[KeyClass, ...] = ("identity", "content", "evidence")


@dataclass(frozen=True, slots=True)
class Block:
    """A sealed block as it may be shown: how many bytes it hides (padding included), and whose key opens it."""

    name: str
    bytes: int
    generation: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """One record. `event`: the whole, for who may open it; None for what is no event. `clear`: what is not sealed."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    type: str
    tenant: str = ""
    subject: str = ""
    id: str = ""
    channel: str | None = None
    clear: Mapping[str, Any] = field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
    event: Event | None = field(default=None, repr=False)

    def as_json(self) -> dict[str, Any]:
        """For the feed and `--json`."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "at": to_text(self.at_ms),
            "type": self.type,
            "tenant": self.tenant,
            "subject": self.subject,
            "id": self.id,
            "channel": self.channel,
            "data": dict(self.clear),
            "sealed": [
                {"class": block.name, "bytes": block.bytes, "gen": block.generation} for block in self.blocks
            ],
        }


def shown(record: Record) -> Shown:
    """A record as it may be shown. What cannot be read is named so, with its size."""
    place = (record.topic, record.partition, record.offset, record.time_ms)
    if record.topic == topics.DEADLETTERS:
        return Shown(*place, "dead letter", **_dead_letter(record))
    try:
        event = Event.from_bytes(record.value)
        blocks = tuple(_blocks(event))
    except InvalidEvent:
        size = len(record.value or b"")
        kind = "tombstone" if record.value is None else "unreadable"
        return Shown(*place, kind, blocks=(Block("unknown", size),) if size else ())
    clear = {name: value for name, value in event.data.items() if name not in ("sealed", "ct")}
    return Shown(
        *place,
        event.type.removeprefix("sealpost."),
        event.tenant,
        event.subject,
        event.id,
        event.channel,
        clear,
        blocks,
        event,
    )


def _blocks(event: Event) -> list[Block]:
    if event.type == FragmentReceived.TYPE:
        return [Block(DAY_KEY, _size(str(event.data.get("ct", ""))), str(event.data.get("day", "")))]
    found: list[Block] = []
    for name in CLASSES:
        block = event.block(name)
        if block is not None:
            found.append(Block(name, max(0, _size(block.ct) - _NONCE_AND_TAG_BYTES), block.gen))
    return found


def _dead_letter(record: Record) -> dict[str, Any]:
    try:
        letter = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return {"blocks": (Block("unknown", len(record.value or b"")),)}
    if not isinstance(letter, dict):
        return {}
    clear = {name: letter.get(name) for name in ("role", "reason", "origin", "replay_until")}
    return {"clear": clear, "blocks": (Block(DAY_KEY, _size(str(letter.get("value") or ""))),)}


def _size(base64: str) -> int:
    return max(0, len(base64) * 3 // 4 - base64.count("=", -2))


def line(found: Mapping[str, Any], opened: Mapping[str, Any] | None = None) -> str:
    """One line for a terminal, from what `as_json` gave: time, topic, type, subject, clear fields, sealed blocks as bars."""
    topic = str(found["topic"]).removeprefix("sealpost.")
    clear = " ".join(f"{name}={_short(value)}" for name, value in found["data"].items() if value is not None)
    bars = " ".join(f"▒ {block['bytes']} B {block['class']}" for block in found["sealed"])
    words = " ".join(f"{name}: {_short(value)}" for name, value in (opened or {}).items())
    parts = (
        str(found["at"]),
        f"{topic}/{found['partition']}:{found['offset']}",
        found["type"],
        found["tenant"],
    )
    return printable("  ".join(str(part) for part in (*parts, found["subject"], clear, bars, words) if part))


def printable(text: str) -> str:
    """What a terminal would obey is shown as a code: what a person wrote must not move a cursor or turn the writing round."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
