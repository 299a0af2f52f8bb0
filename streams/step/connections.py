"""A few connections to one database that threads share, each use within a limit of the client's own.

A server that is frozen or cut off keeps its connections and says nothing: no limit of its own helps then, so a connection that
has not answered in time is cut. From then on, until the server answers again, callers are told so after a short wait, and neither
threads nor connections are used up by waiting; one thread of ours tries to reach it meanwhile.
"""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg
from psycopg.pq import TransactionStatus

from schemas.clock import boot_s
from streams.step.errors import DatabaseAway
from streams.step.postgres import CONNECT_S, LOCK_S, STATEMENT_S, WATCHDOG_S, Connection, connect

LOG = logging.getLogger(__name__)
REACH_PAUSE_S = 0.2
"""Between two tries to reach a server that refuses: how late it is noticed that it is back."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds."""

    connect_s: int = CONNECT_S
    statement_s: float = STATEMENT_S
    """The server's limit for a statement; below `use_s`, so that a slow statement is not taken for a silent server."""
    lock_s: float = LOCK_S
    use_s: float = WATCHDOG_S
    """The client's limit for one use of a connection, and for the wait for one that is free."""
    back_s: float = 10.0
    """How long a caller waits for a server that is known to be away."""

    def __post_init__(self) -> None:
        assert self.lock_s <= self.statement_s < self.use_s


PATIENT = Limits()
"""For roles that have nobody waiting."""
PROMPT = Limits(connect_s=3, statement_s=4.0, lock_s=3.0, use_s=5.0, back_s=0.25)
"""For those who answer a caller: 503 is due within `use_s`, and at once while the server is known to be away."""


@dataclass(slots=True)
class _Slot:
    """One connection and a copy of its socket, which stays ours when the library closes its own."""

    connection: Connection
    socket: socket.socket
    deadline_s: float = 0.0
    is_cut: bool = False

    def is_quiet(self) -> bool:
        """False when the server has closed it, or said something nobody asked for."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def is_fit(self) -> bool:
        """It can be used again."""
        status = self.connection.pgconn.transaction_status
        return not self.is_cut and not self.connection.closed and status == TransactionStatus.IDLE

    def cut(self) -> None:
        """Whoever waits for the server gets an error now."""
        self.is_cut = True
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Never waits for the server."""
        self.connection.close()
        self.socket.close()


class Connections:
    """Thread-safe; connected as they are needed. DatabaseAway tells that the server does not answer in time."""

    def __init__(
        self,
        dsn: str,
        *,
        application_name: str,
        size: int,
        limits: Limits = PATIENT,
        read_only: bool = False,
    ) -> None:
        """At most `size` connections; with `read_only` nothing can be written through them."""
        self._dsn = dsn
        self._name = application_name
        self._size = size
        self._limits = limits
        self._read_only = read_only
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ending = threading.Condition(self._lock)
        self._idle: list[_Slot] = []
        self._in_use: dict[int, _Slot] = {}  # in the order of their deadlines: all have the same limit
        self._opened = 0
        self._away = False
        self._closed = False
        self._watching = False

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in autocommit for the block; what is begun in it must be ended in it."""
        slot = self._take()
        try:
            yield slot.connection
        except psycopg.Error as error:
            if slot.is_cut:
                raise DatabaseAway(f"{self._name}: no answer ({type(error).__name__})") from None
            raise
        finally:
            self._give_back(slot)

    def close(self) -> None:
        """Close what is idle now and the rest when it is given back."""
        with self._lock:
            self._closed = True
            self._drop_idle()
            self._changed.notify_all()
            self._ending.notify_all()

    # Taking and giving back

    def _take(self) -> _Slot:
        deadline_s = boot_s() + self._limits.use_s
        with self._lock:
            self._watch_in_background()
            slot = self._wait_for_one(deadline_s)
        if slot is None:
            try:
                slot = self._open()
            except BaseException as error:
                with self._lock:
                    self._opened -= 1
                    self._changed.notify()
                    if isinstance(error, DatabaseAway):
                        self._gone()
                raise
        with self._lock:
            slot.deadline_s = boot_s() + self._limits.use_s
            self._in_use[id(slot)] = slot
        return slot

    def _wait_for_one(self, deadline_s: float) -> _Slot | None:
        """An idle connection; None when the caller may open one."""
        while True:
            if self._away and not self._closed:
                self._changed.wait_for(lambda: self._closed or not self._away, self._limits.back_s)
            if self._away or self._closed:
                raise DatabaseAway(f"{self._name}: {'closed' if self._closed else 'known to be away'}")
            while self._idle:
                slot = self._idle.pop()
                if slot.is_quiet():
                    return slot
                self._drop(slot)
            if self._opened < self._size:
                self._opened += 1
                return None
            left_s = deadline_s - boot_s()
            if left_s <= 0:
                raise DatabaseAway(f"{self._name}: no connection was free in time")
            self._changed.wait(left_s)

    def _give_back(self, slot: _Slot) -> None:
        with self._lock:
            self._in_use.pop(id(slot), None)
            if slot.is_fit() and not self._closed and not self._away:
                self._idle.append(slot)
            else:
                self._drop(slot)
            self._changed.notify()

    def _open(self) -> _Slot:
        connection = connect(
            self._dsn,
            application_name=self._name,
            connect_s=self._limits.connect_s,
            statement_timeout_s=self._limits.statement_s,
            lock_timeout_s=self._limits.lock_s,
            read_only=self._read_only,
            autocommit=True,
        )
        return _Slot(connection, socket.socket(fileno=os.dup(connection.fileno())))

    def _drop(self, slot: _Slot) -> None:
        self._opened -= 1
        slot.close()

    def _drop_idle(self) -> None:
        while self._idle:
            self._drop(self._idle.pop())

    # A server that is away

    def _gone(self) -> None:
        if self._away or self._closed:
            return
        self._away = True
        LOG.warning("%s: the database is away", self._name)
        self._drop_idle()
        self._changed.notify_all()
        name = f"{self._name}-reach"
        threading.Thread(target=self._reach, name=name, daemon=True).start()

    def _reach(self) -> None:
        """Try to connect until the server answers."""
        while True:
            try:
                slot = self._open()
            except DatabaseAway:
                with self._lock:
                    if self._ending.wait_for(lambda: self._closed, REACH_PAUSE_S):
                        return
                continue
            with self._lock:
                self._away = False
                self._opened += 1
                if self._closed or self._opened > self._size:
                    self._drop(slot)
                else:
                    self._idle.append(slot)
                self._changed.notify_all()
            LOG.warning("%s: the database is back", self._name)
            return

    def _watch_in_background(self) -> None:
        if not self._watching:
            self._watching = True
            name = f"{self._name}-watch"
            threading.Thread(target=self._watch, name=name, daemon=True).start()

    def _watch(self) -> None:
        """Cut what is used beyond its limit. A use that begins while this sleeps ends later than the sleep."""
        with self._lock:
            while not self._closed or self._in_use:
                first = next(iter(self._in_use.values()), None)
                left_s = self._limits.use_s if first is None else first.deadline_s - boot_s()
                if first is not None and left_s <= 0:
                    del self._in_use[id(first)]
                    first.cut()
                    self._gone()
                else:
                    self._ending.wait(left_s)
