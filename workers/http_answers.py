"""What an answer means by its HTTP status alone, for channels whose provider says no more, or for what their own table lacks."""

from collections.abc import Callable, Mapping
from math import isfinite

import orjson

from schemas.reasons import FailureClass
from workers.channel import Classified, Failed, Outcome, ProviderResponse, Submitted, Unclear
from workers.inbound_values import JsonObject

WAIT_MAX_S = 86_400.0
"""A wait the provider names is believed up to a day; anything longer would outlive the message."""
SERVICE_UNAVAILABLE = 503
_CLASSES: dict[int, FailureClass] = {401: "AUTH", 403: "AUTH", 408: "RETRY", 429: "RATE"}


def classify_by_status(response: ProviderResponse) -> Classified:
    """Class of an answer that is no success, with the wait that `Retry-After` names in seconds."""
    found = "RETRY" if response.status >= 500 else _CLASSES.get(response.status, "PERM")
    wait_s = retry_after_s(response.headers) if found in ("RATE", "RETRY") else None
    return Classified(found, None, wait_s, alarm=found == "AUTH")


def outcome_by_status(
    response: ProviderResponse, provider_id: object, classify: Callable[[ProviderResponse], Classified]
) -> Outcome:
    """Submitted for a 2xx with an id; Unclear for a 2xx without, and for a server's failure, which can come after the message was
    taken: only 503 says that nothing was tried. Else Failed, as `classify` says.
    """
    if 200 <= response.status < 300:
        taken = isinstance(provider_id, str) and provider_id
        return Submitted(str(provider_id)) if taken else Unclear(response.status)
    if response.status >= 500 and response.status != SERVICE_UNAVAILABLE:
        return Unclear(response.status)
    return Failed.of(classify(response))


def json_object(body: bytes) -> JsonObject:
    """The JSON object of an answer, {} when it is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait where `Retry-After` names them (RFC 9110 §10.2.3), else None."""
    given = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return believed_s(given)


def believed_s(value: object) -> float | None:
    """Seconds that a provider names as a number or its text, WAIT_MAX_S at most; None where they are none, or not above 0."""
    try:
        seconds = (
            float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
        )
    except (ValueError, OverflowError):
        return None
    return min(seconds, WAIT_MAX_S) if isfinite(seconds) and seconds > 0 else None
