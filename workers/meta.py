"""What the channels of Meta's platform share: proof of a webhook, JSON as Meta writes it, error bodies, the outcome of a send.

Sources: https://developers.facebook.com/docs/messenger-platform/webhooks (handshake, signature),
https://developers.facebook.com/docs/graph-api/guides/error-handling (error object), channel-apis §1, August 2026.
"""

import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from schemas.reasons import FailureClass
from workers.channel import (
    Accepted,
    Authenticity,
    Classified,
    ConnectionSecrets,
    Denied,
    Failed,
    Handshake,
    Outcome,
    ProviderResponse,
    Submitted,
    Unclear,
    UnparseableFragment,
    WebhookRequest,
)
from workers.http_answers import SERVICE_UNAVAILABLE, WAIT_MAX_S, believed_s, retry_after_s
from workers.inbound_values import JsonObject

API_BASE_URL = "https://graph.facebook.com/v25.0"
"""Newest version found (channel-apis §1); an account's own `api_base_url` says which one is called."""

# ---- authentic? ---------------------------------------------------------------------------------------------------

SIGNATURE_HEADER = "x-hub-signature-256"
SIGNATURE_PREFIX = "sha256="
SIGNATURE_CHARACTERS = len(SIGNATURE_PREFIX) + 64
_NON_ASCII = re.compile(r"[^\x00-\x7f]")


def authenticate(request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
    """Check `X-Hub-Signature-256` over the raw body, or answer Meta's handshake (GET). Constant time; never
    raises.
    """
    if request.method == "GET":
        return _handshake(request, connection)
    if request.method != "POST":
        return Denied(405, "method")
    if not connection.app_secret:
        return Denied(401, "no_secret")
    given = request.headers.get(SIGNATURE_HEADER, "")
    if not given:
        return Denied(401, "missing")
    if len(given) != SIGNATURE_CHARACTERS or not given.startswith(SIGNATURE_PREFIX):
        return Denied(401, "malformed")
    if _same(given, signature(connection.app_secret, request.body)):
        return Accepted()
    escaped = _escaped(request.body)
    if escaped is not None and _same(given, signature(connection.app_secret, escaped)):
        return Accepted()
    return Denied(401, "mismatch")


def signature(app_secret: str, body: bytes) -> str:
    """The header's value for a body: `sha256=` and 64 lower-case hexadecimal digits."""
    return SIGNATURE_PREFIX + hmac.new(app_secret.encode(), body, sha256).hexdigest()


def signer(app_secret: str) -> Callable[[bytes], dict[str, str]]:
    """What signs a body as the provider does: the header, for a simulator."""
    return lambda body: {"X-Hub-Signature-256": signature(app_secret, body)}


def _handshake(request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
    query = request.query
    if query.get("hub.mode") != "subscribe" or not connection.verify_token:
        return Denied(403, "handshake")
    if not _same(query.get("hub.verify_token", ""), connection.verify_token):
        return Denied(403, "handshake")
    return Handshake(query.get("hub.challenge", "").encode("utf-8", "replace"))


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _escaped(body: bytes) -> bytes | None:
    r"""The body with everything outside ASCII as lower-case `\uXXXX`, the form Meta signs; None when there is
    nothing to escape.
    """
    if body.isascii():
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return _NON_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text).encode("ascii")


# ---- JSON ---------------------------------------------------------------------------------------------------------

MILLISECONDS_FROM = 10**11
"""A time at or above this is in milliseconds (as seconds it would be the year 5138); Meta writes both, and courier guards
against it too.
"""
TIME_DIGITS_MAX = 14
MS_PER_S = 1000
WORD_MAX_CHARACTERS = 64
FRAGMENTS_MAX = 20_000
"""Fragments of one body: a 3 MB body of real statuses has about 10,000; more is no webhook of Meta's but an
attempt to flood.
"""
COMPANION_MAX_BYTES = 8_192
"""What surrounds an element is not copied to each fragment above this, so that a body cannot grow by being
split.
"""


def time_ms(timestamp: object) -> int:
    """Seconds (or milliseconds) as text or number → milliseconds; UnparseableFragment when it is neither."""
    if (
        isinstance(timestamp, str)
        and timestamp.isascii()
        and timestamp.isdigit()
        and len(timestamp) <= TIME_DIGITS_MAX
    ):
        number = int(timestamp)
    elif (
        isinstance(timestamp, int)
        and not isinstance(timestamp, bool)
        and 0 <= timestamp < 10**TIME_DIGITS_MAX
    ):
        number = timestamp
    else:
        raise UnparseableFragment("timestamp")
    return number if number >= MILLISECONDS_FROM else number * MS_PER_S


def time_s(timestamp: object) -> object:
    """The provider's time as a number of seconds where it is one, else as it came."""
    try:
        return time_ms(timestamp) // MS_PER_S
    except UnparseableFragment:
        return timestamp


def known(word: object, words: frozenset[str]) -> str:
    """A provider's word if it is on the list of those that may stand in clear, else `other`."""
    return word if isinstance(word, str) and word in words else "other"


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def short_id(value: object) -> str:
    """An id as text, whether the provider wrote text or a number; "" for what is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and len(value) <= WORD_MAX_CHARACTERS else ""


def small(part: JsonObject) -> bool:
    """True when a part may be copied to each fragment."""
    return len(orjson.dumps(part)) <= COMPANION_MAX_BYTES


# ---- errors -------------------------------------------------------------------------------------------------------

LIMITED_TRIES = 5
"""Codes that mean "something went wrong": repeated a few times, for they can also be permanent."""
TEXT_MAX_CHARACTERS = 1_000
S_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Rule:
    """Class of one code, the HTTP status it usually comes with, and what is special; fields as in
    `Classified`.
    """

    failure_class: FailureClass
    http: int
    note: str
    pair_only: bool = False
    alarm: bool = False
    tries_max: int | None = None
    opted_out: bool = False
    message_only: bool = False


Codes = Mapping[int, Rule]
Subcodes = Mapping[tuple[int, int], Rule]

PERMISSION_CODES = range(200, 300)
_PERMISSION = Rule("AUTH", 403, "permission missing", alarm=True)
_TRANSIENT = Rule("RETRY", 500, "the provider calls it transient", tries_max=LIMITED_TRIES)
_BY_HTTP: Codes = {
    401: Rule("AUTH", 401, "not authorised", alarm=True),
    403: Rule("AUTH", 403, "forbidden", alarm=True),
    408: Rule("RETRY", 408, "timeout"),
    429: Rule("RATE", 429, "too many requests"),
}
_SERVER = Rule("RETRY", 500, "the provider's server failed")
_OTHER = Rule("PERM", 400, "unknown")


def rule_of(codes: Codes, subcodes: Subcodes, error: Mapping[str, Any], http: int | None) -> Rule:
    """The rule that applies: subcode, code, permission range, the provider's own `is_transient`, HTTP
    status.
    """
    code = number(error.get("code"))
    if code is not None:
        subcode = number(error.get("error_subcode"))
        found = (subcodes.get((code, subcode)) if subcode is not None else None) or codes.get(code)
        if found is not None:
            return found
        if code in PERMISSION_CODES:
            return _PERMISSION
    if error.get("is_transient") is True:
        return _TRANSIENT
    if http is not None and http >= 500:
        return _SERVER
    return _BY_HTTP.get(http or 0, _OTHER)


def classified(rule: Rule, error: Mapping[str, Any], headers: Mapping[str, str]) -> Classified:
    """A rule with what only this answer says: code, wait, words."""
    wait_s = _wait_s(headers) if rule.failure_class in ("RATE", "RETRY") else None
    return Classified(
        rule.failure_class,
        number(error.get("code")),
        wait_s,
        rule.pair_only,
        rule.alarm,
        rule.tries_max,
        text=error_text(error),
        opted_out=rule.opted_out,
        message_only=rule.message_only,
    )


def outcome_of(
    response: ProviderResponse,
    classify: Callable[[ProviderResponse], Classified],
    provider_id: Callable[[bytes], str | None],
) -> Outcome:
    """Submitted, Failed, or Unclear where the answer does not tell whether the message was taken.

    A gateway's own 5xx (no error object of the API in it) can come after the API took the message: only 503,
    which says that nothing was tried, counts as a failure.
    """
    taken = 200 <= response.status < 300
    if "code" not in read_error(response.body):
        if taken:
            found = provider_id(response.body)
            return Submitted(found) if found else Unclear(response.status)
        if response.status >= 500 and response.status != SERVICE_UNAVAILABLE:
            return Unclear(response.status)
    return Failed.of(classify(response))


def read_error(body: bytes) -> JsonObject:
    """The error object of an answer (`{"error": {…}}`, a bare one, or the first of `{"errors": […]}`), {} when there is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(found, dict):
        return {}
    inner = found.get("error")
    if isinstance(inner, dict):
        return inner
    listed = found.get("errors")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        return listed[0]
    return found if "code" in found else {}


def error_text(error: Mapping[str, Any]) -> str | None:
    """The provider's words, personal data: message or title, and the details (at the old or the new
    place).
    """
    nested = error.get("error_data")
    details = nested.get("details") if isinstance(nested, dict) else error.get("details")
    parts = [
        text
        for text in (error.get("message") or error.get("title"), details)
        if isinstance(text, str) and text
    ]
    return ": ".join(parts)[:TEXT_MAX_CHARACTERS] or None


def number(value: object) -> int | None:
    """A code, whether the provider wrote a number or digits; None for what is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        return int(value)
    return None


def _wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: `Retry-After` in seconds, else the longest `estimated_time_to_regain_access`
    (minutes), else None.
    """
    named = retry_after_s(headers)
    if named is not None:
        return named
    by_name = {name.lower(): value for name, value in headers.items()}
    usages = (by_name.get(name) for name in ("x-business-use-case-usage", "x-app-usage"))
    longest = max((wait_s for usage in usages for wait_s in _regain_s(usage)), default=None)
    return None if longest is None else min(longest, WAIT_MAX_S)


def _regain_s(header: str | None) -> Iterator[float]:
    if not header:
        return
    try:
        pending = [orjson.loads(header)]
    except orjson.JSONDecodeError:
        return
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            minutes = believed_s(value.get("estimated_time_to_regain_access"))
            if minutes is not None:
                yield minutes * S_PER_MINUTE
        if isinstance(value, dict | list):
            pending.extend(value.values() if isinstance(value, dict) else value)
