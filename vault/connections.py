"""Credentials of provider apps (connections) and senders on them (accounts), sealed under the master key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.step.contract import Cursor
from vault.base import VaultBase
from vault.keyring import MasterKey


@dataclass(frozen=True, slots=True)
class Connection:
    """One provider app. `accounts`: the provider's account id → ours. `routing_key`: keys the hash of the sender's id that
    becomes the record key of raw fragments."""

    connection: str
    tenant: str
    channel: str
    app_secret: str
    verify_token: str
    routing_key: bytes
    accounts: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Connection({self.connection})"


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

    def __repr__(self) -> str:
        return f"AccountCredentials({self.account})"


def seal_connections(master: MasterKey, connections: Sequence[Connection]) -> bytes:
    """Connections as one sealed block of bytes, for the receiver's disk cache (write it with mode 0600)."""
    raise NotImplementedError


def unseal_connections(master: MasterKey, sealed: bytes) -> list[Connection]:
    """Undo `seal_connections`, without any database; KeyRefused when the master key is another."""
    raise NotImplementedError


class ConnectionsPart(VaultBase):
    """Credentials."""

    def add_connection(
        self, cursor: Cursor, connection: str, tenant: str, channel: str, app_secret: str, verify_token: str
    ) -> None:
        """Record a provider app, or replace its secrets."""
        raise NotImplementedError

    def add_account(
        self,
        cursor: Cursor,
        account: str,
        connection: str,
        provider_account_id: str,
        access_token: str,
        api_base_url: str,
    ) -> None:
        """Record a sender of a connection, or replace its credentials. It may be used once ChannelApproved has been applied."""
        raise NotImplementedError

    def connections(self) -> list[Connection]:
        """All connections with their accounts."""
        raise NotImplementedError

    def account(self, account: str) -> AccountCredentials | None:
        """Credentials of a sender; None when there are none."""
        raise NotImplementedError

    def export_connections_sealed(self) -> bytes:
        """`seal_connections` of all connections."""
        raise NotImplementedError
