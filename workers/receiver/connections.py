"""The connections a receiver knows: from the vault database while it is there, from a sealed file when it is not."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from schemas import clock
from schemas.errors import SealpostError
from schemas.ids import random_id
from schemas.metrics import gauge
from vault.connections import Connection, KnownConnections, seal_connections, unseal_connections
from vault.keyring import MasterKey
from vault.vault import Vault

log = logging.getLogger(__name__)

REFRESH_S = 5.0
"""Between two looks at the vault; bounds how long a changed secret goes unnoticed."""
STOP_WAIT_S = 1.0
"""The thread may be waiting for a database that is away; it is a daemon and holds nothing that must be put back."""
OWNER_ONLY = 0o600


@dataclass(frozen=True, slots=True)
class Seen:
    """What the vault said: the connections, and how far its clock is ahead of this machine's (seconds, negative: behind)."""

    connections: KnownConnections
    clock_ahead_s: float = 0.0


def look_into(vault: Vault) -> Seen:
    """Read connections and clock; raises what the database raises while it is away."""
    with vault.transaction() as cursor:
        row = cursor.execute("select (extract(epoch from clock_timestamp()) * 1000)::bigint").fetchone()
        here_ms = clock.now_ms()
    there_ms = int(row[0]) if row else here_ms
    return Seen(vault.connections(), (there_ms - here_ms) / clock.MS_PER_S)


class ConnectionBook:
    """Connections by id, in memory, refreshed by a daemon thread and kept on disk, sealed under the master key."""

    def __init__(
        self,
        look: Callable[[], Seen] | None,
        master: MasterKey,
        cache: Path | None,
        *,
        refresh_s: float = REFRESH_S,
    ) -> None:
        """`look`: reads the vault (None: live on the cache alone). `cache`: the sealed file (None: keep none)."""
        self._look = look
        self._master = master
        self._cache = cache
        self._refresh_s = refresh_s
        self._by_id: dict[str, Connection] = {}
        self._unusable: frozenset[str] = frozenset()
        self._kept: list[Connection] | None = None
        self._loaded = False
        self._clock_ahead_s = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._up = gauge("sealpost_component_up").labels("vault")

    def start(self) -> None:
        """Read the cache, then begin to look into the vault."""
        self._read_cache()
        if self._look is not None:
            self._thread = threading.Thread(target=self._follow, name="connections", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_WAIT_S)

    def get(self, connection: str) -> Connection | None:
        """The connection of this id, None when it is not known (yet)."""
        return self._by_id.get(connection)

    def undecided(self, connection: str) -> bool:
        """True while nobody can say what this id is: nothing has been told yet, or its secrets do not open."""
        return not self._loaded or connection in self._unusable

    @property
    def loaded(self) -> bool:
        """True once the vault or the cache has told which connections there are."""
        return self._loaded

    @property
    def clock_ahead_s(self) -> float:
        """How far the vault's clock was ahead of this machine's when last seen."""
        return self._clock_ahead_s

    def refresh(self) -> None:
        """Look into the vault now; raises SealpostError, psycopg.Error or OSError when that fails."""
        if self._look is None:
            return
        try:
            seen = self._look()
        except (SealpostError, psycopg.Error, OSError):
            self._up.set(0)
            raise
        self._up.set(1)
        self._clock_ahead_s = seen.clock_ahead_s
        known = seen.connections
        with self._lock:
            # What worked until a key was damaged goes on with what is remembered of it.
            kept = [self._by_id[name] for name in sorted(known.unusable) if name in self._by_id]
            connections = [*known.usable, *kept]
            self._unusable = known.unusable
            self._take(connections)
            if connections != self._kept and self._cache is not None:
                write_cache(self._cache, seal_connections(self._master, connections))
                self._kept = connections

    def _take(self, connections: Sequence[Connection]) -> None:
        self._by_id = {c.connection: c for c in connections}
        self._loaded = True

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self.refresh()
            except (SealpostError, psycopg.Error, OSError) as error:
                log.warning("connections cannot be refreshed: %s", type(error).__name__)
            self._stop.wait(self._refresh_s)

    def _read_cache(self) -> None:
        if self._cache is None:
            return
        try:
            connections = unseal_connections(self._master, self._cache.read_bytes())
        except FileNotFoundError:
            return
        except (SealpostError, OSError, ValueError) as error:
            log.warning("the cache of connections cannot be used: %s", type(error).__name__)
            return
        with self._lock:
            if not self._loaded:
                self._take(connections)
                self._kept = connections


def write_cache(path: Path, sealed: bytes) -> None:
    """Replace the file at once and whole, mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{random_id()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
