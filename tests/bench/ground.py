"""What benches stand on: a Kafka and a PostgreSQL of their own, and children that are measured or make load.

Load never runs in the process that is measured: they would share its interpreter, and its event loop.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from deploy.embedded.kafka import Kafka
from deploy.embedded.postgres import Postgres
from deploy.embedded.supervisor import Supervisor
from schemas.ids import random_id
from tests.bench.report import Measured
from tests.embedded_host import ROOT, start_parts

CHILD_STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Ground:
    """A running broker and server, and a folder that goes with them."""

    kafka: Kafka
    postgres: Postgres
    folder: Path

    @property
    def bootstrap(self) -> str:
        """Where Kafka is."""
        return self.kafka.bootstrap

    def database(self) -> str:
        """Make an empty database; where its owner, who is no superuser, connects."""
        name = f"bench_{random_id()[:8]}"
        with psycopg.connect(self.postgres.admin_dsn(), autocommit=True) as connection:
            statement = sql.SQL("create database {} owner vault").format(sql.Identifier(name))
            connection.execute(statement)
        return self.postgres.dsn("vault").rsplit("/", 1)[0] + f"/{name}"

    def admin(self, dsn: str, *statements: str) -> None:
        """Run statements as the superuser in the database of this DSN."""
        where = self.postgres.admin_dsn(dsn.rsplit("/", 1)[1])
        with psycopg.connect(where, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def database_cpu_s(self) -> float:
        """Processor time of PostgreSQL so far, its processes that have ended included."""
        pid = self.postgres.child.pid
        assert pid is not None
        server = psutil.Process(pid)
        ended = server.cpu_times()
        living = [one.cpu_times() for one in (server, *server.children(recursive=True))]
        return sum(one.user + one.system for one in living) + ended.children_user + ended.children_system

    def settle(self, dsn: str) -> None:
        """Statistics and a checkpoint, so that no variant pays for the one before."""
        self.admin(dsn, "vacuum analyze", "checkpoint")


@contextmanager
def ground() -> Iterator[Ground]:
    """Both parts in a fresh folder until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="sealpost-bench-") as folder:
        supervisor = Supervisor()
        try:
            kafka, postgres = start_parts(supervisor, Path(folder))
            yield Ground(kafka, postgres, Path(folder))
        finally:
            supervisor.stop()


class Child:
    """`python -m MODULE JSON` in a process of its own. It prints a JSON line when it is ready, and one when it has found
    something."""

    def __init__(
        self, module: str, config: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(config)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        self._times = psutil.Process(self._process.pid)

    def read(self) -> Any:
        """The next JSON line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"a child ended with {self._process.wait(CHILD_STOP_S)} instead of an answer"
        return json.loads(line)

    def cpu_s(self) -> float:
        """Processor time used so far, of all its threads."""
        times = self._times.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(CHILD_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def child(
    module: str, config: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Iterator[Child]:
    """A child until the end of the block."""
    made = Child(module, config, environment)
    try:
        yield made
    finally:
        made.stop()


class Stopwatch:
    """Wall and processor time of this process, and of the database if `parts` are given, from the first `start` on."""

    def __init__(self, parts: Ground | None = None) -> None:
        self._parts = parts
        self._begun: tuple[float, float, float] | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._begun is None:
            self._begun = self._now()

    def events(self, count: int) -> Measured:
        """So many events since the start: a second, and processor time each."""
        assert self._begun is not None
        wall_s, cpu_s, database_s = (now - then for now, then in zip(self._now(), self._begun, strict=True))
        database_us = database_s / count * 1e6 if self._parts is not None else None
        return Measured(count / wall_s, cpu_s / count * 1e6, database_us)

    def _now(self) -> tuple[float, float, float]:
        database_s = self._parts.database_cpu_s() if self._parts is not None else 0.0
        return time.perf_counter(), time.process_time(), database_s
