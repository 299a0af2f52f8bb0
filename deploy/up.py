"""`sealpost up`: everything on this machine, started in parallel, looked after, and ended together."""

import os
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from deploy import bootstrap, instance, setup
from deploy.embedded import folder, kafka, ports, postgres
from deploy.embedded.supervisor import Program, Supervisor
from deploy.http_client import Unreachable, call
from deploy.instance import Instance, ReadyFile, RoleProcess
from deploy.progress import Progress
from deploy.sandbox.entering import ENTRANCE
from deploy.settings import HOST, Settings
from deploy.tour import Tour, TourFailed
from schemas.clock import boot_s, sleep_s
from schemas.constants import Times
from schemas.errors import ConfigurationError, SealpostError
from streams.kafka.consumer import MEMBER_SETTING

ROLES = ("receiver", "inbound", "api", "vault", "streams", "outbound", "projector", "clock")
SERVED = ("kafka", "kafka_controller", "postgres", "receiver", "api", "simulator")
SANDBOX = "sandbox"
READY_LIMIT_S = 240.0
POLL_S = 0.05
READY_FILE = "ready.json"
EMBEDDED_TIMES = {"SEALPOST_LEASE_S": "5", "SEALPOST_LEASE_OUTBOUND_S": "3"}
"""Short leases, so that an erasure reaches T2 within seconds; a production installation keeps the defaults."""
MEMBER = "up"
"""Each role has one process here: one that is started anew takes its dead predecessor's place in its groups at once."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    data: Path
    port_base: int
    ready_file: Path | None
    tour: bool
    exit_after_tour: bool


class NotReady(SealpostError):
    """A role did not become ready; read its log file named in the message."""


class Interrupted(SealpostError):
    """Nothing is wrong: it was asked to stop. Start it again whenever you like; what was fetched is kept."""


def run(options: Options) -> int:
    """Start, serve, stop; the exit code: 0, 1 when the tour failed, 2 when something could not start."""
    for name, value in EMBEDDED_TIMES.items():
        os.environ.setdefault(name, value)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: stop.set())
    progress = Progress(lambda line: print(line, flush=True))
    up = Up(options, progress, stop)
    try:
        with folder.held(options.data):
            _libraries_talk_to(options.data / "logs" / "up.log")
            return up.serve()
    except SealpostError as error:
        progress.say(f"sealpost: {error}\n{(type(error).__doc__ or '').strip()}")
        return 2
    except Exception as error:
        progress.say(
            f"sealpost: a fault of this program: {type(error).__name__}; {options.data}/logs/up.log has the place"
        )
        raise
    finally:
        progress.quiet()


def _libraries_talk_to(log: Path) -> None:
    """What C libraries write to standard error goes to a file: the terminal is for the person who waits."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, sys.stderr.fileno())
    os.close(descriptor)


@dataclass
class Up:
    """One run of `sealpost up`."""

    options: Options
    progress: Progress
    stop: threading.Event
    supervisor: Supervisor = field(init=False)
    ports: dict[str, int] = field(default_factory=dict)
    found: Instance | None = None
    serving: bool = False
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self._pid_changed)

    def serve(self) -> int:
        """Start everything, walk the tour when asked for, then wait for Ctrl-C; stops all children in any case."""
        ready_file = self.options.ready_file or self.options.data / READY_FILE
        try:
            ready_file.parent.mkdir(parents=True, exist_ok=True)
            ready_file.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--ready-file {ready_file}: {error.strerror}") from None
        try:
            self._start()
            if self.stop.is_set():
                return 130
            self.serving = True
            ready = self._write_ready_file()
            self.progress.say(f"Ready after {self.progress.seconds:.1f} s.")
            code = self._walk(ready) if self.options.tour else 0
            if not self.options.exit_after_tour and not self.stop.is_set():
                self._say_where(ready)
                self.progress.quiet()
                self.stop.wait()
            return code
        finally:
            self.serving = False
            self._stop()
            ready_file.unlink(missing_ok=True)

    def _start(self) -> None:
        names = (*SERVED, *(f"{role}_metrics" for role in ROLES), SANDBOX)
        self.ports = ports.choose(names, self.options.data, self.options.port_base)
        with ThreadPoolExecutor(2) as pool:
            database = pool.submit(self._start_postgres)
            broker = pool.submit(self._start_kafka)
            self._start_roles_when(database, broker)
        found = self.found
        if found is None or self.stop.is_set():
            return
        self._await_roles()

    def _say(self, line: str) -> None:
        """For parts that take long: Ctrl-C is noticed at their next line."""
        if self.stop.is_set():
            raise Interrupted("stopped before everything was started")
        self.progress.say(line)

    def _start_postgres(self) -> postgres.Postgres:
        self.progress.begin("PostgreSQL")
        started = postgres.start(self.supervisor, self.options.data, self.ports["postgres"], self._say)
        self.progress.done("PostgreSQL")
        return started

    def _start_kafka(self) -> kafka.Kafka:
        self.progress.begin("Kafka")
        started = kafka.start(
            self.supervisor,
            self.options.data,
            self.ports["kafka"],
            self.ports["kafka_controller"],
            self._say,
        )
        self.progress.done("Kafka")
        return started

    def _start_roles_when(self, database: "Future[postgres.Postgres]", broker: "Future[kafka.Kafka]") -> None:
        server = database.result()
        dsns = {name: server.dsn(name) for name in ("vault", "streams", "projections")}
        times = Times.from_environment(os.environ)
        found = bootstrap.describe(self.options.data, self.ports, dsns, times)
        self.found = found
        instance.save(found, self.options.data / instance.INSTANCE_FILE)
        settings = self._settings(found)
        setup.apply_migrations(settings)
        bootstrap.agree_on_times(found, times)
        self.progress.done("database schemas")
        self._start_roles(found)  # they wait for Kafka and its topics by themselves, and import meanwhile
        broker.result()
        setup.apply_topics(settings)
        self._make_sandbox(found)
        if not self.stop.is_set():
            self.supervisor.start(self._program(SANDBOX, found))  # it needs the tokens

    def _make_sandbox(self, found: Instance) -> None:
        self.found = bootstrap.make_sandbox(found, Times.from_environment(os.environ))
        instance.save(self.found, self.options.data / instance.INSTANCE_FILE)

    def _settings(self, found: Instance) -> Settings:
        return Settings(
            kafka=found.kafka,
            vault_dsn=found.vault_dsn,
            streams_dsn=found.streams_dsn,
            projections_dsn=found.projections_dsn,
            partitions=4,
            replication=1,
            embedded=True,
        )

    def _start_roles(self, found: Instance) -> None:
        for role in ("simulator", *ROLES):
            if self.stop.is_set():
                return
            if role in ROLES:
                self.progress.begin(role)
            self.supervisor.start(self._program(role, found))

    def _program(self, role: str, found: Instance) -> Program:
        environment = {
            **os.environ,
            "SEALPOST_KAFKA": found.kafka,
            "SEALPOST_VAULT_DSN": found.vault_dsn,
            "SEALPOST_STREAMS_DSN": found.streams_dsn,
            "SEALPOST_PROJECTIONS_DSN": found.projections_dsn,
            "SEALPOST_MASTER_KEY_FILE": found.master_key_file,
            "SEALPOST_EMBEDDED": "true",
            "SEALPOST_REPLICATION": "1",
            "SEALPOST_PARTITIONS": "4",
            "SEALPOST_DATA": str(self.options.data),
            "SEALPOST_HOST": HOST,
            "SEALPOST_PORT": str(self.ports.get(role, 0)),
            MEMBER_SETTING: MEMBER,
            "SEALPOST_METRICS_PORT": str(self.ports.get(f"{role}_metrics", 0)),
        }
        argv = (sys.executable, "-m", "deploy.cli", "run", role)
        return Program(role, argv, self.options.data / "logs" / f"{role}.log", environment=environment)

    def _await_roles(self) -> None:
        waiting = {*ROLES, SANDBOX}
        end = boot_s() + READY_LIMIT_S
        while waiting and not self.stop.is_set():
            for role in sorted(waiting):
                if self._role_ready(role):
                    waiting.discard(role)
                    self.progress.done(role)
            if boot_s() > end:
                role = min(waiting)
                log = self.supervisor.child(role).program.log
                tail = self.supervisor.child(role).log_tail()
                raise NotReady(
                    f"{', '.join(sorted(waiting))} not ready after {READY_LIMIT_S:g} s; {log}:\n{tail}"
                )
            sleep_s(POLL_S)

    def _role_ready(self, role: str) -> bool:
        try:
            page = f"http://{HOST}:{self.ports[SANDBOX]}/healthz"
            url = page if role == SANDBOX else f"http://{HOST}:{self.ports[f'{role}_metrics']}/readyz"
            return call("GET", url, timeout_s=5).status == 200
        except Unreachable:
            return False

    def _pid_changed(self, _name: str, pid: int | None) -> None:
        if self.serving and pid is not None:
            self._write_ready_file()

    def _write_ready_file(self) -> ReadyFile:
        found = self.found
        if found is None or found.tokens is None:
            raise NotReady("the instance was not described")
        with self._writing:
            running = self.supervisor.running()
            roles = {
                role: RoleProcess(
                    pid=running[role], metrics_url=f"http://{HOST}:{self.ports[f'{role}_metrics']}/metrics"
                )
                for role in ROLES
                if role in running
            }
            ready = ReadyFile(
                receiver_url=found.receiver_url,
                api_url=found.api_url,
                tokens=found.tokens,
                kafka=found.kafka,
                vault_dsn=found.vault_dsn,
                streams_dsn=found.streams_dsn,
                projections_dsn=found.projections_dsn,
                data_dir=str(self.options.data),
                tenant=found.tenant,
                roles=roles,
                services={name: pid for name, pid in running.items() if name not in ROLES},
                channels={"whatsapp": found.whatsapp},
                sandbox_url=f"http://{HOST}:{self.ports[SANDBOX]}{ENTRANCE}{found.sandbox_key}",
            )
            instance.save(ready, self.options.ready_file or self.options.data / READY_FILE)
            return ready

    def _walk(self, ready: ReadyFile) -> int:
        self.progress.say("The tour:")
        try:
            Tour(ready, self.progress.say, self.stop).walk()
        except TourFailed as error:
            self.progress.say(f"  ✗ {error}")
            ended = {name: self.supervisor.child(name).deaths for name in self.supervisor.running()}
            if often := ", ".join(f"{name} {count} times" for name, count in ended.items() if count):
                self.progress.say(f"  ended meanwhile: {often}; see {self.options.data / 'logs'}")
            return 1
        self.progress.say("The whole way has been walked.")
        return 0

    def _say_where(self, ready: ReadyFile) -> None:
        self.progress.say(
            f"Serving until Ctrl-C.\n"
            f"  sandbox     {ready.sandbox_url}\n"
            f"  API         {ready.api_url}/docs\n"
            f"  webhooks    {ready.channels['whatsapp'].webhook_url}\n"
            f"  simulator   {ready.channels['whatsapp'].simulator_url}\n"
            f"  data        {ready.data_dir}\n"
            f"  tokens, DSNs, process ids: {self.options.ready_file or self.options.data / READY_FILE}"
        )

    def _stop(self) -> None:
        self.progress.say("Stopping …")
        self.progress.begin("all parts to end")
        self.supervisor.stop([SANDBOX, "simulator", *ROLES])
        self.supervisor.stop()
        self.progress.say("Stopped; nothing is left running.")
