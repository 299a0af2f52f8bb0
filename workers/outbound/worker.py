"""The role `outbound`: lanes over a feed, a sender for each head, and an orderly end.

A message is taken, waits for its turn in its lane, goes its way (`sender`), and is finished; only then the next of its lane
starts. What is in memory is bounded by the feed; what runs at once by the turns.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

import uvloop

from schemas import topics
from schemas.clock import boot_s
from schemas.constants import PRODUCTION, Times
from schemas.envelope import InvalidEvent
from schemas.errors import SealpostError
from schemas.metrics import gauge
from streams.kafka.producer import AsyncProducer, ProduceFailed
from streams.kafka.settings_follower import SettingsFollower
from streams.step.contract import Record
from streams.step.deadletter import dead_letter
from vault.vault import Vault
from workers.channel import Channel
from workers.outbound import measures
from workers.outbound.accounts import Accounts
from workers.outbound.commands import LaneKey, Message, decode
from workers.outbound.faults import where
from workers.outbound.feed import GROUP, Feed, Partition
from workers.outbound.gate import VaultGate
from workers.outbound.lanes import Lanes
from workers.outbound.provider import ProviderCalls
from workers.outbound.sender import Parts, Sender
from workers.outbound.statuses import ROLE
from workers.outbound.turns import Limits, Turns

SETTLE_S = 5.0
"""Beside the HTTP limit: how long an outcome may take to be settled and written when partitions are taken away or at the end."""
LOOK_S = 0.1
"""How often a running worker looks whether it should stop: how late SIGTERM is noticed."""
SETTINGS_READY_S = 60.0
"""To read the settings topic to its end at start."""

logger = logging.getLogger(__name__)


class OutboundStopped(SealpostError):
    """Sending ended by itself: Kafka refused for good, or a part of the role failed. The message holds the kind of error.

    The supervisor starts the role anew; if it happens again, look at the log line before it and at the broker.
    """


@dataclass(frozen=True, slots=True)
class OutboundConfig:
    """What the role needs from outside. `channels`: by name, those whose outbound topics are read."""

    bootstrap: str
    channels: Mapping[str, Channel]
    times: Times = PRODUCTION
    limits: Limits = field(default_factory=Limits)
    group: str = GROUP
    public_url: str = ""
    """Where people reach the API's pages; "": the text that leads to the preference page cannot be sent."""

    def topics(self) -> list[str]:
        """The topics read: replies and bulk of each channel."""
        return [topics.outbound(name, bulk=bulk) for name in sorted(self.channels) for bulk in (False, True)]


class OutboundWorker:
    """One process of the role. `vault` and `settings` (started) belong to the caller."""

    def __init__(self, config: OutboundConfig, vault: Vault, settings: SettingsFollower) -> None:
        self._config = config
        self._vault = vault
        self._settings = settings
        self._feed: Feed | None = None
        self._gate: VaultGate | None = None
        for channel in config.channels:
            # Shown as 0 before the first: an alarm on growth would miss it otherwise.
            measures.unknown(channel)
            measures.duplicate(channel)

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set, then end in order. Blocking; OutboundStopped when sending ended by itself."""
        self._settings.wait_ready(SETTINGS_READY_S)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(stop))

    def ready(self) -> bool:
        """True once the group has given this process its share and while the vault answers."""
        return self._feed is not None and self._feed.joined and self._gate is not None and self._gate.working

    def partitions(self) -> list[Partition]:
        """The partitions that are ours now, for tests and operators' eyes: what each holds, and whether it is paused."""
        return self._feed.partitions() if self._feed is not None else []

    async def _serve(self, stop: threading.Event) -> None:
        config = self._config
        gate = self._gate = VaultGate(self._vault)
        calls = ProviderCalls(config.times.http_s, boot_s)
        producer = AsyncProducer(config.bootstrap, client_id="sealpost-outbound")
        ended = asyncio.Event()
        parts = Parts(
            vault=self._vault,
            gate=gate,
            accounts=Accounts(self._vault, gate, config.times.lease_outbound_s, boot_s),
            turns=Turns(config.limits, boot_s),
            calls=calls,
            producer=producer,
            settings=self._settings,
            channels=config.channels,
            times=config.times,
            public_url=config.public_url,
        )
        dispatcher = Dispatcher(parts, ended)
        feed = self._feed = Feed(
            config.bootstrap,
            config.topics(),
            dispatcher,
            session_s=config.times.session_s,
            release_s=config.times.http_s + SETTLE_S,
            messages_max=config.limits.messages_per_partition,
            group=config.group,
            ended=ended.set,
        )
        serving = asyncio.create_task(gate.serve())
        serving.add_done_callback(lambda _: ended.set())
        feed.start()
        try:
            await _until(stop, ended)
        finally:
            await feed.stop()
            failure = feed.failure or dispatcher.failure or _failure_of(serving)
            dispatcher.abandon()
            serving.cancel()
            await calls.close()
            await producer.close()
            gate.close()
            self._feed = None
        if failure is not None:
            raise OutboundStopped(type(failure).__name__) from failure


class Dispatcher:
    """Puts records into lanes and runs the heads of lanes; lives in the event loop."""

    def __init__(self, parts: Parts, ended: asyncio.Event) -> None:
        self._parts = parts
        self._sender = Sender(parts)
        self._ended = ended
        self._lanes: Lanes[LaneKey, tuple[Message, Partition]] = Lanes()
        self._running: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._count = gauge("sealpost_lanes")
        self.failure: BaseException | None = None

    def take(self, partition: Partition, records: Sequence[Record]) -> None:
        """Records of one partition, in order. What is no send command is dead-lettered by itself, out of any lane."""
        for record in records:
            try:
                message = decode(record)
                if message.channel not in self._parts.channels:
                    raise InvalidEvent("a send command of another channel")
            except InvalidEvent as error:
                logger.warning("no send command at offset %d: %s", record.offset, error)
                self._start(self._bury(record, partition, type(error).__name__))
                continue
            if self._lanes.add(message.lane, (message, partition)):
                self._start(self._run(message.lane))
        self._count.set(len(self._lanes))

    async def release(self, partitions: Sequence[Partition]) -> None:
        """Interrupt the waits of these partitions and return once nothing of them is under way."""
        for partition in partitions:
            partition.waits.interrupt()
        while any(partition.busy for partition in partitions):
            self._idle.clear()
            await self._idle.wait()

    def abandon(self) -> None:
        """The process ends: what could not be finished in time is left to its claim."""
        for task in self._running:
            task.cancel()

    async def _run(self, lane: LaneKey) -> None:
        """Send the messages of a lane, one after the other, until it is empty."""
        more = True
        while more:
            message, partition = self._lanes.head(lane)
            if not partition.waits.interrupted:
                await self._send(message, partition)
            more = self._lanes.done(lane)
        self._count.set(len(self._lanes))

    async def _send(self, message: Message, partition: Partition) -> None:
        partition.busy += 1
        try:
            if await self._sender.send(message, partition.waits):
                partition.watermark.finish(message.record.offset)
        except ProduceFailed as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001  # one message that cannot be handled must not stop the others
            logger.error("command %s gets no status: %s", message.event.id, where(error))
            await self._bury(message.record, partition, type(error).__name__)
        finally:
            partition.busy -= 1
            if not partition.busy:
                self._idle.set()

    async def _bury(self, record: Record, partition: Partition, reason: str) -> None:
        letter = dead_letter(record, ROLE, reason, self._parts.times)
        try:
            await self._parts.producer.send_all((letter,))
        except ProduceFailed as error:
            self._fail(error)
            return
        measures.dead(reason).inc()
        partition.watermark.finish(record.offset)

    def _fail(self, error: BaseException) -> None:
        """The producer is of no use any more: the role ends and begins anew; everything settled is written again then."""
        logger.error("sending ends: %s", type(error).__name__)
        self.failure = self.failure or error
        self._ended.set()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """A lane must not stand still in silence: what gets through here ends the role, and the next process reads it again."""
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("a lane ended: %s", where(error))
            self._fail(error)


async def _until(stop: threading.Event, ended: asyncio.Event) -> None:
    """Return once told to stop, or when a part ended by itself."""
    ending = asyncio.create_task(ended.wait())
    while not stop.is_set() and not ending.done():
        await asyncio.wait((ending,), timeout=LOOK_S)
    ending.cancel()


def _failure_of(task: "asyncio.Task[None]") -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None
