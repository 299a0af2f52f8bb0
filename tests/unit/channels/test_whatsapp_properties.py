"""Whatever bytes or JSON come: no error but the declared ones, no value but a typed one."""

from typing import Any, get_args

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.channels.whatsapp_payloads import contact, message, status, webhook
from workers.channel import (
    Authenticity,
    Inbound,
    InboundMessage,
    InboundUnsupported,
    ProviderResponse,
    UnparseableBody,
    UnparseableFragment,
    WebhookRequest,
)
from workers.channels.whatsapp import wire
from workers.channels.whatsapp.channel import CHANNEL

EXAMPLES = 100
WORDS = st.sampled_from(
    [
        "messages", "statuses", "errors", "user_preferences", "metadata", "contacts", "from", "id", "type", "text", "body",
        "timestamp", "button", "interactive", "list_reply", "context", "profile", "name", "wa_id", "user_id", "group_id",
        "status", "code", "value", "field", "title", "error_data", "reaction", "edit", "revoke", "system", "order",
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
FIELDS = st.sampled_from(["messages", "user_preferences", "user_id_update", "history", "Ada"])


def spoiled(base: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A proper object with some members replaced by anything."""
    return st.dictionaries(st.sampled_from(sorted(base)) | WORDS, JSON, max_size=3).map(
        lambda changes: base | changes
    )


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": OBJECTS | JSON,
        "contacts": st.lists(spoiled(contact(user_id="US.1")) | JSON, max_size=2) | JSON,
        "messages": st.lists(spoiled(message(context={"id": "x"})) | JSON, max_size=3) | JSON,
        "statuses": st.lists(spoiled(status(errors=[{"code": 1}])) | JSON, max_size=3) | JSON,
        "errors": st.lists(OBJECTS, max_size=2) | JSON,
        "user_preferences": st.lists(OBJECTS, max_size=2) | JSON,
    },
)


class Secrets:
    """A connection."""

    app_secret = "app secret"
    verify_token = "verify token"


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
    assert len(values) <= 1
    for value in values:
        assert isinstance(value, get_args(Inbound))
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
@given(st.binary(max_size=200), st.text(max_size=80), st.sampled_from(["GET", "POST", "PUT"]))
def test_any_bytes(body: bytes, text: str, method: str) -> None:
    check(body)
    request = WebhookRequest(
        method, {"hub.mode": text, "hub.verify_token": text}, {"x-hub-signature-256": text}, body
    )
    assert isinstance(CHANNEL.authenticate(request, Secrets()), get_args(Authenticity))


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
    found = CHANNEL.classify(ProviderResponse(http, headers, body))
    assert found.failure_class in {"RETRY", "RATE", "PERM", "WINDOW", "UNREACH", "AUTH", "ACCOUNT"}
    assert found.retry_after_s is None or 0 < found.retry_after_s <= 86_400
