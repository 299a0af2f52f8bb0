"""What `sealpost connections` does with the vault: add, list, replace a secret."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson

from deploy.secret_input import read_secrets
from deploy.settings import Settings
from deploy.setup import ProviderAccount, connect_account
from schemas.clock import MS_PER_S, to_text
from schemas.constants import DAY_S
from schemas.errors import ConfigurationError
from vault.connections import AccountLimits, Connection
from vault.errors import ConnectionTaken, UnknownConnection
from vault.rotation import ConnectionFacts
from vault.vault import Vault
from workers import registry
from workers.receiver.connections import REFRESH_S

HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """An account to connect, without its secrets. `secrets`: where these are read (`deploy.secret_input`)."""

    tenant: str
    channel: str
    connection: str
    account: str
    app_id: str = ""
    api_url: str = ""
    limits: AccountLimits = field(default_factory=AccountLimits)
    secrets: str | None = None
    handle: str | None = None


@contextmanager
def opened_vault(settings: Settings) -> Iterator[Vault]:
    """The vault of the installation; MasterKeyInvalid when the key is another's."""
    settings.need("vault_dsn")
    vault = Vault(settings.vault_dsn, settings.master_key(), settings.times())
    try:
        vault.check_master_key()
        yield vault
    finally:
        vault.close()


def add(settings: Settings, wanted: Wanted) -> Iterator[str]:
    """Connect an account: of a new provider app, whose secrets are asked for, or a further one, or new credentials of a known
    one. The secret of an app that is known stays; `rotate` replaces it."""
    registry.channel(wanted.channel)
    known = _known(settings, wanted)
    if known is None:
        given = read_secrets(wanted.secrets, ("app_secret", "access_token"), ("verify_token",))
    else:
        given = read_secrets(wanted.secrets, ("access_token",), ("verify_token",))
    before = (known.app_secret, known.verify_token) if known is not None else ("", "")
    yield connect_account(
        settings,
        ProviderAccount(
            wanted.tenant,
            wanted.channel,
            wanted.connection,
            wanted.account,
            given.get("app_secret", before[0]),
            given.get("verify_token", before[1]),
            given["access_token"],
            wanted.api_url,
            limits=None if wanted.limits == AccountLimits() else wanted.limits,
            app_id=wanted.app_id,
            handle=wanted.handle,
        ),
    )
    yield f"account {wanted.account} is approved for {wanted.tenant}"
    yield f"look at it with: sealpost connections test {wanted.connection}"


def _known(settings: Settings, wanted: Wanted) -> Connection | None:
    with opened_vault(settings) as vault:
        connections = vault.connections()
    if wanted.connection in connections.unusable:
        raise ConfigurationError(f"the secrets of connection {wanted.connection} do not open")
    for found in connections.usable:
        if found.connection != wanted.connection:
            continue
        if (found.tenant, found.channel) != (wanted.tenant, wanted.channel):
            raise ConnectionTaken(f"connection {wanted.connection} is another tenant's or another channel's")
        return found
    return None


def lines(settings: Settings) -> Iterator[str]:
    """One JSON object a connection: ids, accounts, the age of its secret, whether one before it is valid. Never a secret."""
    with opened_vault(settings) as vault:
        facts = vault.connection_facts()
        unusable = vault.connections().unusable
    for one in facts:
        shown = _shown(one) | {"secrets_open": one.connection not in unusable}
        yield orjson.dumps(shown).decode()


def _shown(one: ConnectionFacts) -> dict[str, object]:
    age_s = None if one.secret_since_ms is None else (one.now_ms - one.secret_since_ms) / MS_PER_S
    return {
        "connection": one.connection,
        "tenant": one.tenant,
        "channel": one.channel,
        "accounts": [{"account": a.account, "approved": a.approved} for a in one.accounts],
        "secret_since": None if one.secret_since_ms is None else to_text(one.secret_since_ms),
        "secret_age_days": None if age_s is None else round(age_s / DAY_S, 2),
        "previous_secret_until": to_text(one.previous_until_ms or 0) if one.rotating else None,
    }


def rotate(settings: Settings, connection: str, secrets: str | None, overlap_h: float) -> Iterator[str]:
    """Read a new app secret and make it current; the one before stays valid for so many hours."""
    with opened_vault(settings) as vault:
        find(vault, connection)
        given = read_secrets(secrets, ("app_secret",))
        with vault.transaction() as cursor:
            vault.rotate_secret(cursor, connection, given["app_secret"], overlap_h * HOUR_S)
        facts = find(vault, connection)
    yield f"the new secret of {connection} is current; receivers know it within {REFRESH_S:g} s: give it to the provider then"
    if facts.rotating:
        until = to_text(facts.previous_until_ms or 0)
        yield f"the one before is valid until {until}, or until: sealpost connections rotate-secret {connection} --finish"


def finish(settings: Settings, connection: str) -> Iterator[str]:
    """End a rotation: only the current secret is valid."""
    with opened_vault(settings) as vault, vault.transaction() as cursor:
        ended = vault.finish_rotation(cursor, connection)
    if ended:
        yield f"the secret of {connection} before the current one is destroyed; receivers refuse it within {REFRESH_S:g} s"
    else:
        yield f"{connection} has one secret; there was nothing to end"


def find(vault: Vault, connection: str) -> ConnectionFacts:
    """The facts of a connection; UnknownConnection when there is none of this name."""
    for one in vault.connection_facts():
        if one.connection == connection:
            return one
    raise UnknownConnection(f"there is no connection {connection[:80]!r}")
