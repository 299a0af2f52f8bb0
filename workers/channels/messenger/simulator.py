"""The Send API as far as Sealpost uses it, with a control side; runs as a process of its own, for sandbox,
tests and benchmarks.

It obeys what the provider obeys: token, validation, service window, throughput; it answers with the
provider's error bodies and reports echoes, deliveries and reads as signed webhooks. It keeps what it received
in memory only, and logs none of it. The control side is described in README.md.
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from schemas import clock, ids
from workers import meta
from workers.channel import JsonObject, SimulatedAccount, SimulatorSettings
from workers.channels.messenger import errors, send, wire
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
    control_choice,
    json_answer,
    serve_application,
    suffer,
)

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
    if not isinstance(to, str) or _recipient_key(to) != to:
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


class SendSimulator:
    """The provider's side of one connection: its pages, windows, limits, faults and reports."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.accounts = {account.provider_account_id: account for account in settings.accounts}
        self.record = MessageRecord(settings.kept_messages)
        self.faults = Faults()
        self.report: tuple[Any, ...] = settings.statuses
        self.webhooks = Webhooks(
            settings.webhook_url,
            lambda body: {"X-Hub-Signature-256": meta.signature(settings.app_secret, body)},
            first_s=settings.retry_first_s,
            max_s=settings.retry_max_s,
        )
        self._rate = RateLimit(settings.rate_per_s, settings.rate_per_s)
        self._windows = Windows(settings.window_s, unknown_open=settings.unknown_windows_open)
        self._statuses: deque[tuple[JsonObject, str]] = deque(maxlen=settings.kept_messages * 3)
        self._wanted = asyncio.Event()

    # ---- sending

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """`POST /v{n}/{page id}/messages`, or `me` in place of the id."""
        account = self._authorised(request)
        asked = read_send(await request.read())
        fault = self.faults.take(asked.to)
        answer = await suffer(request, fault, "before", _fault_error)
        if answer is not None:
            return answer
        if not self._rate.take(account.provider_account_id):
            raise SendError(613, "Calls to this api have exceeded the rate limit.")
        if not self._windows.is_open(account.provider_account_id, asked.to):
            code, subcode = errors.OUTSIDE_WINDOW
            raise SendError(code, "This message is sent outside of allowed window.", subcode=subcode)
        provider_id = self._accept(account, asked, fault)
        answer = await suffer(request, fault, "after", _fault_error)
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
        self.record.add(message)
        for word in self.report if fault is None or fault.statuses is None else fault.statuses:
            self._statuses.append((message, word))
        self._wanted.set()
        provider_id: str = message["id"]
        return provider_id

    # ---- reporting

    async def report_statuses(self) -> None:
        """Post what there is to report, in order, several elements in one webhook; runs until cancelled."""
        while True:
            if not self._statuses:
                self._wanted.clear()
                await self._wanted.wait()
            await self.webhooks.calm()
            now_ms = clock.now_ms()
            batch: dict[str, list[JsonObject]] = {}
            for _ in range(min(self.settings.status_batch, len(self._statuses))):
                message, word = self._statuses.popleft()
                batch.setdefault(message["account"], []).append(wire.status_json(message, word, now_ms))
            for own, elements in batch.items():
                await self.webhooks.send(wire.webhook_json(own, elements, now_ms))

    # ---- control

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """A person writes: sends the webhook and answers with its HTTP status."""
        body = await control_body(request)
        own = str(body.get("account", next(iter(self.accounts), "")))
        if own not in self.accounts:
            raise InvalidControl("account: the simulator has none of this id")
        now_ms = clock.now_ms()
        element = _inbound_element(body, own, now_ms)
        person = wire.party(element, "sender")
        self._windows.opened(own, person, max(0.0, (now_ms - element["timestamp"]) / meta.MS_PER_S))
        status = await self.webhooks.send(wire.webhook_json(own, [element], now_ms))
        provider_id = meta.mapping(element.get("message", element.get("postback"))).get("mid")
        return json_answer({"id": provider_id, "status": status}, status if 200 <= status < 600 else 502)

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
        return json_answer({"active": self.faults.apply(body, _recipient_key, _check_status)})

    async def set_report(self, request: web.Request) -> web.StreamResponse:
        """Which statuses are reported from now on, in which order; [] withholds them."""
        wanted = (await control_body(request)).get("report")
        if not isinstance(wanted, list):
            raise InvalidControl("report: a list of statuses")
        for status in wanted:
            _check_status(status)
        self.report = tuple(wanted)
        return json_answer({"report": wanted})

    async def send_status(self, request: web.Request) -> web.StreamResponse:
        """Report one status of one accepted message now; answers with the webhook's HTTP status."""
        body = await control_body(request)
        found = next((m for m in self.record.messages() if m["id"] == body.get("id")), None)
        if found is None:
            raise InvalidControl("id: no message of this id was accepted")
        _check_status(body.get("status"))
        now_ms = clock.now_ms()
        element = wire.status_json(found, body["status"], now_ms)
        status = await self.webhooks.send(wire.webhook_json(found["account"], [element], now_ms))
        return json_answer({"status": status}, status if 200 <= status < 600 else 502)

    async def state(self, request: web.Request) -> web.StreamResponse:
        """Counts, nothing personal."""
        messages, waiting = len(self.record.messages()), len(self._statuses)
        return json_answer(
            {"messages": messages, "statuses_waiting": waiting, "webhooks": self.webhooks.counts()}
        )

    async def forget(self, request: web.Request) -> web.StreamResponse:
        """Forget messages, faults, reports and repeats; `?windows=close` closes every service window too."""
        self.record.clear()
        self.faults.clear()
        self.webhooks.clear()
        self._statuses.clear()
        self._rate.clear()
        self.report = self.settings.statuses
        if request.query.get("windows") == "close":
            self._windows.clear()
        return web.Response(status=204)


# ---- pieces -------------------------------------------------------------------------------------------------------


def _fault_error(fault: Fault) -> web.Response:
    error = fault.error or {}
    if "code" not in error:
        return web.Response(status=error["http"])
    details = error.get("details", "A fault asked for by a test.")
    asked = SendError(error["code"], details, http=error.get("http"), subcode=error.get("subcode"))
    return asked.response(fault.retry_after_s)


def _inbound_element(body: JsonObject, own: str, now_ms: int) -> JsonObject:
    """The element of a control request."""
    person = _recipient_key(str(body.get("from", "")))
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


def _check_status(status: Any) -> None:
    if status not in STATUS_WORDS:
        raise InvalidControl(f"status: one of {', '.join(STATUS_WORDS)}")


def _recipient_key(text: str) -> str | None:
    found = wire.address(text)
    return found.value if found else None


# ---- the application ----------------------------------------------------------------------------------------------


def create_app(settings: SimulatorSettings) -> web.Application:
    """The simulator as an application; its background work runs while the application does."""
    simulator = SendSimulator(settings)
    routes = [
        web.post(f"/{_VERSION}/{{account}}/messages", simulator.messages),
        web.post("/control/inbound", simulator.inbound),
        web.get("/control/messages", simulator.list_messages),
        web.post("/control/faults", simulator.add_fault),
        web.put("/control/statuses", simulator.set_report),
        web.post("/control/statuses", simulator.send_status),
        web.get("/control/state", simulator.state),
        web.delete("/control", simulator.forget),
    ]
    return application(routes, simulator.webhooks, simulator.report_statuses)


async def serve(settings: SimulatorSettings) -> None:
    """Listen and serve until cancelled; `settings.ready` gets the base URL (`…/v25.0` below it is the
    API).
    """
    await serve_application(create_app(settings), settings)
