"""Bearer tokens: only their hashes are stored. A token belongs to one (tenant, role); the installation's admin has no tenant."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from schemas.ids import random_id, random_token
from vault.base import VaultBase

AccessRole = Literal["admin", "officer", "legal", "agent", "producer", "analyst", "operator"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token stands for: a random id, the tenant (None for the installation's admin) and the role."""

    principal: str
    tenant: str | None
    role: AccessRole


class TokensPart(VaultBase):
    """Access."""

    def issue_token(self, tenant: str | None, role: AccessRole) -> str:
        """A fresh token, shown this once; ValueError unless exactly the roles admin and operator have no tenant."""
        if (tenant is None) != (role in ("admin", "operator")):
            raise ValueError(
                "the roles admin and operator belong to the installation, all others to a tenant"
            )
        token = random_token()
        with self._statement() as cursor:
            cursor.execute(
                "insert into vault.tokens (hash, principal, tenant, role) values (%s, %s, %s, %s)",
                [_hash(token), random_id(), tenant, role],
            )
        return token

    def check_token(self, token: str) -> Principal | None:
        """Whose token this is; None when it is unknown or revoked."""
        with self._statement() as cursor:
            # Looked up by a hash of 256 random bits: how long the look-up takes tells nothing about other tokens.
            cursor.execute(
                "select principal, tenant, role from vault.tokens where hash = %s and not revoked",
                [_hash(token)],
            )
            row = cursor.fetchone()
        return Principal(*row) if row else None

    def revoke_token(self, token: str) -> bool:
        """End a token; False when it was none."""
        with self._statement() as cursor:
            cursor.execute(
                "update vault.tokens set revoked = true where hash = %s and not revoked", [_hash(token)]
            )
            return cursor.rowcount == 1


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
