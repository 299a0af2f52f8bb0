"""Settings of a process, composed from the environment (`SEALPOST_*`), `sealpost.toml` and, for an embedded instance, its
data folder. Each package owns its own limits (schemas.constants.Times); this is where addresses and secrets come from.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from deploy import instance
from deploy.embedded.folder import is_held
from schemas.constants import DAY_S, WEBHOOK_MAX_BYTES, Times
from schemas.errors import ConfigurationError
from vault.keyring import MasterKey
from workers.receiver import limits

HOST = "127.0.0.1"


class NotRunning(ConfigurationError):
    """Nothing runs in this data folder; start it with the command named, and repeat."""


class Settings(BaseSettings):
    """Where the parts are. Field `x` is read from `SEALPOST_X`."""

    model_config = SettingsConfigDict(env_prefix="SEALPOST_", toml_file="sealpost.toml", extra="ignore")

    kafka: str = ""
    vault_dsn: str = ""
    streams_dsn: str = ""
    projections_dsn: str = ""
    master_key_file: Path | None = None
    data: Path | None = None
    host: str = HOST
    port: int = 0
    metrics_port: int = 0
    partitions: int = 48
    replication: int = 3
    public_url: str = Field(default="", pattern=r"^(https?://[^\s/]+)?$")
    """Where people reach the pages of role `api` from outside (`https://chat.example.org`): forms, notices, preference pages."""
    embedded: bool = False
    processor_feed: Literal["faust", "batch"] = "faust"
    backup_kept_days: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """How long any backup or archived log of the vault is kept; 0: none are made."""
    webhook_body_bytes: int = WEBHOOK_MAX_BYTES
    webhook_headers: int = limits.HEADERS_MAX
    webhook_header_bytes: int = limits.HEADERS_MAX_BYTES
    webhook_read_s: float = limits.READ_S
    webhook_answer_s: float = limits.ANSWER_S
    webhook_at_once: int = limits.AT_ONCE
    webhook_held_bytes: int = limits.HELD_MAX_BYTES
    webhook_replay_s: float = limits.REPLAY_S
    webhook_forged_a_minute: int = limits.FORGED_A_MINUTE
    webhook_stranger_at_once: int = limits.STRANGER_AT_ONCE
    trusted_proxies: str = ""
    """Limits of the receiver; `workers.receiver.limits.ReceiverLimits` says what each bounds."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    instance_times: dict[str, float] = Field(default_factory=dict, exclude=True)
    """Time limits of the embedded instance in `data`, from its file."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment before `sealpost.toml`."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def times(self) -> Times:
        """The time limits: from the same environment, else those of the embedded instance, else the defaults."""
        return Times.from_environment(os.environ, self.instance_times)

    def master_key(self) -> MasterKey:
        """The installation's master key; MasterKeyInvalid when there is none that can be read."""
        if self.master_key_file is not None:
            return MasterKey.from_file(self.master_key_file)
        return MasterKey.from_environment(os.environ)

    def receiver_limits(self) -> limits.ReceiverLimits:
        """What the receiver takes; ConfigurationError names a setting that is out of its range."""
        return limits.ReceiverLimits(
            body_max_bytes=self.webhook_body_bytes,
            headers_max=self.webhook_headers,
            headers_max_bytes=self.webhook_header_bytes,
            read_s=self.webhook_read_s,
            answer_s=self.webhook_answer_s,
            at_once=self.webhook_at_once,
            held_max_bytes=self.webhook_held_bytes,
            replay_s=self.webhook_replay_s,
            forged_a_minute=self.webhook_forged_a_minute,
            stranger_at_once=self.webhook_stranger_at_once,
            trusted_proxies=limits.read_networks(self.trusted_proxies),
        )

    def backup_kept_s(self) -> float:
        """How long backups of the vault live: what T3 of a certificate is computed from. An embedded instance makes none;
        elsewhere ConfigurationError when nobody has said it."""
        if self.backup_kept_days is not None:
            return self.backup_kept_days * DAY_S
        if self.embedded:
            return 0.0
        raise ConfigurationError(
            "not set: SEALPOST_BACKUP_KEPT_DAYS (how many days a backup of the vault is kept, 0 when none are made);"
            " certificates of erasure state it"
        )

    def need(self, *names: str) -> None:
        """ConfigurationError that names every setting of `names` which is empty."""
        missing = [f"SEALPOST_{name.upper()}" for name in names if not getattr(self, name)]
        if missing:
            raise ConfigurationError(
                f"not set: {', '.join(missing)} (or give --data DIR of a running embedded instance)"
            )


def for_command(data: Path | None) -> Settings:
    """As `for_data`, for a command that talks to a running installation; NotRunning when the one in the folder does not run."""
    settings = for_data(data)
    if settings.data is not None and not is_held(settings.data):
        raise NotRunning(f"the instance in {settings.data} does not run; sealpost up --data {settings.data}")
    return settings


def for_data(data: Path | None) -> Settings:
    """Settings of a role: the environment, filled up from the instance in `data` when it is given."""
    settings = Settings()
    folder = data or settings.data
    if folder is None:
        return settings
    found = instance.require(folder)
    return settings.model_copy(
        update={
            "kafka": settings.kafka or found.kafka,
            "vault_dsn": settings.vault_dsn or found.vault_dsn,
            "streams_dsn": settings.streams_dsn or found.streams_dsn,
            "projections_dsn": settings.projections_dsn or found.projections_dsn,
            "master_key_file": settings.master_key_file or Path(found.master_key_file),
            "data": folder,
            "public_url": settings.public_url or found.api_url,
            "instance_times": found.times,
            "embedded": True,
            "replication": 1,
            "partitions": 4,
        }
    )
