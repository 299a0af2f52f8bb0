"""Messages of a person stand in the order of the log, however many share a millisecond, and are paged in it."""

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

import projections
from projections.api.reading import Place, Reader, open_pool
from schemas.clock import to_ms, to_text
from schemas.envelope import Event
from schemas.events.registry import MODELS, TOPIC_OF
from schemas.ids import random_id
from streams.step.contract import Record
from streams.step.migrate import apply_migrations
from tests.embedded_fixtures import PostgresServer
from tests.projection_world import START_MS, Person, ReadModels, message_name

MESSAGES = 60
SQL = Path(str(projections.__file__)).parent / "sql"


@pytest.fixture(scope="module")
def models(postgres_server: PostgresServer) -> ReadModels:
    return ReadModels(postgres_server.fresh_database("projections"))


@pytest.fixture
def person() -> Person:
    return Person(f"t-{random_id()[:8]}")


def logged(events: Sequence[Event], times_ms: Sequence[int] | None = None) -> list[Record]:
    """Events in the order of the log: offsets count per topic; the broker's times are these, or one and the same."""
    offsets: dict[str, int] = {}
    records = []
    for number, event in enumerate(events):
        topic = TOPIC_OF[MODELS[event.type]]
        offset = offsets[topic] = offsets.get(topic, -1) + 1
        time_ms = START_MS if times_ms is None else times_ms[number]
        records.append(Record(topic, 0, offset, event.key(), event.to_bytes(), time_ms))
    return records


def conversation(person: Person) -> tuple[list[str], list[Event]]:
    """Messages in both directions, all in one millisecond; those out with what became of them. The ids in order, the events."""
    names, events = [], []
    for number in range(MESSAGES):
        name = message_name()
        names.append(name)
        if number % 3 == 0:
            events.append(person.wrote(name, 0))
        else:
            events += [person.asked(name, 0), *(person.status(s, name, 0) for s in ("submitted", "sent"))]
    return names, events


@contextmanager
def reading(models: ReadModels) -> Iterator[Reader]:
    """The query API's reader."""
    pool = open_pool(models.dsn)
    try:
        yield Reader(pool)
    finally:
        pool.close()


def walk(reader: Reader, person: Person, size: int) -> list[str]:
    """All pages of this size, one after another."""
    found: list[str] = []
    after: Place | None = None
    while page := reader.messages(person.tenant, person.subject, after, size):
        found += [row["message"] for row in page]
        after = Place.of(page[-1])
    return found


@pytest.mark.parametrize("seed", range(3))
def test_one_millisecond_in_both_directions(models: ReadModels, person: Person, seed: int) -> None:
    """The order of the log in pages of every size, in whatever order and however often the records are folded."""
    names, events = conversation(person)
    records = logged(events)
    mixed = random.Random(seed)
    folded = [*records, *mixed.sample(records, 40)]
    mixed.shuffle(folded)
    for start in range(0, len(folded), 17):
        models.apply_records(folded[start : start + 17])
    with reading(models) as reader:
        for size in (1, 7, MESSAGES, MESSAGES + 1):
            assert walk(reader, person, size) == names, f"pages of {size}"


def test_clocks_of_writers_do_not_count(models: ReadModels, person: Person) -> None:
    """An API whose clock is ahead, or an inbound worker that was behind, moves nothing: the log has one clock and one order."""
    names = [message_name() for _ in range(4)]
    events = [
        person.asked(names[0], 3600), person.wrote(names[1], 2), person.asked(names[2], 3), person.wrote(names[3], 1),
    ]  # fmt: skip
    models.apply_records(logged(events, [START_MS + 5000 + number for number in range(4)]))
    with reading(models) as reader:
        assert walk(reader, person, 3) == names


def test_a_row_without_its_request_and_cursors_while_rows_change(models: ReadModels, person: Person) -> None:
    """It stands where its first status was recorded and takes its own place once the request is read; a cursor is a place
    and not a row: what stood behind it and did not move is found once."""
    names = [message_name() for _ in range(5)]
    requests = [person.asked(name, number) for number, name in enumerate(names)]
    records = logged(requests, [START_MS + number for number in range(5)])
    late = logged([person.status("sent", names[1], -60)], [START_MS + 3])
    models.apply_records([record for record in records if record is not records[1]] + late)
    with reading(models) as reader:
        shown = [names[0], names[2], names[3], names[1], names[4]]
        assert walk(reader, person, 2) == shown, "the provider's clock, a minute behind, places nothing"
        page = reader.messages(person.tenant, person.subject, None, 4)
        models.apply_records([records[1], *logged([person.status("read", names[0], 9)], [START_MS + 9])])
        rest = reader.messages(person.tenant, person.subject, Place.of(page[-1]), 4)
        assert [row["message"] for row in rest] == [names[4]]
        assert walk(reader, person, 2) == names


def test_a_message_that_has_statuses_only_stands_by_its_first_one(models: ReadModels, person: Person) -> None:
    """A broadcast writes no request: its row stands where its first status was recorded, whichever is folded first."""
    before, only, after = (message_name() for _ in range(3))
    statuses = logged(
        [person.status("submitted", only, 1), person.status("delivered", only, 1)],
        [START_MS + 2, START_MS + 9],
    )
    around = logged([person.wrote(before, 0), person.wrote(after, 0)], [START_MS + 1, START_MS + 3])
    models.apply_records([*reversed(statuses), *around])
    with reading(models) as reader:
        assert walk(reader, person, 1) == [before, only, after]


def test_rows_of_the_release_before_keep_their_place(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """What was folded without offsets stands by its time, also when a status comes after the upgrade."""
    dsn, person = postgres_server.fresh_database("projections"), Person("shop")
    old = tmp_path / "projections" / "sql"
    old.mkdir(parents=True)
    shutil.copy(SQL / "001_pre_read_models.sql", old)
    apply_migrations(dsn, old)
    names = [message_name() for _ in range(3)]
    with psycopg.connect(dsn) as connection:
        for number, name in enumerate(names[:2]):
            connection.execute(
                "insert into projections.message (tenant, subject, message, direction, asked_at) values (%s, %s, %s, 'out', %s)",
                (person.tenant, person.subject, name, to_text(START_MS + number)),
            )
    models = ReadModels(dsn)
    assert apply_migrations(dsn, SQL) == [], "all files are applied by now"
    news = [person.asked(names[2], 5), person.status("read", names[0], 6)]
    models.apply_records(logged(news, [to_ms(event.time) for event in news]))
    with reading(models) as reader:
        assert walk(reader, person, 2) == names
