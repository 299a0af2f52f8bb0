"""Raw webhooks sealed to a tenant's day key: the receiver needs the public half only.

A sealed box: X25519 between a fresh pair and the day key, HKDF-SHA256 (RFC 5869) with both public keys as salt, AES-256-GCM
padded to 64 bytes. A fresh pair serves for a minute, so that neither side computes a shared secret for every fragment; each
fragment has a key of its own, expanded from that secret with a random salt, so its nonce is fixed. Layout: version (1 byte),
fresh public key (32), salt (16), ciphertext and tag. Why a minute: docs/decisions/063-a-fresh-key-a-minute.md.
"""

import hmac
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.clock import boot_s
from schemas.encoding import packed
from schemas.ids import HashKey, random_bytes
from vault.errors import CorruptFragment
from vault.sealing import KEY_BYTES, NONCE_BYTES, pad, unpad

INGRESS_ALGORITHM = "X25519-HKDF-SHA256-A256GCM"
VERSION = b"\x02"
PUBLIC_BYTES = 32
SALT_BYTES = 16
"""128 random bits: no two fragments of one fresh pair ever share a key."""
FRESH_S = 60.0
"""How long a fresh pair serves: what somebody who reads the receiver's memory could open of what it sealed before."""
SECRETS_MAX = 256
"""Shared secrets that an opener keeps; one a receiver process and minute is in use at a time."""
_PUBLIC_END = len(VERSION) + PUBLIC_BYTES
_HEADER_BYTES = _PUBLIC_END + SALT_BYTES

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


class DaySealer:
    """Seals to one day's public key under one fresh pair; ValueError when `public` is no X25519 key."""

    def __init__(self, public: bytes, fresh_private: bytes | None = None) -> None:
        """`fresh_private`: for golden vectors only."""
        fresh = X25519PrivateKey.from_private_bytes(fresh_private or random_bytes(KEY_BYTES))
        self._fresh_public = fresh.public_key().public_bytes_raw()
        shared = fresh.exchange(X25519PublicKey.from_public_bytes(public))
        self._secret = HashKey(_extract(shared, self._fresh_public + public))

    def __repr__(self) -> str:
        return "DaySealer(…)"

    def seal(self, context: IngressContext, plaintext: bytes, salt: bytes | None = None) -> bytes:
        """Seal a fragment. `salt`: for golden vectors only; one used twice with one pair breaks the key."""
        salt = salt or random_bytes(SALT_BYTES)
        associated = _associated(context)
        cipher = AESGCM(_expand(self._secret, associated + salt))
        sealed = cipher.encrypt(bytes(NONCE_BYTES), pad(plaintext), associated)
        return b"".join((VERSION, self._fresh_public, salt, sealed))


class DaySealers:
    """Sealers of one process by day key, each with a fresh pair for `FRESH_S`. For one thread."""

    def __init__(self) -> None:
        self._made: dict[bytes, tuple[float, DaySealer]] = {}

    def of(self, public: bytes) -> DaySealer:
        """The sealer to use now for this day key; ValueError when `public` is no X25519 key."""
        now = boot_s()
        found = self._made.get(public)
        if found is None or now >= found[0]:
            self._made = {key: kept for key, kept in self._made.items() if now < kept[0]}
            found = self._made[public] = (now + FRESH_S, DaySealer(public))
        return found[1]


class DayOpener:
    """Opens what was sealed to one day key. Keeps shared secrets, so it must live no longer than the right to the private key."""

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)
        self._public = self._private.public_key().public_bytes_raw()
        self._secrets: dict[bytes, HashKey] = {}

    def __repr__(self) -> str:
        return "DayOpener(…)"

    def open(self, context: IngressContext, sealed: bytes) -> bytes:
        """Open a fragment; CorruptFragment when key, context or bytes are others."""
        if len(sealed) <= _HEADER_BYTES or sealed[:1] != VERSION:
            raise CorruptFragment("not a sealed fragment")
        associated = _associated(context)
        try:
            secret = self._secret(sealed[len(VERSION) : _PUBLIC_END])
            cipher = AESGCM(_expand(secret, associated + sealed[_PUBLIC_END:_HEADER_BYTES]))
            return unpad(cipher.decrypt(bytes(NONCE_BYTES), sealed[_HEADER_BYTES:], associated))
        except (InvalidTag, ValueError):
            raise CorruptFragment("a fragment does not open") from None

    def _secret(self, fresh_public: bytes) -> HashKey:
        secret = self._secrets.get(fresh_public)
        if secret is None:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(fresh_public))
            secret = HashKey(_extract(shared, fresh_public + self._public))
            if len(self._secrets) >= SECRETS_MAX:
                self._secrets.clear()
            self._secrets[fresh_public] = secret
        return secret


@lru_cache(maxsize=1_024)
def _associated(context: IngressContext) -> bytes:
    """One a tenant, account and day: made once."""
    return packed(("sealpost ingress", INGRESS_ALGORITHM, *context))


def _extract(shared: bytes, salt: bytes) -> bytes:
    """HKDF-Extract (RFC 5869, 2.2)."""
    return hmac.digest(salt, shared, "sha256")


def _expand(secret: HashKey, info: bytes) -> bytes:
    """HKDF-Expand (RFC 5869, 2.3) to 32 bytes, which is its first block."""
    return secret.digest(info + b"\x01")
