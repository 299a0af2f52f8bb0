"""Whatever bytes or JSON come: no error but the declared ones, no value but a typed one."""

import gzip
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.channels.any_json import (
    EXAMPLES,
    METHODS,
    any_json,
    any_object,
    check_classified,
    fragments_of,
    spoiled,
    values_of,
)
from tests.unit.channels.apple_payloads import (
    KEY,
    MSP_ID,
    connection,
    interactive,
    message,
    quick_reply,
    request,
    rows,
    token,
)
from workers.channel import Accepted, Denied, WebhookRequest
from workers.channels.apple import wire
from workers.channels.apple.channel import CHANNEL
from workers.inbound_values import InboundMessage, InboundOptOut, InboundUnsupported

WORDS = st.sampled_from(
    [
        "id", "type", "v", "sourceId", "destinationId", "body", "attachments", "interactiveData", "interactiveDataRef", "data",
        "sessionIdentifier", "requestIdentifier", "listPicker", "quick-reply", "sections", "items", "identifier", "title",
        "selectedIdentifier", "selectedIndex", "event", "dynamic", "notification", "templateId", "close", "text", "interactive",
        "typing_start", "tel:+4915112345678", "aliasId", "direction", "intent", "group", "mimeType", "url", "dropped",
        "referenceIds", "ambListPickerResponse",
    ]
)  # fmt: skip
JSON = any_json(WORDS)
PARTS = st.one_of(spoiled(quick_reply(), WORDS), spoiled(rows("a", "b"), WORDS), JSON)
MEMBERS = st.sampled_from(sorted(wire.FORMS))
MESSAGES = st.one_of(
    spoiled(message(), WORDS),
    spoiled(message(attachments=[{"url": "u", "mimeType": "image/png"}]), WORDS),
    spoiled(message("close"), WORDS),
    st.builds(interactive, MEMBERS, PARTS).flatmap(lambda item: spoiled(item, WORDS)),
    any_object(WORDS),
)
KINDS = {*wire.TYPES, *wire.FORMS.values(), "attachments", "extension", "data_by_reference", "other"}


def check_values(raw: Any) -> None:
    for value in values_of(CHANNEL, raw) or ():
        if isinstance(value, InboundMessage | InboundOptOut):
            assert value.provider_id
            assert value.addresses
            assert all(CHANNEL.read_address(a.value) == a for a in value.addresses)
        if isinstance(value, InboundMessage):
            assert value.provider_kind in KINDS
            kept = value.kind not in ("text", "button_reply", "list_reply")
            assert not kept or value.raw == raw
        if isinstance(value, InboundUnsupported):
            assert value.field in {"message", "reseller", "data", "outbound"}
            assert value.provider_kind in KINDS | {"text-with-attachments"}


def check(body: bytes) -> None:
    for raw in fragments_of(CHANNEL, body):
        check_values(raw)


@settings(max_examples=EXAMPLES * 3)
@given(MESSAGES, st.booleans())
def test_any_message(item: Any, packed: bool) -> None:
    body = orjson.dumps(item)
    check(gzip.compress(body) if packed else body)


@settings(max_examples=EXAMPLES)
@given(JSON | MESSAGES)
def test_any_json_as_fragment(found: Any) -> None:
    check_values(found)
    CHANNEL.describe(found)


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=200), st.integers(0, 40))
def test_any_bytes(body: bytes, cut: int) -> None:
    """Also behind the head of gzip, and a stream that was cut or changed."""
    for one in (body, b"\x1f\x8b\x08" + body, gzip.compress(body)[:-cut], gzip.compress(body) + body):
        check(one)


@settings(max_examples=EXAMPLES)
@given(
    st.text(max_size=80) | st.just(f"Bearer {token()}"), st.binary(max_size=80), METHODS, st.text(max_size=20)
)
def test_any_request(authorization: str, body: bytes, method: str, other: str) -> None:
    """A verdict, never an exception."""
    headers = {"authorization": authorization, "id": other, "source-id": other}
    found = CHANNEL.authenticate(WebhookRequest(method, {}, headers, body), connection())
    assert isinstance(found, Accepted | Denied)
    secrets = connection(app_secret=other, app_id=other)
    assert isinstance(CHANNEL.authenticate(WebhookRequest(method, {}, headers, body), secrets), Denied)


@settings(max_examples=EXAMPLES)
@given(st.dictionaries(st.sampled_from(["aud", "iat", "exp"]), JSON, max_size=3))
def test_any_claims_that_are_signed(claims: dict[str, Any]) -> None:
    """They are read as they are, unless they are longer than any of Apple's."""
    bearer = wire.made_token(claims, KEY)
    read = orjson.loads(orjson.dumps(claims)) if len(bearer) <= wire.TOKEN_MAX_CHARACTERS else "malformed"
    assert wire.read_token(bearer, KEY) == read
    found = CHANNEL.authenticate(request(authorization=f"Bearer {bearer}"), connection())
    assert isinstance(found, Denied) or MSP_ID in str(claims["aud"])


@settings(max_examples=EXAMPLES)
@given(
    st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{0,20}(\.[A-Za-z0-9_-]{0,40}){1,3}", fullmatch=True)
)
def test_no_text_is_a_token(text: str) -> None:
    assert wire.read_token(text, KEY) in ("malformed", "mismatch")


@settings(max_examples=EXAMPLES)
@given(st.text(max_size=60))
def test_an_address_reads_as_itself(text: str) -> None:
    found = CHANNEL.read_address(text)
    assert found is None or CHANNEL.read_address(found.value) == found


@settings(max_examples=EXAMPLES * 2)
@given(
    st.integers(0, 999),
    st.binary(max_size=60) | JSON.map(orjson.dumps),
    st.dictionaries(st.sampled_from(["Retry-After", "x"]), st.text(max_size=9)),
)
def test_any_answer_of_the_provider(http: int, body: bytes, headers: dict[str, str]) -> None:
    check_classified(CHANNEL, http, headers, body)
