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
from workers.inbound_values import (
    Inbound,
    InboundEdit,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundUnsupported,
    Media,
)

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
    """The text stays as it is; the token is told beside it, unless it is no link's or another's words."""
    value = said("message", message("/start Kampagne_7-x"))
    assert (value.kind, value.words, value.token) == ("text", "/start Kampagne_7-x", "Kampagne_7-x")
    assert said("message", message("/start@shop_bot Kampagne_7-x")).token == "Kampagne_7-x"
    for none in ("/start", "/start a b", "/start Größe", "/start " + "x" * 65, "Kampagne_7-x", "/started x"):
        assert said("message", message(none)).token is None
    assert said("message", message("/start x", forward_origin={"type": "user"})).token is None
    assert "Kampagne" not in repr(value)
    (fragment,) = CHANNEL.split(update("message", message("/start Kampagne_7-x")))
    (facts,) = CHANNEL.describe(fragment.raw)
    assert facts["start_payload"] == "Kampagne_7-x"


@pytest.mark.parametrize("how", ["forward_origin", "forward_date", "forward_from"])
def test_what_is_forwarded_asks_for_nothing(how: str) -> None:
    value = said("message", message("/start token", **{how: {"type": "user"}}))
    assert (value.text, value.words, value.forwarded) == ("/start token", "", True)


FILE = {"file_id": "AgAD", "file_unique_id": "u", "mime_type": "x/y", "file_name": "a.bin", "file_size": 9}


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("video", "video"), ("animation", "video"), ("video_note", "video"), ("audio", "audio"), ("voice", "voice"),
        ("document", "document"), ("sticker", "sticker"),
    ],
)  # fmt: skip
def test_files(word: str, kind: Any) -> None:
    """Called by the id with which the bot can fetch them; kept whole, for the provider says more."""
    item = message(None, **{word: FILE})
    value = said("message", item)
    assert (value.kind, value.provider_kind, value.text) == ("media", word, None)
    assert value.media == (Media(kind, "x/y", "AgAD", name="a.bin"),)
    assert value.raw == {"update_id": 10_000, "message": item}
    assert not any(word in repr(value) for word in ("AgAD", "a.bin"))


def test_of_a_photo_the_largest_size() -> None:
    """By bytes, else by pixels; STOP under a photo is a STOP."""
    sizes = [
        {"file_id": "s", "file_size": 5},
        {"file_id": "l", "file_size": 9},
        {"file_id": "m", "file_size": 7},
    ]
    value = said("message", message(None, photo=sizes, caption="STOP"))
    assert (value.kind, value.words, [m.ref for m in value.media]) == ("media", "STOP", ["l"])
    areas = [{"file_id": "l", "width": 9, "height": 9}, {"file_id": "s", "width": 2, "height": 9}]
    assert said("message", message(None, photo=areas)).media[0].ref == "l"
    for nothing in ([], [5], "x", [{"file_id": 7}]):
        (media,) = said("message", message(None, photo=nothing)).media
        assert (media.kind, media.ref) == ("image", None)
    passed_on = message(None, photo=sizes, caption="STOP", forward_origin={"type": "user"})
    assert said("message", passed_on).words == ""


@pytest.mark.parametrize(
    ("fields", "kind", "word"),
    [
        ({"location": {"latitude": 0, "longitude": 0}}, "location", "location"),
        ({"venue": {"title": "x"}, "location": {"latitude": 1.0}}, "location", "venue"),
        ({"contact": {"phone_number": "+49151", "user_id": 5}}, "contacts", "contact"),
        ({"animation": FILE, "document": FILE}, "media", "animation"),
        ({"poll": {"id": "1"}}, "unsupported", "poll"),
        ({"dice": {"value": 6}}, "unsupported", "dice"),
        ({"story": {}}, "unsupported", "story"),
        ({"migrate_to_chat_id": -1005}, "unsupported", "migrate_to_chat_id"),
        ({"a_kind_of_tomorrow": {"x": 1}, "caption": "STOP"}, "unsupported", "other"),
        ({}, "unsupported", "other"),
    ],
)
def test_every_other_kind_of_message_is_kept_whole(fields: dict[str, Any], kind: str, word: str) -> None:
    """Under its person, who is the only one it makes known: a card is content."""
    item = message(None, **fields)
    value = said("message", item)
    assert (value.kind, value.provider_kind) == (kind, word)
    assert value.words == fields.get("caption", ""), "what is not known may still hold a STOP"
    assert value.raw == {"update_id": 10_000, "message": item}


def edited(item: dict[str, Any], update_id: int = 10_001) -> InboundEdit:
    value = value_of("edited_message", item, update_id)
    assert isinstance(value, InboundEdit)
    assert [a.value for a in value.addresses] == [str(PERSON)]
    return value


def test_an_edit_names_its_message_and_has_an_id_a_version() -> None:
    """Its words are the text or what stands under the file; what was passed on stays another's."""
    first, second = (edited(message("STOP", edit_date=1_763_900_060), n) for n in (10_001, 10_002))
    assert (first.target, first.text, first.provider_time_ms) == (REF, "STOP", 1_763_900_060_000)
    assert len({first.provider_id, second.provider_id, REF}) == 3
    assert first.raw["edited_message"]["text"] == "STOP"
    photo = message(None, photo=[{"file_id": "a"}], caption="STOP", edit_date=1_763_900_060)
    assert edited(photo).text == "STOP"
    assert edited(message(None, photo=[], edit_date=1)).text is None
    assert edited(message("STOP", edit_date=1, forward_date=1)).text is None
    assert kept("edited_message", message() | {"from": {**USER, "is_bot": True}}) == ("edited_message", "bot")
    assert not any(word in repr(first) for word in ("STOP", str(PERSON)))


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
    assert (blocked.scope, blocked.value) == ("all", "stop"), "nothing reaches her until she lets it"
    assert (unblocked.scope, unblocked.value) == ("all", "resume")
    assert [a.value for a in blocked.addresses] == [str(PERSON)]
    assert blocked.provider_id != unblocked.provider_id
    assert kept("my_chat_member", membership("administrator")) == ("my_chat_member", "administrator")
    assert kept("my_chat_member", membership("Ada")) == ("my_chat_member", "other")


def test_a_reaction() -> None:
    """The whole new state: what she reacts with now, nothing where she took it away. A picture of a set cannot be shown."""
    states: list[tuple[list[dict[str, Any]], str]] = [
        ([{"type": "emoji", "emoji": "👍"}], "👍"), ([], ""), ([{"type": "paid"}], "⭐"),
        ([{"type": "emoji", "emoji": "👍"}, {"type": "custom_emoji", "custom_emoji_id": "5"}], "👍"),
        ([{"type": "emoji", "emoji": "👍"}, {"type": "emoji", "emoji": "🔥"}], "👍🔥"),
    ]  # fmt: skip
    for new, emoji in states:
        value = value_of("message_reaction", reaction(new_reaction=new))
        assert isinstance(value, InboundReaction)
        assert (value.target, value.emoji) == (f"{PERSON}:16", emoji)
        assert [a.value for a in value.addresses] == [str(PERSON)]
    custom = reaction(new_reaction=[{"type": "custom_emoji", "custom_emoji_id": "5"}])
    assert kept("message_reaction", custom) == ("message_reaction", "custom_emoji")
    first, second = (value_of("message_reaction", reaction(), n) for n in (10_001, 10_002))
    assert getattr(first, "provider_id", 1) != getattr(second, "provider_id", 1)


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
        ("edited_message", message(edit_date="x"), "timestamp"),
        ("message_reaction", reaction(new_reaction="x"), "malformed"),
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


def test_facts() -> None:
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


def test_an_object_that_is_no_update_is_rejected() -> None:
    """A kind of update that is newer than this program is kept."""
    for found in ({"object": "page", "entry": []}, {"ok": True, "result": []}, {}):
        (line,) = CHANNEL.describe(found)
        assert (line["kind"], line["reject"], line["why"]) == ("rejected", True, "malformed")
    assert facts("newest_thing", {"a": 1}).items() >= {"kind": "unsupported", "a": 1}.items()


def test_facts_of_a_part_never_replace_those_of_the_message() -> None:
    """What is pinned, shared or given has words, ids and people of its own."""
    own = {"message_id": 17, "chat_id": PERSON, "from": PERSON, "first_name": "Ada", "is_bot": False}
    other = {"id": 9, "is_bot": True, "first_name": "Bea"}
    parts: list[tuple[str, Any, dict[str, Any]]] = [
        ("pinned_message", {"message_id": 3, "date": 1, "text": "alt"}, {"pinned_message_text": "alt"}),
        ("chat_shared", {"request_id": 1, "chat_id": -5}, {"chat_shared_chat_id": -5}),
        ("left_chat_member", other, {"left_chat_member_first_name": "Bea", "id": 9}),
        ("gift", {"text": "Danke"}, {"gift_text": "Danke"}),
        ("poll", {"question": "?", "type": "quiz", "options": [{"text": "A"}, {"text": "B"}]},
         {"type": "poll", "poll_type": "quiz", "options": ["A", "B"]}),
        ("migrate_to_chat_id", -1005, {"migrate_to_chat_id": -1005}),
        ("new_chat_members", [other], {"new_chat_members": [9]}),
        ("users_shared", {"request_id": 1, "users": [{"user_id": 5}]}, {"user_ids": [5]}),
    ]  # fmt: skip
    for kind, part, told in parts:
        found = facts("message", message(None, **{kind: part}))
        assert found.items() >= (own | {"type": kind} | told).items()
        assert "text" not in found
    poll = facts("poll", {"id": "1", "question": "?", "type": "quiz", "is_closed": True})
    assert poll.items() >= {"type": "poll", "poll_type": "quiz", "question": "?"}.items()


def test_facts_of_what_stands_around() -> None:
    """Which words are answered, in which topic, whose words were passed on, and lists of plain things."""
    said = message(quote={"text": "Birnen", "position": 0}, message_thread_id=7)
    assert facts("message", said).items() >= {"quote": "Birnen", "message_thread_id": 7}.items()
    hidden = message(forward_origin={"type": "hidden_user", "sender_user_name": "Bea", "date": 1})
    assert facts("message", hidden)["forward_sender_name"] == "Bea"
    group = message(forward_origin={"type": "chat", "sender_chat": {"id": GROUP}, "date": 1})
    assert facts("message", group)["forward_from"] == GROUP
    gone = {"business_connection_id": "b", "chat": CHAT, "message_ids": [1, 2]}
    assert facts("deleted_business_messages", gone)["message_ids"] == [1, 2]
    liked = [{"type": {"type": "emoji", "emoji": "👍"}, "total_count": 3}]
    count = {"chat": SUPERGROUP, "message_id": 5, "date": 1, "reactions": liked}
    assert (
        facts("message_reaction_count", count).items()
        >= {"type": "reaction_count", "reactions": ["👍"], "counts": [3]}.items()
    )


@pytest.mark.parametrize(
    ("item", "kind"),
    [(message(), "message"), (message(edit_date=1_763_900_060), "edit"), (pressed(), "message"),
     (membership("kicked"), "opt_out"), (reaction(), "reaction"),
     ({"id": "1", "from": USER, "query": "Birnen", "offset": ""}, "unsupported"),
     (message(business_connection_id="b"), "unsupported"),
     (message(business_connection_id="b", edit_date=1_763_900_060), "unsupported")],
)  # fmt: skip
def test_an_inner_element_by_itself_is_read_by_its_form(item: dict[str, Any], kind: str) -> None:
    (fragment,) = CHANNEL.split(orjson.dumps(item))
    (line,) = CHANNEL.describe(fragment.raw)
    assert (line["kind"], line["from"]) == (kind, PERSON)
