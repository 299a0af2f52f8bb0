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
from workers.channels.whatsapp import receive, wire
from workers.channels.whatsapp.channel import CHANNEL
from workers.inbound_values import (
    Inbound,
    InboundAccountNews,
    InboundAddressChange,
    InboundEdit,
    InboundMessage,
    InboundReaction,
    InboundRevoke,
    InboundTemplateStatus,
    InboundUnsupported,
)

KINDS = {"group", "system", "customer_identity_changed", "request_welcome", "unknown", "other"}

WORDS = st.sampled_from(
    [
        "messages", "statuses", "errors", "user_preferences", "metadata", "contacts", "from", "id", "type", "text", "body",
        "timestamp", "button", "interactive", "list_reply", "context", "profile", "name", "wa_id", "user_id", "group_id",
        "status", "code", "value", "field", "title", "error_data", "reaction", "edit", "revoke", "system", "order",
        "image", "audio", "location", "latitude", "longitude", "nfm_reply", "message_id", "original_message_id", "message",
        "user_changed_number", "previous", "current", "to", "event", "reason", "message_template_name", "alert_info", "decision",
    ]
)  # fmt: skip
JSON = any_json(WORDS)
OBJECTS = any_object(WORDS)
FIELDS = st.sampled_from(
    [
        "messages", "messages", "user_preferences", "user_id_update", "history", "Ada", "smb_message_echoes",
        "message_template_status_update", "account_update", "account_alerts", "security",
    ]
)  # fmt: skip
SAID = st.sampled_from(
    [
        message(type="image", image={"id": "1", "caption": "x"}),
        message(type="location", location={"latitude": 0, "longitude": 0}),
        message(type="reaction", reaction={"message_id": "w", "emoji": "x"}),
        message(type="edit", edit={"original_message_id": "w", "message": {"type": "text", "text": {"body": "x"}}}),
        message(type="revoke", revoke={"original_message_id": "w"}),
        message(type="order", order={"catalog_id": "c", "product_items": []}),
        message(type="contacts", contacts=[{"name": {"formatted_name": "B"}}]),
        message(type="interactive", interactive={"type": "nfm_reply", "nfm_reply": {"response_json": "{}"}}),
        message(type="system", system={"type": "user_changed_number", "wa_id": "4915199999999"}),
        message(context={"id": "x", "forwarded": True}, referral={"source_id": "1"}),
        message(to="4915112345678"),
    ]
)  # fmt: skip
UPDATE = {"user_id": {"previous": "US.1", "current": "US.2"}, "timestamp": "1731705721"}
NEWS = {
    "event": "APPROVED", "message_template_name": "a", "message_template_language": "en", "reason": "NONE",
    "alert_info": {"alert_type": "OBA_APPROVED"},
}  # fmt: skip


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": OBJECTS | JSON,
        "contacts": st.lists(spoiled(contact(user_id="US.1"), WORDS) | JSON, max_size=2) | JSON,
        "messages": st.lists(SAID.flatmap(lambda one: spoiled(one, WORDS)) | JSON, max_size=3) | JSON,
        "message_echoes": st.lists(SAID.flatmap(lambda one: spoiled(one, WORDS)), max_size=2) | JSON,
        "statuses": st.lists(spoiled(status(errors=[{"code": 1}]), WORDS) | JSON, max_size=3) | JSON,
        "errors": st.lists(OBJECTS, max_size=2) | JSON,
        "user_preferences": st.lists(OBJECTS, max_size=2) | JSON,
        "user_id_update": st.lists(spoiled(UPDATE, WORDS), max_size=2) | JSON,
    },
) | spoiled(NEWS, WORDS)


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
            assert (value.kind == "media") == bool(value.media)
            assert value.kind in receive.KEPT_BY_VALUE or value.raw == raw
        check_words(value)
        check_people(value)


def check_words(value: Inbound) -> None:
    """Whatever may stand in clear is a word of a fixed list."""
    if isinstance(value, InboundUnsupported):
        assert value.field in wire.FIELDS | {"other", "statuses"}
        assert value.provider_kind in KINDS
    if isinstance(value, InboundAccountNews):
        assert value.field in wire.NEWS
        assert value.event in wire.NEWS_WORDS | {"other"}
    if isinstance(value, InboundTemplateStatus):
        assert value.status in wire.TEMPLATE_STATUSES | {"other"}
        assert value.reason in wire.TEMPLATE_REASONS | {"other", None}


def check_people(value: Inbound) -> None:
    """Whoever is meant is named, and named by an address; nobody moves to where she was."""
    if isinstance(value, InboundReaction | InboundEdit | InboundRevoke):
        assert value.addresses
        assert value.target
    if isinstance(value, InboundAddressChange):
        assert value.old
        assert value.new
        assert not set(value.old) & set(value.new)


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
