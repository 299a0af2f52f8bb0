"""Topics are kept for as long as the times of the installation say."""

from concurrent.futures import Future
from dataclasses import replace

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ConfigResource,
    ListOffsetsResultInfo,
    ResourceType,
)

from deploy.settings import Settings
from deploy.setup import apply_topics
from schemas import topics
from schemas.constants import DAY_S, PRODUCTION
from schemas.errors import ConfigurationError
from streams.kafka.admin import KafkaAway, ends_of
from tests.embedded_fixtures import KafkaServer
from tests.step_world import await_until


def test_retention_comes_from_the_times_whose_relations_are_asserted() -> None:
    """What is sealed to a day key dies before it, and no command that is still alive is deleted by age."""
    times = replace(
        PRODUCTION, outbound_kept_s=12.5 * DAY_S, inbound_kept_s=3.0 * DAY_S, day_key_s=5.0 * DAY_S
    )
    kept = {topic.name: topic.kept_s / DAY_S for topic in topics.catalogue(times)}
    assert kept[topics.outbound("whatsapp")] == kept[topics.outbound("whatsapp", bulk=True)] == 12.5
    assert kept[topics.inbound("whatsapp")] == 3
    assert kept[topics.DEADLETTERS] == 5
    usual = {topic.name: topic.kept_s / DAY_S for topic in topics.catalogue()}
    assert (usual[topics.inbound("whatsapp")], usual[topics.outbound("whatsapp")]) == (7, 8)
    with pytest.raises(ConfigurationError, match="Kafka would delete unsent commands"):
        replace(PRODUCTION, ttl_max_s=8.5 * DAY_S)


def test_the_setting_reaches_kafka(kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics that are there already follow it too."""
    settings = Settings(kafka=kafka_server.bootstrap, partitions=4, replication=1, embedded=True)
    resource = ConfigResource(ResourceType.TOPIC, topics.outbound("whatsapp"))
    client = AdminClient({"bootstrap.servers": kafka_server.bootstrap})

    def kept_days() -> float:
        found = client.describe_configs([resource])
        return int(found[resource].result(60)["retention.ms"].value) / 1000 / DAY_S

    apply_topics(settings)
    await_until(lambda: kept_days() == 8, 60, "as ever")
    monkeypatch.setenv("SEALPOST_OUTBOUND_KEPT_S", str(10 * DAY_S))
    apply_topics(settings)
    await_until(lambda: kept_days() == 10, 60, "as set")
    monkeypatch.undo()
    apply_topics(settings)
    await_until(lambda: kept_days() == 8, 60, "as ever")


@pytest.mark.parametrize(("offset", "known"), [(0, True), (86, True), (OFFSET_INVALID, False)])
def test_an_end_that_was_not_told_is_no_end(offset: int, known: bool) -> None:
    """A broker's answer that is lost on a bad line comes as OFFSET_INVALID without an error: a role that took it for the end of
    its log would stop, as if records were gone."""
    answer: Future[ListOffsetsResultInfo] = Future()
    answer.set_result(ListOffsetsResultInfo(offset, 0, 0))
    asked = {TopicPartition("a topic", 3): answer}
    if known:
        assert ends_of(asked) == {("a topic", 3): offset}
    else:
        with pytest.raises(KafkaAway, match="not known"):
            ends_of(asked)
