"""What a message with a token asks for: the words beside it may say no, and a token that counts no more leads to the question."""

from typing import Any, Literal

import orjson
import pytest

from schemas.addresses import Address
from schemas.events.consents import ConsentWithdrawn
from schemas.events.messages import Entry, MessageReceived
from streams.step.contract import Record
from vault.subjects import ResolvedSender
from workers.inbound.decisions import Came, Decision, decide_message
from workers.inbound.fragments import Received
from workers.inbound_values import InboundMessage

AT_MS = 1_795_478_400_123
WHO = ResolvedSender("5" * 32)
Kind = Literal["form", "api", "link"]


def decided(words: str, kind: Kind | None, outcome: Any, language: str | None = "de") -> Decision:
    """A person writes `words` beside a token."""
    address = Address("whatsapp", "phone", "4915112345678")
    value = InboundMessage("pn-1", "wamid.in", AT_MS, (address,), "Ada", "text", "text", f"{words} sp-token")
    record = Record("sealpost.inbound.whatsapp", 2, 17, b"ab12", b"sealed", AT_MS)
    received = Received("e" * 32, "acme", "whatsapp", "account-1", AT_MS, b"k" * 32, value, record)
    entry = Entry(kind=kind, outcome=outcome, language=language)
    return decide_message(received, value, WHO, ("newsletter",), Came(entry, {"token_hash": "a" * 64}, words))


def said(decision: Decision) -> MessageReceived:
    data = decision.drafts[-1].data
    assert isinstance(data, MessageReceived)
    return data


@pytest.mark.parametrize("words", ["", "Hallo!", "START", "ja", "Ich möchte den Newsletter"])
@pytest.mark.parametrize("kind", ["form", "api"])
def test_a_fresh_token_of_a_form_signs_up_whatever_else_is_said(words: str, kind: Kind) -> None:
    decision = decided(words, kind, "fresh")
    assert (said(decision).intent, said(decision).language) == ("signup", "de")
    evidence = orjson.loads(decision.drafts[-1].evidence or b"")
    assert evidence["entry"]["token_hash"] == "a" * 64
    assert evidence["text"].endswith("sp-token"), "the proof does not hold the message as it was written"


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("form", "used"), ("form", "expired"), ("api", "used"), ("link", "fresh"), ("link", "expired"), (None, "edited"),
        (None, "unknown")],
)  # fmt: skip
def test_any_other_token_leads_to_the_question(kind: Kind | None, outcome: str) -> None:
    assert said(decided("Hallo", kind, outcome)).intent == "start"


@pytest.mark.parametrize(
    ("words", "intent"), [("STOPP", "stop"), ("stop", "stop"), ("Nein", "no"), ("no", "no")]
)
def test_words_that_say_no_count_more_than_a_token(words: str, intent: str) -> None:
    decision = decided(words, "form", "fresh")
    assert said(decision).intent == intent
    withdrawn = [draft.data for draft in decision.drafts if isinstance(draft.data, ConsentWithdrawn)]
    assert len(withdrawn) == len(decision.lowers) == (1 if intent == "stop" else 0)


def test_the_keywords_language_counts_more_than_the_pages() -> None:
    assert said(decided("subscribe", "form", "fresh")).language == "en"
    assert said(decided("Hallo", "form", "fresh")).language == "de"
    assert said(decided("Hallo", None, "unknown", None)).language is None
