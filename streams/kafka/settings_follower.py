"""Every process's copy of the tenants' settings: the topic read whole, then followed, without a group (DESIGN §5)."""

import logging
import threading
from collections.abc import Mapping

from confluent_kafka import Consumer, Message, TopicPartition

from schemas.clock import boot_s
from schemas.envelope import Event, InvalidEvent
from schemas.errors import SealpostError
from schemas.ids import random_id
from schemas.settings import SettingsFold, TenantSettings
from schemas.topics import TENANTS
from streams.kafka import admin
from streams.kafka.consumer import END_OF_PARTITION, NO_POSITION, outsider_settings, raise_unless_passing

LOG = logging.getLogger(__name__)
POLL_S = 0.2
"""Longest wait for the next settings event before the thread looks whether it should stop."""
BATCH = 500


class SettingsUnread(SealpostError):
    """The settings topic could not be read to its end in time; look at Kafka, then start again."""


ASK_AGAIN_S = 0.1


class SettingsFollower:
    """Follows `sealpost.tenants` in a daemon thread. `current()` is a snapshot that never changes."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin = admin.admin_client(bootstrap)
        self._folded = SettingsFold()
        self._settings: Mapping[str, TenantSettings] = self._folded.snapshot()
        self._next_offset = 0
        self._moved = threading.Condition()
        self._stopping = threading.Event()
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._follow, name="settings-follower", daemon=True)

    def start(self) -> None:
        """Begin to read from the topic's start."""
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> None:
        """Return once all that the topic holds now is folded; SettingsUnread after `timeout_s`."""
        self.refresh(timeout_s)

    def refresh(self, timeout_s: float) -> None:
        """Return once all that the topic holds at the time of this call is folded; SettingsUnread after `timeout_s`."""
        deadline = boot_s() + timeout_s
        end = self._end(deadline)
        with self._moved:
            while self._next_offset < end:
                left = deadline - boot_s()
                if self._failure is not None:
                    raise SettingsUnread(self._failure)
                if left <= 0:
                    raise SettingsUnread(f"{TENANTS} read to {self._next_offset} of {end}")
                self._moved.wait(left)

    def _end(self, deadline: float) -> int:
        """The end of the topic; asked again until the deadline, for a topic just made has no leader for a moment."""
        while True:
            try:
                left = max(ASK_AGAIN_S, deadline - boot_s())
                return admin.list_offsets(self._admin, [(TENANTS, 0)], admin.LATEST, left)[(TENANTS, 0)]
            except SealpostError as error:
                if boot_s() + ASK_AGAIN_S >= deadline or self._stopping.wait(ASK_AGAIN_S):
                    raise SettingsUnread(f"the end of {TENANTS} is unknown: {error}") from None

    def current(self) -> Mapping[str, TenantSettings]:
        """Tenant → settings, as of the last event folded."""
        return self._settings

    def tenant(self, tenant: str) -> TenantSettings | None:
        """Settings of one tenant, or None when it is not registered."""
        return self._settings.get(tenant)

    @property
    def offset(self) -> int:
        """Offset of the last settings event folded in, -1 before the first: what events that depend on settings carry."""
        return self._next_offset - 1

    @property
    def failure(self) -> str | None:
        """Why the follower has stopped, or None while it follows."""
        return self._failure

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        settings = outsider_settings(
            self._bootstrap, group=f"sealpost.settings.{random_id()}", client_id="sealpost-settings"
        )
        consumer = Consumer({**settings, "enable.partition.eof": True})
        try:
            consumer.assign([TopicPartition(TENANTS, 0, 0)])
            while not self._stopping.is_set():
                messages = consumer.consume(BATCH, POLL_S)
                if messages:
                    self._fold(messages)
        except SealpostError as error:
            self._fail(str(error))
        except BaseException as error:
            self._fail(f"the follower broke: {type(error).__name__}")
            raise
        finally:
            consumer.close()

    def _fold(self, messages: list[Message]) -> None:
        next_offset = self._next_offset
        for message in messages:
            error = message.error()
            offset = int(message.offset() or 0)
            if error is None:
                next_offset = offset + 1
                self._fold_one(message.value(), offset)
            elif error.code() == END_OF_PARTITION:
                next_offset = max(next_offset, offset)
            elif error.code() == NO_POSITION:
                self._fail(f"{TENANTS} does not start at offset 0: settings are missing; restore the topic")
            else:
                raise_unless_passing(error)
        with self._moved:
            self._settings = self._folded.snapshot()
            self._next_offset = next_offset
            self._moved.notify_all()

    def _fold_one(self, value: bytes | None, offset: int) -> None:
        try:
            self._folded.apply(Event.from_bytes(value), offset)
        except InvalidEvent as error:
            # What stood before goes on to hold; role vault dead-letters the same record and raises the alarm.
            LOG.error("settings event at offset %d ignored: %s", offset, error)

    def _fail(self, words: str) -> None:
        LOG.error("settings are not followed any more: %s", words)
        with self._moved:
            self._failure = words
            self._moved.notify_all()
        self._stopping.set()
