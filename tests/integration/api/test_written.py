"""`sealpost_events_total` in the roles that write: what it counts is what is in the log."""

from collections import Counter

from prometheus_client import REGISTRY

from schemas import topics
from schemas.clock import now_ms
from schemas.ids import random_id
from streams.kafka.written import count_written
from streams.step.contract import Output, Record
from streams.step.deadletter import dead_letter
from tests.api_world import ApiWorld
from tests.step_world import await_until

WRITTEN_TO = (
    topics.TENANTS, topics.INGRESS_KEYS, topics.MESSAGES, topics.outbound("whatsapp"), topics.DELETIONS,
)  # fmt: skip


def counted() -> Counter[tuple[str, str]]:
    """The metric by topic and type."""
    return Counter(
        {
            (sample.labels["topic"], sample.labels["type"]): int(sample.value)
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if sample.name == "sealpost_events_total"
        }
    )


def logged(world: ApiWorld, tenant: str) -> Counter[tuple[str, str]]:
    """Events of a tenant in the log, by topic and type."""
    return Counter((topic, event.type) for topic in WRITTEN_TO for event in world.written(topic, tenant))


def test_api_vault_and_projector_count_what_they_write(world: ApiWorld) -> None:
    """Registration, agreement, messages and erasure by the API; KeyDestroyed and a receipt by the vault; a receipt by the
    projector. A repeated request that writes nothing counts nothing."""
    before = counted()
    tenant = world.tenant()
    person, key = tenant.person(), random_id()
    assert [tenant.send(person.to, idempotency_key=key).status for _ in range(3)] == [202] * 3
    assert tenant.send(person.to).status == 202
    assert tenant.call("POST", f"/v1/subjects/{person.subject}/erasure", "officer").status == 202
    receipts = (topics.DELETIONS, "sealpost.store.purged.v1")
    await_until(lambda: logged(world, tenant.name)[receipts] == 2, 60, "both receipts are written")
    assert world.call("DELETE", f"/v1/tenants/{tenant.name}/dpa", world.admin).status == 202
    expected = {
        (topics.TENANTS, "sealpost.tenant.registered.v1"): 1,
        (topics.TENANTS, "sealpost.tenant.purpose_defined.v1"): 2,
        (topics.TENANTS, "sealpost.tenant.notice_published.v1"): 2,
        (topics.TENANTS, "sealpost.tenant.consent_text_published.v1"): 2,
        (topics.TENANTS, "sealpost.tenant.dpa_signed.v1"): 1,
        (topics.TENANTS, "sealpost.tenant.dpa_ended.v1"): 1,
        (topics.INGRESS_KEYS, "sealpost.ingresskey.published.v1"): 4,
        (topics.MESSAGES, "sealpost.message.requested.v1"): 2,
        (topics.outbound("whatsapp"), "sealpost.send.command.v1"): 2,
        (topics.DELETIONS, "sealpost.erasure.requested.v1"): 1,
        (topics.DELETIONS, "sealpost.key.destroyed.v1"): 1,
        receipts: 2,
    }
    assert logged(world, tenant.name) == expected
    await_until(lambda: counted() - before == expected, 60, "all that was written is counted")


def test_dead_letters_and_other_records_are_no_events() -> None:
    before = counted()
    letter = dead_letter(
        Record(topics.MESSAGES, 0, 0, b"k", b'{"type":"sealpost.x.v1"}', now_ms()), "test", "Why"
    )
    strange = Output(topics.MESSAGES, b"k", b'{"a":1}')
    count_written([letter, strange])
    assert counted() == before
