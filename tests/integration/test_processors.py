"""Role `streams` with both processors, on either feed, against real Kafka and PostgreSQL."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import streams
from schemas import topics
from schemas.clock import now_ms, to_ms, to_text
from schemas.constants import Times
from schemas.envelope import Event, EventData, Sealed, SealedBlock
from schemas.events import consents, deletions, messages, registry, tenants
from schemas.ids import random_id
from schemas.stores import STORES, SUBSCRIBER_STATE
from streams.kafka import admin
from streams.kafka.consumer import consumer_settings
from streams.kafka.producer import OrderedProducer
from streams.kafka.settings_follower import SettingsFollower
from streams.processors.erasure.certificate import is_genuine
from streams.processors.role import Feed, StreamsRole
from streams.processors.runner import ProcessorHandler
from streams.processors.subscriber.processor import Subscriber
from streams.step.contract import Due, Effects, Item, Output, Record
from streams.step.migrate import apply_migrations
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.step_world import await_until

LIMIT_S = 120.0
PARTITIONS = 4
CHANNEL, ACCOUNT = "whatsapp", "a" * 32
TIMES = Times(session_s=6.0, lease_s=1.0, lease_outbound_s=1.0, optin_s=30.0)
"""A question is open for longer than a busy machine needs to ask it and to hear the answer, once the role is at work."""
LONG = replace(TIMES, optin_s=3600.0)
"""And here for longer than a role needs to end and to start again."""
READ = (topics.DELETIONS, topics.CONSENTS, topics.MESSAGES)
SQL = Path(str(streams.__file__)).parent / "sql"


@dataclass(frozen=True)
class Signer:
    """A signing key of the test."""

    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    key_id: str = "k1"

    def sign(self, message: bytes) -> bytes:
        """As the vault signs."""
        return self.private.sign(message)


class Installation:
    """Topics, a tenant with agreement and notices, and persons who act."""

    def __init__(self, bootstrap: str, fresh_database: Any) -> None:
        self.bootstrap = bootstrap
        self.fresh_database = fresh_database
        self.tenant = random_id()
        self.signer = Signer()
        self.producer = OrderedProducer(bootstrap, client_id="processors-test")
        _make_anew(bootstrap)
        names = (*READ, topics.SUBSCRIPTIONS, topics.outbound(CHANNEL))
        self._events: list[Event] = []
        settings = consumer_settings(
            bootstrap, group="processors-test", client_id="processors-test", session_s=6.0
        )
        self._log = Consumer({**settings, "auto.offset.reset": "earliest"})
        self._log.assign([TopicPartition(name, number, 0) for name in names for number in range(PARTITIONS)])
        self.settle()

    def close(self) -> None:
        """End the clients."""
        self.producer.close()
        self._log.close()

    def settle(self) -> None:
        """Publish the tenant."""
        signed = to_text(now_ms())
        self.publish(
            topics.TENANTS, self.tenant, tenants.TenantRegistered(name="Backhaus", default_language="de")
        )
        self.publish(topics.TENANTS, self.tenant, tenants.DpaSigned(version="1", signed_at=signed))
        for language in ("de", "en"):
            notice = tenants.NoticePublished(
                notice="n1",
                version=1,
                language=language,
                url=f"https://example.org/{language}",
            )
            self.publish(topics.TENANTS, self.tenant, notice)

    def publish(self, topic: str, subject: str, data: EventData, event_id: str | None = None) -> Event:
        """Produce an event and await it."""
        event = registry.build(
            data,
            id=event_id or random_id(),
            role="test",
            tenant=self.tenant,
            subject=subject,
            at_ms=now_ms(),
            channel=CHANNEL,
        )
        self.producer.produce_all([Output(topic, event.key(), event.to_bytes())], LIMIT_S)
        return event

    def says(
        self, subject: str, intent: Literal["start", "stop", "yes", "no"] | None, language: str | None = None
    ) -> Event:
        """The person writes; a STOP is recorded as a withdrawal first, as inbound does."""
        acted_at = to_text(now_ms())
        if intent == "stop":
            withdrawn = consents.ConsentWithdrawn(purpose="newsletter", method="keyword", acted_at=acted_at)
            self.publish(topics.CONSENTS, subject, withdrawn)
        evidence = SealedBlock(gen=random_id(), ct="c2VhbGVk") if intent else None
        message = messages.MessageReceived(
            message=random_id(), account=ACCOUNT, kind="text", provider_kind="text", intent=intent, language=language,
            acted_at=acted_at, sealed=Sealed(evidence=evidence) if evidence else None,
        )  # fmt: skip
        return self.publish(topics.MESSAGES, subject, message)

    def role(self, feed: Feed, dsn: str, folder: Path, times: Times = TIMES) -> "Running":
        """Role streams in a thread."""
        return Running(self, feed, dsn, folder, times)

    def written(self) -> list[Event]:
        """Everything role streams has written so far, in order within each topic and partition."""
        while found := self._log.consume(500, 0.1):
            values = [message.value() for message in found if message.error() is None]
            self._events += [Event.from_bytes(value) for value in values]
        return [event for event in self._events if event.source.startswith("sealpost/streams.")]

    def types(self, subject: str) -> Counter[str]:
        """Type → how many different events of it were written for a subject."""
        found = {
            event.id: type(registry.read(event)).__name__
            for event in self.written()
            if event.subject == subject
        }
        return Counter(found.values())

    def wait_for(self, subject: str, **counts: int) -> None:
        """Until these types are there, so often."""

        def there() -> bool:
            types = self.types(subject)
            return all(types[name] >= count for name, count in counts.items())

        await_until(there, LIMIT_S, f"{counts}, found {self.types(subject)}")

    def one(self, subject: str, kind: type[EventData], number: int = 0) -> Any:
        """The data of an event of a subject."""
        found = {event.id: registry.read(event) for event in self.written() if event.subject == subject}
        return [data for data in found.values() if isinstance(data, kind)][number]


def _make_anew(bootstrap: str) -> None:
    """Other tests of the session may have left what no decision could be made on."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    stale = [
        name
        for name in (*READ, topics.SUBSCRIPTIONS, topics.outbound(CHANNEL))
        if name in admin.topic_ids(bootstrap)
    ]
    if stale:
        for future in client.delete_topics(stale).values():
            future.result(LIMIT_S)
        await_until(
            lambda: not set(stale) & set(admin.topic_ids(bootstrap)), LIMIT_S, "the old topics are gone"
        )
    admin.apply_topics(bootstrap, topics.catalogue(), PARTITIONS, 1, embedded=True)


class Running:
    """Role streams in a thread."""

    def __init__(self, installation: Installation, feed: Feed, dsn: str, folder: Path, times: Times) -> None:
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.settings = SettingsFollower(installation.bootstrap)
        self.settings.start()
        self.settings.wait_ready(LIMIT_S)
        self.role = StreamsRole(
            bootstrap=installation.bootstrap,
            dsn=dsn,
            settings=self.settings,
            id_key=lambda tenant: tenant.encode(),
            signer=installation.signer,
            data_dir=folder,
            backup_kept_s=0.0,
            feed=feed,
            times=times,
        )
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.role.run(self.stop)
        except BaseException as error:  # noqa: BLE001  # shown by `end`
            self.errors.append(error)

    def end(self) -> None:
        """Stop in order."""
        self.stop.set()
        self.thread.join(LIMIT_S)
        self.settings.stop()
        assert not self.thread.is_alive()
        assert not self.errors, self.errors


@pytest.fixture
def installation(kafka_server: KafkaServer, postgres_server: PostgresServer) -> Iterator[Installation]:
    made = Installation(kafka_server.bootstrap, postgres_server.fresh_database)
    yield made
    made.close()


def rows(dsn: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(query, values).fetchall()


def fresh(installation: Installation) -> str:
    """A migrated database."""
    dsn: str = installation.fresh_database("streams")
    apply_migrations(dsn, SQL)
    return dsn


@pytest.mark.parametrize("feed", ["faust", "batch"])
def test_the_way_of_a_person(installation: Installation, tmp_path: Path, feed: Feed) -> None:
    """Sign-up, stop, silence, erasure; then all state is lost and everything is read again: no event with a new id."""
    world, dsn = installation, fresh(installation)
    person, silent, other = random_id(), random_id(), random_id()
    running = world.role(feed, dsn, tmp_path)
    try:
        await_until(lambda: running.role.ready, LIMIT_S, "ready")
        world.says(person, "start")
        world.says(silent, "start", "en")
        world.says(other, None)
        world.wait_for(person, SendCommand=1)
        yes = world.says(person, "yes")
        world.wait_for(person, SubscriptionActivated=1, SendCommand=2)
        _check_consent(world, person, yes)
        world.says(person, "stop")
        world.wait_for(person, SubscriptionEnded=1, SendCommand=3)
        world.wait_for(silent, ConsentExpired=1)
        _erase(world, person, dsn)
        assert world.types(other) == Counter()
        assert world.types(person)["SendCommand"] == 3
    finally:
        running.end()
    before = {event.id for event in world.written()}
    again = world.role(feed, fresh(world), tmp_path / "again")
    try:
        await_until(lambda: again.role.ready, LIMIT_S, "ready")
        marker = random_id()
        world.says(marker, "start")
        world.wait_for(marker, SendCommand=1)
    finally:
        again.end()
    assert {event.id for event in world.written() if event.subject != marker} == before


def _check_consent(world: Installation, person: str, yes: Event) -> None:
    question, welcome = (world.one(person, messages.SendCommand, n) for n in (0, 1))
    assert (question.text.id, question.text.language, question.about) == (
        "consent_question",
        "de",
        "newsletter",
    )
    assert question.on_submitted == "confirmation_sent"
    given = next(
        e
        for e in world.written()
        if isinstance(registry.read(e), consents.ConsentGiven) and e.subject == person
    )
    assert (welcome.text.id, welcome.basis, welcome.purpose) == ("welcome", given.id, "newsletter")
    block = given.block("evidence")
    assert block is not None
    assert block.sealed_in == yes.id
    in_messages = [
        e.type
        for e in world.written()
        if e.subject == person and isinstance(registry.read(e), messages.MessageRequested)
    ]
    assert len(in_messages) == 2


def _erase(world: Installation, person: str, dsn: str) -> None:
    """The ledger from T0 to ErasureSettled; the fence holds."""
    erasure, t0 = random_id(), now_ms()
    requested = deletions.ErasureRequested(erasure=erasure, requested_by="officer", t0=to_text(t0))
    world.publish(topics.DELETIONS, person, requested)
    assert rows(
        dsn, "select from streams.state where processor = 'streams.subscriber' and subject = %s", person
    )
    t1 = now_ms()
    destroyed = deletions.KeyDestroyed(
        erasure=erasure,
        classes=["content", "identity"],
        evidence="retained",
        t1=to_text(t1),
        day_keys_until=to_text(t1 + 3000),
    )
    world.publish(topics.DELETIONS, person, destroyed)
    world.wait_for(person, StorePurged=1)
    assert not rows(
        dsn, "select from streams.state where processor = 'streams.subscriber' and subject = %s", person
    )
    assert rows(dsn, "select from streams.fence where subject = %s", person)
    assert not rows(dsn, "select from step.due where role = 'streams.subscriber' and key = %s", person)
    world.says(person, "start")
    for store in STORES:
        if store != SUBSCRIBER_STATE:
            purged = deletions.StorePurged(erasure=erasure, store=store, purged_at=to_text(now_ms()))
            world.publish(topics.DELETIONS, person, purged)
    world.wait_for(person, SubjectErased=1, ErasureSettled=1)
    erased = world.one(person, deletions.SubjectErased)
    assert [receipt.store for receipt in erased.receipts] == sorted(STORES)
    assert to_ms(erased.t2) == t1 + 2000
    assert is_genuine(erased, world.signer.private.public_key().public_bytes_raw())


@pytest.mark.parametrize("feed", ["faust", "batch"])
def test_many_persons_and_a_restart_in_between(
    installation: Installation, tmp_path: Path, feed: Feed
) -> None:
    """Forty persons sign up while the role stops and starts: each is asked once, welcomed once, in order."""
    world, dsn = installation, fresh(installation)
    persons = [random_id() for _ in range(40)]
    running = world.role(feed, dsn, tmp_path, LONG)
    for person in persons:
        world.says(person, "start")
    await_until(lambda: len(world.written()) > 20, LIMIT_S, "some were asked")
    running.end()
    running = world.role(feed, dsn, tmp_path, LONG)
    for person in persons:
        world.says(person, "yes")
    try:

        def all_welcomed() -> bool:
            asked = Counter(
                e.subject for e in world.written() if isinstance(registry.read(e), messages.SendCommand)
            )
            return all(asked[person] >= 2 for person in persons)

        await_until(all_welcomed, LIMIT_S, "all were welcomed")
    finally:
        running.end()
    for person in persons:
        commands = [
            registry.read(e)
            for e in _once(world.written())
            if e.subject == person and e.type.endswith("send.command.v1")
        ]
        assert [c.text.id for c in commands if isinstance(c, messages.SendCommand) and c.text] == [
            "consent_question",
            "welcome",
        ]


def _once(events: list[Event]) -> list[Event]:
    return list({event.id: event for event in reversed(events)}.values())[::-1]


def test_a_notice_published_a_moment_ago_counts(installation: Installation, tmp_path: Path) -> None:
    """Tenant and START come at once: the decision waits for the settings instead of being made without them."""
    world, dsn = installation, fresh(installation)
    running = world.role("batch", dsn, tmp_path)
    try:
        await_until(lambda: running.role.ready, LIMIT_S, "ready")
        world.tenant, person = random_id(), random_id()
        world.settle()
        world.says(person, "start")
        world.wait_for(person, SendCommand=1)
    finally:
        running.end()


def test_what_cannot_be_handled(installation: Installation, tmp_path: Path) -> None:
    """A malformed event of a person is a dead letter and marks the row; others go on."""
    world, dsn = installation, fresh(installation)
    running = world.role("batch", dsn, tmp_path)
    person, other = random_id(), random_id()
    try:
        world.says(person, "start")
        world.wait_for(person, SendCommand=1)
        broken = world.says(person, "yes").model_copy(update={"id": random_id(), "data": {"message": 5}})
        world.producer.produce_all([Output(topics.MESSAGES, person.encode(), broken.to_bytes())], LIMIT_S)
        world.says(other, "start")
        world.wait_for(other, SendCommand=1)
        query = "select stale from streams.state where processor = 'streams.subscriber' and subject = %s"
        await_until(lambda: rows(dsn, query, person) == [(True,)], LIMIT_S, "the row is marked")
        assert rows(dsn, query, other) == [(False,)]
    finally:
        running.end()


@pytest.mark.finding(9)
def test_a_wake_waits_until_the_log_has_been_read(installation: Installation) -> None:
    """After a long absence wakes are due before the records that came before them are read: they wait for `caught_up`."""
    world, dsn, person = installation, fresh(installation), random_id()
    start = world.says(person, "start")
    follower = SettingsFollower(world.bootstrap)
    follower.start()
    handler = ProcessorHandler(Subscriber(TIMES), settings=follower, id_key=lambda tenant: tenant.encode())
    record = Record(topics.MESSAGES, 0, 0, person.encode(), start.to_bytes(), now_ms())
    try:
        with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
            effects = Effects()
            handler.apply(
                cursor, [item for item in handler.prepare([record]) if isinstance(item, Item)], effects
            )
            (wake,) = effects.wakes[0]
            due = Item("", 0, wake.at_ms, None, None, Due(0, wake.at_ms, 1, wake.key, wake.kind, wake.body))
            waiting, handled = Effects(), Effects()
            handler.apply(cursor, [due], waiting)
            assert not waiting.outputs
            assert [later.body for later in waiting.wakes[0]] == [wake.body]
            await_until(lambda: now_ms() > wake.at_ms, LIMIT_S, "its time has come")
            handler.caught_up(cursor, [0])
            handler.apply(cursor, [due], handled)
            (expired,) = (Event.from_bytes(output.value) for output in handled.outputs[0])
            assert expired.time == to_text(wake.at_ms)
            assert isinstance(registry.read(expired), consents.ConsentExpired)
    finally:
        follower.stop()
