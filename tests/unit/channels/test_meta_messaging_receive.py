"""What each kind of webhook of Messenger and Instagram becomes."""

from typing import Any

import orjson
import pytest

from tests.unit.channels.meta_payloads import (
    ACCOUNT,
    AT_MS,
    BOTH,
    INSTAGRAM,
    MESSENGER,
    PERSON,
    echo,
    element,
    message,
    one,
    text,
    unsupported,
    webhook,
)
from workers.channel import Channel, UnparseableFragment, echo_of
from workers.inbound_values import (
    InboundEcho,
    InboundEdit,
    InboundEntry,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundWatermark,
    Media,
)
from workers.meta_messaging import wire

OUR_ID = echo_of("20261125" + "0" * 24, 0)
LINK = {"ref": "t0k", "source": "SHORTLINK", "type": "OPEN_THREAD"}
pytestmark = pytest.mark.parametrize("channel", BOTH, ids=lambda channel: channel.name)


def attached(*attachments: Any, **fields: Any) -> dict[str, Any]:
    return element(message={"mid": "m", "attachments": list(attachments), **fields})


# ---- what a person says -------------------------------------------------------------------------------------------


def test_a_text_and_what_rides_along(channel: Channel) -> None:
    said = message(channel, text("START", reply_to={"mid": "m_0"}))
    assert (said.kind, said.text, said.words, said.in_reply_to) == ("text", "START", "START", "m_0")
    assert (said.account_ref, said.provider_id, said.provider_time_ms) == (ACCOUNT, "m_1", AT_MS)
    assert [a.value for a in said.addresses] == [PERSON]
    assert {(a.channel, a.kind) for a in said.addresses} == {
        (channel.name, *channel.capabilities.address_kinds)
    }
    assert (said.raw, said.token, said.media, said.standby) == (None, None, (), False)
    assert message(channel, text(attachments=[{"type": "fallback"}])).raw is not None
    story = message(channel, text("Schön", reply_to={"story": {"id": "1", "url": "https://x/y"}}))
    assert (story.kind, story.words, story.in_reply_to, story.raw is not None) == (
        "text",
        "Schön",
        None,
        True,
    )
    assert not any(word in repr(said) for word in ("START", PERSON, "m_1"))


@pytest.mark.parametrize(
    ("attachment", "word", "media"),
    [
        ({"type": "image", "payload": {"url": "https://x/y"}}, "image", Media("image", url="https://x/y")),
        ({"type": "video", "payload": {"url": "http://x/y"}}, "video", Media("video", url="http://x/y")),
        ({"type": "audio", "payload": {"url": "https://x/y"}}, "audio", Media("audio", url="https://x/y")),
        ({"type": "file", "payload": {"url": "My Documents/foo.doc"}}, "file", Media("document")),
        ({"type": "image", "payload": None}, "image", Media("image")),
        (
            {"type": "image", "payload": {"url": "https://x/y", "sticker_id": 369239263222822}},
            "sticker",
            Media("sticker", ref="369239263222822", url="https://x/y"),
        ),
        ({"type": "like_heart"}, "like_heart", Media("sticker")),
    ],
)
def test_files(channel: Channel, attachment: dict[str, Any], word: str, media: Media) -> None:
    """Where each lies, if that is a link of the web; the fragment is kept whole, for it says more."""
    said = message(channel, attached(attachment))
    assert (said.kind, said.provider_kind, said.text, said.media) == ("media", word, None, (media,))
    assert said.raw is not None
    assert said.raw["messaging"] == [attached(attachment)]
    assert "https" not in repr(said)


def test_several_files_with_words_and_a_sticker_by_its_number(channel: Channel) -> None:
    """STOP under a picture is a STOP."""
    files = [{"type": kind, "payload": {"url": f"https://x/{kind}"}} for kind in ("image", "share", "video")]
    said = message(channel, attached(*files, text="STOP"))
    assert (said.kind, said.words, [m.kind for m in said.media]) == ("media", "STOP", ["image", "video"])
    liked = message(channel, element(message={"mid": "m", "sticker_id": 369239263222822}))
    assert (liked.kind, liked.media) == ("media", (Media("sticker", ref="369239263222822"),))


def test_a_place(channel: Channel) -> None:
    place = {"type": "location", "payload": {"coordinates": {"lat": 0, "long": -2.5}}}
    said = message(channel, attached(place))
    assert (said.kind, said.provider_kind, said.raw is not None) == ("location", "location", True)


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (attached({"type": "fallback", "payload": {"url": "My Documents/foo.doc"}}), "fallback"),
        (attached({"type": "template"}), "template"),
        (attached({"type": "share", "payload": {"url": "https://x/y"}}), "share"),
        (attached({"type": "ig_reel"}), "ig_reel"),
        (attached({"type": "story_mention", "payload": {"url": "https://x/y"}}), "story_mention"),
        (attached({"type": "ephemeral"}), "ephemeral"),
        (attached({"type": "Ada"}), "other"),
        (attached("Ada"), "other"),
        (element(message={"mid": "m"}), "other"),
        (element(message={"mid": "m", "is_unsupported": True}), "other"),
    ],
)
def test_messages_that_are_not_understood_are_kept_whole(
    channel: Channel, part: dict[str, Any], kind: str
) -> None:
    """They are the person's, so they open the window and stand in the history, and ask for nothing."""
    said = message(channel, part)
    assert (said.kind, said.provider_kind, said.words, said.media) == ("unsupported", kind, "", ())
    assert said.raw is not None
    assert said.raw["messaging"] == [part]


def test_replies_by_button(channel: Channel) -> None:
    pressed = element(message={"mid": "m_2", "text": "Ja", "quick_reply": {"payload": "yes"}})
    quick = message(channel, pressed)
    assert (quick.kind, quick.option_id, quick.option_title, quick.words, quick.text) == (
        "button_reply", "yes", "Ja", "Ja", None,
    )  # fmt: skip
    first = message(channel, element(postback={"mid": "m_3", "title": "Los", "payload": "go"}))
    assert (first.kind, first.provider_kind, first.option_id, first.provider_id, first.raw) == (
        "button_reply", "postback", "go", "m_3", None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "part",
    [
        element(postback={"mid": "m", "title": "Los", "payload": "go", "referral": LINK}),
        text(referral=LINK),
        {**text(), "referral": LINK},
        attached({"type": "image"}, referral=LINK),
    ],
)
def test_the_token_of_a_link_rides_along(channel: Channel, part: dict[str, Any]) -> None:
    """Wherever Meta puts it; the words stay what was written."""
    said = message(channel, part)
    assert (said.token, said.raw is not None) == ("t0k", True)
    assert "t0k" not in repr(said)
    assert message(channel, text(referral={"ad_id": "1", "source": "ADS"})).token is None


def test_a_link_in_a_thread_that_exists_is_an_entry(channel: Channel) -> None:
    """Also an advertisement, which carries no token, and the button of a web site; the time may be in seconds."""
    value = one(channel, {**element(referral=LINK), "timestamp": 1_701_599_111})
    assert isinstance(value, InboundEntry)
    assert (value.token, value.provider_time_ms, value.addresses[0].value) == (
        "t0k",
        1_701_599_111_000,
        PERSON,
    )
    for part, token in (
        (element(referral={"source": "ADS", "ad_id": "1"}), ""),
        (element(optin={"ref": "t0k"}), "t0k"),
    ):
        found = one(channel, part)
        assert isinstance(found, InboundEntry)
        assert found.token == token
        assert "t0k" not in repr(found)


def test_an_opt_in_that_is_none_of_ours_is_kept(channel: Channel) -> None:
    """To the provider's marketing messages, of nobody yet, without a word of where."""
    nobody = {**element(optin={"ref": "t0k", "user_ref": "u"}), "sender": {"user_ref": "u"}}
    marketing = {"type": "notification_messages", "ref": "t0k", "notification_messages_token": "1"}
    for part in (nobody, element(optin=marketing), element(optin={})):
        assert unsupported(channel, part) == ("messaging", "optin")


@pytest.mark.parametrize("name", ["messaging", "standby"])
@pytest.mark.parametrize(
    ("status", "value"),
    [
        ("STOP_NOTIFICATIONS", "stop"), ("STOP NOTIFICATIONS", "stop"), ("RESUME_NOTIFICATIONS", "resume"),
        ("RESUME NOTIFICATIONS", "resume"),
    ],
)  # fmt: skip
def test_the_switch_for_marketing_messages(channel: Channel, name: str, status: str, value: str) -> None:
    """In whichever app's thread. Who used it is known; where nobody is named it is kept."""
    switch = {"type": "notification_messages", "notification_messages_status": status}
    found = one(channel, element(optin=switch), name)
    assert isinstance(found, InboundOptOut)
    assert (found.scope, found.value, found.provider_time_ms) == ("marketing", value, AT_MS)
    assert found.addresses == (channel.read_address(PERSON),)
    assert unsupported(channel, {**element(optin=switch), "sender": {"user_ref": "u"}}, name)[1] == "optin"
    later = one(channel, {**element(optin=switch), "timestamp": AT_MS + 1}, name)
    assert isinstance(later, InboundOptOut)
    assert later.provider_id != found.provider_id


def test_what_is_taken_back_or_changed(channel: Channel) -> None:
    """Both name the message and have ids of their own, so that they are no repetition of it."""
    gone = one(channel, element(message={"mid": "m_1", "is_deleted": True}))
    assert isinstance(gone, InboundRevoke)
    assert (gone.target, gone.provider_id) == ("m_1", "deleted:m_1")
    first, second = (
        one(channel, element(message_edit={"mid": "m_1", "text": words, "num_edit": n}))
        for n, words in ((1, "neu"), (2, None))
    )
    assert isinstance(first, InboundEdit)
    assert isinstance(second, InboundEdit)
    assert (first.target, first.text, second.text, first.raw["messaging"][0]["timestamp"]) == (
        "m_1",
        "neu",
        None,
        AT_MS,
    )
    assert len({first.provider_id, second.provider_id, "m_1"}) == 3


def test_a_reaction(channel: Channel) -> None:
    """Its emoji, else the provider's word for it; "" when it is taken away; one that names no message is kept."""
    given: list[tuple[dict[str, Any], str]] = [
        ({"action": "react", "emoji": "👍", "reaction": "like"}, "👍"), ({"action": "react", "reaction": "love"}, "love"),
        ({"action": "unreact", "emoji": "👍"}, ""), ({"action": "unreact"}, ""),
    ]  # fmt: skip
    for part, emoji in given:
        value = one(channel, element(reaction={"mid": "m_9", **part}))
        assert isinstance(value, InboundReaction)
        assert (value.target, value.emoji) == ("m_9", emoji)
    for part in ({"action": "react", "emoji": "👍"}, {"mid": "m_9", "action": "react"}):
        assert unsupported(channel, element(reaction=part)) == ("messaging", "reaction")


def test_what_has_no_id_gets_one_of_its_facts(channel: Channel) -> None:
    """A repetition has the same one; another time, person or act does not."""
    old = element(postback={"title": "Ja", "payload": "yes"})
    others = [
        {**old, "timestamp": AT_MS + 1},
        {**old, "sender": {"id": "1"}},
        element(postback={"title": "Ja", "payload": "no"}),
        element(referral={"ref": "t0k"}),
        element(optin={"ref": "t0k"}),
        element(reaction={"mid": "m_1", "action": "react", "emoji": "👍"}),
        element(reaction={"mid": "m_1", "action": "unreact"}),
        element(message_edit={"mid": "m_1", "text": "Hallo!", "num_edit": 1}),
        element(message_edit={"mid": "m_1", "text": "Hallo!", "num_edit": 2}),
        element(message={"mid": "m_1", "is_deleted": True}),
        text(),
    ]
    found = [getattr(one(channel, part), "provider_id", None) for part in (old, *others)]
    assert None not in found
    assert len(set(found)) == len(found)
    assert getattr(one(channel, dict(reversed(old.items()))), "provider_id", None) == found[0]


# ---- another app's threads, colleagues, statuses ------------------------------------------------------------------


def test_what_a_person_says_in_another_apps_thread_counts(channel: Channel) -> None:
    """It is hers, marked as not to be answered; the link that brought her there starts nothing."""
    said = message(channel, text("STOP"), "standby")
    assert (said.words, said.standby) == ("STOP", True)
    pressed = message(channel, element(postback={"mid": "m", "title": "STOP", "payload": "stop"}), "standby")
    assert (pressed.words, pressed.standby) == ("STOP", True)
    assert isinstance(
        one(channel, element(message={"mid": "m", "is_deleted": True}), "standby"), InboundRevoke
    )
    assert isinstance(one(channel, element(delivery={"mids": ["m_9"]}), "standby"), InboundStatus)
    assert isinstance(one(channel, echo(), "standby"), InboundEcho)
    assert unsupported(channel, element(referral=LINK), "standby") == ("standby", "referral")
    assert unsupported(channel, element(optin={"ref": "t0k"}), "standby") == ("standby", "optin")


@pytest.mark.parametrize(
    "kind",
    [
        "account_linking", "pass_thread_control", "take_thread_control", "request_thread_control", "app_roles",
        "policy_enforcement", "policy-enforcement", "messaging_feedback", "messaging_customer_information", "Ada",
    ],
)  # fmt: skip
def test_what_is_no_act_towards_us_is_counted(channel: Channel, kind: str) -> None:
    word = kind.replace("-", "_")
    assert unsupported(channel, element(**{kind: {"watermark": AT_MS}})) == (
        "messaging",
        word if word in wire.KINDS else "other",
    )


def test_an_echo_with_our_id_says_that_the_message_went_out(channel: Channel) -> None:
    """It carries the id we sent along, so it settles a send of unknown outcome."""
    ours = one(channel, echo(metadata=OUR_ID))
    assert isinstance(ours, InboundStatus)
    assert (ours.status, ours.provider_id, ours.echo) == ("sent", "m_9", OUR_ID)
    assert ours.recipient == channel.read_address(PERSON)


def test_an_echo_without_is_a_colleagues_message(channel: Channel) -> None:
    """Kept whole with the person it went to; one that was taken back, or went to nobody, is counted."""
    for foreign in (echo(), echo(metadata="x"), echo(metadata=7)):
        value = one(channel, foreign)
        assert isinstance(value, InboundEcho)
        assert (value.provider_id, value.text, value.recipient) == (
            "m_9",
            "Guten Tag",
            channel.read_address(PERSON),
        )
        assert value.raw["messaging"] == [foreign]
        assert not any(word in repr(value) for word in ("Guten Tag", PERSON, "m_9"))
    assert unsupported(channel, echo(is_deleted=True)) == ("messaging", "deleted")
    assert unsupported(channel, {**echo(), "recipient": {"user_ref": "1"}}) == ("messaging", "echo")


def test_deliveries_are_one_status_a_message(channel: Channel) -> None:
    many = element(delivery={"mids": ["m_1", "m_2"], "watermark": AT_MS, "seq": 7})
    fragments = channel.split(webhook(channel, many))
    assert [f.raw["messaging"][0]["delivery"] for f in fragments] == [
        {"mids": [mid], "watermark": AT_MS, "seq": 7} for mid in ("m_1", "m_2")
    ]
    found = [v for f in fragments for v in channel.parse(f.raw)]
    assert [(v.status, v.provider_id) for v in found if isinstance(v, InboundStatus)] == [
        ("delivered", "m_1"),
        ("delivered", "m_2"),
    ]


def test_what_names_no_message_is_a_watermark(channel: Channel) -> None:
    for kind, status in (("delivery", "delivered"), ("read", "read")):
        value = one(channel, element(**{kind: {"watermark": AT_MS - 5}}))
        assert isinstance(value, InboundWatermark)
        assert (value.status, value.watermark_ms, value.provider_time_ms) == (status, AT_MS - 5, AT_MS)
        assert value.recipient == channel.read_address(PERSON)
        assert unsupported(channel, element(**{kind: {}})) == ("messaging", kind)


def test_a_read_that_names_a_message_is_its_status(channel: Channel) -> None:
    value = one(channel, element(read={"mid": "m_9"}))
    assert isinstance(value, InboundStatus)
    assert (value.status, value.provider_id, value.recipient) == ("read", "m_9", channel.read_address(PERSON))


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (element(message={"text": "x"}), "no_id"),
        (element(message="x"), "malformed"),
        (element(message={"mid": "m", "text": 7}), "malformed"),
        (element(message_edit={"text": "neu"}), "no_id"),
        (element(reaction={"mid": 7}), "no_id"),
        ({**text(), "sender": {"id": "Ada"}}, "no_address"),
        ({**text(), "sender": {"user_ref": "1"}}, "no_address"),
        ({**element(read={"watermark": 1}), "sender": {}}, "no_address"),
        (element(read={"watermark": "x"}), "timestamp"),
        (element(delivery={"mids": "m"}), "malformed"),
        (element(delivery={"mids": [""]}), "malformed"),
    ],
)
def test_what_is_not_as_documented_is_rejected_alone(
    channel: Channel, part: dict[str, Any], why: str
) -> None:
    fragments = channel.split(webhook(channel, part, text()))
    with pytest.raises(UnparseableFragment, match=why):
        channel.parse(fragments[0].raw)
    assert isinstance(channel.parse(fragments[1].raw)[0], InboundMessage)
    assert channel.describe(fragments[0].raw)[0]["why"] == why


# ---- facts --------------------------------------------------------------------------------------------------------


def facts(channel: Channel, part: dict[str, Any], name: str = "messaging") -> dict[str, Any]:
    (fragment,) = channel.split(webhook(channel, part, name=name))
    (found,) = channel.describe(fragment.raw)
    orjson.dumps(found)
    return found


def test_facts(channel: Channel) -> None:
    """Flat, whatever the element; our words are never replaced by the provider's."""
    said = facts(channel, text("Hallo", quick_reply={"payload": "p"}))
    assert said.items() >= {"text": "Hallo", "payload": "p", "from": PERSON, "timestamp_ms": AT_MS}.items()
    place = {"type": "location", "payload": {"coordinates": {"lat": 1.5, "long": -2}}}
    found = facts(channel, attached(place))
    assert found["attachments"] == [{"type": "location", "lat": 1.5, "long": -2}]
    assert (found["latitude"], found["longitude"]) == (1.5, -2)
    story = facts(channel, text(reply_to={"story": {"id": "7", "url": "https://x/y"}}))
    assert (story["story_id"], story["story_url"]) == ("7", "https://x/y")
    postback = facts(channel, element(postback={"title": "Los", "payload": "go", "referral": LINK}))
    assert postback.items() >= {"event": "postback", "token": "t0k", "source": "SHORTLINK"}.items()
    assert facts(channel, {**text(), "referral": LINK})["ref"] == "t0k"
    policy = facts(channel, element(policy_enforcement={"action": "block", "kind": "x"}))
    assert (policy["kind"], policy["action"]) == ("unsupported", "block")
    feed = facts(channel, {"field": "feed", "value": {"item": "post", "kind": "x"}}, "changes")
    assert (feed["kind"], feed["item"]) == ("unsupported", "post")
    assert facts(channel, text("hi"), "standby")["standby"] is True


def test_facts_of_what_came_along(channel: Channel) -> None:
    """Which ad, product, post or link; which answer to which question."""
    ad = {
        "ref": "r",
        "source": "ADS",
        "ad_id": "6",
        "ads_context_data": {"ad_title": "Birnen", "post_id": "1"},
    }
    came = {"ref": "r", "ad_id": "6", "ad_title": "Birnen", "ad_post_id": "1"}
    for part in (element(referral=ad), element(postback={"referral": ad}), text(referral=ad)):
        assert facts(channel, part).items() >= came.items()
    assert facts(channel, text(referral={"product": {"id": "7"}}))["product_id"] == "7"
    shared = {"type": "fallback", "title": "Birnen", "url": "https://x/y", "payload": None}
    assert facts(channel, attached(shared))["attachments"] == [{"type": "fallback", "url": "https://x/y"}]
    reel = {"type": "ig_reel", "payload": {"url": "/reel/12/", "reel_video_id": 12}}
    assert facts(channel, attached(reel))["reel_video_id"] == 12
    once = element(optin={"type": "one_time_notif_req", "one_time_notif_token": "t", "payload": "p"})
    assert facts(channel, once)["one_time_token"] == "t"
    asked = {"q": {"type": "CSAT", "payload": "4", "follow_up": {"type": "free_form", "payload": "gut"}}}
    found = facts(channel, element(messaging_feedback={"feedback_screens": [{"questions": asked}]}))
    assert found["answers"] == {"q": "4", "q.follow_up": "gut"}
    assert (found["event"], found["kind"], found["why"]) == (
        "messaging_feedback",
        "unsupported",
        "messaging_feedback",
    )


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (text(), "message"), (echo(metadata=OUR_ID), "status"), (echo(), "echo"), (element(read={"watermark": 7}), "watermark"),
        (element(read={"mid": "m"}), "status"), (element(delivery={"mids": ["m"]}), "status"),
        (element(message_edit={"mid": "m", "text": "neu"}), "edit"),
        (element(message={"mid": "m", "is_deleted": True}), "revoke"),
        (element(reaction={"mid": "m", "emoji": "👍"}), "reaction"), (element(referral=LINK), "entry"),
        (element(optin={"ref": "t0k"}), "entry"),
        (element(optin={"notification_messages_status": "STOP_NOTIFICATIONS"}), "opt_out"),
        (element(optin={"notification_messages_status": "RESUME_NOTIFICATIONS"}), "resume"),
    ],
)  # fmt: skip
def test_what_each_kind_is_called(channel: Channel, part: dict[str, Any], kind: str) -> None:
    found = facts(channel, part)
    assert (found["kind"], found["supported"]) == (kind, True)


def test_the_two_platforms_keep_their_people_apart(channel: Channel) -> None:
    """The same number is another person on the other platform."""
    assert (
        len({MESSENGER.read_address(PERSON), INSTAGRAM.read_address(PERSON), channel.read_address(PERSON)})
        == 2
    )
