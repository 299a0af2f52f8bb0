"""Sockets of role `api` that send without end, or not at all: each gets its end, and others notice nothing."""

import re
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import pytest
import uvicorn
from fastapi import APIRouter, Body
from fastapi.responses import StreamingResponse
from prometheus_client import REGISTRY

from deploy.api import LIMITS, uvicorn_config
from deploy.settings import Settings
from schemas.http import create_app
from schemas.http_counts import OTHER
from tests.step_world import await_until
from workers.http_protocol import HeadLimits

KIB = 1024
HOST = "127.0.0.1"
READ_S = 6.0
SENT_MOST = 256 * KIB * KIB
GROWN_MOST_KIB = 64 * KIB
"""Well above what one head may hold, well below what is sent."""


def router() -> APIRouter:
    """A command, a query, and an answer that streams for longer than a request may take to come."""
    made = APIRouter()

    @made.post("/said")
    def said(what: Annotated[list[int], Body()]) -> int:
        return sum(what)

    @made.get("/question")
    def question() -> str:
        return "answer"

    @made.get("/stream")
    def stream() -> StreamingResponse:
        def lines() -> Iterator[bytes]:
            yield b"first"
            threading.Event().wait(READ_S * 2)
            yield b"last"

        return StreamingResponse(lines())

    return made


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The API's server with little patience."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        listening.listen(128)
        app = create_app("Test", "1", [router()], unavailable=(), read_s=READ_S)
        limits = HeadLimits(LIMITS.headers_max_bytes, READ_S)
        server = uvicorn.Server(uvicorn_config(app, Settings(), limits))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        await_until(lambda: server.started, 60, "it serves")
        yield int(listening.getsockname()[1])
        server.should_exit = True
        thread.join(60)


@contextmanager
def wire(port: int, sent: bytes = b"") -> Iterator[socket.socket]:
    """A socket to the API that has sent so much."""
    with socket.create_connection((HOST, port), timeout=60) as made:
        made.sendall(sent)
        yield made


def status(wire: socket.socket) -> int:
    """The status of the next answer; 0 when the API hung up without one."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", wire.recv(64 * KIB))
    return int(found[1]) if found else 0


def is_closed(wire: socket.socket) -> bool:
    """True once nothing more comes."""
    while wire.recv(64 * KIB):
        pass
    return True


def ask(port: int, body: bytes = b"[1, 2]") -> int:
    """A request like any other."""
    head = f"POST /said HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with wire(port, head.encode() + b"\r\n\r\n" + body) as opened:
        return status(opened)


def cut_off(code: int) -> float:
    """Answers so far to heads that never ended."""
    labels = {"route": OTHER, "method": OTHER, "code": str(code)}
    return REGISTRY.get_sample_value("sealpost_http_requests_total", labels) or 0.0


@pytest.mark.parametrize("line", [b"X-Line: " + b"x" * 100 + b"\r\n", b"y" * 110], ids=["lines", "one line"])
def test_an_endless_head(port: int, line: bytes) -> None:
    """431 and the end of the socket, long before it takes memory."""
    assert ask(port) == 200
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    piece, sent = line * 600, 0
    with wire(port, b"GET /question HTTP/1.1\r\nHost: x\r\nX-First: ") as endless:
        try:
            while sent < SENT_MOST:
                endless.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            pass
        assert sent < SENT_MOST, "all of it was taken"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWN_MOST_KIB
    with wire(port, b"GET /question HTTP/1.1\r\nX-First: ") as slower:
        slower.sendall(b"x" * 20 * KIB)
        assert ask(port) == 200, "within the limit it is waited for"
        slower.sendall(b"x" * 40 * KIB)
        assert status(slower) == 431
    assert ask(port) == 200


def test_what_stalls_is_ended(port: int) -> None:
    """408 for a head and for a body that stay away; a silent socket, and a body that nobody reads, end without words."""
    command = (
        b"POST /said HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    )
    before = cut_off(408)
    with ExitStack() as opened:
        head, body, silent, unread = (
            opened.enter_context(wire(port, sent))
            for sent in (
                b"GET /question HTTP/1.1\r\nHost:",
                command + b"[1, ",
                b"",
                b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of it",
            )
        )
        assert ask(port) == 200
        assert [status(one) for one in (head, body, silent, unread)] == [408, 408, 0, 404]
        assert all(is_closed(one) for one in (head, body, silent, unread))
        assert cut_off(408) == before + 1, "the head; the body's answer counts under its route"
        assert ask(port) == 200


def test_an_answer_may_take_its_time(port: int) -> None:
    """The limit is for the request: what streams goes on."""
    with wire(port, b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as reading:
        found = b""
        while chunk := reading.recv(64 * KIB):
            found += chunk
    assert b"first" in found
    assert b"last" in found
