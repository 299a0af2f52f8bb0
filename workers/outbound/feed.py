"""Send commands out of Kafka: a poll thread that takes, pauses and commits; the event loop does everything else.

What is in memory is bounded for each partition: above the bound it is paused, and polling goes on, so that the group never
loses us. A partition is committed up to its lowest unfinished message and no further.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.clock import boot_s
from streams.kafka.consumer import consumer_settings, raise_unless_passing, to_record
from streams.step.contract import Record
from workers.outbound.lag import Lag, PartitionKey
from workers.outbound.waits import Waits
from workers.outbound.watermark import Watermark

GROUP = "sealpost.outbound"
POLL_S = 0.1
"""Longest wait for the first record: how late a partition that has room again is resumed."""
BATCH = 500
"""Records handed over at once, and a quarter of a partition's bound at most: how far the bound can be overrun."""
COMMIT_EVERY_S = 0.5
"""Between commits; what a crash repeats is asked for in the vault and answered from the claim, so seldom is enough."""
BYTES_MAX = 8 * 1024 * 1024
"""The same in bytes of record values, for large messages."""
SPAN_MAX = 50_000
"""Messages from the lowest unfinished one on: one that waits for hours must not make a restart read for ever."""
FETCHED_KB = 2_048
"""What librdkafka holds ready of one partition, beyond what we took."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Partition:
    """One partition for as long as it is ours."""

    topic: str
    number: int
    messages_max: int
    watermark: Watermark = field(default_factory=Watermark)
    waits: Waits = field(default_factory=Waits)
    paused: bool = False
    committed: int | None = None
    busy: int = 0
    """Messages under way (event loop only)."""

    def full(self, share: float = 1.0) -> bool:
        """True above this share of the bounds."""
        held = self.watermark
        return (
            held.unfinished() >= self.messages_max * share
            or held.size() >= BYTES_MAX * share
            or held.span() >= SPAN_MAX * share
        )


class Taker(Protocol):
    """What the feed hands over to; all calls are made in the event loop."""

    def take(self, partition: Partition, records: Sequence[Record]) -> None:
        """Records of one partition, in order."""
        ...

    async def release(self, partitions: Sequence[Partition]) -> None:
        """Interrupt their waits and return once nothing of them is under way."""
        ...


class Feed:
    """The consumer of the group. `failure` is set when reading ended by itself."""

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        taker: Taker,
        *,
        session_s: float,
        release_s: float,
        messages_max: int,
        group: str = GROUP,
        ended: Callable[[], None],
    ) -> None:
        """`release_s`: longest wait for calls under way when partitions are taken away; `messages_max`: messages of a
        partition in memory, above which it is paused; `ended` is called in the loop."""
        self._topics = list(topics)
        self._taker = taker
        self._release_s = release_s
        self._messages_max = messages_max
        self._batch = min(BATCH, max(1, messages_max // 4))
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._partitions: dict[PartitionKey, Partition] = {}
        self._stopping = threading.Event()
        self._joined = False
        self._next_commit_s = 0.0
        self._lag = Lag(bootstrap, topics)
        self.failure: Exception | None = None
        # A partition without a committed offset is read from its start: what was sent before is answered from its claim, and
        # what is older than every claim has expired. The same holds for an offset that is out of range.
        extra = {
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": FETCHED_KB,
            "queued.min.messages": BATCH,
        }
        settings = consumer_settings(
            bootstrap, group=group, client_id="sealpost-outbound", session_s=session_s, extra=extra
        )
        self._consumer = Consumer(settings)
        self._thread = threading.Thread(target=self._run, name="outbound-feed", daemon=True)

    def start(self) -> None:
        """Join the group and begin to take."""
        self._thread.start()

    async def stop(self) -> None:
        """Stop taking, let calls under way finish (bounded), commit what is contiguous, leave the group."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    @property
    def joined(self) -> bool:
        """True once the group has given us our share (which may be nothing)."""
        return self._joined and self.failure is None

    def partitions(self) -> list[Partition]:
        """The partitions that are ours now."""
        return list(self._partitions.values())

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._stopping.is_set():
                self._turn()
            self._give_up_all(commit=True)
        except Exception as error:  # noqa: BLE001  # the end of the thread must end the role, whatever the reason
            logger.error("the consumer ended: %s", type(error).__name__)
            self.failure = error
        finally:
            self._consumer.close()
            if self.failure is not None:
                self._loop.call_soon_threadsafe(self._ended)

    def _turn(self) -> None:
        first = self._consumer.poll(POLL_S)
        if first is not None:
            self._hand_over([first, *self._consumer.consume(self._batch - 1, 0)])
        self._hold_or_let_go()
        if boot_s() >= self._next_commit_s:
            self._next_commit_s = boot_s() + COMMIT_EVERY_S
            self._commit(list(self._partitions.values()), wait=False)
        self._lag.turn({key: partition.watermark for key, partition in self._partitions.items()})

    def _hand_over(self, messages: Sequence[Message]) -> None:
        taken: dict[PartitionKey, list[Record]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                raise_unless_passing(error)
                continue
            record = to_record(message)
            partition = self._partitions.get((record.topic, record.partition))
            if partition is None:
                continue
            partition.watermark.take(record.offset, len(record.value or b""), record.time_ms)
            taken.setdefault((record.topic, record.partition), []).append(record)
        for key, records in taken.items():
            self._loop.call_soon_threadsafe(self._taker.take, self._partitions[key], records)

    def _hold_or_let_go(self) -> None:
        for partition in self._partitions.values():
            if not partition.paused and partition.full():
                partition.paused = True
                self._consumer.pause([TopicPartition(partition.topic, partition.number)])
            elif partition.paused and not partition.full(0.5):
                partition.paused = False
                self._consumer.resume([TopicPartition(partition.topic, partition.number)])

    def _commit(self, partitions: Sequence[Partition], *, wait: bool) -> None:
        moved = {}
        for partition in partitions:
            position = partition.watermark.position()
            if position is not None and (wait or position != partition.committed):
                moved[(partition.topic, partition.number)] = (partition, position)
        if not moved:
            return
        offsets = [
            TopicPartition(topic, number, position) for (topic, number), (_, position) in moved.items()
        ]
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                # What fails in the background is committed again with the next message, or when the partition is given up.
                self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            # Not lost: the next commit, or the next owner's claims, make it good.
            logger.info("offsets not committed: %s", error.args[0].name())
            return
        for partition, position in moved.values():
            partition.committed = position

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        for part in assigned:
            self._partitions[(part.topic, part.partition)] = Partition(
                part.topic, part.partition, self._messages_max
            )
        self._joined = True
        logger.info("%d partitions assigned", len(assigned))

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        self._give_up(revoked, commit=True)

    def _on_lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        self._give_up(lost, commit=False)

    def _give_up_all(self, *, commit: bool) -> None:
        self._give_up([TopicPartition(topic, number) for topic, number in self._partitions], commit=commit)

    def _give_up(self, parts: Sequence[TopicPartition], *, commit: bool) -> None:
        """What is under way gets `release_s` to end; what does not end by then is the next owner's, guarded by its claim."""
        gone = [self._partitions.pop((part.topic, part.partition), None) for part in parts]
        partitions = [partition for partition in gone if partition is not None]
        if not partitions:
            return
        released: Future[None] = asyncio.run_coroutine_threadsafe(self._taker.release(partitions), self._loop)
        try:
            released.result(self._release_s if commit else 0.0)
        except FutureTimeout:
            if commit:
                logger.warning("calls were still under way when partitions were taken away")
        if commit:
            self._commit(partitions, wait=True)
