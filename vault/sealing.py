"""Sealed blocks: AES-256-GCM with the associated data of DESIGN §7, padded to 64 bytes. Pure.

Layout of `ct` (base64): nonce (12 bytes), ciphertext, tag (16 bytes). Plaintext: length (4 bytes, big endian), data, zeros
up to a multiple of 64. Golden vectors in tests/unit/test_sealing.py hold the layout for ever.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.constants import FORMAT_VERSION, PADDING_BYTES
from schemas.encoding import LENGTH_BYTES, packed
from schemas.envelope import ALGORITHM, KeyClass, SealedBlock
from schemas.ids import random_bytes
from vault.outcomes import Corrupt, Plain

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
IDENTITY_GENERATION = "0"
_VERSION = str(FORMAT_VERSION)


@dataclass(frozen=True, slots=True)
class SealContext:
    """What a block belongs to; every field is authenticated, so a block opens nowhere else.

    `tenant`; `subject`, `event_id` (32 hex digits); `event_type`; `key_class`; `gen`: `0` for identity, `YYYY-MM` (UTC month
    of the event's time) for content, an id for evidence.
    """

    tenant: str
    subject: str
    event_id: str
    event_type: str
    key_class: KeyClass
    gen: str

    def associated_data(self) -> bytes:
        """The authenticated bytes: length-prefixed, in fixed order."""
        return _associated(self, self.event_id, self.event_type, self.gen)


class Carrier(Protocol):
    """An event that carries a block, and the class of the block."""

    @property
    def tenant(self) -> str:
        """Whose event it is."""
        ...

    @property
    def subject(self) -> str:
        """Whom it is about."""
        ...

    @property
    def event_id(self) -> str:
        """Its id."""
        ...

    @property
    def event_type(self) -> str:
        """Its type."""
        ...

    @property
    def key_class(self) -> KeyClass:
        """The class of the block."""
        ...


def _associated(carrier: Carrier, event_id: str, event_type: str, gen: str) -> bytes:
    parts = (
        _VERSION, carrier.tenant, carrier.subject, event_id, event_type, carrier.key_class, gen, ALGORITHM,
    )  # fmt: skip
    return packed(parts)


def pad(plaintext: bytes) -> bytes:
    """Length, data, zeros up to a multiple of 64 bytes."""
    framed = len(plaintext).to_bytes(LENGTH_BYTES, "big") + plaintext
    return framed + bytes(-len(framed) % PADDING_BYTES)


def unpad(padded: bytes) -> bytes:
    """Undo `pad`; ValueError when the bytes were not padded by it."""
    size = int.from_bytes(padded[:LENGTH_BYTES], "big")
    data, zeros = padded[LENGTH_BYTES : LENGTH_BYTES + size], padded[LENGTH_BYTES + size :]
    if (
        not padded
        or len(padded) % PADDING_BYTES
        or len(data) != size
        or zeros.strip(b"\0")
        or len(zeros) >= PADDING_BYTES
    ):
        raise ValueError("wrong padding")
    return data


def seal(key: bytes, context: SealContext, plaintext: bytes) -> SealedBlock:
    """Seal the personal fields of one key class of one event under a 32-byte key, with a fresh random nonce."""
    return seal_with_nonce(key, context, plaintext, random_bytes(NONCE_BYTES))


def seal_with_nonce(key: bytes, context: SealContext, plaintext: bytes, nonce: bytes) -> SealedBlock:
    """`seal` with a given nonce: for golden vectors only; a nonce used twice breaks the key."""
    ciphertext = AESGCM(key).encrypt(nonce, pad(plaintext), context.associated_data())
    return SealedBlock(gen=context.gen, ct=b64encode(nonce + ciphertext).decode())


def open_block(key: bytes, context: Carrier, block: SealedBlock) -> Plain[bytes] | Corrupt:
    """Open a block with its key. `context` is the carrying event's; what the block itself names (its generation, and in
    `sealed_in` and `type` another event that sealed it) wins and is authenticated. Never raises for wrong bytes: Corrupt."""
    try:
        raw = b64decode(block.ct, validate=True)
    except (Base64Error, ValueError):
        return Corrupt("encoding")
    if len(raw) < NONCE_BYTES + TAG_BYTES:
        return Corrupt("short")
    associated = _associated(
        context, block.sealed_in or context.event_id, block.type or context.event_type, block.gen
    )
    try:
        return Plain(unpad(AESGCM(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], associated)))
    except InvalidTag:
        return Corrupt("tag")
    except ValueError:
        return Corrupt("padding")
