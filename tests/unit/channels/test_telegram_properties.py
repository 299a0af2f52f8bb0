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
    spoiled,
    values_of,
)
from tests.unit.channels.telegram_payloads import PERSON, membership, message, pressed, reaction
from workers.channel import WebhookRequest
from workers.channels.telegram import wire
from workers.channels.telegram.channel import CHANNEL
from workers.channels.telegram.simulator import BotError, read_act, read_send
from workers.inbound_values import (
    InboundEdit,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundUnsupported,
)
from workers.simulation import InvalidControl

WORDS = st.sampled_from(
    [
        "message_id", "from", "chat", "date", "edit_date", "text", "id", "type", "private", "photo", "contact", "location",
        "venue", "caption", "entities", "forward_origin", "reply_to_message", "message", "data", "reply_markup",
        "inline_keyboard", "callback_data", "new_chat_member", "status", "kicked", "new_reaction", "user", "is_bot",
        "first_name", "last_name", "inline_message_id", "chat_instance", "file_size", "file_id", "file_name", "mime_type",
        "emoji", "paid", "width", "video",
    ]
)  # fmt: skip
JSON = any_json(WORDS)
OBJECTS = any_object(WORDS)
KINDS = st.sampled_from(sorted(wire.UPDATES)) | st.text(max_size=8)


ITEMS = st.one_of(
    *(
        spoiled(base, WORDS)
        for base in (
            message(),
            message(None),
            message(None, photo=[{"file_id": "a", "file_size": 1}], caption="x"),
            message(edit_date=1),
            pressed(),
            membership("kicked"),
            reaction(),
        )
    ),
    JSON,
)


def check(body: bytes) -> None:
    for raw in fragments_of(CHANNEL, body):
        check_values(raw)


def check_values(raw: Any) -> None:
    values = values_of(CHANNEL, raw)
    if values is None:
        return
    assert len(values) == 1
    for value in values:
        if isinstance(value, InboundMessage | InboundOptOut | InboundEdit | InboundReaction):
            assert value.provider_id
            assert all(CHANNEL.read_address(a.value) == a for a in value.addresses)
            assert value.addresses
        if isinstance(value, InboundMessage):
            assert value.provider_kind in {*wire.MESSAGE_KINDS, "callback_query", "other"}
            assert value.token is None or value.text is not None
        if isinstance(value, InboundUnsupported):
            assert value.field in wire.UPDATES | {"other"}
            own = {"group", "bot", "inline", "custom_emoji", "other"}
            assert value.provider_kind in {*own, *wire.MEMBER_STATUSES}


@settings(max_examples=EXAMPLES * 3)
@given(KINDS, ITEMS)
def test_any_update(kind: str, item: Any) -> None:
    check(orjson.dumps({"update_id": 1, kind: item}))


@settings(max_examples=EXAMPLES)
@given(JSON | OBJECTS | ITEMS)
def test_any_json_as_body_or_fragment(found: Any) -> None:
    check(orjson.dumps(found))
    check_values(found)
    CHANNEL.describe(found)


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=200), st.text(max_size=80), METHODS)
def test_any_bytes(body: bytes, text: str, method: str) -> None:
    check(body)
    request = WebhookRequest(method, {}, {"x-telegram-bot-api-secret-token": text}, body)
    check_authentic(CHANNEL, request)


@settings(max_examples=EXAMPLES * 2)
@given(
    st.integers(0, 999),
    st.one_of(
        st.binary(max_size=60),
        JSON.map(orjson.dumps),
        st.fixed_dictionaries(
            {"error_code": JSON | st.integers(390, 510)},
            optional={
                "description": JSON,
                "parameters": st.dictionaries(st.sampled_from(["retry_after", "migrate_to_chat_id"]), JSON),
            },
        ).map(orjson.dumps),
    ),
    st.dictionaries(st.sampled_from(["Retry-After", "x"]), st.text(max_size=9)),
)
def test_any_answer_of_the_provider(http: int, body: bytes, headers: dict[str, str]) -> None:
    check_classified(CHANNEL, http, headers, body)


METHODS_OF_BOTS = st.sampled_from(
    ["sendMessage", "sendphoto", "sendVideo", "sendAudio", "sendDocument", "getMe"]
)
MEMBERS = st.sampled_from([
    "chat_id", "text", "photo", "video", "audio", "document", "caption", "reply_markup", "reply_parameters",
])  # fmt: skip
CONTROLS = st.sampled_from([
    "from", "at", "id", "name", "text", "type", "raw", "caption", "button", "reaction", "event", "edited", "forwarded",
    "reply_to", "group_id",
])  # fmt: skip


@settings(max_examples=EXAMPLES)
@given(METHODS_OF_BOTS, st.dictionaries(MEMBERS, JSON, max_size=4))
def test_any_request_to_the_simulator(method: str, body: dict[str, Any]) -> None:
    """Taken or refused as the provider refuses."""
    try:
        taken = read_send(method, orjson.dumps({"chat_id": PERSON, "text": "x", "photo": "https://x"} | body))
    except BotError:
        return
    assert CHANNEL.read_address(taken.to) is not None
    assert isinstance(taken.said["body"], str)


@settings(max_examples=EXAMPLES)
@given(st.dictionaries(CONTROLS, JSON | OBJECTS, max_size=4))
def test_any_control_request(body: dict[str, Any]) -> None:
    """An act that can be written as an update, or the field that is wrong."""
    try:
        act = read_act({"from": str(PERSON)} | body, 17)
    except InvalidControl:
        return
    wire.update_json(1, act.kind, act.item)
    assert act.id
