"""Bearer tokens: only their hashes are stored. A token belongs to one (tenant, role); the installation's admin has no tenant."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import Literal

from schemas.clock import boot_s
from schemas.ids import random_id, random_token
from streams.step.contract import Cursor
from streams.step.postgres import is_away
from vault.base import VaultBase

KEPT_S = 900.0
"""How long a token is believed while the database is away: longer than a restart of a server, shorter than a revoked token may
be worth something."""
KNOWN_MAX = 10_000
TenantRole = Literal["officer", "legal", "agent", "producer", "analyst"]
AccessRole = Literal["admin", "officer", "legal", "agent", "producer", "analyst", "operator"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token stands for: a random id, the tenant (None for the installation's admin) and the role."""

    principal: str
    tenant: str | None
    role: AccessRole


class TokenMemory:
    """`check_token` for a process that must take erasures while the vault's database is away (protocols §3): then, and only then,
    whose a token was within the last quarter of an hour is believed. Thread-safe."""

    def __init__(self, check: Callable[[str], Principal | None], kept_s: float = KEPT_S) -> None:
        """`check`: `check_token`, which raises what `is_away` knows while the database is away."""
        self._check = check
        self._kept_s = kept_s
        self._lock = Lock()
        self._known: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def check(self, token: str) -> Principal | None:
        """As `check_token`, and remembered."""
        found = self._check(token)
        with self._lock:
            self._known.pop(_hash(token), None)
            if found is not None:
                self._known[_hash(token)] = (found, boot_s() + self._kept_s)
                if len(self._known) > KNOWN_MAX:
                    self._known.popitem(last=False)
        return found

    def check_or_recall(self, token: str) -> Principal | None:
        """As `check`; while the database is away, from memory. A token that was not seen lately raises what `check` does."""
        try:
            return self.check(token)
        except Exception as error:
            with self._lock:
                principal, until_s = self._known.get(_hash(token), (None, 0.0))
            if principal is None or boot_s() >= until_s or not is_away(error):
                raise
            return principal


class TokensPart(VaultBase):
    """Access."""

    def issue_token(self, tenant: str | None, role: AccessRole, *, replace: bool = False) -> str:
        """A fresh token, shown this once; with `replace` all earlier ones of the role end. ValueError unless exactly the roles
        admin and operator have no tenant."""
        if (tenant is None) != (role in ("admin", "operator")):
            raise ValueError(
                "the roles admin and operator belong to the installation, all others to a tenant"
            )
        with self.transaction() as cursor:
            if replace:
                # One after the other: of two at once neither would see the other's token, and both would live.
                cursor.execute("lock table vault.tokens in share row exclusive mode")
                cursor.execute(
                    "update vault.tokens set revoked = true where tenant is not distinct from %s and role = %s",
                    [tenant, role],
                )
            return _issue(cursor, tenant, role)

    def issue_first_tokens(self, tenant: str, roles: Sequence[AccessRole]) -> dict[str, str]:
        """A token for each role of a registered tenant that never had one; {} once it had any: what is issued again on the
        way is known to nobody."""
        with self.transaction() as cursor:
            # One registration at a time: two at once must not both find none.
            cursor.execute("select from vault.tenants where tenant = %s for update", [tenant])
            cursor.execute("select from vault.tokens where tenant = %s limit 1", [tenant])
            if cursor.fetchone() is not None:
                return {}
            return {role: _issue(cursor, tenant, role) for role in roles}

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


def _issue(cursor: Cursor, tenant: str | None, role: AccessRole) -> str:
    token = random_token()
    cursor.execute(
        "insert into vault.tokens (hash, principal, tenant, role) values (%s, %s, %s, %s)",
        [_hash(token), random_id(), tenant, role],
    )
    return token


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
