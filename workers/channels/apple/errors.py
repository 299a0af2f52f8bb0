"""Answers of Apple's gateway and what each means for us.

The HTTP status alone says it; a body, where there is one, is words for people. Apple's own table could not be read: what is
marked (U) no code that we found confirms. Source: https://register.apple.com/resources/messages/msp-rest-api/common-specs
(channel-apis §5.5). Checked 2026-08-19.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.reasons import FailureClass
from workers.channel import Classified, ProviderResponse
from workers.http_answers import retry_after_s

TEXT_MAX_CHARACTERS = 1_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Class of an error and what is special; fields as in `Classified`."""

    failure_class: FailureClass
    note: str
    alarm: bool = False
    opted_out: bool = False
    message_only: bool = False


CODES: Mapping[int, Rule] = {
    400: Rule("PERM", "the message is not as documented"),
    401: Rule("AUTH", "the token is not taken", alarm=True),
    403: Rule("AUTH", "the token is not taken, or the business is not linked to the MSP", alarm=True),
    404: Rule("UNREACH", "nobody with Apple Messages is there", message_only=True),
    408: Rule("RETRY", "timeout (U)"),
    410: Rule("UNREACH", "the person closed the chat: the same as `close`", opted_out=True),
    413: Rule("PERM", "too large (U)"),
    429: Rule("RATE", "too many requests (U)"),
}
_SERVER = Rule("RETRY", "the provider's server failed")
_OTHER = Rule("PERM", "unknown")


def classify(response: ProviderResponse) -> Classified:
    """Class of an answer that is no success."""
    rule = _SERVER if response.status >= 500 else CODES.get(response.status, _OTHER)
    code = response.status if 400 <= response.status <= 599 else None
    return Classified(
        rule.failure_class,
        code,
        retry_after_s(response.headers) if rule.failure_class in ("RATE", "RETRY") else None,
        alarm=rule.alarm,
        text=response.body.decode("utf-8", "replace")[:TEXT_MAX_CHARACTERS] or None,
        opted_out=rule.opted_out,
        message_only=rule.message_only,
    )
