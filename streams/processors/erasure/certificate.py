"""The certificate of an erasure: Ed25519 (RFC 8032) over the canonical JSON of SubjectErased without its certificate.

Canonical JSON: members sorted by name, no white space, UTF-8. All values are text or lists of such objects, so this is also
the form of RFC 8785.
"""

import base64
from typing import Protocol

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.events.deletions import Certificate, SubjectErased


class Signer(Protocol):
    """Who signs: the installation's certificate key, held by the vault."""

    @property
    def key_id(self) -> str:
        """Names the public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature, 64 bytes."""
        ...


def canonical(erased: SubjectErased) -> bytes:
    """What is signed."""
    fields = erased.model_dump(mode="json", exclude_none=True, exclude={"certificate", "sealed"})
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def certify(erased: SubjectErased, signer: Signer) -> SubjectErased:
    """The same facts, with their certificate."""
    signature = base64.b64encode(signer.sign(canonical(erased))).decode()
    return erased.model_copy(update={"certificate": Certificate(key=signer.key_id, signature=signature)})


def is_genuine(erased: SubjectErased, public_key: bytes) -> bool:
    """True when the certificate is a signature of these facts under this public key (32 bytes)."""
    if erased.certificate is None:
        return False
    signature = base64.b64decode(erased.certificate.signature)
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, canonical(erased))
    except InvalidSignature:
        return False
    return True
