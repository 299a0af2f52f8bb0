"""Connections shared by threads: nobody waits beyond the limit, whatever the server does, and nothing has to be repaired."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from schemas.clock import boot_s
from streams.step.connections import Connections, Limits
from streams.step.errors import DatabaseAway
from tests.embedded_fixtures import PostgresServer
from tests.step_world import await_until

LIMITS = Limits(connect_s=8, statement_s=5.0, lock_s=4.0, use_s=8.0, back_s=2.0)
SIZE = 3
LATE_S = 20.0
"""For threads that come to the processor late."""


@pytest.fixture(scope="module")
def dsn(postgres_server: PostgresServer) -> str:
    return postgres_server.fresh_database("connections")


@pytest.fixture
def pool(dsn: str) -> Iterator[Connections]:
    made = Connections(dsn, application_name="test", size=SIZE, limits=LIMITS)
    yield made
    made.close()


def ask(pool: Connections, statement: str = "select pg_backend_pid()") -> int:
    """One statement; its number."""
    with pool.connection() as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


def asked(pool: Connections, statement: str = "select 1") -> tuple[str, float]:
    """How it ended, and after how long."""
    began = boot_s()
    try:
        ask(pool, statement)
    except Exception as error:  # noqa: BLE001 - the kind is what the tests look at
        return type(error).__name__, boot_s() - began
    return "", boot_s() - began


def threads() -> int:
    """Threads that pools of tests run."""
    return len([one for one in threading.enumerate() if one.name.startswith("test-")])


def test_connections_are_reused_and_bounded(pool: Connections) -> None:
    with ThreadPoolExecutor(20) as many:
        sessions = set(
            many.map(lambda _: ask(pool, "select pg_backend_pid() from pg_sleep(0.05)"), range(60))
        )
    assert len(sessions) <= SIZE
    assert ask(pool) in sessions


def test_a_block_that_leaves_a_transaction_open_leaves_nothing(pool: Connections) -> None:
    with pool.connection() as connection:
        first = connection.execute("begin; select pg_backend_pid()")
        assert first is not None
    with pool.connection() as connection:
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_errors_of_the_question_are_the_callers(pool: Connections) -> None:
    session = ask(pool)
    assert asked(pool, "select 1 / 0")[0] == "DivisionByZero"
    assert asked(pool, "select 1 from pg_sleep(20)")[0] == "QueryCanceled", (
        "a slow statement is no silent server"
    )
    assert ask(pool) == session


def test_a_frozen_server(pool: Connections, postgres_server: PostgresServer) -> None:
    """All get their answer within the limit, those who come later at once; then everything goes on by itself."""
    with ThreadPoolExecutor(SIZE) as many:
        list(many.map(lambda _: ask(pool, "select 1 from pg_sleep(0.2)"), range(SIZE)))
    for _ in range(2):
        with postgres_server.frozen():
            with ThreadPoolExecutor(40) as many:
                ends = list(many.map(lambda _: asked(pool), range(120)))
            assert {kind for kind, _ in ends} == {"DatabaseAway"}
            assert max(took for _, took in ends) < LIMITS.use_s + LIMITS.back_s + LATE_S
            kind, took = asked(pool)
            assert (kind, took < LIMITS.back_s + LATE_S) == ("DatabaseAway", True)
        kind, took = asked(pool)
        assert (kind, took < LATE_S) == ("", True), "the first one after the thaw is served"
        with ThreadPoolExecutor(20) as many:
            assert {asked(pool)[0] for _ in many.map(lambda _: asked(pool), range(60))} == {""}
    await_until(lambda: threads() == 1, 60, "the watching thread alone is left")


def test_one_frozen_session(pool: Connections) -> None:
    """It is cut; the others, and whoever comes next, are served."""
    session = ask(pool)
    os.kill(session, signal.SIGSTOP)
    try:
        kind, took = asked(pool)
        assert (kind, took < LIMITS.use_s + LATE_S) == ("DatabaseAway", True)
        assert ask(pool) != session
    finally:
        os.kill(session, signal.SIGCONT)


def test_a_frozen_server_in_the_middle_of_a_transaction(
    pool: Connections, postgres_server: PostgresServer
) -> None:
    """Cut as well, and nothing of it stays."""
    with pool.connection() as connection:
        connection.execute("create table if not exists written (n integer)")

    def write() -> None:
        with pool.connection() as connection, connection.transaction():
            connection.execute("insert into written values (1)")
            with postgres_server.frozen():
                connection.execute("insert into written values (2)")

    with pytest.raises(DatabaseAway):
        write()
    assert ask(pool, "select count(*) from written") == 0


def test_a_server_that_was_started_anew(pool: Connections, postgres_server: PostgresServer) -> None:
    """Connections that it closed are not handed out."""
    with ThreadPoolExecutor(SIZE) as many:
        list(many.map(lambda _: ask(pool, "select 1 from pg_sleep(0.2)"), range(SIZE)))
    postgres_server.stop()
    kind, took = asked(pool)
    assert (kind, took < LATE_S) == ("DatabaseAway", True)
    postgres_server.start()
    await_until(lambda: asked(pool)[0] == "", 60, "the server answers")
    assert [asked(pool)[0] for _ in range(SIZE)] == [""] * SIZE


def test_closed(pool: Connections) -> None:
    ask(pool)
    pool.close()
    assert asked(pool)[0] == "DatabaseAway"
    await_until(lambda: threads() == 0, 60, "no thread is left")
