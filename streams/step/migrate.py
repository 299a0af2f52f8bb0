"""Numbered SQL files, each applied once and never changed: `NNN_{pre|post}_name.sql`.

`pre` files are applied before new code starts, `post` files (what old code must not meet) after it has; an installation
without rolling releases applies both at once.
"""

import hashlib
import logging
import re
from pathlib import Path
from typing import Literal

from streams.step.errors import MigrationChanged
from streams.step.postgres import Connection, connect

LOG = logging.getLogger(__name__)
STEP_SQL = Path(__file__).parent / "sql"
FILE_NAME = re.compile(r"^(\d{3})_(pre|post)_[a-z0-9_]+\.sql$")
MIGRATION_S = 3_600.0
"""One migration statement; building an index on a large table takes its time."""
LOCK_KEY = 0x5EA1
"""Advisory lock: one migrator a database."""
Phase = Literal["pre", "post", "all"]

_TABLE = """
create schema if not exists step;
create table if not exists step.migration (
    dir text not null, name text not null, sha256 text not null,
    applied_at timestamptz not null default clock_timestamp(), primary key (dir, name)
)
"""


def apply_migrations(dsn: str, package_sql_dir: Path, *, phase: Phase = "all") -> list[str]:
    """Apply the step engine's files and then a package's to one database; returns `dir/name` of those applied now.

    Each file is one transaction. MigrationChanged when an applied file differs from the one at hand or its name is not
    of the form; DatabaseAway when the database does not answer.
    """
    applied: list[str] = []
    connection = connect(
        dsn,
        application_name="sealpost-migrate",
        statement_timeout_s=MIGRATION_S,
        transaction_timeout_s=MIGRATION_S,
        lock_timeout_s=MIGRATION_S,
        autocommit=True,
    )
    with connection:
        connection.execute("select pg_advisory_lock(%s)", (LOCK_KEY,))
        connection.execute(_TABLE)
        for folder in (STEP_SQL, package_sql_dir):
            applied += _apply_folder(connection, folder, phase)
    return applied


def folder_name(folder: Path) -> str:
    """How a folder is named in `step.migration`: its package and its own name, wherever it is installed."""
    return f"{folder.resolve().parent.name}/{folder.name}"


def _apply_folder(connection: Connection, folder: Path, phase: Phase) -> list[str]:
    name = folder_name(folder)
    rows = connection.execute("select name, sha256 from step.migration where dir = %s", (name,)).fetchall()
    known = {str(row[0]): str(row[1]) for row in rows}
    applied: list[str] = []
    files = sorted(folder.glob("*.sql")) if folder.is_dir() else []
    numbers: dict[str, str] = {}
    for file in files:
        parts = FILE_NAME.match(file.name)
        if parts is None:
            raise MigrationChanged(f"{name}/{file.name} is not named NNN_pre_name.sql or NNN_post_name.sql")
        if numbers.setdefault(parts[1], file.name) != file.name:
            raise MigrationChanged(f"{name}: {numbers[parts[1]]} and {file.name} have the same number")
        text = file.read_bytes()
        digest = hashlib.sha256(text).hexdigest()
        if file.name in known:
            if known[file.name] != digest:
                raise MigrationChanged(f"{name}/{file.name} was changed after it had been applied")
            continue
        if phase not in ("all", parts[2]):
            continue
        with connection.transaction():
            connection.execute(text)
            connection.execute(
                "insert into step.migration (dir, name, sha256) values (%s, %s, %s)",
                (name, file.name, digest),
            )
        LOG.info("migration %s/%s applied", name, file.name)
        applied.append(f"{name}/{file.name}")
    missing = known.keys() - {file.name for file in files}
    if missing:
        LOG.warning(
            "%s: %d applied migrations are unknown here; this release is older than the database",
            name,
            len(missing),
        )
    return applied
