"""Producers: acknowledged or failed, never in between; in order."""

import asyncio
import threading

import pytest

from schemas.clock import boot_s
from schemas.constants import DEADLETTER_MAX_BYTES, EVENT_MAX_BYTES
from schemas.ids import random_id
from schemas.topics import Topic
from streams.kafka import admin
from streams.kafka.consumer import read_to_end
from streams.kafka.producer import STOP_GRACE_S, AsyncProducer, OrderedProducer, ProduceFailed
from streams.step.contract import Output
from tests.embedded_fixtures import KafkaServer

NOWHERE = "127.0.0.1:1"
LATE_S = 30.0
"""How much later than told a wait may end on a busy machine."""


@pytest.fixture
def topic(kafka_server: KafkaServer) -> str:
    name = f"producers.{random_id()[:8]}"
    large = {"max.message.bytes": str(DEADLETTER_MAX_BYTES)}
    admin.apply_topics(kafka_server.bootstrap, [Topic(name, -1, config=large)], 2, 1, embedded=True)
    return name


def values(bootstrap: str, topic: str, key: bytes) -> list[bytes]:
    return [
        record.value or b"" for record in read_to_end(bootstrap, topic, timeout_s=60) if record.key == key
    ]


def test_a_batch_is_written_in_order_with_its_largest_records(kafka_server: KafkaServer, topic: str) -> None:
    producer = OrderedProducer(kafka_server.bootstrap, client_id="test")
    outputs = [Output(topic, b"k", str(n).encode()) for n in range(5000)]
    large = [b"e" * EVENT_MAX_BYTES, b"d" * (EVENT_MAX_BYTES * 4 // 3 + 4096)]
    producer.produce_all([*outputs, *(Output(topic, b"k", value) for value in large)], 60)
    assert values(kafka_server.bootstrap, topic, b"k") == [*(output.value for output in outputs), *large]
    producer.close()


def test_a_broker_that_is_away_is_waited_for_no_longer_than_told() -> None:
    producer = OrderedProducer(NOWHERE, client_id="test")
    began = boot_s()
    with pytest.raises(ProduceFailed, match="not acknowledged in time"):
        producer.produce_all([Output("t", b"", b"")], 0.5)
    assert boot_s() - began < LATE_S
    producer.close()
    stop = threading.Event()
    stop.set()
    stopping = OrderedProducer(NOWHERE, client_id="test", give_up=stop)
    began = boot_s()
    with pytest.raises(ProduceFailed, match="before the stop"):
        stopping.produce_all([Output("t", b"", b"")])
    assert STOP_GRACE_S <= boot_s() - began < STOP_GRACE_S + LATE_S
    stopping.close()


def test_async_sends_are_acknowledged_each_and_in_order(kafka_server: KafkaServer, topic: str) -> None:
    async def send() -> None:
        producer = AsyncProducer(kafka_server.bootstrap, client_id="test")
        await producer.send(topic, b"first", b"", 60)
        await asyncio.gather(*(producer.send(topic, str(n).encode(), b"x", 60) for n in range(500)))
        await producer.send_all([Output(topic, b"k", str(n).encode()) for n in range(500)], 60)
        await producer.close()

    asyncio.run(send())
    assert values(kafka_server.bootstrap, topic, b"k") == [str(n).encode() for n in range(500)]
    assert len(list(read_to_end(kafka_server.bootstrap, topic, timeout_s=60))) == 1 + 500 + 500


def test_async_failures_are_told_by_name_and_never_with_content(kafka_server: KafkaServer) -> None:
    async def fail() -> list[str]:
        words = []
        impatient = {"topic.metadata.propagation.max.ms": 300}
        producer = AsyncProducer(kafka_server.bootstrap, client_id="test", extra=impatient)
        with pytest.raises(ProduceFailed) as caught:
            await producer.send(f"nowhere.{random_id()[:8]}", b"secret key", b"secret value", 60)
        words.append(str(caught.value))
        await producer.close()
        away = AsyncProducer(NOWHERE, client_id="test")
        with pytest.raises(ProduceFailed) as caught:
            await away.send("t", b"secret key", b"secret value", 0.3)
        words.append(str(caught.value))
        await away.close(0.1)
        return words

    unknown, late = asyncio.run(fail())
    assert "UNKNOWN_TOPIC" in unknown
    assert "not acknowledged in time" in late
    assert "secret" not in unknown + late
