"""What every part of the vault shares: connections, the master key, the tenants' secrets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.addresses import Address
from schemas.constants import PRODUCTION, Times
from schemas.ids import HashKey, keyed_hash
from streams.step.connections import PATIENT, Connections, Limits
from streams.step.contract import Cursor
from vault.errors import UnknownTenant
from vault.keyring import MasterKey, unwrap
from vault.leases import LeaseCache

ENTRY_BYTES = 16
"""Length of a blind index without its version: 128 bits, so that two addresses never share one."""
LEASE_CONNECTIONS = 2


@dataclass(frozen=True, slots=True)
class TenantSecrets:
    """A tenant's unwrapped secrets: `key` wraps data keys, `ids` keys ids, `peppers` (by version) key blind indexes."""

    tenant: str
    key: bytes
    ids: bytes
    routing: bytes
    peppers: Mapping[int, HashKey]

    def __repr__(self) -> str:
        return f"TenantSecrets({self.tenant})"

    def entries(self, *parts: str) -> list[bytes]:
        """Blind indexes of a value, one a pepper version, newest first: version (1 byte) and 16 bytes of a keyed hash."""
        peppers = self.peppers.items()
        # There is one, but while a pepper is being replaced.
        newest_first = peppers if len(peppers) == 1 else sorted(peppers, reverse=True)
        return [bytes((version,)) + keyed_hash(key, *parts)[:ENTRY_BYTES] for version, key in newest_first]

    def address_entries(self, address: Address) -> list[bytes]:
        """Blind indexes of an address, newest pepper first."""
        return self.entries("address", address.channel, address.kind, address.value)


class VaultBase:
    """Connections and secrets of one process."""

    def __init__(
        self,
        dsn: str,
        keyring: MasterKey,
        times: Times = PRODUCTION,
        *,
        pool_size: int = 4,
        limits: Limits = PATIENT,
    ) -> None:
        """`dsn`: the vault database. Nothing is connected before the first use; at most `pool_size` connections, and two
        more for leases, which never wait for the others. `limits`: how long a caller waits for the database."""
        self.times = times
        self.keyring = keyring
        name = "sealpost-vault"
        self._pool = Connections(dsn, application_name=name, size=pool_size, limits=limits)
        self._lease_pool = Connections(dsn, application_name=name, size=LEASE_CONNECTIONS, limits=limits)
        self._secrets_cache: LeaseCache[str, TenantSecrets] = LeaseCache(times.lease_s)
        self._start_parts()

    def _start_parts(self) -> None:
        """Parts that keep state in the process begin it here."""

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """A cursor in a transaction that commits at the end of the block and rolls back when it raises."""
        with self._pool.connection() as connection, connection.transaction():
            yield connection.cursor()

    @contextmanager
    def _statement(self) -> Iterator[Cursor]:
        """A cursor in autocommit: each statement is one round trip and is committed when it returns."""
        with self._pool.connection() as connection:
            yield connection.cursor()

    @contextmanager
    def _lease_statement(self) -> Iterator[Cursor]:
        """As `_statement`, for fetches of a lease cache: they may happen while the caller holds a connection of the pool, and
        hold nothing while they wait for anything else."""
        with self._lease_pool.connection() as connection:
            yield connection.cursor()

    def clock_ms(self, cursor: Cursor) -> int:
        """The database's clock, which all permits go by."""
        row = cursor.execute("select vault.now_ms()").fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()
        self._lease_pool.close()

    def _secrets(self, tenants: Iterable[str], cursor: Cursor | None = None) -> dict[str, TenantSecrets]:
        """Secrets of tenants, leased; UnknownTenant when one has none. With a cursor, tenants that are registered in this
        very transaction are found too; they are not cached, for the transaction may roll back."""
        wanted = set(tenants)
        found = self._known_secrets(wanted)
        if cursor is not None and wanted - found.keys():
            found |= self._read_secrets(cursor, sorted(wanted - found.keys()))
        for tenant in sorted(wanted - found.keys()):
            raise UnknownTenant(f"tenant {tenant[:80]!r} has no keys")
        return found

    def _known_secrets(self, tenants: Iterable[str]) -> dict[str, TenantSecrets]:
        """Secrets of those tenants that have some, leased."""
        return self._secrets_cache.get_many(set(tenants), self._fetch_secrets)

    def _fetch_secrets(self, tenants: list[str]) -> dict[str, TenantSecrets]:
        with self._lease_statement() as cursor:
            return self._read_secrets(cursor, tenants)

    def _read_secrets(self, cursor: Cursor, tenants: Sequence[str]) -> dict[str, TenantSecrets]:
        cursor.execute(
            """select t.tenant, t.wrapped_key, t.kcv, t.wrapped_ids, t.wrapped_routing,
                   array_agg(p.version), array_agg(p.wrapped)
               from json_array_elements_text(%s::json) as a(tenant)
               join vault.tenants t using (tenant) join vault.peppers p using (tenant) group by t.tenant""",
            [as_json(list(tenants))],
        )
        found: dict[str, TenantSecrets] = {}
        for tenant, wrapped, kcv, ids, routing, versions, peppers in cursor.fetchall():
            key = self.keyring.unwrap_checked(("tenant key", tenant), wrapped, kcv)
            found[tenant] = TenantSecrets(
                tenant,
                key,
                unwrap(key, ("id key", tenant), ids),
                unwrap(key, ("routing key", tenant), routing),
                {
                    v: HashKey(unwrap(key, ("pepper", tenant, str(v)), p))
                    for v, p in zip(versions, peppers, strict=True)
                },
            )
        return found


def as_json(value: Any) -> str:
    """A JSON parameter: one a statement, never Python lists (DESIGN §14)."""
    return orjson.dumps(value).decode()
