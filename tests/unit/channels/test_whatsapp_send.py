"""Sending: the request that goes out, and what each answer means."""

from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from schemas.addresses import Address
from schemas.content import Content, TemplateContent, TextContent
from workers import meta
from workers.channel import (
    Failed,
    InvalidLink,
    Outcome,
    ProviderRequest,
    ProviderResponse,
    Submitted,
    Unclear,
    UnsupportedContent,
    echo_of,
    read_echo,
)
from workers.channels.whatsapp import errors
from workers.channels.whatsapp.channel import CHANNEL

PHONE = Address("whatsapp", "phone", "4915112345678")
ECHO = echo_of("20261123" + "0" * 24, 0)


@dataclass
class Account:
    """A sender."""

    provider_account_id: str = "106540352242922"
    access_token: str = "EAAtoken"
    api_base_url: str = "https://graph.facebook.com/v25.0"


def request_of(content: Content, address: Address = PHONE) -> tuple[ProviderRequest, dict[str, Any]]:
    request = next(CHANNEL.deliver(content, address, Account(), ECHO))
    body: dict[str, Any] = orjson.loads(request.body)
    return request, body


def outcome(status: int, body: bytes, headers: dict[str, str] | None = None) -> Outcome:
    steps = CHANNEL.deliver(TextContent(text="Hallo"), PHONE, Account(), ECHO)
    next(steps)
    with pytest.raises(StopIteration) as ended:
        steps.send(ProviderResponse(status, headers or {}, body))
    result: Outcome = ended.value.value
    return result


def test_a_text() -> None:
    request, body = request_of(TextContent(text="Größe 😮"))
    assert (request.method, request.url) == (
        "POST",
        "https://graph.facebook.com/v25.0/106540352242922/messages",
    )
    assert request.headers["Authorization"] == "Bearer EAAtoken"
    assert body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "4915112345678",
        "type": "text",
        "text": {"preview_url": False, "body": "Größe 😮"},
        "biz_opaque_callback_data": ECHO,
    }
    assert not any(word in repr(request) for word in ("EAAtoken", "4915", "Größe"))


def test_templates_with_positional_named_and_no_variables() -> None:
    def template(**fields: Any) -> dict[str, Any]:
        _, body = request_of(TemplateContent(name="order_ready", language="de-AT", **fields))
        assert body["type"] == "template"
        found: dict[str, Any] = body["template"]
        return found

    assert template() == {"name": "order_ready", "language": {"policy": "deterministic", "code": "de_AT"}}
    positional = template(variables=["17", "Ada"])["components"]
    assert positional == [
        {"type": "body", "parameters": [{"type": "text", "text": "17"}, {"type": "text", "text": "Ada"}]}
    ]
    named = template(variables={"order": "17"})["components"]
    assert named[0]["parameters"] == [{"type": "text", "parameter_name": "order", "text": "17"}]


def test_a_user_id_goes_into_recipient() -> None:
    _, body = request_of(TextContent(text="Hallo"), Address("whatsapp", "bsuid", "US.99"))
    assert body["recipient"] == "US.99"
    assert "to" not in body


def test_what_is_not_declared_is_refused_before_any_call() -> None:
    for content, address in (
        (TextContent(text="x" * 4097), PHONE),
        (TextContent(text="x"), Address("telegram", "phone", "4915112345678")),
    ):
        with pytest.raises(UnsupportedContent):
            next(CHANNEL.deliver(content, address, Account(), ECHO))
    next(CHANNEL.deliver(TextContent(text="x" * 4096), PHONE, Account(), ECHO))


def test_submitted() -> None:
    body = orjson.dumps({"messaging_product": "whatsapp", "contacts": [{}], "messages": [{"id": "wamid.1"}]})
    result = outcome(200, body)
    assert result == Submitted("wamid.1")
    assert "wamid" not in repr(result)


@pytest.mark.parametrize("code", sorted(errors.CODES))
def test_every_error_code_fails_with_its_class(code: int) -> None:
    rule = errors.CODES[code]
    body = orjson.dumps({"error": {"code": code, "message": "about Ada"}})
    result = outcome(rule.http, body, {"Retry-After": "30"})
    assert isinstance(result, Failed)
    assert (result.failure_class, result.code, result.text) == (rule.failure_class, code, "about Ada")
    assert result.retry_after_s == (30 if rule.failure_class in ("RATE", "RETRY") else None)
    assert (result.pair_only, result.alarm, result.tries_max) == (rule.pair_only, rule.alarm, rule.tries_max)
    assert "Ada" not in repr(result)


def test_an_error_in_a_200_is_an_error() -> None:
    assert outcome(200, b'{"error":{"code":131047}}') == Failed("WINDOW", 131047, None)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b""), (200, b"<html>"), (200, b'{"messages":[{}]}'), (502, b""), (504, b"<html>"), (500, b"")],
)
def test_an_answer_that_does_not_tell_is_unclear(status: int, body: bytes) -> None:
    assert outcome(status, body) == Unclear(status)


def test_answers_without_an_error_object_that_do_tell() -> None:
    assert outcome(503, b"") == Failed("RETRY", None, None)
    assert outcome(429, b"") == Failed("RATE", None, None)
    assert outcome(404, b"<html>") == Failed("PERM", None, None)
    assert outcome(500, b'{"error":{"code":131000}}') == Failed(
        "RETRY", 131000, None, tries_max=meta.LIMITED_TRIES
    )


def test_echoes() -> None:
    assert read_echo(ECHO) == ("20261123" + "0" * 24, 0)
    for foreign in (None, "", "x", ECHO + " ", ECHO + "\n", ECHO.upper() + "A", "0" * 32, "0" * 32 + ".00"):
        assert read_echo(foreign) is None
    for message, part in (("x", 0), ("0" * 32, -1)):
        with pytest.raises(ValueError, match="not a message id"):
            echo_of(message, part)


def test_links_and_addresses() -> None:
    assert CHANNEL.chat_link("+49 151 1234-5678", "aB_9-") == "https://wa.me/4915112345678?text=aB_9-"
    for number, token in (
        ("0151 1234567", "a"),
        ("49151", "a"),
        ("4915112345678", ""),
        ("4915112345678", "a b"),
        ("4915112345678", "x" * 65),
    ):
        with pytest.raises(InvalidLink):
            CHANNEL.chat_link(number, token)
    assert CHANNEL.read_address(" +49 (151) 1234-5678 ") == PHONE
    assert CHANNEL.read_address("US.99") == Address("whatsapp", "bsuid", "US.99")
    assert CHANNEL.read_address("Ada") is None


def test_what_is_declared() -> None:
    assert CHANNEL.capabilities.text_max_characters == 4096
    assert CHANNEL.capabilities.window_s == 86_400
    assert CHANNEL.processing
    assert all(entry.company and entry.source and entry.checked for entry in CHANNEL.processing)
