"""The step: recorded before it acts, each input once, one owner."""

import base64
from collections.abc import Sequence
from typing import Any

import orjson
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from schemas.clock import now_ms
from schemas.constants import EVENT_MAX_BYTES
from schemas.ids import derived_id, random_id
from schemas.topics import DEADLETTERS
from streams.kafka.producer import ProduceFailed
from streams.step import store
from streams.step.contract import Cursor, Item, Output, Record
from streams.step.engine import DatabaseAway, Engine, Fenced, PositionInvalid, StopPartition
from streams.step.errors import IncarnationChanged
from streams.step.incarnation import read_incarnation, record_incarnation
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.integration.step_topics import make_anew
from tests.step_world import ID_KEY, Counting, World, await_until, expected_counts

ALL = tuple(range(4))


@pytest.fixture
def world(kafka_server: KafkaServer, postgres_server: PostgresServer) -> World:
    return World(kafka_server.bootstrap, postgres_server.fresh_database("step"))


def run(engine: Engine, records: Sequence[Record], size: int = 50) -> None:
    for start in range(0, len(records), size):
        engine.step(records[start : start + size])


def test_state_and_outputs_are_the_fold_of_the_log(world: World) -> None:
    world.produce(range(200))
    engine = world.engine()
    positions = engine.take_over(ALL)
    assert positions == {(world.source, number): 0 for number in ALL}
    run(engine, world.records(world.source))
    engine.tidy()
    assert world.counts() == expected_counts(range(200))
    outputs = world.outputs()
    assert sorted(output["of"] for output in outputs) == sorted(
        derived_id(ID_KEY, str(n)) for n in range(200)
    )
    by_key: dict[bytes, list[int]] = {}
    for record in world.records(world.target):
        by_key.setdefault(record.key or b"", []).append(orjson.loads(record.value or b"")["n"])
    assert all(seen == list(range(1, len(seen) + 1)) for seen in by_key.values()), (
        "outputs are in the order of the log"
    )
    assert world.rows("select * from step.outbox") == []
    assert sum(row[0] for row in world.rows("select next_offset from step.position")) == 200


@pytest.mark.finding(29)
def test_repeats_are_dropped_within_a_batch_and_later_and_after_midnight(world: World) -> None:
    world.produce([*range(50), *range(50)])
    engine = world.engine()
    engine.take_over(ALL)
    records = world.records(world.source)
    engine.step(records)
    assert world.counts() == expected_counts(range(50))
    world.produce([*range(40, 60)])
    engine.step([record for record in world.records(world.source) if record not in records])
    assert world.counts() == expected_counts(range(60))
    for days in (0, 1, 2, 5, 9):
        run(engine, _again(engine, world, records, days))
        assert world.counts() == expected_counts(range(60)), f"{days} days later"
    assert len(world.outputs()) == 60
    # Two weeks later the ids are forgotten: nothing promises to know them any longer.
    run(engine, _again(engine, world, records, days=14))
    assert sum(world.counts().values()) == 60 + 50
    assert world.rows("select * from step.seen_default") == []


def _again(engine: Engine, world: World, records: Sequence[Record], days: int) -> list[Record]:
    """Records with new offsets behind the positions and a later broker time."""
    shift = days * 86_400_000
    next_offsets = {number: engine.position(world.source, number) or 0 for number in ALL}
    again = []
    for record in records:
        again.append(record_at(record, next_offsets[record.partition], record.time_ms + shift))
        next_offsets[record.partition] += 1
    return again


def record_at(record: Record, offset: int, time_ms: int) -> Record:
    return Record(record.topic, record.partition, offset, record.key, record.value, time_ms)


def test_records_below_the_position_are_skipped_and_a_gap_is_refused(world: World) -> None:
    world.produce(range(40))
    engine = world.engine()
    engine.take_over(ALL)
    records = world.records(world.source)
    engine.step(records)
    engine.step(records)
    assert world.counts() == expected_counts(range(40))
    last = records[-1]
    with pytest.raises(PositionInvalid, match="the records between are gone"):
        engine.step([record_at(last, last.offset + 2, last.time_ms)])
    engine.step([record_at(last, last.offset + 1, last.time_ms)])
    assert world.counts() == expected_counts(range(40)), "a gap is refused, a repeat dropped"


def test_another_owner_fences_and_nothing_is_written(world: World) -> None:
    world.produce(range(40))
    former, latter = world.engine(), world.engine()
    records = world.records(world.source)
    former.take_over(ALL)
    former.step(records[:10])
    latter.take_over(ALL)
    with pytest.raises(Fenced):
        former.step(records[10:])
    with pytest.raises(Fenced):
        former.step(records[10:])
    assert former.owned == ()
    latter.step(records[10:])
    assert world.counts() == expected_counts(range(40))
    assert len(world.outputs()) == 40


def test_the_owner_before_may_be_at_work_until_the_very_take_over(world: World) -> None:
    """Its last step lies beyond the ends that the log had a moment before: these say nothing about the positions."""
    world.produce(range(20))
    former = world.engine()
    former.take_over(ALL)

    class Working:
        def at(self, name: str) -> None:
            if name == "before_take_over":
                world.produce(range(20, 40))
                former.step(world.records(world.source))

    latter = world.engine(hooks=Working())
    assert sum(latter.take_over(ALL).values()) == 40
    assert world.counts() == expected_counts(range(40))


@pytest.mark.finding(5)
def test_what_was_recorded_is_produced_by_the_next_owner_byte_for_byte(world: World) -> None:
    world.produce(range(30))

    class Break(Exception):
        pass

    class Broken:
        def at(self, name: str) -> None:
            if name == "before_produce":
                raise Break

    broken = world.engine(hooks=Broken())
    broken.take_over(ALL)
    records = world.records(world.source)
    with pytest.raises(Break):
        broken.step(records)
    assert world.outputs() == []
    recorded = [
        output
        for row in world.rows("select records from step.outbox order by partition")
        for output in store.decode_outputs(bytes(row[0]))
    ]
    engine = world.engine()
    positions = engine.take_over(ALL)
    assert sum(positions.values()) == 30
    produced = [(record.key, record.value) for record in world.records(world.target)]
    assert sorted(produced, key=repr) == sorted(((o.key, o.value) for o in recorded), key=repr)
    engine.step(records)
    assert len(world.outputs()) == 30
    assert world.rows("select count(*) from step.outbox") == [(4,)]
    engine.tidy()
    assert world.rows("select count(*) from step.outbox") == [(0,)]


def test_poison_is_isolated_and_dead_lettered_in_order(world: World) -> None:
    world.produce(range(10))
    world.produce([10], poison=True)
    world.produce([11], raise_in="prepare")
    world.produce(range(12, 20))
    world.produce([20], raise_in="apply")
    world.produce(range(21, 30))
    world.produce([30], large=EVENT_MAX_BYTES)
    engine = world.engine()
    engine.take_over(ALL)
    engine.step(world.records(world.source))
    bad = {10, 11, 20}
    assert world.counts() == expected_counts([n for n in range(31) if n not in bad])
    good = [derived_id(ID_KEY, str(n)) for n in range(30) if n not in bad]
    assert sorted(output["of"] for output in world.outputs()) == sorted(good)
    letters = {letter["reason"]: letter for letter in world.letters()}
    assert sorted(letters) == ["KeyError", "OutputTooLarge", "Strange", "ValueError"]
    assert letters["ValueError"]["role"] == "counting"
    original = orjson.loads(base64.b64decode(letters["ValueError"]["value"]))
    assert original["number"] == 20
    origin = letters["Strange"]["origin"]
    assert [r for r in world.records(world.source) if r.partition == origin["partition"]][
        origin["offset"]
    ].value is not None
    assert letters["OutputTooLarge"]["origin"] == {
        "topic": world.target,
        "partition": origin_partition(world, 30),
        "offset": None,
    }
    assert sorted(world.rows("select reason, subject from work.poisoned"), key=repr) == [
        ("KeyError", None),
        ("Strange", "k10"),
        ("ValueError", None),
    ]
    assert all(letter["replay_until"].endswith("T00:00:00.000Z") for letter in letters.values())


def origin_partition(world: World, number: int) -> int:
    return next(
        r.partition for r in world.records(world.source) if orjson.loads(r.value or b"")["number"] == number
    )


def test_an_item_with_an_id_that_is_none_is_poison(world: World) -> None:
    world.produce([1], id="not an id")
    world.produce([2])
    engine = world.engine()
    engine.take_over(ALL)
    engine.step(world.records(world.source))
    assert [letter["reason"] for letter in world.letters()] == ["InvalidId"]
    assert world.counts() == {"k2": 1}


def test_a_handler_may_stop_the_partition(world: World) -> None:
    world.produce(range(3))
    handler = Counting(world.source, world.target)

    def stop(_cursor: Cursor, _items: Sequence[Item]) -> None:
        raise StopPartition("consents/0 offset 17: undecodable record")

    handler.before_apply = stop
    engine = world.engine(handler)
    engine.take_over(ALL)
    with pytest.raises(StopPartition, match="offset 17"):
        engine.step(world.records(world.source))
    assert world.rows("select * from step.position") == []
    assert world.letters() == []


def test_a_missing_table_dead_letters_nothing(world: World) -> None:
    world.produce(range(3))
    engine = world.engine()
    engine.take_over(ALL)
    with psycopg.connect(world.dsn) as connection:
        connection.execute("drop table work.counts")
    with pytest.raises(psycopg.errors.UndefinedTable):
        engine.step(world.records(world.source))
    assert world.letters() == []
    assert world.rows("select * from step.position") == []


@pytest.mark.finding(30)
def test_conflicts_repeat_the_step(world: World) -> None:
    world.produce(range(20))
    handler = Counting(world.source, world.target)
    turns: list[int] = []

    def conflict(cursor: Cursor, items: Sequence[Item]) -> None:
        turns.append(len(items))
        if len(turns) < 3:
            cursor.execute("do $$ begin raise exception using errcode = '40001'; end $$")

    handler.before_apply = conflict
    engine = world.engine(handler)
    engine.take_over(ALL)
    engine.step(world.records(world.source))
    assert turns == [20, 20, 20]
    assert world.counts() == expected_counts(range(20))
    assert len(world.outputs()) == 20


@pytest.mark.finding(9)
def test_due_rows_come_first_once_and_in_order(world: World) -> None:
    start = now_ms()
    world.produce([3], wake_at=start - 10)
    world.produce([1, 2], wake_at=start - 20)
    world.produce([4], wake_at=start + 3_600_000)
    world.produce([5], wake_at=start - 30, wake_raises=True)
    handler = Counting(world.source, world.target)
    engine = world.engine(handler)
    engine.take_over(ALL)
    engine.step(world.records(world.source))
    assert engine.next_due_ms() == start - 30
    world.produce([6])
    handler.order.clear()
    engine.step([r for r in world.records(world.source) if orjson.loads(r.value or b"")["number"] == 6])
    ids = {n: derived_id(ID_KEY, str(n)) for n in range(7)}
    in_order = [f"due:{ids[n]}" for n in (1, 2, 3)]
    kept = [word for word in handler.order if word in in_order]
    assert sorted(kept[-3:-1]) == sorted(in_order[:2])
    assert kept[-1] == in_order[2]
    assert handler.order[-1] == f"{world.source}:{ids[6]}"
    assert engine.run_due(now_ms()) == 0
    assert world.rows("select at, kind from step.due") == [(start + 3_600_000, "later")]
    (letter,) = _due_letters(world)
    assert letter["origin"]["topic"] == "step.due"
    assert orjson.loads(base64.b64decode(letter["value"]))["body"]["of"] == ids[5]
    assert engine.next_due_ms() == start + 3_600_000


def _due_letters(world: World) -> list[dict[str, Any]]:
    letters = [orjson.loads(record.value or b"") for record in world.records(DEADLETTERS)]
    ours = [letter for letter in letters if letter["role"] == "counting"]
    return [letter for letter in ours if letter["origin"]["topic"] == "step.due"][-1:]


@pytest.mark.finding(14)
def test_a_position_of_another_log_is_refused(world: World) -> None:
    world.produce(range(40))
    engine = world.engine()
    engine.take_over(ALL)
    engine.step(world.records(world.source))
    for change, words in (
        ("cluster_id = 'another'", "belongs to cluster another"),
        ("topic_id = 'another'", "made anew"),
        ("next_offset = 1000", "beyond the end"),
        ("next_offset = -5", "below the start"),
    ):
        with psycopg.connect(world.dsn) as connection:
            before = connection.execute("select * from step.position order by partition").fetchall()
            connection.execute(f"update step.position set {change} where partition = 2")
        with pytest.raises(PositionInvalid, match=words):
            world.engine().take_over(ALL)
        with psycopg.connect(world.dsn) as connection:
            connection.execute("delete from step.position")
            with connection.cursor() as cursor:
                cursor.executemany("insert into step.position values (%s, %s, %s, %s, %s, %s)", before)
    again = world.engine()
    assert sum(again.take_over(ALL).values()) == 40
    make_anew(world)
    with pytest.raises(PositionInvalid, match="made anew"):
        again.take_over(ALL)


def test_a_restored_database_is_refused_by_those_who_ask_for_it(world: World) -> None:
    world.produce(range(4))
    engine = world.engine()
    engine.take_over(ALL)
    with psycopg.connect(world.dsn) as connection:
        connection.execute("update step.incarnation set incarnation = 'another'")
    careful = Counting(world.source, world.target)
    careful.refuse_new_incarnation = True  # type: ignore[attr-defined]  # an attribute handlers may have
    with pytest.raises(IncarnationChanged, match="sealpost recover"):
        world.engine(careful).take_over(ALL)
    world.engine().take_over(ALL)
    world.engine(careful).take_over(ALL)


def test_a_copy_on_the_same_server_is_another_incarnation(
    world: World, postgres_server: PostgresServer
) -> None:
    """A dump restored beside the original has its system id and timeline; the vault's permits and the engine both see it."""
    world.produce(range(4))
    careful = Counting(world.source, world.target)
    careful.refuse_new_incarnation = True  # type: ignore[attr-defined]  # an attribute handlers may have
    engine = world.engine(careful)
    engine.take_over(ALL)
    engine.close()
    original = conninfo_to_dict(world.dsn)["dbname"]
    copy = f"copy_{random_id()[:8]}"
    with psycopg.connect(postgres_server.admin_dsn(), autocommit=True) as connection:
        sessions = "select from pg_stat_activity where datname = %s and backend_type = 'client backend'"
        await_until(
            lambda: connection.execute(sessions, (original,)).fetchone() is None, 60.0, "all are gone"
        )
        connection.execute(f'create database "{copy}" template "{original}"')
    world.dsn = postgres_server.dsn(copy)
    with pytest.raises(IncarnationChanged, match="sealpost recover"):
        world.engine(careful).take_over(ALL)
    with psycopg.connect(world.dsn) as connection, connection.cursor() as cursor:
        record_incarnation(cursor, careful.role, read_incarnation(cursor))
    world.engine(careful).take_over(ALL)


def test_the_database_goes_away_in_a_step_and_comes_back(
    world: World, postgres_server: PostgresServer
) -> None:
    world.produce(range(20))
    engine = world.engine()
    engine.take_over(ALL)
    records = world.records(world.source)
    engine.step(records[:10])
    with psycopg.connect(postgres_server.admin_dsn(), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sealpost-counting'"
        )
    with pytest.raises(DatabaseAway):
        engine.step(records[10:])
    assert engine.owned == ()
    engine.take_over(ALL)
    engine.step(records[10:])
    assert world.counts() == expected_counts(range(20))
    assert len({output["id"] for output in world.outputs()}) == 20


def test_an_output_without_a_topic_fails_and_stays_recorded(world: World) -> None:
    world.produce(range(3))
    impatient = {"topic.metadata.propagation.max.ms": 500}
    engine = world.engine(Counting(world.source, f"{world.name}.nowhere"), extra=impatient)
    engine.take_over(ALL)
    with pytest.raises(ProduceFailed, match="nowhere"):
        engine.step(world.records(world.source))
    assert engine.owned == ()
    assert world.rows("select count(*) > 0 from step.outbox") == [(True,)]


def test_the_outbox_is_byte_exact() -> None:
    outputs = [
        Output("a", b"", b""),
        Output("b.c", b"\x00\xff", b"\n" * 3),
        Output("a", b"k", bytes(range(256))),
    ]
    assert store.decode_outputs(store.encode_outputs(outputs)) == outputs
    with pytest.raises(store.OutboxUnreadable):
        store.decode_outputs(b"\x07" + store.encode_outputs(outputs)[1:])
