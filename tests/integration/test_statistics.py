"""What is erased is not kept in PostgreSQL's own statistics, nor in the rows that an update leaves behind (law L2, P7)."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

import projections as projections_package
import streams as streams_package
import vault as vault_package
from schemas.ids import random_bytes, random_id
from streams.step.migrate import apply_migrations
from tests.embedded_fixtures import PostgresServer
from tests.step_world import await_until
from tests.vault_world import World

FIRST_WITHOUT = 8
"""From this migration of the vault on no statistics are kept of secrets."""
VALUES = """
select schemaname || '.' || tablename || '.' || attname, most_common_vals::text, histogram_bounds::text
from pg_stats s where schemaname in ('vault', 'step', 'streams', 'projections')
"""
COPIED = """
select c.oid::regclass || '.' || a.attname from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relnamespace::regnamespace::text in ('vault', 'step', 'streams', 'projections') and c.relkind in ('r', 'p', 'm')
and not c.relispartition and a.atttypid in ('bytea'::regtype, 'jsonb'::regtype) and a.attstattarget is distinct from 0
order by 1
"""


def sql_folder(package: Any) -> Path:
    return Path(str(package.__file__)).parent / "sql"


@pytest.fixture
def world(postgres_server: PostgresServer) -> Iterator[World]:
    made = World.make(postgres_server.fresh_database("statistics"))
    yield made
    made.vault.close()


def kept_values(cursor: "psycopg.Cursor[Any]") -> str:
    """All values that the statistics hold, as text."""
    cursor.execute("analyze")
    cursor.execute(VALUES)
    return "\n".join(str(row) for row in cursor.fetchall())


def test_analyze_copies_no_key_and_no_address(world: World) -> None:
    """With enough rows for a histogram: nothing of what T1 destroys or moves is in pg_stats, before or after T1."""
    tenant = world.tenant()
    people = [tenant.person() for _ in range(60)]
    for person in people:
        person.content_key()
    with world.sql() as cursor:
        cursor.execute("select encode(wrapped, 'hex') from vault.keys")
        secrets = [row[0] for row in cursor.fetchall()]
        cursor.execute("select encode(entry, 'hex'), encode(sealed, 'hex') from vault.addresses")
        secrets += [value for row in cursor.fetchall() for value in row]
        before = kept_values(cursor)
        for person in people[:55]:
            world.apply(person.erasure())
        after = kept_values(cursor)
    assert people[0].subject in before.replace("-", ""), (
        "statistics of other columns are there: this can fail"
    )
    assert not [secret for secret in secrets if secret in before or secret in after]


@pytest.mark.parametrize("package", [vault_package, streams_package, projections_package])
def test_every_column_that_may_hold_sealed_bytes_has_no_statistics(
    postgres_server: PostgresServer, package: Any
) -> None:
    """json has no order, so ANALYZE copies no values of it; bytea and jsonb must say so."""
    dsn = postgres_server.fresh_database("statistics")
    apply_migrations(dsn, sql_folder(package))
    with psycopg.connect(dsn) as connection:
        assert connection.execute(COPIED.encode()).fetchall() == []


@pytest.mark.parametrize("package", [vault_package, streams_package, projections_package])
def test_sealed_bytes_of_a_step_are_not_compressed(postgres_server: PostgresServer, package: Any) -> None:
    """A change of a column's type takes its storage back to the type's own: compressing sealed bytes costs a third of a step."""
    dsn = postgres_server.fresh_database("statistics")
    apply_migrations(dsn, sql_folder(package))
    question = (
        "select attstorage from pg_attribute where attrelid = 'step.outbox'::regclass and attname = 'records'"
    )
    with psycopg.connect(dsn) as connection:
        assert connection.execute(question).fetchall() == [("e",)]


def test_statistics_of_before_are_removed(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """An installation that has gathered them is clean after the migration."""
    dsn = postgres_server.fresh_database("statistics")
    older = tmp_path / "vault" / "sql"
    older.mkdir(parents=True)
    for file in sql_folder(vault_package).glob("*.sql"):
        if int(file.name[:3]) < FIRST_WITHOUT:
            shutil.copy(file, older)
    apply_migrations(dsn, older)
    wrapped = random_bytes(48)
    with psycopg.connect(dsn, autocommit=True) as connection, connection.cursor() as cursor:
        for number in range(20):
            subject = random_id()
            cursor.execute(
                "insert into vault.subjects (subject, tenant, created_ms) values (%s, 't', 1)", [subject]
            )
            cursor.execute(
                "insert into vault.keys (subject, tenant, class, gen, wrapped, kcv, created_ms)"
                " values (%s, 't', 'identity', '0', %s, 'kcv', 1)",
                [subject, wrapped + bytes([number])],
            )
        assert wrapped.hex() in kept_values(cursor)
        apply_migrations(dsn, sql_folder(vault_package))
        assert wrapped.hex() not in kept_values(cursor)
        with pytest.raises(psycopg.errors.CheckViolation):
            cursor.execute("delete from vault.keys")


@contextmanager
def prompt_autovacuum(server: PostgresServer) -> Iterator[None]:
    """Autovacuum looks every second instead of every minute."""
    with psycopg.connect(server.admin_dsn(), autocommit=True) as admin:
        try:
            admin.execute("alter system set autovacuum_naptime = 1")
            admin.execute("select pg_reload_conf()")
            yield
        finally:
            admin.execute("alter system reset autovacuum_naptime")
            admin.execute("select pg_reload_conf()")


def test_the_first_row_left_behind_calls_vacuum(world: World, postgres_server: PostgresServer) -> None:
    """One erasure among many people: the row with the destroyed key does not wait for a fifth of the table to change."""
    tenant = world.tenant()
    people = [tenant.person() for _ in range(60)]
    world.apply(people[0].erasure())

    def vacuumed() -> bool:
        with world.sql() as cursor:
            cursor.execute(
                "select count(*) from pg_stat_user_tables where schemaname = 'vault'"
                " and relname in ('keys', 'addresses') and last_autovacuum is not null and n_dead_tup = 0"
            )
            return cursor.fetchone() == (2,)

    with prompt_autovacuum(postgres_server):
        await_until(vacuumed, 300.0, "vacuum of keys and addresses")
