"""Letterbox runs the conformance kit."""

import pytest
from letterbox import CHANNEL, SIGNATURE, signature
from letterbox.simulator import serve

from sealpost import ProviderResponse, WebhookRequest
from sealpost.conformance import ChannelUnderTest, Conformance
from sealpost.simulator import SimulatedAccount


@pytest.fixture(scope="module")
def under_test() -> ChannelUnderTest:
    said = b'{"error": "%s"}'
    mail = b'{"type": "mail", "id": "%s", "from": "box-471100", "text": "Hallo Ada"}'
    return ChannelUnderTest(
        channel=CHANNEL, simulator=serve, account=SimulatedAccount("1", "shop", "letterbox-token"), person="box-471100",
        sign=lambda body, its, _: WebhookRequest("POST", {}, {SIGNATURE: signature(its.app_secret, body)}, body),
        batch=b'{"events": [%s, %s]}' % (mail % b"a", mail % b"b"), batch_ids=("a", "b"), personal=("Hallo Ada",),
        unknown_event=b'{"events": [{"type": "zeppelin"}]}', follow=lambda link: {"text": link.partition("text=")[2]},
        opted_out=ProviderResponse(400, {}, said % b"no_more_mail"), unknown_code=ProviderResponse(400, {}, said % b"no_idea"),
        unreachable=ProviderResponse(400, {}, said % b"box_is_gone"), message_only=ProviderResponse(400, {}, said % b"box_full"),
    )  # fmt: skip


TestConformance = Conformance
