"""Consumers: settings that all share, and reading a topic to its end once."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.clock import boot_s
from schemas.constants import BROKER_ANSWER_S
from schemas.errors import SealpostError
from schemas.topics import catalogue
from streams.kafka import admin
from streams.step.contract import Record

FETCH_BACKOFF_MS = 5
"""librdkafka's default of 1,000 makes a fast consumer run dry for a second whenever its queue was full."""
MAX_POLL_S = 300.0
"""A member that did not poll for so long is thrown out; a step never takes as long (postgres.WATCHDOG_S)."""
READ_BATCH = 1_000
END_OF_PARTITION: int = KafkaError._PARTITION_EOF  # librdkafka's own codes begin with an underscore
NO_POSITION: int = KafkaError._AUTO_OFFSET_RESET  # as above
_LASTING = (
    KafkaError._FATAL,  # as above; a static member whose name another process has taken
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,  # as above
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # as above
    KafkaError._UNKNOWN_PARTITION,  # as above
)
READ_TURN_S = 0.5
MEMBER_SETTING = "SEALPOST_MEMBER"


class ReadFailed(SealpostError):
    """A consumer cannot go on reading; the message holds Kafka's error name. Look at the broker and its access rules."""


def static_member(topics: Iterable[str] | None = None) -> str | None:
    """Name by which a group knows this process again after a restart, in place of its dead predecessor (docs/decisions/032);
    None when SEALPOST_MEMBER is not set: then the group waits until the predecessor's session has run out.

    The topics are part of it: a group hands its former share to a member that comes back, without asking what it reads now.
    `topics` None: those of the catalogue.
    """
    name = os.environ.get(MEMBER_SETTING)
    if not name:
        return None
    read = sorted([topic.name for topic in catalogue()] if topics is None else topics)
    return f"{name}-{hashlib.sha256(' '.join(read).encode()).hexdigest()[:8]}"


def consumer_settings(
    bootstrap: str,
    *,
    group: str,
    client_id: str,
    session_s: float,
    topics: Iterable[str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """librdkafka settings of a member of a group that subscribes to `topics` (see static_member)."""
    settings = outsider_settings(bootstrap, group=group, client_id=client_id)
    settings["session.timeout.ms"] = round(session_s * 1000)
    settings["heartbeat.interval.ms"] = max(100, round(session_s * 1000 / 5))
    settings["max.poll.interval.ms"] = round(max(MAX_POLL_S, session_s) * 1000)
    member = static_member(topics)
    if member is not None:
        settings["group.instance.id"] = member
    settings.update(extra or {})
    return settings


def outsider_settings(bootstrap: str, *, group: str, client_id: str) -> dict[str, Any]:
    """librdkafka settings of every Sealpost consumer, enough for one that joins no group. Positions live in PostgreSQL: a
    missing one is an error, not a reset."""
    return {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "client.id": client_id,
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "partition.assignment.strategy": "range",
        "socket.timeout.ms": round(BROKER_ANSWER_S * 1000),
        "fetch.queue.backoff.ms": FETCH_BACKOFF_MS,
        "allow.auto.create.topics": False,
        "log.connection.close": False,
    }


def to_record(message: Message) -> Record:
    """A message without error as a Record."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    # A message without error has all three; asserting it a million times would cost.
    return Record(topic, partition, offset, message.key(), message.value(), message.timestamp()[1])  # type: ignore[arg-type]  # as said


def read_to_end(bootstrap: str, topic: str, *, timeout_s: float) -> Iterator[Record]:
    """Every record a topic holds at the time of the call, in order within each partition; joins no group.

    ReadFailed when Kafka refuses or `timeout_s` passes before the end is reached, TopicMismatch when there is no topic.
    """
    identity = admin.ClusterIdentity(bootstrap)
    parts = [(topic, partition) for partition in range(identity.partitions(topic))]
    ranges = identity.log_ranges(parts)
    missing = {part: found.high for part, found in ranges.items() if found.high > found.low}
    if not missing:
        return
    settings = outsider_settings(bootstrap, group="sealpost.read", client_id="sealpost-read")
    consumer = Consumer({**settings, "enable.partition.eof": True})
    deadline = boot_s() + timeout_s
    try:
        consumer.assign([TopicPartition(topic, number, ranges[(topic, number)].low) for _, number in missing])
        while missing:
            if boot_s() > deadline:
                raise ReadFailed(f"{topic}: its end was not reached in {timeout_s:.0f} s")
            for message in consumer.consume(READ_BATCH, READ_TURN_S):
                part = (topic, int(message.partition() or 0))
                error = message.error()
                if error is None:
                    yield to_record(message)
                elif error.code() != END_OF_PARTITION:
                    raise_unless_passing(error)
                    continue
                # At the end of a partition Kafka reports the offset of the record to come.
                reached = int(message.offset() or 0) + (1 if error is None else 0)
                if reached >= missing.get(part, reached + 1):
                    del missing[part]
    except KafkaException as error:
        raise ReadFailed(f"{topic}: {error.args[0]}") from None
    finally:
        consumer.close()


def raise_unless_passing(error: KafkaError) -> None:
    """ReadFailed for errors that do not go away by waiting; librdkafka reconnects by itself after the others."""
    if error.fatal() or error.code() in _LASTING:
        raise ReadFailed(error.name())
