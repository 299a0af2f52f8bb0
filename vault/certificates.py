"""The installation's Ed25519 key, with which certificates of erasure are signed (RFC 8032)."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.ids import random_bytes, random_id
from streams.step.contract import Cursor
from vault.base import VaultBase
from vault.sealing import KEY_BYTES


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs; `key_id` stands in the certificate, `public` is raw (32 bytes)."""

    key_id: str
    public: bytes
    private: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Signer({self.key_id})"

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature (64 bytes) of `data`."""
        return self.private.sign(data)


class CertificatesPart(VaultBase):
    """Signing."""

    def certificate_signer(self) -> Signer:
        """The newest signing key; made when there is none. For the start of a role: never inside a step, whose transaction is
        in another database."""
        with self._statement() as cursor:
            found = _newest_key(cursor)
        if found is None:
            with self.transaction() as cursor:
                cursor.execute("lock table vault.signing_keys in share row exclusive mode")
                found = _newest_key(cursor) or self._make_signing_key(cursor)
        key_id, public, wrapped = found
        private = Ed25519PrivateKey.from_private_bytes(self.keyring.unwrap(("signing key", key_id), wrapped))
        return Signer(key_id, public, private)

    def certificate_keys(self) -> dict[str, bytes]:
        """All public keys (raw) by key id, oldest first: the API shows them, so that anybody can check certificates."""
        with self._statement() as cursor:
            cursor.execute("select key, public from vault.signing_keys order by seq")
            return dict(cursor.fetchall())

    def _make_signing_key(self, cursor: Cursor) -> tuple[str, bytes, bytes]:
        key_id, secret = random_id(), random_bytes(KEY_BYTES)
        public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        wrapped = self.keyring.wrap(("signing key", key_id), secret)
        cursor.execute(
            "insert into vault.signing_keys (key, public, wrapped) values (%s, %s, %s)",
            [key_id, public, wrapped],
        )
        return key_id, public, wrapped


def _newest_key(cursor: Cursor) -> tuple[str, bytes, bytes] | None:
    cursor.execute("select key, public, wrapped from vault.signing_keys order by seq desc limit 1")
    return cursor.fetchone()
