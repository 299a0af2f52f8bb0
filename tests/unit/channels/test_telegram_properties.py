"""Whatever bytes or JSON come: no error but the declared ones, no value but a typed one."""

from typing import Any, get_args

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.channels.telegram_payloads import membership, message, pressed, reaction
from workers.channel import (
    Authenticity,
    Inbound,
    InboundMessage,
    InboundOptOut,
    InboundUnsupported,
    ProviderResponse,
    UnparseableBody,
    UnparseableFragment,
    WebhookRequest,
)
from workers.channels.telegram import wire
from workers.channels.telegram.channel import CHANNEL

EXAMPLES = 100
WORDS = st.sampled_from(
    [
        "message_id", "from", "chat", "date", "edit_date", "text", "id", "type", "private", "photo", "contact", "location",
        "venue", "caption", "entities", "forward_origin", "reply_to_message", "message", "data", "reply_markup",
        "inline_keyboard", "callback_data", "new_chat_member", "status", "kicked", "new_reaction", "user", "is_bot",
        "first_name", "last_name", "inline_message_id", "chat_instance", "file_size",
    ]
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | WORDS
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=5)
    ),
)
OBJECTS = st.dictionaries(WORDS, JSON, max_size=6)
KINDS = st.sampled_from(sorted(wire.UPDATES)) | st.text(max_size=8)


def spoiled(base: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A proper object with some members replaced by anything."""
    return st.dictionaries(st.sampled_from(sorted(base)) | WORDS, JSON, max_size=3).map(
        lambda changes: base | changes
    )


ITEMS = st.one_of(
    *(spoiled(base) for base in (message(), message(None), pressed(), membership("kicked"), reaction())), JSON
)


class Secrets:
    """A connection."""

    app_secret = "secret"
    verify_token = ""


def check(body: bytes) -> None:
    try:
        fragments = CHANNEL.split(body)
    except UnparseableBody:
        return
    for fragment in fragments:
        orjson.dumps(fragment.raw)
        orjson.dumps(CHANNEL.describe(fragment.raw))
        check_values(fragment.raw)


def check_values(raw: Any) -> None:
    try:
        values = CHANNEL.parse(raw)
    except UnparseableFragment:
        return
    assert len(values) == 1
    for value in values:
        assert isinstance(value, get_args(Inbound))
        if isinstance(value, InboundMessage | InboundOptOut):
            assert value.provider_id
            assert all(CHANNEL.read_address(a.value) == a for a in value.addresses)
            assert value.addresses
        if isinstance(value, InboundMessage):
            own = {"edit", "reaction", "callback_query", "other"}
            assert value.provider_kind in {*wire.MESSAGE_KINDS, *own}
        if isinstance(value, InboundUnsupported):
            assert value.field in wire.UPDATES | {"other"}
            assert value.provider_kind in {"group", "bot", "inline", "other", *wire.MEMBER_STATUSES}


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
@given(st.binary(max_size=200), st.text(max_size=80), st.sampled_from(["GET", "POST", "PUT"]))
def test_any_bytes(body: bytes, text: str, method: str) -> None:
    check(body)
    request = WebhookRequest(method, {}, {"x-telegram-bot-api-secret-token": text}, body)
    assert isinstance(CHANNEL.authenticate(request, Secrets()), get_args(Authenticity))


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
    found = CHANNEL.classify(ProviderResponse(http, headers, body))
    assert found.failure_class in {"RETRY", "RATE", "PERM", "WINDOW", "UNREACH", "AUTH", "ACCOUNT"}
    assert found.retry_after_s is None or 0 < found.retry_after_s <= 86_400
