"""Consume, validate and open events the way Sealpost's readers do, beside a loop written by hand that knows every key.

By hand: orjson, one pydantic model, AES-GCM with the key from a dictionary. Ours: envelope and event model, and the vault, which
leases keys, checks what a block belongs to, and tells erased from corrupt.
"""

from base64 import b64decode
from collections.abc import Callable, Iterator
from itertools import islice

import orjson
from confluent_kafka import Consumer, TopicPartition
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.clock import month_of_ms, now_ms, to_text
from schemas.constants import BATCH_RECORDS, PRODUCTION
from schemas.envelope import Event, Sealed
from schemas.events import messages, registry
from schemas.ids import random_id
from schemas.topics import Topic
from streams.kafka import admin
from streams.kafka.consumer import consumer_settings
from streams.kafka.producer import OrderedProducer
from streams.step.contract import Output
from tests.bench.ground import Stopwatch, ground
from tests.bench.permits import populate
from tests.bench.report import Aim, Figures, Measured
from tests.receiving_world import PARTITIONS
from tests.vault_world import CHANNEL, World
from vault.keys import BlockToOpen
from vault.outcomes import Plain
from vault.sealing import NONCE_BYTES, SealContext, seal, unpad

SOURCE = "bench.sealed"
EVENTS = 60_000
PEOPLE = 5_000
CONTENT = {
    "text": "Hello, is the blue one still there?",
    "provider_id": "wamid.HBgNNDkxNTEyMzQ1Njc4ORUCABIYFDNB",
}


def sealed_event(tenant: str, subject: str, key: bytes, month: str) -> Event:
    """A message as inbound writes it."""
    event_id = random_id()
    context = SealContext(tenant, subject, event_id, messages.MessageReceived.TYPE, "content", month)
    data = messages.MessageReceived(
        message=event_id,
        account="a",
        kind="text",
        provider_kind="text",
        acted_at=to_text(now_ms()),
        sealed=Sealed(content=seal(key, context, orjson.dumps(CONTENT))),
    )
    return registry.build(
        data, id=event_id, role="inbound", tenant=tenant, subject=subject, at_ms=now_ms(), channel=CHANNEL
    )


def batches(bootstrap: str) -> Iterator[list[bytes]]:
    """All records, a thousand at a time."""
    settings = consumer_settings(bootstrap, group="bench", client_id="bench", session_s=10)
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(SOURCE, number, 0) for number in range(PARTITIONS)])
    done = 0
    while done < EVENTS:
        values = [message.value() or b"" for message in consumer.consume(BATCH_RECORDS, 1.0)]
        done += len(values)
        yield values
    consumer.close()


def by_hand(bootstrap: str, keys: dict[str, bytes]) -> Measured:
    """One loop."""
    watch = Stopwatch()
    for values in batches(bootstrap):
        watch.start()
        for value in values:
            event = Event.model_validate(orjson.loads(value))
            block = event.data["sealed"]["content"]
            raw = b64decode(block["ct"])
            context = SealContext(
                event.tenant, event.subject, event.id, event.type, "content", block["gen"]
            ).associated_data()
            opened = AESGCM(keys[event.subject]).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], context)
            orjson.loads(unpad(opened))
    return watch.events(EVENTS)


def as_readers_do(bootstrap: str, world: World) -> Measured:
    """Envelope, model, lease, open."""
    watch = Stopwatch()
    vault = world.other_process(PRODUCTION)
    for values in batches(bootstrap):
        watch.start()
        blocks = []
        for value in values:
            event = Event.from_bytes(value)
            data = registry.read(event)
            assert data.sealed is not None
            assert data.sealed.content is not None
            blocks.append(
                BlockToOpen(event.tenant, event.subject, event.id, event.type, "content", data.sealed.content)
            )
        for opened in vault.open_blocks(blocks):
            assert isinstance(opened, Plain)
            orjson.loads(opened.value)
    vault.close()
    return watch.events(EVENTS)


def run(rounds: int) -> None:
    """Fill, then measure in turn."""
    with ground() as parts:
        world = World.make(parts.database(), PRODUCTION)
        tenant = world.tenant()
        people = populate(tenant, PEOPLE)
        admin.apply_topics(parts.bootstrap, [Topic(SOURCE, -1)], PARTITIONS, 1, embedded=True)
        producer, month = OrderedProducer(parts.bootstrap, client_id="bench-fill"), month_of_ms(now_ms())
        events = (sealed_event(tenant.name, *people[n % PEOPLE], month) for n in range(EVENTS))
        for some in iter(lambda: list(islice(events, 5_000)), []):
            producer.produce_all([Output(SOURCE, event.key(), event.to_bytes()) for event in some])
        limit = "by hand, keys in memory"
        figures = Figures(
            "consume, validate, open", "events/s", limit, {"event model and vault": Aim(0.75, "ratio")}
        )
        variants: dict[str, Callable[[], Measured]] = {
            limit: lambda: by_hand(parts.bootstrap, dict(people)),
            "event model and vault": lambda: as_readers_do(parts.bootstrap, world),
        }
        figures.rounds(rounds, variants)
        figures.finish()
        world.vault.close()
