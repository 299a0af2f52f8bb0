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
from tests.unit.channels.messenger_payloads import PAGE, echo, element, text, webhook
from workers.channel import WebhookRequest
from workers.channels.messenger import wire
from workers.channels.messenger.channel import CHANNEL
from workers.inbound_values import Inbound, InboundMessage, InboundUnsupported

WORDS = st.sampled_from([
    "message", "postback", "referral", "optin", "delivery", "read", "reaction", "message_edit", "policy-enforcement", "sender",
    "recipient", "id", "timestamp", "mid", "mids", "text", "attachments", "type", "payload", "url", "coordinates", "quick_reply",
    "title", "ref", "source", "watermark", "is_echo", "is_deleted", "metadata", "reply_to", "field", "value", "from", "kind",
])  # fmt: skip
JSON = any_json(WORDS)
OBJECTS = any_object(WORDS)
BASES: list[dict[str, Any]] = [
    text(attachments=[{"type": "image", "payload": {"url": "https://x"}}], quick_reply={"payload": "p"}),
    echo(metadata="x"),
    element(postback={"title": "t", "payload": "p", "referral": {"ref": "r"}}),
    element(delivery={"mids": ["a", "b"], "watermark": 1}),
    element(reaction={"mid": "a", "action": "react"}),
    {"field": "feed", "value": {"item": "post"}},
]


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """A proper element with some members, outer and inner, replaced by anything."""
    base = dict(draw(st.sampled_from(BASES)))
    for name in draw(st.lists(st.sampled_from(sorted(base)) | WORDS, max_size=2)):
        inner = base.get(name)
        base[name] = inner | draw(OBJECTS) if isinstance(inner, dict) and draw(st.booleans()) else draw(JSON)
    return base


def check(body: bytes) -> None:
    for raw in fragments_of(CHANNEL, body):
        assert len(check_values(raw)) <= 1


def check_values(raw: Any) -> list[Inbound]:
    values = values_of(CHANNEL, raw)
    if values is None:
        return []
    for value in values:
        if isinstance(value, InboundMessage):
            assert value.addresses
            assert value.provider_id
            assert value.provider_kind in wire.ATTACHMENT_TYPES | {
                *wire.KINDS,
                "text",
                "quick_reply",
                "deleted",
                "other",
            }
        if isinstance(value, InboundUnsupported):
            assert value.field in wire.FIELDS | {*wire.LISTS, "other"}
            assert value.provider_kind in {*wire.KINDS, "echo", "other"}
    return values


@settings(max_examples=EXAMPLES)
@given(st.lists(spoiled() | JSON, max_size=3), st.sampled_from(["messaging", "standby", "changes", "Ada"]))
def test_any_elements(elements: list[Any], name: str) -> None:
    check(webhook(*elements, name=name))


@settings(max_examples=EXAMPLES)
@given(JSON | spoiled())
def test_any_json_as_body_entry_or_fragment(found: Any) -> None:
    check(orjson.dumps(found))
    check(orjson.dumps({"object": "page", "entry": found}))
    check(orjson.dumps({"object": "page", "entry": [{"id": PAGE, "messaging": found}, found]}))
    check_values(found)
    orjson.dumps(CHANNEL.describe(found))


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=200), st.text(max_size=80), METHODS)
def test_any_bytes(body: bytes, words: str, method: str) -> None:
    check(body)
    request = WebhookRequest(
        method, {"hub.mode": words, "hub.verify_token": words}, {"x-hub-signature-256": words}, body
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
