"""Sending to Messenger and Instagram: the request that goes out, and what each answer means."""

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
from tests.unit.channels.meta_payloads import ACCOUNT, BOTH, INSTAGRAM, MESSENGER, PERSON
from workers.channel import (
    Channel,
    Failed,
    InvalidLink,
    Outcome,
    ProviderResponse,
    Submitted,
    Unclear,
    UnsupportedContent,
    echo_of,
)
from workers.channels.instagram.wire import PLATFORM as ON_INSTAGRAM
from workers.channels.messenger.wire import PLATFORM as ON_MESSENGER
from workers.meta_messaging.simulator import SendError, read_send

ECHO = echo_of("20261125" + "0" * 24, 0)
URL = "https://files.example/birnen.jpg"
PLATFORMS = {"messenger": ON_MESSENGER, "instagram": ON_INSTAGRAM}
both = pytest.mark.parametrize("channel", BOTH, ids=lambda channel: channel.name)


@dataclass
class Account:
    """A page, or a professional account."""

    provider_account_id: str = ACCOUNT
    access_token: str = "EAAtoken"
    api_base_url: str = "https://graph.facebook.com/v25.0"


def person(channel: Channel) -> Address:
    found = channel.read_address(PERSON)
    assert found is not None
    return found


def sent(channel: Channel, content: Content) -> Any:
    """The body that goes out."""
    request = next(channel.deliver(content, person(channel), Account(), ECHO))
    assert (request.method, request.url) == ("POST", f"https://graph.facebook.com/v25.0/{ACCOUNT}/messages")
    assert request.headers["Authorization"] == "Bearer EAAtoken"
    assert not any(word in repr(request) for word in ("EAAtoken", PERSON, "Größe"))
    return orjson.loads(request.body)


def outcome(channel: Channel, status: int, body: bytes, content: Content | None = None) -> Outcome:
    steps = channel.deliver(content or TextContent(text="Hallo"), person(channel), Account(), ECHO)
    next(steps)
    with pytest.raises(StopIteration) as ended:
        steps.send(ProviderResponse(status, {}, body))
    result: Outcome = ended.value.value
    return result


def buttons(count: int, title: str = "Ja", text: str = "Größe?") -> ButtonsContent:
    return ButtonsContent(
        type="buttons", text=text, buttons=[Button(id=f"b{n}", title=title) for n in range(count)]
    )


def file(kind: MediaKind, **fields: Any) -> MediaContent:
    return MediaContent(type="media", kind=kind, url=URL, **fields)


@both
def test_a_text(channel: Channel) -> None:
    """An answer within the window, with our id in what its echo brings back, and no token in the URL."""
    assert sent(channel, TextContent(text="Größe 😮")) == {
        "messaging_type": "RESPONSE",
        "recipient": {"id": PERSON},
        "message": {"text": "Größe 😮", "metadata": ECHO},
    }


@both
def test_a_file_by_its_link(channel: Channel) -> None:
    types = {"image": "image", "video": "video", "audio": "audio", "document": "file"}
    for kind in channel.capabilities.media_kinds:
        assert sent(channel, file(kind))["message"] == {
            "attachment": {"type": types[kind], "payload": {"url": URL}},
            "metadata": ECHO,
        }


@both
def test_buttons_are_quick_replies(channel: Channel) -> None:
    assert sent(channel, buttons(2))["message"] == {
        "text": "Größe?",
        "metadata": ECHO,
        "quick_replies": [
            {"content_type": "text", "title": "Ja", "payload": "b0"},
            {"content_type": "text", "title": "Ja", "payload": "b1"},
        ],
    }
    assert len(sent(channel, buttons(13, "x" * 20))["message"]["quick_replies"]) == 13


@both
def test_a_read_mark(channel: Channel) -> None:
    """It is no message: nothing of it but the recipient, and what it is called is what was read."""
    mark = ReadMarkContent(type="read_mark", of="m_7")
    assert sent(channel, mark) == {"recipient": {"id": PERSON}, "sender_action": "mark_seen"}
    assert outcome(channel, 200, b'{"recipient_id":"1"}', mark) == Submitted("read:m_7")
    assert outcome(channel, 200, b"{}", mark) == Unclear(200)
    assert outcome(channel, 400, b'{"error":{"code":551}}', mark) == Failed("UNREACH", 551, None)


def test_an_answer_to_a_message() -> None:
    for content in (TextContent(text="x", in_reply_to="m_7"), file("image", in_reply_to="m_7")):
        assert sent(MESSENGER, content)["reply_to"] == {"mid": "m_7"}


WRONG: list[tuple[Content, str]] = [
    (TextContent(text="x" * 2_001), "at most"),
    (TemplateContent(name="order_ready", language="de"), "no template"),
    (
        ListContent(
            type="list", text="x", button="x", sections=[ListSection(rows=[ListRow(id="1", title="x")])]
        ),
        "no list",
    ),
    (file("image", caption="Birnen"), "without words"),
    (file("image", filename="birnen.jpg"), "the name of a file"),
    (buttons(1, "x" * 21), "20 characters"),
    (buttons(1, text="x" * 2_001), "at most"),
    (ReadMarkContent(type="read_mark"), "which message"),
]


@both
@pytest.mark.parametrize(("content", "why"), WRONG)
def test_what_is_not_declared_is_refused_before_any_call(
    channel: Channel, content: Content, why: str
) -> None:
    with pytest.raises(UnsupportedContent, match=why):
        next(channel.deliver(content, person(channel), Account(), ECHO))


@both
def test_an_address_of_somewhere_else_is_refused(channel: Channel) -> None:
    other = INSTAGRAM if channel is MESSENGER else MESSENGER
    for address in (
        person(other),
        Address("whatsapp", "phone", PERSON),
        Address(channel.name, "phone", PERSON),
    ):
        with pytest.raises(UnsupportedContent):
            next(channel.deliver(TextContent(text="x"), address, Account(), ECHO))


def test_what_instagram_counts_and_leaves_out() -> None:
    """A text is counted in bytes; there are no documents and no answers to one message."""
    assert sent(INSTAGRAM, TextContent(text="ä" * 500))["message"]["text"] == "ä" * 500
    wrong: list[Content] = [
        TextContent(text="ä" * 501), TextContent(text="x" * 1_001), buttons(1, text="ä" * 501), file("document"),
        TextContent(text="x", in_reply_to="m_7"),
    ]  # fmt: skip
    for content in wrong:
        with pytest.raises(UnsupportedContent):
            next(INSTAGRAM.deliver(content, person(INSTAGRAM), Account(), ECHO))


@both
def test_answers(channel: Channel) -> None:
    """An error counts before an id, even with HTTP 200; what does not tell is unclear."""
    assert outcome(channel, 200, b'{"recipient_id":"1","message_id":"m_1"}') == Submitted("m_1")
    assert outcome(channel, 200, b'{"error":{"code":36000}}') == Failed("PERM", 36000, None)
    window = b'{"error":{"code":10,"error_subcode":2018278}}'
    assert outcome(channel, 400, window) == Failed("WINDOW", 10, None)
    gone = b'{"error":{"code":551,"error_subcode":1545041}}'
    assert outcome(channel, 400, gone) == Failed("UNREACH", 551, None)
    assert outcome(channel, 503, b"") == Failed("RETRY", None, None)
    for status, body in (
        (200, b""),
        (200, b"[]"),
        (200, b'{"recipient_id":"1"}'),
        (502, b""),
        (500, b"<html>"),
    ):
        assert outcome(channel, status, body) == Unclear(status)


@both
@pytest.mark.parametrize(
    "content",
    [
        TextContent(text="x"), file("image"), file("video"), file("audio"), buttons(13, "x" * 20),
        ReadMarkContent(type="read_mark", of="m_7"),
    ],
)  # fmt: skip
def test_what_is_rendered_the_simulator_takes_and_shows(channel: Channel, content: Content) -> None:
    """Every declared kind at its limits, with nothing lost on the way."""
    platform = PLATFORMS[channel.name]
    taken = read_send(platform, orjson.dumps(sent(channel, content)))
    assert taken.to == PERSON
    if isinstance(content, ReadMarkContent):
        assert (taken.action, taken.said) == ("mark_seen", {})
        return
    assert taken.said["metadata"] == ECHO
    if isinstance(content, MediaContent):
        assert (taken.said["type"], taken.said["url"]) == (content.kind, URL)
    if isinstance(content, TextContent | ButtonsContent):
        assert taken.said["body"] == content.text
    if isinstance(content, ButtonsContent):
        assert taken.said["buttons"] == [button.model_dump() for button in content.buttons]


@both
@pytest.mark.parametrize(
    "wrong",
    [
        {"message": {"text": " "}}, {"message": {"text": "x" * 2_001}}, {"message": {"text": "x", "metadata": "x" * 1_001}},
        {"message": {"attachment": {"type": "image", "payload": {"url": "birnen.jpg"}}}},
        {"message": {"attachment": {"type": "pigeon", "payload": {"url": URL}}}},
        {"message": {"text": "x", "attachment": {"type": "image", "payload": {"url": URL}}}},
        {"message": {"text": "x", "quick_replies": []}},
        {"message": {"text": "x", "quick_replies": [{"content_type": "text", "title": "x" * 21, "payload": "p"}]}},
        {"message": {"text": "x", "quick_replies": [{"content_type": "text", "title": "x", "payload": "p" * 1_001}]}},
        {"message": {"text": "x", "quick_replies": [{"content_type": "text", "title": "x", "payload": "p"}] * 14}},
        {"message": {"text": "x", "quick_replies": [{"title": "x", "payload": "p"}]}},
        {"messaging_type": "MESSAGE_TAG", "tag": "ACCOUNT_UPDATE"}, {"messaging_type": None}, {"reply_to": {"mid": 7}},
        {"recipient": {"id": "Ada"}}, {"recipient": None}, {"sender_action": "mark_seen"}, {"message": None},
    ],
)  # fmt: skip
def test_the_simulator_refuses_what_the_provider_refuses(channel: Channel, wrong: dict[str, Any]) -> None:
    good = {"messaging_type": "RESPONSE", "recipient": {"id": PERSON}, "message": {"text": "x"}}
    assert read_send(PLATFORMS[channel.name], orjson.dumps(good)).said["body"] == "x"
    with pytest.raises(SendError) as refused:
        read_send(PLATFORMS[channel.name], orjson.dumps(good | wrong))
    assert (refused.value.code, refused.value.http) == (100, 400)


def test_the_simulator_counts_as_each_platform_counts() -> None:
    body = {"messaging_type": "RESPONSE", "recipient": {"id": PERSON}, "message": {"text": "ä" * 501}}
    assert read_send(ON_MESSENGER, orjson.dumps(body)).said["body"] == "ä" * 501
    answering = {**body, "message": {"text": "x"}, "reply_to": {"mid": "m_7"}}
    assert read_send(ON_MESSENGER, orjson.dumps(answering)).said["reply_to"] == "m_7"
    for refused in (body, answering):
        with pytest.raises(SendError):
            read_send(ON_INSTAGRAM, orjson.dumps(refused))


def test_links_and_addresses() -> None:
    assert MESSENGER.chat_link(ACCOUNT, "aB_9-") == f"https://m.me/{ACCOUNT}?ref=aB_9-"
    assert MESSENGER.chat_link("backhaus.berlin", "t") == "https://m.me/backhaus.berlin?ref=t"
    assert INSTAGRAM.chat_link("@backhaus_berlin", "aB_9-") == "https://ig.me/m/backhaus_berlin?ref=aB_9-"
    for channel in BOTH:
        for name, token in (("", "t"), ("a/b", "t"), ("a?b", "t"), ("a", ""), ("a", "a b"), ("a", "x" * 65)):
            with pytest.raises(InvalidLink):
                channel.chat_link(name, token)
        found = channel.read_address(f" {PERSON} ")
        assert found == person(channel)
        for wrong in ("", "Ada", "+49151", "1" * 33, "١٢٣", "@ada"):
            assert channel.read_address(wrong) is None


def test_what_is_declared() -> None:
    """What can be sent and how much of it, in the contract's words; nobody is written to first."""
    for channel in BOTH:
        declared = channel.capabilities
        assert declared.content_kinds == {"text", "media", "buttons", "read_mark"}
        assert (declared.first_contact, declared.window_s) == ("nothing", 86_400.0)
        assert (declared.buttons_max, declared.button_title_max_characters) == (13, 20)
        assert (declared.caption_max_characters, declared.list_rows_max) == (0, 0)
        assert all(entry.company and entry.source and entry.checked for entry in channel.processing)
    assert (MESSENGER.capabilities.text_max_characters, MESSENGER.capabilities.replies) == (2_000, True)
    assert (INSTAGRAM.capabilities.text_max_characters, INSTAGRAM.capabilities.replies) == (1_000, False)
    assert (MESSENGER.capabilities.text_max_bytes, INSTAGRAM.capabilities.text_max_bytes) == (0, 1_000)
    assert MESSENGER.capabilities.media_kinds == {"image", "video", "audio", "document"}
    assert INSTAGRAM.capabilities.media_kinds == {"image", "video", "audio"}
    assert MESSENGER.capabilities.receipts == {"sent", "delivered", "read"}
    assert INSTAGRAM.capabilities.receipts == {"sent", "read"}, "it reports no deliveries"
