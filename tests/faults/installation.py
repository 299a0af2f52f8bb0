"""A whole installation under the hand of a test: parts and roles are children of the test's own supervisor.

What `sealpost up` starts, but with as many instances of a role as wanted, changed while it runs, and with a proxy before Kafka,
PostgreSQL and the provider. The test itself goes to the parts directly.
"""

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from typing import Any

import psycopg

from deploy import bootstrap, instance, setup
from deploy.embedded import kafka, ports, postgres
from deploy.embedded.ports import HOST
from deploy.embedded.supervisor import Program, Supervisor
from deploy.http_client import Unreachable, call
from deploy.instance import Instance
from deploy.settings import Settings
from deploy.up import ROLES
from schemas.clock import now_ms
from schemas.constants import Times
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.faults.killer import Victims
from tests.faults.ledger import Fault
from tests.faults.proxy import Proxy
from tests.step_world import await_until
from vault.keyring import MasterKey
from vault.vault import Vault

INSTANCES_MAX = 3
READY_S = 300.0
STOP_S = 60.0
CALL_S = 60.0
"""Longest wait for an answer of the provider's control side."""
PARTS = ("kafka", "kafka_controller", "kafka_door", "kafka_told", "postgres", "simulator")
SMALL = {"max_wal_size": "256MB", "min_wal_size": "64MB"}
"""The log of a test's database need not wait a quarter of an hour for its next checkpoint."""


@dataclass(frozen=True, slots=True)
class Lines:
    """The proxies that every role goes through."""

    kafka: Proxy
    postgres: Proxy
    provider: Proxy


@dataclass
class Installation:
    """Made by `running_installation`."""

    folder: Path
    times: Mapping[str, str]
    feed: str
    """Of the processors: `faust` or `batch`."""
    postgres_folder: Path
    environment: Mapping[str, str]
    """Beside the settings, for parts and roles alike."""
    named: bool = False
    """Roles started from now on are static members of their groups."""
    supervisor: Supervisor = field(default_factory=Supervisor)
    faults: list[Fault] = field(default_factory=list)
    """What was done to parts and lines; the killer keeps its own."""
    wanted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 1))
    """Role → instances."""
    kafka: KafkaServer = field(init=False)
    postgres: PostgresServer = field(init=False)
    lines: Lines = field(init=False)
    found: Instance = field(init=False)
    _ports: dict[str, int] = field(init=False)
    _proxies: list[Proxy] = field(default_factory=list)

    # Starting

    def start(self) -> None:
        """Everything, one instance a role; returns when all are ready."""
        instances = [f"{role}.{n}" for role in ROLES for n in range(1, INSTANCES_MAX + 1)]
        self._ports = ports.choose(
            (*PARTS, *(f"{kind}{name}" for name in instances for kind in ("", "metrics "))), self.folder
        )
        with ThreadPoolExecutor(2) as pool:
            broker, server = pool.submit(self._start_kafka), pool.submit(self._start_postgres)
        self.kafka, self.postgres = broker.result(), server.result()
        self._proxies += (self.kafka.proxy(), self.postgres.proxy(), Proxy(self._ports["simulator"]))
        self.lines = Lines(*self._proxies)
        self._prepare()
        self._start_program("simulator", "simulator", {"SEALPOST_PORT": str(self._ports["simulator"])})
        for role in ROLES:
            self.scale(role, 1)
        self.await_ready()

    def _start_kafka(self) -> KafkaServer:
        doors = [kafka.Door(self._ports["kafka_door"], self._ports["kafka_told"])]
        where = (self._ports["kafka"], self._ports["kafka_controller"])
        started = kafka.start(self.supervisor, self.folder, *where, print, doors, self.environment)
        return KafkaServer(started, doors)

    def _start_postgres(self) -> PostgresServer:
        self.postgres_folder.mkdir(parents=True, exist_ok=True)
        port = self._ports["postgres"]
        started = postgres.start(self.supervisor, self.postgres_folder, port, print, SMALL, self.environment)
        return PostgresServer(started)

    def _prepare(self) -> None:
        """Schemas, topics and the sandbox tenant; the account's API and all addresses lead through the proxies."""
        known = {**self._ports, "receiver": self._ports["receiver.1"], "api": self._ports["api.1"]}
        times = Times.from_environment(self.times)
        direct = bootstrap.describe(self.folder, known, self.dsns(), times)
        settings = Settings(
            kafka=direct.kafka,
            vault_dsn=direct.vault_dsn,
            streams_dsn=direct.streams_dsn,
            projections_dsn=direct.projections_dsn,
            partitions=4,
            replication=1,
            embedded=True,
        )
        setup.apply_migrations(settings)
        setup.apply_topics(settings)
        provider = f"http://{self.lines.provider.address}"
        through = direct.model_copy(
            update={"whatsapp": direct.whatsapp.model_copy(update={"simulator_url": provider})}
        )
        bootstrap.agree_on_times(through, times)
        self.found = bootstrap.make_sandbox(through, times)
        instance.save(self.found, self.folder / instance.INSTANCE_FILE)

    def dsns(self, proxy: Proxy | None = None) -> dict[str, str]:
        """Where the three databases are reached, directly or through a proxy."""
        direct = {name: self.postgres.part.dsn(name) for name in postgres.DATABASES}
        return (
            direct if proxy is None else {n: self.postgres.through(proxy, dsn) for n, dsn in direct.items()}
        )

    # Roles

    def scale(self, role: str, count: int) -> None:
        """Run so many instances of a role from now on."""
        for number in range(1, INSTANCES_MAX + 1):
            name = f"{role}.{number}"
            running = name in self._children()
            if number <= count and not running:
                self._start_role(role, number)
            elif number > count and running:
                self.supervisor.stop([name])
        self.wanted[role] = count

    def restart(self, role: str) -> None:
        """End all instances in order and start them again, with what `feed` says now."""
        count = self.wanted[role]
        self.scale(role, 0)
        self.scale(role, count)

    def _children(self) -> set[str]:
        return {name for name in self._names() if self._looked_after(name)}

    def _names(self) -> list[str]:
        return [f"{role}.{n}" for role in ROLES for n in range(1, INSTANCES_MAX + 1)]

    def _looked_after(self, name: str) -> bool:
        try:
            self.supervisor.child(name)
        except KeyError:
            return False
        return True

    def _start_role(self, role: str, number: int) -> None:
        name = f"{role}.{number}"
        dsns = self.dsns(self.lines.postgres)
        self._start_program(
            name,
            role,
            {
                "SEALPOST_KAFKA": self.lines.kafka.address,
                **{f"SEALPOST_{database.upper()}_DSN": dsn for database, dsn in dsns.items()},
                "SEALPOST_PORT": str(self._ports[name]),
                "SEALPOST_METRICS_PORT": str(self._ports[f"metrics {name}"]),
                "SEALPOST_PROCESSOR_FEED": self.feed,
                **({"SEALPOST_MEMBER": name} if self.named else {}),
            },
        )

    def _start_program(self, name: str, role: str, more: Mapping[str, str]) -> None:
        environment = {
            **os.environ,
            **self.environment,
            **self.times,
            "SEALPOST_MASTER_KEY_FILE": self.found.master_key_file,
            "SEALPOST_EMBEDDED": "true",
            "SEALPOST_REPLICATION": "1",
            "SEALPOST_PARTITIONS": "4",
            "SEALPOST_DATA": str(self.folder),
            "SEALPOST_HOST": HOST,
            **more,
        }
        argv = (sys.executable, "-m", "deploy.cli", "run", role)
        log = self.folder / "logs" / f"{name}.log"
        self.supervisor.start(Program(name, argv, log, environment=environment))

    def await_ready(self, limit_s: float = READY_S) -> None:
        """Wait until every instance says that it is ready."""
        waiting = {f"{role}.{n}" for role, count in self.wanted.items() for n in range(1, count + 1)}

        def all_ready() -> bool:
            waiting.difference_update([name for name in waiting if self.ready(name)])
            return not waiting

        try:
            await_until(all_ready, limit_s, "all roles are ready")
        except AssertionError:
            tails = [f"{name}:\n{self.supervisor.child(name).log_tail(3)}" for name in sorted(waiting)]
            raise AssertionError("not ready: " + "\n".join(tails)) from None

    def ready(self, name: str) -> bool:
        """True when an instance answers so."""
        try:
            url = f"http://{HOST}:{self._ports[f'metrics {name}']}/readyz"
            return call("GET", url, timeout_s=10).status == 200
        except Unreachable:
            return False

    def victims(self) -> Victims:
        """For the killer: the running instances of a role."""

        def instances(role: str) -> list[str]:
            return [name for name in self._children() if name.rpartition(".")[0] == role]

        def send(name: str, wanted: Signals) -> bool:
            try:
                return self.supervisor.child(name).send(wanted)
            except KeyError:
                return False

        return Victims(lambda role: sorted(instances(role)), send)

    def deaths(self) -> dict[str, int]:
        """Ends that nobody of us asked the supervisor for, by instance."""
        return {name: self.supervisor.child(name).deaths for name in sorted(self._children())}

    # What the test does itself

    def fault(self, what: str, whom: str) -> None:
        """Note something that was done to a part or a line."""
        self.faults.append(Fault(now_ms(), what, whom))

    def provider_takes(self, seconds: float, silent: Iterable[str] = ()) -> None:
        """How long the provider takes to answer a request from now on, and of whose messages it reports nothing."""
        usual = {"delay_s": seconds, "when": "after"}
        bodies = [{**usual, "next": 10_000_000}, *({**usual, "to": to, "statuses": []} for to in silent)]
        for body in bodies:
            assert (
                call("POST", f"{self.simulator_url}/control/faults", body=body, timeout_s=CALL_S).status
                == 200
            )

    @property
    def simulator_url(self) -> str:
        """The provider's control side, reached directly."""
        return f"http://{HOST}:{self._ports['simulator']}"

    @property
    def api_url(self) -> str:
        """The first instance of the API."""
        return f"http://{HOST}:{self._ports['api.1']}"

    def rows(self, database: str, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Rows of a query, asked directly."""
        with psycopg.connect(self.dsns()[database]) as connection:
            return connection.execute(query, parameters).fetchall()

    def vault(self) -> Vault:
        """The vault as a process of its own sees it; for the caller to close."""
        key = MasterKey.from_file(Path(self.found.master_key_file))
        return Vault(self.dsns()["vault"], key, Times.from_environment(self.times))

    def stop_roles(self) -> None:
        """SIGTERM to all roles; ChildFailed when one cannot be ended."""
        self.supervisor.stop(sorted(self._children()))

    def close(self) -> None:
        """End everything."""
        for name in self.supervisor.running():
            self.supervisor.child(name).send(signal.SIGCONT)
        self.supervisor.stop()
        for proxy in self._proxies:
            proxy.close()


@contextmanager
def running_installation(
    folder: Path,
    *,
    times: Mapping[str, str] | None = None,
    feed: str = "faust",
    postgres_folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Installation]:
    """An installation with all roles ready; without `times` with the production's. Ended at the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Installation(
        folder, dict(times or {}), feed, postgres_folder or folder / "pg", dict(environment or {})
    )
    try:
        made.start()
        yield made
    finally:
        made.close()
