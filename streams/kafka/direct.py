"""Reads one stretch of one partition directly, without a group: what a feed did not deliver, or what must be read first."""

from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.clock import boot_s
from schemas.constants import BATCH_RECORDS
from streams.kafka.consumer import (
    END_OF_PARTITION,
    NO_POSITION,
    ReadFailed,
    outsider_settings,
    raise_unless_passing,
    to_record,
)
from streams.step.contract import Record

TURN_S = 0.5
SILENCE_S = 30.0
"""A broker that delivers nothing for so long is taken for away; the process ends and is started anew."""


class StretchReader:
    """A consumer that is pointed at one stretch after another. For one thread."""

    def __init__(self, bootstrap: str, *, client_id: str) -> None:
        settings = outsider_settings(bootstrap, group="sealpost.direct", client_id=client_id)
        self._consumer = Consumer({**settings, "enable.partition.eof": True})

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[list[Record]]:
        """Batches of the records with start ≤ offset < end, in order; ReadFailed when the broker does not deliver them."""
        if start >= end:
            return
        self._consumer.assign([TopicPartition(topic, partition, start)])
        reached, heard_s = start, boot_s()
        try:
            while reached < end:
                messages = self._consumer.consume(BATCH_RECORDS, TURN_S)
                batch: list[Record] = []
                for message in messages:
                    error = message.error()
                    if error is None:
                        record = to_record(message)
                        reached = record.offset + 1
                        if record.offset < end:
                            batch.append(record)
                    elif error.code() in (NO_POSITION, KafkaError.OFFSET_OUT_OF_RANGE):
                        raise ReadFailed(f"{topic}/{partition}: offset {reached} is not in the log")
                    elif error.code() == END_OF_PARTITION:
                        reached = max(reached, int(message.offset() or 0))
                    else:
                        raise_unless_passing(error)
                if batch:
                    heard_s = boot_s()
                    yield batch
                elif boot_s() - heard_s > SILENCE_S:
                    raise ReadFailed(f"{topic}/{partition}: offsets {reached} to {end} are not delivered")
        except KafkaException as error:
            raise ReadFailed(f"{topic}/{partition}: {error.args[0]}") from None
        finally:
            self._consumer.unassign()

    def close(self) -> None:
        """End the consumer."""
        self._consumer.close()
