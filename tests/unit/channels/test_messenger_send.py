"""Sending: the request that goes out, and what each answer means."""

from dataclasses import dataclass

import orjson
import pytest

from schemas.addresses import Address
from schemas.content import Content, TemplateContent, TextContent
from tests.unit.channels.messenger_payloads import PAGE, PERSON
from workers.channel import (
    Failed,
    InvalidLink,
    Outcome,
    ProviderResponse,
    Submitted,
    Unclear,
    UnsupportedContent,
    echo_of,
)
from workers.channels.messenger.channel import CHANNEL

WHO = Address("messenger", "psid", PERSON)
ECHO = echo_of("20261125" + "0" * 24, 0)


@dataclass
class Account:
    """A page."""

    provider_account_id: str = PAGE
    access_token: str = "EAAtoken"
    api_base_url: str = "https://graph.facebook.com/v25.0"


def outcome(status: int, body: bytes) -> Outcome:
    steps = CHANNEL.deliver(TextContent(text="Hallo"), WHO, Account(), ECHO)
    next(steps)
    with pytest.raises(StopIteration) as ended:
        steps.send(ProviderResponse(status, {}, body))
    result: Outcome = ended.value.value
    return result


def test_a_text() -> None:
    """An answer within the window, with our id in what its echo brings back, and no token in the URL."""
    request = next(CHANNEL.deliver(TextContent(text="Größe 😮"), WHO, Account(), ECHO))
    assert (request.method, request.url) == ("POST", f"https://graph.facebook.com/v25.0/{PAGE}/messages")
    assert request.headers["Authorization"] == "Bearer EAAtoken"
    assert orjson.loads(request.body) == {
        "messaging_type": "RESPONSE",
        "recipient": {"id": PERSON},
        "message": {"text": "Größe 😮", "metadata": ECHO},
    }
    assert not any(word in repr(request) for word in ("EAAtoken", PERSON, "Größe"))


@pytest.mark.parametrize(
    ("content", "address"),
    [
        (TextContent(text="x" * 2001), WHO),
        (TemplateContent(name="order_ready", language="de"), WHO),
        (TextContent(text="x"), Address("whatsapp", "phone", "4915112345678")),
        (TextContent(text="x"), Address("messenger", "phone", "4915112345678")),
    ],
)
def test_what_is_not_declared_is_refused_before_any_call(content: Content, address: Address) -> None:
    with pytest.raises(UnsupportedContent):
        next(CHANNEL.deliver(content, address, Account(), ECHO))


def test_answers() -> None:
    """An error counts before an id, even with HTTP 200; what does not tell is unclear."""
    assert outcome(200, b'{"recipient_id":"1","message_id":"m_1"}') == Submitted("m_1")
    assert outcome(200, b'{"error":{"code":36000}}') == Failed("PERM", 36000, None)
    assert outcome(400, b'{"error":{"code":10,"error_subcode":2018278}}') == Failed("WINDOW", 10, None)
    assert outcome(400, b'{"error":{"code":551,"error_subcode":1545041}}') == Failed("UNREACH", 551, None)
    assert outcome(503, b"") == Failed("RETRY", None, None)
    for status, body in (
        (200, b""),
        (200, b"[]"),
        (200, b'{"recipient_id":"1"}'),
        (502, b""),
        (500, b"<html>"),
    ):
        assert outcome(status, body) == Unclear(status)


def test_links_and_addresses() -> None:
    assert CHANNEL.chat_link(PAGE, "aB_9-") == f"https://m.me/{PAGE}?ref=aB_9-"
    assert CHANNEL.chat_link("backhaus.berlin", "t") == "https://m.me/backhaus.berlin?ref=t"
    for page, token in (("", "t"), ("a/b", "t"), ("a?b", "t"), (PAGE, ""), (PAGE, "a b"), (PAGE, "x" * 65)):
        with pytest.raises(InvalidLink):
            CHANNEL.chat_link(page, token)
    assert CHANNEL.read_address(f" {PERSON} ") == WHO
    for wrong in ("", "Ada", "+49151", "1" * 33, "١٢٣"):
        assert CHANNEL.read_address(wrong) is None


def test_what_is_declared() -> None:
    assert CHANNEL.capabilities.content_kinds == {"text"}
    assert CHANNEL.capabilities.first_contact == "nothing"
    assert "read" not in CHANNEL.capabilities.receipts, "a watermark names no message"
    assert all(entry.company and entry.source and entry.checked for entry in CHANNEL.processing)
