"""What each kind of Messenger webhook becomes."""

from typing import Any

import orjson
import pytest

from tests.unit.channels.messenger_payloads import AT_MS, PAGE, PERSON, echo, element, text, webhook
from workers import meta
from workers.channel import UnparseableBody, UnparseableFragment, echo_of
from workers.channels.messenger import wire
from workers.channels.messenger.channel import CHANNEL
from workers.inbound_values import Inbound, InboundMessage, InboundStatus, InboundUnsupported

OUR_ID = echo_of("20261125" + "0" * 24, 0)


def values(body: bytes) -> list[Inbound]:
    return [value for fragment in CHANNEL.split(body) for value in CHANNEL.parse(fragment.raw)]


def one(part: dict[str, Any], name: str = "messaging") -> Inbound:
    (value,) = values(webhook(part, name=name))
    return value


def message(part: dict[str, Any]) -> InboundMessage:
    value = one(part)
    assert isinstance(value, InboundMessage)
    return value


def unsupported(part: dict[str, Any], name: str = "messaging") -> tuple[str, str]:
    value = one(part, name)
    assert isinstance(value, InboundUnsupported)
    assert value.raw
    return value.field, value.provider_kind


def test_every_element_of_every_entry_in_order() -> None:
    """With the page and the person it is about, also for an echo, where the two have changed places."""
    body = orjson.loads(webhook(text(mid="a"), echo("b"), "Ada"))
    body["entry"] += [{"id": "77", "changes": [{"field": "feed", "value": {}}]}, {}]
    fragments = CHANNEL.split(orjson.dumps(body))
    assert [(f.account_ref, f.sender_ref) for f in fragments] == [
        (PAGE, PERSON),
        (PAGE, PERSON),
        (PAGE, ""),
        ("77", ""),
        ("", ""),
    ]
    for fragment in (fragments[2], fragments[4]):
        with pytest.raises(UnparseableFragment, match="malformed"):
            CHANNEL.parse(fragment.raw)


def test_a_text_and_what_rides_along() -> None:
    said = message(text("START", reply_to={"mid": "m_0"}))
    assert (said.kind, said.text, said.words, said.in_reply_to) == ("text", "START", "START", "m_0")
    assert (said.account_ref, said.provider_id, said.provider_time_ms) == (PAGE, "m_1", AT_MS)
    assert [(a.channel, a.kind, a.value) for a in said.addresses] == [("messenger", "psid", PERSON)]
    assert said.raw is None
    assert message(text(attachments=[{"type": "fallback"}])).raw is not None
    assert message(text(referral={"ref": "t0k"})).raw is not None
    assert message({**text(), "referral": {"ref": "t0k"}}).raw is not None
    assert not any(word in repr(said) for word in ("START", PERSON, "m_1"))


def test_replies_by_button() -> None:
    quick = message(element(message={"mid": "m_2", "text": "Ja", "quick_reply": {"payload": "yes"}}))
    assert (quick.kind, quick.option_id, quick.option_title, quick.words) == (
        "button_reply",
        "yes",
        "Ja",
        "Ja",
    )
    started = element(postback={"mid": "m_3", "title": "Los", "payload": "go", "referral": {"ref": "t0k"}})
    first = message(started)
    assert (first.kind, first.provider_kind, first.option_id, first.provider_id) == (
        "button_reply", "postback", "go", "m_3",
    )  # fmt: skip
    assert first.raw is not None, "the token of the link is kept"


def test_what_has_no_id_gets_one_of_its_facts() -> None:
    """A repetition has the same one; another time, person or button does not."""
    old = element(postback={"title": "Ja", "payload": "yes"})
    others = [
        {**old, "timestamp": AT_MS + 1},
        {**old, "sender": {"id": "1"}},
        element(postback={"title": "Ja", "payload": "no"}),
        element(referral={"ref": "t0k"}),
        element(reaction={"mid": "m_1", "action": "react", "emoji": "👍"}),
        element(reaction={"mid": "m_1", "action": "unreact"}),
        element(message_edit={"mid": "m_1", "text": "Hallo!", "num_edit": 1}),
        element(message_edit={"mid": "m_1", "text": "Hallo!!", "num_edit": 2}),
        element(message={"mid": "m_1", "is_deleted": True}),
        text(),
    ]
    assert message(old).provider_id == message(dict(reversed(old.items()))).provider_id
    assert len({message(part).provider_id for part in [old, *others]}) == 1 + len(others)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (
            {"message": {"mid": "m", "attachments": [{"type": "image", "payload": {"url": "https://x/y"}}]}},
            "image",
        ),
        ({"message": {"mid": "m", "attachments": [{"type": "Ada"}]}}, "other"),
        ({"message": {"mid": "m"}}, "other"),
        ({"message": {"mid": "m", "is_deleted": True}}, "deleted"),
        ({"referral": {"ref": "t0k", "source": "SHORTLINK", "type": "OPEN_THREAD"}}, "referral"),
        ({"reaction": {"mid": "m", "action": "react", "emoji": "👍"}}, "reaction"),
        ({"message_edit": {"mid": "m", "text": "neu", "num_edit": 1}}, "message_edit"),
    ],
)
def test_acts_that_are_not_handled_yet_are_kept_whole(part: dict[str, Any], kind: str) -> None:
    """They are the person's, so they open the window and stand in the history."""
    said = message(element(**part))
    assert (said.kind, said.provider_kind, said.text) == ("unsupported", kind, None)
    assert said.raw is not None
    assert said.raw["messaging"] == [element(**part)]


@pytest.mark.parametrize(
    "kind",
    ["optin", "read", "account_linking", "pass_thread_control", "app_roles", "policy_enforcement", "Ada"],
)
def test_what_is_no_act_towards_us_is_counted(kind: str) -> None:
    """A watermark names no message; an opt-in to the provider's marketing messages is no consent of ours."""
    assert unsupported(element(**{kind: {"watermark": AT_MS}})) == (
        "messaging",
        kind if kind in wire.KINDS else "other",
    )


def test_standby_and_changes_are_read_and_never_answered() -> None:
    assert unsupported(text("START"), "standby") == ("standby", "message")
    assert unsupported({"field": "feed", "value": {"from": {"id": "1"}}}, "changes") == ("feed", "other")
    assert unsupported({"field": "Ada"}, "changes") == ("other", "other")
    assert isinstance(one(element(delivery={"mids": ["m_9"]}), "standby"), InboundStatus)


def test_deliveries_are_one_status_a_message() -> None:
    many = element(delivery={"mids": ["m_1", "m_2"], "watermark": AT_MS, "seq": 7})
    fragments = CHANNEL.split(webhook(many))
    assert [f.raw["messaging"][0]["delivery"] for f in fragments] == [
        {"mids": [mid], "watermark": AT_MS, "seq": 7} for mid in ("m_1", "m_2")
    ]
    found = [v for f in fragments for v in CHANNEL.parse(f.raw)]
    assert [(v.status, v.provider_id) for v in found if isinstance(v, InboundStatus)] == [
        ("delivered", "m_1"),
        ("delivered", "m_2"),
    ]
    assert unsupported(element(delivery={"watermark": AT_MS})) == ("messaging", "delivery")


def test_an_echo_with_our_id_says_that_the_message_went_out() -> None:
    """It carries the id we sent along, so it settles a send of unknown outcome; a colleague's message does not."""
    ours = one(echo(metadata=OUR_ID))
    assert isinstance(ours, InboundStatus)
    assert (ours.status, ours.provider_id, ours.echo) == ("sent", "m_9", OUR_ID)
    assert ours.recipient == CHANNEL.read_address(PERSON)
    for foreign in (echo(), echo(metadata="x"), echo(metadata=7)):
        assert unsupported(foreign) == ("messaging", "echo")


def test_elements_of_another_page_mean_nothing() -> None:
    assert values(webhook(text(), page="99")) == []
    assert values(webhook(echo(metadata=OUR_ID), page="99")) == []


def test_times_in_seconds_and_milliseconds() -> None:
    assert message({**text(), "timestamp": 1_701_599_111}).provider_time_ms == 1_701_599_111_000
    with pytest.raises(UnparseableFragment, match="timestamp"):
        one({**text(), "timestamp": "2021-09-08T06:34:04+0000"})


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (element(message={"text": "x"}), "no_id"),
        (element(message="x"), "malformed"),
        (element(message={"mid": "m", "text": 7}), "malformed"),
        ({**text(), "sender": {"id": "Ada"}}, "no_address"),
        ({**text(), "sender": {"user_ref": "1"}}, "no_address"),
        (element(delivery={"mids": "m"}), "malformed"),
        (element(delivery={"mids": [""]}), "malformed"),
    ],
)
def test_what_is_not_as_documented_is_rejected_alone(part: dict[str, Any], why: str) -> None:
    fragments = CHANNEL.split(webhook(part, text()))
    with pytest.raises(UnparseableFragment, match=why):
        CHANNEL.parse(fragments[0].raw)
    assert isinstance(CHANNEL.parse(fragments[1].raw)[0], InboundMessage)
    assert CHANNEL.describe(fragments[0].raw)[0]["why"] == why


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"object":"instagram","entry":[]}', b'{"object":"page","entry":{}}', b'{"entry":[]}'],
)
def test_what_is_no_webhook_of_messenger(body: bytes) -> None:
    with pytest.raises(UnparseableBody):
        CHANNEL.split(body)


def test_a_body_nested_deeper_than_can_be_written_is_none_of_messenger() -> None:
    with pytest.raises(UnparseableBody):
        CHANNEL.split(webhook(text("deep")).replace(b'"deep"', b"[" * 300 + b"]" * 300))


def test_a_body_does_not_grow_by_being_split() -> None:
    """What is large is not copied to each delivery, and there is an end to the number of parts."""
    big = element(delivery={"mids": ["m_1", "m_2"]}, note="x" * meta.COMPANION_MAX_BYTES)
    fragments = CHANNEL.split(webhook(big))
    assert all("note" not in f.raw["messaging"][0] for f in fragments)
    assert [type(v) for f in fragments for v in CHANNEL.parse(f.raw)] == [InboundStatus] * 2
    with pytest.raises(UnparseableBody):
        CHANNEL.split(webhook(element(delivery={"mids": ["m"] * (meta.FRAGMENTS_MAX + 1)})))


def test_facts_of_the_kinds_that_are_not_in_the_fixtures() -> None:
    """Flat, whatever the element; our words are never replaced by the provider's."""

    def facts(part: dict[str, Any], name: str = "messaging") -> dict[str, Any]:
        (fragment,) = CHANNEL.split(webhook(part, name=name))
        (found,) = CHANNEL.describe(fragment.raw)
        orjson.dumps(found)
        return found

    said = facts(text("Hallo", quick_reply={"payload": "p"}))
    assert (said["text"], said["payload"], said["from"], said["timestamp_ms"]) == (
        "Hallo",
        "p",
        PERSON,
        AT_MS,
    )
    place = {"type": "location", "payload": {"coordinates": {"lat": 1.5, "long": -2}}}
    assert facts(element(message={"mid": "m", "attachments": [place]}))["attachments"] == [
        {"type": "location", "lat": 1.5, "long": -2}
    ]
    link = {"ref": "t0k", "source": "SHORTLINK", "type": "OPEN_THREAD"}
    postback = facts(element(postback={"title": "Los", "payload": "go", "referral": link}))
    assert (postback["event"], postback["ref"], postback["source"]) == ("postback", "t0k", "SHORTLINK")
    assert facts({**text(), "referral": link})["ref"] == "t0k"
    assert facts(element(read={"watermark": 7}))["status"] == "read"
    assert facts(element(message_edit={"mid": "m", "text": "neu"}))["event"] == "edited"
    assert facts(echo(metadata=OUR_ID)) | {"event": "echo", "status": "sent"} == facts(echo(metadata=OUR_ID))
    assert facts(element(policy_enforcement={"action": "block", "kind": "x"}))["kind"] == "unsupported"
    assert (
        facts({"field": "feed", "value": {"item": "post", "kind": "x"}}, "changes")["kind"] == "unsupported"
    )
    assert facts(text("hi"), "standby")["standby"] is True
