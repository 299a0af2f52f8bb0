"""Producers. One profile for all: idempotent, acks=all, murmur2, no gaps (protocols §1, review 17)."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.clock import boot_s
from schemas.constants import BROKER_ANSWER_S, DEADLETTER_MAX_BYTES
from schemas.errors import SealpostError
from streams.step.contract import Output

PARTITIONER = "murmur2"
"""The partitioner of every producer; Faust's default is the same. Another one would tear a subject's topics apart."""

LINGER_MS = 2
"""Wait for more records before a request goes out; costs latency, saves requests."""
FLUSH_TURN_S = 0.25
"""How often a wait for acks looks up to see whether it should be given up."""
POLL_TURN_S = 0.1
"""Longest sleep of the poll thread; it wakes at once for each delivery report."""
STOP_GRACE_S = 5.0
"""Acks still missing this long after a stop was asked for are given up; the outbox produces them again at the next start."""
QUEUE_RETRY_S = 0.01
"""Wait before the next try when librdkafka's queue is full."""
KILO = 1024
PRODUCER_MAX_BYTES = DEADLETTER_MAX_BYTES + 64 * KILO
"""Largest record a producer accepts: a dead letter with its key and framing."""


class ProduceFailed(SealpostError):
    """Kafka did not acknowledge every record; what was recorded is produced again by the next owner.

    Look at the broker (`sealpost status`), its disk and the topic's min.insync.replicas; the role restarts by itself.
    """


def producer_settings(
    bootstrap: str,
    *,
    client_id: str,
    delivery_timeout_s: float | None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """librdkafka settings of every Sealpost producer; without `delivery_timeout_s` a record is tried for ever."""
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "client.id": client_id,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": PARTITIONER,
        "linger.ms": LINGER_MS,
        "compression.type": "none",
        "message.max.bytes": PRODUCER_MAX_BYTES,
        "message.timeout.ms": 0 if delivery_timeout_s is None else max(1, round(delivery_timeout_s * 1000)),
        "socket.timeout.ms": round(BROKER_ANSWER_S * 1000),
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 512 * KILO,
        "allow.auto.create.topics": False,
        "log.connection.close": False,
    }
    settings.update(extra or {})
    return settings


class OrderedProducer:
    """Produces batches in order and waits for every ack. For one thread; the engine's."""

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str,
        delivery_timeout_s: float | None = None,
        extra: Mapping[str, Any] | None = None,
        give_up: threading.Event | None = None,
    ) -> None:
        """`give_up`: once set, a wait for acks ends after STOP_GRACE_S with ProduceFailed instead of going on for ever."""
        settings = producer_settings(
            bootstrap, client_id=client_id, delivery_timeout_s=delivery_timeout_s, extra=extra
        )
        # Only failures are reported: whoever waits for all acks needs no call a record.
        settings["delivery.report.only.error"] = True
        self._producer = Producer(settings, on_delivery=self._failed_delivery)
        self._failures: list[str] = []
        self._give_up = give_up

    def produce_all(
        self,
        outputs: Sequence[Output],
        timeout_s: float | None = None,
        *,
        halfway: Callable[[], None] | None = None,
        queued: Callable[[], None] | None = None,
    ) -> None:
        """Produce in order and return when the broker has acknowledged all.

        ProduceFailed when one failed, when `timeout_s` has passed or when waiting was given up; what became of the records
        is then unknown and the producer is not to be used again. `halfway` and `queued` are points for fault tests:
        after the first half is acknowledged, and before the last acks are awaited.
        """
        deadline = None if timeout_s is None else boot_s() + timeout_s
        middle = len(outputs) // 2
        produce = self._producer.produce
        for number, output in enumerate(outputs):
            if halfway is not None and number == middle:
                self._await_acks(deadline)
                halfway()
            try:
                produce(output.topic, output.value, output.key)
            except BufferError:
                self._await_acks(deadline)
                produce(output.topic, output.value, output.key)
            except KafkaException as error:
                raise ProduceFailed(f"{output.topic}: {_name(error)}") from None
        if queued is not None:
            queued()
        self._await_acks(deadline)

    def _await_acks(self, deadline: float | None) -> None:
        stop_seen: float | None = None
        while True:
            left = FLUSH_TURN_S if deadline is None else min(FLUSH_TURN_S, max(0.0, deadline - boot_s()))
            waiting = self._producer.flush(left)
            if self._failures:
                raise ProduceFailed(
                    f"{len(self._failures)} records not acknowledged, the first: {self._failures[0]}"
                )
            if waiting == 0:
                return
            if deadline is not None and boot_s() >= deadline:
                raise ProduceFailed(f"{waiting} records not acknowledged in time")
            if self._give_up is not None and self._give_up.is_set():
                stop_seen = stop_seen or boot_s()
                if boot_s() - stop_seen >= STOP_GRACE_S:
                    raise ProduceFailed(f"{waiting} records not acknowledged before the stop")

    def _failed_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failures.append(f"{message.topic()}: {error.name()}")

    def close(self) -> None:
        """Drop what is still queued and let the client go. Everything that `produce_all` returned from is safe."""
        self._producer.purge()
        self._producer.flush(1.0)


class AsyncProducer:
    """For asyncio: a plain producer, one poll thread, one wake-up of the loop for each batch of delivery reports."""

    def __init__(
        self,
        bootstrap: str,
        *,
        client_id: str,
        delivery_timeout_s: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """The event loop is the one in which `send` is first awaited; one producer serves one loop."""
        settings = producer_settings(
            bootstrap, client_id=client_id, delivery_timeout_s=delivery_timeout_s, extra=extra
        )
        self._producer = Producer(settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reports: list[tuple[asyncio.Future[None], str | None]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name=f"{client_id}-poll", daemon=True)
        self._thread.start()

    async def send(self, topic: str, key: bytes, value: bytes, timeout_s: float | None = None) -> None:
        """Return once the broker has acknowledged the record; ProduceFailed when it has not within `timeout_s` or refuses.

        After a timeout the record may still arrive: send it again with the same id.
        """
        await self.send_all((Output(topic, key, value),), timeout_s)

    async def send_all(self, outputs: Sequence[Output], timeout_s: float | None = None) -> None:
        """The same for several records, in order; ProduceFailed names the first that failed."""
        if not outputs:
            return
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        if timeout_s is None:
            await self._send_all(loop, outputs)
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._send_all(loop, outputs)
        except TimeoutError:
            raise ProduceFailed(f"{outputs[0].topic}: not acknowledged in time") from None

    async def _send_all(self, loop: asyncio.AbstractEventLoop, outputs: Sequence[Output]) -> None:
        waiting = [await self._enqueue(loop, output) for output in outputs]
        for future in waiting:
            await future

    async def _enqueue(self, loop: asyncio.AbstractEventLoop, output: Output) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = loop.create_future()
        future.add_done_callback(_look_at)

        def reported(error: KafkaError | None, message: Message) -> None:
            self._reports.append((future, None if error is None else f"{message.topic()}: {error.name()}"))

        while True:
            try:
                self._producer.produce(output.topic, output.value, output.key, on_delivery=reported)
                return future
            except BufferError:
                await asyncio.sleep(QUEUE_RETRY_S)
            except KafkaException as error:
                raise ProduceFailed(f"{output.topic}: {_name(error)}") from None

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(POLL_TURN_S)
            self._hand_over()
        self._hand_over()

    def _hand_over(self) -> None:
        reports, loop = self._reports, self._loop
        if not reports or loop is None:
            return
        self._reports = []
        try:
            loop.call_soon_threadsafe(_resolve, reports)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            self._stopping.set()

    async def close(self, grace_s: float = STOP_GRACE_S) -> None:
        """Give records under way `grace_s` to be acknowledged, then end the poll thread."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._producer.flush, grace_s)
        self._hand_over()


def _resolve(reports: Sequence[tuple["asyncio.Future[None]", str | None]]) -> None:
    for future, failure in reports:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(ProduceFailed(failure))


def _look_at(future: "asyncio.Future[None]") -> None:
    """Take note of a failure nobody waits for any more, so that asyncio does not log it with its content."""
    if not future.cancelled():
        future.exception()


def _name(error: KafkaException) -> str:
    reason = error.args[0] if error.args else None
    return reason.name() if isinstance(reason, KafkaError) else type(error).__name__
