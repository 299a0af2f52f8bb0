"""Keys to a person's preference page: stateless, made and read with the tenant's id key, good for a day (DESIGN §7).

`<subject, 16 bytes><end, 6 bytes, seconds><first 16 bytes of a keyed hash>`, URL-safe base64. It holds no address; after an
erasure it opens nothing, for the subject is looked up afresh.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from hmac import compare_digest

from schemas.clock import MS_PER_S, now_ms
from schemas.ids import keyed_hash
from vault.base import VaultBase

SUBJECT_BYTES, END_BYTES, PROOF_BYTES = 16, 6, 16
TOKEN_CHARACTERS_MAX = 80
LIFE_S = 86_400
"""How long a key opens the page: long enough to be read tomorrow, short enough that an old chat opens nothing."""


class PreferenceLinksPart(VaultBase):
    """Keys to preference pages."""

    def preference_key(self, tenant: str, subject: str) -> str:
        """A key for a subject's page, good for a day from now."""
        ids = self._secrets([tenant])[tenant].ids
        body = bytes.fromhex(subject) + (now_ms() // MS_PER_S + LIFE_S).to_bytes(END_BYTES)
        return urlsafe_b64encode(body + _proof(ids, tenant, body)).rstrip(b"=").decode()

    def read_preference_key(self, tenant: str, key: str) -> str | None:
        """Whose page a key opens now; None when it is over or was not made here. UnknownTenant when there is no such tenant."""
        if len(key) > TOKEN_CHARACTERS_MAX or not key.isascii():
            return None
        try:
            raw = urlsafe_b64decode(key + "=" * (-len(key) % 4))
        except (Base64Error, ValueError):
            return None
        body, proof = raw[:-PROOF_BYTES], raw[-PROOF_BYTES:]
        if len(body) != SUBJECT_BYTES + END_BYTES:
            return None
        ids = self._secrets([tenant])[tenant].ids
        if not compare_digest(proof, _proof(ids, tenant, body)):
            return None
        over = int.from_bytes(body[SUBJECT_BYTES:]) <= now_ms() // MS_PER_S
        return None if over else body[:SUBJECT_BYTES].hex()


def _proof(ids: bytes, tenant: str, body: bytes) -> bytes:
    return keyed_hash(ids, "preference key", tenant, body.hex())[:PROOF_BYTES]
