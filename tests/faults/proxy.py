"""A TCP proxy that goes wrong on demand: it cuts, stalls, goes deaf or slow, in both directions or in one.

It stands before Kafka, PostgreSQL or a provider; who connects knows only its port. A thread of its own runs it, so that it
goes on while the test waits. `arm` makes it go wrong at the very moment at which certain bytes pass: "COMMIT arrived, its
answer did not".
"""

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deploy.embedded import ports

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024
ANSWER_S = 60.0
"""Longest wait of a test for the proxy's own thread."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST instead of FIN."""


class Mode(Enum):
    """What happens to the bytes of one direction."""

    PASS = "pass"
    STALL = "stall"
    """Connections stay, nothing passes, senders are held up; what waits passes later."""
    DEAF = "deaf"
    """Connections stay, senders go on, their bytes are lost; such a connection is reset when the proxy heals."""
    SLOW = "slow"
    """Every chunk waits before it passes."""


class Way(Enum):
    """A direction."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


BOTH = (Way.TO_SERVER, Way.TO_CLIENT)


@dataclass(slots=True)
class _Trigger:
    """Goes off when `pattern` passes `way`, before the chunk that completes it is handled."""

    pattern: bytes
    way: Way
    mode: Mode | None
    """None cuts."""
    ways: tuple[Way, ...]


@dataclass(eq=False, slots=True)
class _Pair:
    """One client with its connection to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    broken: bool = False
    """Bytes of it, or one of its ends, were lost: it can only be reset."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    tails: dict[Way, bytes] = field(default_factory=dict)
    """The last bytes that passed, for a pattern that two chunks share."""

    def end(self, way: Way) -> asyncio.StreamWriter:
        """The end that a way leads to."""
        return self.server if way is Way.TO_SERVER else self.client

    def reset(self, ways: Iterable[Way] = BOTH) -> None:
        """RST to the ends that these ways lead to; with both, the pair is over."""
        wanted = set(ways)
        for way in wanted:
            _reset(self.end(way))
        if len(wanted) == len(BOTH):
            self.over.set()


def _reset(end: asyncio.StreamWriter) -> None:
    raw = end.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    end.transport.abort()


def own_port() -> int:
    """A port on which nobody listens but by the test's will, as long as this process lives."""
    with TemporaryDirectory() as folder:
        return ports.choose(("proxy",), Path(folder))["proxy"]


class Proxy:
    """Listens on `port` (0: one of its own) and passes everything on to `target` on this machine, until told otherwise.

    A port of its own is one that the system gives to nobody as an outgoing port: while the proxy is cut nobody listens on it,
    and after that it must be free.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.port = port or own_port()
        self.passed: Counter[Way] = Counter()
        """Bytes that went through."""
        self.lost: Counter[Way] = Counter()
        """Bytes that were swallowed."""
        self.accepted = 0
        """Connections so far."""
        self._modes = dict.fromkeys(BOTH, Mode.PASS)
        self._slow_s = 0.0
        self._cut: set[Way] = set()
        self._triggers: list[_Trigger] = []
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._open: dict[Way, asyncio.Event] = {way: asyncio.Event() for way in BOTH}
        """Set while bytes of this direction may move."""
        for gate in self._open.values():
            gate.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._do(self._listen())

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """`host:port` for clients."""
        return f"{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._pairs)

    # What goes wrong

    def cut(self, *ways: Way) -> None:
        """Reset what is connected and refuse what comes; with one way, only the end that way leads to learns of it.

        `cut(TO_CLIENT)`: clients are reset and refused, the server's side stays, silent. `cut(TO_SERVER)`: the server is
        reset, clients stay and may connect, and nobody answers them.
        """
        self._do(self._change(None, ways or BOTH))

    def stall(self, *ways: Way) -> None:
        """Keep connections, pass nothing."""
        self._do(self._change(Mode.STALL, ways or BOTH))

    def deaf(self, *ways: Way) -> None:
        """Swallow bytes, never answer."""
        self._do(self._change(Mode.DEAF, ways or BOTH))

    def delay(self, seconds: float, *ways: Way) -> None:
        """Every chunk waits so long; a connection's chunks wait one after the other."""
        self._slow_s = seconds
        self._do(self._change(Mode.SLOW, ways or BOTH))

    def arm(self, pattern: bytes, way: Way, mode: Mode | None, *ways: Way) -> None:
        """Once `pattern` passes `way`, enter `mode` (None: cut) on `ways` (both without any), once.

        The mode holds already for the chunk that completes the pattern: DEAF on the same way loses it, DEAF on the other way
        lets it through and loses its answer.
        """
        self._triggers.append(_Trigger(pattern, way, mode, ways or BOTH))

    def armed(self) -> bool:
        """True while a trigger has not gone off."""
        return bool(self._triggers)

    def heal(self) -> None:
        """Pass everything again; connections that lost bytes, or one end, are reset."""
        self._do(self._heal())

    def close(self) -> None:
        """Reset everything and end the thread."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_S)
        self._loop.close()

    # Inside the loop

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._take, HOST, self.port, limit=CHUNK_BYTES, reuse_address=True, backlog=1024
        )

    async def _change(self, mode: Mode | None, ways: Iterable[Way]) -> None:
        self._enter(mode, ways)

    def _enter(self, mode: Mode | None, ways: Iterable[Way]) -> None:
        if mode is None:
            self._begin_cut(ways)
            return
        for way in ways:
            self._modes[way] = mode
            gate = self._open[way]
            gate.clear() if mode is Mode.STALL else gate.set()

    def _begin_cut(self, ways: Iterable[Way]) -> None:
        self._cut |= set(ways)
        if Way.TO_CLIENT in self._cut and self._server is not None:
            self._server.close()
            self._server = None
        for pair in list(self._pairs):
            pair.broken = True
            pair.reset(self._cut)

    async def _heal(self) -> None:
        self._triggers.clear()
        self._cut.clear()
        for pair in [pair for pair in self._pairs if pair.broken]:
            pair.reset()
        self._enter(Mode.PASS, BOTH)
        if self._server is None:
            await self._listen()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for pair in list(self._pairs):
            pair.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        try:
            onward, server = await asyncio.open_connection(HOST, self.target, limit=CHUNK_BYTES)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(writer, server)
        self._pairs.add(pair)
        if self._cut:
            pair.broken = True
            pair.reset(self._cut)
        pumps = (
            asyncio.create_task(self._pump(pair, reader, Way.TO_SERVER)),
            asyncio.create_task(self._pump(pair, onward, Way.TO_CLIENT)),
        )
        ended, over = asyncio.gather(*pumps), asyncio.create_task(pair.over.wait())
        try:
            await asyncio.wait((ended, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            over.cancel()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(ended, over, return_exceptions=True)
            writer.close()
            server.close()

    async def _pump(self, pair: _Pair, source: asyncio.StreamReader, way: Way) -> None:
        """Move chunks of one direction until its source ends, then end its sink; a pair that is broken waits to be reset."""
        sink = pair.end(way)
        try:
            while chunk := await source.read(CHUNK_BYTES):
                self._look_for_patterns(pair, chunk, way)
                await self._pass(pair, chunk, sink, way)
            await self._open[way].wait()
            if self._modes[way] is Mode.DEAF:
                pair.broken = True
            elif not pair.broken:
                sink.write_eof()
        except OSError:
            if not pair.broken:
                pair.reset()
        if pair.broken:
            await pair.over.wait()

    async def _pass(self, pair: _Pair, chunk: bytes, sink: asyncio.StreamWriter, way: Way) -> None:
        if self._modes[way] is Mode.SLOW:
            await asyncio.sleep(self._slow_s)
        await self._open[way].wait()
        if self._modes[way] is Mode.DEAF or pair.broken:
            pair.broken = True
            self.lost[way] += len(chunk)
            return
        sink.write(chunk)
        await sink.drain()
        self.passed[way] += len(chunk)

    def _look_for_patterns(self, pair: _Pair, chunk: bytes, way: Way) -> None:
        if not self._triggers:
            return
        seen = pair.tails.get(way, b"") + chunk
        longest = max(len(trigger.pattern) for trigger in self._triggers)
        for trigger in list(self._triggers):
            if trigger.way is way and trigger.pattern in seen:
                self._triggers.remove(trigger)
                self._enter(trigger.mode, trigger.ways)
        pair.tails[way] = seen[-(longest - 1) :] if longest > 1 else b""
