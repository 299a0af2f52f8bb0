"""The inbound worker, whole: feed, day key, parse, resolve, seal, write, on a real vault; beside a loop written by hand.

By hand: consume, open with the day key, parse, seal the content with a key from memory, produce, await the acks. It asks no
database, drops no repeats, knows no subject, and loses or doubles events when it is killed.
"""

import itertools
from base64 import b64decode
from collections.abc import Iterator, Sequence

import orjson
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.clock import month_of_ms, now_ms, to_text, today
from schemas.constants import BATCH_RECORDS, PRODUCTION
from schemas.events.messages import MessageReceived
from schemas.ids import message_id, random_bytes, random_id
from schemas.topics import MESSAGES, Topic
from streams.kafka import admin
from streams.kafka.consumer import consumer_settings
from streams.kafka.producer import producer_settings
from streams.kafka.settings_follower import SettingsFollower
from streams.step.contract import Output
from tests.bench.feeding import through_the_feed
from tests.bench.ground import Ground, Stopwatch, ground
from tests.bench.report import Aim, Figures, Measured
from tests.receiving_world import PARTITIONS, ReceivingWorld, Site, change, new_number, status, text, webhook
from tests.vault_world import CHANNEL
from vault.ingress import DaySealer
from vault.sealing import SealContext, seal
from workers import registry
from workers.inbound.handler import InboundHandler
from workers.inbound_values import InboundMessage
from workers.receiver.records import DayKey, seal_fragments

KNOWN, NEW, STATUSES = "bench.known", "bench.new", "bench.statuses"
PEOPLE = 5_000
MESSAGES_OF_KNOWN = 40_000
MESSAGES_OF_NEW = 10_000
STATUS_COUNT = 30_000
AIM = 10_000
WORDS = "Hello, is the blue one still there? I would come by on Saturday."


class World:
    """A vault with one site and people, and topics full of fragments as the receiver writes them."""

    def __init__(self, parts: Ground) -> None:
        self.parts = parts
        self.dsn = parts.database()
        self.world = ReceivingWorld(parts.bootstrap, self.dsn, parts.folder, PRODUCTION)
        self.site: Site = self.world.site()
        self.numbers = [new_number() for _ in range(PEOPLE)]
        self.settings = SettingsFollower(parts.bootstrap)
        self.settings.start()
        topics = [Topic(name, -1) for name in (KNOWN, STATUSES)]
        admin.apply_topics(parts.bootstrap, topics, PARTITIONS, 1, embedded=True)
        found = self.world.vault.connections().usable
        self.connection = next(c for c in found if c.connection == self.site.connection)
        with self.world.vault.transaction() as cursor:
            (key,) = self.world.vault.create_day_keys(cursor, self.site.tenant, [today()])
        self.day_key = DayKey(today(), DaySealer(key.public))

    def close(self) -> None:
        """Let everything go."""
        self.settings.stop()
        self.world.close()

    def write(self, topic: str, bodies: Iterator[bytes]) -> None:
        """What the receiver would produce for these webhooks, into this topic."""
        channel = registry.channel(CHANNEL)
        for chunk in iter(lambda: list(itertools.islice(bodies, 2_000)), []):
            fragments = [fragment for body in chunk for fragment in channel.split(body)]
            now = now_ms()
            sealed = seal_fragments(self.connection, fragments, self.day_key, now_ms=now, times=PRODUCTION)
            self.world.producer.produce_all([Output(topic, one.key, one.value) for one in sealed])

    def messages(self, numbers: Sequence[str], count: int) -> Iterator[bytes]:
        """Texts of these people in turn, each a webhook of its own."""
        for number in itertools.islice(itertools.cycle(numbers), count):
            yield orjson.dumps(webhook(change(self.site, text(number, WORDS), names=[(number, "Ada")])))

    def statuses(self, count: int) -> Iterator[bytes]:
        """Statuses of messages that have claims and outcomes, found by their echo."""
        ids = [message_id(today(), b"k", random_id(), "bench", "m") for _ in range(count // 3)]
        subject = random_id()
        with psycopg.connect(self.dsn) as connection, connection.cursor() as cursor:
            with cursor.copy(
                "copy vault.claims (day, message, part, attempt, token, tenant, subject, account, purpose, at_ms) from stdin"
            ) as copy:
                for one in ids:
                    row = (
                        today(),
                        one,
                        0,
                        1,
                        "t",
                        self.site.tenant,
                        subject,
                        self.site.account,
                        "service",
                        now_ms(),
                    )
                    copy.write_row(row)
            with cursor.copy(
                "copy vault.outcomes (day, message, part, attempt, definite, class, outputs, at_ms) from stdin"
            ) as copy:
                for one in ids:
                    copy.write_row((today(), one, 0, 1, True, "submitted", b"", now_ms()))
        # Content of statuses is sealed for the person, so there must be one.
        number = self.numbers[0]
        found = self.world.person(self.site, number).subject
        self.parts.admin(self.dsn, f"update vault.claims set subject = '{found}'")
        for one in ids:
            for word in ("sent", "delivered", "read"):
                report = status(f"wamid.{one}", word, number, biz_opaque_callback_data=f"{one}.0")
                yield orjson.dumps(webhook(change(self.site, report)))


def on_the_engine(world: World, topic: str) -> Measured:
    """The role as it is deployed, on one topic, under a new name, so that nothing was seen before."""
    vault = world.world.vaults.other_process(PRODUCTION)
    handler = InboundHandler(vault, world.settings, PRODUCTION)
    handler.role, handler.topics = random_id(), (topic,)
    world.parts.settle(world.dsn)
    try:
        return through_the_feed(handler, world.dsn, world.parts)
    finally:
        vault.close()


def new_people(world: World) -> Measured:
    """The same for people who write for the first time."""
    topic = f"{NEW}.{random_id()[:8]}"
    admin.apply_topics(world.parts.bootstrap, [Topic(topic, -1)], PARTITIONS, 1, embedded=True)
    numbers = [new_number() for _ in range(MESSAGES_OF_NEW)]
    world.write(topic, world.messages(numbers, MESSAGES_OF_NEW))
    return on_the_engine(world, topic)


def by_hand(world: World) -> Measured:
    """Consume, open, parse, seal, produce; nothing else."""
    parse = registry.channel(CHANNEL).parse
    opener = world.world.vault.day_opener(world.site.tenant, today())
    assert opener is not None
    people = {number: (random_id(), random_bytes(32)) for number in world.numbers}
    producer = Producer(
        {
            **producer_settings(world.parts.bootstrap, client_id="bench", delivery_timeout_s=None),
            "delivery.report.only.error": True,
        }
    )
    consumer = Consumer(
        consumer_settings(world.parts.bootstrap, group="bench", client_id="bench", session_s=10)
    )
    consumer.assign([TopicPartition(KNOWN, number, 0) for number in range(PARTITIONS)])
    watch, done = Stopwatch(), 0
    while done < MESSAGES_OF_KNOWN:
        messages = consumer.consume(BATCH_RECORDS, 1.0)
        watch.start()
        for message in messages:
            event = orjson.loads(message.value() or b"")
            data = event["data"]
            context = (event["tenant"], data["connection"], data["account"], data["day"])
            opened = opener.open(context, b64decode(data["ct"]))
            (value,) = parse(orjson.loads(opened)["fragment"])
            assert isinstance(value, InboundMessage)
            subject, key = people[value.addresses[0].value]
            record = sealed_by_hand(event["tenant"], subject, key, value, message.timestamp()[1])
            producer.produce(MESSAGES, record, subject.encode())
        producer.flush()
        done += len(messages)
    measured = watch.events(done)
    consumer.close()
    return measured


def sealed_by_hand(tenant: str, subject: str, key: bytes, value: InboundMessage, at_ms: int) -> bytes:
    """A MessageReceived event without models."""
    event_id, kind = random_id(), MessageReceived.TYPE
    context = SealContext(tenant, subject, event_id, kind, "content", month_of_ms(at_ms))
    content = {
        "text": value.text,
        "provider_id": value.provider_id,
        "provider_time": to_text(value.provider_time_ms),
    }
    block = seal(key, context, orjson.dumps(content))
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": "sealpost/inbound",
            "type": kind,
            "subject": subject,
            "time": to_text(at_ms),
            "datacontenttype": "application/json",
            "tenant": tenant,
            "channel": CHANNEL,
            "data": {
                "message": event_id,
                "account": "a",
                "kind": value.kind,
                "provider_kind": value.provider_kind,
                "acted_at": to_text(at_ms),
                "sealed": {"content": {"gen": block.gen, "alg": block.alg, "ct": block.ct}},
            },
        }
    )


def run(rounds: int) -> None:
    """Fill, then measure in turn."""
    with ground() as parts:
        world = World(parts)
        world.write(KNOWN, world.messages(world.numbers, MESSAGES_OF_KNOWN))
        on_the_engine(world, KNOWN)
        world.write(STATUSES, world.statuses(STATUS_COUNT))
        figures = Figures("inbound", "messages/s", "by hand, known people", {"known people": Aim(AIM)})
        variants = {
            "by hand, known people": lambda: by_hand(world),
            "known people": lambda: on_the_engine(world, KNOWN),
            "new people": lambda: new_people(world),
            "statuses by echo": lambda: on_the_engine(world, STATUSES),
        }
        figures.rounds(rounds, variants)
        figures.finish()
        world.close()
