"""Apple's gateway as far as Sealpost uses it, with a control side; runs as a process of its own, for sandbox, tests and
benchmarks.

It obeys what the provider obeys: token, headers and body of one message, validation, who wrote, who closed the chat, rates; it
posts gzip with a bearer token, and interactive answers twice. It keeps what it received in memory only, and logs none of it.
The control side is described in README.md.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from aiohttp import web

from schemas import clock, ids
from workers.channel import ChannelError
from workers.channels.apple import errors, send, wire
from workers.inbound_values import JsonObject
from workers.simulated_provider import (
    ProviderError,
    SimulatedProvider,
    control_body,
    control_choice,
    reported,
    serve_provider,
)
from workers.simulation import InvalidControl, Windows, suffer
from workers.simulator import SimulatorSettings

RETRY_AFTER_S = 1.0
"""The wait that an exceeded rate is answered with."""
REPEATED_MAX = 200_000
"""Ids of accepted messages that a repetition is known by."""


class InvalidSimulatedAccount(ChannelError):
    """An account's token is not `<MSP id>:<MSP secret>`, or its secret is not the connection's; correct the settings."""


class AppleError(ProviderError):
    """The simulated gateway refuses; `words` never quote the request."""

    def __init__(self, http: int, words: str = "") -> None:
        note = errors.CODES[http].note if http in errors.CODES else "failed"
        self.http, self.words = http, words or note
        super().__init__(self.words)

    def response(self, retry_after_s: float | None = None) -> web.Response:
        """The provider's answer, with a wait when one is named."""
        headers = {} if retry_after_s is None else {"Retry-After": str(math.ceil(retry_after_s))}
        return web.Response(status=self.http, text=self.words, headers=headers)


@dataclass(frozen=True, slots=True)
class Send:
    """A request to send that passed validation. `shown`: what the person reads."""

    id: str
    business: str
    to: str
    type: str
    shown: str
    content: JsonObject


def read_send(raw: bytes, headers: Mapping[str, str]) -> Send:
    """Validate a message as the gateway does; raises AppleError."""
    try:
        body = wire.mapping(orjson.loads(wire.opened(raw)))
    except (orjson.JSONDecodeError, ChannelError):
        raise AppleError(400, "no JSON") from None
    for header, member in wire.HEADERS.items():
        if not wire.word(body.get(member)) or headers.get(header) != body[member]:
            raise AppleError(400, f"{member}: header and body must name the same")
    if body.get("v") != 1:
        raise AppleError(400, "v: 1")
    to = wire.address(body[wire.DESTINATION])
    if to is None or to.kind != "opaque":
        raise AppleError(404)
    type_ = body.get("type")
    shown = _READERS[type_](body) if type_ in _READERS else None
    if not isinstance(type_, str) or not shown:
        raise AppleError(400, "type: unknown, or what it needs is missing")
    return Send(body["id"], body[wire.SOURCE], to.value, type_, shown, dict(body))


def _shown_text(body: Mapping[str, Any]) -> str | None:
    return _word(body.get("body"), send.TEXT_MAX_CHARACTERS)


def _shown_link(body: Mapping[str, Any]) -> str | None:
    link = wire.mapping(body.get("richLinkData"))
    whole = wire.mapping(link.get("assets")) and urlsplit(str(link.get("url"))).scheme == "https"
    return _word(link.get("title"), send.CAPTION_MAX_CHARACTERS) if whole else None


def _shown_interactive(body: Mapping[str, Any]) -> str | None:
    interactive = wire.mapping(body.get("interactiveData"))
    data = wire.mapping(interactive.get("data"))
    if not all(
        wire.word(one) for one in (interactive.get("bid"), data.get("version"), data.get("requestIdentifier"))
    ):
        return None
    quick = wire.mapping(data.get("quick-reply"))
    if quick:
        items = wire.objects(quick.get("items"))
        whole = send.BUTTONS_MIN <= len(items) <= send.BUTTONS_MAX
        whole = whole and _items_whole(items, send.BUTTON_TITLE_MAX_CHARACTERS)
        return wire.word(quick.get("summaryText")) if whole else None
    sections = wire.objects(wire.mapping(data.get("listPicker")).get("sections"))
    whole = bool(sections) and all(
        _items_whole(wire.objects(one.get("items")), send.BUBBLE_TITLE_MAX_CHARACTERS) for one in sections
    )
    return wire.word(wire.mapping(interactive.get("receivedMessage")).get("title")) if whole else None


def _items_whole(items: list[Mapping[str, Any]], title_max_characters: int) -> bool:
    return bool(items) and all(
        wire.word(one.get("identifier"))
        and _word(one.get("title"), title_max_characters)
        and len(wire.word(one.get("subtitle")) or "") <= send.BUBBLE_SUBTITLE_MAX_CHARACTERS
        for one in items
    )


def _word(value: object, max_characters: int) -> str | None:
    """Text that a bubble shows whole; None for none, or for more."""
    found = wire.word(value)
    return found if found is not None and len(found) <= max_characters else None


_READERS = {"text": _shown_text, "richLink": _shown_link, "interactive": _shown_interactive}


class GatewaySimulator(SimulatedProvider):
    """The provider's side of one connection: its businesses, who wrote to them, limits and faults."""

    def __init__(self, settings: SimulatorSettings) -> None:
        super().__init__(settings, self._sign)
        key = wire.key_of(settings.app_secret)
        issuers = {account.access_token.partition(":")[0] for account in settings.accounts}
        secrets = {wire.key_of(account.access_token.partition(":")[2]) for account in settings.accounts}
        if key is None or len(issuers) != 1 or "" in issuers or secrets != {key}:
            raise InvalidSimulatedAccount(
                "all accounts need one MSP id and the connection's secret: id:secret"
            )
        self._key, (self._msp_id,) = key, issuers
        self._known = Windows(math.inf, unknown_open=settings.unknown_windows_open)
        self._closed: set[tuple[str, str]] = set()
        self._accepted: dict[str, None] = {}
        self.repeated = 0

    def _sign(self, body: bytes) -> Mapping[str, str]:
        """Apple's headers for a message of a person."""
        message = orjson.loads(wire.opened(body))
        claims = {"aud": self._msp_id, "iat": clock.now_ms() // clock.MS_PER_S}
        named = {header: message[member] for header, member in wire.HEADERS.items() if member in message}
        return {
            "Authorization": f"Bearer {wire.made_token(claims, self._key)}",
            "Content-Encoding": "gzip",
            "capability-list": "QUICK,LIST,TIME,FORM",
            **named,
        }

    # ---- sending

    async def call(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/message`."""
        self._authorise(request.headers.get("Authorization", ""))
        asked = read_send(await request.read(), request.headers)
        if asked.business not in self.accounts:
            raise AppleError(403)
        fault = self.faults.take(asked.to)
        answer = await suffer(request, fault, "before", self.fault_error)
        if answer is not None:
            return answer
        own = (asked.business, asked.to)
        if own in self._closed:
            raise AppleError(410)
        if not self._known.is_open(*own):
            raise AppleError(404)
        if not self.rate.take(asked.business):
            return AppleError(429).response(RETRY_AFTER_S)
        self._accept(asked)
        answer = await suffer(request, fault, "after", self.fault_error)
        return answer if answer is not None else web.Response(status=200)

    def _authorise(self, header: str) -> None:
        claims = wire.read_token(header.removeprefix("Bearer "), self._key)
        if (
            isinstance(claims, str)
            or claims.get("iss") != self._msp_id
            or not isinstance(claims.get("iat"), int)
        ):
            raise AppleError(401)

    def _accept(self, asked: Send) -> None:
        """Keep a message; one whose id was accepted before is the same, and is shown once."""
        if asked.id in self._accepted:
            self.repeated += 1
            return
        self._accepted[asked.id] = None
        if len(self._accepted) > REPEATED_MAX:
            del self._accepted[next(iter(self._accepted))]
        message: JsonObject = {
            "to": asked.to,
            "body": asked.shown,
            "at": clock.to_text(clock.now_ms()),
            "id": asked.id,
            "type": asked.type,
            "account": asked.business,
            "content": asked.content,
        }
        self.record.add(message)

    # ---- control

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """A person does something: sends the webhooks and answers with the HTTP status of the last."""
        body = await control_body(request)
        own = self.account_of(body)
        message = read_act(body, own)
        pair = (own, message[wire.SOURCE])
        if message["type"] == "close":
            self._closed.add(pair)
        elif message["type"] not in wire.TYPING:
            self._known.opened(*pair)
            self._closed.discard(pair)
        status = 0
        for one in wire.webhook_bodies(message, _ids()):
            status = await self.webhooks.send(one)
        return reported(status, id=message.get("id"))

    # ---- as the control side wants it

    def recipient_key(self, text: str) -> str | None:
        """An opaque id."""
        found = wire.address(text)
        return found.value if found else None

    def error_of(self, code: int, details: str, *, http: int | None, subcode: int | None) -> AppleError:
        """A code is an HTTP status; there are no subcodes."""
        status = http or code
        return AppleError(status if 400 <= status < 600 else 400, details)

    def check_status(self, status: Any) -> None:
        """None is one."""
        raise InvalidControl("statuses: Apple reports none")

    def counts(self) -> JsonObject:
        """How many chats are closed, and how many messages came again."""
        return {"closed": len(self._closed), "repeated": self.repeated}

    def clear(self, query: Mapping[str, str]) -> None:
        """Accepted ids too; `?chats=close` forgets who wrote or closed the chat."""
        self._accepted.clear()
        self.repeated = 0
        if query.get("chats") == "close":
            self._known.clear()
            self._closed.clear()


# ---- pieces -------------------------------------------------------------------------------------------------------


def read_act(body: JsonObject, business: str) -> JsonObject:
    """The message of a control request; InvalidControl names the field that is wrong."""
    person = body.get("from")
    if not isinstance(person, str) or wire.address(person) is None:
        raise InvalidControl("from: an opaque id, or tel:+…")
    message: JsonObject = {wire.SOURCE: person, wire.DESTINATION: business, "locale": "de_DE", **_said(body)}
    for name in ("id", "intent", "group"):
        if name in body:
            if not wire.word(body[name]):
                raise InvalidControl(f"{name}: a text")
            message[name] = body[name]
    return message


def _said(body: JsonObject) -> JsonObject:
    if "event" in body:
        events = {"closed": "close", "typing": "typing_start"}
        if body["event"] not in events:
            raise InvalidControl("event: closed or typing")
        return {"type": events[body["event"]]}
    for name, member in (("button", "quick-reply"), ("list", "listPicker")):
        if name in body:
            choice = control_choice(body, name)
            session = wire.word(body.get("session")) or next(_ids())
            return {"type": "interactive", "interactiveData": wire.answer_json(member, choice, session)}
    kind = body.get("type", "text")
    if not isinstance(kind, str):
        raise InvalidControl("type: a kind of message")
    if kind != "text" or "raw" in body:
        return {"type": kind, **wire.mapping(body.get("raw"))}
    if not isinstance(body.get("text"), str):
        raise InvalidControl("text: what the person writes")
    return {"type": "text", "body": body["text"]}


def _ids() -> Iterator[str]:
    """New ids of the provider's."""
    while True:
        yield wire.message_id(ids.random_id())


async def serve(settings: SimulatorSettings) -> None:
    """Listen and serve until cancelled; `settings.ready` gets the base URL. The API's is `/v1` below it."""
    simulator = GatewaySimulator(settings)
    routes = [
        web.post("/v1/message", simulator.call),
        web.post("/control/inbound", simulator.inbound),
    ]
    await serve_provider(simulator, routes)
