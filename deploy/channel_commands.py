"""CLI commands that show what a channel makes of a provider's JSON, without any running part."""

from collections.abc import Iterator

import orjson

from schemas.errors import SealpostError
from workers import registry
from workers.channel import ProviderResponse, UnparseableBody
from workers.inbound_values import JsonObject


class NotParseable(SealpostError):
    """The input is no webhook body of this channel; check that it is the provider's JSON, whole and unwrapped."""


def parse_lines(channel: str, body: bytes) -> Iterator[str]:
    """One JSON object per inbound value of a webhook body, or of one element of it alone; what cannot be read or is not
    supported yet says so.
    """
    plugin = registry.channel(channel)
    try:
        parts = [fragment.raw for fragment in plugin.split(body)]
    except UnparseableBody as error:
        parts = [_element(body, error)]
    for part in parts:
        for value in plugin.describe(part):
            yield orjson.dumps(value).decode()


def _element(body: bytes, why: UnparseableBody) -> JsonObject:
    """The JSON object that is no webhook body; NotParseable when it is no object either."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise NotParseable(str(why)) from None
    return found


def classify_line(channel: str, status: int, body: bytes) -> str:
    """What a provider's answer means: `{"class", "code", "retry_after_s"}` as JSON."""
    answer = registry.channel(channel).classify(ProviderResponse(status=status, headers={}, body=body))
    meaning = {"class": answer.failure_class, "code": answer.code, "retry_after_s": answer.retry_after_s}
    return orjson.dumps(meaning).decode()
