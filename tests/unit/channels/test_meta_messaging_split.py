"""How webhooks of Messenger and Instagram are cut, and whose the parts are."""

from typing import Any

import orjson
import pytest

from tests.unit.channels.meta_payloads import (
    ACCOUNT,
    AT_MS,
    BOTH,
    OBJECTS,
    PERSON,
    echo,
    element,
    message,
    one,
    text,
    unsupported,
    values,
    webhook,
)
from workers import meta
from workers.channel import Channel, UnparseableBody, UnparseableFragment, echo_of
from workers.inbound_values import (
    InboundMessage,
    InboundStatus,
    InboundUnsupported,
)

OUR_ID = echo_of("20261125" + "0" * 24, 0)
pytestmark = pytest.mark.parametrize("channel", BOTH, ids=lambda channel: channel.name)


def test_every_element_of_every_entry_in_order(channel: Channel) -> None:
    """With the account and the person it is about, also for an echo, where the two have changed places."""
    body = orjson.loads(webhook(channel, text(mid="a"), echo("b"), "Ada"))
    body["entry"] += [
        {"id": "77", "changes": [{"field": "feed", "value": {}}]},
        {"id": "78", "time": AT_MS},
        {"id": "7", "x": 1},
    ]
    fragments = channel.split(orjson.dumps(body))
    assert [(f.account_ref, f.sender_ref) for f in fragments] == [
        (ACCOUNT, PERSON),
        (ACCOUNT, PERSON),
        (ACCOUNT, ""),
        ("77", ""),
        ("", ""),
    ]
    for fragment in (fragments[2], fragments[4]):
        with pytest.raises(UnparseableFragment, match="malformed"):
            channel.parse(fragment.raw)


def test_what_is_no_webhook_of_the_platform(channel: Channel) -> None:
    """Another platform's is none; one that names no platform is taken, for its entries say whose it is."""
    other = next(object_ for name, object_ in OBJECTS.items() if name != channel.name)
    for body in (b"", b"[]", b'{"object":null,"entry":[]}', b'{"entry":{}}', b'{"entry":7}'):
        with pytest.raises(UnparseableBody):
            channel.split(body)
    with pytest.raises(UnparseableBody):
        channel.split(webhook(channel, text()).replace(OBJECTS[channel.name].encode(), other.encode()))
    unnamed = orjson.loads(webhook(channel, text()))
    del unnamed["object"]
    assert isinstance(values(channel, orjson.dumps(unnamed))[0], InboundMessage)


def test_an_element_alone_is_taken_if_it_says_whose_it_is(channel: Channel) -> None:
    """As the provider's own pages and other projects print them; a change says of nobody, so it is only described."""
    many = element(delivery={"mids": ["m_1", "m_2"]})
    for part, count in ((text(), 1), (echo(), 1), (many, 2)):
        fragments = channel.split(orjson.dumps(part))
        assert [(f.account_ref, f.sender_ref) for f in fragments] == [(ACCOUNT, PERSON)] * count
        assert all(len(channel.parse(f.raw)) == 1 for f in fragments)
    change = {"field": "comments", "value": {"id": "1", "text": "Hallo"}}
    for alone in ({**text(), "recipient": {}}, change, {"sender": {"id": "1"}, "recipient": {"id": "2"}}):
        with pytest.raises(UnparseableBody):
            channel.split(orjson.dumps(alone))
    assert channel.describe(change)[0]["text"] == "Hallo"
    assert channel.describe({**text(), "recipient": {}})[0]["text"] == "Hallo"


def test_a_body_nested_deeper_than_can_be_written_is_none(channel: Channel) -> None:
    with pytest.raises(UnparseableBody):
        channel.split(webhook(channel, text("deep")).replace(b'"deep"', b"[" * 300 + b"]" * 300))


def test_a_body_does_not_grow_by_being_split(channel: Channel) -> None:
    """What is large is not copied to each delivery, and there is an end to the number of parts."""
    big = element(delivery={"mids": ["m_1", "m_2"]}, note="x" * meta.COMPANION_MAX_BYTES)
    fragments = channel.split(webhook(channel, big))
    assert all("note" not in f.raw["messaging"][0] for f in fragments)
    assert [type(v) for f in fragments for v in channel.parse(f.raw)] == [InboundStatus] * 2
    with pytest.raises(UnparseableBody):
        channel.split(webhook(channel, element(delivery={"mids": ["m"] * (meta.FRAGMENTS_MAX + 1)})))


def test_elements_of_another_account_mean_nothing(channel: Channel) -> None:
    assert values(channel, webhook(channel, text(), entry="99")) == []
    assert values(channel, webhook(channel, echo(metadata=OUR_ID), entry="99")) == []


def test_the_test_button_of_the_console_is_nobody(channel: Channel) -> None:
    """Its entry is "0", its time is text in seconds, its element stands in a change; it is told, and makes no subject."""
    sample = {
        "sender": {"id": "12334"}, "recipient": {"id": "23245"}, "timestamp": "1527459824",
        "message": {"mid": "random_mid", "text": "random_text"},
    }  # fmt: skip
    body = webhook(channel, {"field": "messages", "value": sample}, name="changes", entry="0")
    (value,) = values(channel, body)
    assert isinstance(value, InboundUnsupported)
    assert (value.account_ref, value.field, value.provider_kind) == ("0", "messages", "test")
    (line,) = channel.describe(channel.split(body)[0].raw)
    assert (line["text"], line["from"], line["timestamp_s"], line["why"]) == (
        "random_text",
        "12334",
        1527459824,
        "test",
    )


def test_an_element_may_stand_in_a_change(channel: Channel) -> None:
    """With an account of ours in the entry it is a message like any other."""
    change = {"field": "messages", "value": text("Hallo")}
    (fragment,) = channel.split(webhook(channel, change, name="changes"))
    assert (fragment.account_ref, fragment.sender_ref) == (ACCOUNT, PERSON)
    (value,) = channel.parse(fragment.raw)
    assert isinstance(value, InboundMessage)
    assert (value.text, value.standby) == ("Hallo", False)
    assert channel.describe(fragment.raw)[0]["text"] == "Hallo"
    assert message(channel, {"field": "standby", "value": text()}, "changes").standby


def test_changes_that_are_no_private_message_are_kept(channel: Channel) -> None:
    """A comment is public: no subject, no answer."""
    comment = {
        "from": {"id": PERSON, "username": "ada"}, "id": "30065218", "text": "START", "media": {"id": "18", "ad_id": "12"},
    }  # fmt: skip
    change = {"field": "comments", "value": comment}
    assert unsupported(channel, change, "changes") == ("comments", "other")
    (line,) = channel.describe(channel.split(webhook(channel, change, name="changes"))[0].raw)
    assert (
        line.items()
        >= {
            "field": "comments",
            "comment_id": "30065218",
            "from": PERSON,
            "username": "ada",
            "text": "START",
            "media_id": "18",
            "ad_id": "12",
        }.items()
    )
    assert unsupported(channel, {"field": "Ada"}, "changes") == ("other", "other")
    assert unsupported(channel, {"field": "messages", "value": 5}, "changes") == ("messages", "other")


def test_times(channel: Channel) -> None:
    """Milliseconds, seconds, and with a zone in words; anything else is none."""
    written: list[tuple[Any, int]] = [
        (1_701_599_111, 1_701_599_111_000), ("1701599111", 1_701_599_111_000), (1_701_599_111_123, 1_701_599_111_123),
        ("2021-09-08T06:34:04+0000", 1_631_082_844_000), ("1970-01-02T01:00:00+01:00", 86_400_000),
    ]  # fmt: skip
    for timestamp, at_ms in written:
        assert message(channel, {**text(), "timestamp": timestamp}).provider_time_ms == at_ms
    for timestamp in (
        "2021-09-08T06:34:04",
        "0001-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59-23:59",
        "T",
        "yesterday",
        None,
        -1,
        1.5,
    ):
        with pytest.raises(UnparseableFragment, match="timestamp"):
            one(channel, {**text(), "timestamp": timestamp})


def test_a_body_of_more_parts_than_anybody_sends_is_none(channel: Channel) -> None:
    """Three million empty lists are a second's work to build: they are counted before."""
    with pytest.raises(UnparseableBody, match="more parts"):
        channel.split(b'{"object":"page","entry":[' + b"[]," * 300_000 + b"[]]}")
