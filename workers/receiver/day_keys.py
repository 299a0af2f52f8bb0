"""Public day keys of all tenants: `sealpost.ingresskeys` read whole, then followed, without a group. Needs Kafka only."""

import logging
import threading
from base64 import b64decode
from binascii import Error as Base64Error
from datetime import date

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.clock import DAY, boot_s, today
from schemas.envelope import Event, InvalidEvent
from schemas.errors import SealpostError
from schemas.events import registry
from schemas.events.inbound import IngressKeyPublished
from schemas.ids import random_id
from schemas.metrics import gauge
from schemas.topics import INGRESS_KEYS
from streams.kafka import admin
from streams.kafka.consumer import consumer_settings, raise_unless_passing
from vault.ingress import PUBLIC_BYTES

log = logging.getLogger(__name__)

AT_END = KafkaError._PARTITION_EOF  # librdkafka's own codes begin with an underscore
AWAY = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT)  # as above

POLL_S = 0.2
"""Longest wait for the next key before the thread looks whether it should stop."""
BATCH = 500
SESSION_S = 10.0
"""librdkafka wants one even though no group is joined."""
RETRY_S = 1.0
"""Before a consumer that could not go on is replaced."""


class DayKeysUnread(SealpostError):
    """The topic of public day keys could not be read to its end in time; look at Kafka, then at role `clock`."""


class DayKeyFollower:
    """Follows `sealpost.ingresskeys` in a daemon thread; answers from memory."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._keys: dict[tuple[str, str], bytes] = {}
        self._next_offset = 0
        self._pruned: date | None = None
        self._moved = threading.Condition()
        self._reached_end = False
        self._stopping = threading.Event()
        self._up = gauge("sealpost_component_up").labels("kafka")
        self._thread = threading.Thread(target=self._follow, name="day-keys", daemon=True)

    def start(self) -> None:
        """Begin to read from the topic's start."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def public(self, tenant: str, day: str) -> bytes | None:
        """The public key (32 bytes) of a tenant's UTC day (`YYYY-MM-DD`), None when it is not published."""
        return self._keys.get((tenant, day))

    @property
    def ready(self) -> bool:
        """True once the topic was read to its end."""
        return self._reached_end

    def refresh(self, timeout_s: float) -> None:
        """Return once all that the topic holds at the time of this call is read; DayKeysUnread after `timeout_s`."""
        deadline = boot_s() + timeout_s
        try:
            end = admin.end_offsets(self._bootstrap, INGRESS_KEYS)[0]
        except SealpostError as error:
            raise DayKeysUnread(f"the end of {INGRESS_KEYS} is unknown: {error}") from None
        with self._moved:
            while self._next_offset < end:
                left = deadline - boot_s()
                if left <= 0:
                    raise DayKeysUnread(f"{INGRESS_KEYS} read to {self._next_offset} of {end}")
                self._moved.wait(left)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                self._read()
            except (SealpostError, KafkaException) as error:
                # What is known goes on to hold; a day without a key is answered 503, which the provider repeats.
                log.error("day keys are not followed: %s; beginning again", type(error).__name__)
                self._stopping.wait(RETRY_S)

    def _read(self) -> None:
        settings = consumer_settings(
            self._bootstrap,
            group=f"sealpost.daykeys.{random_id()}",
            client_id="sealpost-daykeys",
            session_s=SESSION_S,
        )
        # Old keys are deleted by age and by compaction: where the log begins is no gap.
        consumer = Consumer({**settings, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
        try:
            consumer.assign([TopicPartition(INGRESS_KEYS, 0, OFFSET_BEGINNING)])
            while not self._stopping.is_set():
                self._take(consumer.consume(BATCH, POLL_S))
        finally:
            consumer.close()

    def _take(self, messages: list[Message]) -> None:
        next_offset, reached_end = self._next_offset, self._reached_end
        for message in messages:
            error = message.error()
            offset = int(message.offset() or 0)
            if error is None:
                next_offset = offset + 1
                self._take_one(message.value())
            elif error.code() == AT_END:
                next_offset, reached_end = offset, True
                self._up.set(1)
            else:
                if error.code() in AWAY:
                    self._up.set(0)
                raise_unless_passing(error)
        self._prune()
        if next_offset != self._next_offset or reached_end != self._reached_end:
            with self._moved:
                self._next_offset, self._reached_end = next_offset, reached_end
                self._moved.notify_all()

    def _take_one(self, value: bytes | None) -> None:
        if value is None:
            return
        try:
            event = Event.from_bytes(value)
            data = registry.read(event)
        except InvalidEvent as error:
            log.error("a published day key is ignored: %s", error)
            return
        public = _decode(data.public) if isinstance(data, IngressKeyPublished) else None
        if not isinstance(data, IngressKeyPublished) or public is None:
            log.error("a published day key is ignored: not a key")
            return
        self._keys[(event.tenant, data.day)] = public

    def _prune(self) -> None:
        """Forget days that are over; a day's key may still be asked for by a request that began before midnight."""
        yesterday = today() - DAY
        if self._pruned != yesterday and self._reached_end:
            oldest = yesterday.isoformat()
            self._keys = {key: public for key, public in self._keys.items() if key[1] >= oldest}
            self._pruned = yesterday


def _decode(text: str) -> bytes | None:
    try:
        public = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return None
    return public if len(public) == PUBLIC_BYTES else None
