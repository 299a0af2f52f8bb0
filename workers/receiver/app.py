"""The ASGI application: `GET/POST /webhooks/{channel}/{connection}`. Bare, for FastAPI's ceiling is a third of this one's."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from schemas import clock
from schemas.constants import WEBHOOK_MAX_BYTES
from workers import registry
from workers.channel import Channel, WebhookRequest
from workers.receiver.counts import NO_CHANNEL, Counts
from workers.receiver.webhooks import AWAY, Answer, NotStored, Webhooks

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

READ_S = 10.0
"""Longest a client may take to send its body; without it slow clients would hold memory for ever."""
HELD_MAX_BYTES = 256 * 1024 * 1024
"""Bodies held at one time; above it requests are answered 503 until others are done."""
QUERY_FIELDS_MAX = 20
_DRAIN_FACTOR = 4
"""A body over the limit is read on and thrown away up to this many times the limit, so that its sender reads the answer."""
_METHODS = ("GET", "POST")
_CLOSING = frozenset((408, 413))
"""Answers after which the rest of the request is not read."""
_PREFIX = "webhooks"


class _Gone(Exception):
    """The client hung up; there is nobody to answer."""


class ReceiverApp:
    """Reads requests, hands them to `Webhooks`, counts and answers. Quiet: no access log."""

    def __init__(
        self,
        webhooks: Webhooks,
        counts: Counts,
        *,
        body_max_bytes: int = WEBHOOK_MAX_BYTES,
        held_max_bytes: int = HELD_MAX_BYTES,
        read_s: float = READ_S,
    ) -> None:
        self._webhooks = webhooks
        self._counts = counts
        self._body_max_bytes = body_max_bytes
        self._held_max_bytes = held_max_bytes
        self._read_s = read_s
        self._held_bytes = 0
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
        except NotStored:
            answer = AWAY
        except Exception as error:  # noqa: BLE001  # uvicorn would log a traceback, which could quote the body; 5xx is repeated
            log.error("a webhook met a fault of this program: %s", type(error).__name__)
            answer = Answer(500)
        self._counts.answered(channel, answer.status, clock.boot_s() - began_s)
        await _send(send, answer)

    async def _answer(self, scope: Scope, receive: Receive, channel: Channel, name: str) -> Answer:
        method = scope["method"]
        if method not in _METHODS:
            return Answer(405)
        connection = await self._webhooks.find(channel.name, name)
        if connection is None:
            return Answer(404)
        if method == "GET":
            return await self._webhooks.take(channel, connection, _request(scope, b""))
        body = _Body()
        try:
            refusal = await self._read(receive, body)
            if refusal is not None:
                return refusal
            return await self._webhooks.take(channel, connection, _request(scope, body.joined()))
        finally:
            self._held_bytes -= body.held_bytes

    async def _read(self, receive: Receive, body: "_Body") -> Answer | None:
        """Read the body; an answer when it is not to be taken."""
        try:
            async with asyncio.timeout(self._read_s):
                more = True
                while more:
                    chunk, more = await _chunk(receive)
                    body.chunks.append(chunk)
                    body.held_bytes += len(chunk)
                    self._held_bytes += len(chunk)
                    if body.held_bytes > self._body_max_bytes:
                        body.chunks.clear()
                        await self._drain(receive, more)
                        return Answer(413)
                    if self._held_bytes > self._held_max_bytes:
                        return AWAY
        except TimeoutError:
            return Answer(408)
        return None

    async def _drain(self, receive: Receive, more: bool) -> None:
        left = self._body_max_bytes * _DRAIN_FACTOR
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


def _request(scope: Scope, body: bytes) -> WebhookRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
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
