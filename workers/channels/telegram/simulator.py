"""The Bot API as far as Sealpost uses it, with a control side; runs as a process of its own, for sandbox, tests and benchmarks.

It obeys what the provider obeys: token, validation, who pressed Start, who blocked the bot, rates; it answers with the
provider's error bodies and posts updates with the secret header. It keeps what it received in memory only, and logs none of
it. The control side is described in README.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from schemas import clock, ids
from workers.channels.telegram import errors, receive, send, wire
from workers.inbound_values import JsonObject
from workers.simulated_provider import (
    ProviderError,
    SimulatedProvider,
    control_body,
    control_choice,
    json_answer,
    reported,
    serve_provider,
)
from workers.simulation import (
    InvalidControl,
    RateLimit,
    Windows,
    suffer,
)
from workers.simulator import SimulatedAccount, SimulatorSettings

_SPOKEN = frozenset(("message", "edited_message", "callback_query"))
"""Acts by which a person talks to the bot: whoever does has pressed Start and does not block it."""
RETRY_AFTER_S = 1.0
"""The wait that an exceeded rate is answered with."""
QUERY_OPEN_S = 15.0
"""How long a press can be answered. Telegram names no time; bots report refusals after 10 to 20 seconds."""


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


# ---- what is asked for --------------------------------------------------------------------------------------------

_FILES = {method.lower(): member for method, member in send.METHODS.values()}
"""Method, as it is compared → the member with the link."""
_TEXT = "sendmessage"


@dataclass(frozen=True, slots=True)
class Send:
    """A request that passed validation. `said`: what the record shows of a message beside who gets it."""

    to: str
    said: JsonObject


def read_query(raw: bytes) -> str:
    """Which press is answered; raises BotError."""
    query = _body_of(raw).get("callback_query_id")
    if not isinstance(query, str) or not query:
        raise BotError(400, "there is no callback_query_id in the request")
    return query


def _body_of(raw: bytes) -> Mapping[str, Any]:
    try:
        return wire.mapping(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise BotError(400, "can't parse JSON object") from None


def read_send(method: str, raw: bytes) -> Send:
    """Validate a request as the API does; raises BotError. Methods are written in any case."""
    member = _FILES.get(method.lower())
    if member is None and method.lower() != _TEXT:
        raise BotError(404, "method not found")
    body = _body_of(raw)
    chat = body.get("chat_id")
    if chat is None or chat == "":
        raise BotError(400, "chat_id is empty")
    person = wire.recipient(str(chat)) if isinstance(chat, int | str) else None
    if person is None:
        raise BotError(400, "chat not found")
    said = _written(body) if member is None else _file(body, member)
    if "reply_markup" in body:
        said["buttons"] = _buttons(body["reply_markup"])
    if "reply_parameters" in body:
        said["reply_to"] = _answered(body["reply_parameters"], person.value)
    return Send(person.value, said)


def _written(body: Mapping[str, Any]) -> JsonObject:
    text = body.get("text")
    if not isinstance(text, str) or not text.strip():
        raise BotError(400, "message text is empty")
    if len(text) > send.TEXT_MAX_CHARACTERS:
        raise BotError(400, "message is too long")
    return {"type": "text", "body": text}


def _file(body: Mapping[str, Any], member: str) -> JsonObject:
    url, caption = body.get(member), body.get("caption", "")
    if not isinstance(url, str) or not url:
        raise BotError(400, f"there is no {member} in the request")
    if not url.startswith(("https://", "http://")):
        raise BotError(400, "wrong file identifier/HTTP URL specified")
    if not isinstance(caption, str) or len(caption) > send.CAPTION_MAX_CHARACTERS:
        raise BotError(400, "message caption is too long")
    return {"type": member, "body": caption, "url": url}


def _buttons(markup: object) -> list[JsonObject]:
    """Those of an inline keyboard, line by line."""
    lines = wire.mapping(markup).get("inline_keyboard")
    if not isinstance(lines, list) or not all(isinstance(line, list) for line in lines):
        raise BotError(400, "can't parse reply keyboard markup JSON object")
    found = []
    for button in (wire.mapping(button) for line in lines for button in line):
        title, data = button.get("text"), button.get("callback_data")
        if not isinstance(title, str) or not title.strip():
            raise BotError(400, "inline keyboard button text must be non-empty")
        if len(title) > send.TITLE_MAX_CHARACTERS:
            raise BotError(400, "BUTTON_TEXT_INVALID")
        if (
            not isinstance(data, str)
            or not 1 <= len(data.encode("utf-8", "replace")) <= send.CALLBACK_MAX_BYTES
        ):
            raise BotError(400, "BUTTON_DATA_INVALID")
        found.append({"id": data, "title": title})
    if len(found) > send.BUTTONS_MAX:
        raise BotError(400, "reply markup is too long")
    return found


def _answered(parameters: object, chat: str) -> str:
    number = wire.mapping(parameters).get("message_id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise BotError(400, "message to be replied not found")
    return wire.message_ref(chat, number)


# ---- presses ------------------------------------------------------------------------------------------------------


class Queries:
    """Pressed buttons by (bot, id), with the boot second of the press. Each is answered once, and only while it is new."""

    def __init__(self) -> None:
        self._unanswered: dict[tuple[str, str], float] = {}
        self._answered = self._refused = 0

    def open(self, query: tuple[str, str], now_s: float) -> None:
        """A person presses: the button shows a spinner."""
        self._forget_old(now_s)
        self._unanswered.pop(query, None)
        self._unanswered[query] = now_s

    def answer(self, query: tuple[str, str], now_s: float) -> None:
        """The spinner ends; BotError for a query that is answered, too old, or none."""
        self._forget_old(now_s)
        if self._unanswered.pop(query, None) is None:
            self._refused += 1
            raise BotError(400, "query is too old and response timeout expired or query ID is invalid")
        self._answered += 1

    def counts(self) -> JsonObject:
        """Presses that wait for an answer or are answered, and calls that were refused."""
        counted = {"answered": self._answered, "refused": self._refused}
        return {"unanswered": len(self._unanswered), **counted}

    def _forget_old(self, now_s: float) -> None:
        while self._unanswered:
            oldest, at_s = next(iter(self._unanswered.items()))
            if now_s - at_s < QUERY_OPEN_S:
                return
            del self._unanswered[oldest]


# ---- the provider -------------------------------------------------------------------------------------------------


class BotSimulator(SimulatedProvider):
    """The provider's side of one connection: its bots, who wrote to them, limits and faults."""

    def __init__(self, settings: SimulatorSettings) -> None:
        super().__init__(settings, lambda _: {receive.SECRET_HEADER: settings.app_secret})
        self.bots = {account.access_token: account for account in settings.accounts}
        self._pairs = RateLimit(1 / send.PAIR_INTERVAL_S, send.PAIR_BURST)
        self._started = Windows(math.inf, unknown_open=settings.unknown_windows_open)
        self._blocked: set[tuple[str, str]] = set()
        self.queries = Queries()
        start = int(ids.random_unit() * 1_000_000_000)
        self._message = self._update = start

    # ---- sending

    async def call(self, request: web.Request) -> web.StreamResponse:
        """`POST /bot{token}/{method}`."""
        bot, method = self._authorised(request.match_info["token"]), request.match_info["method"]
        if method.lower() == send.ANSWER_PRESS.lower():
            query = read_query(await request.read())
            self.queries.answer((bot.provider_account_id, query), clock.boot_s())
            return json_answer({"ok": True, "result": True})
        asked = read_send(method, await request.read())
        fault = self.faults.take(asked.to)
        answer = await suffer(request, fault, "before", self.fault_error)
        if answer is not None:
            return answer
        own = bot.provider_account_id
        if (own, asked.to) in self._blocked:
            raise BotError(403, "bot was blocked by the user")
        if not self._started.is_open(own, asked.to):
            raise BotError(400, "chat not found")
        if not self.rate.take(own) or (
            self.settings.pair_limit and not self._pairs.take(f"{own}/{asked.to}")
        ):
            return BotError(429, f"retry after {RETRY_AFTER_S:g}").response(RETRY_AFTER_S)
        result = self._accept(bot, asked)
        answer = await suffer(request, fault, "after", self.fault_error)
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
            "at": clock.to_text(now_ms),
            "id": wire.message_ref(asked.to, self._message),
            "account": bot.provider_account_id,
            **asked.said,
        }
        self.record.add(message)
        _, chat = wire.person_json(int(asked.to), None)
        sender = {"id": bot.provider_account_id, "is_bot": True, "first_name": "Bot"}
        return {
            "message_id": self._message,
            "from": sender,
            "chat": chat,
            "date": now_ms // wire.MS_PER_S,
            "text" if asked.said["type"] == "text" else "caption": asked.said["body"],
        }

    # ---- control

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """A person does something: sends the webhook and answers with its HTTP status."""
        body = await control_body(request)
        own = self.account_of(body)
        self._message += 1
        self._update += 1
        act = read_act(body, self._message)
        if act.kind == "my_chat_member":
            change = self._blocked.add if body["event"] == "blocked" else self._blocked.discard
            change((own, act.person))
        elif act.kind in _SPOKEN and "group_id" not in body:
            self._started.opened(own, act.person)
            self._blocked.discard((own, act.person))
        if act.kind == "callback_query":
            self.queries.open((own, act.item["id"]), clock.boot_s())
        status = await self.webhooks.send(wire.update_json(self._update, act.kind, act.item))
        return reported(status, id=act.id)

    # ---- as the control side wants it

    def recipient_key(self, text: str) -> str | None:
        """The id of a private chat."""
        found = wire.recipient(text)
        return found.value if found else None

    def error_of(self, code: int, details: str, *, http: int | None, subcode: int | None) -> BotError:
        """Telegram knows no subcodes."""
        return BotError(code, details, http=http)

    def check_status(self, status: Any) -> None:
        """None is one."""
        raise InvalidControl("statuses: Telegram reports none")

    def counts(self) -> JsonObject:
        """How many people have blocked a bot, and what became of their presses."""
        return {"blocked": len(self._blocked), "queries": self.queries.counts()}

    def clear(self, query: Mapping[str, str]) -> None:
        """The pairs' limits and presses too; `?chats=close` forgets who pressed Start or blocked the bot."""
        self._pairs.clear()
        self.queries = Queries()
        if query.get("chats") == "close":
            self._started.clear()
            self._blocked.clear()


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
    if "reaction" in body:
        return Act(found.value, "message_reaction", _reaction(body, user, chat, at_s), ref)
    if "event" in body:
        return Act(found.value, "my_chat_member", _membership(body, user, chat, at_s), ref)
    if "button" in body:
        pressed = {"id": str(given), "from": user, "chat_instance": "1", **_pressed(body, chat, given)}
        return Act(found.value, "callback_query", pressed, wire.press_ref(str(given)))
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
    caption = {"caption": body["caption"]} if isinstance(body.get("caption"), str) else {}
    if kind == "text":
        if not isinstance(body.get("text"), str):
            raise InvalidControl("text: what the person writes")
        return {"text": body["text"]}
    if not isinstance(kind, str):
        raise InvalidControl("type: a kind of message")
    part: Any = {"file_id": f"AgAD{kind}", "file_size": 3_134}
    part = [part, {"file_id": "AgADlarge", "file_size": 489_108}] if kind == "photo" else part
    return {kind: body.get("raw", part), **caption}


def _reaction(body: JsonObject, user: JsonObject, chat: JsonObject, at_s: int) -> JsonObject:
    given = wire.mapping(body["reaction"])
    if not _whole(given.get("message")) or not isinstance(given.get("emoji"), str):
        raise InvalidControl("reaction: message (a number), and emoji (empty: taken away), are needed")
    new = [{"type": "emoji", "emoji": given["emoji"]}] if given["emoji"] else []
    around = {"chat": chat, "message_id": given["message"], "user": user, "date": at_s}
    return {**around, "old_reaction": [], "new_reaction": new}


def _pressed(body: JsonObject, chat: JsonObject, given: int) -> JsonObject:
    button = control_choice(body, "button")
    keyboard = {"inline_keyboard": [[{"text": button["title"], "callback_data": button["id"]}]]}
    return {
        "data": button["id"],
        "message": {"message_id": given, "chat": chat, "date": 0, "reply_markup": keyboard},
    }


def _membership(body: JsonObject, user: JsonObject, chat: JsonObject, at_s: int) -> JsonObject:
    statuses = {"blocked": ("member", "kicked"), "unblocked": ("kicked", "member")}
    changed = statuses.get(str(body["event"]))
    if changed is None:
        raise InvalidControl("event: blocked or unblocked")
    bot = {"id": 1, "is_bot": True, "first_name": "Bot"}
    old, new = ({"user": bot, "status": status} for status in changed)
    return {"chat": chat, "from": user, "date": at_s, "old_chat_member": old, "new_chat_member": new}


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


async def serve(settings: SimulatorSettings) -> None:
    """Listen and serve until cancelled; `settings.ready` gets the base URL, which is the API's too."""
    simulator = BotSimulator(settings)
    routes = [
        web.post("/bot{token:[^/]+}/{method}", simulator.call),
        web.post("/control/inbound", simulator.inbound),
    ]
    await serve_provider(simulator, routes)
