"""Meta's Send API as far as Sealpost uses it, with a control side; runs as a process of its own, for sandbox,
tests and benchmarks.

It obeys what the provider obeys: token, validation, service window, throughput; it answers with the
provider's error bodies and reports echoes, deliveries and reads as signed webhooks. It keeps what it received
in memory only, and logs none of it. The control side is described in `workers/channels/messenger/README.md`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from schemas import clock, ids
from workers import meta
from workers.inbound_values import JsonObject
from workers.meta_messaging import errors, send, wire
from workers.meta_messaging.acts import read_act
from workers.meta_messaging.platform import Platform
from workers.simulated_provider import (
    ProviderError,
    ReportingProvider,
    control_body,
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

MESSAGING_TYPES = ("RESPONSE", "UPDATE")
SENDER_ACTIONS = (send.MARK_SEEN, "typing_on", "typing_off")
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


# ---- what is asked for --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """A request that passed validation. `action`: a sender action, then it is no message. `said`: what the record shows of a
    message beside who gets it."""

    to: str
    action: str | None = None
    said: JsonObject = field(default_factory=dict)


def read_send(platform: Platform, raw: bytes) -> Send:
    """Validate a send request as the API does; raises SendError."""
    try:
        body = meta.mapping(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise SendError(100, "The body is not valid JSON.") from None
    to = meta.mapping(body.get("recipient")).get("id")
    found = wire.address(platform, to) if isinstance(to, str) else None
    if found is None or found.value != to:
        raise SendError(100, "The parameter recipient is required.")
    if "sender_action" in body:
        if "message" in body or body["sender_action"] not in SENDER_ACTIONS:
            raise SendError(
                100, f"Param sender_action must be one of {{{', '.join(SENDER_ACTIONS)}}}, alone."
            )
        return Send(found.value, body["sender_action"])
    if body.get("messaging_type") == "MESSAGE_TAG":
        raise SendError(100, "This message tag is no longer supported.")
    if body.get("messaging_type") not in MESSAGING_TYPES:
        raise SendError(100, "Param messaging_type must be one of {RESPONSE, UPDATE, MESSAGE_TAG}.")
    message = meta.mapping(body.get("message"))
    said = _content(platform, message) | _metadata(message.get("metadata"))
    if "reply_to" in body:
        mid = meta.mapping(body["reply_to"]).get("mid")
        if not platform.replies or not isinstance(mid, str) or not mid:
            raise SendError(100, "Param reply_to[mid] must be a message of this conversation.")
        said["reply_to"] = mid
    return Send(found.value, said=said)


def _metadata(metadata: object) -> JsonObject:
    if metadata is None:
        return {}
    if not isinstance(metadata, str) or len(metadata) > send.METADATA_MAX_CHARACTERS:
        raise SendError(100, "Param message[metadata] must be text of at most 1000 characters.")
    return {"metadata": metadata}


def _content(platform: Platform, message: Mapping[str, Any]) -> JsonObject:
    """A text, with quick replies or without, or one file."""
    if "attachment" in message:
        return _file(platform, message)
    text = message.get("text")
    if not isinstance(text, str) or not text.strip():
        raise SendError(100, "Param message must be non-empty: text or attachment.")
    if platform.length(text) > platform.text_max:
        limit = f"{platform.text_max} {platform.text_unit}"
        raise SendError(100, f"Length of param message[text] must be less than or equal to {limit}.")
    if "quick_replies" not in message:
        return {"type": "text", "body": text}
    return {"type": "quick_replies", "body": text, "buttons": _buttons(message["quick_replies"])}


def _file(platform: Platform, message: Mapping[str, Any]) -> JsonObject:
    attachment = meta.mapping(message["attachment"])
    url = meta.mapping(attachment.get("payload")).get("url")
    if "text" in message:
        raise SendError(100, "Param message must have either text or attachment, not both.")
    if attachment.get("type") not in platform.media.values():
        raise SendError(100, "Param message[attachment][type] is not supported.")
    if wire.web_link(url) is None:
        raise SendError(100, "Param message[attachment][payload][url] should represent a valid URL.")
    return {"type": attachment["type"], "body": "", "url": url}


def _buttons(given: object) -> list[JsonObject]:
    if not isinstance(given, list) or not 1 <= len(given) <= send.QUICK_REPLIES_MAX:
        raise SendError(100, "Param message[quick_replies] must have 1 to 13 elements.")
    found = []
    for reply in map(meta.mapping, given):
        title, payload = reply.get("title"), reply.get("payload")
        if reply.get("content_type") != "text" or not isinstance(title, str) or not isinstance(payload, str):
            raise SendError(100, "Param message[quick_replies] must have content_type, title and payload.")
        if len(title) > send.TITLE_MAX_CHARACTERS or len(payload) > send.PAYLOAD_MAX_CHARACTERS:
            raise SendError(
                100, "Param message[quick_replies]: title has at most 20, payload 1000 characters."
            )
        found.append({"id": payload, "title": title})
    return found


# ---- the provider -------------------------------------------------------------------------------------------------


class SendSimulator(ReportingProvider):
    """The provider's side of one connection: its accounts, windows, limits, faults and reports."""

    def __init__(self, platform: Platform, settings: SimulatorSettings) -> None:
        super().__init__(settings, meta.signer(settings.app_secret))
        self.platform = platform
        self._windows = Windows(settings.window_s, unknown_open=settings.unknown_windows_open)
        self._read_marks = 0
        self.clear({})

    # Sending

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """`POST /v{n}/{account id}/messages`, or `me` in place of the id."""
        account = self._authorised(request)
        asked = read_send(self.platform, await request.read())
        fault = self.faults.take(asked.to)
        answer = await suffer(request, fault, "before", self.fault_error)
        if answer is not None:
            return answer
        if not self.rate.take(account.provider_account_id):
            raise SendError(613, "Calls to this api have exceeded the rate limit.")
        if not self._windows.is_open(account.provider_account_id, asked.to):
            code, subcode = errors.OUTSIDE_WINDOW
            raise SendError(code, "This message is sent outside of allowed window.", subcode=subcode)
        taken = self._act(asked) if asked.action is not None else self._accept(account, asked, fault)
        answer = await suffer(request, fault, "after", self.fault_error)
        return answer if answer is not None else json_answer({"recipient_id": asked.to, **taken})

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

    def _act(self, asked: Send) -> JsonObject:
        """A sender action: there is nothing to call it by."""
        self._read_marks += asked.action == send.MARK_SEEN
        return {}

    def _accept(self, account: SimulatedAccount, asked: Send, fault: Fault | None) -> JsonObject:
        message: JsonObject = {
            "to": asked.to,
            "at": clock.to_text(clock.now_ms()),
            "id": wire.message_id(),
            "account": account.provider_account_id,
            **asked.said,
        }
        self.accept(message, fault)
        return {"message_id": message["id"]}

    # Reporting

    def status_of(self, message: JsonObject, wanted: str) -> tuple[JsonObject, str]:
        """Both as they are: the element gets the time at which it is reported."""
        return message, wanted

    async def post_statuses(self, statuses: Mapping[str, list[tuple[JsonObject, str]]]) -> int:
        """A webhook for each account."""
        now_ms, last = clock.now_ms(), 0
        for own, found in statuses.items():
            elements = [wire.status_json(self.platform, message, word, now_ms) for message, word in found]
            last = await self.webhooks.send(wire.webhook_json(self.platform, own, elements, now_ms))
        return last

    # The control side

    async def inbound(self, request: web.Request) -> web.StreamResponse:
        """A person does something: sends the webhook and answers with its HTTP status."""
        body = await control_body(request)
        own = self.account_of(body)
        now_ms = clock.now_ms()
        act = read_act(self.platform, body, own, now_ms)
        if act.opens_window:
            self._windows.opened(own, act.person, max(0.0, (now_ms - act.at_ms) / meta.MS_PER_S))
        webhook = wire.webhook_json(self.platform, own, [act.element], now_ms, act.list_name)
        return reported(await self.webhooks.send(webhook), id=act.id)

    def recipient_key(self, text: str) -> str | None:
        """A scoped id."""
        found = wire.address(self.platform, text)
        return found.value if found else None

    def error_of(self, code: int, details: str, *, http: int | None, subcode: int | None) -> SendError:
        """With the provider's codes."""
        return SendError(code, details, http=http, subcode=subcode)

    def check_status(self, status: Any) -> None:
        """A word that the platform reports."""
        if status not in self.platform.statuses:
            raise InvalidControl(f"status: one of {', '.join(self.platform.statuses)}")

    def counts(self) -> JsonObject:
        """How many read marks were taken too."""
        return super().counts() | {"read_marks": self._read_marks}

    def clear(self, query: Mapping[str, str]) -> None:
        """`?windows=close` closes every service window too."""
        super().clear(query)
        self.report = tuple(word for word in self.settings.statuses if word in self.platform.statuses)
        self._read_marks = 0
        if query.get("windows") == "close":
            self._windows.clear()


async def serve(platform: Platform, settings: SimulatorSettings) -> None:
    """Listen and serve until cancelled; `settings.ready` gets the base URL (`…/v25.0` below it is the
    API).
    """
    simulator = SendSimulator(platform, settings)
    routes = [
        web.post(f"/{_VERSION}/{{account}}/messages", simulator.messages),
        web.post("/control/inbound", simulator.inbound),
    ]
    await serve_provider(simulator, routes)
