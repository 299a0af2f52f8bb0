"""By which way a message came: where a token is looked for, and what events and the proof say of it."""

from dataclasses import replace
from typing import Any

import pytest

from schemas.addresses import Address
from schemas.entry_tokens import FoundToken, make_token, token_hash
from vault.entry_tokens import UsedToken
from workers.inbound.entries import entry_evidence, entry_of, token_in
from workers.inbound_values import InboundMessage

TOKEN, OTHER = make_token(), make_token()
FACTS: dict[str, Any] = {
    "form": "f" * 32,
    "purposes": [{"purpose": "newsletter", "optin": "1" * 32}],
    "text": {"id": "signup", "version": 1, "language": "de"},
    "text_hash": "a" * 64,
    "notice": "privacy/1/de",
    "language": "de",
    "requested_at": "2026-11-24T00:00:00.123Z",
}


def message(text: str, **changes: Any) -> InboundMessage:
    address = Address("whatsapp", "phone", "4915112345678")
    base = InboundMessage("pn-1", "wamid.in", 1_795_478_400_123, (address,), "Ada", "text", "text", text)
    return replace(base, **changes)


def test_a_token_stands_in_the_words_or_beside_them() -> None:
    """What the channel carries beside the words counts more than what somebody wrote."""
    assert token_in(message(f"Hallo {TOKEN}")) == FoundToken(TOKEN, "Hallo")
    assert token_in(message("Hallo", token=TOKEN)) == FoundToken(TOKEN, "Hallo")
    assert token_in(message(f"Hallo {OTHER}", token=TOKEN)) == FoundToken(TOKEN, "Hallo")
    assert token_in(message("Hallo")) is None
    assert token_in(message(f"Hallo {OTHER}", token="of somebody else")) == FoundToken(OTHER, "Hallo")


def test_what_is_passed_on_holds_no_token() -> None:
    """The words are another's."""
    assert token_in(message(TOKEN, forwarded=True)) is None
    assert token_in(message("Hallo", token=TOKEN, forwarded=True)) is None


def test_what_events_say_of_a_token() -> None:
    found = FoundToken(TOKEN, "")
    assert entry_of(FoundToken(None, ""), None).outcome == "edited"
    assert entry_of(found, None).outcome == "unknown"
    entry = entry_of(found, UsedToken("form", "fresh", FACTS))
    assert (entry.kind, entry.outcome, entry.form) == ("form", "fresh", "f" * 32)
    assert entry.purposes is not None
    assert [one.optin for one in entry.purposes] == ["1" * 32]


@pytest.mark.parametrize("token", [TOKEN, None], ids=["whole", "edited"])
def test_the_proof_shows_which_token_it_was_and_not_the_token(token: str | None) -> None:
    found = FoundToken(token, "")
    evidence = entry_evidence(found, entry_of(found, UsedToken("form", "used", FACTS) if token else None))
    assert evidence["token_hash"] == (token_hash(token).hex() if token else None)
    assert TOKEN not in str(evidence)
