"""Faust as the feed of processors: groups, assignment, agents; one app a processor, all in one asyncio loop.

The only file that imports faust. What is used of it is small, and each piece is tested against a live broker
(tests/faults/test_faust_guarantees.py):
- `noack_take`: plain `take` and plain iteration acknowledge an event even when its agent raises or is cancelled. An event is
  acknowledged here only after the engine's step has returned, that is after its outputs are acknowledged.
- Faust's own assignor, which gives one member the same partition numbers of all topics; it is chosen only while
  `table_standby_replicas` is above 0, otherwise Faust takes a round robin that tears the topics apart.
- The group's offsets are a hint. Positions live in the database (streams.processors.stepper).
- A group that cannot be joined is an error that aiokafka keeps until somebody asks for it, and Faust never asks: we do.
Faust's tables, timers, producer, leader topic and web server are not used, and it must not make topics.
"""

import asyncio
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import faust

from schemas.clock import MS_PER_S, boot_s
from schemas.constants import BATCH_RECORDS, PRODUCTION, Times
from schemas.errors import SealpostError
from schemas.ids import random_unit
from streams.kafka.admin import KafkaAway
from streams.kafka.consumer import static_member
from streams.processors.stepper import Stepper, Superseded
from streams.step.contract import Record
from streams.step.errors import DatabaseAway
from streams.step.store import TopicPart

LOG = logging.getLogger(__name__)
T = TypeVar("T")
TAKE_S = 0.05
"""How often what has arrived is handed over; the longest an event waits while nothing else is there (idle latency)."""
TURN_S = 0.25
"""Longest pause between two looks at due wakes and the logs' ends."""
COMMIT_S = 1.0
"""How often Faust commits; a hint for the next start and for lag tooling."""
BACK_OFF_S = 0.2
BACK_OFF_MAX_S = 5.0
"""First and longest wait before the database is tried again."""
STOP_LOOK_S = 0.1
"""How often the loop looks whether it should stop."""
STOP_LIMIT_S = 10.0
"""An app that does not stop in this time is left behind; the process ends."""


class FaustEnded(SealpostError):
    """A Faust app or agent ended by itself; the log has its reason. The role ends and the supervisor starts it anew."""


@dataclass(slots=True)
class _Batch:
    """Records on their way through the driver; `done` gives the partitions whose records were handled."""

    records: list[Record]
    generation: int
    done: "asyncio.Future[set[TopicPart]]"


@dataclass(slots=True)
class _Assignment:
    """What the group gave; `generation` changes with each rebalance."""

    given: frozenset[TopicPart] | None = None
    generation: int = 0
    taken: bool = False


@dataclass(slots=True)
class _BackOff:
    """Growing waits between tries."""

    next_s: float = BACK_OFF_S
    until_s: float = 0.0

    def wait(self) -> None:
        self.until_s = boot_s() + self.next_s * (0.5 + random_unit())
        self.next_s = min(BACK_OFF_MAX_S, self.next_s * 2)

    def left_s(self) -> float:
        return max(0.0, self.until_s - boot_s())


class ProcessorFeed:
    """One processor on one Faust app. Everything that touches engine or database runs in one thread of its own."""

    def __init__(
        self, stepper: Stepper, bootstrap: str, *, times: Times = PRODUCTION, data_dir: Path
    ) -> None:
        """`data_dir`: where Faust makes its folder (nothing of ours is in it). Nothing starts before `start`."""
        self.ready = False
        """True when partitions are taken over, or there are none left for this member."""
        self.role = stepper.engine.role
        self._stepper = stepper
        self._bootstrap = bootstrap
        self._times = times
        self._data_dir = data_dir
        self._assignment = _Assignment()
        self._back_off = _BackOff()
        self._turn_due_s = 0.0
        self._batch: _Batch | None = None
        self._stopping = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.role)
        self._changed = asyncio.Event()
        self._app: faust.App | None = None
        self._driver: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Set the group's offsets, join it, work until `stop`; or end with the error that ends the role."""
        while not self._stopping and not await self._group_is_set():
            await self._pause()
        if self._stopping:
            return
        self._app = self._make_app()
        self._driver = asyncio.create_task(self._drive(), name=f"{self.role}-driver")
        serving = asyncio.create_task(self._serve(self._app), name=f"{self.role}-app")
        await asyncio.wait([self._driver, serving], return_when=asyncio.FIRST_COMPLETED)
        if not self._driver.done() and not self._stopping:
            error = serving.exception()
            reason = "" if error is None else f" ({type(error).__name__})"
            raise FaustEnded(f"the Faust app of role {self.role} ended{reason}")
        serving.cancel()
        await self._driver

    @staticmethod
    async def _serve(app: faust.App) -> None:
        await app.start()
        await app.wait()

    async def stop(self) -> None:
        """Finish the step under way, acknowledge it, leave the group, give the partitions up."""
        self._stopping = True
        self.ready = False
        self._changed.set()
        if self._driver is not None:
            await asyncio.wait([self._driver])
        if self._app is not None:
            try:
                await asyncio.wait_for(self._app.stop(), STOP_LIMIT_S)
            except TimeoutError:
                LOG.warning("role %s: its Faust app did not stop in time", self.role)
        await self._in_thread(self._stepper.close)
        self._thread.shutdown(wait=False)

    async def _group_is_set(self) -> bool:
        try:
            if not await self._in_thread(self._stepper.set_group_offsets):
                LOG.info("role %s joins a group that has members", self.role)
        except (DatabaseAway, KafkaAway) as error:
            LOG.warning("role %s waits: %s", self.role, error)
            self._back_off.wait()
            return False
        return True

    # Faust

    def _make_app(self) -> faust.App:
        times = self._times
        self._data_dir.mkdir(parents=True, exist_ok=True)
        app = faust.App(
            self._stepper.group,
            broker=";".join(f"kafka://{server.strip()}" for server in self._bootstrap.split(",")),
            broker_session_timeout=times.session_s,
            broker_heartbeat_interval=times.session_s / 5,
            broker_commit_interval=COMMIT_S,
            consumer_group_instance_id=static_member(self._stepper.engine.handler.topics),
            consumer_auto_offset_reset="earliest",
            processing_guarantee="at_least_once",
            store="memory://",
            datadir=str(self._data_dir),
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            table_standby_replicas=1,  # not for tables: see above
            stream_wait_empty=False,  # steps are fenced; waiting would hold up the rebalance
        )
        topic = app.topic(
            *self._stepper.engine.handler.topics,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)  # type: ignore[arg-type]  # wants any arguments
        app.on_partitions_revoked.connect(self._on_revoked, weak=False)  # type: ignore[arg-type]  # as above
        app.agent(topic, name=f"{self.role}.agent")(self._consume)
        app.finalize()
        return app

    async def _consume(self, stream: "faust.StreamT[bytes]") -> None:
        """The agent: hands batches to the driver, never raises. While one is handled Faust brings the next together, for it takes
        nothing before it is asked again, and its own work on an event is as long as ours."""
        events: Sequence[Any]
        taken: AsyncIterator[Sequence[Any]] = stream.noack_take(BATCH_RECORDS, within=TAKE_S)  # type: ignore[attr-defined]  # not in the interface
        under_way: asyncio.Task[None] | None = None
        try:
            async for events in taken:
                generation = self._assignment.generation
                if under_way is not None:
                    await under_way
                under_way = asyncio.create_task(self._handle(list(events), generation))
        finally:
            if under_way is not None:
                under_way.cancel()

    async def _handle(self, events: Sequence[Any], generation: int) -> None:
        """Hand events over, and acknowledge those that were handled. `generation`: of the assignment they were taken under."""
        handled = await self._hand_over([_record(event) for event in events], generation)
        for event in events:
            if (event.message.topic, event.message.partition) in handled:
                event.ack()

    async def _on_assigned(self, app: Any, assigned: Any, **_: Any) -> None:
        given = frozenset((part.topic, part.partition) for part in assigned)
        self._assignment = _Assignment(given, self._assignment.generation + 1)
        self._changed.set()

    async def _on_revoked(self, app: Any, revoked: Any, **_: Any) -> None:
        """Faust takes back everything at each rebalance. The step under way is awaited, for it is soon done; should it not be,
        the next owner fences it."""
        self._assignment = _Assignment(None, self._assignment.generation + 1)
        self.ready = False
        self._changed.set()
        released = self._in_thread(self._stepper.release)
        try:
            await asyncio.wait_for(asyncio.shield(released), self._times.session_s / 2)
        except TimeoutError:
            LOG.warning("role %s: a step outlasts the rebalance", self.role)

    # The driver: one loop that decides what the thread does next

    async def _hand_over(self, records: list[Record], generation: int) -> set[TopicPart]:
        if self._stopping:
            return set()
        done: asyncio.Future[set[TopicPart]] = asyncio.get_running_loop().create_future()
        self._batch = _Batch(records, generation, done)
        self._changed.set()
        return await done

    async def _drive(self) -> None:
        try:
            while not self._stopping:
                self._changed.clear()
                try:
                    await self._next()
                except (DatabaseAway, KafkaAway) as error:
                    LOG.warning("role %s waits: %s", self.role, error)
                    await self._in_thread(self._stepper.lost)
                    self._assignment.taken = False
                    self.ready = False
                    self._back_off.wait()
                self._ask_for_errors()
                await self._pause()
        finally:
            self.ready = False
            self._resolve(set())

    def _ask_for_errors(self) -> None:
        error = None if self._app is None else group_error(self._app)
        if error is not None:
            raise FaustEnded(f"role {self.role} cannot be a member of its group: {type(error).__name__}")

    async def _next(self) -> None:
        now = self._assignment
        batch = self._batch
        if batch is not None and batch.generation != now.generation:
            # Taken before a rebalance: whoever owns the partitions now reads them again.
            self._resolve(set())
        if now.given is None or self._back_off.left_s() > 0:
            return
        if not now.taken:
            await self._take_over(now)
        elif self._batch is not None:
            handled = await self._in_thread(functools.partial(self._stepper.step, self._batch.records))
            self._resolve(handled)
            if boot_s() >= self._turn_due_s:
                await self._turn()
        else:
            await self._turn()

    async def _turn(self) -> None:
        """Wakes, `caught_up`, lag: between batches, and under steady load after a batch once it is time."""
        await self._in_thread(self._stepper.turn)
        self._turn_due_s = boot_s() + TURN_S

    async def _take_over(self, now: _Assignment) -> None:
        given = now.given or frozenset()
        superseded = lambda: self._stopping or self._assignment is not now  # noqa: E731  # read in the thread
        try:
            await self._in_thread(functools.partial(self._stepper.take_over, given, superseded))
        except Superseded:
            return
        if self._assignment is now:
            now.taken = True
            self._back_off = _BackOff()
            self.ready = True

    async def _pause(self) -> None:
        """Until there is something to do: a batch, an assignment, a stop, or the next look around."""
        now = self._assignment
        can_act = now.given is not None and self._back_off.left_s() == 0
        if self._stopping or (can_act and (not now.taken or self._batch is not None)):
            await asyncio.sleep(0)
            return
        try:
            await asyncio.wait_for(self._changed.wait(), self._back_off.left_s() or TURN_S)
        except TimeoutError:
            return

    def _resolve(self, handled: set[TopicPart]) -> None:
        if self._batch is not None:
            if not self._batch.done.done():
                self._batch.done.set_result(handled)
            self._batch = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


@dataclass(slots=True)
class FaustFeeds:
    """All processors of one process, in one loop."""

    make: Callable[[], Sequence[ProcessorFeed]]
    """Makes the feeds inside the running loop."""
    _feeds: list[ProcessorFeed] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """True when every processor has taken over what is its own."""
        return bool(self._feeds) and all(feed.ready for feed in self._feeds)

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set, or until one processor cannot go on: its error is raised, and the process is to end."""
        asyncio.run(self._run(stop))

    async def _run(self, stop: threading.Event) -> None:
        self._feeds = list(self.make())
        tasks = [asyncio.create_task(feed.run(), name=feed.role) for feed in self._feeds]
        try:
            while not stop.is_set() and not any(task.done() for task in tasks):
                await asyncio.wait(tasks, timeout=STOP_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await asyncio.gather(*(feed.stop() for feed in self._feeds))
        for task in tasks:
            await task


def group_error(app: Any) -> BaseException | None:
    """Why aiokafka has given the group of this app up. It does nothing more for it until the error is taken, which only its own
    `getmany` does; Faust takes records another way."""
    consumer = app._consumer  # noqa: SLF001  # nothing public leads to the state of the group
    client = None if consumer is None else consumer._thread._consumer  # noqa: SLF001  # as above
    group = None if client is None else client._coordinator  # noqa: SLF001  # as above
    if group is None:
        return None  # the app is starting
    error: BaseException | None = group._pending_exception  # noqa: SLF001  # as above
    routine: asyncio.Task[None] = group._coordination_task  # noqa: SLF001  # as above
    return routine.exception() if error is None and routine.done() and not routine.cancelled() else error


def _record(event: Any) -> Record:
    message = event.message
    key = message.key if message.key is None else bytes(message.key)
    value = message.value if message.value is None else bytes(message.value)
    return Record(
        message.topic, message.partition, message.offset, key, value, round(message.timestamp * MS_PER_S)
    )
