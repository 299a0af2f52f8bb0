"""The projector beside what a user would write by hand into the same tables: COPY + merge, and executemany.

By hand: consume, decode, two statements a batch; no validation, no repeats dropped, no fences, no position, no outbox.
"""

import statistics
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import psycopg
from confluent_kafka import Consumer, TopicPartition

from projections.projector import ProjectorHandler
from projections.tables import MESSAGE, SUBJECT
from schemas.clock import boot_s, to_text
from schemas.constants import BATCH_RECORDS, PRODUCTION
from schemas.envelope import Event
from schemas.ids import random_id
from schemas.topics import DELETIONS, Topic
from streams.kafka import admin
from streams.kafka.consumer import consumer_settings
from streams.kafka.producer import OrderedProducer
from streams.step.batch_feed import BatchFeed
from streams.step.contract import Output
from streams.step.engine import Engine
from tests.bench.feeding import through_the_feed
from tests.bench.ground import Ground, Stopwatch, ground
from tests.bench.report import Aim, Figures, Measured
from tests.projection_world import Person, ReadModels, message_name
from tests.receiving_world import PARTITIONS

SOURCE = "bench.projected"
PEOPLE = 5_000
EVENTS = 40_000
IDLE_ROUNDS = 50
LIMIT = "COPY + merge by hand"
MESSAGE_COLUMNS = ("tenant", "subject", "message", "direction", "channel", "account", "kind", "asked_at", "logged_at",
                   "log_offset", "content", "content_event", "content_type")  # fmt: skip
SUBJECT_COLUMNS = ("tenant", "subject", "first_event_at")
UPSERT_MESSAGE = (
    f"insert into projections.message ({', '.join(MESSAGE_COLUMNS)}) "
    f"values ({', '.join(['%s'] * len(MESSAGE_COLUMNS))}) on conflict do nothing"
)
UPSERT_SUBJECT = (
    "insert into projections.subject as m (tenant, subject, first_event_at) values (%s, %s, %s) on conflict (tenant, subject) "
    "do update set first_event_at = least(m.first_event_at, excluded.first_event_at)"
)
Row = tuple[Any, ...]
Read = tuple[bytes, int, int]
"""Value, broker's time and offset of a record."""


def fill(bootstrap: str) -> None:
    """Messages of many people, as inbound writes them."""
    admin.apply_topics(bootstrap, [Topic(SOURCE, -1), Topic(DELETIONS, -1)], PARTITIONS, 1, embedded=True)
    producer = OrderedProducer(bootstrap, client_id="bench-fill")
    people = [Person("t-bench") for _ in range(PEOPLE)]
    for start in range(0, EVENTS, 5_000):
        events = [people[n % PEOPLE].wrote(message_name(), n % 1_000) for n in range(start, start + 5_000)]
        producer.produce_all([Output(SOURCE, event.key(), event.to_bytes()) for event in events])
    producer.close()


def batches(bootstrap: str) -> Iterator[list[Read]]:
    """All records, a thousand at a time."""
    settings = consumer_settings(bootstrap, group="bench", client_id="bench", session_s=10)
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(SOURCE, number, 0) for number in range(PARTITIONS)])
    done = 0
    while done < EVENTS:
        messages = consumer.consume(BATCH_RECORDS, 1.0)
        done += len(messages)
        yield [(m.value() or b"", m.timestamp()[1], m.offset() or 0) for m in messages]
    consumer.close()


def rows_of(records: Sequence[Read]) -> tuple[list[Row], list[Row]]:
    """(messages, subjects folded by key), read without models."""
    messages: list[Row] = []
    subjects: dict[tuple[str, str], str] = {}
    for value, logged_ms, offset in records:
        event = orjson.loads(value)
        data, key = event["data"], (event["tenant"], event["subject"])
        subjects[key] = min(subjects.get(key, event["time"]), event["time"])
        content = orjson.dumps(data["sealed"]["content"]).decode()
        messages.append(
            (*key, data["message"], "in", event["channel"], data["account"], data["kind"], data["acted_at"],
             to_text(logged_ms), offset, content, event["id"], event["type"])
        )  # fmt: skip
    return messages, [(*key, at) for key, at in sorted(subjects.items())]


def with_copy(cursor: psycopg.Cursor[Any], messages: list[Row], subjects: list[Row]) -> None:
    """COPY into temporary tables, then one merge each."""
    for table, columns, rows, merge in (
        ("message", MESSAGE_COLUMNS, messages, "on conflict do nothing"),
        (
            "subject",
            SUBJECT_COLUMNS,
            subjects,
            "on conflict (tenant, subject) do update set first_event_at = least(m.first_event_at, excluded.first_event_at)",
        ),
    ):
        names = ", ".join(columns)
        with cursor.copy(f"copy new_{table} ({names}) from stdin") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(
            f"insert into projections.{table} as m ({names}) select {names} from new_{table} {merge}"
        )
        cursor.execute(f"truncate new_{table}")


def with_executemany(cursor: psycopg.Cursor[Any], messages: list[Row], subjects: list[Row]) -> None:
    """What a user would write."""
    cursor.executemany(UPSERT_MESSAGE, messages)
    cursor.executemany(UPSERT_SUBJECT, subjects)


def by_hand(
    parts: Ground, dsn: str, write: Callable[[psycopg.Cursor[Any], list[Row], list[Row]], None]
) -> Measured:
    """Consume, decode, write, commit."""
    watch, done = Stopwatch(parts), 0
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table new_message (like projections.message)")
        # What the table itself makes of the others is not written by hand.
        cursor.execute(
            "alter table new_message alter place_at drop not null, alter place_offset drop not null"
        )
        cursor.execute("create temporary table new_subject (like projections.subject)")
        connection.commit()
        for records in batches(parts.bootstrap):
            watch.start()
            write(cursor, *rows_of(records))
            connection.commit()
            done += len(records)
    return watch.events(done)


def projected(parts: Ground, dsn: str) -> Measured:
    """The role as it is deployed, under a new name."""
    return through_the_feed(handler(), dsn, parts)


def handler() -> ProjectorHandler:
    """The projector's, on our topic."""
    made = ProjectorHandler()
    made.role, made.topics, made.priority_topic = random_id(), (SOURCE,), None
    return made


def idle_latency_ms(bootstrap: str, dsn: str) -> list[float]:
    """From the broker's ack of an event to its row being seen, one event at a time."""
    cluster = admin.ClusterIdentity(bootstrap)
    producer, source = (OrderedProducer(bootstrap, client_id=f"bench-idle-{n}") for n in range(2))
    engine = Engine(handler(), dsn, producer, cluster=cluster)
    feed = BatchFeed(engine, bootstrap, times=PRODUCTION, group=f"bench-{random_id()}")
    stop = threading.Event()
    thread = threading.Thread(target=feed.run, args=(stop,))
    thread.start()
    found: list[float] = []
    try:
        while sum(engine.positions().values()) < sum(cluster_ends(bootstrap)):
            stop.wait(0.1)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for _ in range(IDLE_ROUNDS):
                event: Event = (person := Person("t-bench")).wrote(message_name(), 1)
                source.produce_all([Output(SOURCE, event.key(), event.to_bytes())])
                begin = boot_s()
                question = "select 1 from projections.message where tenant = 't-bench' and subject = %s"
                while connection.execute(question, (person.subject,)).fetchone() is None:
                    stop.wait(0.001)
                found.append((boot_s() - begin) * 1000)
                stop.wait(0.05)
    finally:
        stop.set()
        thread.join()
        engine.close()
    return sorted(found)


def cluster_ends(bootstrap: str) -> list[int]:
    """Ends of our topic's partitions."""
    return list(admin.end_offsets(bootstrap, SOURCE).values())


def run(rounds: int) -> None:
    """Fill, then measure in turn, each on empty tables."""
    with ground() as parts:
        dsn = parts.database()
        ReadModels(dsn)
        fill(parts.bootstrap)
        figures = Figures(
            "projector, batches of 1,000",
            "events/s",
            LIMIT,
            {"projector": Aim(0.75, "ratio"), "projector / executemany": Aim(1.5)},
        )
        variants: dict[str, Callable[[], Measured]] = {
            LIMIT: lambda: by_hand(parts, dsn, with_copy),
            "executemany by hand": lambda: by_hand(parts, dsn, with_executemany),
            "projector": lambda: projected(parts, dsn),
        }
        figures.rounds(rounds, {name: on_empty_tables(parts, dsn, one) for name, one in variants.items()})
        pairs = zip(figures.values("projector"), figures.values("executemany by hand"), strict=True)
        for one, other in pairs:
            figures.add("projector / executemany", Measured(one / other))
        figures.finish()
        idle = Figures("projector idle latency", "ms", "p50", {"p95": Aim(50, "at most")})
        for _ in range(rounds):
            waits = idle_latency_ms(parts.bootstrap, dsn)
            idle.add("p50", Measured(statistics.median(waits)))
            idle.add("p95", Measured(waits[-1 - len(waits) // 20]))
        idle.finish()


def on_empty_tables(parts: Ground, dsn: str, variant: Callable[[], Measured]) -> Callable[[], Measured]:
    """The variant after the rows of the one before are gone."""

    def measure() -> Measured:
        tables = ", ".join(f"projections.{table.name}" for table in (MESSAGE, SUBJECT))
        parts.admin(dsn, f"truncate {tables}")
        parts.settle(dsn)
        return variant()

    return measure
