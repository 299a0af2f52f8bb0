"""Calls to providers over real sockets: what is known of a call, however it ends, and what never happens on the way."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.addresses import Address
from schemas.clock import boot_s
from schemas.content import TextContent
from tests.bench import certificate
from workers.channel import DeliverySteps, ProviderRequest, ProviderResponse, Submitted
from workers.channels.whatsapp.channel import CHANNEL as WHATSAPP
from workers.outbound.provider import (
    ANSWER_MAX_BYTES,
    COURTESY_S,
    Attempted,
    NoAnswer,
    NotSent,
    ProviderCalls,
)

HTTP_S = 5.0
LATE_S = 30.0
"""How much later than at its limit a call may end on a busy machine."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Behaviour = Callable[["Line"], Awaitable[None]]


class Provider:
    """A server that behaves as it is told; counts connections, those that have ended, and whole requests."""

    def __init__(self, behaviour: Behaviour, context: ssl.SSLContext | None = None) -> None:
        self._behaviour = behaviour
        self._context = context
        self.connections = 0
        self.ended = asyncio.Semaphore(0)
        self.requests: list[bytes] = []

    async def __aenter__(self) -> "Provider":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port: int = self._server.sockets[0].getsockname()[1]
        scheme = "http" if self._context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}/v25.0/1/messages"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await self._behaviour(Line(self, reader, writer))
        writer.close()
        self.ended.release()


@dataclass(frozen=True)
class Line:
    """One connection."""

    provider: Provider
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> None:
        """Read the next whole request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await self.reader.readexactly(int(lengths[0].split(b":")[1]))
        self.provider.requests.append(head + body)


class Recording:
    """A channel that makes one request and keeps what came of it."""

    name = "whatsapp"

    def __init__(self, url: str, courtesy: str | None = None) -> None:
        self.url, self.courtesy = url, courtesy
        self.response: ProviderResponse | None = None

    def deliver(self, *_: Any) -> DeliverySteps:
        """One request."""
        headers = {"Authorization": "Bearer secret"}
        courtesy = self.courtesy and ProviderRequest("POST", self.courtesy, headers, b'{"press": "4915"}')
        self.response = yield ProviderRequest("POST", self.url, headers, b'{"to": "4915"}', courtesy or None)
        return Submitted("wamid.1")


async def deliver(
    calls: ProviderCalls, url: str, deadline_s: float | None = None, courtesy: str | None = None
) -> tuple[Attempted, Recording]:
    """One message through `calls`."""
    channel = Recording(url, courtesy)
    access: Any = None
    attempted = await calls.deliver(
        channel,  # type: ignore[arg-type]  # only what deliver needs
        TextContent(text="hello"),
        Address("whatsapp", "phone", "4915123456789"),
        access,
        echo="e.0",
        deadline_s=boot_s() + 60 if deadline_s is None else deadline_s,
    )
    return attempted, channel


def outcome(
    behaviour: Behaviour, *, times: int = 1, idle: bool = False
) -> tuple[list[Attempted], Provider, Recording]:
    """What is known after so many calls one after the other, with the server and the last channel. `idle`: each but the first
    begins once the connection of the one before has ended."""

    async def run() -> tuple[list[Attempted], Provider, Recording]:
        calls = ProviderCalls(HTTP_S, boot_s)
        found: list[tuple[Attempted, Recording]] = []
        async with Provider(behaviour) as provider:
            for number in range(times):
                if idle and number:
                    await asyncio.wait_for(provider.ended.acquire(), LATE_S)
                found.append(await deliver(calls, provider.url))
        await calls.close()
        return [attempted for attempted, _ in found], provider, found[-1][1]

    return asyncio.run(run())


async def answers(line: Line) -> None:
    while True:
        await line.request()
        line.writer.write(OK)
        await line.writer.drain()


async def hangs_up_behind_the_request(line: Line) -> None:
    await line.request()


async def resets_at_once(line: Line) -> None:
    raw: socket.socket = line.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.writer.transport.abort()


async def says_nothing(line: Line) -> None:
    await line.request()
    await line.reader.read()


async def stops_in_the_answer(line: Line) -> None:
    await line.request()
    line.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await line.reader.read()


async def redirects(line: Line) -> None:
    await line.request()
    elsewhere = b"http://127.0.0.1:%d/elsewhere" % line.provider.port
    line.writer.write(
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: " + elsewhere + b"\r\nContent-Length: 0\r\n\r\n"
    )
    await line.reader.read()


async def answers_without_end(line: Line) -> None:
    await line.request()
    line.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        line.writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        await line.writer.drain()


async def answers_once_and_hangs_up(line: Line) -> None:
    """Ends when the client has seen it and hung up too."""
    await line.request()
    line.writer.write(OK)
    line.writer.write_eof()
    await line.reader.read()


async def answers_once_then_breaks(line: Line) -> None:
    await line.request()
    line.writer.write(OK)
    await line.request()


def test_an_answer_is_given_to_the_channel_whole() -> None:
    found, provider, channel = outcome(answers)
    assert found == [Submitted("wamid.1")]
    assert channel.response is not None
    assert (channel.response.status, channel.response.body) == (200, b"ok")
    assert channel.response.headers["content-length"] == "2"
    assert b"authorization: bearer secret" in provider.requests[0].lower()
    assert provider.requests[0].endswith(b'{"to": "4915"}')


def test_connections_are_used_again() -> None:
    found, provider, _ = outcome(answers, times=5)
    assert found == [Submitted("wamid.1")] * 5
    assert provider.connections == 1


def test_nobody_listens() -> None:
    """Surely not sent."""

    async def run() -> Attempted:
        calls = ProviderCalls(HTTP_S, boot_s)
        attempted, _ = await deliver(calls, "http://127.0.0.1:9/x")
        await calls.close()
        return attempted

    assert asyncio.run(run()) == NotSent("refused")


def test_a_name_that_does_not_exist() -> None:
    """Surely not sent."""

    async def run() -> Attempted:
        calls = ProviderCalls(HTTP_S, boot_s)
        attempted, _ = await deliver(calls, "http://provider.invalid/x")
        await calls.close()
        return attempted

    assert asyncio.run(run()) == NotSent("refused")


def test_a_handshake_that_does_not_end() -> None:
    """TLS never comes about: surely not sent, within the time of a call."""
    http_s = 4.0  # a tenth of it is enough for a busy machine to tell the two limits apart

    async def run() -> tuple[Attempted, float]:
        calls = ProviderCalls(http_s, boot_s)
        async with Provider(says_nothing) as provider:
            begin = boot_s()
            attempted, _ = await deliver(calls, provider.url.replace("http:", "https:"))
            spent_s = boot_s() - begin
        await calls.close()
        return attempted, spent_s

    attempted, spent_s = asyncio.run(run())
    assert attempted == NotSent("refused")
    assert spent_s < http_s + LATE_S


def test_a_certificate_nobody_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Surely not sent; the same provider is called once its certificate is trusted."""
    certified, key = certificate.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certified, key)

    async def run() -> Attempted:
        calls = ProviderCalls(HTTP_S, boot_s)
        async with Provider(answers, context) as provider:
            attempted, _ = await deliver(calls, provider.url)
        await calls.close()
        return attempted

    assert asyncio.run(run()) == NotSent("refused")
    monkeypatch.setenv("SSL_CERT_FILE", str(certified))
    assert asyncio.run(run()) == Submitted("wamid.1")


def test_a_connection_that_breaks_behind_the_request() -> None:
    """It was written, so nobody knows; and it is not written again."""
    found, provider, _ = outcome(hangs_up_behind_the_request)
    assert found == [NoAnswer()]
    assert provider.connections == 1


def test_a_connection_that_is_reset_at_once() -> None:
    """Something may have been written, unless the reset came before the connection was seen to stand; it is not written again."""
    found, provider, _ = outcome(resets_at_once)
    assert found in ([NoAnswer()], [NotSent("refused")])
    assert provider.connections == 1


@pytest.mark.parametrize("behaviour", [says_nothing, stops_in_the_answer])
def test_an_answer_that_does_not_come_in_time(behaviour: Behaviour) -> None:
    """Unknown after the limit of a call, not sooner."""
    begin = boot_s()
    found, provider, _ = outcome(behaviour)
    assert found == [NoAnswer()]
    assert len(provider.requests) == 1
    assert HTTP_S * 0.95 < boot_s() - begin < HTTP_S + LATE_S


def test_redirects_are_answers() -> None:
    """Never followed: the headers hold a secret."""
    _, provider, channel = outcome(redirects)
    assert channel.response is not None
    assert channel.response.status == 307
    assert len(provider.requests) == 1


def test_an_answer_without_end_is_cut() -> None:
    _, _, channel = outcome(answers_without_end)
    assert channel.response is not None
    assert len(channel.response.body) == ANSWER_MAX_BYTES


def test_a_provider_that_closes_idle_connections() -> None:
    """The next message goes over a new one; none is lost, none unknown."""
    found, provider, _ = outcome(answers_once_and_hangs_up, times=3, idle=True)
    assert found == [Submitted("wamid.1")] * 3
    assert len(provider.requests) == 3


def test_a_connection_that_breaks_at_its_second_request() -> None:
    """Nobody knows what became of it, so the client must not repeat it by itself."""
    found, provider, _ = outcome(answers_once_then_breaks, times=2)
    assert found == [Submitted("wamid.1"), NoAnswer()]
    assert len(provider.requests) == 2


def test_a_permit_that_has_run_out() -> None:
    """Nothing is written after the deadline of the permit."""

    async def run() -> tuple[Attempted, int]:
        calls = ProviderCalls(HTTP_S, boot_s)
        async with Provider(answers) as provider:
            attempted, _ = await deliver(calls, provider.url, boot_s() - 0.01)
        await calls.close()
        return attempted, provider.connections

    assert asyncio.run(run()) == (NotSent("lapsed"), 0)


async def refuses(line: Line) -> None:
    await line.request()
    line.writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await line.reader.read()


def with_courtesy(
    behaviour: Behaviour, then: Behaviour = answers, courtesy: str | None = None, left_s: float = 60.0
) -> tuple[Attempted, list[bytes], list[bytes]]:
    """What is known of a message whose courtesy meets `behaviour`, the requests of the courtesy, and those of the message."""

    async def run() -> tuple[Attempted, list[bytes], list[bytes]]:
        calls = ProviderCalls(HTTP_S, boot_s)
        async with Provider(behaviour) as beside, Provider(then) as provider:
            attempted, _ = await deliver(calls, provider.url, boot_s() + left_s, courtesy or beside.url)
            await calls.close()
            return attempted, beside.requests, provider.requests

    return asyncio.run(run())


@pytest.mark.parametrize(
    "behaviour", [answers, refuses, hangs_up_behind_the_request, says_nothing, stops_in_the_answer, redirects]
)
def test_nothing_depends_on_a_courtesy(behaviour: Behaviour) -> None:
    """However it ends, it is made once, and the message goes out once."""
    attempted, beside, sent = with_courtesy(behaviour)
    assert attempted == Submitted("wamid.1")
    assert (len(beside), len(sent)) == (1, 1)
    assert beside[0].endswith(b'{"press": "4915"}')
    assert sent[0].endswith(b'{"to": "4915"}')


@pytest.mark.parametrize("nowhere", ["http://127.0.0.1:9/x", "no address"])
def test_a_courtesy_that_cannot_be_made(nowhere: str) -> None:
    attempted, _, sent = with_courtesy(answers, courtesy=nowhere)
    assert (attempted, len(sent)) == (Submitted("wamid.1"), 1)


def test_a_silent_courtesy_takes_its_own_time_and_not_that_of_a_call() -> None:
    async def run() -> Attempted:
        calls = ProviderCalls(20 * COURTESY_S, boot_s)
        async with Provider(says_nothing) as beside, Provider(answers) as provider:
            delivery = deliver(calls, provider.url, boot_s() + 60.0, beside.url)
            attempted, _ = await asyncio.wait_for(delivery, 10 * COURTESY_S)
            await calls.close()
            return attempted

    assert asyncio.run(run()) == Submitted("wamid.1")


def test_a_message_behind_a_courtesy_ends_as_any_other() -> None:
    """Nobody knows what became of it, whatever is known of the courtesy; and it is not written again."""
    attempted, beside, sent = with_courtesy(answers, hangs_up_behind_the_request)
    assert (attempted, len(beside), len(sent)) == (NoAnswer(), 1, 1)


def test_a_permit_that_runs_out_during_a_courtesy() -> None:
    """The message is surely not sent: nothing of it is written after the deadline."""
    attempted, beside, sent = with_courtesy(says_nothing, left_s=0.9 * COURTESY_S)
    assert (attempted, len(beside), sent) == (NotSent("lapsed"), 1, [])


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    found, _, _ = outcome(answers)
    assert found == [Submitted("wamid.1")]


def test_a_request_that_cannot_be_built() -> None:
    """An account whose address is no URL: surely not sent."""

    async def run() -> Attempted:
        calls = ProviderCalls(HTTP_S, boot_s)
        attempted, _ = await deliver(calls, "no address")
        await calls.close()
        return attempted

    assert asyncio.run(run()) == NotSent("refused")


def test_what_is_logged_names_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither address nor secret."""
    caplog.set_level("DEBUG")
    outcome(hangs_up_behind_the_request)
    assert WHATSAPP.name in caplog.text
    assert "4915" not in caplog.text
    assert "secret" not in caplog.text
