"""Instagram for the conformance kit."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from sealpost.conformance import ChannelUnderTest
from tests.conformance.whatsapp import greet, refused, sign
from tests.unit.channels.instagram_payloads import PERSON, PROFILE, echo, element, text, webhook
from workers.channels.instagram import simulator
from workers.channels.instagram.channel import CHANNEL
from workers.simulator import SimulatedAccount


def follow(link: str) -> dict[str, Any]:
    """The person opens the link and writes; the page is told by which link she came."""
    return {"text": "Hallo", "ref": parse_qs(urlsplit(link).query)["ref"][0]}


UNDER_TEST = ChannelUnderTest(
    channel=CHANNEL,
    simulator=simulator.serve,
    account=SimulatedAccount(PROFILE, "sealpost.shop", "kit-access-token-93aa"),
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
    opted_out=refused(400, 551),
    unknown_code=refused(400, 999_999),
    webhooks=(
        webhook(
            text(
                attachments=[{"type": "image", "payload": {"url": "https://x"}}], quick_reply={"payload": "p"}
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
