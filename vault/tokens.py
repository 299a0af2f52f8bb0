"""Bearer tokens: only their hashes are stored. A token belongs to one (tenant, role); the installation's admin has no tenant."""

from dataclasses import dataclass
from typing import Literal

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
        """A fresh token, shown this once."""
        raise NotImplementedError

    def check_token(self, token: str) -> Principal | None:
        """Whose token this is; None when it is unknown or revoked."""
        raise NotImplementedError

    def revoke_token(self, token: str) -> bool:
        """End a token; False when it was none."""
        raise NotImplementedError
