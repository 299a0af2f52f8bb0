"""Raw webhooks sealed to a tenant's day key: the receiver needs the public half only. Pure.

A sealed box: a fresh X25519 pair per fragment, HKDF-SHA256 over the shared secret with both public keys as salt, AES-256-GCM
padded to 64 bytes. Layout: version (1 byte), fresh public key (32), ciphertext and tag. The AES key is used once, so its
nonce is fixed.
"""

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.ids import random_bytes
from vault.encoding import packed
from vault.errors import CorruptFragment
from vault.sealing import KEY_BYTES, NONCE_BYTES, pad, unpad

INGRESS_ALGORITHM = "X25519-HKDF-SHA256-A256GCM"
VERSION = b"\x01"
PUBLIC_BYTES = 32
_HEADER_BYTES = len(VERSION) + PUBLIC_BYTES

IngressContext = tuple[str, str, str, str]
"""(tenant, connection, account, day as `YYYY-MM-DD`): authenticated with every fragment."""


@dataclass(frozen=True, slots=True)
class DayKeyPair:
    """An X25519 pair, raw 32 bytes each. Only the vault ever holds `private`."""

    public: bytes
    private: bytes

    def __repr__(self) -> str:
        return "DayKeyPair(…)"

    @classmethod
    def make(cls) -> "DayKeyPair":
        """A fresh pair."""
        return cls.of(random_bytes(KEY_BYTES))

    @classmethod
    def of(cls, private: bytes) -> "DayKeyPair":
        """The pair of a private key."""
        return cls(X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw(), private)


def seal_to_day(public: bytes, context: IngressContext, plaintext: bytes) -> bytes:
    """Seal a fragment to a day's public key; ValueError when `public` is not 32 bytes."""
    return seal_with_private(random_bytes(KEY_BYTES), public, context, plaintext)


def seal_with_private(
    fresh_private: bytes, public: bytes, context: IngressContext, plaintext: bytes
) -> bytes:
    """`seal_to_day` with a given fresh key: for golden vectors only."""
    fresh = X25519PrivateKey.from_private_bytes(fresh_private)
    fresh_public = fresh.public_key().public_bytes_raw()
    shared = fresh.exchange(X25519PublicKey.from_public_bytes(public))
    associated = _associated(context)
    key = _derive(shared, fresh_public + public, associated)
    return VERSION + fresh_public + AESGCM(key).encrypt(bytes(NONCE_BYTES), pad(plaintext), associated)


def open_from_day(private: bytes, context: IngressContext, sealed: bytes) -> bytes:
    """Open a fragment with the day's private key; CorruptFragment when key, context or bytes are others."""
    if len(sealed) <= _HEADER_BYTES or sealed[:1] != VERSION:
        raise CorruptFragment("not a sealed fragment")
    own = X25519PrivateKey.from_private_bytes(private)
    fresh_public = sealed[1:_HEADER_BYTES]
    associated = _associated(context)
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(fresh_public))
        key = _derive(shared, fresh_public + own.public_key().public_bytes_raw(), associated)
        return unpad(AESGCM(key).decrypt(bytes(NONCE_BYTES), sealed[_HEADER_BYTES:], associated))
    except (InvalidTag, ValueError):
        raise CorruptFragment("a fragment does not open") from None


def _associated(context: IngressContext) -> bytes:
    return packed(("sealpost ingress", INGRESS_ALGORITHM, *context))


def _derive(shared: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(shared)
