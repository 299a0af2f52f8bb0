"""Offsets that a group has committed: read them, and set them while the group is empty.

Through a consumer that never subscribes, not through the admin client: its ListConsumerGroupOffsets ends the whole process
(SIGSEGV in rd_kafka_cgrp_op, librdkafka 2.16) when the broker answers that it is still loading the group.
"""

from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.kafka.admin import REQUEST_S, KafkaAway, TopicPart
from streams.kafka.consumer import outsider_settings

HAS_MEMBERS = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
)
"""What a broker says when somebody else may commit for this group."""


def read(bootstrap: str, group: str, parts: Sequence[TopicPart]) -> dict[TopicPart, int]:
    """Committed next offsets of these partitions; a partition that has none is left out. KafkaAway without an answer."""
    if not parts:
        return {}
    consumer = _outsider(bootstrap, group)
    try:
        found = consumer.committed(
            [TopicPartition(topic, number) for topic, number in parts], timeout=REQUEST_S
        )
    except KafkaException as error:
        raise KafkaAway(f"offsets of group {group}: {_name(error)}") from None
    finally:
        consumer.close()
    return {
        (part.topic, part.partition): int(part.offset)
        for part in found
        if part.error is None and part.offset >= 0
    }


def write(bootstrap: str, group: str, offsets: Mapping[TopicPart, int]) -> bool:
    """Set the committed next offsets of an empty group; False when it has members and nothing was set. KafkaAway."""
    if not offsets:
        return True
    consumer = _outsider(bootstrap, group)
    parts = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
    try:
        answers = consumer.commit(offsets=parts, asynchronous=False)
    except KafkaException as error:
        if _code(error) in HAS_MEMBERS:
            return False
        raise KafkaAway(f"offsets of group {group}: {_name(error)}") from None
    finally:
        consumer.close()
    refused = [part.error for part in answers or () if part.error is not None]
    if refused and not all(error.code() in HAS_MEMBERS for error in refused):
        raise KafkaAway(f"offsets of group {group}: {refused[0].name()}")
    return not refused


def _outsider(bootstrap: str, group: str) -> Consumer:
    return Consumer(outsider_settings(bootstrap, group=group, client_id="sealpost-offsets"))


def _code(error: KafkaException) -> int | None:
    reason = error.args[0] if error.args else None
    return reason.code() if isinstance(reason, KafkaError) else None


def _name(error: KafkaException) -> str:
    reason = error.args[0] if error.args else None
    return reason.name() if isinstance(reason, KafkaError) else type(error).__name__
