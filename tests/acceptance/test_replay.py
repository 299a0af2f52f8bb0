"""Consumer groups and processor state deleted, everything started again: nobody hears anything (law L8, review 4)."""

from pathlib import Path

import psycopg
import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from deploy.embedded import folder, kafka, ports, postgres
from deploy.embedded.supervisor import Supervisor
from streams.kafka import group_offsets
from tests.acceptance_instance import RunningInstance, running_instance, topic_records, until
from tests.acceptance_quiet import await_quiet

OUTBOUND = "sealpost.outbound.whatsapp"


def groups_of(client: AdminClient) -> list[str]:
    """Consumer groups that the broker knows now."""
    return [group.group_id for group in client.list_consumer_groups().result(60).valid or []]


def delete_groups(client: AdminClient) -> None:
    """Delete all groups; a broker that has just started must first load them, and whoever was stopped with the instance keeps its
    place in them for one session more."""
    wanted = {"sealpost.outbound", "sealpost.inbound", "sealpost.streams.subscriber"}
    until("the groups are loaded", lambda: wanted <= set(groups_of(client)))
    until("the groups are deleted", lambda: deleted(client))


def deleted(client: AdminClient) -> bool:
    """Delete the groups without members; True when none is left."""
    left = groups_of(client)
    for future in client.delete_consumer_groups(left, request_timeout=60).values() if left else ():
        refusal = future.exception(60)
        if refusal is not None and refusal.args[0].code() != KafkaError.NON_EMPTY_GROUP:
            raise refusal
    return not left


def forget(data: Path) -> None:
    """Delete every consumer group and all that the processors remember, on the stopped instance's own data."""
    supervisor = Supervisor()
    try:
        with folder.held(data):
            chosen = ports.choose(("kafka", "kafka_controller", "postgres"), data)
            broker = kafka.start(supervisor, data, chosen["kafka"], chosen["kafka_controller"], print)
            server = postgres.start(supervisor, data, chosen["postgres"], print)
            delete_groups(AdminClient({"bootstrap.servers": broker.bootstrap}))
            with psycopg.connect(server.dsn("streams")) as connection:
                tables = "streams.state, streams.fence, step.owner, step.position, step.outbox, step.seen, step.due"
                connection.execute(f"truncate {tables}")
            supervisor.stop(["kafka", "postgres"])
    finally:
        supervisor.stop()


def replayed(instance: RunningInstance) -> bool:
    """True when processors and outbound have read everything again."""
    bootstrap = instance.ready["kafka"]
    with psycopg.connect(instance.ready["streams_dsn"]) as connection:
        rows = connection.execute(
            "select topic, sum(next_offset) from step.position group by role, topic"
        ).fetchall()
    if not rows or any(int(position) < len(topic_records(bootstrap, topic)) for topic, position in rows):
        return False
    client = AdminClient({"bootstrap.servers": bootstrap})
    return "sealpost.outbound" in groups_of(client) and committed(bootstrap) >= len(
        topic_records(bootstrap, OUTBOUND)
    )


def committed(bootstrap: str) -> int:
    """Commands that the outbound group has finished."""
    parts = [(OUTBOUND, number) for number in range(4)]
    return sum(group_offsets.read(bootstrap, "sealpost.outbound", parts).values())


@pytest.mark.finding(4)
def test_nothing_is_sent_when_everything_is_read_again(tmp_path: Path) -> None:
    """Sign-up, chat, rejected newsletter, return after STOP, erasure; then all offsets and processor state are gone:
    the provider hears nothing, the projections say the same."""
    with running_instance(tmp_path) as instance:
        number, other = instance.new_number(), instance.new_number()
        subject = instance.sign_up(number)
        instance.write(number, "STOP")
        until("the good-bye", lambda: len(instance.phone(number)) >= 3)
        rejected = instance.send(number, "Nicht mehr", "newsletter")
        instance.item(subject, rejected.body["message_id"], {"rejected"})
        assert instance.sign_up(number) == subject
        accepted = instance.send(number, "Wieder da", "newsletter")
        instance.item(subject, accepted.body["message_id"], {"read"})
        instance.erase(instance.sign_up(other))
        assert len(instance.record()) >= 6
        await_quiet(instance)  # the statuses of what was sent
        messages = instance.api("GET", f"/v1/subjects/{subject}/messages?limit=500").body["items"]
        consents = instance.consent_types(subject)
    forget(tmp_path / "data")
    with running_instance(tmp_path) as instance:
        until("everything is read again", lambda: replayed(instance), 300)
        assert instance.record() == []
        assert instance.api("GET", f"/v1/subjects/{subject}/messages?limit=500").body["items"] == messages
        assert instance.consent_types(subject) == consents
