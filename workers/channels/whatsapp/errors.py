"""Error codes of the WhatsApp Cloud API and what each means for us.

Source: channel-apis §1 and §2.7 (pywa for codes and texts, nyaruka/courier for the throttle and retry lists,
heltar for HTTP statuses), checked 2026-08-19. The code in the body decides, then the HTTP status: a 4xx can
be transient, a 403 can be a rate. 139100 to 139103 are no answers to a send (they belong to the provider's block list), so they
are left out.
"""

from collections.abc import Mapping
from typing import Any

from workers import meta
from workers.channel import Classified, ProviderResponse
from workers.inbound_values import JsonObject
from workers.meta import LIMITED_TRIES, Rule

CHECKED = "2026-08-19"
SOURCE = "channel-apis §2.7"
FEW_TRIES = 3
"""131053: the provider could not fetch our medium; more tries rarely help."""

CODES: Mapping[int, Rule] = {
    4: Rule("RATE", 429, "too many calls of the app"),
    80007: Rule("RATE", 429, "too many calls of the business account"),
    613: Rule("RATE", 429, "too many calls"),
    130429: Rule("RATE", 400, "throughput of the number; seen with 403 too"),
    131056: Rule(
        "RATE",
        400,
        "too many messages to this person; other chats go on",
        pair_only=True,
    ),
    131048: Rule("RATE", 400, "spam limit: quality problem, wait for hours", alarm=True),
    131064: Rule("RATE", 400, "messaging limit cut after a wrong template category", alarm=True),
    133016: Rule("RATE", 400, "too many attempts to register the number"),
    132069: Rule("RATE", 400, "flow throttled"),
    1: Rule("RETRY", 500, "unknown API error"),
    2: Rule("RETRY", 503, "service down or overloaded"),
    131000: Rule("RETRY", 500, "something went wrong", tries_max=LIMITED_TRIES),
    131016: Rule("RETRY", 503, "service overloaded"),
    135000: Rule("RETRY", 400, "generic user error", tries_max=LIMITED_TRIES),
    131057: Rule("RETRY", 500, "number in maintenance or being upgraded"),
    131053: Rule(
        "RETRY",
        400,
        "medium could not be fetched; permanent when its type is not supported",
        tries_max=FEW_TRIES,
    ),
    131047: Rule("WINDOW", 400, "more than 24 hours since the person's last message"),
    131026: Rule("UNREACH", 400, "not on WhatsApp, old client, or terms not accepted"),
    131021: Rule("UNREACH", 400, "recipient is the sender", message_only=True),
    131030: Rule("UNREACH", 400, "recipient not on the sandbox list", message_only=True),
    # Her switch is for marketing: other messages still reach her. `user_preferences` reports the switch too, where the app is
    # subscribed to it.
    131050: Rule("UNREACH", 400, "the person stopped marketing messages", opted_out=True, message_only=True),
    131049: Rule(
        "UNREACH",
        400,
        "held back for the ecosystem's health; not again within 24 hours",
        message_only=True,
    ),
    130472: Rule("UNREACH", 400, "the person is part of an experiment; do not send again", message_only=True),
    131062: Rule("PERM", 400, "needs the phone number, a user id is not allowed"),
    137000: Rule("PERM", 400, "identity key changed; drop the stored hash"),
    132000: Rule("PERM", 400, "number of template parameters"),
    132001: Rule("PERM", 404, "template does not exist in this language, or is not approved"),
    132005: Rule("PERM", 400, "translated text too long"),
    132007: Rule("PERM", 400, "template content against a policy"),
    132008: Rule("PERM", 400, "template parameter wrong"),
    132012: Rule("PERM", 400, "template parameter of the wrong form"),
    132015: Rule("PERM", 400, "template paused", alarm=True),
    132016: Rule("PERM", 400, "template disabled", alarm=True),
    132068: Rule("PERM", 400, "flow blocked"),
    131063: Rule("PERM", 400, "marketing templates switched off here"),
    33: Rule("PERM", 400, "the object does not exist"),
    100: Rule("PERM", 400, "wrong parameter"),
    131008: Rule("PERM", 400, "parameter missing"),
    131009: Rule("PERM", 400, "parameter value"),
    131051: Rule("PERM", 400, "message type not supported"),
    131052: Rule("PERM", 400, "medium of the person could not be fetched"),
    0: Rule("AUTH", 401, "the app could not be authenticated", alarm=True),
    3: Rule("AUTH", 500, "capability or permission missing", alarm=True),
    10: Rule("AUTH", 403, "permission missing or withdrawn", alarm=True),
    190: Rule("AUTH", 401, "access token expired or invalid", alarm=True),
    131005: Rule("AUTH", 403, "access denied", alarm=True),
    368: Rule("ACCOUNT", 403, "blocked for policy violations", alarm=True),
    131031: Rule("ACCOUNT", 403, "account locked", alarm=True),
    130497: Rule("ACCOUNT", 403, "may not message people of this country", alarm=True),
    131042: Rule("ACCOUNT", 400, "payment", alarm=True),
    131045: Rule("ACCOUNT", 400, "certificate of the number", alarm=True),
    131037: Rule("ACCOUNT", 400, "display name not approved", alarm=True),
    133010: Rule("ACCOUNT", 400, "number not registered", alarm=True),
}

SUBCODES: Mapping[tuple[int, int], Rule] = {
    (100, 33): Rule(
        "PERM",
        400,
        "the number id does not exist or the token may not see it",
        alarm=True,
    ),
    (190, 460): Rule("AUTH", 401, "password changed", alarm=True),
    (190, 463): Rule("AUTH", 401, "access token expired", alarm=True),
    (190, 467): Rule("AUTH", 401, "access token invalid", alarm=True),
}
"""(code, subcode) where the subcode says more; deprecated for WhatsApp since v16, still sent."""

_UNSUPPORTED_MEDIUM = Rule("PERM", 400, "the medium's type is not supported")


def classify(response: ProviderResponse) -> Classified:
    """Class of an answer that is no success. Reads `{"error": {…}}`, a bare error object, or a status's
    `{"errors": […]}`.
    """
    error = meta.read_error(response.body)
    return meta.classified(_rule_of(error, response.status), error, response.headers)


def classify_reported(error: JsonObject) -> Classified:
    """Class of an error object that came in a webhook, without HTTP status and headers."""
    return meta.classified(_rule_of(error, None), error, {})


def _rule_of(error: Mapping[str, Any], http: int | None) -> Rule:
    if meta.number(error.get("code")) == 131053 and _names_unsupported_type(error):
        return _UNSUPPORTED_MEDIUM
    return meta.rule_of(CODES, SUBCODES, error, http)


def _names_unsupported_type(error: Mapping[str, Any]) -> bool:
    words = (meta.error_text(error) or "").casefold()
    return "unsupported" in words or "not supported" in words
