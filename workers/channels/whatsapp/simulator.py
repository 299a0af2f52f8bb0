"""The Graph API as far as Sealpost uses it, with a control side; runs as a process of its own, for sandbox,
tests and benchmarks.

It obeys what the provider obeys: token, validation, service window, throughput, pair limit; it answers with
the provider's error bodies and reports statuses as signed webhooks. It keeps what it received in memory only,
and logs none of it. The control side is described in README.md.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from schemas import clock, ids
from workers import meta
from workers.channels.whatsapp import errors, send, wire
from workers.inbound_values import JsonObject
from workers.simulated_provider import (
    ProviderError,
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

ECHO_MAX_CHARACTERS = 512
PAIR_PER_S, PAIR_BURST = 1 / 6, 45
STATUS_WORDS = ("sent", "delivered", "read", "played", "failed", "deleted")
_VERSION = r"v{version:\d+(?:\.\d+)?}"


class GraphError(ProviderError):
    """The simulated API answers with an error body; `details` quotes the request only where a test asks for that."""

    def __init__(
        self, code: int, details: str, *, http: int | None = None, subcode: int | None = None
    ) -> None:
        super().__init__(f"({code}) {details}")
        self.code, self.details, self.subcode = code, details, subcode
        self.http = http or (errors.CODES[code].http if code in errors.CODES else 400)

    def response(self, retry_after_s: float | None = None) -> web.Response:
        """The provider's answer, with a usage header when a wait is named."""
        title = errors.CODES[self.code].note if self.code in errors.CODES else "error"
        body: JsonObject = {
            "message": f"(#{self.code}) {title}",
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": ids.random_id(),
        }
        if self.subcode is not None:
            body["error_subcode"] = self.subcode
        answer = json_answer({"error": body}, self.http)
        if retry_after_s is not None:
            minutes = math.ceil(retry_after_s / meta.S_PER_MINUTE)
            usage = [{"type": "messaging", "call_count": 100, "estimated_time_to_regain_access": minutes}]
            answer.headers["X-Business-Use-Case-Usage"] = orjson.dumps(
                {wire.BUSINESS_ACCOUNT_ID: usage}
            ).decode()
            answer.headers["Retry-After"] = f"{retry_after_s:g}"
        return answer


@dataclass(frozen=True, slots=True)
class Send:
    """A request to send that passed validation; `to` is digits or a business-scoped user id."""

    to: str
    kind: str
    body: str
    template: JsonObject | None
    echo: str | None


def read_send(raw: bytes, own_number: str) -> Send:
    """Validate a send request as the API does; raises GraphError."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise GraphError(100, "The body is not valid JSON.") from None
    if not isinstance(body, dict) or body.get("messaging_product") != "whatsapp":
        raise GraphError(100, "The parameter messaging_product is required.")
    to = _recipient(body)
    if to == re.sub(r"\D", "", own_number):
        raise GraphError(131021, "Recipient phone number cannot be sender phone number.")
    echo = body.get("biz_opaque_callback_data")
    if echo is not None and (not isinstance(echo, str) or len(echo) > ECHO_MAX_CHARACTERS):
        raise GraphError(100, "Parameter biz_opaque_callback_data must be text of at most 512 characters.")
    kind = body.get("type", "text")
    if kind == "text":
        return Send(to, kind, _text(body), None, echo)
    if kind == "template":
        template = _template(body)
        return Send(to, kind, " ".join([template["name"], *template["variables"]]), template, echo)
    raise GraphError(131051, "The simulator takes text and template.")


def _recipient(body: JsonObject) -> str:
    given = body.get("to") if body.get("to") is not None else body.get("recipient")
    if given is None:
        raise GraphError(100, "The parameter to is required.")
    found = wire.address(given)
    if found is None or (body.get("to") is not None) != (found.kind == "phone"):
        raise GraphError(131009, "Parameter to must be a phone number, recipient a business-scoped user ID.")
    return found.value


def _text(body: JsonObject) -> str:
    text = meta.mapping(body.get("text")).get("body")
    if not isinstance(text, str) or not text.strip():
        raise GraphError(100, "The parameter text['body'] is required.")
    if len(text) > send.TEXT_MAX_CHARACTERS:
        raise GraphError(100, "Param text['body'] must be at most 4096 characters long.")
    return text


def _template(body: JsonObject) -> JsonObject:
    template = meta.mapping(body.get("template"))
    name, language = template.get("name"), meta.mapping(template.get("language")).get("code")
    if not isinstance(name, str) or not name or not isinstance(language, str) or not language:
        raise GraphError(131008, "Template name and language code are required.")
    components = template.get("components", [])
    if not isinstance(components, list):
        raise GraphError(132012, "Template components must be a list.")
    variables: list[str] = []
    for component in components:
        parameters = meta.mapping(component).get("parameters", [])
        for parameter in parameters if isinstance(parameters, list) else [None]:
            text = meta.mapping(parameter).get("text")
            if not isinstance(text, str):
                raise GraphError(132012, "A template parameter must have a text.")
            variables.append(text)
    return {"name": name, "language": language, "variables": variables, "components": components}


class GraphSimulator(ReportingProvider):
    """The provider's side of one connection: its accounts, windows, limits, faults and reports."""

    def __init__(self, settings: SimulatorSettings) -> None:
        super().__init__(settings, meta.signer(settings.app_secret))
        self._pairs = RateLimit(PAIR_PER_S, PAIR_BURST)
        self._windows = Windows(settings.window_s, unknown_open=settings.unknown_windows_open)

    # ---- sending

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """`POST /v{n}/{phone number id}/messages`."""
        account = self._authorised(request)
        raw = await request.read()
        read_receipt = _read_receipt(raw)
        if read_receipt is not None:
            return read_receipt
        asked = read_send(raw, account.number)
        fault = self.faults.take(asked.to)
        answer = await suffer(request, fault, "before", self.fault_error)
        if answer is not None:
            return answer
        self._check_limits(account, asked)
        provider_id = self._accept(account, asked, fault)
        answer = await suffer(request, fault, "after", self.fault_error)
        if answer is not None:
            return answer
        contact = {"input": asked.to, "wa_id" if asked.to.isdigit() else "user_id": asked.to}
        message = {"id": provider_id} | ({"message_status": "accepted"} if asked.kind == "template" else {})
        return json_answer({"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]})

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
        }
        if asked.template is not None:
            message["template"] = asked.template
        if asked.echo is not None:
            message["biz_opaque_callback_data"] = asked.echo
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

    def _change(self, own: str, value: JsonObject) -> JsonObject:
        metadata = {"display_phone_number": self.accounts[own].number, "phone_number_id": own}
        around = {"messaging_product": "whatsapp", "metadata": metadata}
        return {"value": around | value, "field": "messages"}

    # ---- control

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """A person writes: sends the webhook and answers with its HTTP status."""
        body = await control_body(request)
        own = self.account_of(body)
        message, contact = _inbound_message(body)
        if "group_id" not in message:
            age_s = max(0.0, clock.now_ms() / meta.MS_PER_S - int(message["timestamp"]))
            for key in ("wa_id", "user_id"):
                if key in contact:
                    self._windows.opened(own, contact[key], age_s)
        value = {"contacts": [contact], "messages": [message]}
        status = await self.webhooks.send(wire.webhook_json([self._change(own, value)]))
        return reported(status, id=message["id"])

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
        if query.get("windows") == "close":
            self._windows.clear()


# ---- pieces -------------------------------------------------------------------------------------------------------


def _read_receipt(raw: bytes) -> web.Response | None:
    """The answer to a mark-as-read or typing request, None when it is none."""
    if b'"status"' not in raw or b'"message_id"' not in raw:
        return None
    try:
        body = meta.mapping(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return None
    return json_answer({"success": True}) if body.get("status") == "read" and "type" not in body else None


def _inbound_message(body: JsonObject) -> tuple[JsonObject, JsonObject]:
    """(message, contact) of a control request."""
    person = wire.address(body.get("from"))
    if person is None:
        raise InvalidControl("from: a phone number or a business-scoped user id is needed")
    at_s = body.get("at", clock.now_ms() // meta.MS_PER_S)
    if not isinstance(at_s, int) or isinstance(at_s, bool) or at_s < 0:
        raise InvalidControl("at: seconds since 1970")
    message: JsonObject = {
        "from": person.value,
        "id": str(body.get("id") or wire.message_id(person.value, outgoing=False)),
        "timestamp": str(at_s),
    }
    contact: JsonObject = {"wa_id": person.value} if person.kind == "phone" else {"user_id": person.value}
    if isinstance(body.get("name"), str):
        contact["profile"] = {"name": body["name"]}
    user_id = wire.address(body.get("user_id"))
    if user_id is not None and user_id.kind == "bsuid":
        contact["user_id"] = message["from_user_id"] = user_id.value
    if isinstance(body.get("reply_to"), str):
        message["context"] = {"from": person.value, "id": body["reply_to"]}
    if isinstance(body.get("group_id"), str):
        message["group_id"] = body["group_id"]
    return message | _said(body), contact


def _said(body: JsonObject) -> JsonObject:
    kind = body.get("type")
    if kind == "button":
        pressed = control_choice(body, "button")
        return {"type": "button", "button": {"text": pressed["title"], "payload": pressed["id"]}}
    if "button" in body:
        return {
            "type": "interactive",
            "interactive": {"type": "button_reply", "button_reply": control_choice(body, "button")},
        }
    if "list" in body:
        return {
            "type": "interactive",
            "interactive": {"type": "list_reply", "list_reply": control_choice(body, "list")},
        }
    if kind in (None, "text"):
        if not isinstance(body.get("text"), str):
            raise InvalidControl("text: what the person writes")
        return {"type": "text", "text": {"body": body["text"]}}
    if not isinstance(kind, str):
        raise InvalidControl("type: a message type")
    return {"type": kind, kind: body.get("raw", {"id": "1000000000000001"})}


async def serve(settings: SimulatorSettings) -> None:
    """Listen and serve until cancelled; `settings.ready` gets the base URL (`…/v25.0` below it is the
    API).
    """
    simulator = GraphSimulator(settings)
    routes = [
        web.post(f"/{_VERSION}/{{account}}/messages", simulator.messages),
        web.post("/control/inbound", simulator.inbound),
    ]
    await serve_provider(simulator, routes)
