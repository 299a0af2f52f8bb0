"""How far the role is behind in each topic: asked once a second without waiting, over a connection of its own. The consumer
could tell too, but nothing while a partition is paused, and only when its fetch of up to half a second has ended."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import TopicPartition

from schemas.clock import MS_PER_S, boot_s, now_ms
from schemas.metrics import gauge
from streams.kafka.admin import (
    LATEST,
    KafkaAway,
    LeaderMoves,
    admin_client,
    ends_of,
    learn_leaders,
    request_offsets,
)
from workers.outbound.statuses import ROLE
from workers.outbound.watermark import Watermark

ASK_S = 1.0
"""Between two questions."""

logger = logging.getLogger(__name__)
PartitionKey = tuple[str, int]


class Lag:
    """For the poll thread."""

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._client = admin_client(bootstrap)
        self._answers: Mapping[TopicPartition, Future[Any]] | None = None
        self._next_s = 0.0
        records, seconds = gauge("sealpost_consumer_lag_records"), gauge("sealpost_consumer_lag_seconds")
        self._gauges = {topic: (records.labels(ROLE, topic), seconds.labels(ROLE, topic)) for topic in topics}

    def turn(self, held: Mapping[PartitionKey, Watermark]) -> None:
        """Show what an answer that has come means for the partitions held now, and ask again when it is time."""
        if self._answers is not None and all(answer.done() for answer in self._answers.values()):
            answers, self._answers = self._answers, None
            try:
                self._show(ends_of(answers), held)
            except LeaderMoves:
                self._learn()
            except KafkaAway as error:
                logger.info("the lag is unknown: %s", error)
        if self._answers is None and boot_s() >= self._next_s:
            self._next_s = boot_s() + ASK_S
            self._answers = request_offsets(self._client, held, LATEST)

    def _show(self, ends: Mapping[PartitionKey, int], held: Mapping[PartitionKey, Watermark]) -> None:
        """Records between the lowest unfinished one and the end, and how old the oldest unfinished one is."""
        now = now_ms()
        records, oldest_ms = dict.fromkeys(self._gauges, 0), dict.fromkeys(self._gauges, now)
        for (topic, number), watermark in held.items():
            position, end = watermark.position(), ends.get((topic, number))
            if position is not None and end is not None:
                records[topic] += max(0, end - position)
            oldest_ms[topic] = min(oldest_ms[topic], watermark.oldest_ms() or now)
        for topic, (lag_records, lag_seconds) in self._gauges.items():
            lag_records.set(records[topic])
            lag_seconds.set((now - oldest_ms[topic]) / MS_PER_S)

    def _learn(self) -> None:
        try:
            learn_leaders(self._client)
        except KafkaAway as error:
            logger.info("the leaders of partitions are unknown: %s", error)
