"""CLI commands that show what a channel makes of a provider's JSON, without any running part."""

from collections.abc import Iterator

import orjson

from schemas.errors import SealpostError
from workers import registry
from workers.channel import ProviderResponse, UnparseableBody


class NotParseable(SealpostError):
    """The input is no webhook body of this channel; check that it is the provider's JSON, whole and unwrapped."""


def parse_lines(channel: str, body: bytes) -> Iterator[str]:
    """One JSON object per inbound value of a webhook body; what cannot be read or is not supported yet says so."""
    plugin = registry.channel(channel)
    try:
        fragments = plugin.split(body)
    except UnparseableBody as error:
        raise NotParseable(str(error)) from None
    for fragment in fragments:
        for value in plugin.describe(fragment.raw):
            yield orjson.dumps(value).decode()


def classify_line(channel: str, status: int, body: bytes) -> str:
    """What a provider's answer means: `{"class", "code", "retry_after_s"}` as JSON."""
    answer = registry.channel(channel).classify(ProviderResponse(status=status, headers={}, body=body))
    meaning = {"class": answer.failure_class, "code": answer.code, "retry_after_s": answer.retry_after_s}
    return orjson.dumps(meaning).decode()
