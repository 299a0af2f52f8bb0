"""The Send API as far as Sealpost uses it, with a control side; runs as a process of its own, for sandbox,
tests and benchmarks.

It obeys what the provider obeys: token, validation, service window, throughput; it answers with the
provider's error bodies and reports echoes, deliveries and reads as signed webhooks. It keeps what it received
in memory only, and logs none of it. The control side is described in README.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from schemas import clock, ids
from workers import meta
from workers.channels.messenger import errors, send, wire
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
    Windows,
    suffer,
)
from workers.simulator import SimulatedAccount, SimulatorSettings

STATUS_WORDS = ("sent", "delivered", "read")
MESSAGING_TYPES = ("RESPONSE", "UPDATE")
_VERSION = r"v{version:\d+(?:\.\d+)?}"


class SendError(ProviderError):
    """The simulated API answers with an error body; `details` never quotes the request."""

    def __init__(
        self, code: int, details: str, *, http: int | None = None, subcode: int | None = None
    ) -> None:
        super().__init__(f"({code}) {details}")
        self.code, self.details, self.subcode = code, details, subcode
        self.http = http or meta.rule_of(errors.CODES, errors.SUBCODES, self._error(), None).http

    def _error(self) -> JsonObject:
        subcode = {} if self.subcode is None else {"error_subcode": self.subcode}
        return {"code": self.code, **subcode}

    def response(self, retry_after_s: float | None = None) -> web.Response:
        """The provider's answer, with a usage header when a wait is named."""
        words = {"message": f"(#{self.code}) {self.details}", "type": "OAuthException"}
        error = words | self._error() | {"fbtrace_id": ids.random_id()}
        answer = json_answer({"error": error}, self.http)
        if retry_after_s is not None:
            minutes = math.ceil(retry_after_s / meta.S_PER_MINUTE)
            usage = {"type": "messenger", "call_count": 100, "estimated_time_to_regain_access": minutes}
            answer.headers["X-Business-Use-Case-Usage"] = orjson.dumps({"1": [usage]}).decode()
            answer.headers["Retry-After"] = f"{retry_after_s:g}"
        return answer


@dataclass(frozen=True, slots=True)
class Send:
    """A request to send that passed validation."""

    to: str
    body: str
    metadata: str | None


def read_send(raw: bytes) -> Send:
    """Validate a send request as the API does; raises SendError."""
    try:
        body = meta.mapping(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise SendError(100, "The body is not valid JSON.") from None
    to = meta.mapping(body.get("recipient")).get("id")
    if not isinstance(to, str) or _person(to) != to:
        raise SendError(100, "The parameter recipient is required.")
    if body.get("messaging_type") == "MESSAGE_TAG":
        raise SendError(100, "This message tag is no longer supported.")
    if body.get("messaging_type") not in MESSAGING_TYPES:
        raise SendError(100, "Param messaging_type must be one of {RESPONSE, UPDATE, MESSAGE_TAG}.")
    message = meta.mapping(body.get("message"))
    text, metadata = message.get("text"), message.get("metadata")
    if not isinstance(text, str) or not text.strip():
        raise SendError(100, "Param message must be non-empty; the simulator takes text.")
    if len(text) > send.TEXT_MAX_CHARACTERS:
        raise SendError(100, "Length of param message[text] must be less than or equal to 2000.")
    if metadata is not None and (
        not isinstance(metadata, str) or len(metadata) > send.METADATA_MAX_CHARACTERS
    ):
        raise SendError(100, "Param message[metadata] must be text of at most 1000 characters.")
    return Send(to, text, metadata)


class SendSimulator(ReportingProvider):
    """The provider's side of one connection: its pages, windows, limits, faults and reports."""

    def __init__(self, settings: SimulatorSettings) -> None:
        super().__init__(settings, meta.signer(settings.app_secret))
        self._windows = Windows(settings.window_s, unknown_open=settings.unknown_windows_open)

    # ---- sending

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """`POST /v{n}/{page id}/messages`, or `me` in place of the id."""
        account = self._authorised(request)
        asked = read_send(await request.read())
        fault = self.faults.take(asked.to)
        answer = await suffer(request, fault, "before", self.fault_error)
        if answer is not None:
            return answer
        if not self.rate.take(account.provider_account_id):
            raise SendError(613, "Calls to this api have exceeded the rate limit.")
        if not self._windows.is_open(account.provider_account_id, asked.to):
            code, subcode = errors.OUTSIDE_WINDOW
            raise SendError(code, "This message is sent outside of allowed window.", subcode=subcode)
        provider_id = self._accept(account, asked, fault)
        answer = await suffer(request, fault, "after", self.fault_error)
        if answer is not None:
            return answer
        return json_answer({"recipient_id": asked.to, "message_id": provider_id})

    def _authorised(self, request: web.Request) -> SimulatedAccount:
        given = request.headers.get("Authorization", "")
        owner = next((a for a in self.accounts.values() if given == f"Bearer {a.access_token}"), None)
        if owner is None:
            raise SendError(190, "Invalid OAuth access token.")
        if request.match_info["account"] not in ("me", owner.provider_account_id):
            raise SendError(
                100, "Object does not exist or cannot be loaded due to missing permissions.", subcode=33
            )
        return owner

    def _accept(self, account: SimulatedAccount, asked: Send, fault: Fault | None) -> str:
        message: JsonObject = {
            "to": asked.to,
            "body": asked.body,
            "at": clock.to_text(clock.now_ms()),
            "id": wire.message_id(),
            "type": "text",
            "account": account.provider_account_id,
        }
        if asked.metadata is not None:
            message["metadata"] = asked.metadata
        self.accept(message, fault)
        provider_id: str = message["id"]
        return provider_id

    # ---- reporting

    def status_of(self, message: JsonObject, wanted: str) -> tuple[JsonObject, str]:
        """Both as they are: the element gets the time at which it is reported."""
        return message, wanted

    async def post_statuses(self, statuses: Mapping[str, list[tuple[JsonObject, str]]]) -> int:
        """A webhook for each page."""
        now_ms, last = clock.now_ms(), 0
        for own, found in statuses.items():
            elements = [wire.status_json(message, word, now_ms) for message, word in found]
            last = await self.webhooks.send(wire.webhook_json(own, elements, now_ms))
        return last

    # ---- control

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """A person writes: sends the webhook and answers with its HTTP status."""
        body = await control_body(request)
        own = self.account_of(body)
        now_ms = clock.now_ms()
        element = _inbound_element(body, own, now_ms)
        person = wire.party(element, "sender")
        self._windows.opened(own, person, max(0.0, (now_ms - element["timestamp"]) / meta.MS_PER_S))
        status = await self.webhooks.send(wire.webhook_json(own, [element], now_ms))
        provider_id = meta.mapping(element.get("message", element.get("postback"))).get("mid")
        return reported(status, id=provider_id)

    # ---- as the control side wants it

    def recipient_key(self, text: str) -> str | None:
        """A page-scoped id."""
        return _person(text)

    def error_of(self, code: int, details: str, *, http: int | None, subcode: int | None) -> SendError:
        """With the provider's codes."""
        return SendError(code, details, http=http, subcode=subcode)

    def check_status(self, status: Any) -> None:
        """A word."""
        if status not in STATUS_WORDS:
            raise InvalidControl(f"status: one of {', '.join(STATUS_WORDS)}")

    def clear(self, query: Mapping[str, str]) -> None:
        """`?windows=close` closes every service window too."""
        super().clear(query)
        if query.get("windows") == "close":
            self._windows.clear()


# ---- pieces -------------------------------------------------------------------------------------------------------


def _inbound_element(body: JsonObject, own: str, now_ms: int) -> JsonObject:
    """The element of a control request."""
    person = _person(str(body.get("from", "")))
    if person is None:
        raise InvalidControl("from: a page-scoped id (digits) is needed")
    at_s = body.get("at")
    if at_s is not None and (not isinstance(at_s, int) or isinstance(at_s, bool) or at_s < 0):
        raise InvalidControl("at: seconds since 1970")
    at_ms = now_ms if at_s is None else at_s * meta.MS_PER_S
    return {"sender": {"id": person}, "recipient": {"id": own}, "timestamp": at_ms} | _said(body)


def _said(body: JsonObject) -> JsonObject:
    mid = {"mid": str(body.get("id") or wire.message_id())}
    referral = {"referral": _referral(body["ref"])} if "ref" in body else {}
    if isinstance(body.get("type"), str):
        return {body["type"]: body.get("raw", {})}
    if "button" in body:
        pressed = control_choice(body, "button")
        return {"postback": {**mid, "title": pressed["title"], "payload": pressed["id"], **referral}}
    if "quick_reply" in body:
        pressed = control_choice(body, "quick_reply")
        return {"message": {**mid, "text": pressed["title"], "quick_reply": {"payload": pressed["id"]}}}
    if "text" not in body and referral:
        return referral
    if not isinstance(body.get("text"), str):
        raise InvalidControl("text: what the person writes")
    answered = {"reply_to": {"mid": body["reply_to"]}} if isinstance(body.get("reply_to"), str) else {}
    return {"message": {**mid, "text": body["text"], **answered, **referral}}


def _referral(ref: Any) -> JsonObject:
    if not isinstance(ref, str):
        raise InvalidControl("ref: what the link carried")
    return {"ref": ref, "source": "SHORTLINK", "type": "OPEN_THREAD"}


def _person(text: str) -> str | None:
    found = wire.address(text)
    return found.value if found else None


async def serve(settings: SimulatorSettings) -> None:
    """Listen and serve until cancelled; `settings.ready` gets the base URL (`…/v25.0` below it is the
    API).
    """
    simulator = SendSimulator(settings)
    routes = [
        web.post(f"/{_VERSION}/{{account}}/messages", simulator.messages),
        web.post("/control/inbound", simulator.inbound),
    ]
    await serve_provider(simulator, routes)
