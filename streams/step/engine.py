"""The step: read, record in one transaction, then act (DESIGN §6, protocols §1).

One engine a role and process. Who owns a partition number may write for it; ownership is an epoch in `step.owner`, checked
and locked in every transaction. What a transaction recorded is produced after it, and again by the next owner if it was
not acknowledged: byte for byte, never decided again.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg

from schemas.clock import boot_s, day_of_ms, now_ms, sleep_s, today
from schemas.constants import BATCH_RECORDS, DAY_S, EVENT_MAX_BYTES, PRODUCTION, Times
from schemas.ids import random_unit
from schemas.metrics import counter
from schemas.topics import DEADLETTERS
from streams.kafka.admin import ClusterIdentity
from streams.kafka.producer import OrderedProducer, ProduceFailed
from streams.kafka.written import count_written
from streams.step import fault_points, postgres, store
from streams.step.contract import Due, Effects, Handler, Item, Output, Poison, Prepared, Record
from streams.step.deadletter import dead_output, due_record
from streams.step.errors import DatabaseAway, Fenced, PositionInvalid, StopPartition
from streams.step.fault_points import EngineHooks
from streams.step.incarnation import check_incarnation
from streams.step.isolation import Isolation, control_flow
from streams.step.positions import check, unread
from streams.step.store import TopicPart

__all__ = [
    "DatabaseAway",
    "Engine",
    "EngineHooks",
    "Fenced",
    "PositionInvalid",
    "ProduceFailed",
    "StopPartition",
]

LOG = logging.getLogger(__name__)
T = TypeVar("T")
CONFLICT_REPEATS = 10
"""A transaction that lost against another one (40001, 40P01) is tried again this often, with growing waits."""
CONFLICT_WAIT_S = 0.02
DUE_CHECK_S = 1.0
"""How often the database is asked for due rows that this process has not written itself."""
DAY_MS = DAY_S * 1000
SEEN_DAYS_AHEAD = 3


@dataclass(slots=True)
class _Batch:
    """One transaction's work: answers of `prepare` with their records, or wakes, and what it moves."""

    answers: list[Item | Poison] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    positions: dict[TopicPart, int] = field(default_factory=dict)
    due: list[Due] = field(default_factory=list)
    partitions: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Recorded:
    """What a committed transaction left to be done."""

    batch: _Batch
    outputs: dict[int, Sequence[Output]]
    first_wake_ms: int | None
    repeats: int


class Engine:
    """Runs a handler. Calls are serialised; the connection is the engine's own."""

    def __init__(
        self,
        handler: Handler,
        dsn: str,
        producer: OrderedProducer,
        *,
        cluster: ClusterIdentity,
        hooks: EngineHooks | None = None,
        times: Times = PRODUCTION,
    ) -> None:
        """Nothing is owned yet and nothing is connected. Without `hooks`, SEALPOST_FAULT_FILE may name a point to die at."""
        self.handler = handler
        self.role = handler.role
        self._dsn = dsn
        self._producer = producer
        self.cluster = cluster
        self._hooks = hooks if hooks is not None else fault_points.from_environment(handler.role)
        self._times = times
        self._kept_days = max(1, round(times.horizon_s / DAY_S))
        self._lock = threading.RLock()
        self._watchdog = postgres.Watchdog()
        self._connection: postgres.Connection | None = None
        self._epochs: dict[int, int] = {}
        self._positions: dict[TopicPart, int] = {}
        self._acked: set[int] = set()
        self._days: set[int] = set()
        self._due_at: int | None = None
        self._due_checked_s = float("-inf")
        self._isolation = Isolation(handler, times)
        self._repeats = counter("sealpost_repeats_dropped_total").labels(self.role)
        self._steps = counter("sealpost_steps_total").labels(self.role)
        self._takeovers = counter("sealpost_takeovers_total").labels(self.role)

    @property
    def owned(self) -> tuple[int, ...]:
        """Partition numbers this engine may write for."""
        return tuple(sorted(self._epochs))

    def position(self, topic: str, partition: int) -> int | None:
        """Next offset of an owned partition, or None."""
        return self._positions.get((topic, partition))

    def positions(self) -> dict[TopicPart, int]:
        """Next offset of every owned partition."""
        return dict(self._positions)

    # Ownership

    def take_over(self, partitions: Sequence[int]) -> dict[TopicPart, int]:
        """Become the owner: raise the epoch, check the positions, produce what the owner before left.

        Returns (topic, partition) → next offset for every topic of the handler that has this partition; where the role has
        never read, the start of the log. PositionInvalid when a position belongs to another log; IncarnationChanged when the
        handler refuses a restored database; ProduceFailed, DatabaseAway, KafkaAway.
        """
        with self._lock:
            numbers = sorted(set(partitions))
            self.release(numbers)
            if not numbers:
                return {}
            self.cluster.refresh()
            parts = [
                (topic, number)
                for topic in self.handler.topics
                for number in numbers
                if number < self.cluster.partitions(topic)
            ]
            self._at("before_take_over")
            found = self._in_database(lambda connection: self._own(connection, numbers))
            # Asked now that nobody else moves the positions: they may lie beyond the ends of a moment before.
            ranges = self.cluster.log_ranges(parts)
            positions = {
                part: check(self.role, part, found.positions.get(part), ranges[part], self.cluster)
                for part in parts
            }
            self._at("after_take_over")
            self._produce([output for number in numbers for output in found.outbox.get(number, ())])
            self._at("after_outbox")
            self._epochs.update(found.epochs)
            self._positions.update(positions)
            self._acked.update(found.outbox)
            self._forget_due()
            self._takeovers.inc(len(numbers))
            LOG.info("role %s took over partitions %s", self.role, numbers)
            return positions

    def _own(self, connection: postgres.Connection, numbers: Sequence[int]) -> store.Found:
        self._days.clear()
        self._make_days(connection, {now_ms() // DAY_MS})
        with connection.cursor() as cursor:
            check_incarnation(
                cursor, self.role, refuse_new=getattr(self.handler, "refuse_new_incarnation", False)
            )
            found = store.own(cursor, self.role, numbers)
        connection.commit()
        return found

    def release(self, partitions: Sequence[int]) -> None:
        """Forget the epochs of these partitions; nothing more is written for them."""
        with self._lock:
            for number in partitions:
                self._epochs.pop(number, None)
                self._acked.discard(number)
            for part in [part for part in self._positions if part[1] not in self._epochs]:
                del self._positions[part]
            self._forget_due()

    def close(self) -> None:
        """Give everything up and close the connection; the producer belongs to the caller."""
        with self._lock:
            self.release(self.owned)
            self._disconnect()
            self._watchdog.close()

    # Steps

    def prepare(self, records: Sequence[Record]) -> Prepared:
        """The handler's first look at records of a later step. The one call that another thread may make during a step."""
        return Prepared(records, self._isolation.prepare(records))

    def step(self, given: Sequence[Record] | Prepared) -> None:
        """Handle records, which are in order within each partition; returns when every output is acknowledged.

        Due rows that are due come first. Records below the position are skipped. Raises Fenced (another owner is at work),
        PositionInvalid (a gap), ProduceFailed, StopPartition: give the process up. DatabaseAway: nothing of this batch may
        be taken for handled; take over again.
        """
        with self._lock:
            if self._due_at is not None and self._due_at <= now_ms():
                self.run_due(now_ms())
            given = given if isinstance(given, Prepared) else Prepared(given, [])
            found = unread(self.role, given.records, self._positions)
            if not found.records:
                return
            usable = len(given.answers) == len(found.records)
            answers = given.answers if usable else self._isolation.prepare(found.records)
            batch = _Batch(answers, found.records, found.moved, [], {number for _, number in found.moved})
            self._act(self._transact(lambda connection, apart: self._handle(connection, batch, apart)))

    def run_due(self, at_ms: int) -> int:
        """Handle due rows whose time is at or before `at_ms`, at most one batch; returns how many."""
        with self._lock:
            if not self._epochs:
                return 0
            recorded = self._transact(lambda connection, apart: self._handle_due(connection, at_ms, apart))
            if recorded is not None:
                self._act(recorded)
            self._forget_due()
            return 0 if recorded is None else len(recorded.batch.due)

    def next_due_ms(self) -> int | None:
        """When the next due row of an owned partition is due, or None; asks the database at most once a second."""
        with self._lock:
            if self._epochs and boot_s() - self._due_checked_s >= DUE_CHECK_S:
                self._due_at = self._in_database(self._read_next_due)
                self._due_checked_s = boot_s()
            return self._due_at

    def caught_up(self, partitions: Sequence[int]) -> None:
        """Tell the handler, in a transaction of its own, that these owned partitions were read to their end."""
        with self._lock:
            epochs = self._mine(partitions)

            def tell(connection: postgres.Connection) -> None:
                self._fence(store.lock_owners(connection, self.role, epochs), epochs)
                with connection.cursor() as cursor:
                    self.handler.caught_up(cursor, sorted(epochs))
                connection.commit()

            self._in_database(tell)

    def tidy(self) -> None:
        """Delete outbox rows whose records are acknowledged; for idle moments, a step does it by itself."""
        with self._lock:
            if not self._acked:
                return
            epochs = self._mine(self._acked)

            def drop(connection: postgres.Connection) -> None:
                with connection.pipeline():
                    locked = store.lock_owners(connection, self.role, epochs)
                    store.drop_outbox(connection, self.role, epochs)
                self._fence(locked, epochs)
                connection.commit()

            self._in_database(drop)
            self._acked.clear()

    # Inside

    def _transact(self, work: "Callable[[postgres.Connection, bool], T]") -> T:
        """Run a transaction, again after conflicts, and with items apart after a handler failed."""
        apart = False
        for attempt in range(CONFLICT_REPEATS):
            try:
                return self._in_database(lambda connection: work(connection, apart))  # noqa: B023  # called at once
            except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected) as error:
                LOG.info("role %s repeats a step (%s)", self.role, type(error).__name__)
                sleep_s(CONFLICT_WAIT_S * (1 << min(attempt, 5)) * (0.5 + random_unit()))
            except Exception as error:
                if apart or control_flow(error):
                    raise
                LOG.warning(
                    "role %s: a batch failed (%s), its items are tried apart", self.role, type(error).__name__
                )
                apart = True
        raise DatabaseAway(f"role {self.role}: a step met {CONFLICT_REPEATS} conflicts in a row")

    def _handle(self, connection: postgres.Connection, batch: _Batch, apart: bool) -> _Recorded:
        days = {record.time_ms // DAY_MS for record in batch.records}
        if not days <= self._days:
            self._make_days(connection, days)
        epochs = self._mine(batch.partitions | self._acked)
        candidates = self._candidates(batch)
        with connection.pipeline():
            locked = store.lock_owners(connection, self.role, epochs)
            asked = [
                (
                    places,
                    store.note_seen(connection, self.role, day_of_ms(day * DAY_MS), ids, self._kept_days),
                )
                for day, (ids, places) in candidates.items()
            ]
        self._fence(locked, epochs)
        old = {places[row[0] - 1] for places, answer in asked for row in answer.fetchall()}
        noted = {place for places, _ in asked for place in places}
        kept = [
            place
            for place, answer in enumerate(batch.answers)
            if isinstance(answer, Poison) or (place in noted and place not in old)
        ]
        answers, records = batch.answers, batch.records
        if len(kept) < len(answers):
            answers, records = [answers[place] for place in kept], [records[place] for place in kept]
        effects = Effects()
        with connection.cursor() as cursor:
            self._isolation.apply(connection, cursor, answers, records, effects, apart=apart)
        return self._record(connection, batch, epochs, effects, repeats=len(batch.answers) - len(kept))

    def _handle_due(self, connection: postgres.Connection, at_ms: int, apart: bool) -> _Recorded | None:
        epochs = dict(self._epochs)
        with connection.pipeline():
            locked = store.lock_owners(connection, self.role, epochs)
            found = store.read_due(connection, self.role, sorted(epochs), at_ms, BATCH_RECORDS)
        self._fence(locked, epochs)
        batch = _Batch(due=[Due(*row) for row in found.fetchall()])
        if not batch.due:
            connection.rollback()
            return None
        batch.answers = [Item("", due.partition, due.at_ms, None, None, due) for due in batch.due]
        batch.records = [due_record(self.role, due) for due in batch.due]
        effects = Effects()
        with connection.cursor() as cursor:
            self._isolation.apply(connection, cursor, batch.answers, batch.records, effects, apart=apart)
        return self._record(connection, batch, epochs, effects, repeats=0)

    def _candidates(self, batch: _Batch) -> dict[int, tuple[list[str], list[int]]]:
        """Day → (ids in order, their places in the batch), each id once: a repeat inside the batch is dropped here.

        In order, because index look-ups of neighbours share pages, and because two processes then never wait crosswise.
        """
        days: dict[int, dict[str, int]] = {}
        first: set[str] = set()
        for place, answer in enumerate(batch.answers):
            if isinstance(answer, Poison) or answer.id in first:
                continue
            first.add(answer.id)
            days.setdefault(batch.records[place].time_ms // DAY_MS, {})[answer.id] = place
        return {
            day: (ids := sorted(places), [places[known] for known in ids]) for day, places in days.items()
        }

    def _record(
        self,
        connection: postgres.Connection,
        batch: _Batch,
        epochs: Mapping[int, int],
        effects: Effects,
        *,
        repeats: int,
    ) -> _Recorded:
        """Write positions, outbox and due rows, and commit, in one round trip."""
        outputs = self._recordable(effects, epochs)
        self._at("before_commit")
        with connection.pipeline():
            if batch.positions:
                topic_ids = {topic: self.cluster.topic_id(topic) for topic, _ in batch.positions}
                store.write_positions(
                    connection, self.role, self.cluster.cluster_id, topic_ids, batch.positions
                )
            for number, records in outputs.items():
                store.write_outbox(connection, self.role, number, records)
            if not self._acked <= outputs.keys():
                store.drop_outbox(connection, self.role, self._acked - outputs.keys())
            if batch.due:
                store.drop_due(connection, self.role, batch.due)
            if effects.wakes:
                store.write_wakes(connection, self.role, effects.wakes)
            connection.commit()
        first = min((wake.at_ms for wakes in effects.wakes.values() for wake in wakes), default=None)
        return _Recorded(batch, outputs, first, repeats)

    def _act(self, recorded: _Recorded) -> None:
        """Produce what was recorded, await the acks, and only then move on."""
        self._acked = set()
        self._at("after_commit")
        self._isolation.committed()
        outputs = recorded.outputs
        self._produce([output for number in sorted(outputs) for output in outputs[number]])
        self._at("after_ack")
        self._acked = set(outputs)
        self._positions.update(recorded.batch.positions)
        if recorded.first_wake_ms is not None:
            self._due_at = min(recorded.first_wake_ms, self._due_at or recorded.first_wake_ms)
        self._steps.inc()
        self._repeats.inc(recorded.repeats)

    def _recordable(self, effects: Effects, epochs: Mapping[int, int]) -> dict[int, Sequence[Output]]:
        """Outputs by partition, those too large replaced by dead letters."""
        strange = (effects.outputs.keys() | effects.wakes.keys()) - epochs.keys()
        if strange:
            raise StopPartition(
                f"the handler of role {self.role} wrote for partitions {sorted(strange)} without an input of them"
            )
        return {
            number: [self._fitting(output, number) for output in some]
            for number, some in effects.outputs.items()
            if some
        }

    def _fitting(self, output: Output, partition: int) -> Output:
        if len(output.value) <= EVENT_MAX_BYTES or output.topic == DEADLETTERS:
            return output
        LOG.error("role %s: an output of %d bytes is dead-lettered", self.role, len(output.value))
        return dead_output(output, partition, self.role, now_ms(), self._times)

    def _produce(self, outputs: Sequence[Output]) -> None:
        """Produce in order and await all acks; after a failure nothing is owned any more, the outbox stays."""
        if not outputs:
            return
        hooks = self._hooks
        self._at("before_produce")
        try:
            if hooks is None:
                self._producer.produce_all(outputs)
            else:
                self._producer.produce_all(
                    outputs, halfway=lambda: hooks.at("mid_produce"), queued=lambda: hooks.at("after_produce")
                )
        except ProduceFailed:
            self.release(self.owned)
            raise
        count_written(outputs)

    def _mine(self, partitions: "Sequence[int] | set[int]") -> dict[int, int]:
        """Partition → my epoch, in order; Fenced when one is not mine (any more)."""
        try:
            return {number: self._epochs[number] for number in sorted(partitions)}
        except KeyError as error:
            raise Fenced(f"role {self.role} does not own partition {error.args[0]}") from None

    def _fence(self, locked: "psycopg.Cursor[tuple[int]]", epochs: Mapping[int, int]) -> None:
        if len(locked.fetchall()) < len(epochs):
            self.release(self.owned)
            raise Fenced(f"role {self.role}: another process owns some of partitions {sorted(epochs)} now")

    def _make_days(self, connection: postgres.Connection, days: set[int]) -> None:
        """Make the `seen` partitions of these days (and of those around today), in a transaction of its own."""
        for day in sorted(days):
            store.make_seen_days(connection, day_of_ms(day * DAY_MS), 1)
        store.make_seen_days(connection, today(), SEEN_DAYS_AHEAD)
        connection.commit()
        self._days.update(days)

    def _read_next_due(self, connection: postgres.Connection) -> int | None:
        found = store.next_due_ms(connection, self.role, self.owned)
        connection.rollback()
        return found

    def _forget_due(self) -> None:
        self._due_at = None
        self._due_checked_s = float("-inf")

    def _at(self, name: str) -> None:
        if self._hooks is not None:
            self._hooks.at(name)

    def _in_database(self, work: "Callable[[postgres.Connection], T]") -> T:
        """Run work on the connection, inside the time limit; rolled back when it raises, DatabaseAway when the server is why."""
        connection = self._connection
        if connection is None or connection.closed:
            name = f"sealpost-{self.role}"
            connection = self._connection = postgres.connect(self._dsn, application_name=name)
        try:
            with self._watchdog.limit(connection):
                return work(connection)
        except BaseException as error:
            away = postgres.is_away(error, connection)
            if away or not self._rolled_back(connection):
                self._disconnect()
            if away:
                self.release(self.owned)
                raise DatabaseAway(f"role {self.role}: {type(error).__name__}") from None
            raise

    def _rolled_back(self, connection: postgres.Connection) -> bool:
        try:
            with self._watchdog.limit(connection):
                connection.rollback()
        except psycopg.Error as error:
            LOG.warning("role %s: roll-back failed (%s)", self.role, type(error).__name__)
            return False
        return True

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
