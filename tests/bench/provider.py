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
from tests.receiving_world import Site, change, sign, status, webhook

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length:"
EDGE = 0.1
"""Part of the arrivals left out at each end of a rate: start and end are not full."""
REPORT_S = 0.05
REPORTS_MAX = 200
"""Statuses of one webhook, and how often one goes out."""
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


class Reports:
    """Statuses of one account on their way to its receiver, as signed webhooks."""

    def __init__(self, number_id: str, port: int, path: str, secret: str) -> None:
        self._site = Site("", "", "", number_id)
        self._port, self._path, self._secret = port, path, secret
        self._waiting: list[dict[str, Any]] = []

    def of(self, body: bytes, provider_id: str) -> None:
        """This message went out, arrived and was read."""
        asked = orjson.loads(body)
        number, echo = asked["to"], asked["biz_opaque_callback_data"]
        for word in ("sent", "delivered", "read"):
            self._waiting.append(status(provider_id, word, number, biz_opaque_callback_data=echo))

    async def serve(self) -> None:
        """Report what has come together, for ever."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while True:
            await asyncio.sleep(REPORT_S)
            some, self._waiting = self._waiting[:REPORTS_MAX], self._waiting[REPORTS_MAX:]
            if not some:
                continue
            body = orjson.dumps(webhook(change(self._site, *some)))
            head = (
                f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"X-Hub-Signature-256: {sign(body, self._secret)}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await reader.readuntil(HEAD_END)
            assert answer.startswith(b"HTTP/1.1 200"), answer


class Connection(asyncio.Protocol):
    """One connection; requests may follow one another."""

    def __init__(self, arrivals: Arrivals, reports: dict[str, Reports]) -> None:
        self.arrivals = arrivals
        self.reports = reports
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
            _, delay_ms, _, number_id, _ = path.decode().split("/")
            delay_s, provider_id = int(delay_ms) / 1000, f"wamid.{next(numbers)}"
            taken = orjson.dumps({"messaging_product": "whatsapp", "messages": [{"id": provider_id}]})
            if number_id in self.reports:
                self.reports[number_id].of(body, provider_id)
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self.answer, taken)
            else:
                self.answer(taken)

    def answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)


async def serve(config: dict[str, Any]) -> None:
    loop, arrivals = asyncio.get_running_loop(), Arrivals()
    reports = {
        number_id: Reports(number_id, **where) for number_id, where in config.get("webhooks", {}).items()
    }
    make: Callable[[], Connection] = lambda: Connection(arrivals, reports)  # noqa: E731  # a factory with its type
    plain = await loop.create_server(make, "127.0.0.1", 0, backlog=2_048)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["certificate"], config["key"])
    secure = await loop.create_server(make, "127.0.0.1", 0, backlog=2_048, ssl=context)
    found = [server.sockets[0].getsockname()[1] for server in (plain, secure)]
    print(json.dumps({"port": found[0], "tls_port": found[1]}), flush=True)
    await asyncio.gather(asyncio.Event().wait(), *(one.serve() for one in reports.values()))


if __name__ == "__main__":
    uvloop.run(serve(json.loads(sys.argv[1])))
