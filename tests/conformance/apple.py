"""Apple Messages for Business for the conformance kit."""

from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from sealpost.conformance import ChannelUnderTest, Secrets
from tests.unit.channels.apple_payloads import (
    BUSINESS,
    MSP_ID,
    PERSON,
    SECRET,
    interactive,
    message,
    quick_reply,
    rows,
)
from workers.channel import ConnectionSecrets, ProviderResponse, WebhookRequest
from workers.channels.apple import simulator, wire
from workers.channels.apple.channel import CHANNEL
from workers.simulator import SimulatedAccount


def sign(body: bytes, connection: ConnectionSecrets, at_ms: int) -> WebhookRequest:
    """A POST with a token made out to the MSP, which proves no body."""
    key = wire.key_of(connection.app_secret)
    assert key is not None
    token = wire.made_token({"aud": connection.app_id, "iat": at_ms // 1000}, key)
    return WebhookRequest("POST", {}, {"authorization": f"Bearer {token}"}, body)


def follow(link: str) -> dict[str, Any]:
    """The person opens the link and writes; the intent comes with the first message."""
    return {"text": "Hallo", "intent": parse_qs(urlsplit(link).query)["biz-intent-id"][0]}


UNDER_TEST = ChannelUnderTest(
    channel=CHANNEL,
    simulator=simulator.serve,
    account=SimulatedAccount(BUSINESS, BUSINESS, f"{MSP_ID}:{SECRET}"),
    person=PERSON,
    sign=sign,
    batch=orjson.dumps(message()),
    batch_ids=("6f9c1a34-0d38-4b3c-8a54-0d2d9c6f2b10",),
    unknown_event=orjson.dumps(message("zeppelin", body="In 300 m")),
    follow=follow,
    opted_out=ProviderResponse(410, {}, b""),
    unreachable=ProviderResponse(410, {}, b""),
    message_only=ProviderResponse(404, {}, b""),
    unknown_code=ProviderResponse(418, {}, b"I'm a teapot"),
    webhooks=(
        orjson.dumps(message(intent="shop", group="sales")),
        orjson.dumps(message("close")),
        orjson.dumps(interactive("quick-reply", quick_reply())),
        orjson.dumps(interactive("listPicker", rows("a", "b"))),
    ),
    personal=("Hallo",),
    secrets=Secrets(app_secret=SECRET, app_id=MSP_ID),
    other_app_secret=b64encode(b"another secret of 32 bytes ......").decode(),
    signs_time=True,
    api_path="/v1",
)
