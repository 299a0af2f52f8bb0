"""Ids and randomness: the only place that draws random bytes.

Every id is 32 lower-case hexadecimal digits (128 bits). Where there is a cause the id is derived from it by a keyed hash,
so that handling the same cause twice writes the same id (protocols §2). A message id begins with the UTC day of its
request, `YYYYMMDD`, followed by 96 bits: the day selects the partition in which its claims live.
"""

import hmac
import secrets
from datetime import date

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from schemas.encoding import packed

ID_DIGITS = 32
ROUTING_KEY_BYTES = 2
"""Enough to spread over partitions, too little to name a person (protocols §2)."""


class HashKey:
    """A key of HMAC-SHA256 prepared once, for many short texts under one key: a third of the time of `hmac.digest`. It is as
    secret as the key, and must live no longer."""

    __slots__ = ("_keyed",)

    def __init__(self, key: bytes) -> None:
        self._keyed = HMAC(key, SHA256())

    def __repr__(self) -> str:
        return "HashKey(…)"

    def digest(self, data: bytes) -> bytes:
        """What `hmac.digest` answers (32 bytes)."""
        keyed = self._keyed.copy()
        keyed.update(data)
        return keyed.finalize()


def random_bytes(count: int) -> bytes:
    """Cryptographically strong random bytes."""
    return secrets.token_bytes(count)


def random_token() -> str:
    """A 256-bit secret as URL-safe text, for bearer tokens and attempt tokens."""
    return secrets.token_urlsafe(32)


def random_unit() -> float:
    """Uniform in [0, 1), for jitter."""
    return secrets.randbelow(1 << 53) / (1 << 53)


def random_id() -> str:
    """A fresh 128-bit id, for what has no cause: subjects, consents' evidence, requests without an idempotency key."""
    return secrets.token_hex(ID_DIGITS // 2)


def keyed_hash(key: bytes | HashKey, *parts: str) -> bytes:
    """HMAC-SHA256 over length-prefixed parts (32 bytes); no two different lists of parts share an input."""
    data = packed(parts)
    return key.digest(data) if isinstance(key, HashKey) else hmac.digest(key, data, "sha256")


def derived_id(key: bytes | HashKey, *parts: str) -> str:
    """128-bit id from a cause; `key` is the tenant's id key, which is never rotated."""
    return keyed_hash(key, *parts)[: ID_DIGITS // 2].hex()


def event_id(key: bytes | HashKey, cause: str, role: str, slot: str) -> str:
    """Id of an event that `role` writes because of `cause`; `slot` is a constant name in the code, never an index."""
    return derived_id(key, "event", cause, role, slot)


def received_id(key: bytes | HashKey, tenant: str, channel: str, provider_id: str, kind: str) -> str:
    """Id of what a provider reported: the same report, however often it comes, has the same id."""
    return derived_id(key, "received", tenant, channel, provider_id, kind)


def message_id(day: date, key: bytes, cause: str, role: str, slot: str) -> str:
    """Id of a message asked for because of `cause` on the UTC day `day`."""
    return f"{day:%Y%m%d}" + keyed_hash(key, "message", cause, role, slot)[:12].hex()


def message_day(message: str) -> date:
    """UTC day on which a message was asked for; ValueError when the id is none."""
    if not is_id(message):
        raise ValueError("not a message id")
    return date(int(message[:4]), int(message[4:6]), int(message[6:8]))


def is_id(text: str) -> bool:
    """True for 32 lower-case hexadecimal digits."""
    return len(text) == ID_DIGITS and not text.strip("0123456789abcdef")
