"""Feeds an engine from Kafka: group, assignment, batches, due rows, waiting for the database (DESIGN §6, protocols §1).

Where there is a backlog, the next batch is prepared in a thread of its own while the database is at work on the one before:
preparing has no effects, so whatever becomes of the batch before, it can be thrown away.
"""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.clock import MS_PER_S, boot_s, now_ms
from schemas.constants import BATCH_RECORDS, PRODUCTION, Times
from schemas.ids import random_unit
from schemas.metrics import gauge
from streams.kafka.admin import KafkaAway
from streams.kafka.consumer import NO_POSITION, consumer_settings, raise_unless_passing, to_record
from streams.step.contract import Prepared, Record
from streams.step.engine import Engine
from streams.step.errors import DatabaseAway, PositionInvalid
from streams.step.log_ends import LogEnds
from streams.step.store import TopicPart

LOG = logging.getLogger(__name__)
GROUP_PREFIX = "sealpost."
IDLE_S = 1.0
"""Longest wait for a record; a stop, a due row of another process or an end of the database's absence is seen after this."""
ASKED_S = 0.1
"""Longest wait for a record while an answer of the broker is awaited."""
BACK_OFF_S = 0.2
BACK_OFF_MAX_S = 5.0
"""First and longest wait before the database is tried again."""
COMMIT_S = 1.0
"""How often offsets are committed to Kafka, for lag tooling only; positions live in the database."""
NOTHING = Prepared((), [])


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A batch on its way; it counts only while the assignment is still the one it was fetched in."""

    generation: int
    prepared: "Future[Prepared]"


class BatchFeed:
    """Runs an engine in one thread, as a member of the group `sealpost.<role>`."""

    def __init__(
        self,
        engine: Engine,
        bootstrap: str,
        *,
        times: Times = PRODUCTION,
        group: str | None = None,
        batch_records: int = BATCH_RECORDS,
    ) -> None:
        """Nothing is read before `run`."""
        self.ready = False
        """True when partitions are assigned (or there are none left for us) and the priority topic is read."""
        self._engine = engine
        self._handler = engine.handler
        self._batch = batch_records
        role = engine.role
        self._settings = consumer_settings(
            bootstrap,
            group=group or GROUP_PREFIX + role,
            client_id=f"sealpost-{role}",
            session_s=times.session_s,
            topics=engine.handler.topics,
        )
        self._given: list[TopicPart] | None = None
        """What the group gave us; None before it has, or after it took it back."""
        self._taken = False
        self._generation = 0
        self._ahead: _Ahead | None = None
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix=f"{role}-prepare")
        first: tuple[str, ...] = getattr(self._handler, "first_topics", ())
        if not first and self._handler.priority_topic is not None:
            first = (self._handler.priority_topic,)
        self._first_topics = first
        """Read to their ends before the others, one after the other; a handler may name more than its priority topic."""
        self._stages: list[str] = []
        self._priority: dict[TopicPart, int] = {}
        """Partitions of the first topic now being read, still to be read to the end they had when it began."""
        self._retry_at_s = 0.0
        self._back_off_s = BACK_OFF_S
        self._committed_s = float("-inf")
        self._uncommitted: set[TopicPart] = set()
        self._ends = LogEnds(engine.cluster, role, self._handler.topics)
        self._database_up = gauge("sealpost_component_up").labels("postgres")

    def run(self, stop: threading.Event) -> None:
        """Read and handle until `stop` is set, then finish the step under way and leave the group.

        Fenced, ProduceFailed, PositionInvalid, StopPartition, IncarnationChanged, ReadFailed: the process is to end; another
        one, or a new one, goes on from the database.
        """
        consumer = Consumer(self._settings)
        try:
            consumer.subscribe(
                list(self._handler.topics),
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._revoked,
            )
            while not stop.is_set():
                self._turn(consumer)
            self._tidy()
        finally:
            self.ready = False
            self._preparing.shutdown(cancel_futures=True)
            self._commit(consumer, asynchronous=False)
            consumer.close()
            self._engine.release(self._engine.owned)

    # Called by librdkafka inside poll and consume: only notes what changed; the work is done between two batches.

    def _assigned(self, consumer: Consumer, given: Sequence[TopicPartition]) -> None:
        self._given = [(part.topic, part.partition) for part in given]
        self._generation += 1
        self._taken = False
        # Nothing is fetched until the positions are known.
        consumer.assign([])

    def _revoked(self, consumer: Consumer, taken: Sequence[TopicPartition]) -> None:
        LOG.info("role %s: %d partitions are taken back", self._engine.role, len(taken))
        self._commit(consumer, asynchronous=True)
        self._given = None
        self._generation += 1
        self._taken = False
        self.ready = False
        self._ends.follow(())
        self._engine.release(self._engine.owned)

    # One turn

    def _turn(self, consumer: Consumer) -> None:
        try:
            if self._given is not None and not self._taken and boot_s() >= self._retry_at_s:
                self._take_over(consumer, self._given)
            batch = self._next(consumer)
            if len(batch.records) == self._batch:
                self._look_ahead(consumer)
            if not self._taken:
                return
            if batch.records:
                self._engine.step(batch)
                self._note(batch.records)
            elif not self._priority and (self._engine.next_due_ms() or now_ms() + 1) <= now_ms():
                self._engine.run_due(now_ms())
            else:
                self._engine.tidy()
            if self._priority:
                self._resume(consumer)
            reached = self._ends.turn(self._engine.position)
            if reached and not self._priority:
                self._engine.caught_up(reached)
            if self._uncommitted and boot_s() - self._committed_s >= COMMIT_S:
                self._commit(consumer, asynchronous=True)
        except (DatabaseAway, KafkaAway) as error:
            self._wait(consumer, error)

    def _wait_s(self) -> float:
        if not self._taken:
            until_retry = max(0.0, self._retry_at_s - boot_s()) if self._given is not None else IDLE_S
            return min(IDLE_S, until_retry)
        longest = ASKED_S if self._ends.asked else IDLE_S
        due = None if self._priority else self._engine.next_due_ms()
        return longest if due is None else min(longest, max(0.0, (due - now_ms()) / MS_PER_S))

    def _next(self, consumer: Consumer) -> Prepared:
        """The batch that was prepared ahead, or what Kafka has now; without records when there is nothing to do."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.generation == self._generation:
            return ahead.prepared.result()
        records = self._fetch(consumer, self._wait_s())
        return self._engine.prepare(records) if records and self._taken else NOTHING

    def _look_ahead(self, consumer: Consumer) -> None:
        records = self._fetch(consumer, 0)
        if records and self._taken:
            prepared = self._preparing.submit(self._engine.prepare, records)
            self._ahead = _Ahead(self._generation, prepared)

    def _fetch(self, consumer: Consumer, wait_s: float) -> list[Record]:
        generation = self._generation
        first = consumer.poll(wait_s)
        if first is None:
            return []
        messages = [first, *consumer.consume(self._batch - 1, 0)]
        current = generation == self._generation
        for message in messages:
            error = message.error()
            if error is not None:
                self._look_at(message, error, current=current)
        # When the assignment changed meanwhile, what was fetched is read again from the positions.
        return [to_record(message) for message in messages if message.error() is None] if current else []

    def _look_at(self, message: Message, error: KafkaError, *, current: bool) -> None:
        """Judge an error in the place of a record. One that lasts is told once, and whatever the assignment is: a consumer that
        is fenced right after its partitions were taken back would otherwise be asked in vain for ever."""
        if current and error.code() in (NO_POSITION, KafkaError.OFFSET_OUT_OF_RANGE):
            raise PositionInvalid(
                f"role {self._engine.role}: {message.topic()}/{message.partition()} does not hold the position"
            )
        raise_unless_passing(error)
        LOG.warning("role %s: Kafka says %s", self._engine.role, error.name())

    def _note(self, records: Sequence[Record]) -> None:
        for part in {(record.topic, record.partition) for record in records}:
            self._uncommitted.add(part)
        self._ends.handled(records[-1].topic, records[-1].time_ms)

    # Taking over

    def _take_over(self, consumer: Consumer, given: Sequence[TopicPart]) -> None:
        numbers = self._whole(given)
        positions = self._engine.take_over(numbers)
        self._taken = True
        self._back_off_s = BACK_OFF_S
        self._database_up.set(1)
        self._ends.follow(positions)
        self._stages = list(self._first_topics)
        self._next_stage(consumer)
        LOG.info("role %s reads partitions %s", self._engine.role, numbers)

    def _whole(self, given: Sequence[TopicPart]) -> list[int]:
        """The partition numbers given to us in every topic that has them.

        While releases with different topics share a group, another member may have the same number in another topic; both
        would fence one another for ever.
        """
        cluster = self._engine.cluster
        counts = {topic: cluster.partitions(topic) for topic in self._handler.topics}
        mine = set(given)
        numbers = {number for _, number in given}
        whole = [
            n
            for n in sorted(numbers)
            if all((topic, n) in mine for topic, count in counts.items() if n < count)
        ]
        if len(whole) < len(numbers):
            LOG.warning(
                "role %s: partitions %s are shared with another member",
                self._engine.role,
                numbers - set(whole),
            )
        return whole

    def _resume(self, consumer: Consumer) -> None:
        """Go on to the next topics once the first topic is read."""
        position = self._engine.position
        if all((position(*part) or 0) >= end for part, end in self._priority.items()):
            self._next_stage(consumer)

    def _next_stage(self, consumer: Consumer) -> None:
        """Read the next of the first topics that has something unread, or all topics."""
        positions = self._engine.positions()
        self._priority = {}
        while self._stages and not self._priority:
            topic = self._stages.pop(0)
            first = [part for part in positions if part[0] == topic]
            ends = self._engine.cluster.log_ranges(first) if first else {}
            self._priority = {
                part: found.high for part, found in ends.items() if positions[part] < found.high
            }
        consumer.assign([TopicPartition(*part, positions[part]) for part in self._priority or positions])
        self.ready = not self._priority

    # Waiting and ending

    def _wait(self, consumer: Consumer, error: Exception) -> None:
        """The database (or the broker's answer) is away: stop fetching, keep polling, take over again later."""
        LOG.warning("role %s waits: %s", self._engine.role, error)
        self._database_up.set(0 if isinstance(error, DatabaseAway) else 1)
        self._engine.release(self._engine.owned)
        self._taken = False
        self.ready = False
        self._ahead = None
        self._priority = {}
        self._ends.follow(())
        if self._given is not None:
            consumer.assign([])
        self._retry_at_s = boot_s() + self._back_off_s * (0.5 + random_unit())
        self._back_off_s = min(BACK_OFF_MAX_S, self._back_off_s * 2)

    def _tidy(self) -> None:
        try:
            self._engine.tidy()
        except DatabaseAway as error:
            LOG.warning(
                "role %s: acknowledged outputs stay recorded and are produced once more: %s",
                self._engine.role,
                error,
            )

    def _commit(self, consumer: Consumer, *, asynchronous: bool) -> None:
        known = {part: self._engine.position(*part) for part in self._uncommitted}
        offsets = [TopicPartition(*part, offset) for part, offset in known.items() if offset is not None]
        self._uncommitted.clear()
        self._committed_s = boot_s()
        if not offsets:
            return
        try:
            if asynchronous:
                consumer.commit(offsets=offsets, asynchronous=True)
            else:
                consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            LOG.info("role %s: offsets not committed (%s)", self._engine.role, error.args[0])
