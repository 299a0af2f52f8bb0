"""One processor's engine under any feed that only brings records: takes over, reads what must come first, closes gaps, keeps
house. For one thread.

A feed with a group of its own (Faust) starts where the group has committed. The truth is the position in the database:
records below it are skipped by the engine, records that the feed passed over are read directly.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

import psycopg

from schemas.clock import now_ms
from schemas.metrics import gauge
from streams.kafka import group_offsets
from streams.kafka.direct import StretchReader
from streams.step import postgres
from streams.step.contract import Record
from streams.step.engine import Engine
from streams.step.errors import DatabaseAway, Fenced
from streams.step.log_ends import LogEnds
from streams.step.store import TopicPart

LOG = logging.getLogger(__name__)
_POSITIONS = "select topic, partition, next_offset from step.position where role = %s"


class Superseded(Exception):
    """The group took the partitions back while they were being taken over; handled by the feed."""


class Stepper:
    """Owns what it is told to own; `first_topics` are read to their end, in this order, before anything else."""

    def __init__(
        self, engine: Engine, dsn: str, bootstrap: str, *, group: str, first_topics: Sequence[str] = ()
    ) -> None:
        """Nothing is owned or read yet. `dsn` is the engine's database."""
        self.engine = engine
        self.group = group
        self._dsn = dsn
        self._bootstrap = bootstrap
        self._first_topics = tuple(first_topics)
        self._reader: StretchReader | None = None
        self._ends = LogEnds(engine.cluster, engine.role, engine.handler.topics)
        self._database_up = gauge("sealpost_component_up").labels("postgres")

    def set_group_offsets(self) -> bool:
        """Before joining: the group starts where the database is. False when the group has members, who have done it."""
        cluster, role = self.engine.cluster, self.engine.role
        cluster.refresh()
        parts = [(topic, n) for topic in self.engine.handler.topics for n in range(cluster.partitions(topic))]
        try:
            with postgres.connect(self._dsn, application_name=f"sealpost-{role}-start") as connection:
                stored = {
                    (t, int(n)): int(at) for t, n, at in connection.execute(_POSITIONS, (role,)).fetchall()
                }
        except psycopg.Error as error:
            raise DatabaseAway(f"role {role}: {type(error).__name__}") from None
        ranges = cluster.log_ranges(parts)
        offsets = {part: min(max(stored.get(part, 0), ranges[part].low), ranges[part].high) for part in parts}
        return group_offsets.write(self._bootstrap, self.group, offsets)

    def take_over(self, given: Iterable[TopicPart], superseded: Callable[[], bool]) -> None:
        """Become the owner of the partition numbers that were given whole, and read what must come first.

        `superseded` is asked between batches; Superseded when it says so. Raises what Engine.take_over and step raise.
        """
        numbers = self._whole(given)
        positions = self.engine.take_over(numbers)
        self._database_up.set(1)
        self._ends.follow(())
        parts = sorted(positions, key=lambda part: part[1])
        first = [part for topic in self._first_topics for part in parts if part[0] == topic]
        until = (
            {part: found.high for part, found in self.engine.cluster.log_ranges(first).items()}
            if first
            else {}
        )
        # Where the group is ahead of the database, the feed will never bring what lies between.
        committed = group_offsets.read(self._bootstrap, self.group, parts)
        for part in [*first, *(part for part in parts if part not in until)]:
            self._read_to(
                part, max(until.get(part, 0), min(committed.get(part, 0), self._end(part))), superseded
            )
        self._ends.follow(positions)

    def step(self, records: Sequence[Record]) -> set[TopicPart]:
        """Handle records in order; returns the partitions that are owned, whose records are handled."""
        owned = [
            record for record in records if self.engine.position(record.topic, record.partition) is not None
        ]
        expected: dict[TopicPart, int] = {}
        run: list[Record] = []
        for record in owned:
            part = (record.topic, record.partition)
            at = expected.get(part, self.engine.position(*part) or 0)
            if record.offset > at:
                self._step(run)
                run = []
                LOG.warning(
                    "role %s: %s/%d is read directly from %d to %d",
                    self.engine.role,
                    *part,
                    at,
                    record.offset,
                )
                self._read_to(part, record.offset, lambda: False)
            run.append(record)
            expected[part] = max(at, record.offset + 1)
        self._step(run)
        return {(record.topic, record.partition) for record in owned}

    def turn(self) -> None:
        """Between records: wakes that are due, `caught_up`, acknowledged outputs forgotten, lag measured."""
        engine = self.engine
        due_ms = engine.next_due_ms()
        if due_ms is not None and due_ms <= now_ms():
            engine.run_due(now_ms())
        else:
            engine.tidy()
        reached = self._ends.turn(engine.position)
        if reached:
            engine.caught_up(reached)

    def lost(self) -> None:
        """The database is away: nothing is owned until it is taken over again."""
        self._database_up.set(0)
        self._forget()

    def release(self) -> None:
        """Give everything up in order: outputs that are acknowledged are not left to be produced once more."""
        try:
            self.engine.tidy()
        except (DatabaseAway, Fenced) as error:
            LOG.info("role %s leaves acknowledged outputs behind: %s", self.engine.role, error)
        self._forget()

    def close(self) -> None:
        """Give everything up and close what was opened; the producer belongs to the caller."""
        self.release()
        self.engine.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _forget(self) -> None:
        self._ends.follow(())
        self.engine.release(self.engine.owned)

    def _whole(self, given: Iterable[TopicPart]) -> list[int]:
        """Numbers given to us in every topic that has them: who shares a number with another member fences it for ever."""
        mine, cluster = set(given), self.engine.cluster
        counts = {topic: cluster.partitions(topic) for topic in self.engine.handler.topics}
        numbers = {number for _, number in mine}
        whole = sorted(n for n in numbers if all((t, n) in mine for t, count in counts.items() if n < count))
        if len(whole) < len(numbers):
            LOG.warning(
                "role %s: partitions %s are shared with another member",
                self.engine.role,
                numbers - set(whole),
            )
        return whole

    def _end(self, part: TopicPart) -> int:
        return self.engine.cluster.log_ranges([part])[part].high

    def _read_to(self, part: TopicPart, end: int, superseded: Callable[[], bool]) -> None:
        start = self.engine.position(*part)
        if start is None or start >= end:
            return
        if self._reader is None:
            self._reader = StretchReader(self._bootstrap, client_id=f"sealpost-{self.engine.role}-direct")
        for batch in self._reader.read(*part, start, end):
            if superseded():
                raise Superseded
            self._step(batch)

    def _step(self, records: Sequence[Record]) -> None:
        if records:
            self.engine.step(records)
            self._ends.handled(records[-1].topic, records[-1].time_ms)
