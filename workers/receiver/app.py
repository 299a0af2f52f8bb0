"""The ASGI application: `GET/POST /webhooks/{channel}/{connection}`. Bare, for FastAPI's ceiling is a third of this one's."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl

from schemas import clock
from workers import registry
from workers.channel import Channel, WebhookRequest
from workers.receiver.counts import NO_CHANNEL, Counts
from workers.receiver.limits import ReceiverLimits
from workers.receiver.shares import Share, Shares
from workers.receiver.sources import NO_PEER, Forgeries, source_of
from workers.receiver.webhooks import AWAY, Answer, NotStored, Webhooks

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Refusal = Literal["headers", "body", "slow", "busy", "memory", "forgeries"]

QUERY_FIELDS_MAX = 20
_DRAIN_FACTOR = 4
"""A body over the limit is read on and thrown away up to this many times the limit, so that its sender reads the answer."""
_METHODS = ("GET", "POST")
_STATUS: dict[Refusal, int] = {
    "headers": 431, "body": 413, "slow": 408, "busy": 503, "memory": 503, "forgeries": 429,
}  # fmt: skip
_CLOSING = frozenset((408, 413))
"""Answers after which the rest of the request is not read."""
_PREFIX = "webhooks"


class _Gone(Exception):
    """The client hung up; there is nobody to answer."""


class _Refused(Exception):
    """The request is over a limit."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why)
        self.why = why


class ReceiverApp:
    """Reads requests, hands them to `Webhooks`, counts and answers. Quiet: no access log."""

    def __init__(
        self, webhooks: Webhooks, counts: Counts, forgeries: Forgeries, limits: ReceiverLimits
    ) -> None:
        self._webhooks = webhooks
        self._counts = counts
        self._forgeries = forgeries
        self._limits = limits
        self._shares = Shares(limits.at_once, limits.held_max_bytes, limits.stranger_at_once)
        self._channels: dict[str, Channel] = {
            name: registry.channel(name) for name in registry.channel_names()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        if scope["type"] != "http":
            return
        began_s = clock.boot_s()
        parts = scope["path"].split("/")
        known = len(parts) == 4 and parts[0] == "" and parts[1] == _PREFIX and parts[2] in self._channels
        channel = parts[2] if known else NO_CHANNEL
        try:
            answer = (
                await self._answer(scope, receive, self._channels[channel], parts[3])
                if known
                else Answer(404)
            )
        except _Gone:
            return
        except _Refused as refused:
            self._counts.refused(channel, refused.why)
            answer = Answer(_STATUS[refused.why])
        except NotStored:
            answer = AWAY
        except Exception as error:  # noqa: BLE001  # uvicorn would log a traceback, which could quote the body; 5xx is repeated
            log.error("a webhook met a fault of this program: %s", type(error).__name__)
            answer = Answer(500)
        self._counts.answered(channel, answer.status, clock.boot_s() - began_s)
        await _send(send, answer)

    async def _answer(self, scope: Scope, receive: Receive, channel: Channel, name: str) -> Answer:
        if scope["method"] not in _METHODS:
            return Answer(405)
        if _head_too_large(scope, self._limits):
            raise _Refused("headers")
        connection = await self._webhooks.find(channel.name, name)
        if connection is None:
            return Answer(404)
        source = self._source(scope, name)
        if self._forgeries.refuses(source):
            raise _Refused("forgeries")
        stranger = None if self._forgeries.has_proved(source) else source
        share = self._shares.enter(name, stranger)
        if share is None:
            raise _Refused("busy")
        body = _Body()
        try:
            if scope["method"] == "POST":
                await self._read(receive, share, body, source)
            return await self._webhooks.take(channel, connection, _request(scope, body.joined()), source)
        finally:
            self._shares.leave(share, body.held_bytes, stranger)

    def _source(self, scope: Scope, connection: str) -> bytes:
        client = scope["client"]
        peer = client[0] if client else NO_PEER
        found = source_of(peer, scope["headers"], self._limits.trusted_proxies)
        return self._forgeries.key(connection, found)

    async def _read(self, receive: Receive, share: Share, body: "_Body", source: bytes) -> None:
        """Read the body; _Refused when it is not to be taken. Who sends none, or too much, has proved nothing."""
        try:
            async with asyncio.timeout(self._limits.read_s):
                await self._read_all(receive, share, body)
        except TimeoutError:
            self._forgeries.forged(source)
            raise _Refused("slow") from None
        except _Gone:
            self._forgeries.forged(source)
            raise

    async def _read_all(self, receive: Receive, share: Share, body: "_Body") -> None:
        more = True
        while more:
            chunk, more = await _chunk(receive)
            body.chunks.append(chunk)
            body.held_bytes += len(chunk)
            may_hold = self._shares.hold(share, len(chunk))
            if body.held_bytes > self._limits.body_max_bytes:
                body.chunks.clear()
                await self._drain(receive, more)
                raise _Refused("body")
            if not may_hold:
                raise _Refused("memory")

    async def _drain(self, receive: Receive, more: bool) -> None:
        left = self._limits.body_max_bytes * _DRAIN_FACTOR
        while more and left > 0:
            chunk, more = await _chunk(receive)
            left -= len(chunk)


@dataclass(slots=True)
class _Body:
    chunks: list[bytes] = field(default_factory=list)
    held_bytes: int = 0

    def joined(self) -> bytes:
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _Gone
    return message.get("body", b""), message.get("more_body", False)


def _head_too_large(scope: Scope, limits: ReceiverLimits) -> bool:
    headers = scope["headers"]
    size = len(scope["raw_path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) for name, value in headers)
    return len(headers) > limits.headers_max or size > limits.headers_max_bytes


def _request(scope: Scope, body: bytes) -> WebhookRequest:
    """A header that comes twice has both values, as one list (RFC 9110 §5.2): a proof that is given twice is none, whichever
    comes first."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return WebhookRequest(scope["method"], _query(scope["query_string"]), headers, body)


def _query(raw: bytes) -> dict[str, str]:
    if not raw:
        return {}
    try:
        return dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX))
    except ValueError:
        return {}


async def _send(send: Send, answer: Answer) -> None:
    headers = [(b"content-length", str(len(answer.body)).encode())]
    if answer.body:
        headers += [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    if answer.status in _CLOSING:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
