"""Telegram for the conformance kit."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from sealpost.conformance import TOO_FAST_WAIT_S, ChannelUnderTest
from tests.unit.channels.telegram_payloads import PERSON, membership, message, pressed, reaction, update
from workers.channel import ConnectionSecrets, ProviderResponse, WebhookRequest
from workers.channels.telegram import receive, simulator
from workers.channels.telegram.channel import CHANNEL
from workers.simulator import SimulatedAccount


def sign(body: bytes, connection: ConnectionSecrets, _at_ms: int) -> WebhookRequest:
    """A POST with Telegram's secret header, which proves neither body nor time."""
    return WebhookRequest("POST", {}, {receive.SECRET_HEADER: connection.app_secret}, body)


def refused(code: int, words: str, **more: Any) -> ProviderResponse:
    """An error of the Bot API."""
    body = {"ok": False, "error_code": code, "description": words, **more}
    return ProviderResponse(code, {"Content-Type": "application/json"}, orjson.dumps(body))


def follow(link: str) -> dict[str, Any]:
    """The person presses Start."""
    return {"text": f"/start {parse_qs(urlsplit(link).query)['start'][0]}"}


UNDER_TEST = ChannelUnderTest(
    channel=CHANNEL,
    simulator=simulator.serve,
    account=SimulatedAccount("7000000001", "@sealpost_bot", "7000000001:kit-access-token-93aa"),
    person=str(PERSON),
    sign=sign,
    batch=update("message", message()),
    batch_ids=(f"{PERSON}:17",),
    unknown_event=update("zeppelin", {"height_m": 300}),
    follow=follow,
    opted_out=refused(403, "Forbidden: bot was blocked by the user"),
    unreachable=refused(403, "Forbidden: bot can't initiate conversation with a user"),
    message_only=refused(400, "Bad Request: chat not found"),
    unknown_code=refused(418, "I'm a teapot"),
    too_fast=refused(429, "Too Many Requests", parameters={"retry_after": int(TOO_FAST_WAIT_S)}),
    webhooks=(
        update("message", message(None, photo=[{"file_id": "x"}], caption="Bild")),
        update("edited_message", message(edit_date=1_763_900_001)),
        update("callback_query", pressed()),
        update("my_chat_member", membership("kicked")),
        update("message_reaction", reaction()),
    ),
    personal=("Hallo", "Byron"),
)
