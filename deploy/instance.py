"""The files of one embedded instance in its data folder, and the ready file that a black box reads.

Written only by `sealpost up`; read by every CLI command that is given `--data`. All hold secrets: mode 0600, replaced
atomically.
"""

import os
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import ConfigurationError
from schemas.ids import random_token

DEFAULT_DATA = ".sealpost"
INSTANCE_FILE = "instance.json"


class WhatsAppSandbox(BaseModel):
    """How to reach the simulated WhatsApp account of an embedded instance."""

    model_config = ConfigDict(extra="forbid")
    webhook_url: str
    connection: str
    account: str
    app_secret: str
    verify_token: str
    simulator_url: str


class Tokens(BaseModel):
    """One bearer token a role. `admin` belongs to the installation, the others to the instance's tenant."""

    model_config = ConfigDict(extra="forbid")
    admin: str
    officer: str
    agent: str
    producer: str


class RoleProcess(BaseModel):
    """A running role."""

    model_config = ConfigDict(extra="forbid")
    pid: int
    metrics_url: str


class ReadyFile(BaseModel):
    """What `--ready-file` holds once all roles serve; rewritten when a process id changes."""

    model_config = ConfigDict(extra="forbid")
    receiver_url: str
    api_url: str
    tokens: Tokens
    kafka: str
    vault_dsn: str
    streams_dsn: str
    projections_dsn: str
    data_dir: str
    tenant: str
    roles: dict[str, RoleProcess]
    services: dict[str, int]
    """Process ids of the embedded parts that are no roles: kafka, postgres, simulator."""
    channels: dict[str, WhatsAppSandbox]
    sandbox_url: str
    """The sandbox page, with the key that opens it."""


class Instance(BaseModel):
    """What an embedded instance remembers between starts: secrets, tenant, and where its parts listen."""

    model_config = ConfigDict(extra="forbid")
    kafka: str
    vault_dsn: str
    streams_dsn: str
    projections_dsn: str
    receiver_url: str
    api_url: str
    master_key_file: str
    tenant: str
    tokens: Tokens | None = None
    whatsapp: WhatsAppSandbox
    access_token: str
    """Bearer token that the simulated provider expects."""
    sandbox_key: str = Field(default_factory=random_token)
    """Opens the sandbox page; a folder from before there was one gets it at its next start."""
    times: dict[str, float] = Field(default_factory=dict)
    """Time limits that `sealpost up` was started with, in seconds: every process of the instance takes them."""


def write_private(path: Path, content: bytes) -> None:
    """Replace a file atomically, mode 0600, durable before it is visible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def save(model: BaseModel, path: Path) -> None:
    """Write a model as indented JSON, mode 0600, atomically."""
    write_private(
        path, orjson.dumps(model.model_dump(mode="json", exclude_none=True), option=orjson.OPT_INDENT_2)
    )


def load(data: Path) -> Instance | None:
    """The instance of a data folder, or None when there is none yet; ConfigurationError when its file is damaged."""
    path = data / INSTANCE_FILE
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = orjson.loads(path.read_bytes())
        return Instance.model_validate(content)
    except ValueError:
        raise ConfigurationError(
            f"{path} is damaged; restore it from a backup or start with another --data folder"
        ) from None


def require(data: Path) -> Instance:
    """The instance of a data folder; ConfigurationError with advice when nothing was ever started there."""
    instance = load(data)
    if instance is None:
        raise ConfigurationError(f"no Sealpost instance in {data}; start one with: sealpost up --data {data}")
    return instance
