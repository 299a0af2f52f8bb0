"""Errors of the Telegram Bot API and what each means for us.

`{"ok": false, "error_code", "description", "parameters": {"retry_after"?, "migrate_to_chat_id"?}}`. The code in the body
goes before the HTTP status, which can differ; the words, which are no interface, are looked for without case and only add
to what the code says. Source: https://core.telegram.org/bots/api#making-requests and #responseparameters; codes and words
from channel-apis §6.4 (nyaruka/courier). Checked 2026-08-19.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.reasons import FailureClass
from workers.channel import Classified, ProviderResponse
from workers.http_answers import believed_s, retry_after_s
from workers.inbound_values import JsonObject

TEXT_MAX_CHARACTERS = 1_000
_DIGITS = re.compile(r"[0-9]{3}", re.ASCII)
_RETRY_AFTER = re.compile(r"retry after ([0-9]{1,9})\b", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rule:
    """Class of an error and what is special; fields as in `Classified`."""

    failure_class: FailureClass
    note: str
    alarm: bool = False
    opted_out: bool = False
    message_only: bool = False


CODES: Mapping[int, Rule] = {
    400: Rule("PERM", "Bad Request"),
    401: Rule("AUTH", "Unauthorized", alarm=True),
    403: Rule("PERM", "Forbidden"),
    404: Rule("AUTH", "Not Found", alarm=True),
    408: Rule("RETRY", "Request Timeout"),
    409: Rule("ACCOUNT", "Conflict", alarm=True),
    420: Rule("RATE", "Flood"),
    429: Rule("RATE", "Too Many Requests"),
}
"""401 and 404: the token is wrong or was revoked. 409: the bot is used in two ways at once, which its owner must end."""

WORDS: Mapping[str, Rule] = {
    "bot was blocked by the user": Rule("UNREACH", "the person blocked the bot", opted_out=True),
    "user is deactivated": Rule("UNREACH", "the person's account is gone", opted_out=True),
    "bot can't initiate conversation": Rule("UNREACH", "the person never pressed Start"),
    "bot can't send messages to bots": Rule("UNREACH", "the recipient is a bot"),
    "bot was kicked": Rule("UNREACH", "the bot is not in the chat any more"),
    "bot is not a member": Rule("UNREACH", "the bot is not in the chat"),
    "chat not found": Rule(
        "UNREACH", "no such chat, or the person never wrote to this bot", message_only=True
    ),
    "user not found": Rule("UNREACH", "no such person", message_only=True),
    "peer_id_invalid": Rule("UNREACH", "no such person for this bot", message_only=True),
}
"""What a refusal (400, 403) says that means this recipient alone. The first two end what she agreed to (courier stops the contact
on exactly these). The last three are what the token of another bot is answered for everybody: they say nothing about her."""
FORBIDDEN = 403
_REFUSALS = frozenset((400, FORBIDDEN))
_MIGRATED = Rule("UNREACH", "the group has another id now; nothing is sent to groups")
_SERVER = Rule("RETRY", "the provider's server failed")
_OTHER = Rule("PERM", "unknown")


def classify(response: ProviderResponse) -> Classified:
    """Class of an answer that is no success."""
    error = read_error(response.body)
    code = _code(error)
    rule = rule_of(response.status if code is None else code, error)
    return Classified(
        rule.failure_class,
        code,
        _wait_s(error, response.headers),
        alarm=rule.alarm,
        text=_text(error),
        # The words of a 400 may quote what was asked; what a person did is a 403.
        opted_out=rule.opted_out and FORBIDDEN in (response.status, code),
        message_only=rule.message_only,
    )


def rule_of(code: int, error: Mapping[str, Any]) -> Rule:
    """The rule that applies: where the chat went, the words of a refusal, the code."""
    if code in _REFUSALS:
        if "migrate_to_chat_id" in _parameters(error):
            return _MIGRATED
        said = (_text(error) or "").casefold()
        for words, rule in WORDS.items():
            if words in said:
                return rule
    if code >= 500:
        return _SERVER
    return CODES.get(code, _OTHER)


def read_error(body: bytes) -> JsonObject:
    """The error object of an answer, {} when there is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) and ("error_code" in found or found.get("ok") is False) else {}


def _code(error: Mapping[str, Any]) -> int | None:
    code = error.get("error_code")
    if isinstance(code, str) and _DIGITS.fullmatch(code):
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 100 <= code <= 999 else None


def _text(error: Mapping[str, Any]) -> str | None:
    """The provider's words, personal data."""
    text = error.get("description")
    return text[:TEXT_MAX_CHARACTERS] or None if isinstance(text, str) else None


def _parameters(error: Mapping[str, Any]) -> Mapping[str, Any]:
    found = error.get("parameters")
    return found if isinstance(found, dict) else {}


def _wait_s(error: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: the API's own `retry_after`, else the header `Retry-After` of whoever stands before it, else what the
    words say, else None."""
    named = believed_s(_parameters(error).get("retry_after")) or retry_after_s(headers)
    said = _RETRY_AFTER.search(_text(error) or "") if named is None else None
    return believed_s(said[1]) if said else named
