"""Load on a webhook receiver, in a process of its own: `python -m tests.bench.http_load JSON`.

JSON: port, path, secret, number_id, connections, seconds, rate (a second; null: as fast as they can). Prints {"requests",
"seconds", "p50_ms", "p99_ms", "errors"}. In the open loop a request's time counts from when it should have been sent.
"""

import asyncio
import json
import sys
from collections import deque
from dataclasses import dataclass, field
from statistics import quantiles
from time import perf_counter
from typing import Any, cast

import orjson
import uvloop

from tests.receiving_world import Site, change, new_number, sign, text, webhook

BODIES = 2_000
TICK_S = 0.001
WARM_S = 1.0
"""Not counted: connections are made, code is warm."""
ANSWER = b"HTTP/1.1 200"
END = b"\r\n\r\n"


def requests(config: dict[str, Any]) -> list[bytes]:
    """Signed webhooks of different people, as they go over the wire."""
    site = Site("", "", "", config["number_id"])
    made = []
    for _ in range(BODIES):
        number = new_number()
        words = text(number, "Hello, is the blue one still there? I would come by on Saturday.")
        body = orjson.dumps(webhook(change(site, words, names=[(number, "Ada Lovelace")])))
        head = (
            f"POST {config['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"X-Hub-Signature-256: {sign(body, config['secret'])}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


@dataclass
class Load:
    """All connections of one run."""

    requests: list[bytes]
    idle: deque["Line"] = field(default_factory=deque)
    waiting: deque[float] = field(default_factory=deque)
    spent_ms: list[float] = field(default_factory=list)
    errors: int = 0
    count_from_s: float = 0.0
    end_s: float = 0.0
    closed_loop: bool = False
    _next: int = 0

    def send(self, line: "Line", planned_s: float) -> None:
        self._next += 1
        line.planned_s = planned_s
        line.transport.write(self.requests[self._next % len(self.requests)])

    def answered(self, line: "Line", right: bool) -> None:
        now = perf_counter()
        if now >= self.count_from_s and now < self.end_s:
            self.spent_ms.append((now - line.planned_s) * 1000)
            self.errors += not right
        if self.closed_loop:
            if now < self.end_s:
                self.send(line, now)
        elif self.waiting:
            self.send(line, self.waiting.popleft())
        else:
            self.idle.append(line)

    def due(self, planned_s: float) -> None:
        if self.idle:
            self.send(self.idle.popleft(), planned_s)
        else:
            self.waiting.append(planned_s)


class Line(asyncio.Protocol):
    """One connection with one request at a time; answers have no body."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.planned_s = 0.0
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._read.endswith(END):
            answer, self._read = self._read, b""
            self.load.answered(self, answer.startswith(ANSWER))


async def run(config: dict[str, Any]) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    load = Load(requests(config), closed_loop=config["rate"] is None)
    lines = [
        (await loop.create_connection(lambda: Line(load), "127.0.0.1", config["port"]))[1]
        for _ in range(config["connections"])
    ]
    begin = perf_counter()
    load.count_from_s = begin + WARM_S
    load.end_s = load.count_from_s + config["seconds"]
    if load.closed_loop:
        for line in lines:
            load.send(line, begin)
        await asyncio.sleep(load.end_s - begin)
    else:
        load.idle.extend(lines)
        planned, step = begin, 1 / config["rate"]
        while planned < load.end_s:
            now = perf_counter()
            while planned <= now:
                load.due(planned)
                planned += step
            await asyncio.sleep(TICK_S)
        # What is still under way at the end was late; it counts.
        await asyncio.sleep(1.0)
    cuts = quantiles(load.spent_ms, n=100)
    return {
        "requests": len(load.spent_ms),
        "seconds": config["seconds"],
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "errors": load.errors,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(run(json.loads(sys.argv[1])))), flush=True)
