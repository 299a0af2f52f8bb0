"""Whatever bytes or JSON come: no error but the declared ones, no value but a typed one."""

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.channels.any_json import (
    EXAMPLES,
    METHODS,
    any_json,
    any_object,
    check_authentic,
    check_classified,
    fragments_of,
    values_of,
)
from tests.unit.channels.meta_payloads import ACCOUNT, BOTH, OBJECTS, PERSON, echo, element, text, webhook
from workers.channel import Channel, WebhookRequest
from workers.channels.instagram.wire import PLATFORM as ON_INSTAGRAM
from workers.channels.messenger.wire import PLATFORM as ON_MESSENGER
from workers.inbound_values import Inbound, InboundMessage, InboundUnsupported
from workers.meta_messaging import wire
from workers.meta_messaging.acts import read_act
from workers.meta_messaging.platform import Platform
from workers.meta_messaging.simulator import SendError, read_send
from workers.simulation import InvalidControl

WORDS = st.sampled_from([
    "message", "postback", "referral", "optin", "delivery", "read", "reaction", "message_edit", "policy-enforcement", "sender",
    "recipient", "id", "timestamp", "mid", "mids", "text", "attachments", "type", "payload", "url", "coordinates", "quick_reply",
    "title", "ref", "source", "watermark", "is_echo", "is_deleted", "metadata", "reply_to", "field", "value", "from", "kind",
    "emoji", "action", "sticker_id", "story", "entry", "messages",
])  # fmt: skip
JSON = any_json(WORDS)
CHANNELS = st.sampled_from(BOTH)
ANY_OBJECT = any_object(WORDS)
BASES: list[dict[str, Any]] = [
    text(attachments=[{"type": "image", "payload": {"url": "https://x"}}], quick_reply={"payload": "p"}),
    echo(metadata="x"),
    element(postback={"title": "t", "payload": "p", "referral": {"ref": "r"}}),
    element(delivery={"mids": ["a", "b"], "watermark": 1}),
    element(reaction={"mid": "a", "action": "react"}),
    element(read={"watermark": 1, "mid": "a"}),
    element(referral={"ref": "r"}),
    element(optin={"ref": "r"}),
    element(message_edit={"mid": "a", "text": "x"}),
    {"field": "feed", "value": {"item": "post"}},
    {"field": "messages", "value": text()},
]


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """A proper element with some members, outer and inner, replaced by anything."""
    base = dict(draw(st.sampled_from(BASES)))
    for name in draw(st.lists(st.sampled_from(sorted(base)) | WORDS, max_size=2)):
        inner = base.get(name)
        base[name] = (
            inner | draw(ANY_OBJECT) if isinstance(inner, dict) and draw(st.booleans()) else draw(JSON)
        )
    return base


def check(channel: Channel, body: bytes) -> None:
    for raw in fragments_of(channel, body):
        assert len(check_values(channel, raw)) <= 1


def check_values(channel: Channel, raw: Any) -> list[Inbound]:
    values = values_of(channel, raw)
    if values is None:
        return []
    for value in values:
        if isinstance(value, InboundMessage):
            assert value.addresses
            assert value.provider_id
            assert all(media.url is None or media.url.startswith(wire.WEB) for media in value.media)
            assert value.provider_kind in wire.ATTACHMENT_TYPES | {
                "text",
                "quick_reply",
                "postback",
                "other",
            }
        if isinstance(value, InboundUnsupported):
            assert value.field in wire.FIELDS | {*wire.LISTS, "other"}
            assert value.provider_kind in {*wire.KINDS, "echo", "deleted", "test", "other"}
    return values


@settings(max_examples=EXAMPLES)
@given(
    CHANNELS,
    st.lists(spoiled() | JSON, max_size=3),
    st.sampled_from(["messaging", "standby", "changes", "Ada"]),
    st.sampled_from([ACCOUNT, "0", ""]),
)
def test_any_elements(channel: Channel, elements: list[Any], name: str, entry: str) -> None:
    check(channel, webhook(channel, *elements, name=name, entry=entry))


@settings(max_examples=EXAMPLES)
@given(CHANNELS, JSON | spoiled())
def test_any_json_as_body_entry_or_fragment(channel: Channel, found: Any) -> None:
    object_ = OBJECTS[channel.name]
    check(channel, orjson.dumps(found))
    check(channel, orjson.dumps({"object": object_, "entry": found}))
    check(channel, orjson.dumps({"object": object_, "entry": [{"id": ACCOUNT, "messaging": found}, found]}))
    check_values(channel, found)
    orjson.dumps(channel.describe(found))


@settings(max_examples=EXAMPLES)
@given(CHANNELS, st.binary(max_size=200), st.text(max_size=80), METHODS)
def test_any_bytes(channel: Channel, body: bytes, words: str, method: str) -> None:
    check(channel, body)
    request = WebhookRequest(
        method, {"hub.mode": words, "hub.verify_token": words}, {"x-hub-signature-256": words}, body
    )
    check_authentic(channel, request)


@settings(max_examples=EXAMPLES)
@given(
    CHANNELS,
    st.integers(0, 999),
    st.one_of(
        st.binary(max_size=60), JSON.map(orjson.dumps), ANY_OBJECT.map(lambda e: orjson.dumps({"error": e}))
    ),
    st.dictionaries(
        st.sampled_from(["Retry-After", "x-app-usage"]),
        st.text(max_size=9) | JSON.map(lambda j: orjson.dumps(j).decode()),
    ),
)
def test_any_answer_of_the_provider(
    channel: Channel, http: int, body: bytes, headers: dict[str, str]
) -> None:
    check_classified(channel, http, headers, body)


ASKED: dict[str, Any] = {
    "messaging_type": "RESPONSE", "recipient": {"id": PERSON}, "message": {"text": "x"}, "sender_action": "mark_seen",
    "reply_to": {"mid": "m"},
}  # fmt: skip
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "text": JSON | st.just("x"),
        "metadata": JSON,
        "attachment": JSON | st.just({"type": "image", "payload": {"url": "https://x"}}),
        "quick_replies": JSON | st.lists(ANY_OBJECT, max_size=3),
    },
)
CONTROLS = st.sampled_from([
    "from", "at", "id", "text", "ref", "button", "quick_reply", "media", "sticker", "location", "story", "edited", "deleted",
    "reaction", "optin", "colleague", "change", "type", "raw", "standby", "reply_to",
])  # fmt: skip


@settings(max_examples=EXAMPLES)
@given(
    st.sampled_from([ON_MESSENGER, ON_INSTAGRAM]),
    st.dictionaries(st.sampled_from(sorted(ASKED)), JSON | MESSAGES, max_size=3),
    st.sets(st.sampled_from(sorted(ASKED))),
)
def test_any_request_to_the_simulator(platform: Platform, changed: dict[str, Any], left: set[str]) -> None:
    """Taken or refused as the provider refuses."""
    body = {name: part for name, part in ASKED.items() if name not in left} | changed
    try:
        taken = read_send(platform, orjson.dumps(body))
    except SendError:
        return
    assert taken.to == PERSON
    assert (taken.action is None) == ("body" in taken.said)


@settings(max_examples=EXAMPLES)
@given(
    st.sampled_from([ON_MESSENGER, ON_INSTAGRAM]), st.dictionaries(CONTROLS, JSON | ANY_OBJECT, max_size=4)
)
def test_any_control_request(platform: Platform, body: dict[str, Any]) -> None:
    """An act that can be written as a webhook, or the field that is wrong."""
    try:
        act = read_act(platform, {"from": PERSON} | body, ACCOUNT, 1_764_000_000_000)
    except InvalidControl:
        return
    wire.webhook_json(platform, ACCOUNT, [act.element], act.at_ms, act.list_name)
    assert act.id is None or act.id
