"""The installation's Ed25519 key, with which certificates of erasure are signed (RFC 8032)."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.base import VaultBase


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
        """The newest signing key, made on first use."""
        raise NotImplementedError

    def certificate_keys(self) -> dict[str, bytes]:
        """All public keys (raw) by key id: published, so that anybody can check certificates."""
        raise NotImplementedError
