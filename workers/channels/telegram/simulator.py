"""The Bot API as far as Sealpost uses it, with a control side; runs as a process of its own, for sandbox, tests and benchmarks.

It obeys what the provider obeys: token, validation, who pressed Start, who blocked the bot, rates; it answers with the
provider's error bodies and posts updates with the secret header. It keeps what it received in memory only, and logs none of
it. The control side is described in README.md.
"""

import math
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from schemas import clock, ids
from workers.channel import JsonObject, SimulatedAccount, SimulatorSettings
from workers.channels.telegram import errors, receive, send, wire
from workers.simulation import (
    Fault,
    Faults,
    InvalidControl,
    MessageRecord,
    ProviderError,
    RateLimit,
    Webhooks,
    Windows,
    application,
    control_body,
    json_answer,
    serve_application,
    suffer,
)

RETRY_AFTER_S = 1.0
"""The wait that an exceeded rate is answered with."""


class BotError(ProviderError):
    """The simulated API answers with an error body; `words` never quote the request."""

    def __init__(self, code: int, words: str = "", *, http: int | None = None) -> None:
        note = errors.CODES[code].note if code in errors.CODES else "Internal Server Error"
        self.code, self.http = code, http or (code if 400 <= code < 600 else 400)
        self.description = f"{note}: {words}" if words else note
        super().__init__(self.description)

    def response(self, retry_after_s: float | None = None) -> web.Response:
        """The provider's answer, with a wait when one is named."""
        body: JsonObject = {"ok": False, "error_code": self.code, "description": self.description}
        if retry_after_s is not None:
            body["parameters"] = {"retry_after": math.ceil(retry_after_s)}
        return json_answer(body, self.http)


@dataclass(frozen=True, slots=True)
class Send:
    """A request to send that passed validation."""

    to: str
    text: str


def read_send(raw: bytes) -> Send:
    """Validate a `sendMessage` request as the API does; raises BotError."""
    try:
        body = wire.mapping(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise BotError(400, "can't parse JSON object") from None
    chat = body.get("chat_id")
    if chat is None or chat == "":
        raise BotError(400, "chat_id is empty")
    person = wire.recipient(str(chat)) if isinstance(chat, int | str) else None
    if person is None:
        raise BotError(400, "chat not found")
    text = body.get("text")
    if not isinstance(text, str) or not text.strip():
        raise BotError(400, "message text is empty")
    if len(text) > send.TEXT_MAX_CHARACTERS:
        raise BotError(400, "message is too long")
    return Send(person.value, text)


class BotSimulator:
    """The provider's side of one connection: its bots, who wrote to them, limits and faults."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.bots = {account.access_token: account for account in settings.accounts}
        self.record = MessageRecord(settings.kept_messages)
        self.faults = Faults()
        self.webhooks = Webhooks(
            settings.webhook_url,
            lambda _: {receive.SECRET_HEADER: settings.app_secret},
            first_s=settings.retry_first_s,
            max_s=settings.retry_max_s,
        )
        self._rate = RateLimit(settings.rate_per_s, settings.rate_per_s)
        self._pairs = RateLimit(1 / send.PAIR_INTERVAL_S, send.PAIR_BURST)
        self._started = Windows(math.inf, unknown_open=settings.unknown_windows_open)
        self._blocked: set[tuple[str, str]] = set()
        start = int(ids.random_unit() * 1_000_000_000)
        self._message = self._update = start

    # ---- sending

    async def call(self, request: web.Request) -> web.StreamResponse:
        """`POST /bot{token}/{method}`."""
        bot = self._authorised(request.match_info["token"])
        if request.match_info["method"].lower() != "sendmessage":
            raise BotError(404, "method not found")
        asked = read_send(await request.read())
        fault = self.faults.take(asked.to)
        answer = await suffer(request, fault, "before", _fault_error)
        if answer is not None:
            return answer
        own = bot.provider_account_id
        if (own, asked.to) in self._blocked:
            raise BotError(403, "bot was blocked by the user")
        if not self._started.is_open(own, asked.to):
            raise BotError(400, "chat not found")
        if not self._rate.take(own) or (
            self.settings.pair_limit and not self._pairs.take(f"{own}/{asked.to}")
        ):
            return BotError(429, f"retry after {RETRY_AFTER_S:g}").response(RETRY_AFTER_S)
        result = self._accept(bot, asked)
        answer = await suffer(request, fault, "after", _fault_error)
        return answer if answer is not None else json_answer({"ok": True, "result": result})

    def _authorised(self, token: str) -> SimulatedAccount:
        if ":" not in token:
            raise BotError(404)
        if token not in self.bots:
            raise BotError(401)
        return self.bots[token]

    def _accept(self, bot: SimulatedAccount, asked: Send) -> JsonObject:
        self._message += 1
        now_ms = clock.now_ms()
        message: JsonObject = {
            "to": asked.to,
            "body": asked.text,
            "at": clock.to_text(now_ms),
            "id": wire.message_ref(asked.to, self._message),
            "type": "text",
            "account": bot.provider_account_id,
        }
        self.record.add(message)
        _, chat = wire.person_json(int(asked.to), None)
        sender = {"id": bot.provider_account_id, "is_bot": True, "first_name": "Bot"}
        return {
            "message_id": self._message,
            "from": sender,
            "chat": chat,
            "date": now_ms // wire.MS_PER_S,
            "text": asked.text,
        }

    # ---- control

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """A person does something: sends the webhook and answers with its HTTP status."""
        body = await control_body(request)
        bots = {bot.provider_account_id: bot for bot in self.bots.values()}
        own = str(body.get("account", next(iter(bots), "")))
        if own not in bots:
            raise InvalidControl("account: the simulator has none of this id")
        self._message += 1
        self._update += 1
        act = read_act(body, self._message)
        if act.kind == "my_chat_member":
            change = self._blocked.add if body["event"] == "blocked" else self._blocked.discard
            change((own, act.person))
        elif "group_id" not in body:
            self._started.opened(own, act.person)
            self._blocked.discard((own, act.person))
        status = await self.webhooks.send(wire.update_json(self._update, act.kind, act.item))
        return json_answer({"id": act.id, "status": status}, status if 200 <= status < 600 else 502)

    async def list_messages(self, request: web.Request) -> web.StreamResponse:
        """What was accepted, in order; `?to=` one recipient, `?after=` without the first n."""
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit()):
            raise InvalidControl("after: how many to leave out")
        found = self.record.messages(request.query.get("to"))
        return json_answer({"messages": found[int(after[:9]) :], "count": len(found)})

    async def add_fault(self, request: web.Request) -> web.StreamResponse:
        """Something shall go wrong from now on; `{"clear": true}`: nothing any more."""
        body = await control_body(request)
        return json_answer({"active": self.faults.apply(body, _recipient_key, _no_status)})

    async def state(self, request: web.Request) -> web.StreamResponse:
        """Counts, nothing personal."""
        counts = {"messages": len(self.record.messages()), "blocked": len(self._blocked)}
        return json_answer(counts | {"webhooks": self.webhooks.counts()})

    async def forget(self, request: web.Request) -> web.StreamResponse:
        """Forget messages, faults and repeats; `?chats=close` forgets too who pressed Start or blocked the bot."""
        self.record.clear()
        self.faults.clear()
        self.webhooks.clear()
        self._rate.clear()
        self._pairs.clear()
        if request.query.get("chats") == "close":
            self._started.clear()
            self._blocked.clear()
        return web.Response(status=204)


# ---- pieces -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Act:
    """What a person does: the update's kind and member, and what the channel will call it."""

    person: str
    kind: str
    item: JsonObject
    id: str


def read_act(body: JsonObject, number: int) -> Act:
    """The update of a control request; InvalidControl names the field that is wrong."""
    found = wire.recipient(str(body.get("from", "")))
    if found is None:
        raise InvalidControl("from: the id of a person")
    at_s = body.get("at", clock.now_ms() // wire.MS_PER_S)
    given = body.get("id", number)
    if not _whole(at_s) or not _whole(given):
        raise InvalidControl("at, id: whole numbers")
    name = body.get("name")
    user, chat = wire.person_json(int(found.value), name if isinstance(name, str) else None)
    if "group_id" in body:
        chat = {"id": body["group_id"], "type": "supergroup", "title": "Group"}
    ref = wire.message_ref(found.value, given)
    if "event" in body:
        return Act(found.value, "my_chat_member", _membership(body, user, chat, at_s), ref)
    if "button" in body:
        pressed = {"id": str(given), "from": user, "chat_instance": "1", **_pressed(body, chat, given)}
        return Act(found.value, "callback_query", pressed, f"callback:{given}")
    message: JsonObject = {"message_id": given, "from": user, "chat": chat, "date": at_s, **_said(body)}
    if _whole(body.get("reply_to")):
        message["reply_to_message"] = {"message_id": body["reply_to"], "chat": chat, "date": at_s}
    if body.get("forwarded") is True:
        message["forward_origin"] = {"type": "hidden_user", "sender_user_name": "Somebody", "date": at_s}
    if body.get("edited") is True:
        return Act(found.value, "edited_message", message | {"edit_date": at_s}, ref)
    return Act(found.value, "message", message, ref)


def _said(body: JsonObject) -> JsonObject:
    kind = body.get("type", "text")
    if kind == "text":
        if not isinstance(body.get("text"), str):
            raise InvalidControl("text: what the person writes")
        return {"text": body["text"]}
    if not isinstance(kind, str):
        raise InvalidControl("type: a kind of message")
    return {kind: body.get("raw", {"file_id": "AgAD"})}


def _pressed(body: JsonObject, chat: JsonObject, given: int) -> JsonObject:
    button = wire.mapping(body.get("button"))
    data, title = button.get("id"), button.get("title")
    if not isinstance(data, str) or not isinstance(title, str):
        raise InvalidControl("button: id and title are needed")
    keyboard = {"inline_keyboard": [[{"text": title, "callback_data": data}]]}
    return {"data": data, "message": {"message_id": given, "chat": chat, "date": 0, "reply_markup": keyboard}}


def _membership(body: JsonObject, user: JsonObject, chat: JsonObject, at_s: int) -> JsonObject:
    statuses = {"blocked": ("member", "kicked"), "unblocked": ("kicked", "member")}
    if body["event"] not in statuses:
        raise InvalidControl("event: blocked or unblocked")
    bot = {"id": 1, "is_bot": True, "first_name": "Bot"}
    old, new = ({"user": bot, "status": status} for status in statuses[body["event"]])
    return {"chat": chat, "from": user, "date": at_s, "old_chat_member": old, "new_chat_member": new}


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _fault_error(fault: Fault) -> web.Response:
    error = fault.error or {}
    if "code" not in error:
        return web.Response(status=error["http"])
    words = error.get("details", "a fault asked for by a test")
    return BotError(error["code"], words, http=error.get("http")).response(fault.retry_after_s)


def _no_status(_: Any) -> None:
    raise InvalidControl("statuses: Telegram reports none")


def _recipient_key(text: str) -> str | None:
    found = wire.recipient(text)
    return found.value if found else None


# ---- the application ----------------------------------------------------------------------------------------------


def create_app(settings: SimulatorSettings) -> web.Application:
    """The simulator as an application; its background work runs while the application does."""
    simulator = BotSimulator(settings)
    routes = [
        web.post("/bot{token:[^/]+}/{method}", simulator.call),
        web.post("/control/inbound", simulator.inbound),
        web.get("/control/messages", simulator.list_messages),
        web.post("/control/faults", simulator.add_fault),
        web.get("/control/state", simulator.state),
        web.delete("/control", simulator.forget),
    ]
    return application(routes, simulator.webhooks)


async def serve(settings: SimulatorSettings) -> None:
    """Listen and serve until cancelled; `settings.ready` gets the base URL, which is the API's too."""
    await serve_application(create_app(settings), settings)
