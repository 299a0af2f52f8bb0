"""Topics and the identity of a cluster: made, compared, never guessed."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # the package re-exports names without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from schemas.clock import boot_s, sleep_s
from schemas.errors import SealpostError
from schemas.topics import GUARDED, UNLIMITED, Topic

REQUEST_S = 15.0
"""Limit of one admin request. Without it a role would hang at start when Kafka is away."""
LEADER_WAIT_S = 0.1
"""Before a question is repeated because leaders moved."""
MIN_REPLICATION = 3
MIN_IN_SYNC = 2
EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent-kafka has no types here
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent-kafka has no types here

_DESTROY_BROKER: int = KafkaError._DESTROY_BROKER  # noqa: SLF001  # librdkafka's own codes begin with an underscore
_LEADER_MOVES = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
)
"""What a broker says to a client that knows the leaders of a while ago; the client does not look again by itself."""

TopicPart = tuple[str, int]
"""Topic name and partition number."""


class KafkaAway(SealpostError):
    """Kafka did not answer an administrative request; check the bootstrap address and the broker, then start again."""


class LeaderMoves(KafkaAway):
    """A partition has no leader at this moment, or has just got another one; ask again."""


class TopicMismatch(SealpostError):
    """A topic differs from the catalogue in what cannot be changed, or the cluster is not safe enough.

    The message names the topic and the difference. Partition counts are fixed for life: restore the topic as it was, or
    start a new installation.
    """


@dataclass(frozen=True, slots=True)
class LogRange:
    """What one partition holds: the first offset kept and the one that the next record will get."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What a cluster says about a topic."""

    topic_id: str
    partitions: int
    replication: int


class ClusterIdentity:
    """Which cluster and which topics these are; positions are valid for one (cluster id, topic id) only."""

    def __init__(self, bootstrap: str) -> None:
        """Ask the cluster; KafkaAway when it does not answer."""
        self.bootstrap = bootstrap
        self._client = admin_client(bootstrap)
        self.cluster_id: str = _cluster_id(self._client)
        self.topics: Mapping[str, TopicFacts] = {}
        self.refresh()

    def refresh(self) -> None:
        """Ask for the topics again."""
        for more in (True, True, False):
            try:
                self.topics = _topic_facts(self._client)
            except _BrokerGone:
                if not more:
                    raise
            else:
                return

    def topic_id(self, topic: str) -> str:
        """Id of a topic; TopicMismatch when there is none of this name."""
        return self._facts(topic).topic_id

    def partitions(self, topic: str) -> int:
        """Partition count of a topic; TopicMismatch when there is none of this name."""
        return self._facts(topic).partitions

    def _facts(self, topic: str) -> TopicFacts:
        if topic not in self.topics:
            self.refresh()
        if topic not in self.topics:
            raise TopicMismatch(f"topic {topic} does not exist; make it with: sealpost topics apply")
        return self.topics[topic]

    def log_ranges(self, parts: Iterable[TopicPart]) -> dict[TopicPart, LogRange]:
        """Start and end of each partition's log, in two requests; KafkaAway when there is no answer."""
        wanted = list(parts)
        low = list_offsets(self._client, wanted, EARLIEST)
        high = list_offsets(self._client, wanted, LATEST)
        return {part: LogRange(low[part], high[part]) for part in wanted}

    def request_ends(self, parts: Iterable[TopicPart]) -> dict[TopicPartition, "Future[Any]"]:
        """Ask for the ends of logs without waiting; read the answer with `ends_of`."""
        return request_offsets(self._client, parts, LATEST)

    def request_identities(self, topics: Sequence[str]) -> dict[str, "Future[Any]"]:
        """Ask for the ids of topics without waiting; read the answer with `ids_of`."""
        return dict(self._client.describe_topics(TopicCollection(list(topics)), request_timeout=REQUEST_S))


def admin_client(bootstrap: str) -> AdminClient:
    """A client for administrative requests."""
    return AdminClient({"bootstrap.servers": bootstrap, "client.id": "sealpost-admin", "log_level": 2})


def cluster_id(bootstrap: str) -> str:
    """Id of the cluster behind an address; KafkaAway when it does not answer."""
    client = admin_client(bootstrap)
    return _cluster_id(client)


def topic_ids(bootstrap: str) -> dict[str, str]:
    """Name → id of every topic that is not Kafka's own; a re-created topic has another id."""
    return {name: facts.topic_id for name, facts in _topic_facts(admin_client(bootstrap)).items()}


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """Partition → offset that its next record will get; KafkaAway, or TopicMismatch when there is no such topic."""
    client = admin_client(bootstrap)
    facts = _topic_facts(client).get(topic)
    if facts is None:
        raise TopicMismatch(f"topic {topic} does not exist; make it with: sealpost topics apply")
    ends = list_offsets(client, [(topic, partition) for partition in range(facts.partitions)], LATEST)
    return {partition: end for (_, partition), end in ends.items()}


def apply_topics(
    bootstrap: str, catalogue: Sequence[Topic], partitions: int, replication: int, *, embedded: bool = False
) -> list[str]:
    """Make missing topics and set the configuration of all; returns the names made.

    Refuses, before it changes anything, a replication factor below 3 (unless `embedded`) and topics whose partition count
    differs from the catalogue's: TopicMismatch.
    """
    if not embedded and replication < MIN_REPLICATION:
        raise TopicMismatch(
            f"replication {replication} is below {MIN_REPLICATION}: a broker's loss would lose events"
        )
    client = admin_client(bootstrap)
    present = _topic_facts(client)
    for topic in catalogue:
        _compare(topic, present.get(topic.name), partitions, embedded=embedded)
    missing = [topic for topic in catalogue if topic.name not in present]
    new = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions or partitions,
            replication_factor=replication,
            config=topic_config(topic, embedded=embedded),
        )
        for topic in missing
    ]
    made: list[str] = []
    if new:
        for name, future in client.create_topics(new, request_timeout=REQUEST_S).items():
            try:
                _answer(future)
                made.append(name)
            except _Exists:
                # Another process made it at the same moment; it is compared at the next call.
                continue
    present_topics = [topic for topic in catalogue if topic.name in present]
    if present_topics:
        _configure(client, present_topics, embedded=embedded)
    return made


def topic_config(topic: Topic, *, embedded: bool) -> dict[str, str]:
    """Configuration of a topic: broker time, retention, safety."""
    unlimited = topic.kept_s == UNLIMITED
    cleanup = "delete" if not topic.compact else "compact" if unlimited else "compact,delete"
    config = {
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": cleanup,
        "retention.ms": "-1" if unlimited else str(topic.kept_s * 1000),
        "retention.bytes": "-1",
        "min.insync.replicas": "1" if embedded else str(MIN_IN_SYNC),
        "unclean.leader.election.enable": "false",
    }
    if embedded and topic.name in GUARDED:
        # One broker without replicas: what a person decided must survive a power cut.
        config["flush.messages"] = "1"
    config.update(topic.config)
    return config


def _compare(topic: Topic, facts: TopicFacts | None, partitions: int, *, embedded: bool) -> None:
    if facts is None:
        return
    wanted = topic.partitions or partitions
    if facts.partitions != wanted:
        raise TopicMismatch(f"topic {topic.name} has {facts.partitions} partitions, not {wanted}")
    if not embedded and facts.replication < MIN_REPLICATION:
        raise TopicMismatch(
            f"topic {topic.name} has {facts.replication} replicas, fewer than {MIN_REPLICATION}"
        )


def _configure(client: AdminClient, wanted: Sequence[Topic], *, embedded: bool) -> None:
    resources = []
    for topic in wanted:
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in topic_config(topic, embedded=embedded).items()
        ]
        resources.append(ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries))
    for future in client.incremental_alter_configs(resources, request_timeout=REQUEST_S).values():
        _answer(future)


def request_offsets(
    client: AdminClient, parts: Iterable[TopicPart], spec: OffsetSpec, timeout_s: float = REQUEST_S
) -> dict[TopicPartition, "Future[Any]"]:
    """Ask for offsets of partitions without waiting."""
    request = {TopicPartition(topic, partition): spec for topic, partition in parts}
    return dict(client.list_offsets(request, request_timeout=timeout_s)) if request else {}


def ends_of(answers: Mapping[TopicPartition, "Future[Any]"]) -> dict[TopicPart, int]:
    """The offsets of answers, waiting for them; KafkaAway when one is missing. A broker's answer that was lost on the way may
    come as OFFSET_INVALID instead of an error: it says nothing of the log.
    """
    try:
        offsets = {
            (part.topic, part.partition): int(_answer(future).offset) for part, future in answers.items()
        }
    except _Gone:
        raise LeaderMoves("a topic is gone, or not known to its broker yet") from None
    if OFFSET_INVALID in offsets.values():
        raise KafkaAway("the ends of a log are not known")
    return offsets


def ids_of(answers: Mapping[str, "Future[Any]"]) -> dict[str, str]:
    """The topic ids of answers, waiting for them; KafkaAway when one is missing, TopicMismatch when a topic is gone."""
    ids: dict[str, str] = {}
    for topic, future in answers.items():
        try:
            ids[topic] = str(_answer(future).topic_id)
        except _Gone:
            raise TopicMismatch(f"topic {topic} does not exist any more") from None
    return ids


def list_offsets(
    client: AdminClient, parts: Iterable[TopicPart], spec: OffsetSpec, timeout_s: float = REQUEST_S
) -> dict[TopicPart, int]:
    """Offsets of partitions, in one request; again while leaders move. KafkaAway when there is no answer in time."""
    wanted = list(parts)
    deadline = boot_s() + timeout_s
    while True:
        try:
            return ends_of(request_offsets(client, wanted, spec, timeout_s))
        except LeaderMoves:
            if boot_s() >= deadline:
                raise
            sleep_s(LEADER_WAIT_S)
            learn_leaders(client)


def learn_leaders(client: AdminClient) -> None:
    """Ask who leads the partitions now; KafkaAway when there is no answer."""
    try:
        client.list_topics(timeout=REQUEST_S)
    except KafkaException as error:
        raise KafkaAway(_words(error)) from None


def _cluster_id(client: AdminClient) -> str:
    found = _answer(client.describe_cluster(request_timeout=REQUEST_S)).cluster_id
    if not found:
        raise KafkaAway("the cluster has no id")
    return str(found)


def _topic_facts(client: AdminClient) -> dict[str, TopicFacts]:
    try:
        names = [name for name in client.list_topics(timeout=REQUEST_S).topics if not name.startswith("__")]
    except KafkaException as error:
        raise KafkaAway(_words(error)) from None
    if not names:
        return {}
    facts: dict[str, TopicFacts] = {}
    for name, future in client.describe_topics(TopicCollection(names), request_timeout=REQUEST_S).items():
        try:
            topic = _answer(future)
        except _Gone:
            continue
        replication = min((len(part.replicas) for part in topic.partitions), default=0)
        facts[name] = TopicFacts(str(topic.topic_id), len(topic.partitions), replication)
    return facts


class _Exists(SealpostError):
    """The topic is there already; handled within this module."""


class _BrokerGone(KafkaAway):
    """The broker that was asked has just left the client's list; handled within this module by asking another."""


class _Gone(SealpostError):
    """The topic is not there any more; handled within this module."""


def _answer(future: "Future[Any]") -> Any:
    try:
        return future.result(REQUEST_S + 1)
    except KafkaException as error:
        code = error.args[0].code() if error.args and isinstance(error.args[0], KafkaError) else None
        if code == KafkaError.TOPIC_ALREADY_EXISTS:
            raise _Exists("there already") from None
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise _Gone("there no more") from None
        if code in _LEADER_MOVES:
            raise LeaderMoves(_words(error)) from None
        if code == _DESTROY_BROKER:
            raise _BrokerGone(_words(error)) from None
        raise KafkaAway(_words(error)) from None
    except TimeoutError:
        raise KafkaAway("no answer in time") from None


def _words(error: KafkaException) -> str:
    reason = error.args[0] if error.args else None
    return reason.name() if isinstance(reason, KafkaError) else type(error).__name__
