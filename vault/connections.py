"""Credentials of provider apps (connections) and senders on them (accounts), sealed under the master key."""

import logging
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from streams.step.contract import Cursor
from vault.base import VaultBase
from vault.errors import ConnectionTaken, KeyRefused, UnknownTenant
from vault.keyring import MasterKey

LOG = logging.getLogger(__name__)

_CACHE_PLACE = ("connections cache", "1")


def secrets_place(connection: str, tenant: str) -> tuple[str, ...]:
    """What the secrets of a connection are wrapped as."""
    return ("connection", connection, tenant)


def previous_place(connection: str, tenant: str) -> tuple[str, ...]:
    """What the app secret before the current one is wrapped as."""
    return ("previous secret", connection, tenant)


@dataclass(frozen=True, slots=True)
class Connection:
    """One provider app, which the provider calls `app_id` where its proof names it. `accounts`: the provider's account id →
    ours. `routing_key`: keys the hash of the sender's id that becomes the record key of raw fragments. While a secret is being
    replaced the one before it counts too: `previous_secret`, until `previous_until_ms` (milliseconds since the epoch)."""

    connection: str
    tenant: str
    channel: str
    app_secret: str
    verify_token: str
    routing_key: bytes
    accounts: Mapping[str, str]
    app_id: str = ""
    previous_secret: str = ""
    previous_until_ms: int = 0

    def __repr__(self) -> str:
        return f"Connection({self.connection})"

    def before_rotation(self, now_ms: int) -> "Connection | None":
        """The connection with the secret before the current one, while that is valid; else None."""
        if not self.previous_secret or now_ms >= self.previous_until_ms:
            return None
        return replace(self, app_secret=self.previous_secret)


_FIELDS = frozenset(field.name for field in fields(Connection))


@dataclass(frozen=True, slots=True)
class KnownConnections:
    """What the vault knows. `unusable`: ids of connections whose secrets do not open now; those of other tenants go on."""

    usable: list[Connection]
    unusable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """How fast a sender may send where it differs from what its channel declares (None: as declared).

    `pair_interval_s`: seconds between messages to one person after a burst of `pair_burst`; 0: no such limit.
    """

    rate_per_s: float | None = None
    pair_interval_s: float | None = None
    pair_burst: int | None = None


@dataclass(frozen=True, slots=True)
class AccountCredentials:
    """One sender of a tenant. `provider_account_id`: phone number id, page or bot id. `api_base_url`: where its API is."""

    account: str
    tenant: str
    channel: str
    connection: str
    provider_account_id: str
    access_token: str
    api_base_url: str
    limits: AccountLimits = AccountLimits()

    def __repr__(self) -> str:
        return f"AccountCredentials({self.account})"


def seal_connections(master: MasterKey, connections: Sequence[Connection]) -> bytes:
    """Connections as one sealed block of bytes, for the receiver's disk cache (write it with mode 0600)."""
    rows = [
        {
            "connection": c.connection,
            "tenant": c.tenant,
            "channel": c.channel,
            "app_secret": c.app_secret,
            "verify_token": c.verify_token,
            "routing_key": b64encode(c.routing_key).decode(),
            "accounts": dict(c.accounts),
            "app_id": c.app_id,
            "previous_secret": c.previous_secret,
            "previous_until_ms": c.previous_until_ms,
        }
        for c in connections
    ]
    return master.wrap(_CACHE_PLACE, orjson.dumps(rows))


def unseal_connections(master: MasterKey, sealed: bytes) -> list[Connection]:
    """Undo `seal_connections`, without any database; KeyRefused when the master key is another. Fields that an older version did
    not write are as in `Connection`, those that a newer one wrote are left out."""
    rows = orjson.loads(master.unwrap(_CACHE_PLACE, sealed))
    known = [{name: row[name] for name in _FIELDS & row.keys()} for row in rows]
    return [Connection(**{**row, "routing_key": b64decode(row["routing_key"])}) for row in known]


class ConnectionsPart(VaultBase):
    """Credentials."""

    def add_connection(
        self,
        cursor: Cursor,
        connection: str,
        tenant: str,
        channel: str,
        app_secret: str,
        verify_token: str,
        app_id: str = "",
    ) -> None:
        """Record a provider app, or replace its secrets: another `app_secret` counts at once, and alone (`rotate_secret` keeps
        the one before valid for a while). UnknownTenant; ConnectionTaken: a connection never changes its tenant or channel."""
        self._secrets([tenant], cursor)
        same = self._app_secret(cursor, connection, tenant) == app_secret
        secret = orjson.dumps({"app_secret": app_secret, "verify_token": verify_token, "app_id": app_id})
        cursor.execute(
            """insert into vault.connections as c (connection, tenant, channel, sealed, secret_since_ms)
               values (%s, %s, %s, %s, vault.now_ms())
               on conflict (connection) do update set sealed = excluded.sealed,
                   secret_since_ms = case when %s then c.secret_since_ms else excluded.secret_since_ms end,
                   previous = case when %s then c.previous end,
                   previous_until_ms = case when %s then c.previous_until_ms end
               where c.tenant = excluded.tenant and c.channel = excluded.channel""",
            [
                connection,
                tenant,
                channel,
                self.keyring.wrap(secrets_place(connection, tenant), secret),
                same,
                same,
                same,
            ],
        )
        if cursor.rowcount == 0:
            raise ConnectionTaken(f"connection {connection} is another tenant's or another channel's")

    def _app_secret(self, cursor: Cursor, connection: str, tenant: str) -> str | None:
        """The current app secret, None when there is none that opens."""
        cursor.execute(
            "select sealed from vault.connections where (connection, tenant) = (%s, %s) for update",
            [connection, tenant],
        )
        row = cursor.fetchone()
        if row is None:
            return None
        try:
            opened = orjson.loads(self.keyring.unwrap(secrets_place(connection, tenant), row[0]))
        except KeyRefused:
            return None
        return str(opened["app_secret"])

    def add_account(
        self,
        cursor: Cursor,
        account: str,
        connection: str,
        provider_account_id: str,
        access_token: str,
        api_base_url: str,
    ) -> None:
        """Record a sender of a connection, or replace its credentials. It may be used once ChannelApproved has been applied.
        ConnectionTaken when the account is on another connection."""
        sealed = self.keyring.wrap(("account", account, connection), access_token.encode())
        cursor.execute(
            """insert into vault.accounts (account, connection, provider_account, sealed, api_base_url)
               values (%s, %s, %s, %s, %s)
               on conflict (account) do update set sealed = excluded.sealed, api_base_url = excluded.api_base_url,
                   provider_account = excluded.provider_account
               where accounts.connection = excluded.connection""",
            [account, connection, provider_account_id, sealed, api_base_url],
        )
        if cursor.rowcount == 0:
            raise ConnectionTaken(f"account {account} is on another connection")

    def limit_account(self, cursor: Cursor, account: str, limits: AccountLimits) -> None:
        """Record how fast a sender may send, in place of what was recorded before. Outbound follows within a lease."""
        cursor.execute(
            "update vault.accounts set rate_per_s = %s, pair_interval_s = %s, pair_burst = %s where account = %s",
            [limits.rate_per_s, limits.pair_interval_s, limits.pair_burst, account],
        )
        if cursor.rowcount == 0:
            raise ValueError("there is no such account")

    def connections(self) -> KnownConnections:
        """All connections with their accounts."""
        with self._statement() as cursor:
            cursor.execute(
                """select c.connection, c.tenant, c.channel, c.sealed, c.previous, c.previous_until_ms,
                       json_object_agg(a.provider_account, a.account) filter (where a.account is not null)
                   from vault.connections c left join vault.accounts a using (connection)
                   group by c.connection order by c.connection"""
            )
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        with suppress(KeyRefused):
            # All tenants in one round trip; whose key is refused is found below.
            self._known_secrets({tenant for _, tenant, *_ in rows})
        usable: list[Connection] = []
        unusable: set[str] = set()
        for row in rows:
            try:
                usable.append(self._connection(*row))
            except (KeyRefused, UnknownTenant) as error:
                unusable.add(row[0])
                LOG.error("connection %s cannot be used: %s", row[0], error)
        return KnownConnections(usable, frozenset(unusable))

    def _connection(
        self,
        connection: str,
        tenant: str,
        channel: str,
        sealed: bytes,
        previous: bytes | None,
        previous_until_ms: int | None,
        accounts: Mapping[str, str] | None,
    ) -> Connection:
        routing = self._secrets([tenant])[tenant].routing
        opened = orjson.loads(self.keyring.unwrap(secrets_place(connection, tenant), sealed))
        found = Connection(
            connection, tenant, channel, **opened, routing_key=routing, accounts=accounts or {}
        )
        if previous is None or previous_until_ms is None:
            return found
        before = self.keyring.unwrap(previous_place(connection, tenant), previous).decode()
        return replace(found, previous_secret=before, previous_until_ms=previous_until_ms)

    def account(self, account: str) -> AccountCredentials | None:
        """Credentials of a sender; None when there are none."""
        with self._statement() as cursor:
            cursor.execute(
                """select c.tenant, c.channel, c.connection, a.provider_account, a.sealed, a.api_base_url,
                       a.rate_per_s, a.pair_interval_s, a.pair_burst
                   from vault.accounts a join vault.connections c using (connection) where a.account = %s""",
                [account],
            )
            row = cursor.fetchone()
        if row is None:
            return None
        tenant, channel, connection, provider_account, sealed, api_base_url, *limits = row
        token = self.keyring.unwrap(("account", account, connection), sealed).decode()
        return AccountCredentials(
            account,
            tenant,
            channel,
            connection,
            provider_account,
            token,
            api_base_url,
            AccountLimits(*limits),
        )

    def export_connections_sealed(self) -> bytes:
        """`seal_connections` of all usable connections."""
        return seal_connections(self.keyring, self.connections().usable)
