"""Migrations: numbered, applied once, never changed."""

import threading
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest

from schemas.clock import today
from streams.step.errors import DatabaseAway, MigrationChanged
from streams.step.migrate import STEP_SQL, apply_migrations
from tests.embedded_fixtures import PostgresServer


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> str:
    return postgres_server.fresh_database("migrate")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sql = tmp_path / "thing" / "sql"
    sql.mkdir(parents=True)
    (sql / "001_pre_one.sql").write_text("create table one (n integer);")
    (sql / "002_post_two.sql").write_text(
        "alter table one add column m integer; insert into one values (1, 2);"
    )
    return sql


STEP = [f"step/sql/{file.name}" for file in sorted(STEP_SQL.glob("*.sql"))]


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()


def test_each_file_is_applied_once_in_order(dsn: str, folder: Path) -> None:
    assert apply_migrations(dsn, folder) == [*STEP, "thing/sql/001_pre_one.sql", "thing/sql/002_post_two.sql"]
    assert apply_migrations(dsn, folder) == []
    assert rows(dsn, "select n, m from one") == [(1, 2)]
    (folder / "003_pre_three.sql").write_text("drop table one;")
    assert apply_migrations(dsn, folder) == ["thing/sql/003_pre_three.sql"]


def test_pre_and_post_may_be_applied_apart(dsn: str, folder: Path) -> None:
    assert apply_migrations(dsn, folder, phase="pre") == [*STEP, "thing/sql/001_pre_one.sql"]
    assert apply_migrations(dsn, folder, phase="post") == ["thing/sql/002_post_two.sql"]


def test_a_changed_file_is_refused_by_name(dsn: str, folder: Path) -> None:
    apply_migrations(dsn, folder)
    (folder / "001_pre_one.sql").write_text("create table one (n bigint);")
    with pytest.raises(MigrationChanged, match=r"thing/sql/001_pre_one\.sql"):
        apply_migrations(dsn, folder)


def test_a_file_that_fails_leaves_nothing_and_the_ones_before_stay(dsn: str, folder: Path) -> None:
    (folder / "003_pre_bad.sql").write_text("create table three (n integer); select 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        apply_migrations(dsn, folder)
    assert rows(dsn, "select to_regclass('three')::text, to_regclass('one')::text") == [(None, "one")]
    (folder / "003_pre_bad.sql").write_text("create table three (n integer);")
    assert apply_migrations(dsn, folder) == ["thing/sql/003_pre_bad.sql"]


@pytest.mark.parametrize(
    "name", ["4_pre_short.sql", "004_during_x.sql", "004_pre_Upper.sql", "002_pre_same_number.sql"]
)
def test_a_file_with_another_kind_of_name_is_refused(dsn: str, folder: Path, name: str) -> None:
    (folder / name).write_text("select 1;")
    with pytest.raises(MigrationChanged):
        apply_migrations(dsn, folder)


def test_two_migrators_do_not_meet(dsn: str, folder: Path) -> None:
    results: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: results.append(apply_migrations(dsn, folder))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(len(result) for result in results) == [0, 0, len(STEP) + 2]


def test_a_server_that_is_not_there_is_said_without_the_dsn(folder: Path) -> None:
    with pytest.raises(DatabaseAway) as caught:
        apply_migrations("postgresql://someone:hidden@127.0.0.1:1/x", folder)
    assert "hidden" not in str(caught.value)


def spans(dsn: str) -> list[object]:
    return [row[0] for row in rows(dsn, "select span from step.seen_span order by span")]


def test_spans_of_seen_are_made_and_dropped_and_take_over_what_came_before(dsn: str, folder: Path) -> None:
    apply_migrations(dsn, folder)
    (first,) = rows(dsn, "select step.span('2026-01-06')")[0]
    assert isinstance(first, date)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into step.seen select step.span(%s + n), 'r', gen_random_uuid() from generate_series(0, 8) n",
            (first,),
        )
        made = connection.execute("select step.make_seen_partitions(%s, 6)", (first,)).fetchone()
        again = connection.execute("select step.make_seen_partitions(%s, 6)", (first,)).fetchone()
    assert (made, again) == ((2,), (0,))
    assert rows(dsn, "select count(*) from step.seen_default") == [(3,)]
    assert rows(dsn, f"select count(*) from step.seen_{first:%Y%m%d}") == [(3,)]
    drop = "select step.drop_seen_partitions(%s)"
    with psycopg.connect(dsn) as connection:
        young = connection.execute(drop, (first + timedelta(days=3),)).fetchone()
        connection.execute("update step.seen_span set made_at = made_at - interval '2 days'")
        early = connection.execute(drop, (first + timedelta(days=2),)).fetchone()
        old = connection.execute(drop, (first + timedelta(days=3),)).fetchone()
    assert (young, early, old) == ((0,), (0,), (1,)), "what a rebuild has just made stays for a day"
    assert spans(dsn)[0] == first + timedelta(days=3)
    assert rows(dsn, "select count(*) from step.seen") == [(6,)]
    for day in range(-1, 4):
        (covered,) = rows(dsn, f"select step.span('{today() + timedelta(days=day)}')")
        assert covered[0] in spans(dsn), "the migration makes the days around its own"
