"""A provider that answers what it is told to, over real sockets: errors, silence, broken connections."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from workers.channel import ProviderResponse

Break = Literal["reset", "silence"]
"""What happens instead of an answer, once the request was read whole: the connection is reset, or nothing at all."""


class ScriptedProvider:
    """Listens on loopback while the block runs; gives its answers in order. `unused`: those nobody asked for."""

    def __init__(self, answers: Sequence[ProviderResponse | Break]) -> None:
        self._answers = deque(answers)
        self._talks: set[asyncio.Task[None]] = set()
        self.base = ""
        self.requests = 0

    @property
    def unused(self) -> int:
        """Answers that are left."""
        return len(self._answers)

    async def __aenter__(self) -> "ScriptedProvider":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.base = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        if talk is not None:
            self._talks.add(talk)
            talk.add_done_callback(self._talks.discard)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await _read_request(reader)
            self.requests += 1
            answer = self._answers.popleft() if self._answers else ProviderResponse(500, {}, b"")
            if answer == "silence":
                await reader.read()
            elif answer == "reset":
                _reset(writer)
            else:
                writer.write(_as_bytes(answer))
                await writer.drain()
        writer.close()


async def _read_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if lengths:
        await reader.readexactly(int(lengths[0].split(b":")[1]))


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _as_bytes(answer: ProviderResponse) -> bytes:
    own = {"Content-Length": str(len(answer.body)), "Connection": "close"}
    lines = [
        f"HTTP/1.1 {answer.status} Answer",
        *(f"{name}: {value}" for name, value in {**answer.headers, **own}.items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body
