"""Starts one role: puts its parts together, waits visibly for what it needs, serves until SIGTERM.

The only place where handlers, engine, feeds and workers meet.
"""

import asyncio
import contextlib
import errno
import logging
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from deploy import role_server
from deploy.settings import Settings
from schemas import collector, topics
from schemas.errors import SealpostError
from streams.kafka.admin import ClusterIdentity, KafkaAway
from streams.kafka.producer import OrderedProducer
from streams.step.connections import PATIENT, PROMPT, Limits
from streams.step.contract import Handler
from streams.step.errors import DatabaseAway
from streams.step.postgres import connect, is_away
from vault.keyring import MasterKey
from vault.vault import Vault

logger = logging.getLogger(__name__)

WAIT_S = 0.3
"""Between two looks for a part that is not there yet."""
SETTINGS_S = 60.0
"""To read the settings topic to its end at start."""
CANNOT_LISTEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)
Ready = Callable[[], bool]
Answer = TypeVar("Answer")


class Stopped(SealpostError):
    """The process was told to stop before what it waited for was there. Nothing is wrong."""


class Process:
    """What every role has: settings, a stop event set by SIGTERM, and `/readyz` that asks `ready`."""

    def __init__(self, role: str, settings: Settings) -> None:
        self.role = role
        self.settings = settings
        self.times = settings.times()
        self.stop = threading.Event()
        self.ready: Ready = lambda: False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.stop.set())
        if role not in ("simulator", "sandbox"):
            role_server.start(role, settings.host, settings.metrics_port, self._is_ready)

    def _is_ready(self) -> bool:
        return self.ready()

    def master_key(self) -> MasterKey:
        """The installation's master key."""
        return self.settings.master_key()

    def vault(self, pool_size: int = 4, limits: Limits = PATIENT) -> Vault:
        """The vault of this process."""
        self.settings.need("vault_dsn")
        return Vault(
            self.settings.vault_dsn, self.master_key(), self.times, pool_size=pool_size, limits=limits
        )

    def bound_vault(self, pool_size: int = 4, limits: Limits = PATIENT) -> Vault:
        """The vault of this process, once it is sure that both belong to one installation."""
        vault = self.vault(pool_size, limits)

        def bind() -> None:
            cluster = ClusterIdentity(self.settings.kafka)
            vault.bind_installation(cluster.cluster_id, cluster.partitions(topics.CONSENTS))

        self.once_answered("the vault", bind)
        return vault

    def once_answered(self, what: str, ask: Callable[[], Answer]) -> Answer:
        """What `ask` says as soon as Kafka and PostgreSQL answer; Stopped when told to stop before."""
        answers: list[Answer] = []

        def there() -> bool:
            try:
                answers.append(ask())
            except Exception as error:
                if not is_away(error) and not isinstance(error, KafkaAway):
                    raise
            return bool(answers)

        if not self._await(what, there):
            raise Stopped("told to stop while waiting")
        return answers[0]

    def folder(self) -> Path | None:
        """Where this role may keep files of its own, in the data folder."""
        if self.settings.data is None:
            return None
        folder = self.settings.data / self.role
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def await_parts(self, *dsns: str) -> bool:
        """Wait until Kafka has all topics and the databases answer with step tables; False when told to stop."""
        self.settings.need("kafka")
        return self._await("Kafka and its topics", self._topics_exist) and all(
            self._await("PostgreSQL and its schema", partial(_migrated, dsn)) for dsn in dsns
        )

    def _await(self, what: str, there: Callable[[], bool]) -> bool:
        said = False
        while not self.stop.is_set():
            if there():
                return True
            if not said:
                logger.info("waiting for %s", what)
                said = True
            self.stop.wait(WAIT_S)
        return False

    def _topics_exist(self) -> bool:
        try:
            identity = ClusterIdentity(self.settings.kafka)
            return all(topic.name in identity.topics for topic in topics.catalogue())
        except KafkaAway:
            return False


def _migrated(dsn: str) -> bool:
    try:
        with connect(dsn, application_name="sealpost-wait", autocommit=True) as connection:
            row = connection.execute("select to_regclass('step.migration') is not null").fetchone()
            return bool(row and row[0])
    except (psycopg.Error, SealpostError):
        return False


def run(role: str, settings: Settings) -> int:
    """Run a role until it is told to stop; 0 then, 1 when it cannot go on (the supervisor starts it anew)."""
    logging.basicConfig(
        level=settings.log_level,
        format=f"%(asctime)s %(levelname)s {role} %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for chatty in ("aiokafka", "faust", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    collector.set_for_batches()
    try:
        ROLES[role](Process(role, settings))
    except Stopped:
        return 0
    except SealpostError as error:
        logger.error("%s: %s", type(error).__name__, error)
        return 1
    except OSError as error:
        if error.errno not in CANNOT_LISTEN or error.filename is not None:
            return _fault(error)
        logger.error(
            "cannot listen on %s: port %d or %d (metrics) is in use or not allowed; give another port, or end who holds it",
            settings.host,
            settings.port,
            settings.metrics_port,
        )
        return 1
    except Exception as error:  # noqa: BLE001 - the last line: its words may quote a person, so only kind and place are told
        return _fault(error)
    return 0


def _fault(error: Exception) -> int:
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    place = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    logger.error("ended by a fault of this program: %s at %s", type(error).__name__, place)
    return 1


def run_receiver(process: Process) -> None:
    """Webhooks. Needs Kafka only once it knows its connections."""
    from workers.receiver.role import Receiver, ReceiverConfig

    folder = process.folder()
    settings = process.settings
    config = ReceiverConfig(
        bootstrap=settings.kafka,
        host=settings.host,
        port=settings.port,
        cache=folder / "connections.sealed" if folder else None,
        times=process.times,
        limits=settings.receiver_limits(),
    )
    vault = process.vault(2) if settings.vault_dsn else None
    if vault is not None:
        # It serves without the vault once it knows its connections; what it is told by the wrong key it must not take for truth.
        with contextlib.suppress(psycopg.Error, DatabaseAway):
            vault.check_master_key()
    receiver = Receiver(config, process.master_key(), vault)
    process.ready = receiver.ready
    receiver.run(process.stop)


def run_on_engine(process: Process, handler: Handler, dsn: str) -> None:
    """A handler on the step engine, fed by the batch consumer."""
    from streams.step.batch_feed import BatchFeed
    from streams.step.engine import Engine

    kafka = process.settings.kafka
    producer = OrderedProducer(kafka, client_id=f"sealpost-{process.role}", give_up=process.stop)
    engine = Engine(handler, dsn, producer, cluster=ClusterIdentity(kafka), times=process.times)
    feed = BatchFeed(engine, kafka, times=process.times)
    process.ready = lambda: feed.ready
    try:
        feed.run(process.stop)
    finally:
        engine.close()
        producer.close()


def run_inbound(process: Process) -> None:
    """Raw fragments → sealed events."""
    from streams.kafka.settings_follower import SettingsFollower
    from workers.inbound.handler import InboundHandler

    if not process.await_parts(process.settings.vault_dsn):
        return
    vault = process.bound_vault()
    follower = SettingsFollower(process.settings.kafka)
    follower.start()
    try:
        handler = InboundHandler(vault, follower, process.times)
        run_on_engine(process, handler, process.settings.vault_dsn)
    finally:
        follower.stop()


def run_vault(process: Process) -> None:
    """Applies consents, subscriptions, deletions and tenants to the vault."""
    from vault.role import VaultHandler

    settings = process.settings
    if not process.await_parts(settings.vault_dsn):
        return
    run_on_engine(process, VaultHandler(process.bound_vault()), settings.vault_dsn)


def run_projector(process: Process) -> None:
    """Folds the log into the read models."""
    from projections.projector import ProjectorHandler

    if process.await_parts(process.settings.projections_dsn):
        run_on_engine(process, ProjectorHandler(), process.settings.projections_dsn)


def run_api(process: Process) -> None:
    """Commands and queries by HTTP."""
    from deploy.api import Api

    settings = process.settings
    if not process.await_parts(settings.vault_dsn, settings.projections_dsn):
        return
    api = Api(settings, process.bound_vault(8, PROMPT))
    process.ready = api.ready
    api.run(process.stop)


def run_outbound(process: Process) -> None:
    """Send commands → permits → providers → statuses."""
    from streams.kafka.settings_follower import SettingsFollower
    from workers import registry
    from workers.outbound.worker import OutboundConfig, OutboundWorker

    settings = process.settings
    if not process.await_parts(settings.vault_dsn):
        return
    vault = process.bound_vault()
    follower = SettingsFollower(settings.kafka)
    follower.start()
    channels = {name: registry.channel(name) for name in topics.CHANNELS}
    worker = OutboundWorker(
        OutboundConfig(settings.kafka, channels, process.times, public_url=settings.public_url),
        vault,
        follower,
    )
    process.ready = worker.ready
    try:
        worker.run(process.stop)
    finally:
        follower.stop()


def run_streams(process: Process) -> None:
    """The processors, on Faust or on the batch consumer (`SEALPOST_PROCESSOR_FEED`)."""
    from streams.kafka.settings_follower import SettingsFollower
    from streams.processors.role import StreamsRole

    settings = process.settings
    backup_kept_s = settings.backup_kept_s()
    if not process.await_parts(settings.vault_dsn, settings.streams_dsn):
        return
    vault = process.bound_vault()
    follower = SettingsFollower(settings.kafka)
    follower.start()
    try:
        follower.wait_ready(SETTINGS_S)
        streams = StreamsRole(
            settings.kafka,
            settings.streams_dsn,
            follower,
            vault.tenant_ids,
            process.once_answered("the vault", vault.certificate_signer),
            process.folder() or Path(tempfile.mkdtemp(prefix="sealpost-streams-")),
            feed=settings.processor_feed,
            times=process.times,
            backup_kept_s=backup_kept_s,
        )
        process.ready = lambda: streams.ready
        streams.run(process.stop)
    finally:
        follower.stop()
        vault.close()


def run_clock(process: Process) -> None:
    """Keeps house."""
    from deploy.deadletters import WaitingLetters
    from deploy.housekeeping import Housekeeper

    settings = process.settings
    dsns = (settings.vault_dsn, settings.streams_dsn, settings.projections_dsn)
    if not process.await_parts(*dsns):
        return
    vault = process.bound_vault(2)
    producer = OrderedProducer(settings.kafka, client_id="sealpost-clock", give_up=process.stop)
    letters = WaitingLetters(settings.kafka)
    keeper = Housekeeper(vault, producer, dsns, letters)
    process.ready = lambda: keeper.ready
    try:
        keeper.run(process.stop)
    finally:
        letters.close()
        producer.close()


def run_simulator(process: Process) -> None:
    """The simulated WhatsApp of an embedded instance; it keeps what it receives in memory only."""
    from deploy import instance
    from deploy.bootstrap import LIMITS, NUMBER
    from workers import registry
    from workers.simulator import SimulatedAccount, SimulatorSettings

    data = process.settings.data
    if data is None:
        raise SealpostError("the simulator belongs to an embedded instance; give --data")
    found = instance.require(data)
    account = SimulatedAccount(found.whatsapp.account, NUMBER, found.access_token)
    settings = SimulatorSettings(
        webhook_url=found.whatsapp.webhook_url,
        app_secret=found.whatsapp.app_secret,
        accounts=(account,),
        host=process.settings.host,
        port=process.settings.port,
        # A provider remembers who wrote; this one keeps that in memory only and starts with every window as it may be.
        unknown_windows_open=found.tokens is not None,
        pair_limit=LIMITS.pair_interval_s != 0,
    )
    asyncio.run(_until_stopped(process.stop, registry.simulator("whatsapp")(settings)))


def run_sandbox(process: Process) -> None:
    """The sandbox page. It acts with tokens of every role, so there is none but on an embedded instance."""
    from deploy import instance
    from deploy.bootstrap import TENANT_NAME
    from deploy.sandbox.server import SandboxSettings, serve

    settings = process.settings
    if not settings.embedded or settings.data is None:
        raise SealpostError("the sandbox page belongs to an embedded instance; `sealpost up` starts it")
    found = instance.require(settings.data)
    if found.tokens is None:
        raise SealpostError("the instance is not complete; start it with `sealpost up`")
    page = SandboxSettings(
        host=settings.host,
        port=settings.port,
        key=found.sandbox_key,
        api_url=found.api_url,
        simulator_url=found.whatsapp.simulator_url,
        tokens=found.tokens,
        business=TENANT_NAME,
    )
    asyncio.run(_until_stopped(process.stop, serve(page)))


async def _until_stopped(stop: threading.Event, serving: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(serving)
    waiting = asyncio.create_task(asyncio.to_thread(stop.wait))
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    task.cancel()
    await asyncio.gather(task, waiting, return_exceptions=True)


ROLES: dict[str, Callable[[Process], None]] = {
    "receiver": run_receiver,
    "inbound": run_inbound,
    "api": run_api,
    "outbound": run_outbound,
    "vault": run_vault,
    "streams": run_streams,
    "projector": run_projector,
    "clock": run_clock,
    "simulator": run_simulator,
    "sandbox": run_sandbox,
}
