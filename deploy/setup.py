"""Bringing an installation into shape: topics, database schemas; and showing what a tenant has published."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import orjson

import projections
import streams
import vault as vault_package
from deploy.settings import Settings
from schemas import topics
from schemas.constants import AGREED_TIMES
from schemas.default_wording import NOTICE
from schemas.entry_tokens import make_token
from schemas.errors import ConfigurationError
from schemas.settings import Notice
from schemas.texts import LANGUAGES
from streams.kafka import admin
from streams.kafka.producer import OrderedProducer
from streams.kafka.settings_follower import SettingsFollower
from streams.step.migrate import apply_migrations as migrate_database
from vault.connections import AccountLimits, Connection
from vault.vault import Vault
from workers import registry
from workers.channel import InvalidLink
from workers.intake.tenants import Registrar, UnknownTenantId

SETTINGS_LIMIT_S = 20.0


def apply_topics(settings: Settings) -> list[str]:
    """Make missing topics; one line a topic made."""
    settings.need("kafka")
    return admin.apply_topics(
        settings.kafka,
        topics.catalogue(settings.times()),
        partitions=settings.partitions,
        replication=settings.replication,
        embedded=settings.embedded,
    )


def apply_migrations(settings: Settings) -> list[str]:
    """Apply the step engine's and each package's SQL to its database; one line a file applied."""
    settings.need("vault_dsn", "streams_dsn", "projections_dsn")
    lines: list[str] = []
    for dsn, package in (
        (settings.vault_dsn, vault_package),
        (settings.streams_dsn, streams),
        (settings.projections_dsn, projections),
    ):
        folder = Path(str(package.__file__)).parent / "sql"
        lines += migrate_database(dsn, folder)
    return lines


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """A sender of a tenant with everything needed to use it; secrets are left out of `repr`."""

    tenant: str
    channel: str
    connection: str
    account: str
    app_secret: str = field(repr=False)
    verify_token: str = field(repr=False)
    access_token: str = field(repr=False)
    api_url: str
    """"": where the channel's API usually is."""
    handle: str | None = None
    """The number, page or bot name that people see and links are made of."""
    limits: AccountLimits | None = None
    """None: as recorded before, at first what the channel declares."""
    app_id: str = ""
    """The provider's id of the app, where its proof names it; "": as recorded before."""


def connect_account(settings: Settings, wanted: ProviderAccount) -> str:
    """Store credentials sealed in the vault and approve the account; where the webhook belongs."""
    declared = registry.channel(wanted.channel).capabilities
    api_url = wanted.api_url or declared.api_base_url
    if not api_url:
        raise ConfigurationError("--api-url is needed: this channel's API has no address of its own")
    _check_handle(wanted)
    with _registrar(settings) as (vault, registrar):
        known = {found.connection: found for found in vault.connections().usable}.get(wanted.connection)
        if not declared.names_account:
            _check_only_account(known, wanted)
        with vault.transaction() as cursor:
            vault.add_connection(
                cursor,
                wanted.connection,
                wanted.tenant,
                wanted.channel,
                wanted.app_secret,
                wanted.verify_token,
                wanted.app_id or (known.app_id if known is not None else ""),
            )
            vault.add_account(
                cursor, wanted.account, wanted.connection, wanted.account, wanted.access_token, api_url
            )
            if wanted.limits is not None:
                vault.limit_account(cursor, wanted.account, wanted.limits)
        registrar.approve_channel(
            wanted.tenant, wanted.channel, wanted.connection, wanted.account, wanted.handle
        )
    return f"webhook path: /webhooks/{wanted.channel}/{wanted.connection}"


def _check_handle(wanted: ProviderAccount) -> None:
    """ConfigurationError when no link can be made of the handle."""
    try:
        if wanted.handle is not None:
            registry.channel(wanted.channel).chat_link(wanted.handle, make_token())
    except InvalidLink as error:
        raise ConfigurationError(f"--handle: {error}") from None


def _check_only_account(known: Connection | None, wanted: ProviderAccount) -> None:
    """Webhooks of this channel name no account, so a connection has one: ConfigurationError when it is another."""
    if known is not None and set(known.accounts.values()) - {wanted.account}:
        raise ConfigurationError(
            "--connection has another account, and its webhooks name none; choose another name"
        )


def publish_notice(settings: Settings, tenant: str, language: str, url: str, version: int) -> str:
    """Publish a privacy notice; ConfigurationError for a language Sealpost does not speak, and for a version that is published
    otherwise."""
    if language not in LANGUAGES:
        raise ConfigurationError(f"--language must be one of: {', '.join(LANGUAGES)}")
    with _registrar(settings) as (_, registrar), _followed(settings) as follower:
        before = _notice(follower, tenant, language, version)
        if before is None:
            registrar.publish_notice(tenant, "de" if language == "de" else "en", url, version=version)
            follower.refresh(SETTINGS_LIMIT_S)
            before = _notice(follower, tenant, language, version)
    if before is not None and not before.says(None, url):
        raise ConfigurationError(
            f"--version {version}: this version ({language}) is published with another address or with words of its own, and"
            " stays as people were shown it; count the version up"
        )
    return f"notice {version} ({language}) is published for {tenant}"


def _notice(follower: SettingsFollower, tenant: str, language: str, version: int) -> Notice | None:
    found = follower.tenant(tenant)
    return None if found is None else found.notice_history.get(f"{NOTICE}/{version}/{language}")


@contextmanager
def _registrar(settings: Settings) -> Iterator[tuple[Vault, Registrar]]:
    settings.need("kafka", "vault_dsn")
    vault, producer = (
        Vault(settings.vault_dsn, settings.master_key(), settings.times()),
        OrderedProducer(settings.kafka, client_id="sealpost-cli"),
    )
    try:
        vault.check_master_key()
        yield vault, Registrar(vault, producer, settings.public_url)
    finally:
        producer.close()
        vault.close()


@contextmanager
def _followed(settings: Settings) -> Iterator[SettingsFollower]:
    """Settings as they are published now, and on."""
    follower = SettingsFollower(settings.kafka)
    follower.start()
    try:
        follower.wait_ready(SETTINGS_LIMIT_S)
        yield follower
    finally:
        follower.stop()


def installation_times(settings: Settings, *, record: bool) -> Iterator[str]:
    """The times that all processes agree on, one line each; with `record` those of this environment are recorded first."""
    settings.need("vault_dsn")
    vault = Vault(settings.vault_dsn, settings.master_key(), settings.times())
    try:
        if record:
            vault.agree_on_times()
        agreed = vault.agreed_times()
    finally:
        vault.close()
    for name in AGREED_TIMES:
        here = getattr(settings.times(), name)
        known = "not recorded" if name not in agreed else f"{agreed[name]:g}"
        yield f"SEALPOST_{name.upper()}: {known}" + (
            "" if agreed.get(name) in (None, here) else f" (here {here:g})"
        )


def show_tenant(settings: Settings, tenant: str) -> str:
    """A tenant's published settings as JSON; UnknownTenantId when it is not registered."""
    settings.need("kafka")
    with _followed(settings) as follower:
        found = follower.tenant(tenant)
    if found is None:
        raise UnknownTenantId(f"tenant {tenant[:80]!r} is not registered")
    published = {each.name: getattr(found, each.name) for each in fields(found)} | {"dpa": found.dpa}
    return orjson.dumps(published, option=orjson.OPT_INDENT_2, default=dict).decode()
