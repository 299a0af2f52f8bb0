"""Sending to Telegram: the request that goes out, what each answer means, and what an error is."""

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
    MediaKind,
    ReadMarkContent,
    TemplateContent,
    TextContent,
)
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
from workers.channels.telegram.simulator import BotError, Queries, read_query, read_send

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


URL = "https://files.example/birnen.jpg"


def sent(content: Content) -> tuple[str, Any]:
    """(method, body) that goes out."""
    request = next(CHANNEL.deliver(content, CHAT, Account(), ECHO))
    return request.url.rsplit("/", 1)[1], orjson.loads(request.body)


def file(kind: MediaKind = "image", **fields: Any) -> MediaContent:
    return MediaContent(type="media", kind=kind, url=URL, **fields)


def buttons(*options: tuple[str, str], text: str = "Ja?") -> ButtonsContent:
    return ButtonsContent(type="buttons", text=text, buttons=[Button(id=i, title=t) for i, t in options])


def choices(*sections: ListSection, text: str = "Welche?") -> ListContent:
    return ListContent(type="list", text=text, button="Zeigen", sections=list(sections))


def rows(count: int, **fields: Any) -> ListSection:
    return ListSection(rows=[ListRow(id=f"r{n}", title=f"Birne {n}", **fields) for n in range(count)])


@pytest.mark.parametrize(
    ("kind", "method", "member"),
    [
        ("image", "sendPhoto", "photo"), ("video", "sendVideo", "video"), ("audio", "sendAudio", "audio"),
        ("document", "sendDocument", "document"),
    ],
)  # fmt: skip
def test_a_file_by_its_link(kind: MediaKind, method: str, member: str) -> None:
    """With its caption as plain text."""
    assert sent(file(kind)) == (method, {"chat_id": 7400000000001, member: URL})
    assert sent(file(kind, caption="*Größe*"))[1]["caption"] == "*Größe*"
    assert len(sent(file(kind, caption="x" * 1_024))[1]["caption"]) == 1_024


def test_buttons_and_lists_are_keyboards() -> None:
    """One button a line. What a button has no place for, the headings of a list, is said above with what stands under them."""
    method, body = sent(buttons(("y", "Ja"), ("n", "Nein")))
    assert (method, body["text"]) == ("sendMessage", "Ja?")
    assert body["reply_markup"] == {
        "inline_keyboard": [
            [{"text": "Ja", "callback_data": "y"}],
            [{"text": "Nein", "callback_data": "n"}],
        ]
    }
    _, plain = sent(choices(rows(2)))
    assert plain["text"] == "Welche?"
    assert [line[0]["callback_data"] for line in plain["reply_markup"]["inline_keyboard"]] == ["r0", "r1"]
    told = ListSection(title="Äpfel", rows=[ListRow(id="a", title="Boskoop")])
    _, listed = sent(choices(told, rows(1)))
    assert listed["text"] == "Welche?\n\nÄpfel\n• Boskoop\n\n• Birne 0"
    assert [line[0]["text"] for line in listed["reply_markup"]["inline_keyboard"]] == ["Boskoop", "Birne 0"]


def test_an_answer_to_a_message() -> None:
    """By its number; that it may be gone by now does not hold the answer up."""
    for content in (
        TextContent(text="x", in_reply_to=f"{CHAT.value}:17"),
        file(in_reply_to=f"{CHAT.value}:17"),
    ):
        assert sent(content)[1]["reply_parameters"] == {"message_id": 17, "allow_sending_without_reply": True}
    for wrong in ("callback:", "update:4382", "5:17", f"{CHAT.value}:x", f"{CHAT.value}:-1", "17"):
        with pytest.raises(UnsupportedContent, match="no message of this chat"):
            sent(TextContent(text="x", in_reply_to=wrong))


def test_an_answer_to_a_pressed_button() -> None:
    """It brings the call that ends the spinner along; there is no message to show it under. Nothing else brings one."""
    press = "callback:4382927102"
    for content in (TextContent(text="Gern", in_reply_to=press), file(in_reply_to=press)):
        request = next(CHANNEL.deliver(content, CHAT, Account(), ECHO))
        assert "reply_parameters" not in orjson.loads(request.body)
        assert request.courtesy is not None
        assert request.courtesy.url == "https://api.telegram.org/bot7000000001:AAH%2Fx/answerCallbackQuery"
        assert orjson.loads(request.courtesy.body) == {"callback_query_id": "4382927102"}
        assert not any(word in repr(request) for word in ("AAH", "4382927102"))
    for content in (TextContent(text="x"), TextContent(text="x", in_reply_to=f"{CHAT.value}:17")):
        assert next(CHANNEL.deliver(content, CHAT, Account(), ECHO)).courtesy is None


def test_a_press_is_answered_once_while_it_is_new() -> None:
    """As the simulator has it; another bot's id is none."""
    queries = Queries()
    for number in range(3):
        queries.open(("7000000001", str(number)), now_s=number * 10.0)
    queries.answer(("7000000001", "1"), now_s=20.0)
    for other in (("7000000001", "0"), ("7000000001", "1"), ("7000000002", "2"), ("7000000001", "9")):
        with pytest.raises(BotError, match="query is too old") as refused:
            queries.answer(other, now_s=20.0)
        assert refused.value.http == 400
    assert queries.counts() == {"unanswered": 1, "answered": 1, "refused": 4}
    for body in (b"no json", b"{}", b'{"callback_query_id": 7}'):
        with pytest.raises(BotError):
            read_query(body)


def test_words_are_never_markup() -> None:
    for content in (TextContent(text="*x*"), file(caption="*x*"), buttons(("y", "*x*")), choices(rows(1))):
        assert "parse_mode" not in sent(content)[1]


@pytest.mark.parametrize(
    "content",
    [
        TemplateContent(name="order_ready", language="de"), ReadMarkContent(type="read_mark", of=f"{CHAT.value}:17"),
        TextContent(text="x" * 4_097), buttons(("y", "x"), text="x" * 4_097), buttons(("ä" * 32 + "x", "x")),
        buttons(("y", "x" * 65)), file(caption="x" * 1_025), file(filename="birnen.jpg"), choices(rows(51), rows(50)),
        choices(rows(1, description="süß")),
    ],
)  # fmt: skip
def test_what_telegram_cannot_do_is_refused_before_any_call(content: Content) -> None:
    with pytest.raises(UnsupportedContent):
        sent(content)


@pytest.mark.parametrize(
    "address", [Address("whatsapp", "phone", "4915112345678"), Address("telegram", "chat", "-1001234567890")]
)
def test_nobody_else_is_sent_to(address: Address) -> None:
    with pytest.raises(UnsupportedContent):
        next(CHANNEL.deliver(TextContent(text="x"), address, Account(), ECHO))


@pytest.mark.parametrize(
    "content",
    [
        TextContent(text="x" * 4_096, in_reply_to=f"{CHAT.value}:17"), *(file(kind) for kind in CHANNEL.capabilities.media_kinds),
        file(caption="x" * 1_024), buttons(("ä" * 32, "x" * 64)), choices(rows(100)),
    ],
)  # fmt: skip
def test_what_is_rendered_the_simulator_takes_and_shows(content: Content) -> None:
    """Every declared kind at its limits, with nothing lost on the way."""
    method, body = sent(content)
    taken = read_send(method, orjson.dumps(body))
    assert taken.to == CHAT.value
    if isinstance(content, MediaContent):
        assert (taken.said["url"], taken.said["body"]) == (URL, content.caption or "")
    if isinstance(content, TextContent):
        assert (taken.said["body"], taken.said["reply_to"]) == (content.text, content.in_reply_to)
    if isinstance(content, ButtonsContent):
        assert taken.said["buttons"] == [button.model_dump() for button in content.buttons]
    if isinstance(content, ListContent):
        asked = [row for section in content.sections for row in section.rows]
        assert taken.said["buttons"] == [{"id": row.id, "title": row.title} for row in asked]


def keyboard(*options: Any) -> dict[str, Any]:
    return {"reply_markup": {"inline_keyboard": [[option] for option in options]}}


@pytest.mark.parametrize(
    ("method", "body", "words"),
    [
        ("sendPigeon", {}, "method not found"),
        ("sendMessage", {"chat_id": "@ada", "text": "x"}, "chat not found"),
        ("sendMessage", {"text": " "}, "text is empty"),
        ("sendMessage", {"text": "x" * 4_097}, "too long"),
        ("sendMessage", {"text": "x", "reply_markup": {"inline_keyboard": "x"}}, "keyboard markup"),
        (
            "sendMessage",
            {"text": "x", **keyboard({"text": "x", "callback_data": "x" * 65})},
            "BUTTON_DATA_INVALID",
        ),
        ("sendMessage", {"text": "x", **keyboard({"text": " ", "callback_data": "x"})}, "button text"),
        ("sendMessage", {"text": "x", **keyboard({"text": "x" * 65, "callback_data": "x"})}, "BUTTON_TEXT"),
        ("sendMessage", {"text": "x", **keyboard(*[{"text": "x", "callback_data": "x"}] * 101)}, "too long"),
        ("sendMessage", {"text": "x", "reply_parameters": {"message_id": "17"}}, "replied not found"),
        ("sendPhoto", {}, "no photo"),
        ("sendPhoto", {"photo": "birnen.jpg"}, "wrong file identifier"),
        ("SENDVIDEO", {"video": URL, "caption": "x" * 1_025}, "caption is too long"),
    ],
)
def test_the_simulator_refuses_what_the_provider_refuses(
    method: str, body: dict[str, Any], words: str
) -> None:
    with pytest.raises(BotError, match=words):
        read_send(method, orjson.dumps({"chat_id": 7400000000001} | body))


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
        (429, error(429, "Too Many Requests: retry after 6"), ("RATE", 429, 6.0, False)),
        (400, orjson.dumps({"ok": False, "error_code": "429"}), ("RATE", 429, None, False)),
        (429, orjson.dumps({"ok": False, "parameters": {"retry_after": 7}}), ("RATE", None, 7.0, False)),
        (403, orjson.dumps({"ok": False, "description": "bot was blocked by the user"}), ("UNREACH", None, None, False)),
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
    assert found.opted_out == (
        found.failure_class == "UNREACH" and (b"locked by" in body or b"deactivated" in body)
    )
    assert found.message_only == (
        found.failure_class == "UNREACH"
        and any(words in body.lower() for words in (b"not found", b"peer_id_invalid"))
    )


def test_words_that_the_request_chose_are_no_act_of_hers() -> None:
    """A 400 may quote what was asked; that she blocked the bot is a 403."""
    quoted = error(400, "Bad Request: button URL 'bot was blocked by the user' is invalid")
    assert not CHANNEL.classify(ProviderResponse(400, {}, quoted)).opted_out


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
    assert declared.content_kinds == {"text", "media", "buttons", "list"}, "there are no read marks"
    assert (declared.replies, declared.caption_max_characters) == (True, 1_024)
    assert (declared.receipts, declared.window_s, declared.first_contact) == (frozenset(), None, "nothing")
    assert (declared.names_account, declared.echoes_our_id) == (False, False)
    assert declared.api_base_url == "https://api.telegram.org"
    assert all(entry.source.startswith("https://") and entry.checked for entry in CHANNEL.processing)
