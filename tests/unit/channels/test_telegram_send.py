"""Sending to Telegram: the request that goes out, what each answer means, and what an error is."""

from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from schemas.addresses import Address
from schemas.content import Content, TemplateContent, TextContent
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
from workers.channels.telegram.channel import CHANNEL

CHAT = Address("telegram", "chat", "7400000000001")
ECHO = echo_of("20261125" + "0" * 24, 0)


@dataclass
class Account:
    """A bot."""

    provider_account_id: str = "7000000001"
    access_token: str = "7000000001:AAH/x"
    api_base_url: str = "https://api.telegram.org/"


def outcome(status: int, body: bytes, headers: dict[str, str] | None = None) -> Outcome:
    steps = CHANNEL.deliver(TextContent(text="Hallo"), CHAT, Account(), ECHO)
    next(steps)
    with pytest.raises(StopIteration) as ended:
        steps.send(ProviderResponse(status, headers or {}, body))
    result: Outcome = ended.value.value
    return result


def error(code: int, description: str = "", **parameters: Any) -> bytes:
    return orjson.dumps(
        {"ok": False, "error_code": code, "description": description, "parameters": parameters}
    )


def test_a_text() -> None:
    """Plain, to the number of the chat; the token is in the address, which is not shown."""
    request = next(CHANNEL.deliver(TextContent(text="*Größe* 😮"), CHAT, Account(), ECHO))
    assert (request.method, request.url) == (
        "POST",
        "https://api.telegram.org/bot7000000001:AAH%2Fx/sendMessage",
    )
    assert orjson.loads(request.body) == {
        "chat_id": 7400000000001,
        "text": "*Größe* 😮",
        "link_preview_options": {"is_disabled": True},
    }
    assert not any(word in repr(request) for word in ("AAH", "7400000000001", "Größe"))


@pytest.mark.parametrize(
    ("content", "address"),
    [
        (TemplateContent(name="order_ready", language="de"), CHAT),
        (TextContent(text="x" * 4_097), CHAT),
        (TextContent(text="x"), Address("whatsapp", "phone", "4915112345678")),
        (TextContent(text="x"), Address("telegram", "chat", "-1001234567890")),
    ],
)
def test_what_telegram_cannot_do_is_refused_before_any_call(content: Content, address: Address) -> None:
    with pytest.raises(UnsupportedContent):
        next(CHANNEL.deliver(content, address, Account(), ECHO))


def test_what_answers_mean_for_the_message() -> None:
    """Taken; surely not taken; or nobody knows: a 5xx of Telegram's gateway is in the API's own form."""
    taken = orjson.dumps({"ok": True, "result": {"message_id": 18, "chat": {"id": 7400000000001}}})
    assert outcome(200, taken) == Submitted("7400000000001:18")
    for body in (b"", b"{}", b'{"ok": true}', b'{"ok": true, "result": {"message_id": "18"}}', b"<html>"):
        assert outcome(200, body) == Unclear(200)
    assert outcome(502, error(502, "Bad Gateway")) == Unclear(502)
    assert outcome(500, error(500, "Internal Server Error: restart")) == Unclear(500)
    assert outcome(504, b"") == Unclear(504)
    for status, body in ((503, b""), (503, error(503))):
        found = outcome(status, body)
        assert isinstance(found, Failed)
        assert found.failure_class == "RETRY"
    slow = outcome(429, error(429, "Too Many Requests: retry after 30", retry_after=30))
    assert slow == Failed("RATE", 429, 30.0, "Too Many Requests: retry after 30")
    assert "retry after" not in repr(slow)


@pytest.mark.parametrize(
    ("status", "body", "meant"),
    [
        (403, error(403, "Forbidden: bot was blocked by the user"), ("UNREACH", 403, None, False)),
        (403, error(400, "FORBIDDEN: Bot was blocked by the user"), ("UNREACH", 400, None, False)),
        (403, error(403, "Forbidden: user is deactivated"), ("UNREACH", 403, None, False)),
        (403, error(403, "Forbidden: bot can't initiate conversation with a user"), ("UNREACH", 403, None, False)),
        (400, error(400, "Bad Request: chat not found"), ("UNREACH", 400, None, False)),
        (400, error(400, "group upgraded", migrate_to_chat_id=-1005), ("UNREACH", 400, None, False)),
        (400, error(400, "Bad Request: message is too long"), ("PERM", 400, None, False)),
        (403, error(403, "Forbidden: something new"), ("PERM", 403, None, False)),
        (401, error(401, "Unauthorized"), ("AUTH", 401, None, True)),
        (404, error(404, "Not Found"), ("AUTH", 404, None, True)),
        (404, b"", ("AUTH", None, None, True)),
        (409, error(409, "Conflict: terminated by other getUpdates request"), ("ACCOUNT", 409, None, True)),
        (429, error(429, "Too Many Requests", retry_after=5), ("RATE", 429, 5.0, False)),
        (200, error(429, "Too Many Requests", retry_after=10**9), ("RATE", 429, 86_400.0, False)),
        (429, b"", ("RATE", None, None, False)),
        (500, error(500), ("RETRY", 500, None, False)),
        (502, b"<html>", ("RETRY", None, None, False)),
        (418, error(418, "bot was blocked by the user"), ("PERM", 418, None, False)),
        (302, b"", ("PERM", None, None, False)),
    ],
)  # fmt: skip
def test_what_errors_mean(status: int, body: bytes, meant: tuple[Any, ...]) -> None:
    """The code in the body goes before the status; words count only in a refusal."""
    found = CHANNEL.classify(ProviderResponse(status, {}, body))
    assert (found.failure_class, found.code, found.retry_after_s, found.alarm) == meant


def test_a_wait_named_by_whoever_stands_before_the_api() -> None:
    assert CHANNEL.classify(ProviderResponse(429, {"Retry-After": "7"}, b"")).retry_after_s == 7.0
    assert CHANNEL.classify(ProviderResponse(503, {"retry-after": "Wed, 21 Oct"}, b"")).retry_after_s is None


@pytest.mark.parametrize("text", ["7400000000001", " 42 ", str(2**52 - 1)])
def test_the_id_of_a_private_chat_is_an_address(text: str) -> None:
    assert CHANNEL.read_address(text) == Address("telegram", "chat", text.strip())


@pytest.mark.parametrize(
    "text", ["", "0", "-1001234567890", "@ada", "+49151", "1.5", str(2**52), "9" * 30, "٤٢"]
)
def test_anything_else_is_none(text: str) -> None:
    assert CHANNEL.read_address(text) is None


def test_links() -> None:
    assert CHANNEL.chat_link("@Shop_bot", "Kampagne_7-x") == "https://t.me/Shop_bot?start=Kampagne_7-x"
    for number, token in (("+49151", "a"), ("Shop bot", "a"), ("Shop_bot", ""), ("Shop_bot", "a b"),
                          ("Shop_bot", "x" * 65), ("Shop_bot", "ä"), ("Shop_bot", "a=b")):  # fmt: skip
        with pytest.raises(InvalidLink):
            CHANNEL.chat_link(number, token)


def test_what_is_declared() -> None:
    """Nothing is reported, nothing closes, nobody is written to first, and it is said who processes what."""
    declared = CHANNEL.capabilities
    assert (declared.receipts, declared.window_s, declared.first_contact) == (frozenset(), None, "nothing")
    assert (declared.names_account, declared.echoes_our_id) == (False, False)
    assert declared.api_base_url == "https://api.telegram.org"
    assert all(entry.source.startswith("https://") and entry.checked for entry in CHANNEL.processing)
