"""Error codes of the Send API and what each means for us, on Messenger and on Instagram alike.

Source: channel-apis §3.5 (jgorset/facebook-messenger for codes and subcodes, Meta's general Graph list) and §4,
https://developers.facebook.com/docs/messenger-platform/error-codes, checked 2026-11-25; Instagram's own subcodes as
public reports quote its answers (2534022: ComposioHQ/composio, issue 3604). The subcode decides, then the code, then the
HTTP status; an error can come with HTTP 200.
"""

import re
from collections.abc import Mapping
from typing import Any

from workers import meta
from workers.channel import Classified, ProviderResponse
from workers.meta import LIMITED_TRIES, Rule

NO_SUCH_USER, OUTSIDE_WINDOW = (100, 2018001), (10, 2018278)

CODES: Mapping[int, Rule] = {
    1: Rule("RETRY", 500, "unknown API error"),
    2: Rule(
        "RETRY", 500, "service down; also reported for people who blocked the page", tries_max=LIMITED_TRIES
    ),
    1200: Rule("RETRY", 500, "temporary send message failure"),
    4: Rule("RATE", 400, "too many calls of the app"),
    9: Rule("RATE", 400, "too many messages to this person"),
    17: Rule("RATE", 400, "too many calls of the user"),
    32: Rule("RATE", 400, "too many calls of the page"),
    613: Rule("RATE", 400, "calls to this API have exceeded the rate limit"),
    80006: Rule("RATE", 400, "too many Messenger calls of the page"),
    551: Rule("UNREACH", 400, "this person is not available right now"),
    100: Rule("PERM", 400, "wrong parameter"),
    36000: Rule("PERM", 400, "image too large"),
    10900: Rule("PERM", 400, "the activity cannot be replied to"),
    10903: Rule("PERM", 400, "already replied to this comment"),
    10: Rule("AUTH", 403, "permission missing or withdrawn", alarm=True),
    190: Rule("AUTH", 401, "access token expired or invalid", alarm=True),
    230: Rule("AUTH", 403, "permission withdrawn", alarm=True),
    10303: Rule("AUTH", 400, "account linking is not allowed", alarm=True),
    368: Rule("ACCOUNT", 403, "blocked for policy violations", alarm=True),
}
"""Other codes from 200 to 299 are missing permissions (`workers.meta`)."""

SUBCODES: Mapping[tuple[int, int], Rule] = {
    (4, 2018022): Rule("RATE", 400, "page request limit reached"),
    (100, 2018109): Rule("RATE", 400, "limit of attachments reached"),
    OUTSIDE_WINDOW: Rule("WINDOW", 400, "outside of the allowed window"),
    (10, 2018065): Rule("WINDOW", 400, "outside of the allowed window"),
    (10, 2534022): Rule("WINDOW", 403, "outside of the allowed window, on Instagram"),
    (551, 1545041): Rule("UNREACH", 400, "this person is not available"),
    (200, 1545041): Rule("UNREACH", 400, "this person is not available"),
    NO_SUCH_USER: Rule("UNREACH", 400, "no matching user found", message_only=True),
    (100, 2534014): Rule("UNREACH", 400, "no such user, on Instagram", message_only=True),
    (10, 2018108): Rule("UNREACH", 400, "this person is not receiving messages"),
    (200, 2018028): Rule("PERM", 403, "app not live: only its own people can be written to", alarm=True),
}
"""(code, subcode) where the subcode says more. No such user is what the token of another page is answered for everybody: it says
nothing about the person."""
SKIPPED_CASES: Mapping[str, str] = {
    "known_opt_out_code": "Meta answers the same about who blocked the account and who cannot be reached for another reason"
}

_TAG = re.compile(r"\btags?\b")
_TAG_REMOVED = Rule("WINDOW", 400, "the message tag is gone since 27 April 2026")


def classify(response: ProviderResponse) -> Classified:
    """Class of an answer that is no success. Reads `{"error": {…}}` or a bare error object."""
    error = meta.read_error(response.body)
    return meta.classified(_rule_of(error, response.status), error, response.headers)


def _rule_of(error: Mapping[str, Any], http: int) -> Rule:
    untold = meta.number(error.get("error_subcode")) is None
    if untold and meta.number(error.get("code")) == 100 and _names_a_tag(error):
        return _TAG_REMOVED
    return meta.rule_of(CODES, SUBCODES, error, http)


def _names_a_tag(error: Mapping[str, Any]) -> bool:
    """The provider's words name a tag only where the request had one."""
    said = (meta.error_text(error), error.get("error_user_title"), error.get("error_user_msg"))
    words = " ".join(text for text in said if isinstance(text, str))
    return _TAG.search(words.casefold().replace("_", " ")) is not None
