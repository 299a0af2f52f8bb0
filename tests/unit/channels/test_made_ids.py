"""Ids that channels make where the provider gives none are told from the provider's own: nothing can answer what has one."""

import pytest

from tests.unit.channels import meta_payloads, telegram_payloads
from tests.unit.channels.meta_payloads import BOTH, element
from workers import registry
from workers.channel import Channel
from workers.inbound_values import InboundEntry, InboundMessage, made_word

LINK = {"ref": "t0k", "source": "SHORTLINK", "type": "OPEN_THREAD"}
TELEGRAM = registry.channel("telegram")


def ids(channel: Channel, body: bytes) -> list[str]:
    """Ids of what a body says a person wrote or did."""
    found = [value for fragment in channel.split(body) for value in channel.parse(fragment.raw)]
    return [value.provider_id for value in found if isinstance(value, InboundMessage | InboundEntry)]


@pytest.mark.parametrize("channel", BOTH, ids=lambda channel: channel.name)
def test_of_meta(channel: Channel) -> None:
    """A button that was pressed without an id of its own, and a link that was opened; a message has its `mid`."""
    pressed, opened, said = (
        element(postback={"title": "Ja", "payload": "yes"}),
        element(referral=LINK),
        meta_payloads.text(mid="m_1"),
    )
    found = ids(channel, meta_payloads.webhook(channel, pressed, opened, said))
    assert [made_word(one) for one in found] == ["postback", "referral", None]


def test_of_telegram() -> None:
    """A pressed button is no message, and can be answered; a message is called by its chat and number."""
    pressed = telegram_payloads.update("callback_query", telegram_payloads.pressed())
    said = telegram_payloads.update("message", telegram_payloads.message())
    (press,), (written,) = ids(TELEGRAM, pressed), ids(TELEGRAM, said)
    assert made_word(press) in TELEGRAM.capabilities.answerable_acts
    assert made_word(written) is None


@pytest.mark.parametrize(
    "real",
    [
        "wamid.HBgLNDkxNzA5OTk5OTkVAgASGBQzQQA=",
        "mid.1457764197618:41d102a3e1ae206a38",
        "mid.$cAAJsujCd2ORkXXXXXX",
        "m_AG5Hz2Uq7tuwNEhXfYYKj8mJEM_QPpz5jdCK48PnKAjSdjfipqxqMvK8ma6AC8fplwlqLP_5cgXIbu7I3rBN0P",
        "aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlE",
        "123456789:17",
        "6f9c1a34-0d38-4b3c-8a54-0d2d9c6f2b10",
        "",
    ],
)
def test_what_providers_call_messages(real: str) -> None:
    assert made_word(real) is None
