"""A provider that costs as little as Python allows, in a process of its own: `python -m tests.bench.provider JSON`.

JSON: certificate and key (paths, for the second port), and, to report statuses, `webhooks`: {number id: {port, path, secret}}.
Prints {"port", "tls_port"}. `POST /<ms>/<version>/<number id>/messages` is answered as the Graph API does, so many milliseconds
later. `GET /stats` tells {"count", "rate"}: requests since the last `DELETE /stats`, and how many a second came in the middle
of them. `GET /arrivals` tells echo and boot second of each.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import Callable
from itertools import count
from typing import Any, cast

import orjson
import uvloop

from schemas.clock import boot_s

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"
EDGE = 0.1
"""Part of the arrivals left out at each end of a rate: start and end are not full."""
numbers = count()


class Arrivals:
    """When requests came, and with which echo."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.bodies: list[bytes] = []

    def stats(self) -> dict[str, float]:
        edge = int(len(self.times) * EDGE)
        middle = self.times[edge : len(self.times) - edge]
        rate = (len(middle) - 1) / (middle[-1] - middle[0]) if len(middle) > 1 else 0.0
        return {"count": len(self.times), "rate": rate}

    def echoes(self) -> list[tuple[str, float]]:
        bodies = (orjson.loads(body) for body in self.bodies)
        return [
            (body.get("biz_opaque_callback_data", ""), at)
            for body, at in zip(bodies, self.times, strict=True)
        ]


class Connection(asyncio.Protocol):
    """One connection; requests may follow one another."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals = arrivals
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(HEAD_END)) >= 0:
            head = self._read[:end]
            length, whole = 0, end + len(HEAD_END)
            at = head.lower().find(LENGTH)
            if at >= 0:
                length = int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0])
            if len(self._read) < whole + length:
                return
            body, self._read = self._read[whole : whole + length], self._read[whole + length :]
            self.handle(head, body)

    def handle(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        if path == b"/stats":
            answer = orjson.dumps(self.arrivals.stats())
            if method == b"DELETE":
                self.arrivals.times, self.arrivals.bodies = [], []
            self.answer(answer)
        elif path == b"/arrivals":
            self.answer(orjson.dumps(self.arrivals.echoes()))
        else:
            self.arrivals.times.append(boot_s())
            self.arrivals.bodies.append(body)
            delay_s = int(path.split(b"/", 2)[1]) / 1000
            taken = b'{"messaging_product":"whatsapp","messages":[{"id":"wamid.%d"}]}' % next(numbers)
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self.answer, taken)
            else:
                self.answer(taken)

    def answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)


async def serve(config: dict[str, Any]) -> None:
    loop, arrivals = asyncio.get_running_loop(), Arrivals()
    make: Callable[[], Connection] = lambda: Connection(arrivals)  # noqa: E731  # a factory with its type
    plain = await loop.create_server(make, "127.0.0.1", 0, backlog=2_048)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["certificate"], config["key"])
    secure = await loop.create_server(make, "127.0.0.1", 0, backlog=2_048, ssl=context)
    found = [server.sockets[0].getsockname()[1] for server in (plain, secure)]
    print(json.dumps({"port": found[0], "tls_port": found[1]}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])))
