"""The register of stores names every place that may know a person (privacy.md P26)."""

from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest

import projections as projections_package
import streams as streams_package
import vault as vault_package
from projections.tables import OF_A_PERSON
from schemas.stores import PROJECTION_V1, STORES
from streams.step.migrate import apply_migrations
from tests.embedded_fixtures import PostgresServer
from tests.store_register import EMPTIED, STAYS

PACKAGES = {"vault": vault_package, "streams": streams_package, "projections": projections_package}
TABLES = """
select distinct c.relnamespace::regnamespace || '.' || c.relname
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where c.relkind in ('r', 'p', 'm') and not c.relispartition
and c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema')
and (a.attname in ('subject', 'person', 'other', 'erasure') or a.atttypid in (
    'bytea'::regtype, 'json'::regtype, 'jsonb'::regtype, 'uuid'::regtype
))
"""
"""Tables with a subject, with an id of anything, or with a column that may hold sealed bytes."""


def test_the_stores_of_the_register_are_those_that_answer() -> None:
    """Each store that an erasure waits for says which tables it empties, and no other."""
    assert EMPTIED.keys() == set(STORES)
    assert EMPTIED[PROJECTION_V1][1] == {f"projections.{table.name}" for table in OF_A_PERSON}


@pytest.mark.parametrize("database", PACKAGES)
def test_every_table_that_may_know_a_person_is_in_the_register(
    postgres_server: PostgresServer, database: str
) -> None:
    """Emptied by a store, or left for a reason, and not both; nothing that does not exist."""
    dsn = postgres_server.fresh_database(database)
    package: Any = PACKAGES[database]
    apply_migrations(dsn, Path(str(package.__file__)).parent / "sql")
    with psycopg.connect(dsn) as connection:
        found = Counter(str(row[0]) for row in connection.execute(TABLES).fetchall())
    emptied = Counter(table for home, tables in EMPTIED.values() if home == database for table in tables)
    assert emptied + Counter(STAYS[database].keys()) == found


def test_what_stays_has_a_reason() -> None:
    """An empty one is none."""
    assert all(reason.strip() for tables in STAYS.values() for reason in tables.values())
