"""Replacing the secret of a connection while the provider still signs with the one before."""

from dataclasses import dataclass, replace

import orjson

from schemas.clock import MS_PER_S
from streams.step.contract import Cursor
from vault.base import VaultBase
from vault.connections import previous_place, secrets_place
from vault.errors import RotationRefused, UnknownConnection


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """A sender on a connection: our id, the provider's, and whether the vault has applied its approval."""

    account: str
    provider_account_id: str
    approved: bool


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """What may be shown of a connection; nothing secret. Times are milliseconds since the epoch on the database's clock:
    `now_ms`; the secret's age counts from `secret_since_ms` (None: older than this was recorded); the secret before is valid
    until `previous_until_ms` (None: there is none).
    """

    connection: str
    tenant: str
    channel: str
    now_ms: int
    secret_since_ms: int | None
    previous_until_ms: int | None
    accounts: tuple[AccountFacts, ...] = ()

    @property
    def rotating(self) -> bool:
        """True while two secrets are valid."""
        return self.previous_until_ms is not None and self.now_ms < self.previous_until_ms


class RotationPart(VaultBase):
    """What an operator does with connections that exist."""

    def rotate_secret(self, cursor: Cursor, connection: str, app_secret: str, overlap_s: float) -> None:
        """Make `app_secret` current; the one before stays valid for `overlap_s` (0: it ends now). UnknownConnection;
        RotationRefused when one is under way, or the secret is the current one already."""
        cursor.execute(
            """select tenant, sealed, coalesce(previous_until_ms > vault.now_ms(), false)
               from vault.connections where connection = %s for update""",
            [connection],
        )
        row = cursor.fetchone()
        if row is None:
            raise UnknownConnection(f"there is no connection {connection[:80]!r}")
        tenant, sealed, rotating = row
        if rotating:
            raise RotationRefused(f"connection {connection}: two secrets are valid already")
        opened = orjson.loads(self.keyring.unwrap(secrets_place(connection, tenant), sealed))
        if opened["app_secret"] == app_secret:
            raise RotationRefused(f"connection {connection}: this is its current secret")
        fresh = orjson.dumps({**opened, "app_secret": app_secret})
        kept = self.keyring.wrap(previous_place(connection, tenant), opened["app_secret"].encode())
        cursor.execute(
            """update vault.connections set sealed = %s, secret_since_ms = vault.now_ms(), previous = %s,
                   previous_until_ms = case when %s::bytea is null then null else vault.now_ms() + %s end
               where connection = %s""",
            [
                self.keyring.wrap(secrets_place(connection, tenant), fresh),
                kept if overlap_s else None,
                kept if overlap_s else None,
                round(overlap_s * MS_PER_S),
                connection,
            ],
        )

    def finish_rotation(self, cursor: Cursor, connection: str) -> bool:
        """Destroy the secret before the current one; False when there was none. UnknownConnection."""
        cursor.execute("select from vault.connections where connection = %s for update", [connection])
        if cursor.fetchone() is None:
            raise UnknownConnection(f"there is no connection {connection[:80]!r}")
        cursor.execute(
            """update vault.connections set previous = null, previous_until_ms = null
               where connection = %s and previous is not null""",
            [connection],
        )
        return cursor.rowcount == 1

    def connection_facts(self) -> list[ConnectionFacts]:
        """All connections with their accounts, by name; no secret is opened."""
        with self._statement() as cursor:
            cursor.execute(
                """select c.connection, c.tenant, c.channel, vault.now_ms(), c.secret_since_ms, c.previous_until_ms,
                       a.account, a.provider_account, p.account is not null
                   from vault.connections c
                   left join vault.accounts a on a.connection = c.connection
                   left join vault.approvals p on (p.tenant, p.account) = (c.tenant, a.account)
                       and (p.channel, p.connection) = (c.channel, c.connection)
                   order by c.connection, a.account"""
            )
            rows = cursor.fetchall()
        found: dict[str, ConnectionFacts] = {}
        for name, tenant, channel, now_ms, since_ms, until_ms, *account in rows:
            facts = found.get(name) or ConnectionFacts(name, tenant, channel, now_ms, since_ms, until_ms)
            if account[0] is not None:
                facts = replace(facts, accounts=(*facts.accounts, AccountFacts(*account)))
            found[name] = facts
        return list(found.values())
