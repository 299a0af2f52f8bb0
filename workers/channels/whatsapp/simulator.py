"""The Graph API as far as Sealpost uses it, with a control side; runs as a process of its own, for sandbox,
tests and benchmarks.

It obeys what the provider obeys: token, validation, service window, throughput, pair limit; it answers with
the provider's error bodies and reports statuses as signed webhooks. It keeps what it received in memory only,
and logs none of it. The control side is described in README.md.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from schemas import clock, ids
from workers import meta
from workers.channels.whatsapp import errors, wire
from workers.channels.whatsapp.simulated_sends import VALUE, GraphError, ReadMark, Send, read_request
from workers.inbound_values import JsonObject
from workers.simulated_provider import (
    ReportingProvider,
    control_body,
    control_choice,
    json_answer,
    reported,
    serve_provider,
)
from workers.simulation import (
    Fault,
    InvalidControl,
    RateLimit,
    Windows,
    suffer,
)
from workers.simulator import SimulatedAccount, SimulatorSettings

PAIR_PER_S, PAIR_BURST = 1 / 6, 45
STATUS_WORDS = ("sent", "delivered", "read", "played", "failed", "deleted")
OPENS_NO_WINDOW = frozenset(("system", "request_welcome", "reaction", "edit", "revoke"))
"""Types of what is no new message of the person. Of a reaction the provider does not say whether it opens one."""
_VERSION = r"v{version:\d+(?:\.\d+)?}"


class KnownMessages:
    """Messages that the provider knows: of which account, and who wrote them. They stand in it by a keyed hash only."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._key = ids.random_bytes(32)
        self._found: OrderedDict[bytes, tuple[str, bool]] = OrderedDict()

    def add(self, message: str, account: str, *, incoming: bool) -> None:
        """Remember one; the oldest goes when there are too many."""
        self._found[ids.keyed_hash(self._key, message)] = (account, incoming)
        if len(self._found) > self._kept:
            self._found.popitem(last=False)

    def find(self, message: str) -> tuple[str, bool] | None:
        """(account, whether the person wrote it); None for one that never was, or that was long ago."""
        return self._found.get(ids.keyed_hash(self._key, message))

    def clear(self) -> None:
        """Forget all."""
        self._found.clear()


class GraphSimulator(ReportingProvider):
    """The provider's side of one connection: its accounts, windows, limits, faults and reports."""

    def __init__(self, settings: SimulatorSettings) -> None:
        super().__init__(settings, meta.signer(settings.app_secret))
        self._pairs = RateLimit(PAIR_PER_S, PAIR_BURST)
        self._windows = Windows(settings.window_s, unknown_open=settings.unknown_windows_open)
        self._known = KnownMessages(settings.kept_messages)
        self._read: deque[JsonObject] = deque(maxlen=settings.kept_messages)

    # ---- sending

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """`POST /v{n}/{phone number id}/messages`."""
        account = self._authorised(request)
        asked = read_request(await request.read(), account.number)
        # A read mark names nobody, so it meets only faults that are for any request.
        fault = self.faults.take(asked.to if isinstance(asked, Send) else "")
        answer = await suffer(request, fault, "before", self.fault_error)
        if answer is not None:
            return answer
        taken = self._take(account, asked, fault) if isinstance(asked, Send) else self._mark(account, asked)
        answer = await suffer(request, fault, "after", self.fault_error)
        return json_answer(taken) if answer is None else answer

    def _take(self, account: SimulatedAccount, asked: Send, fault: Fault | None) -> JsonObject:
        self._check_limits(account, asked)
        if asked.answers is not None:
            self._check_known(account, asked.answers)
        provider_id = self._accept(account, asked, fault)
        contact = {"input": asked.to, "wa_id" if asked.to.isdigit() else "user_id": asked.to}
        message = {"id": provider_id} | ({"message_status": "accepted"} if asked.kind == "template" else {})
        return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]}

    def _mark(self, account: SimulatedAccount, asked: ReadMark) -> JsonObject:
        if not self._check_known(account, asked.message):
            raise GraphError(VALUE, "Only a message of the user can be marked as read.")
        at = clock.to_text(clock.now_ms())
        self._read.append({"id": asked.message, "account": account.provider_account_id, "at": at})
        return {"success": True}

    def _check_known(self, account: SimulatedAccount, message: str) -> bool:
        """Whether the person wrote it, or may have before this simulator started; GraphError where the account never had it."""
        own, incoming = self._known.find(message) or (None, True)
        if own == account.provider_account_id or (own is None and self.settings.unknown_windows_open):
            return incoming
        raise GraphError(VALUE, "The message_id is none of a message of this phone number.")

    def _authorised(self, request: web.Request) -> SimulatedAccount:
        account = self.accounts.get(request.match_info["account"])
        given = request.headers.get("Authorization", "")
        tokens = {f"Bearer {known.access_token}" for known in self.accounts.values()}
        if given not in tokens:
            raise GraphError(190, "Invalid OAuth access token.", subcode=467)
        if account is None or given != f"Bearer {account.access_token}":
            raise GraphError(
                100, "Object does not exist or cannot be loaded due to missing permissions.", subcode=33
            )
        return account

    def _check_limits(self, account: SimulatedAccount, asked: Send) -> None:
        own = account.provider_account_id
        if not self.rate.take(own):
            raise GraphError(130429, "Too many messages were sent from this phone number in a short time.")
        if self.settings.pair_limit and not self._pairs.take(f"{own}/{asked.to}"):
            raise GraphError(131056, "Too many messages were sent to this recipient in a short time.")
        if asked.kind == "template":
            return
        if not self._windows.is_open(own, asked.to):
            raise GraphError(131047, "More than 24 hours have passed since the recipient last replied.")

    def _accept(self, account: SimulatedAccount, asked: Send, fault: Fault | None) -> str:
        provider_id = wire.message_id(asked.to, outgoing=True)
        message: JsonObject = {
            "to": asked.to,
            "body": asked.body,
            "at": clock.to_text(clock.now_ms()),
            "id": provider_id,
            "type": asked.kind,
            "account": account.provider_account_id,
            **asked.shown,
        }
        if asked.answers is not None:
            message["in_reply_to"] = asked.answers
        if asked.echo is not None:
            message["biz_opaque_callback_data"] = asked.echo
        self._known.add(provider_id, account.provider_account_id, incoming=False)
        self.accept(message, fault)
        return provider_id

    # ---- reporting

    async def post_statuses(self, statuses: Mapping[str, list[JsonObject]]) -> int:
        """All in one webhook."""
        changes = [self._change(own, {"statuses": found}) for own, found in statuses.items()]
        return await self.webhooks.send(wire.webhook_json(changes))

    def wanted_of(self, body: JsonObject) -> JsonObject:
        """With the code of an error, for `failed`."""
        return {"status": body.get("status"), "code": body.get("code")}

    def _change(self, own: str, value: JsonObject, field: str = "messages") -> JsonObject:
        metadata = {"display_phone_number": self.accounts[own].number, "phone_number_id": own}
        around = {"messaging_product": "whatsapp", "metadata": metadata}
        return {"value": around | value, "field": field}

    # ---- control

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """A person writes: sends the webhook and answers with its HTTP status."""
        body = await control_body(request)
        own = self.account_of(body)
        message, contact = _inbound_message(body)
        people = [contact[key] for key in ("wa_id", "user_id") if key in contact]
        if body.get("hidden") is True:
            _hide_number(message, contact)
        self._known.add(message["id"], own, incoming=True)
        if "group_id" not in message and message["type"] not in OPENS_NO_WINDOW:
            age_s = max(0.0, clock.now_ms() / meta.MS_PER_S - int(message["timestamp"]))
            for person in people:
                self._windows.opened(own, person, age_s)
        value = {"contacts": [contact], "messages": [message]}
        status = await self.webhooks.send(wire.webhook_json([self._change(own, value)]))
        return reported(status, id=message["id"])

    async def echo(self, request: web.Request) -> web.StreamResponse:
        """Staff write to a person in the business app."""
        body = await control_body(request)
        own = self.account_of(body)
        person = wire.address(body.get("to"))
        if person is None:
            raise InvalidControl("to: a phone number or a business-scoped user id is needed")
        message: JsonObject = {
            "from": re.sub(r"\D", "", self.accounts[own].number),
            "to" if person.kind == "phone" else "to_user_id": person.value,
            "id": wire.message_id(person.value, outgoing=True),
            "timestamp": str(_at_s(body)),
            **_said(body),
        }
        self._known.add(message["id"], own, incoming=False)
        change = self._change(own, {"message_echoes": [message]}, "smb_message_echoes")
        status = await self.webhooks.send(wire.webhook_json([change]))
        return reported(status, id=message["id"])

    async def news(self, request: web.Request) -> web.StreamResponse:
        """The provider tells something: any field with any value, about a number when `account` names one."""
        body = await control_body(request)
        field, value = body.get("field"), body.get("value")
        if not isinstance(field, str) or not isinstance(value, dict):
            raise InvalidControl("field, value: a webhook field and its object")
        change = {"field": field, "value": value}
        if "account" in body:
            change = self._change(self.account_of(body), value, field)
        return reported(await self.webhooks.send(wire.webhook_json([change], _at_s(body))))

    async def read_marks(self, _: web.Request) -> web.StreamResponse:
        """What was marked as read, in order."""
        return json_answer({"reads": list(self._read), "count": len(self._read)})

    # ---- as the control side wants it

    def recipient_key(self, text: str) -> str | None:
        """Digits of a number, or a business-scoped user id."""
        found = wire.address(text)
        return found.value if found else None

    def error_of(self, code: int, details: str, *, http: int | None, subcode: int | None) -> GraphError:
        """With the provider's codes."""
        return GraphError(code, details, http=http, subcode=subcode)

    def check_status(self, status: Any) -> None:
        """A word, or `{"status", "code"}`."""
        word = status.get("status") if isinstance(status, dict) else status
        if word not in STATUS_WORDS:
            raise InvalidControl(f"status: one of {', '.join(STATUS_WORDS)}")

    def status_of(self, message: JsonObject, wanted: Any) -> JsonObject:
        """One status object; `wanted` is a word, or `{"status", "code"}` for `failed`."""
        word = wanted["status"] if isinstance(wanted, dict) else wanted
        error = None
        if word == "failed":
            code = (wanted.get("code") if isinstance(wanted, dict) else None) or 131026
            title = errors.CODES[code].note if code in errors.CODES else "error"
            details = {"details": "A failure asked for by a test."}
            error = {"code": code, "title": title, "message": title, "error_data": details}
        return wire.status_json(message, word, clock.now_ms() // meta.MS_PER_S, error)

    def clear(self, query: Mapping[str, str]) -> None:
        """The pairs' limits too; `?windows=close` closes every service window."""
        super().clear(query)
        self._pairs.clear()
        self._read.clear()
        if query.get("windows") == "close":
            self._windows.clear()
            self._known.clear()


# ---- pieces -------------------------------------------------------------------------------------------------------


def _at_s(body: JsonObject) -> int:
    at_s = body.get("at", clock.now_ms() // meta.MS_PER_S)
    if not isinstance(at_s, int) or isinstance(at_s, bool) or at_s < 0:
        raise InvalidControl("at: seconds since 1970")
    return at_s


def _inbound_message(body: JsonObject) -> tuple[JsonObject, JsonObject]:
    """(message, contact) of a control request."""
    person = wire.address(body.get("from"))
    if person is None:
        raise InvalidControl("from: a phone number or a business-scoped user id is needed")
    message: JsonObject = {
        "from": person.value,
        "id": str(body.get("id") or wire.message_id(person.value, outgoing=False)),
        "timestamp": str(_at_s(body)),
    }
    contact: JsonObject = {"wa_id": person.value} if person.kind == "phone" else {"user_id": person.value}
    if isinstance(body.get("name"), str):
        contact["profile"] = {"name": body["name"]}
    user_id = wire.address(body.get("user_id"))
    if user_id is not None and user_id.kind == "bsuid":
        contact["user_id"] = message["from_user_id"] = user_id.value
    context: JsonObject = {}
    if isinstance(body.get("reply_to"), str):
        context |= {"from": person.value, "id": body["reply_to"]}
    if body.get("forwarded") is True:
        context["forwarded"] = True
    if isinstance(body.get("referral"), dict):
        message["referral"] = body["referral"]
    if isinstance(body.get("group_id"), str):
        message["group_id"] = body["group_id"]
    return message | ({"context": context} if context else {}) | _said(body), contact


def _hide_number(message: JsonObject, contact: JsonObject) -> None:
    """As the provider writes of a person with a user name: only the user id is left."""
    if "user_id" not in contact:
        raise InvalidControl("hidden: a business-scoped user id is needed, as from or user_id")
    message.pop("from")
    contact.pop("wa_id", None)
    message["from_user_id"] = contact["user_id"]


def _said(body: JsonObject) -> JsonObject:
    """The part of a message that depends on its type; the first of the known members says which it is."""
    kind = body.get("type")
    if kind == "button":
        pressed = control_choice(body, "button")
        return {"type": "button", "button": {"text": pressed["title"], "payload": pressed["id"]}}
    for name, make in _KINDS.items():
        if name in body:
            return make(body)
    if kind in (None, "text"):
        return {"type": "text", "text": {"body": _part(body, "text", str)}}
    if not isinstance(kind, str):
        raise InvalidControl("type: a message type")
    return {"type": kind, kind: body.get("raw", {"id": "1000000000000001"})}


def _part(body: JsonObject, name: str, form: type) -> Any:
    found = body.get(name)
    if not isinstance(found, form):
        raise InvalidControl(
            f"{name}: {'text' if form is str else 'an object' if form is dict else 'a list'}"
        )
    return found


def _chosen(name: str, kind: str) -> Callable[[JsonObject], JsonObject]:
    return lambda body: {
        "type": "interactive",
        "interactive": {"type": kind, kind: control_choice(body, name)},
    }


def _file(body: JsonObject) -> JsonObject:
    given = body["media"] if isinstance(body["media"], dict) else {"kind": body["media"]}
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in wire.MEDIA_TYPES:
        raise InvalidControl(f"media: one of {', '.join(wire.MEDIA_TYPES)}, or an object with such a kind")
    more = {key: part for key, part in given.items() if key != "kind"}
    return {"type": kind, kind: {"id": ids.random_id(), "mime_type": "application/octet-stream", **more}}


def _about(name: str, key: str) -> Callable[[JsonObject], JsonObject]:
    """What is about a message: `{"message_id", …}`; its id stands under `key`."""

    def make(body: JsonObject) -> JsonObject:
        given = dict(_part(body, name, dict))
        target = given.pop("message_id", None)
        if not isinstance(target, str) or not target:
            raise InvalidControl(f"{name}: message_id is needed")
        if name == "edit":
            given = {"message": _said(given)}
        return {"type": name, name: {key: target, **given}}

    return make


def _form(body: JsonObject) -> JsonObject:
    given = _part(body, "flow", dict)
    answers = orjson.dumps(given.get("answers", {})).decode()
    reply = {"name": given.get("name", "flow"), "body": "Sent", "response_json": answers}
    return {"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": reply}}


def _cards(body: JsonObject) -> JsonObject:
    asked_for = {"origin": "contact_request"} if body.get("contact_request") is True else {}
    return {"type": "contacts", "contacts": _part(body, "contacts", list), **asked_for}


def _moved(body: JsonObject) -> JsonObject:
    new = wire.address(body["moves_to"])
    if new is None:
        raise InvalidControl("moves_to: a phone number or a business-scoped user id")
    of = {"phone": ("user_changed_number", "wa_id"), "bsuid": ("user_changed_user_id", "user_id")}
    word, key = of[new.kind]
    said = f"User changed from {body.get('from')} to {new.value}"
    return {"type": "system", "system": {"type": word, "body": said, key: new.value}}


_KINDS: Mapping[str, Callable[[JsonObject], JsonObject]] = {
    "button": _chosen("button", "button_reply"),
    "list": _chosen("list", "list_reply"),
    "media": _file,
    "location": lambda body: {"type": "location", "location": _part(body, "location", dict)},
    "contacts": _cards,
    "order": lambda body: {"type": "order", "order": _part(body, "order", dict)},
    "flow": _form,
    "reaction": _about("reaction", "message_id"),
    "edit": _about("edit", "original_message_id"),
    "revoke": _about("revoke", "original_message_id"),
    "moves_to": _moved,
}
"""Member of a control request → how the provider writes it."""


async def serve(settings: SimulatorSettings) -> None:
    """Listen and serve until cancelled; `settings.ready` gets the base URL (`…/v25.0` below it is the
    API).
    """
    simulator = GraphSimulator(settings)
    routes = [
        web.post(f"/{_VERSION}/{{account}}/messages", simulator.messages),
        web.post("/control/inbound", simulator.inbound),
        web.post("/control/echo", simulator.echo),
        web.post("/control/news", simulator.news),
        web.get("/control/reads", simulator.read_marks),
    ]
    await serve_provider(simulator, routes)
