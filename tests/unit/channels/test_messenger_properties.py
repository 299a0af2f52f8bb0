"""Whatever bytes or JSON come: no error but the declared ones, no value but a typed one."""

from typing import Any, get_args

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.channels.messenger_payloads import PAGE, echo, element, text, webhook
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
from workers.channels.messenger import wire
from workers.channels.messenger.channel import CHANNEL

EXAMPLES = 100
WORDS = st.sampled_from([
    "message", "postback", "referral", "optin", "delivery", "read", "reaction", "message_edit", "policy-enforcement", "sender",
    "recipient", "id", "timestamp", "mid", "mids", "text", "attachments", "type", "payload", "url", "coordinates", "quick_reply",
    "title", "ref", "source", "watermark", "is_echo", "is_deleted", "metadata", "reply_to", "field", "value", "from", "kind",
])  # fmt: skip
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
        assert len(check_values(fragment.raw)) <= 1


def check_values(raw: Any) -> list[Inbound]:
    try:
        values = CHANNEL.parse(raw)
    except UnparseableFragment:
        return []
    for value in values:
        assert isinstance(value, get_args(Inbound))
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
@given(st.binary(max_size=200), st.text(max_size=80), st.sampled_from(["GET", "POST", "PUT"]))
def test_any_bytes(body: bytes, words: str, method: str) -> None:
    check(body)
    request = WebhookRequest(
        method, {"hub.mode": words, "hub.verify_token": words}, {"x-hub-signature-256": words}, body
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
