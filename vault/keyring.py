"""The master key: wraps tenant keys, credentials and signing keys. It is never in the database or its backups.

A provider is a file (`SEALPOST_MASTER_KEY_FILE`: base64 of 32 bytes, readable by its owner only) or the environment
(`SEALPOST_MASTER_KEY`).
"""

import hmac
import os
import stat
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.encoding import packed
from schemas.ids import random_bytes
from vault.errors import KeyRefused, MasterKeyInvalid
from vault.sealing import KEY_BYTES, NONCE_BYTES

FILE_VARIABLE = "SEALPOST_MASTER_KEY_FILE"
VALUE_VARIABLE = "SEALPOST_MASTER_KEY"
KCV_BYTES = 16
_KCV = packed(("kcv",))
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def wrap(wrapping: bytes, what: tuple[str, ...], secret: bytes) -> bytes:
    """Wrap a secret under a 32-byte key; `what` names its purpose and place and is authenticated."""
    nonce = random_bytes(NONCE_BYTES)
    return nonce + AESGCM(wrapping).encrypt(nonce, secret, packed(what))


def unwrap(wrapping: bytes, what: tuple[str, ...], wrapped: bytes) -> bytes:
    """Undo `wrap`; KeyRefused when key, purpose, place or bytes are others."""
    return _unwrap(AESGCM(wrapping), what[0], packed(what), wrapped)


def check_value(key: bytes, what: tuple[str, ...]) -> bytes:
    """Key check value: a keyed hash that exposes an exchanged key and tells nothing about it (16 bytes)."""
    return _check_value(key, packed(what))


def unwrap_checked(wrapping: bytes, what: tuple[str, ...], wrapped: bytes, kcv: bytes) -> bytes:
    """Unwrap and compare the check value; KeyRefused when the key was exchanged."""
    place = packed(what)
    key = _unwrap(AESGCM(wrapping), what[0], place, wrapped)
    if not hmac.compare_digest(_check_value(key, place), kcv):
        raise KeyRefused(f"a wrapped {what[0]} is not the one that belongs here")
    return key


def _unwrap(wrapping: AESGCM, purpose: str, place: bytes, wrapped: bytes) -> bytes:
    try:
        return wrapping.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], place)
    except (InvalidTag, ValueError):
        raise KeyRefused(f"a wrapped {purpose} does not open") from None


def _check_value(key: bytes, place: bytes) -> bytes:
    return hmac.digest(key, _KCV + place, "sha256")[:KCV_BYTES]


class MasterKey:
    """Wraps and unwraps with the installation's master key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise MasterKeyInvalid(f"the master key must be {KEY_BYTES} bytes")
        self._key = key

    def __repr__(self) -> str:
        return "MasterKey(…)"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "MasterKey":
        """From the file or value that the environment names; MasterKeyInvalid when there is none."""
        path = environment.get(FILE_VARIABLE)
        if path:
            return cls.from_file(Path(path))
        value = environment.get(VALUE_VARIABLE)
        if not value:
            raise MasterKeyInvalid(f"set {FILE_VARIABLE} or {VALUE_VARIABLE}")
        return cls(_decode(value, VALUE_VARIABLE))

    @classmethod
    def from_file(cls, path: Path) -> "MasterKey":
        """Read a key file; MasterKeyInvalid when it is missing, malformed or readable by others."""
        try:
            mode = path.stat().st_mode
            text = path.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise MasterKeyInvalid(f"the master key file cannot be read ({type(error).__name__})") from None
        if mode & _OTHERS:
            raise MasterKeyInvalid("the master key file must be readable by its owner only (chmod 600)")
        return cls(_decode(text, FILE_VARIABLE))

    @classmethod
    def create_file(cls, path: Path) -> "MasterKey":
        """Make a fresh key file (mode 0600); the existing one is read when there is one already."""
        draft = path.with_name(f"{path.name}.{random_bytes(8).hex()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(b64encode(random_bytes(KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            # A link appears whole or not at all, and never replaces a key that another process just made.
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
        return cls.from_file(path)

    def wrap(self, what: tuple[str, ...], secret: bytes) -> bytes:
        """Wrap a secret; `what` (purpose first, then place) is authenticated."""
        return wrap(self._key, what, secret)

    def check_value(self, what: tuple[str, ...]) -> bytes:
        """Tells this master key from others, and nothing about it."""
        return check_value(self._key, what)

    def unwrap(self, what: tuple[str, ...], wrapped: bytes) -> bytes:
        """Undo `wrap`; KeyRefused when it does not open."""
        return unwrap(self._key, what, wrapped)

    def unwrap_checked(self, what: tuple[str, ...], wrapped: bytes, kcv: bytes) -> bytes:
        """Undo `wrap` and compare the check value; KeyRefused when the key was exchanged."""
        return unwrap_checked(self._key, what, wrapped, kcv)


def _decode(text: str, where: str) -> bytes:
    try:
        return b64decode(text.strip(), validate=True)
    except (Base64Error, ValueError):
        raise MasterKeyInvalid(f"{where} is not base64") from None
