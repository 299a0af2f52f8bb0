"""Where the logs end: asked for once a second without waiting, for lag, for `caught_up`, and to notice topics made anew."""

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import TopicPartition

from schemas.clock import MS_PER_S, boot_s, now_ms
from schemas.metrics import gauge
from streams.kafka.admin import ClusterIdentity, KafkaAway, LeaderMoves, TopicMismatch, ends_of, ids_of
from streams.step.errors import PositionInvalid
from streams.step.store import TopicPart

LOG = logging.getLogger(__name__)
ASK_S = 1.0
"""Between two questions."""
FRESH_S = 2.0
"""An answer to an older question says nothing about the present: it is not taken for having caught up."""
IDENTITY_S = 5.0
"""How often the topics' ids are compared."""

Answers = Mapping[TopicPartition, "Future[Any]"]


class LogEnds:
    """Follows the ends of some partitions. For one thread."""

    def __init__(self, cluster: ClusterIdentity, role: str, topics: Iterable[str]) -> None:
        """Nothing is followed before `follow`."""
        self._cluster = cluster
        self._role = role
        self._parts: frozenset[TopicPart] = frozenset()
        self._topic_ids: dict[str, str] = {}
        self._answers: Answers | None = None
        self._identities: Mapping[str, Future[Any]] | None = None
        self._asked_s = float("-inf")
        self._identities_asked_s = float("-inf")
        self._ends: dict[TopicPart, int] = {}
        self._ends_asked_s = float("-inf")
        self._told: set[int] = set()
        self._newest_ms: dict[str, int] = {}
        lag_records, lag_seconds = (
            gauge("sealpost_consumer_lag_records"),
            gauge("sealpost_consumer_lag_seconds"),
        )
        self._gauges = {
            topic: (lag_records.labels(role, topic), lag_seconds.labels(role, topic)) for topic in topics
        }

    def follow(self, parts: Iterable[TopicPart]) -> None:
        """Follow these partitions and no others, beginning with a new question."""
        self._parts = frozenset(parts)
        self._topic_ids = {topic: self._cluster.topic_id(topic) for topic, _ in self._parts}
        self._answers = self._identities = None
        self._asked_s = float("-inf")
        self._identities_asked_s = boot_s()
        self._ends = {}

    @property
    def asked(self) -> bool:
        """True while an answer is awaited."""
        return self._answers is not None

    def handled(self, topic: str, time_ms: int) -> None:
        """The broker time of the newest record handled of a topic."""
        self._newest_ms[topic] = time_ms

    def turn(self, position: Callable[[str, int], int | None]) -> list[int]:
        """Take an answer that has come, ask again when it is time.

        Returns the partition numbers all of whose topics have been read to where they ended at a question asked within
        FRESH_S, each once a question. PositionInvalid when a topic was made anew.
        """
        now = boot_s()
        if self._answers is not None and all(answer.done() for answer in self._answers.values()):
            self._take(self._answers, position)
            self._answers = None
        if self._identities is not None and all(answer.done() for answer in self._identities.values()):
            self._compare(self._identities)
            self._identities = None
        if self._parts and self._answers is None and now - self._asked_s >= ASK_S:
            self._asked_s = now
            self._answers = self._cluster.request_ends(self._parts)
        if self._parts and self._identities is None and now - self._identities_asked_s >= IDENTITY_S:
            self._identities_asked_s = now
            self._identities = self._cluster.request_identities(sorted(self._topic_ids))
        if not self._ends or now - self._ends_asked_s > FRESH_S:
            return []
        return self._reached(position)

    def _reached(self, position: Callable[[str, int], int | None]) -> list[int]:
        behind: set[int] = set()
        for part, end in self._ends.items():
            at = position(*part)
            if at is None or at < end:
                behind.add(part[1])
        reached = sorted({number for _, number in self._ends} - behind - self._told)
        self._told.update(reached)
        return reached

    def _take(self, answers: Answers, position: Callable[[str, int], int | None]) -> None:
        self._ends = {}
        try:
            self._ends = ends_of(answers)
        except LeaderMoves as error:
            LOG.warning(
                "role %s: the ends of the logs are unknown (%s), leaders are asked for", self._role, error
            )
            self._cluster.refresh()
            return
        except KafkaAway as error:
            LOG.warning("role %s: the ends of the logs are unknown (%s)", self._role, error)
            return
        self._ends_asked_s = self._asked_s
        self._told.clear()
        lags: dict[str, int] = {}
        for (topic, number), end in self._ends.items():
            lags[topic] = lags.get(topic, 0) + max(0, end - (position(topic, number) or 0))
        for topic, lag in lags.items():
            records, seconds = self._gauges[topic]
            records.set(lag)
            seconds.set(
                (now_ms() - self._newest_ms[topic]) / MS_PER_S if lag and topic in self._newest_ms else 0
            )

    def _compare(self, answers: Mapping[str, "Future[Any]"]) -> None:
        try:
            found = ids_of(answers)
        except KafkaAway as error:
            LOG.warning("role %s: the topics' ids are unknown (%s)", self._role, error)
            return
        except TopicMismatch as error:
            raise PositionInvalid(f"role {self._role}: {error}") from None
        changed = sorted(topic for topic, topic_id in self._topic_ids.items() if found.get(topic) != topic_id)
        if changed:
            raise PositionInvalid(
                f"role {self._role}: {', '.join(changed)} was made anew; positions are of the former topic"
            )
