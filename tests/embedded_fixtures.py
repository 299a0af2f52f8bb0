"""One real Kafka and one real PostgreSQL for a test session, in a temporary folder, on free loopback ports.

They end with the session; should pytest be killed, the kernel ends them. A test that needs Kafka or PostgreSQL to be away
uses the handle: pause, resume, kill (it comes back by itself), stop, start.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from deploy.embedded import kafka, ports, postgres
from deploy.embedded.supervisor import Child, Supervisor
from schemas.ids import random_id
from tests.faults.proxy import Proxy

TEST_ROLE = "sealpost_test"
BACK_LIMIT_S = 120.0
SHARED = {"fsync": "off"}
"""Of the session's server: tests kill processes, never the machine, and what a process wrote outlives it. With a hundred
databases an end in order, or a recovery, would flush tens of thousands of files, for longer than a busy disk is given. What
`sealpost up` starts keeps its own settings."""
DOORS = 2
"""Proxies that can stand before the broker at one time."""


class Controlled:
    """What a test may do to a part."""

    def __init__(self, child: Child, part: kafka.Kafka | postgres.Postgres) -> None:
        self.child = child
        self._part = part

    @property
    def pid(self) -> int:
        """Process id; fails when it does not run."""
        pid = self.child.pid
        assert pid is not None, f"{self.child.program.name} does not run"
        return pid

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and says nothing."""
        assert self.child.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self.child.send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is back, at the same address, with its data."""
        deaths = self.child.deaths
        assert self.child.send(signal.SIGKILL)
        self.child.await_ready(lambda: self.child.deaths > deaths, BACK_LIMIT_S)
        self._part.await_ready()

    def stop(self) -> None:
        """End it in order; it stays away until `start`."""
        self.child.stop()

    def start(self) -> None:
        """Start it again after `stop`, at the same address, and wait until it answers."""
        self.child.start()
        self._part.await_ready()


class KafkaServer(Controlled):
    """The session's broker."""

    def __init__(self, part: kafka.Kafka, doors: Sequence[kafka.Door] = ()) -> None:
        super().__init__(part.child, part)
        self.bootstrap = part.bootstrap
        """`host:port` for clients."""
        self._doors = doors

    def proxy(self, door: int = 0) -> Proxy:
        """A proxy before the broker: clients that bootstrap from its address are told to use nothing else."""
        return Proxy(self._doors[door].port, self._doors[door].told)

    def __str__(self) -> str:
        return self.bootstrap


class PostgresServer(Controlled):
    """The session's server."""

    def __init__(self, part: postgres.Postgres) -> None:
        super().__init__(part.child, part)
        self.part = part

    def admin_dsn(self, database: str = postgres.ADMIN) -> str:
        """As the superuser."""
        return self.part.admin_dsn(database)

    def dsn(self, database: str) -> str:
        """As the ordinary role that owns what `fresh_database` makes."""
        return self.part.admin_dsn(database).replace(f"//{postgres.ADMIN}:", f"//{TEST_ROLE}:")

    def proxy(self) -> Proxy:
        """A proxy before the server."""
        return Proxy(self.part.port)

    def through(self, proxy: Proxy, dsn: str) -> str:
        """Where the same database is reached through a proxy."""
        return dsn.replace(f":{self.part.port}/", f":{proxy.port}/")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The server and all its sessions keep their connections and say nothing for the block; new connections are taken
        by the kernel alone."""
        main = psutil.Process(self.pid)
        stopped: list[psutil.Process] = []
        try:
            main.suspend()
            for session in main.children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # a session may just have ended by itself
                    session.suspend()
                    stopped.append(session)
            yield
        finally:
            for process in (*stopped, main):
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def fresh_database(self, name: str = "test") -> str:
        """Make an empty database whose name begins with `name`; where its owner, an ordinary role, connects."""
        database = sql.Identifier(f"{name}_{random_id()[:8]}")
        with psycopg.connect(self.admin_dsn(), autocommit=True) as connection:
            if not connection.execute("select 1 from pg_roles where rolname = %s", (TEST_ROLE,)).fetchone():
                password = sql.Literal(self.part.passwords[postgres.ADMIN])
                connection.execute(
                    sql.SQL("create role {} login password {}").format(sql.Identifier(TEST_ROLE), password)
                )
            connection.execute(
                sql.SQL("create database {} owner {}").format(database, sql.Identifier(TEST_ROLE))
            )
        return self.dsn(database.as_string().strip('"'))


@pytest.fixture(scope="session")
def embedded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's Kafka and PostgreSQL keep their data."""
    return tmp_path_factory.mktemp("embedded")


@pytest.fixture(scope="session")
def supervisor() -> Iterator[Supervisor]:
    """Looks after what the session started, and ends it."""
    started = Supervisor()
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def kafka_server(supervisor: Supervisor, embedded_folder: Path) -> KafkaServer:
    """A running broker without topics; tests make their own, with names nobody else uses."""
    names = [(f"kafka_door{number}", f"kafka_told{number}") for number in range(DOORS)]
    chosen = ports.choose(
        ("kafka", "kafka_controller", *(name for both in names for name in both)), embedded_folder
    )
    doors = [kafka.Door(chosen[inner], chosen[told]) for inner, told in names]
    port, controller_port = chosen["kafka"], chosen["kafka_controller"]
    return KafkaServer(kafka.start(supervisor, embedded_folder, port, controller_port, print, doors), doors)


@pytest.fixture(scope="session")
def postgres_server(supervisor: Supervisor, embedded_folder: Path) -> PostgresServer:
    """A running server; tests take a database of their own by `fresh_database`."""
    chosen = ports.choose(("postgres",), embedded_folder)
    return PostgresServer(postgres.start(supervisor, embedded_folder, chosen["postgres"], print, SHARED))
