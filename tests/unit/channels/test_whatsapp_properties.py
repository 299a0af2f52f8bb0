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
from tests.unit.channels.whatsapp_payloads import contact, message, status, webhook
from workers.channel import WebhookRequest
from workers.channels.whatsapp import wire
from workers.channels.whatsapp.channel import CHANNEL
from workers.inbound_values import InboundMessage, InboundUnsupported

WORDS = st.sampled_from(
    [
        "messages", "statuses", "errors", "user_preferences", "metadata", "contacts", "from", "id", "type", "text", "body",
        "timestamp", "button", "interactive", "list_reply", "context", "profile", "name", "wa_id", "user_id", "group_id",
        "status", "code", "value", "field", "title", "error_data", "reaction", "edit", "revoke", "system", "order",
    ]
)  # fmt: skip
JSON = any_json(WORDS)
OBJECTS = any_object(WORDS)
FIELDS = st.sampled_from(["messages", "user_preferences", "user_id_update", "history", "Ada"])


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": OBJECTS | JSON,
        "contacts": st.lists(spoiled(contact(user_id="US.1"), WORDS) | JSON, max_size=2) | JSON,
        "messages": st.lists(spoiled(message(context={"id": "x"}), WORDS) | JSON, max_size=3) | JSON,
        "statuses": st.lists(spoiled(status(errors=[{"code": 1}]), WORDS) | JSON, max_size=3) | JSON,
        "errors": st.lists(OBJECTS, max_size=2) | JSON,
        "user_preferences": st.lists(OBJECTS, max_size=2) | JSON,
    },
)


def check(body: bytes) -> None:
    for raw in fragments_of(CHANNEL, body):
        check_values(raw)


def check_values(raw: Any) -> None:
    values = values_of(CHANNEL, raw)
    if values is None:
        return
    assert len(values) <= 1
    for value in values:
        if isinstance(value, InboundMessage):
            assert value.addresses
            assert value.provider_id
            assert all(a.kind == "phone" or not a.value.isdigit() for a in value.addresses)
            inner = value.provider_kind.removeprefix("interactive/")
            assert inner in wire.MESSAGE_TYPES | wire.INTERACTIVE_TYPES | {"other"}
        if isinstance(value, InboundUnsupported):
            assert value.field in wire.FIELDS | {"other", "statuses"}


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(FIELDS, VALUES), max_size=3))
def test_any_changes(changes: list[tuple[str, dict[str, Any]]]) -> None:
    check(webhook([{"field": field, "value": value} for field, value in changes]))


@settings(max_examples=EXAMPLES)
@given(JSON)
def test_any_json_as_body_entry_or_fragment(found: Any) -> None:
    check(orjson.dumps(found))
    check(orjson.dumps({"object": "whatsapp_business_account", "entry": found}))
    check(orjson.dumps({"object": "whatsapp_business_account", "entry": [{"changes": found}, found]}))
    check_values(found)
    CHANNEL.describe(found)


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=200), st.text(max_size=80), METHODS)
def test_any_bytes(body: bytes, text: str, method: str) -> None:
    check(body)
    request = WebhookRequest(
        method, {"hub.mode": text, "hub.verify_token": text}, {"x-hub-signature-256": text}, body
    )
    check_authentic(CHANNEL, request)


@settings(max_examples=EXAMPLES)
@given(
    st.integers(0, 999),
    st.one_of(
        st.binary(max_size=60), JSON.map(orjson.dumps), OBJECTS.map(lambda e: orjson.dumps({"error": e}))
    ),
    st.dictionaries(
        st.sampled_from(["Retry-After", "x-app-usage"]),
        st.text(max_size=9) | JSON.map(lambda j: orjson.dumps(j).decode()),
    ),
)
def test_any_answer_of_the_provider(http: int, body: bytes, headers: dict[str, str]) -> None:
    check_classified(CHANNEL, http, headers, body)
