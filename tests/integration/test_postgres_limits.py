"""Limits of a connection: a client that goes silent loses what it holds, wherever in its work that happens."""

import os
from typing import Any

import psycopg
import pytest

from schemas.ids import random_id
from streams.step.postgres import Connection, connect, is_away
from tests.embedded_fixtures import PostgresServer

LIMIT_S = 5.0
"""A busy machine comes to the next act of a test before this is over."""
PATIENCE_S = 60.0
PARSE = b"P" + (4 + 1 + 9 + 2).to_bytes(4, "big") + b"\0" + b"select 1\0" + b"\0\0"
"""The first message of a statement in the extended protocol; Bind, Execute and Sync never follow."""


@pytest.fixture
def dsn(postgres_server: PostgresServer) -> str:
    found = postgres_server.fresh_database(f"limits_{random_id()[:8]}")
    with connect(found, application_name="limits-setup", autocommit=True) as connection:
        connection.execute("create table held (n integer primary key)")
        connection.execute("insert into held values (1)")
    return found


def holder(dsn: str, **limits: Any) -> Connection:
    """A connection that has locked the row, inside its transaction."""
    connection = connect(dsn, application_name="limits-holder", **limits)
    connection.execute("select n from held for update")
    return connection


def locked_by_another(dsn: str) -> bool:
    """Lock the row from elsewhere; waits for as long as somebody holds it."""
    with connect(dsn, application_name="limits-other", lock_timeout_s=PATIENCE_S) as connection:
        return connection.execute("select n from held for update").fetchone() == (1,)


def test_a_client_that_stops_in_the_middle_of_a_statement_loses_its_transaction(dsn: str) -> None:
    """A pipeline that stops between two messages is neither idle nor running: only the limit on the transaction ends it."""
    with holder(dsn, idle_in_transaction_s=LIMIT_S, transaction_timeout_s=2 * LIMIT_S) as connection:
        os.write(connection.fileno(), PARSE)
        assert locked_by_another(dsn)
        with pytest.raises(psycopg.errors.TransactionTimeout) as raised:
            connection.execute("select 1")
    assert is_away(raised.value)


def test_a_client_that_says_nothing_inside_a_transaction_loses_it(dsn: str) -> None:
    with holder(dsn, idle_in_transaction_s=LIMIT_S) as connection:
        assert locked_by_another(dsn)
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout) as raised:
            connection.execute("select 1")
    assert is_away(raised.value)


def test_a_statement_that_waits_for_a_lock_too_long_is_named_as_one(dsn: str) -> None:
    with (
        holder(dsn),
        connect(dsn, application_name="limits-other", lock_timeout_s=LIMIT_S) as connection,
        pytest.raises(psycopg.errors.LockNotAvailable),
    ):
        connection.execute("select n from held for update")
