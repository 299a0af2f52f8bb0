"""Telegram's updates in: what is authentic, how it is cut, and what each part says."""

from typing import Any

import orjson
import pytest

from tests.unit.channels.connection import Secrets
from tests.unit.channels.telegram_payloads import (
    CHAT,
    GROUP,
    PERSON,
    SUPERGROUP,
    USER,
    membership,
    message,
    pressed,
    reaction,
    update,
)
from workers.channel import Accepted, Denied, UnparseableBody, UnparseableFragment, WebhookRequest
from workers.channels.telegram import wire
from workers.channels.telegram.channel import CHANNEL
from workers.inbound_values import Inbound, InboundMessage, InboundOptOut, InboundUnsupported

HEADER = "x-telegram-bot-api-secret-token"
REF = f"{PERSON}:17"


def value_of(kind: str, item: Any, update_id: int = 10_000) -> Inbound:
    (fragment,) = CHANNEL.split(update(kind, item, update_id))
    (value,) = CHANNEL.parse(fragment.raw)
    return value


def said(kind: str, item: Any, update_id: int = 10_000) -> InboundMessage:
    value = value_of(kind, item, update_id)
    assert isinstance(value, InboundMessage)
    assert [(a.channel, a.kind, a.value) for a in value.addresses] == [("telegram", "chat", str(PERSON))]
    return value


def kept(kind: str, item: Any) -> tuple[str, str]:
    value = value_of(kind, item)
    assert isinstance(value, InboundUnsupported)
    assert value.raw == {"update_id": 10_000, kind: item}
    return value.field, value.provider_kind


@pytest.mark.parametrize(
    ("method", "given", "verdict"),
    [
        ("POST", "Secret_token-1", Accepted()),
        ("POST", "Secret_token-2", Denied(401, "mismatch")),
        ("POST", "Secret_token-1 ", Denied(401, "malformed")),
        ("POST", "Sécret", Denied(401, "malformed")),
        ("POST", "x" * 257, Denied(401, "malformed")),
        ("POST", "", Denied(401, "missing")),
        ("POST", None, Denied(401, "missing")),
        ("GET", "Secret_token-1", Denied(405, "method")),
    ],
)
def test_the_secret_header(method: str, given: str | None, verdict: object) -> None:
    headers = {} if given is None else {HEADER: given}
    assert (
        CHANNEL.authenticate(WebhookRequest(method, {}, headers, b"{}"), Secrets("Secret_token-1")) == verdict
    )


def test_a_connection_without_a_secret_takes_nothing() -> None:
    secrets = Secrets("Secret_token-1")
    secrets.app_secret = ""
    request = WebhookRequest("POST", {}, {HEADER: "x"}, b"{}")
    assert CHANNEL.authenticate(request, secrets) == Denied(401, "no_secret")


def test_one_update_is_one_fragment_of_one_person() -> None:
    """No account is named; who acted is, also in a group; nothing of it is shown."""
    (fragment,) = CHANNEL.split(update("message", message()))
    assert (fragment.account_ref, fragment.sender_ref) == ("", str(PERSON))
    assert str(PERSON) not in repr(fragment)
    (group,) = CHANNEL.split(update("channel_post", {"message_id": 1, "chat": SUPERGROUP}))
    assert group.sender_ref == str(GROUP)
    (poll,) = CHANNEL.split(update("poll", {"id": "1"}))
    assert poll.sender_ref == ""
    assert CHANNEL.split(b'{"update_id": 174114370}') == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"null", b'{"ok": true}', b'{"update_id": "1"}', b"\xff"]
)
def test_what_is_no_update(body: bytes) -> None:
    with pytest.raises(UnparseableBody):
        CHANNEL.split(body)


def test_half_an_emoji_does_not_lose_the_message() -> None:
    body = update("message", message("@@")).replace(b"@@", b"Hallo \\ud83d")
    (fragment,) = CHANNEL.split(body)
    (value,) = CHANNEL.parse(fragment.raw)
    assert isinstance(value, InboundMessage)
    assert value.text == "Hallo ?"


def test_a_text() -> None:
    value = said("message", message(reply_to_message={"message_id": 16, "chat": CHAT}))
    assert (value.kind, value.provider_kind, value.text, value.name) == ("text", "text", "Hallo", "Ada Byron")
    assert (value.provider_id, value.in_reply_to) == (REF, f"{PERSON}:16")
    assert (value.provider_time_ms, value.account_ref, value.raw) == (1_763_900_000_000, "", None)
    assert not any(word in repr(value) for word in ("Ada", "Hallo", str(PERSON)))


def test_start_with_a_token_keeps_it() -> None:
    """The token stands in the text, and among the facts."""
    value = said("message", message("/start Kampagne_7-x"))
    assert (value.kind, value.words) == ("text", "/start Kampagne_7-x")
    (fragment,) = CHANNEL.split(update("message", message("/start Kampagne_7-x")))
    (facts,) = CHANNEL.describe(fragment.raw)
    assert facts["start_payload"] == "Kampagne_7-x"


@pytest.mark.parametrize("how", ["forward_origin", "forward_date", "forward_from"])
def test_what_is_forwarded_asks_for_nothing(how: str) -> None:
    value = said("message", message("/start token", **{how: {"type": "user"}}))
    assert (value.text, value.words, value.forwarded) == ("/start token", "", True)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"photo": [{"file_id": "a", "file_size": 1}], "caption": "STOP"}, "photo"),
        ({"animation": {"file_id": "a"}, "document": {"file_id": "a"}}, "animation"),
        ({"venue": {"title": "x"}, "location": {"latitude": 1.0}}, "venue"),
        ({"contact": {"phone_number": "+49151"}}, "contact"),
        ({"a_kind_of_tomorrow": {"x": 1}}, "other"),
        ({}, "other"),
    ],
)
def test_every_other_kind_of_message_is_kept_whole(fields: dict[str, Any], kind: str) -> None:
    """Under its person, without words, so that nothing is asked for by a caption."""
    item = message(None, **fields)
    value = said("message", item)
    assert (value.kind, value.provider_kind, value.words) == ("unsupported", kind, "")
    assert value.raw == {"update_id": 10_000, "message": item}


def test_an_edit_is_kept_once_a_version() -> None:
    first, second = (
        said("edited_message", message("STOP", edit_date=1_763_900_060), n) for n in (10_001, 10_002)
    )
    assert (first.kind, first.provider_kind, first.words) == ("unsupported", "edit", "")
    assert first.provider_time_ms == 1_763_900_060_000
    assert len({first.provider_id, second.provider_id, REF}) == 3


def test_a_pressed_button() -> None:
    """Its title is found on the message; there is no time in it; one that is not shown any more has no title."""
    value = said("callback_query", pressed())
    assert (value.kind, value.option_id, value.option_title, value.words) == ("button_reply", "j", "Ja", "Ja")
    assert (value.provider_id, value.provider_time_ms) == ("callback:4382", 0)
    assert value.in_reply_to == f"{PERSON}:16"
    gone = said("callback_query", pressed(message={"message_id": 16, "chat": CHAT, "date": 0}))
    assert (gone.option_id, gone.option_title, gone.words) == ("j", None, "")
    alone = said("callback_query", pressed(message=None))
    assert (alone.option_id, alone.in_reply_to) == ("j", None)
    game = said("callback_query", pressed(data=None, game_short_name="chess"))
    assert (game.kind, game.raw is not None) == ("unsupported", True)
    assert kept("callback_query", pressed(message=None, inline_message_id="i")) == (
        "callback_query",
        "inline",
    )


def test_blocking_forbids_and_unblocking_is_no_consent() -> None:
    blocked, unblocked = (value_of("my_chat_member", membership(word)) for word in ("kicked", "member"))
    assert isinstance(blocked, InboundOptOut)
    assert isinstance(unblocked, InboundOptOut)
    assert (blocked.scope, blocked.value, unblocked.value) == ("marketing", "stop", "resume")
    assert [a.value for a in blocked.addresses] == [str(PERSON)]
    assert blocked.provider_id != unblocked.provider_id
    assert kept("my_chat_member", membership("administrator")) == ("my_chat_member", "administrator")
    assert kept("my_chat_member", membership("Ada")) == ("my_chat_member", "other")


def test_a_reaction_is_kept() -> None:
    value = said("message_reaction", reaction())
    assert (value.kind, value.provider_kind, value.name) == ("unsupported", "reaction", "Ada Byron")


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("message", message("START", chat=SUPERGROUP)),
        ("edited_message", message("START", chat=SUPERGROUP)),
        ("callback_query", pressed(message={"message_id": 1, "chat": SUPERGROUP})),
        ("my_chat_member", membership("kicked", chat=SUPERGROUP)),
        ("message_reaction", reaction(chat={"id": GROUP, "type": "channel"})),
    ],
)
def test_a_group_is_never_one_person(kind: str, item: dict[str, Any]) -> None:
    assert kept(kind, item) == (kind, "group")


def test_what_is_no_conversation_is_kept() -> None:
    """A bot, a chat of a kind nobody knows, every other kind of update, and updates of tomorrow under no name of theirs."""
    assert kept("message", message() | {"from": {**USER, "is_bot": True}}) == ("message", "bot")
    assert kept("message", message(chat={"id": 5, "type": "planet"})) == ("message", "other")
    assert kept("business_message", message()) == ("business_message", "other")
    assert kept("channel_post", message()) == ("channel_post", "other")
    assert kept("Ada", 5) == ("other", "other")
    assert {"inline_query", "poll_answer", "chat_member", "deleted_business_messages"} <= wire.UPDATES


@pytest.mark.parametrize(
    ("kind", "item", "why"),
    [
        ("message", {"message_id": 1}, "malformed"),
        ("message", {"chat": CHAT, "date": 1}, "no_id"),
        ("message", message(message_id="17"), "no_id"),
        ("message", message(date="yesterday"), "timestamp"),
        ("message", message(date=0), "timestamp"),
        ("message", message(chat={"id": -5, "type": "private"}), "no_address"),
        ("message", message(chat={"id": 2**60, "type": "private"}), "no_address"),
        ("message", message() | {"text": ["x"]}, "malformed"),
        ("callback_query", {"from": USER}, "no_id"),
        ("my_chat_member", {"chat": CHAT}, "malformed"),
        ("message", 5, "no_id"),
    ],
)
def test_what_is_not_as_documented_says_why(kind: str, item: Any, why: str) -> None:
    (fragment,) = CHANNEL.split(update(kind, item))
    with pytest.raises(UnparseableFragment, match=why):
        CHANNEL.parse(fragment.raw)
    (line,) = CHANNEL.describe(fragment.raw)
    assert (line["kind"], line["reject"], line["why"]) == ("rejected", True, why)


def facts(kind: str, item: Any) -> dict[str, Any]:
    (fragment,) = CHANNEL.split(update(kind, item))
    (line,) = CHANNEL.describe(fragment.raw)
    orjson.dumps(line)
    return line


def test_facts_of_kinds_that_are_not_handled_yet() -> None:
    """What a reader of `sealpost parse` looks for, flat."""
    photo = message(
        None, photo=[{"file_size": 9, "width": 3}, {"file_size": 2, "width": 1}], caption="Birnen"
    )
    assert (
        facts("message", photo).items()
        >= {"sizes": 2, "largest_file_size": 9, "width": 3, "caption": "Birnen"}.items()
    )
    card = facts(
        "message", message(None, contact={"phone_number": "+49151", "first_name": "Bea", "user_id": 5})
    )
    assert (
        card.items() >= {"phone_number": "+49151", "contact_first_name": "Bea", "first_name": "Ada"}.items()
    )
    place = {"title": "Laden", "address": "Hauptstr. 1", "location": {"latitude": 1.5, "longitude": 2.5}}
    venue = facts("message", message(None, venue=place, location=place["location"]))
    assert venue.items() >= {"type": "venue", "title": "Laden", "latitude": 1.5, "longitude": 2.5}.items()
    edit = facts("edited_message", message("neu", edit_date=1_763_900_060))
    assert edit.items() >= {"event": "edited", "text": "neu", "edit_date": 1_763_900_060}.items()
    origin = {"type": "user", "sender_user": {"id": 5}, "date": 1}
    forwarded = facts("message", message(forward_origin=origin))
    assert forwarded.items() >= {"forwarded": True, "forward_origin": "user", "forward_from": 5}.items()
    assert (
        facts("callback_query", pressed()).items() >= {"data": "j", "title": "Ja", "message_id": 16}.items()
    )
    blocked = facts("my_chat_member", membership("kicked"))
    assert blocked.items() >= {"kind": "opt_out", "event": "blocked", "status": "kicked"}.items()
    unblocked = facts("my_chat_member", membership("member"))
    assert unblocked.items() >= {"kind": "resume", "event": "unblocked"}.items()
    taken_back = facts(
        "message_reaction", reaction(new_reaction=[], old_reaction=[{"type": "emoji", "emoji": "👍"}])
    )
    assert taken_back.items() >= {"event": "reaction", "removed": True}.items()
    asked = facts("inline_query", {"id": "1", "from": USER, "query": "Birnen", "offset": ""})
    assert (
        asked.items()
        >= {"kind": "unsupported", "supported": False, "query": "Birnen", "from": PERSON}.items()
    )


@pytest.mark.parametrize(
    ("item", "kind"),
    [(message(), "message"), (message(edit_date=1_763_900_060), "message"), (pressed(), "message"),
     (membership("kicked"), "opt_out"), (reaction(), "message")],
)  # fmt: skip
def test_an_inner_element_by_itself_is_read_by_its_form(item: dict[str, Any], kind: str) -> None:
    (fragment,) = CHANNEL.split(orjson.dumps(item))
    (line,) = CHANNEL.describe(fragment.raw)
    assert (line["kind"], line["from"]) == (kind, PERSON)
