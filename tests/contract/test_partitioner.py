"""One key is one partition number, whatever client wrote it: confluent-kafka as we set it up, and aiokafka, which Faust uses."""

import asyncio
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaProducer

from schemas.ids import derived_id, random_id
from schemas.topics import Topic
from streams.kafka import admin
from streams.kafka.consumer import read_to_end
from streams.kafka.producer import OrderedProducer
from streams.step.contract import Output
from tests.embedded_fixtures import KafkaServer

KEYS = 10_000
PARTITIONS = 48


async def _send_with_aiokafka(bootstrap: str, topic: str, keys: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for key in keys:
            await producer.send(topic, value=b"", key=key)
        await producer.flush()
    finally:
        await producer.stop()


def _where(bootstrap: str, topic: str) -> dict[bytes, int]:
    return {record.key or b"": record.partition for record in read_to_end(bootstrap, topic, timeout_s=60)}


@pytest.mark.finding(22)
def test_both_clients_put_every_key_into_the_same_partition(kafka_server: KafkaServer) -> None:
    bootstrap = kafka_server.bootstrap
    ours, fausts = (f"partitioner.{random_id()[:8]}" for _ in range(2))
    admin.apply_topics(bootstrap, [Topic(ours, -1), Topic(fausts, -1)], PARTITIONS, 1, embedded=True)
    keys = [derived_id(b"partitioner", str(number)).encode() for number in range(KEYS - 4)]
    keys += [b"\x00", b"\xff\xfe", b"tenant/2026-11-24", "ä".encode()]
    producer = OrderedProducer(bootstrap, client_id="partitioner")
    producer.produce_all([Output(ours, key, b"") for key in keys], 60)
    producer.close()
    asyncio.run(_send_with_aiokafka(bootstrap, fausts, keys))
    first, second = _where(bootstrap, ours), _where(bootstrap, fausts)
    assert len(first) == len(second) == KEYS
    assert first == second
    assert len(set(first.values())) == PARTITIONS


def test_faust_takes_the_default_partitioner() -> None:
    """Faust hands aiokafka no partitioner of its own, so what holds above holds for Faust."""
    settings: Any = faust.App("partitioner", broker="kafka://127.0.0.1:1").conf
    assert settings.producer_partitioner is None
