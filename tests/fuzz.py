"""Spoiled webhooks: proper ones with something wrong somewhere, in their JSON or in their bytes. Repeatable by seed."""

import copy
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from schemas.constants import WEBHOOK_MAX_BYTES

FIXTURES = Path(__file__).parents[2] / "shared" / "fixtures"
"""Real payloads, where they lie beside the project."""
DEEP = 300
"""More levels than any provider nests, and than may be written."""
DEEP_MARK = "nested here"
WORDS = (
    "",
    "x" * 5_000,
    "\u202e\u0000\ufffd",
    "🙂" * 40,
    "-1",
    "1e400",
    "__proto__",
    "sp-0000000000000",
    "STOP",
    "NaN",
)
NUMBERS = (0, -1, 2**53, -(2**63), 10**30, 1e308, -0.0, 1_700_000_000, 99_999_999_999_999)


def seeds(channel: str) -> list[dict[str, Any]]:
    """Proper webhooks of a channel: the real ones, where they are, else the smallest that has its shape."""
    found = [
        payload
        for path in sorted(FIXTURES.glob(f"{channel}-*.json"))
        if isinstance(payload := orjson.loads(path.read_bytes())["payload"], dict)
    ]
    return found or [SHAPES.get(channel, {"id": "1", "type": "text", "text": "Hallo"})]


SHAPES: dict[str, dict[str, Any]] = {
    "whatsapp": {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "1",
                "changes": [
                    {
                        "field": "messages",
                        "value": {
                            "metadata": {"phone_number_id": "2"},
                            "messages": [
                                {
                                    "id": "wamid.A",
                                    "from": "4915100000001",
                                    "timestamp": "1700000000",
                                    "type": "text",
                                    "text": {"body": "Hallo"},
                                }
                            ],
                        },
                    }
                ],
            }
        ],
    },
    "telegram": {
        "update_id": 1,
        "message": {
            "message_id": 2,
            "date": 1_700_000_000,
            "chat": {"id": 3, "type": "private"},
            "from": {"id": 3, "is_bot": False, "first_name": "Ada"},
            "text": "Hallo",
        },
    },
}


def spoiled_bodies(channel: str, count: int, seed: int) -> Iterator[bytes]:
    """`count` bodies: one in four spoiled in its bytes, one in twenty compressed, the others in their JSON."""
    chance = random.Random(f"{channel} {seed}")
    whole = seeds(channel)
    for _ in range(count):
        body = _dumps(_spoiled(copy.deepcopy(chance.choice(whole)), chance))
        body = body.replace(
            b'"' + DEEP_MARK.encode() + b'"', chance.choice((b"[[[1]]]", b"[" * DEEP + b"]" * DEEP))
        )
        if chance.random() < 0.25:
            body = _spoiled_bytes(body, chance)
        # The receiver takes no more, so no parser sees more.
        body = body[:WEBHOOK_MAX_BYTES]
        yield gzip.compress(body, 1) if chance.random() < 0.05 else body


def _spoiled(payload: Any, chance: random.Random) -> Any:
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        places = list(_places(payload))
        if not places:
            return _anything(chance)
        holder, key = chance.choice(places)
        kind = chance.random()
        if kind < 0.15 and isinstance(holder, dict):
            del holder[key]
        elif kind < 0.25:
            holder[key] = [holder[key]] * chance.choice((0, 2, 50))
        elif kind < 0.35:
            other, place = chance.choice(places)
            # As it is: a part that stands in itself could not be written.
            holder[key] = copy.deepcopy(other[place])
        else:
            holder[key] = _anything(chance)
    return payload


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pending = [value]
    while pending:
        holder = pending.pop()
        if isinstance(holder, dict | list):
            for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
                yield holder, key
                pending.append(holder[key])


def _anything(chance: random.Random) -> Any:
    kind = chance.randrange(7)
    if kind == 0:
        return chance.choice(WORDS)
    if kind == 1:
        return chance.choice(NUMBERS)
    if kind == 2:
        return chance.choice((None, True, False))
    if kind == 3:
        return [chance.choice(WORDS)] * chance.choice((0, 1, 30))
    if kind == 4:
        return {chance.choice(("id", "type", "text", "from", "x")): chance.choice(NUMBERS)}
    if kind == 5:
        return DEEP_MARK
    return "".join(chr(chance.choice((9, 65, 228, 0x4E2D, 0x1F642, 0x200F))) for _ in range(12))


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:
        # A number beyond 64 bits.
        return json.dumps(value).encode()


def _spoiled_bytes(body: bytes, chance: random.Random) -> bytes:
    kind, at = chance.randrange(6), chance.randrange(len(body) + 1)
    if kind == 0:
        return body[:at]
    if kind == 1:
        return body[:at] + bytes((chance.randrange(256),)) + body[at + 1 :]
    if kind == 2:
        return body[:at] + b"\xff\xfe\xc3(" + body[at:]
    if kind == 3:
        return b'{"id":"1","id":2,' + body[1:]
    if kind == 4:
        return body.replace(b":", b':{"":', 1) if chance.random() < 0.5 else body * 2
    return chance.randbytes(chance.randrange(200))
