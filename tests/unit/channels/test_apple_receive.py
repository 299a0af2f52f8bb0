"""Apple's messages in: how they are cut, and what each says."""

from typing import Any

import orjson
import pytest

from schemas.addresses import Address
from tests.unit.channels.apple_payloads import (
    BUSINESS,
    PERSON,
    SESSION,
    interactive,
    message,
    quick_reply,
    rows,
)
from workers.channel import UnparseableBody, UnparseableFragment
from workers.channels.apple import wire
from workers.channels.apple.channel import CHANNEL
from workers.inbound_values import Inbound, InboundMessage, InboundOptOut, InboundUnsupported, Media

ID = str(message()["id"])


def value_of(item: dict[str, Any]) -> Inbound:
    (fragment,) = CHANNEL.split(orjson.dumps(item))
    (value,) = CHANNEL.parse(fragment.raw)
    return value


def said(item: dict[str, Any]) -> InboundMessage:
    value = value_of(item)
    assert isinstance(value, InboundMessage)
    assert value.addresses == (Address("apple", "opaque", PERSON),)
    assert (value.account_ref, value.provider_time_ms, value.name) == (BUSINESS, 0, None)
    return value


def whole(item: dict[str, Any]) -> tuple[str, str, str]:
    """Of what is kept whole, and asks for nothing."""
    value = said(item)
    assert value.raw == item
    return value.kind, value.provider_kind, value.words


def test_a_message_is_one_fragment_of_one_person() -> None:
    """Nothing of it is shown."""
    (fragment,) = CHANNEL.split(orjson.dumps(message()))
    assert (fragment.account_ref, fragment.sender_ref, fragment.raw) == (BUSINESS, PERSON, message())
    assert PERSON not in repr(fragment)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"null", b'{"type": 5}', b'{"ok": true}', b"\xff"])
def test_what_is_no_message(body: bytes) -> None:
    with pytest.raises(UnparseableBody):
        CHANNEL.split(body)


def test_a_text() -> None:
    value = said(message(replyToMessageId="earlier"))
    assert (value.kind, value.provider_kind, value.text, value.words) == ("text", "text", "Hallo", "Hallo")
    assert (value.provider_id, value.in_reply_to, value.raw, value.token) == (ID, "earlier", None, None)
    assert not any(word in repr(value) for word in ("Hallo", PERSON, ID, "earlier"))


@pytest.mark.parametrize(
    ("members", "token"),
    [
        ({"intent": "campaign_7"}, "campaign_7"),
        ({"group": "shop-3"}, "shop-3"),
        ({"intent": "campaign_7", "group": "shop-3"}, "campaign_7"),
        ({"intent": "", "group": "shop-3"}, "shop-3"),
        ({"intent": 5, "group": None}, None),
    ],
)
def test_what_rode_on_the_link_is_the_token(members: dict[str, Any], token: str | None) -> None:
    assert said(message(**members)).token == token


def test_half_an_emoji_does_not_lose_the_message() -> None:
    body = orjson.dumps(message(body="@@")).replace(b"@@", b"Hallo \\ud83d")
    (fragment,) = CHANNEL.split(body)
    (value,) = CHANNEL.parse(fragment.raw)
    assert isinstance(value, InboundMessage)
    assert value.text == "Hallo ?"


def test_files_come_with_what_is_needed_to_show_them() -> None:
    """One that was dropped is there and cannot be had; the marks that stand for files are no words."""
    files = [
        {"name": "a.heic", "mimeType": "image/heic", "url": "https://p.example/1", "signature": "81aa", "owner": "M"},
        {"name": "b.pdf", "mimeType": "application/pdf", "url": "", "signature": "81bb"},
        {"name": "c.m4a", "mimeType": "audio/x-m4a", "url": "https://p.example/3", "dropped": True},
        {"mime-type": "video/quicktime", "mmcs-url": "https://p.example/4"},
        "no object",
    ]  # fmt: skip
    value = said(message(body="\ufffc\ufffc Schau \ufffc", attachments=files))
    assert (value.kind, value.provider_kind, value.text) == ("media", "attachments", "Schau")
    assert value.media == (
        Media("image", "image/heic", "81aa", "https://p.example/1", "a.heic"),
        Media("document", "application/pdf", None, None, "b.pdf"),
        Media("audio", "audio/x-m4a", None, None, "c.m4a"),
        Media("video", "video/quicktime", None, "https://p.example/4", None),
        Media("document"),
    )
    assert value.raw is not None
    assert value.raw["attachments"] == files
    assert said(message(body="\ufffc", attachments=files)).text is None
    assert said(message(body=None, attachments=files)).text is None
    assert not any(word in repr(value) for word in ("p.example", "81aa", "a.heic", "Schau"))


@pytest.mark.parametrize(
    "part",
    [
        quick_reply(),
        quick_reply(selectedIdentifier=None),
        quick_reply(selectedIndex=0),
        quick_reply(selectedIndex=99),
    ],
)
def test_a_pressed_button(part: dict[str, Any]) -> None:
    """Named by id, by number, or by both; the id goes first. It answers the message whose session it is."""
    value = said(interactive("quick-reply", part))
    assert (value.kind, value.provider_kind, value.option_id) == ("button_reply", "quick_reply", "j")
    assert (value.words, value.in_reply_to, value.raw) == ("Ja", SESSION, None)


def test_a_pressed_button_that_is_not_listed_any_more() -> None:
    value = said(interactive("quick-reply", {"selectedIdentifier": "j"}))
    assert (value.kind, value.option_id, value.option_title, value.words) == ("button_reply", "j", None, "")


def test_a_row_of_a_list() -> None:
    value = said(interactive("listPicker", rows("pears")))
    assert (value.kind, value.provider_kind, value.option_id) == ("list_reply", "list_picker", "pears")
    assert (value.words, value.raw) == ("PEARS", None)


@pytest.mark.parametrize(
    ("member", "part", "meant"),
    [
        ("listPicker", rows("pears", "yes"), ("form_reply", "list_picker", "")),
        ("listPicker", rows(), ("unsupported", "list_picker", "")),
        ("quick-reply", {"items": []}, ("unsupported", "quick_reply", "")),
        ("quick-reply", quick_reply(selectedIdentifier=None, selectedIndex=True), ("unsupported", "quick_reply", "")),
        ("quick-reply", 5, ("unsupported", "quick_reply", "")),
        ("event", {"timeslots": [{"identifier": "1"}]}, ("form_reply", "time_picker", "")),
        ("dynamic", {"template": "messageForms", "selections": []}, ("form_reply", "form", "")),
        ("notification", {"id": "yes", "displayContent": {}}, ("form_reply", "invitation", "")),
        ("notification", {"id": "yes", "templateId": "t"}, ("form_reply", "invitation", "")),
        ("authenticate", {"status": "authenticated", "token": "t"}, ("unsupported", "authenticate", "")),
        ("payment", {"state": "completed"}, ("unsupported", "payment", "")),
        ("of_tomorrow", {"x": 1}, ("unsupported", "extension", "")),
    ],
)  # fmt: skip
def test_every_other_answer_is_kept_whole(member: str, part: Any, meant: tuple[str, str, str]) -> None:
    """And says neither yes nor stop: the yes to an invitation was not said to a question of ours."""
    assert whole(interactive(member, part)) == meant


def test_an_answer_that_comes_twice_is_one() -> None:
    """Other ids, same session, same choice; another choice, session or person is another answer."""
    first = said(interactive("quick-reply", quick_reply()))
    again = said(interactive("quick-reply", quick_reply(summaryText="?"), id="another-id"))
    assert first.provider_id == again.provider_id != ID
    others = [
        interactive("quick-reply", quick_reply(selectedIdentifier="n")),
        interactive("quick-reply", quick_reply(), session="another-session"),
        interactive("listPicker", rows("j")),
        interactive("event", {"timeslots": [1]}),
        interactive("event", {"timeslots": [2]}),
    ]
    found = {said(item).provider_id for item in others} | {first.provider_id}
    stranger = value_of(interactive("quick-reply", quick_reply(), sourceId="urn:mbid:other"))
    assert isinstance(stranger, InboundMessage)
    assert len(found | {stranger.provider_id}) == len(others) + 2
    assert said(interactive("quick-reply", quick_reply(), session=None)).provider_id == ID


def test_what_lies_elsewhere_is_kept_as_it_was_named() -> None:
    """Unless the choice stands beside it."""
    ref = {"url": "https://p.example/9", "key": "00ff", "owner": "M", "signature": "81", "size": 20_000}
    assert whole(message("interactive", interactiveDataRef=ref)) == ("unsupported", "data_by_reference", "")
    both = said(interactive("quick-reply", quick_reply(), interactiveDataRef=ref))
    assert (both.kind, both.option_id) == ("button_reply", "j")
    assert both.raw is not None
    assert both.raw["interactiveDataRef"] == ref
    assert whole(message("interactive")) == ("unsupported", "extension", "")


@pytest.mark.parametrize("type_", ["typing_start", "typing_end"])
def test_typing_is_no_message(type_: str) -> None:
    (fragment,) = CHANNEL.split(orjson.dumps(message(type_)))
    assert CHANNEL.parse(fragment.raw) == []


def test_a_closed_chat_withdraws_everything() -> None:
    value = value_of(message("close"))
    assert isinstance(value, InboundOptOut)
    assert (value.scope, value.value, value.account_ref) == ("all", "stop", BUSINESS)
    assert value.addresses == (Address("apple", "opaque", PERSON),)
    assert PERSON not in repr(value)


def test_a_declined_invitation_is_an_opt_out_of_that_number() -> None:
    value = value_of(message("close", sourceId="tel:+1 (555) 123-4567", referenceIds=["r"]))
    assert isinstance(value, InboundOptOut)
    assert value.addresses == (Address("apple", "phone", "+15551234567"),)
    assert value.provider_id != getattr(value_of(message("close")), "provider_id", None)


def test_a_kind_of_tomorrow_is_kept() -> None:
    """As a message where it says something, as news where it does not."""
    assert whole(message("pigeon", body="STOP")) == ("unsupported", "other", "")
    assert whole(message("richLink", richLinkData={"url": "https://a.example"})) == (
        "unsupported",
        "richLink",
        "",
    )
    value = value_of(message("pigeon"))
    assert isinstance(value, InboundUnsupported)
    assert (value.field, value.provider_kind, value.raw) == ("message", "other", message("pigeon"))


@pytest.mark.parametrize(
    ("item", "field", "kind"),
    [
        ({"aliasId": "a", "direction": "inbound", "type": "text", "text": "STOP"}, "reseller", "text"),
        ({"aliasId": "a", "type": "amb-list-picker-response"}, "reseller", "other"),
        ({"notification": {"id": "yes"}, "requestIdentifier": "tel:+1"}, "data", "invitation"),
        (
            message("interactive", sourceId=BUSINESS, destinationId="tel:+15551234567"),
            "outbound",
            "interactive",
        ),
    ],
)
def test_what_is_no_message_of_a_person_to_us(item: dict[str, Any], field: str, kind: str) -> None:
    value = value_of(item)
    assert isinstance(value, InboundUnsupported)
    assert (value.field, value.provider_kind, value.raw) == (field, kind, item)


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (message(id=None), "no_id"),
        (message(id=""), "no_id"),
        (message(id=5), "no_id"),
        (message(sourceId=None), "no_address"),
        (message(sourceId="a b"), "no_address"),
        (message("close", sourceId="tel:abc"), "no_address"),
        (message(sourceId=5), "malformed"),
        (message(destinationId=["x"]), "malformed"),
        (message(body=5), "malformed"),
        (message(body=None), "malformed"),
    ],
)
def test_what_is_not_as_documented(item: dict[str, Any], why: str) -> None:
    (fragment,) = CHANNEL.split(orjson.dumps(item))
    with pytest.raises(UnparseableFragment) as refused:
        CHANNEL.parse(fragment.raw)
    assert refused.value.why == why
    (line,) = CHANNEL.describe(fragment.raw)
    assert (line["kind"], line["reject"], line["why"]) == ("rejected", True, why)


@pytest.mark.parametrize(
    ("item", "facts"),
    [
        (message(intent="i", group="g"), {"kind": "message", "supported": True, "text": "Hallo", "intent": "i", "group": "g"}),
        (interactive("listPicker", rows("pears")), {"interactive": "list_picker", "option_id": "pears", "session": SESSION}),
        (message("close"), {"kind": "opt_out", "event": "close", "from": PERSON}),
        (message("typing_end"), {"kind": "ignored", "event": "typing"}),
        ({"notification": {"templateId": "t"}}, {"direction": "outbound", "kind": "business-initiated invitation"}),
        (interactive("notification", {"id": "no"}), {"event": "invitation declined", "answer": "no"}),
        (message(attachments=[{"url": "https://a.example"}, {"url": ""}]), {"usable_attachments": 1, "missing_attachments": 1}),
        ({"aliasId": "a", "type": "text-with-attachments"}, {"kind": "unsupported", "type": "text with attachments"}),
        (message("interactive", interactiveDataRef={"url": "u"}), {"supported": False, "data_by_reference": True}),
        (interactive("listPicker", rows("pears", "plums")), {"supported": True, "options": ["pears", "plums"]}),
        (interactive("event", {"timeslots": [{"identifier": "s", "startTime": "2026-12-01T08:00+0000", "duration": 60}]}),
         {"slot_identifier": "s", "slot_startTime": "2026-12-01T08:00+0000", "slot_duration": 60}),
        (interactive("dynamic", {"selections": [{"title": "Size", "items": [{"value": "7"}]}]}), {"answers": {"Size": ["7"]}}),
        (interactive("authenticate", {"status": "failed"}), {"supported": False, "status": "failed"}),
        (message("richLink", richLinkData={"url": "https://a.example", "title": "A"}), {"link_title": "A"}),
    ],
)  # fmt: skip
def test_facts(item: dict[str, Any], facts: dict[str, Any]) -> None:
    (line,) = CHANNEL.describe(item)
    assert {name: line.get(name, "(missing)") for name in facts} == facts


def test_the_newer_name_of_a_files_signature() -> None:
    one = {
        "name": "a.heic",
        "mimeType": "image/heic",
        "url": "https://p.example/1",
        "signature-base64": "gao=",
    }
    assert said(message(attachments=[one])).media[0].ref == "gao="


@pytest.mark.parametrize("inside", [True, False])
def test_the_title_of_a_reply_stands_in_the_data_or_beside_it(inside: bool) -> None:
    item = interactive("listPicker", rows("pears"))
    shown = item["interactiveData"]
    (shown["data"] if inside else shown)["replyMessage"] = {"title": "Obst"}
    assert CHANNEL.describe(item)[0]["title"] == "Obst"


def test_files_of_a_message_are_bounded_by_its_body() -> None:
    """As many as a body can hold, each shown."""
    value = said(message(attachments=[{"url": "u"}] * 50_000))
    assert len(value.media) == 50_000
    assert wire.media("no list") == ()
