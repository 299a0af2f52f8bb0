"""The settings follower: the topic read whole, followed, and waited for."""

import threading
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient

from schemas import topics
from schemas.clock import boot_s
from schemas.envelope import Event
from schemas.events import registry
from schemas.events.tenants import DpaEnded, DpaSigned, TenantRegistered
from schemas.ids import random_id
from streams.kafka import admin
from streams.kafka.producer import OrderedProducer
from streams.kafka.settings_follower import SettingsFollower, SettingsUnread
from streams.step.contract import Output
from tests.embedded_fixtures import KafkaServer
from tests.step_world import await_until

READY_LIMIT_S = 60
"""The topic is the session's: it holds every tenant of the tests before this one."""


@pytest.fixture
def bootstrap(kafka_server: KafkaServer) -> str:
    admin.apply_topics(kafka_server.bootstrap, topics.catalogue(), 4, 1, embedded=True)
    return kafka_server.bootstrap


@pytest.fixture
def producer(bootstrap: str) -> Iterator[OrderedProducer]:
    made = OrderedProducer(bootstrap, client_id="settings-test")
    yield made
    made.close()


@pytest.fixture
def follower(bootstrap: str) -> Iterator[SettingsFollower]:
    made = SettingsFollower(bootstrap)
    yield made
    made.stop()


def event(tenant: str, data: TenantRegistered | DpaSigned | DpaEnded) -> Output:
    made: Event = registry.build(data, id=random_id(), role="test", tenant=tenant, subject=tenant, at_ms=0)
    return Output(topics.TENANTS, tenant.encode(), made.to_bytes())


@pytest.mark.finding(10)
def test_it_reads_all_and_follows(follower: SettingsFollower, producer: OrderedProducer) -> None:
    tenant = random_id()
    registered = event(tenant, TenantRegistered(name="Shop", default_language="de"))
    producer.produce_all(
        [registered, event(tenant, DpaSigned(version="1", signed_at="2026-01-01T00:00:00Z"))], 60
    )
    follower.start()
    follower.wait_ready(READY_LIMIT_S)
    settings = follower.tenant(tenant)
    assert settings is not None
    assert (settings.name, settings.dpa) == ("Shop", True)
    before = follower.current()
    offset = follower.offset
    producer.produce_all([event(tenant, DpaEnded(ended_at="2026-02-01T00:00:00Z"))], 60)
    began = boot_s()
    follower.refresh(60)
    assert boot_s() - began < 40, "it does not wait until its limit"
    after = follower.tenant(tenant)
    assert after is not None
    assert after.dpa is False
    assert after.offset == follower.offset == offset + 1
    assert before[tenant].dpa is True, "a snapshot never changes"
    assert follower.tenant("nobody") is None


def test_a_record_that_is_no_event_changes_nothing(
    follower: SettingsFollower, producer: OrderedProducer
) -> None:
    tenant = random_id()
    bad = Output(topics.TENANTS, tenant.encode(), b"not an event")
    wrong = event(tenant, TenantRegistered(name="A", default_language="de"))
    wrong = wrong._replace(value=wrong.value.replace(b'"name":"A"', b'"name":7'))
    producer.produce_all([bad, event(tenant, TenantRegistered(name="B", default_language="de")), wrong], 60)
    follower.start()
    follower.wait_ready(READY_LIMIT_S)
    settings = follower.tenant(tenant)
    assert settings is not None
    assert settings.name == "B"
    assert follower.failure is None


def test_it_waits_for_kafka_and_says_when_it_does_not_come(kafka_server: KafkaServer, bootstrap: str) -> None:
    follower = SettingsFollower(bootstrap)
    follower.start()
    follower.wait_ready(READY_LIMIT_S)
    kafka_server.kill()
    follower.refresh(60)
    follower.stop()
    gone = SettingsFollower("127.0.0.1:1")
    gone.start()
    with pytest.raises(SettingsUnread):
        gone.wait_ready(1)
    gone.stop()


def test_many_wait_at_once(follower: SettingsFollower, producer: OrderedProducer) -> None:
    follower.start()
    follower.wait_ready(READY_LIMIT_S)
    tenant = random_id()
    producer.produce_all([event(tenant, TenantRegistered(name="C", default_language="de"))], 60)
    found: list[bool] = []

    def wait() -> None:
        follower.refresh(60)
        found.append(follower.tenant(tenant) is not None)

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    await_until(lambda: len(found) == 8, 60, "all have waited")
    assert all(found)


def test_apply_topics_makes_compares_and_refuses(kafka_server: KafkaServer) -> None:
    bootstrap = kafka_server.bootstrap
    name = f"topics.{random_id()[:8]}"
    kept = topics.Topic(name, 3600)
    with pytest.raises(admin.TopicMismatch, match="replication 1"):
        admin.apply_topics(bootstrap, [kept], 4, 1)
    assert admin.apply_topics(bootstrap, [kept], 4, 1, embedded=True) == [name]
    assert admin.apply_topics(bootstrap, [kept], 4, 1, embedded=True) == []
    with pytest.raises(admin.TopicMismatch, match="4 partitions, not 8"):
        admin.apply_topics(bootstrap, [kept], 8, 1, embedded=True)
    assert admin.end_offsets(bootstrap, name) == {0: 0, 1: 0, 2: 0, 3: 0}
    assert len(admin.cluster_id(bootstrap)) > 10
    first = admin.topic_ids(bootstrap)[name]
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.delete_topics([name])[name].result(60)
    await_until(lambda: name not in admin.topic_ids(bootstrap), 60, "the topic is gone")
    admin.apply_topics(bootstrap, [topics.Topic(name, -1, compact=True)], 4, 1, embedded=True)
    assert admin.topic_ids(bootstrap)[name] != first
