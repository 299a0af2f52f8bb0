"""What Meta's channels share for the conformance kit: proof, handshake and errors; and all of Messenger and Instagram."""

from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from sealpost.conformance import ChannelUnderTest, Greeting
from tests.unit.channels import meta_payloads
from tests.unit.channels.meta_payloads import ACCOUNT, PERSON, echo, element, text
from workers import meta
from workers.channel import Channel, ConnectionSecrets, ProviderResponse, WebhookRequest
from workers.simulator import SimulatedAccount, Simulator


def sign(body: bytes, connection: ConnectionSecrets, _at_ms: int) -> WebhookRequest:
    """A POST with Meta's signature, which knows no time."""
    headers = {name.lower(): value for name, value in meta.signer(connection.app_secret)(body).items()}
    return WebhookRequest("POST", {}, headers, body)


def greet(connection: ConnectionSecrets) -> Greeting:
    """Meta's handshake."""
    query = {
        "hub.mode": "subscribe",
        "hub.verify_token": connection.verify_token,
        "hub.challenge": "1158201444",
    }
    return Greeting(WebhookRequest("GET", query, {}, b""), b"1158201444")


def refused(http: int, code: int, **more: int) -> ProviderResponse:
    """An error of the Graph API."""
    error = {"message": f"(#{code}) error", "type": "OAuthException", "code": code, **more}
    return ProviderResponse(http, {"Content-Type": "application/json"}, orjson.dumps({"error": error}))


def follow(link: str) -> dict[str, Any]:
    """The person opens the link and writes; the account is told by which link she came."""
    return {"text": "Hallo", "ref": parse_qs(urlsplit(link).query)["ref"][0]}


def under_test(channel: Channel, simulator: Simulator) -> ChannelUnderTest:
    """One of the two messaging platforms."""
    webhook = partial(meta_payloads.webhook, channel)
    return ChannelUnderTest(
        channel=channel,
        simulator=simulator,
        account=SimulatedAccount(ACCOUNT, "sealpost.shop", "kit-access-token-93aa"),
        person=PERSON,
        sign=sign,
        batch=webhook(
            text(mid="m_1"),
            text("Noch etwas", mid="m_2"),
            element(delivery={"mids": ["m_3", "m_4"], "watermark": 1}),
        ),
        batch_ids=("m_1", "m_2", "m_3", "m_4"),
        unknown_event=webhook({"field": "zeppelin", "value": {"height_m": 300}}, name="changes"),
        follow=follow,
        handshake=greet,
        unreachable=refused(400, 551, error_subcode=1545041),
        message_only=refused(400, 100, error_subcode=2018001),
        unknown_code=refused(400, 999_999),
        webhooks=(
            webhook(
                text(
                    attachments=[{"type": "image", "payload": {"url": "https://x"}}],
                    quick_reply={"payload": "p"},
                )
            ),
            webhook(echo(metadata="x")),
            webhook(element(postback={"title": "t", "payload": "p", "referral": {"ref": "r"}})),
            webhook(element(reaction={"mid": "a", "action": "react"})),
            webhook(element(read={"watermark": 1}), name="standby"),
            webhook(element(zeppelin={})),
            webhook({"field": "feed", "value": {"item": "post"}}, name="changes"),
        ),
        personal=("Hallo", "Noch etwas", "Guten Tag"),
        api_path="/v25.0",
    )
