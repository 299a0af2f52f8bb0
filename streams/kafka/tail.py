"""Reads topics as they grow, for eyes: joins no group, stores no position, and never holds anybody up."""

from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.ids import random_id
from streams.kafka import admin
from streams.kafka.admin import TopicPart
from streams.kafka.consumer import (
    END_OF_PARTITION,
    NO_POSITION,
    ReadFailed,
    outsider_settings,
    raise_unless_passing,
    to_record,
)
from streams.step.contract import Record

Start = int | None
"""Milliseconds since the epoch (0: from the first record kept), or None: only what is written from now on."""
TIMES_S = 10.0
QUEUED_KB = 4_096
"""Fetched ahead, at most: a reader who stands still costs no more than this."""


class LogTail:
    """Follows topics from a time on. For one thread."""

    def __init__(self, bootstrap: str, topics: Sequence[str], start: Start) -> None:
        """KafkaAway, TopicMismatch (no such topic) or ReadFailed when it cannot begin."""
        self._identity = admin.ClusterIdentity(bootstrap)
        parts = [(topic, number) for topic in topics for number in range(self._identity.partitions(topic))]
        ranges = self._identity.log_ranges(parts)
        settings = outsider_settings(
            bootstrap, group=f"sealpost.tail.{random_id()[:8]}", client_id="sealpost-tail"
        )
        self._consumer = Consumer(
            {**settings, "enable.partition.eof": True, "queued.max.messages.kbytes": QUEUED_KB}
        )
        self._ends = {part: found.high for part, found in ranges.items()}
        self._reached: dict[TopicPart, int] = {}
        try:
            offsets = self._offsets(parts, start)
            for part, found in ranges.items():
                self._reached[part] = max(found.low, min(offsets.get(part, found.high), found.high))
            self._go_on()
        except KafkaException as error:
            self.close()
            raise ReadFailed(f"the log cannot be followed: {error.args[0]}") from None

    def _offsets(self, parts: Sequence[TopicPart], start: Start) -> dict[TopicPart, int]:
        """Where to begin; a partition with nothing as young as that is left out."""
        if start is None:
            return {}
        if start <= 0:
            return dict.fromkeys(parts, 0)
        asked = [TopicPartition(*part, start) for part in parts]
        found = self._consumer.offsets_for_times(asked, timeout=TIMES_S)
        return {
            (one.topic, one.partition): one.offset for one in found if one.error is None and one.offset >= 0
        }

    @property
    def at_end(self) -> bool:
        """True once everything is read that was there at the beginning."""
        return all(self._reached[part] >= end for part, end in self._ends.items())

    def ends(self) -> dict[TopicPart, int]:
        """Where the log ends now: asks the broker. Empty when it does not answer."""
        try:
            return {part: found.high for part, found in self._identity.log_ranges(tuple(self._ends)).items()}
        except (admin.KafkaAway, admin.TopicMismatch):
            return {}

    def is_past(self, ends: Mapping[TopicPart, int]) -> bool:
        """True when everything below these ends is read; False without any."""
        return bool(ends) and all(self._reached[part] >= end for part, end in ends.items())

    def read(self, most: int, wait_s: float) -> list[Record]:
        """What has come, at most so many, by the broker's time; in order within each partition. Empty after `wait_s`."""
        found: list[Record] = []
        for message in self._consumer.consume(most, wait_s):
            error = message.error()
            if error is None:
                record = to_record(message)
                self._reached[(record.topic, record.partition)] = record.offset + 1
                found.append(record)
            elif error.code() == END_OF_PARTITION:
                part = (str(message.topic()), int(message.partition() or 0))
                self._reached[part] = max(self._reached[part], int(message.offset() or 0))
            elif error.code() in (NO_POSITION, KafkaError.OFFSET_OUT_OF_RANGE):
                # Kept no longer than we took to come here: go on with what there is.
                self._restart(str(message.topic()), int(message.partition() or 0))
            else:
                raise_unless_passing(error)
        # Stable: records of one partition never change places.
        latest: dict[TopicPart, int] = {}
        times = []
        for record in found:
            part = (record.topic, record.partition)
            latest[part] = max(latest.get(part, 0), record.time_ms)
            times.append(latest[part])
        order = sorted(range(len(found)), key=times.__getitem__)
        return [found[place] for place in order]

    def _restart(self, topic: str, number: int) -> None:
        low, _ = self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMES_S)
        self._reached[(topic, number)] = max(low, self._reached[(topic, number)])
        self._go_on()

    def pass_over(self, behind_max: int) -> int:
        """When more than so many records are unread, go on at the end; how many were passed over."""
        ends = {part: self._end(part) for part in self._reached}
        behind = sum(max(0, end - self._reached[part]) for part, end in ends.items())
        if behind <= behind_max:
            return 0
        self._reached = {part: max(end, self._reached[part]) for part, end in ends.items()}
        self._go_on()
        return behind

    def _go_on(self) -> None:
        """Read from where we are."""
        self._consumer.assign([TopicPartition(*part, at) for part, at in self._reached.items()])

    def _end(self, part: TopicPart) -> int:
        """As the broker told with the last records: asks nobody."""
        high = self._consumer.get_watermark_offsets(TopicPartition(*part), cached=True)[1]
        return int(high) if high >= 0 else self._reached[part]

    def close(self) -> None:
        """End the consumer."""
        self._consumer.close()
