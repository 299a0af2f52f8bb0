"""Connections to PostgreSQL with explicit limits: nothing waits for ever, on either side of the wire."""

import logging
import os
import socket
import threading
from types import TracebackType
from typing import Any

import psycopg
from psycopg import conninfo

from streams.step.errors import DatabaseAway

LOG = logging.getLogger(__name__)
CONNECT_S = 5
"""To reach a server and log in."""
STATEMENT_S = 30.0
"""One statement; includes waiting for a lock."""
LOCK_S = 20.0
"""Waiting for a lock. Longer than IDLE_IN_TRANSACTION_S, so that a frozen former owner is thrown out first."""
IDLE_IN_TRANSACTION_S = 10.0
"""A client that went silent inside a transaction loses it, and with it the owner rows it holds."""
TRANSACTION_S = 40.0
"""A whole transaction. The only limit that ends one whose client was frozen in the middle of sending a statement: the server
waits for the rest of it and takes it neither for idle nor for running. Above STATEMENT_S, so that a slow statement is named as
one. Needs PostgreSQL 17."""
WATCHDOG_S = 45.0
"""A frozen server keeps the connection open and never answers; after this the client gives up. Above TRANSACTION_S."""
KEEPALIVE_S = 5
TCP_USER_TIMEOUT_MS = 20_000
"""Sent and not acknowledged by the server's kernel: the way there is cut."""

assert LOCK_S > IDLE_IN_TRANSACTION_S, "whoever waits for a lock must outlast a silent holder"
assert STATEMENT_S < TRANSACTION_S < WATCHDOG_S, "the limit that knows most about the reason comes first"

THROWN_OUT = (psycopg.errors.IdleInTransactionSessionTimeout, psycopg.errors.TransactionTimeout)
"""The server has ended a session that was silent for too long; psycopg files this under its internal errors."""

Connection = psycopg.Connection[tuple[Any, ...]]


def connect(
    dsn: str,
    *,
    application_name: str,
    connect_s: int = CONNECT_S,
    statement_timeout_s: float = STATEMENT_S,
    lock_timeout_s: float = LOCK_S,
    idle_in_transaction_s: float = IDLE_IN_TRANSACTION_S,
    transaction_timeout_s: float = TRANSACTION_S,
    read_only: bool = False,
    autocommit: bool = False,
) -> Connection:
    """Open a connection; DatabaseAway (without the DSN) when the server does not answer or refuses."""
    limits = {
        "statement_timeout": statement_timeout_s,
        "lock_timeout": lock_timeout_s,
        "idle_in_transaction_session_timeout": idle_in_transaction_s,
        "transaction_timeout": transaction_timeout_s,
    }
    given = [str(conninfo.conninfo_to_dict(dsn).get("options", ""))]
    given += [f"-c {name}={round(seconds * 1000)}" for name, seconds in limits.items()]
    given += ["-c default_transaction_read_only=on"] if read_only else []
    options: dict[str, str | int] = {
        "application_name": application_name,
        "connect_timeout": connect_s,
        "keepalives_idle": KEEPALIVE_S,
        "keepalives_interval": KEEPALIVE_S,
        "keepalives_count": 3,
        "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
        "options": " ".join(given).strip(),
    }
    try:
        return psycopg.connect(dsn, autocommit=autocommit, **options)  # type: ignore[arg-type]  # stub wants every keyword
    except psycopg.OperationalError as error:
        raise DatabaseAway(f"no connection for {application_name} ({type(error).__name__})") from None


class Watchdog:
    """Cuts a connection that has not answered in time, so that the thread that waits for it gets an error.

    `with watchdog.limit(connection):` around everything that may wait for the server. The limit is the client's: it also
    holds when the server is frozen or the network has gone deaf, where the server's own limits do nothing.
    """

    def __init__(self, seconds: float = WATCHDOG_S) -> None:
        self._seconds = seconds
        self._changed = threading.Condition()
        self._file: int | None = None
        self._round = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def limit(self, connection: Connection) -> "Watchdog":
        """Guard this connection until the `with` block ends."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="postgres-watchdog", daemon=True)
            self._thread.start()
        self._file = None if connection.closed else connection.fileno()
        return self

    def __enter__(self) -> None:
        with self._changed:
            self._round += 1
            self._changed.notify()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._round += 1
            self._file = None
            self._changed.notify()

    def close(self) -> None:
        """End the watching thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                if self._file is None:
                    self._changed.wait()
                    continue
                watched = self._round
                moved = self._changed.wait_for(lambda: self._closed or self._round != watched, self._seconds)  # noqa: B023  # called at once, within this turn
                if not moved and self._file is not None:
                    _cut(self._file)
                    self._file = None


def _cut(file: int) -> None:
    LOG.error("the database has not answered in time; its connection is cut")
    try:
        with socket.socket(fileno=os.dup(file)) as copy:
            copy.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        LOG.warning("the connection was gone already (%s)", type(error).__name__)


def is_away(error: BaseException, connection: Connection | None = None) -> bool:
    """True when the database, not the data, is the reason: connection lost, resources, limits, read-only after a fail-over."""
    if isinstance(error, DatabaseAway) or (connection is not None and connection.closed):
        return True
    if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
        return False
    return isinstance(error, (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction, *THROWN_OUT))


def is_deployment(error: BaseException) -> bool:
    """True for SQL that cannot be right whatever the data: a table or right is missing. Never a reason to dead-letter."""
    return isinstance(error, psycopg.ProgrammingError | psycopg.InterfaceError | psycopg.NotSupportedError)
