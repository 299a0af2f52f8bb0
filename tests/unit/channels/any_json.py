"""JSON of any form, with a provider's own words in it, to get past the first look; and what every channel makes of it."""

from typing import Any, get_args

import orjson
from hypothesis import strategies as st

from schemas.reasons import FailureClass
from tests.unit.channels.connection import Secrets
from workers.channel import (
    Authenticity,
    Channel,
    ProviderResponse,
    UnparseableBody,
    UnparseableFragment,
    WebhookRequest,
)
from workers.inbound_values import Inbound

EXAMPLES = 100
METHODS = st.sampled_from(["GET", "POST", "PUT"])


def any_json(words: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Anything that JSON can say."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False)
        | st.text(max_size=8)
        | words
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=6), inner, max_size=5)
        ),
    )


def any_object(words: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """An object whose members have the provider's names."""
    return st.dictionaries(words, any_json(words), max_size=6)


def spoiled(base: dict[str, Any], words: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A proper object with some members replaced by anything."""
    return st.dictionaries(st.sampled_from(sorted(base)) | words, any_json(words), max_size=3).map(
        lambda changes: base | changes
    )


def values_of(channel: Channel, raw: Any) -> list[Inbound] | None:
    """What a fragment says, each a typed value; None where it cannot be understood. Nothing else is raised."""
    try:
        values = channel.parse(raw)
    except UnparseableFragment:
        return None
    assert all(isinstance(value, get_args(Inbound)) for value in values)
    return values


def fragments_of(channel: Channel, body: bytes) -> list[Any]:
    """The raw fragments of a body, each of which can be written and described; none of what is no body."""
    try:
        fragments = channel.split(body)
    except UnparseableBody:
        return []
    for fragment in fragments:
        orjson.dumps(fragment.raw)
        orjson.dumps(channel.describe(fragment.raw))
    return [fragment.raw for fragment in fragments]


def check_authentic(channel: Channel, request: WebhookRequest) -> None:
    """A verdict, never an exception."""
    assert isinstance(channel.authenticate(request, Secrets()), get_args(Authenticity))


def check_classified(channel: Channel, http: int, headers: dict[str, str], body: bytes) -> None:
    """A class of the catalogue, and a wait within a day."""
    found = channel.classify(ProviderResponse(http, headers, body))
    assert found.failure_class in get_args(FailureClass)
    assert found.retry_after_s is None or 0 < found.retry_after_s <= 86_400
