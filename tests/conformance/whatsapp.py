"""WhatsApp for the conformance kit."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from sealpost.conformance import ChannelUnderTest
from tests.conformance.meta import greet, refused, sign
from tests.unit.channels.whatsapp_payloads import OWN, change, contact, message, status, webhook
from workers.channels.whatsapp import simulator
from workers.channels.whatsapp.channel import CHANNEL
from workers.simulator import SimulatedAccount

PERSON = "4915112345678"
STOP = {"wa_id": PERSON, "category": "marketing_messages", "value": "stop", "timestamp": 1_731_705_721}


def follow(link: str) -> dict[str, Any]:
    """The person sends the draft as it stands."""
    return {"text": parse_qs(urlsplit(link).query)["text"][0]}


UNDER_TEST = ChannelUnderTest(
    channel=CHANNEL,
    simulator=simulator.serve,
    account=SimulatedAccount(OWN, "+49 30 123456", "kit-access-token-93aa"),
    person=PERSON,
    sign=sign,
    batch=webhook(
        [
            change(
                contacts=[contact()],
                messages=[message("wamid.1"), message("wamid.2", text={"body": "Noch etwas"})],
            ),
            change(statuses=[status(provider_id="wamid.3"), status("read", "wamid.4")]),
        ],
        [change(contacts=[contact()], messages=[message("wamid.5")])],
    ),
    batch_ids=("wamid.1", "wamid.2", "wamid.3", "wamid.4", "wamid.5"),
    unknown_event=webhook([{"field": "zeppelin", "value": {"zeppelin": {"height_m": 300}}}]),
    follow=follow,
    handshake=greet,
    opted_out=refused(400, 131050),
    unreachable=refused(400, 131026),
    message_only=refused(400, 130472),
    unknown_code=refused(400, 999_999),
    webhooks=(
        webhook(
            [
                change(
                    contacts=[contact(user_id="US.1")],
                    messages=[message(context={"id": "x"}, from_user_id="US.1")],
                )
            ]
        ),
        webhook([change(statuses=[status("failed", errors=[{"code": 131026, "title": "t"}])])]),
        webhook([change("user_preferences", user_preferences=[STOP])]),
        webhook([change("history", history=[])]),
    ),
    personal=("Hallo", "Noch etwas", "Ada"),
    api_path="/v25.0",
)
