"""Sending to Apple: the request that goes out, what each answer means, and what an error is."""

import re
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
from tests.unit.channels.apple_payloads import BUSINESS, KEY, MSP_ID, PERSON, SECRET, SIGNED_S
from workers.channel import (
    DeliverySteps,
    Failed,
    InvalidLink,
    Outcome,
    ProviderRequest,
    ProviderResponse,
    Submitted,
    Unclear,
    UnsupportedContent,
    echo_of,
)
from workers.channels.apple import wire
from workers.channels.apple.channel import CHANNEL, Apple

OPAQUE = Address("apple", "opaque", PERSON)
ECHO = echo_of("20261125" + "0" * 24, 0)
AT_MS = SIGNED_S * 1000 + 999
DATED = Apple(lambda: AT_MS)
FILE = "https://files.example/a/flyer.pdf?x=1"


@dataclass
class Account:
    """A business."""

    provider_account_id: str = BUSINESS
    access_token: str = f"{MSP_ID}:{SECRET}"
    api_base_url: str = "https://mspgw.push.apple.com/v1/"


def steps(content: Content, **changed: str) -> DeliverySteps:
    return DATED.deliver(content, OPAQUE, Account(**changed), ECHO)


def request_of(content: Content) -> ProviderRequest:
    return next(steps(content))


def body_of(content: Content) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(request_of(content).body)
    return found


def outcome(status: int, body: bytes = b"", **headers: str) -> Outcome:
    delivery = steps(TextContent(text="Hallo"))
    next(delivery)
    with pytest.raises(StopIteration) as ended:
        delivery.send(ProviderResponse(status, headers, body))
    result: Outcome = ended.value.value
    return result


def buttons(*titles: str, text: str = "Ja?") -> ButtonsContent:
    return ButtonsContent(type="buttons", text=text, buttons=[Button(id=t.lower(), title=t) for t in titles])


def listed(*titles: str, text: str = "Was?", **row: Any) -> ListContent:
    rows = [ListRow(id=title.lower(), title=title, **row) for title in titles]
    return ListContent(
        type="list", text=text, button="Wählen", sections=[ListSection(title="Obst", rows=rows)]
    )


TWO_SECTIONS = ListContent(
    type="list", text="Was?", button="Wählen", sections=listed(*map(str, range(51))).sections * 2
)
"""102 rows."""


def test_a_text() -> None:
    """Proved by a token of ours, named alike in headers and body; nothing of it is shown."""
    request = request_of(TextContent(text="*Größe* 😮"))
    assert (request.method, request.url) == ("POST", "https://mspgw.push.apple.com/v1/message")
    headers = dict(request.headers)
    claims = wire.read_token(headers.pop("Authorization").removeprefix("Bearer "), KEY)
    assert claims == {"iss": MSP_ID, "iat": SIGNED_S}
    own_id = wire.message_id(ECHO)
    assert headers == {
        "Content-Type": "application/json", "id": own_id, "source-id": BUSINESS, "destination-id": PERSON, "auto-reply": "true",
    }  # fmt: skip
    assert orjson.loads(request.body) == {
        "v": 1, "id": own_id, "type": "text", "sourceId": BUSINESS, "destinationId": PERSON, "body": "*Größe* 😮",
    }  # fmt: skip
    assert not any(word in repr(request) for word in (SECRET, PERSON, "Größe", own_id))


def test_a_part_has_one_id_however_often_it_is_sent() -> None:
    """A UUID; another part or message has another."""
    found = {
        wire.message_id(echo_of(day + "0" * 24, part)) for day in ("20261125", "20261126") for part in (0, 1)
    }
    assert len(found) == 4
    assert wire.message_id(ECHO) in found
    assert all(
        re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one)
        for one in found
    )


@pytest.mark.parametrize(
    ("kind", "fields", "title", "video"),
    [
        ("document", {"caption": "Der Flyer"}, "Der Flyer", None),
        ("image", {"filename": "flyer.png"}, "flyer.png", None),
        ("audio", {}, "files.example", None),
        ("video", {"url": "https://files.example/a.MOV?x"}, "files.example", "video/quicktime"),
        ("video", {"url": "https://files.example/a"}, "files.example", "video/mp4"),
    ],
)
def test_a_file_is_a_rich_link(kind: Any, fields: dict[str, str], title: str, video: str | None) -> None:
    content = MediaContent(**{"type": "media", "kind": kind, "url": FILE, **fields})
    body = body_of(content)
    link = body["richLinkData"]
    assert (body["type"], link["url"], link["title"]) == ("richLink", content.url, title)
    assert link["assets"]["image"]["mimeType"] == "image/png"
    assert link["assets"].get("video") == (video and {"url": content.url, "mimeType": video})


def test_buttons_are_a_quick_reply() -> None:
    body = body_of(buttons("Ja", "Nein"))
    shown = body["interactiveData"]
    assert (body["type"], shown["bid"], shown["sessionIdentifier"]) == (
        "interactive",
        wire.BUSINESS_BID,
        body["id"],
    )
    assert shown["data"] == {
        "version": "1.0",
        "requestIdentifier": body["id"],
        "quick-reply": {
            "summaryText": "Ja?",
            "items": [{"identifier": "ja", "title": "Ja"}, {"identifier": "nein", "title": "Nein"}],
        },
    }


def test_one_button_is_a_list_of_one() -> None:
    """A quick reply needs two."""
    data = body_of(buttons("Weiter"))["interactiveData"]["data"]
    (section,) = data["listPicker"]["sections"]
    assert [(item["identifier"], item["title"]) for item in section["items"]] == [("weiter", "Weiter")]


def test_a_list() -> None:
    """The text takes the bubble's title where it fits, else its second line."""
    shown = body_of(listed("Birnen", "Äpfel", description="frisch"))["interactiveData"]
    assert shown["receivedMessage"] == {"title": "Was?", "subtitle": "Wählen", "style": "icon"}
    assert shown["data"]["listPicker"]["sections"] == [
        {
            "title": "Obst", "order": 0, "multipleSelection": False,
            "items": [
                {"identifier": "birnen", "title": "Birnen", "subtitle": "frisch", "order": 0, "style": "icon"},
                {"identifier": "äpfel", "title": "Äpfel", "subtitle": "frisch", "order": 1, "style": "icon"},
            ],
        }
    ]  # fmt: skip
    long = body_of(listed("Birnen", text="Was? " * 20))["interactiveData"]["receivedMessage"]
    assert (long["title"], long["subtitle"]) == ("Wählen", "Was? " * 20)


@pytest.mark.parametrize(
    ("content", "address"),
    [
        (TemplateContent(type="template", name="order_ready", language="de"), OPAQUE),
        (ReadMarkContent(type="read_mark", of="x"), OPAQUE),
        (TextContent(text="x", in_reply_to="x"), OPAQUE),
        (TextContent(text="x" * 4_097), OPAQUE),
        (MediaContent(type="media", kind="image", url=FILE, caption="x" * 501), OPAQUE),
        (buttons("1", "2", "3", "4", "5", "6"), OPAQUE),
        (buttons("Ja", "x" * 25), OPAQUE),
        (listed("Birnen", text="x" * 401), OPAQUE),
        (TWO_SECTIONS, OPAQUE),
        (listed("x" * 86), OPAQUE),
        (listed("Birnen", description="x" * 401), OPAQUE),
        (TextContent(text="x"), Address("whatsapp", "phone", "4915112345678")),
        (TextContent(text="x"), Address("apple", "phone", "+4915112345678")),
    ],
)
def test_what_apple_cannot_do_is_refused_before_any_call(content: Content, address: Address) -> None:
    with pytest.raises(UnsupportedContent):
        next(DATED.deliver(content, address, Account(), ECHO))


@pytest.mark.parametrize("token", ["", SECRET, f":{SECRET}", f"{MSP_ID}:", f"{MSP_ID}:no base64!"])
def test_an_account_that_cannot_sign_calls_nothing(token: str) -> None:
    with pytest.raises(StopIteration) as ended:
        next(steps(TextContent(text="x"), access_token=token))
    assert ended.value.value == Failed("AUTH", None, None, alarm=True)


def test_what_answers_mean_for_the_message() -> None:
    """Taken; surely not taken; or nobody knows."""
    assert outcome(200) == Submitted(wire.message_id(ECHO))
    assert outcome(202, b"\n") == Submitted(wire.message_id(ECHO))
    for body in (b"{}", b"<html>"):
        assert outcome(200, body) == Unclear(200)
    for status in (500, 502, 504):
        assert outcome(status, b"<html>") == Unclear(status)
    away = outcome(503, b"", **{"retry-after": "7"})
    assert away == Failed("RETRY", 503, 7.0)
    closed = outcome(410, b"Recipient closed")
    assert closed == Failed("UNREACH", 410, None, "Recipient closed", opted_out=True)
    assert "closed" not in repr(closed)


@pytest.mark.parametrize(
    ("status", "headers", "meant"),
    [
        (400, {}, ("PERM", 400, None, False)),
        (401, {}, ("AUTH", 401, None, True)),
        (403, {}, ("AUTH", 403, None, True)),
        (404, {}, ("UNREACH", 404, None, False)),
        (410, {"Retry-After": "5"}, ("UNREACH", 410, None, False)),
        (413, {}, ("PERM", 413, None, False)),
        (429, {"RETRY-AFTER": "30"}, ("RATE", 429, 30.0, False)),
        (429, {"Retry-After": "9" * 12}, ("RATE", 429, 86_400.0, False)),
        (429, {"Retry-After": "Wed, 21 Oct"}, ("RATE", 429, None, False)),
        (429, {"Retry-After": "nan"}, ("RATE", 429, None, False)),
        (500, {}, ("RETRY", 500, None, False)),
        (418, {}, ("PERM", 418, None, False)),
        (302, {}, ("PERM", None, None, False)),
    ],
)
def test_what_errors_mean(status: int, headers: dict[str, str], meant: tuple[Any, ...]) -> None:
    found = CHANNEL.classify(ProviderResponse(status, headers, b"words \xff" * 1_000))
    assert (found.opted_out, found.message_only) == (status == 410, status == 404)
    assert (found.failure_class, found.code, found.retry_after_s, found.alarm) == meant
    assert found.text is not None
    assert len(found.text) == 1_000


@pytest.mark.parametrize("text", [PERSON, f" {PERSON} ", "OPAQUE-USER-ID", "4915112345678"])
def test_an_opaque_id_is_an_address(text: str) -> None:
    assert CHANNEL.read_address(text) == Address("apple", "opaque", text.strip())


@pytest.mark.parametrize("text", ["tel:+4915112345678", "TEL:+49 151 12345678", "+49 (0)151 12345678"])
def test_an_invited_number_is_one(text: str) -> None:
    assert CHANNEL.read_address(text) == Address("apple", "phone", "+4915112345678")


@pytest.mark.parametrize(
    "text", ["", "a b", "ä", "x" * 256, "tel:", "tel:4915112345678", "tel:+0", "+", "a\nb"]
)
def test_anything_else_is_none(text: str) -> None:
    assert CHANNEL.read_address(text) is None


def test_links() -> None:
    link = f"https://bcrw.apple.com/urn:biz:{BUSINESS}?biz-intent-id=Kampagne_7-x"
    assert CHANNEL.chat_link(BUSINESS, "Kampagne_7-x") == link
    assert CHANNEL.chat_link(f"urn:biz:{BUSINESS}", "Kampagne_7-x") == link
    for number, token in (("", "a"), ("a b", "a"), ("a?b", "a"), ("x" * 65, "a"), (BUSINESS, ""), (BUSINESS, "a&b"),
                          (BUSINESS, "x" * 65), (BUSINESS, "ä"), (BUSINESS, "a#b")):  # fmt: skip
        with pytest.raises(InvalidLink):
            CHANNEL.chat_link(number, token)


def test_what_is_declared() -> None:
    """Nothing is reported, nothing closes, nobody is written to first, and it is said who processes what."""
    declared = CHANNEL.capabilities
    assert (declared.receipts, declared.window_s, declared.first_contact) == (frozenset(), None, "nothing")
    assert (declared.names_account, declared.echoes_our_id, declared.replies) == (True, False, False)
    assert declared.content_kinds == {"text", "media", "buttons", "list"}
    assert declared.api_base_url == "https://mspgw.push.apple.com/v1"
    assert all(entry.source.startswith("https://") and entry.checked for entry in CHANNEL.processing)
