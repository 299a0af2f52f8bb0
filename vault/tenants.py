"""Tenants in the vault: their secrets, DPA, purposes, approved accounts; all but the secrets follow `sealpost.tenants`."""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.ids import random_bytes
from schemas.settings import DEFAULT_PURPOSES
from streams.step.contract import Cursor
from streams.step.postgres import is_away
from vault.base import VaultBase, as_json
from vault.errors import UnknownTenant
from vault.keyring import check_value, wrap
from vault.sealing import KEY_BYTES

FIRST_PEPPER = 1


@dataclass(frozen=True, slots=True)
class TenantState:
    """What the vault knows of a tenant: `dpa` and `purposes` (purpose → legal basis) as applied so far."""

    tenant: str
    dpa: bool
    purposes: dict[str, str]


class IdKeyMemory:
    """`tenant_ids` for a process that must go on while the vault's database is away: a key that it has seen holds, for an id key
    is never rotated. Thread-safe."""

    def __init__(self, load: Callable[[str], bytes]) -> None:
        """`load`: `tenant_ids`, which raises what `is_away` knows while the database is away."""
        self._load = load
        self._known: dict[str, bytes] = {}

    def key(self, tenant: str) -> bytes:
        """As `tenant_ids`, and remembered; from memory only while the database is away."""
        try:
            self._known[tenant] = self._load(tenant)
        except Exception as error:
            if tenant not in self._known or not is_away(error):
                raise
        return self._known[tenant]


class TenantsPart(VaultBase):
    """Tenants."""

    def register_tenant(self, cursor: Cursor, tenant: str) -> bool:
        """Make the tenant's secrets where missing, in the caller's transaction; True when they were made now. Other
        processes see them after the commit. DPA and the rest come by events."""
        key = random_bytes(KEY_BYTES)
        what = ("tenant key", tenant)
        cursor.execute(
            """insert into vault.tenants (tenant, wrapped_key, kcv, wrapped_ids, wrapped_routing)
               values (%s, %s, %s, %s, %s) on conflict do nothing""",
            [
                tenant,
                self.keyring.wrap(what, key),
                check_value(key, what),
                wrap(key, ("id key", tenant), random_bytes(KEY_BYTES)),
                wrap(key, ("routing key", tenant), random_bytes(KEY_BYTES)),
            ],
        )
        if cursor.rowcount == 0:
            return False
        pepper = wrap(key, ("pepper", tenant, str(FIRST_PEPPER)), random_bytes(KEY_BYTES))
        cursor.execute("insert into vault.peppers values (%s, %s, %s)", [tenant, FIRST_PEPPER, pepper])
        cursor.execute(
            "insert into vault.purposes select %s, key, value from json_each_text(%s::json)",
            [tenant, as_json(dict(DEFAULT_PURPOSES))],
        )
        return True

    def tenant_ids(self, tenant: str) -> bytes:
        """The tenant's id key, for `schemas.ids`; never rotated. UnknownTenant when there is none."""
        return self._secrets([tenant])[tenant].ids

    def tenant_ids_within(self, cursor: Cursor, tenant: str) -> bytes:
        """`tenant_ids` for a tenant that may have been registered in this very transaction."""
        return self._secrets([tenant], cursor)[tenant].ids

    def tenant_state(self, tenant: str) -> TenantState | None:
        """What has been applied of the tenant's settings; None when it is unknown."""
        with self._statement() as cursor:
            cursor.execute(
                """select t.dpa, json_object_agg(p.purpose, p.legal_basis) filter (where p.purpose is not null)
                   from vault.tenants t left join vault.purposes p using (tenant) where tenant = %s group by t.dpa""",
                [tenant],
            )
            row = cursor.fetchone()
        return TenantState(tenant, row[0], row[1] or {}) if row else None

    def lower_dpa(self, cursor: Cursor, tenant: str) -> int:
        """End the agreement at once, in the transaction that records DpaEnded; only the role `vault` raises it. The time that
        DpaEnded must carry: nothing that was signed before it is in force any more, whenever it is applied."""
        cursor.execute(
            """update vault.tenants set dpa_ended_ms = greatest(dpa_ended_ms, dpa_signed_ms, vault.now_ms())
               where tenant = %s returning dpa_ended_ms""",
            [tenant],
        )
        return self._time(cursor, tenant)

    def signing_time(self, tenant: str) -> int:
        """The time that a DpaSigned of now must carry: the vault's, and later than every end."""
        with self._statement() as cursor:
            cursor.execute(
                "select greatest(vault.now_ms(), dpa_ended_ms + 1) from vault.tenants where tenant = %s",
                [tenant],
            )
            return self._time(cursor, tenant)

    @staticmethod
    def _time(cursor: Cursor, tenant: str) -> int:
        row = cursor.fetchone()
        if row is None:
            raise UnknownTenant(f"tenant {tenant[:80]!r} has no keys")
        return int(row[0])

    def tenants(self) -> list[str]:
        """All tenants, in order."""
        with self._statement() as cursor:
            cursor.execute("select tenant from vault.tenants order by tenant")
            return [tenant for (tenant,) in cursor.fetchall()]
