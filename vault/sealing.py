"""Sealed blocks: AES-256-GCM with the associated data of DESIGN §7, padded to 64 bytes. Pure.

Layout of `ct` (base64): nonce (12 bytes), ciphertext, tag (16 bytes). Plaintext: length (4 bytes, big endian), data, zeros
up to a multiple of 64. Golden vectors in tests/unit/test_sealing.py hold the layout for ever.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, replace

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

    def of_block(self, block: SealedBlock) -> "SealContext":
        """The context a block was sealed in: its own generation, and another event's id and type when it names them."""
        if block.gen == self.gen and not block.sealed_in and not block.type:
            return self
        return replace(
            self,
            event_id=block.sealed_in or self.event_id,
            event_type=block.type or self.event_type,
            gen=block.gen,
        )

    def associated_data(self) -> bytes:
        """The authenticated bytes: length-prefixed, in fixed order."""
        parts = (
            str(FORMAT_VERSION), self.tenant, self.subject, self.event_id, self.event_type, self.key_class, self.gen, ALGORITHM,
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


def open_block(key: bytes, context: SealContext, block: SealedBlock) -> Plain[bytes] | Corrupt:
    """Open a block with its key. `context` is the carrying event's; what the block itself names (`gen`, `sealed_in`, `type`)
    wins and is authenticated. Never raises for wrong bytes: Corrupt."""
    try:
        raw = b64decode(block.ct, validate=True)
    except (Base64Error, ValueError):
        return Corrupt("encoding")
    if len(raw) < NONCE_BYTES + TAG_BYTES:
        return Corrupt("short")
    associated = context.of_block(block).associated_data()
    try:
        return Plain(unpad(AESGCM(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], associated)))
    except InvalidTag:
        return Corrupt("tag")
    except ValueError:
        return Corrupt("padding")
