"""Sending: the request that goes out, and what each answer means."""

from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from schemas.addresses import Address
from schemas.content import (
    Button,
    ButtonsContent,
    Content,
    ListContent,
    ListRow,
    ListSection,
    MediaContent,
    ReadMarkContent,
    TemplateContent,
    TextContent,
)
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


def refusal(content: Content) -> str:
    """Why it is refused before any call; "" when it goes out."""
    try:
        next(CHANNEL.deliver(content, PHONE, Account(), ECHO))
    except UnsupportedContent as error:
        return str(error)
    return ""


def refused(content: Content) -> bool:
    """Refused, and in words that quote nothing of it."""
    why = refusal(content)
    assert not any(word in why for word in ("xxx", "https://"))
    return bool(why)


URL = "https://files.example/a.pdf"


@pytest.mark.parametrize("kind", ["image", "video", "audio", "document"])
def test_media_by_link(kind: Any) -> None:
    _, body = request_of(MediaContent(type="media", kind=kind, url=URL))
    assert (body["type"], body[kind], "context" in body) == (kind, {"link": URL}, False)
    words = MediaContent(type="media", kind=kind, url=URL, caption="Größe")
    if kind == "audio":
        assert refused(words), "a voice has no words under it"
    else:
        assert request_of(words)[1][kind]["caption"] == "Größe"
    named = MediaContent(type="media", kind=kind, url=URL, filename="Preise.pdf")
    assert refused(named) == (kind != "document")


def buttons(count: int = 1, title: str = "Ja", text: str = "Wirklich?", **more: Any) -> ButtonsContent:
    found = [Button(id=f"b{n}", title=title if n == 0 else f"{n}") for n in range(count)]
    return ButtonsContent(type="buttons", text=text, buttons=found, **more)


def choices(
    *rows: int, heading: str | None = "H", title: str = "Zeile", about: str | None = None, **more: Any
) -> ListContent:
    sections = [
        ListSection(
            title=heading, rows=[ListRow(id=f"{s}.{n}", title=title, description=about) for n in range(count)]
        )
        for s, count in enumerate(rows)
    ]
    return ListContent(**{"type": "list", "text": "Was?", "button": "Wahl", "sections": sections, **more})


def test_buttons_and_lists() -> None:
    _, body = request_of(buttons(2))
    assert (body["type"], body["to"], body["biz_opaque_callback_data"]) == ("interactive", PHONE.value, ECHO)
    assert body["interactive"] == {
        "type": "button",
        "body": {"text": "Wirklich?"},
        "action": {
            "buttons": [
                {"type": "reply", "reply": {"id": "b0", "title": "Ja"}},
                {"type": "reply", "reply": {"id": "b1", "title": "1"}},
            ]
        },
    }
    _, body = request_of(choices(1, heading=None, about="mehr"))
    assert body["interactive"] == {
        "type": "list",
        "body": {"text": "Was?"},
        "action": {
            "button": "Wahl",
            "sections": [{"rows": [{"id": "0.0", "title": "Zeile", "description": "mehr"}]}],
        },
    }
    _, body = request_of(choices(4, 6))
    assert [section["title"] for section in body["interactive"]["action"]["sections"]] == ["H", "H"]


@pytest.mark.parametrize(
    ("at_most", "beyond"),
    [
        (TextContent(text="x" * 4096), TextContent(text="x" * 4097)),
        (buttons(3), buttons(4)),
        (buttons(title="x" * 20), buttons(title="x" * 21)),
        (buttons(text="x" * 1024), buttons(text="x" * 1025)),
        (choices(4, 6), choices(5, 6)),
        (choices(1, title="x" * 24), choices(1, title="x" * 25)),
        (choices(1, about="x" * 72), choices(1, about="x" * 73)),
        (choices(1, 1, heading="x" * 24), choices(1, 1, heading="x" * 25)),
        (choices(1, button="x" * 20), choices(1, button="x" * 21)),
        (choices(1, text="x" * 1024), choices(1, text="x" * 1025)),
        (choices(2, heading=None), choices(1, 1, heading=None)),
        (
            MediaContent(type="media", kind="image", url=URL, caption="x" * 1024),
            MediaContent(type="media", kind="image", url=URL, caption="x" * 1025),
        ),
        (ReadMarkContent(type="read_mark", of="wamid.1"), ReadMarkContent(type="read_mark")),
    ],
)
def test_limits(at_most: Content, beyond: Content) -> None:
    """What is within goes out, one more is refused before any call, in words without the content."""
    assert not refused(at_most)
    assert refused(beyond)


def test_choices_that_cannot_be_told_apart_are_refused() -> None:
    same = [Button(id="b", title="Ja"), Button(id="b", title="Nein")]
    assert refused(ButtonsContent(type="buttons", text="?", buttons=same))
    alike = [Button(id="1", title="Ja"), Button(id="2", title="Ja")]
    assert refused(ButtonsContent(type="buttons", text="?", buttons=alike))
    rows = [ListRow(id="r", title="A"), ListRow(id="r", title="B")]
    assert refused(choices(1, sections=[ListSection(rows=rows)]))


@pytest.mark.parametrize(
    "content",
    [
        TextContent(text="x", in_reply_to="wamid.0"),
        buttons(in_reply_to="wamid.0"),
        choices(1, in_reply_to="wamid.0"),
        MediaContent(type="media", kind="image", url=URL, in_reply_to="wamid.0"),
    ],
)
def test_an_answer_names_what_it_answers(content: Content) -> None:
    assert request_of(content)[1]["context"] == {"message_id": "wamid.0"}


def test_a_read_mark_names_nobody() -> None:
    _, body = request_of(ReadMarkContent(type="read_mark", of="wamid.0"))
    assert body == {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.0"}


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b'{"success":true}', Submitted("read:wamid.0")),
        (b'{"success":false}', Unclear(200)),
        (b"", Unclear(200)),
        (b'{"error":{"code":131009}}', Failed("PERM", 131009, None)),
    ],
)
def test_what_became_of_a_read_mark(answer: bytes, result: Outcome) -> None:
    steps = CHANNEL.deliver(ReadMarkContent(type="read_mark", of="wamid.0"), PHONE, Account(), ECHO)
    next(steps)
    with pytest.raises(StopIteration) as ended:
        steps.send(ProviderResponse(200, {}, answer))
    assert ended.value.value == result


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
    assert (result.opted_out, result.message_only) == (rule.opted_out, rule.message_only)
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
    with_words = CHANNEL.chat_link("4915112345678", "aB_9-", "Ja, gern & gleich:")
    assert with_words == "https://wa.me/4915112345678?text=Ja%2C%20gern%20%26%20gleich%3A%20aB_9-"
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
    found = CHANNEL.capabilities
    assert found.content_kinds == {"text", "template", "media", "buttons", "list", "read_mark"}
    assert found.media_kinds == {"image", "video", "audio", "document"}
    assert (found.replies, found.caption_max_characters, found.list_rows_max) == (True, 1024, 10)
    assert (found.buttons_max, found.button_title_max_characters) == (3, 20)
    assert (found.row_title_max_characters, found.row_description_max_characters) == (24, 72)
    assert CHANNEL.processing
    assert all(entry.company and entry.source and entry.checked for entry in CHANNEL.processing)
