"""HTTP as the receiver and the API take it: uvicorn's protocol with limits on a request's head and on the time it takes.

The server itself waits for ever for a head that does not end, and keeps every byte of it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

_WORDS = {408: "Request Timeout", 431: "Request Header Fields Too Large"}
Refused = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """`headers_max_bytes`: largest head; above it 431. `read_s`: longest a head may take to come, then 408; a socket that says
    nothing, or goes on with a body after its answer, is closed then. How long it waits for a body the application says."""

    headers_max_bytes: int
    read_s: float


class LimitedProtocol(HttpToolsProtocol):
    """One socket. The application judges heads that have come whole; those that do not end are judged here."""

    limits: HeadLimits
    refused: Refused

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_head = False
        self._in_request = False
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the class above
        """A socket that says nothing is closed like one that does not end."""
        super().connection_made(transport)
        self._await_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """No time limit is left behind."""
        self._cease()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came: most often a whole request, for which no time has to be kept."""
        began_before = self._in_head
        if not self._in_request:
            self._cease()
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and began_before:
            # Of bytes in which a head begins nobody knows how many belong to the request before.
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.headers_max_bytes:
                self._refuse(431)
                return
        if self._deadline is None and (self._in_request or not self._is_answering()):
            self._await_more()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = self._in_request = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Its head is whole; its body has a time of its own."""
        self._in_head = False
        self._cease()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is whole."""
        self._in_request = False
        self._cease()
        super().on_message_complete()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _await_more(self) -> None:
        self._deadline = self.loop.call_later(self.limits.read_s, self._late)

    def _cease(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(408)
        elif not self._is_answering():
            # Nothing was asked, or the answer is out and the rest of a body that nobody reads does not end.
            self.transport.close()

    def _refuse(self, status: int) -> None:
        if self._is_answering():
            # The answer to the request before is not out yet, and nothing may stand in its place.
            self.transport.close()
            return
        self.refused(status)
        line = f"HTTP/1.1 {status} {_WORDS[status]}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(line.encode())
        self.transport.close()


def protocol_of(limits: HeadLimits, refused: Refused = lambda _status: None) -> type[LimitedProtocol]:
    """The protocol with these limits; `refused` is told the status of each answer that the application never sees."""

    class Limited(LimitedProtocol):
        pass

    Limited.limits = limits
    Limited.refused = staticmethod(refused)
    return Limited
