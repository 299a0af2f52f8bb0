"""The step engine beside its limits: consume and decode; the same work by hand without the engine's guarantees."""

import base64
import contextlib
import statistics
import threading
from collections.abc import Callable, Iterator, Sequence

import orjson
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.embedded import postgres as embedded_postgres
from schemas.clock import DAY, boot_s, now_ms, to_text, today
from schemas.constants import BATCH_RECORDS
from schemas.ids import random_bytes, random_id
from schemas.topics import Topic
from streams.kafka import admin
from streams.kafka.consumer import consumer_settings, to_record
from streams.kafka.producer import OrderedProducer, producer_settings
from streams.step.batch_feed import BatchFeed
from streams.step.contract import Cursor, Effects, Item, Output, Poison, Record
from streams.step.engine import Engine
from streams.step.migrate import apply_migrations
from tests.bench.ground import Ground, Stopwatch, ground
from tests.bench.report import Aim, Figures, Measured

EVENTS = 100_000
EVENT_BYTES = 777
SUBJECTS = 20_000
PARTITIONS = 4
SOURCE = "bench.source"
TARGET = "bench.target"
AIM = 25_000
IDLE_ROUNDS = 50
SEEN_DAYS = 9
SEEN_A_DAY = 200_000

STATE = "create table state (key text primary key, n integer not null, last text not null)"
UPSERT = """
insert into state (key, n, last)
select key, n, last from json_to_recordset(%s::json) as x(key text, n integer, last text)
on conflict (key) do update set n = state.n + excluded.n, last = excluded.last returning key, n
"""


def event(subject: str) -> bytes:
    """One event of EVENT_BYTES with a sealed block."""
    value = orjson.dumps(
        {
            "specversion": "1.0",
            "id": random_id(),
            "source": "sealpost/inbound",
            "type": "sealpost.message.received.v1",
            "subject": subject,
            "time": to_text(now_ms()),
            "datacontenttype": "application/json",
            "tenant": "0" * 32,
            "channel": "whatsapp",
            "causationid": random_id(),
            "correlationid": random_id(),
            "data": {
                "kind": "text",
                "sealed": {
                    "content": {
                        "gen": "2026-11",
                        "alg": "A256GCM",
                        "ct": base64.b64encode(random_bytes(190)).decode(),
                    }
                },
            },
        }
    )
    return value[:-1] + b" " * (EVENT_BYTES - len(value)) + b"}"


def fill(bootstrap: str, count: int) -> None:
    """Make the topics and `count` events."""
    admin.apply_topics(bootstrap, [Topic(SOURCE, -1), Topic(TARGET, -1)], PARTITIONS, 1, embedded=True)
    producer = OrderedProducer(bootstrap, client_id="bench-fill")
    subjects = [random_id() for _ in range(SUBJECTS)]
    for start in range(0, count, 10_000):
        some = [subjects[n * 7919 % SUBJECTS] for n in range(start, min(count, start + 10_000))]
        producer.produce_all([Output(SOURCE, subject.encode(), event(subject)) for subject in some])
    producer.close()


@contextlib.contextmanager
def reading(bootstrap: str) -> Iterator[Consumer]:
    """A consumer at the start of the source, with something in its queue."""
    settings = consumer_settings(bootstrap, group="bench", client_id="bench", session_s=10)
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(SOURCE, number, 0) for number in range(PARTITIONS)])
    try:
        yield consumer
    finally:
        consumer.close()


def consume_and_decode(bootstrap: str, count: int) -> Measured:
    """Limit (a): events/s of consume + orjson, by hand."""
    with reading(bootstrap) as consumer:
        watch, done = Stopwatch(), 0
        while done < count:
            messages = consumer.consume(BATCH_RECORDS, 1.0)
            watch.start()
            for message in messages:
                orjson.loads(message.value() or b"")
            done += len(messages)
        return watch.events(done)


def by_hand(bootstrap: str, dsn: str, count: int) -> Measured:
    """Limit (b): one upsert a batch, then produce and await; no fence, no positions, no repeats dropped, no outbox."""
    producer = Producer(
        {
            **producer_settings(bootstrap, client_id="bench", delivery_timeout_s=None),
            "delivery.report.only.error": True,
        }
    )
    with reading(bootstrap) as consumer, psycopg.connect(dsn) as connection:
        watch, done = Stopwatch(), 0
        while done < count:
            messages = consumer.consume(BATCH_RECORDS, 1.0)
            watch.start()
            rows: dict[str, list[object]] = {}
            for message in messages:
                content = orjson.loads(message.value() or b"")
                row = rows.setdefault(content["subject"], [0, ""])
                row[0] = int(str(row[0])) + 1
                row[1] = content["id"]
            state = [{"key": key, "n": row[0], "last": row[1]} for key, row in sorted(rows.items())]
            connection.execute(UPSERT, (orjson.dumps(state).decode(),)).fetchall()
            connection.commit()
            for message in messages:
                producer.produce(TARGET, message.value(), message.key())
            producer.flush()
            done += len(messages)
        return watch.events(done)


class Forwarding:
    """Counts per subject and forwards each event."""

    topics: tuple[str, ...] = (SOURCE,)
    priority_topic: str | None = None

    def __init__(self, role: str) -> None:
        self.role = role

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        loads = orjson.loads
        answers: list[Item | Poison] = []
        for record in records:
            content = loads(record.value or b"")
            answers.append(Item(content["id"], record.partition, record.time_ms, content, record))
        return answers

    def apply(self, cursor: Cursor, items: Sequence[Item], effects: Effects) -> None:
        rows: dict[str, dict[str, object]] = {}
        for item in items:
            subject = item.value["subject"]
            row = rows.get(subject)
            if row is None:
                rows[subject] = {"key": subject, "n": 1, "last": item.id}
            else:
                row["n"] = int(str(row["n"])) + 1
                row["last"] = item.id
        cursor.execute(UPSERT, (orjson.dumps([rows[key] for key in sorted(rows)]).decode(),))
        cursor.fetchall()
        for item in items:
            record = item.record
            assert record is not None
            effects.emit(item.partition, TARGET, record.key or b"", record.value or b"")

    def poisoned(self, cursor: Cursor, poison: Poison, effects: Effects) -> None:
        """Nothing is poison here."""

    def caught_up(self, cursor: Cursor, partitions: Sequence[int]) -> None:
        """Nothing to note."""


def with_the_engine(parts: Ground, dsn: str, count: int) -> Measured:
    """(c): the same through the step, under a new role, so that nothing was seen before."""
    bootstrap = parts.bootstrap
    producer = OrderedProducer(bootstrap, client_id="bench-step")
    engine = Engine(Forwarding(random_id()), dsn, producer, cluster=admin.ClusterIdentity(bootstrap))
    engine.take_over(range(PARTITIONS))
    with reading(bootstrap) as consumer:
        watch, done = Stopwatch(parts), 0
        while done < count:
            messages = consumer.consume(BATCH_RECORDS, 1.0)
            watch.start()
            engine.step([to_record(message) for message in messages])
            done += len(messages)
        measured = watch.events(done)
    engine.close()
    producer.close()
    return measured


def idle_latency_ms(bootstrap: str, dsn: str) -> list[float]:
    """From a record acknowledged by the broker to its output read by another consumer, one at a time, through the batch feed."""
    stop = threading.Event()
    producer = OrderedProducer(bootstrap, client_id="bench-idle", give_up=stop)
    role = random_id()
    engine = Engine(Forwarding(role), dsn, producer, cluster=admin.ClusterIdentity(bootstrap))
    feed = BatchFeed(engine, bootstrap)
    thread = threading.Thread(target=feed.run, args=(stop,))
    thread.start()
    source = OrderedProducer(bootstrap, client_id="bench-idle-source")
    found: list[float] = []
    try:
        ends = admin.end_offsets(bootstrap, SOURCE)
        while any((engine.position(SOURCE, number) or 0) < end for number, end in ends.items()):
            stop.wait(0.1)
        settings = consumer_settings(bootstrap, group="bench", client_id="bench-idle", session_s=10)
        target = Consumer(settings)
        target.assign(
            [TopicPartition(TARGET, n, end) for n, end in admin.end_offsets(bootstrap, TARGET).items()]
        )
        for number in range(IDLE_ROUNDS + 1):
            subject = random_id()
            source.produce_all([Output(SOURCE, subject.encode(), event(subject))])
            begin = boot_s()
            while (message := target.poll(5.0)) is None or message.key() != subject.encode():
                pass
            # The first one waits for the reading consumer to find its broker.
            if number:
                found.append((boot_s() - begin) * 1000)
            stop.wait(0.05)
        target.close()
    finally:
        stop.set()
        thread.join()
        engine.close()
    return sorted(found)


def fill_seen(dsn: str) -> None:
    """Ids of the nine days before, in which every event is looked up."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(1, SEEN_DAYS + 1):
            day = today() - number * DAY
            connection.execute("select step.make_seen_partitions(%s, 1)", (day,))
            connection.execute(
                "insert into step.seen select step.span(%s), 'former', gen_random_uuid() from generate_series(1, %s)",
                (day, SEEN_A_DAY),
            )
        connection.execute("vacuum analyze step.seen")


def empty(dsn: str) -> None:
    """Every variant starts from the same tables."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("truncate state, step.outbox")
        connection.execute("delete from step.seen where role <> 'former'")
        connection.execute("vacuum step.seen")
        connection.execute("vacuum analyze state")
        connection.execute("checkpoint")


def run(rounds: int, count: int = EVENTS) -> None:
    """Run all variants in turn, `rounds` times; print and record."""
    with ground() as parts:
        dsn = parts.postgres.admin_dsn(embedded_postgres.ADMIN)
        apply_migrations(dsn, parts.folder / "none" / "sql")
        with psycopg.connect(dsn) as connection:
            connection.execute(STATE)
        fill(parts.bootstrap, count)
        fill_seen(dsn)
        measure(parts, dsn, rounds, count)


def measure(parts: Ground, dsn: str, rounds: int, count: int) -> None:
    """The rounds."""
    bootstrap = parts.bootstrap

    def fresh(variant: Callable[[], Measured]) -> Callable[[], Measured]:
        def on_empty_tables() -> Measured:
            empty(dsn)
            return variant()

        return on_empty_tables

    rates = Figures("step", "events/s", "by hand: upsert, produce", {"the step": Aim(AIM)})
    rates.rounds(
        rounds,
        {
            "consume + orjson": fresh(lambda: consume_and_decode(bootstrap, count)),
            "by hand: upsert, produce": fresh(lambda: by_hand(bootstrap, dsn, count)),
            "the step": fresh(lambda: with_the_engine(parts, dsn, count)),
        },
    )
    rates.finish()
    idle = Figures("step idle latency", "ms", "p50", {"p95": Aim(50, "at most")})
    for _ in range(rounds):
        waits = idle_latency_ms(bootstrap, dsn)
        idle.add("p50", Measured(statistics.median(waits)))
        idle.add("p95", Measured(waits[-1 - len(waits) // 20]))
        idle.add("longest", Measured(waits[-1]))
    idle.finish()
