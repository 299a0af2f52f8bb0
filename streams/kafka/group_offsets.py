"""Offsets that a group has committed: read them, and set them while the group is empty."""

from collections.abc import Mapping, Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.admin import REQUEST_S, KafkaAway, TopicPart

HAS_MEMBERS = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
)
"""What a broker says when somebody else may commit for this group."""


def read(client: AdminClient, group: str, parts: Sequence[TopicPart]) -> dict[TopicPart, int]:
    """Committed next offsets of these partitions; a partition that has none is left out. KafkaAway without an answer."""
    if not parts:
        return {}
    request = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, number) for topic, number in parts])
    try:
        answer = client.list_consumer_group_offsets([request], request_timeout=REQUEST_S)[group].result(
            REQUEST_S + 1
        )
    except KafkaException as error:
        raise KafkaAway(f"offsets of group {group}: {_name(error)}") from None
    return {
        (found.topic, found.partition): int(found.offset)
        for found in answer.topic_partitions or ()
        if found.error is None and found.offset >= 0
    }


def write(client: AdminClient, group: str, offsets: Mapping[TopicPart, int]) -> bool:
    """Set the committed next offsets of an empty group; False when it has members and nothing was set. KafkaAway."""
    if not offsets:
        return True
    parts = [TopicPartition(topic, number, offset) for (topic, number), offset in offsets.items()]
    request = ConsumerGroupTopicPartitions(group, parts)
    try:
        answers = client.alter_consumer_group_offsets([request], request_timeout=REQUEST_S)
        result = answers[group].result(REQUEST_S + 1)
    except KafkaException as error:
        if _code(error) in HAS_MEMBERS:
            return False
        raise KafkaAway(f"offsets of group {group}: {_name(error)}") from None
    refused = [part.error for part in result.topic_partitions or () if part.error is not None]
    if refused and all(error.code() in HAS_MEMBERS for error in refused):
        return False
    if refused:
        raise KafkaAway(f"offsets of group {group}: {refused[0].name()}")
    return True


def _code(error: KafkaException) -> int | None:
    reason = error.args[0] if error.args else None
    return reason.code() if isinstance(reason, KafkaError) else None


def _name(error: KafkaException) -> str:
    reason = error.args[0] if error.args else None
    return reason.name() if isinstance(reason, KafkaError) else type(error).__name__
