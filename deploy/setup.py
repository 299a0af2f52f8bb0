"""Bringing an installation into shape: topics, database schemas; and showing what a tenant has published."""

from pathlib import Path

import orjson

import projections
import streams
import vault
from deploy.settings import Settings
from schemas import topics
from schemas.errors import ConfigurationError
from streams.kafka import admin
from streams.kafka.settings_follower import SettingsFollower
from streams.step.migrate import apply_migrations as migrate_database

SETTINGS_LIMIT_S = 20.0


def apply_topics(settings: Settings) -> list[str]:
    """Make missing topics; one line a topic made."""
    settings.need("kafka")
    return admin.apply_topics(
        settings.kafka,
        topics.catalogue(),
        partitions=settings.partitions,
        replication=settings.replication,
        embedded=settings.embedded,
    )


def apply_migrations(settings: Settings) -> list[str]:
    """Apply the step engine's and each package's SQL to its database; one line a file applied."""
    settings.need("vault_dsn", "streams_dsn", "projections_dsn")
    lines: list[str] = []
    for dsn, package in (
        (settings.vault_dsn, vault),
        (settings.streams_dsn, streams),
        (settings.projections_dsn, projections),
    ):
        folder = Path(str(package.__file__)).parent / "sql"
        lines += migrate_database(dsn, folder)
    return lines


def show_tenant(settings: Settings, tenant: str) -> str:
    """A tenant's published settings as JSON; ConfigurationError when it is not registered."""
    settings.need("kafka")
    follower = SettingsFollower(settings.kafka)
    follower.start()
    try:
        follower.wait_ready(SETTINGS_LIMIT_S)
        found = follower.tenant(tenant)
    finally:
        follower.stop()
    if found is None:
        raise ConfigurationError(f"tenant {tenant} is not registered; see: sealpost tenant register --help")
    return orjson.dumps(found, option=orjson.OPT_INDENT_2, default=dict).decode()
