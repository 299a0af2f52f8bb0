"""Three real brokers, each broker and controller, with what a real cluster must have: three replicas, two of them in sync.

Small and on one machine, but losing a broker, moving leaders and freezing one are the real thing.
"""

import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import ElectionType, KafkaError, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    PartitionMetadata,
)

from deploy.embedded import kafka, ports
from deploy.embedded.folder import cache_folder
from deploy.embedded.jars import verified
from deploy.embedded.ports import HOST
from deploy.embedded.supervisor import Child, ChildFailed, Program, Supervisor
from tests.step_world import await_until

BROKERS = (1, 2, 3)
HEAP = "192m"
CLUSTER_ID = "AHNlYWxwb3N0LXRlc3Rzcw"
MIN_IN_SYNC = 2
LIMIT_S = 60.0
ASK_S = 10.0
FENCED_S = 20.0
"""Longest until the controller has given the partitions of a silent broker to others: its session is 2 s, the rest is load."""


@dataclass(slots=True)
class Broker:
    """One of them."""

    number: int
    child: Child
    address: str
    silent: bool = False
    """It is killed or frozen."""

    def kill(self) -> None:
        """SIGKILL; it stays away until `start`."""
        self.silent = True
        self.child.stop()

    def start(self) -> None:
        """Start it again after `kill`, and wait until it answers: who asks for metadata must not ask one that is starting."""
        self.child.start()
        self.await_answer()

    def await_answer(self) -> None:
        """Wait until it gives metadata, for which two of the three must run."""
        self.child.await_ready(lambda: kafka.answers(self.address), LIMIT_S)
        self.silent = False

    def freeze(self) -> None:
        """SIGSTOP: its connections stay and it says nothing."""
        self.silent = True
        assert self.child.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT, and wait until it answers."""
        assert self.child.send(signal.SIGCONT)
        self.await_answer()


class Cluster:
    """The running brokers."""

    def __init__(self, brokers: dict[int, Broker]) -> None:
        self.brokers = brokers
        self.bootstrap = ",".join(broker.address for broker in brokers.values())

    def leader(self, topic: str, partition: int) -> Broker:
        """Who leads a partition now."""
        return self.brokers[self._leaders(topic)[partition]]

    def _leaders(self, topic: str) -> dict[int, int]:
        return {number: part.leader for number, part in self._parts(topic).items()}

    def _parts(self, topic: str) -> dict[int, PartitionMetadata]:
        """What a broker that is not silent says; a client that knew the silent one could pick it to ask."""
        return self._client().list_topics(topic, timeout=ASK_S).topics[topic].partitions

    def _client(self) -> AdminClient:
        address = next(broker.address for broker in self.brokers.values() if not broker.silent)
        return AdminClient({"bootstrap.servers": address, "log_level": 0})

    def elect_preferred(self, topic: str) -> None:
        """Give every partition back to the first of its replicas; nothing happens where that one leads."""
        parts = [TopicPartition(topic, number) for number in self._leaders(topic)]
        client = self._client()
        answers = client.elect_leaders(ElectionType.PREFERRED, parts).result(ASK_S)
        refused = {error.code() for error in answers.values() if error is not None}
        assert refused <= {KafkaError.ELECTION_NOT_NEEDED}, refused

    def await_led_by_others(self, topic: str, lost: Broker) -> None:
        """Wait until no partition is led by a broker that is lost or frozen."""
        await_until(
            lambda: lost.number not in (led := set(self._leaders(topic).values())) and -1 not in led,
            FENCED_S,
            "others lead",
        )

    def await_whole(self, topic: str) -> None:
        """Wait until every replica of a topic is in sync: then one more broker may be lost."""
        await_until(lambda: self._is_whole(topic), LIMIT_S, "all replicas are in sync")

    def _is_whole(self, topic: str) -> bool:
        return all(len(part.isrs) == len(BROKERS) for part in self._parts(topic).values())

    def heal(self) -> None:
        """Whatever a test did to the brokers: all run again."""
        for broker in self.brokers.values():
            broker.child.start()
            broker.child.send(signal.SIGCONT)
        for broker in self.brokers.values():
            broker.await_answer()


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Start all three on free ports; ended at the end of the block."""
    class_path = verified(cache_folder(folder), print)
    chosen = ports.choose(
        tuple(f"{what}{number}" for what in ("broker", "controller") for number in BROKERS), folder
    )
    supervisor = Supervisor()
    try:
        with ThreadPoolExecutor(len(BROKERS)) as pool:
            started = pool.map(
                lambda n: _start(supervisor, folder / f"broker{n}", class_path, chosen, n), BROKERS
            )
        cluster = Cluster({broker.number: broker for broker in started})
        cluster.heal()
        yield cluster
    finally:
        supervisor.stop()


def _start(
    supervisor: Supervisor, data: Path, class_path: list[Path], chosen: dict[str, int], number: int
) -> Broker:
    home, settings, temporary = data / kafka.NAME, data / "kafka.properties", data / "tmp"
    temporary.mkdir(parents=True)
    settings.write_text(kafka.properties(_settings(home, chosen, number)))
    java = kafka.java_command(class_path, temporary, data)
    java = tuple(f"-Xmx{HEAP}" if word.startswith("-Xmx") else word for word in java)
    formatting = (
        *java,
        "kafka.tools.StorageTool",
        "format",
        f"--cluster-id={CLUSTER_ID}",
        "--config",
        str(settings),
    )
    done = subprocess.run(formatting, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        raise ChildFailed(done.stdout + done.stderr)
    program = Program(
        f"broker{number}",
        (*java, "kafka.Kafka", str(settings)),
        data / "kafka.log",
        folder=temporary,
        stop_signal=signal.SIGKILL,
    )
    return Broker(number, supervisor.start(program), f"{HOST}:{chosen[f'broker{number}']}")


def _settings(home: Path, chosen: dict[str, int], number: int) -> dict[str, object]:
    alone = kafka.broker_settings(home, chosen[f"broker{number}"], chosen[f"controller{number}"])
    return {
        **alone,
        "node.id": number,
        "controller.quorum.voters": ",".join(f"{n}@{HOST}:{chosen[f'controller{n}']}" for n in BROKERS),
        "default.replication.factor": len(BROKERS),
        "min.insync.replicas": MIN_IN_SYNC,
        "offsets.topic.replication.factor": len(BROKERS),
        "transaction.state.log.replication.factor": len(BROKERS),
        "transaction.state.log.min.isr": MIN_IN_SYNC,
        "num.replica.fetchers": 1,
        "auto.leader.rebalance.enable": "false",
    }
