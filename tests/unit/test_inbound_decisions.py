"""What follows from one fragment: which events, in which order, with what sealed, and which permissions fall."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from schemas.addresses import Address
from schemas.content import TextReference
from schemas.entry_tokens import find_token, make_token
from schemas.events.consents import ConsentWithdrawn
from schemas.events.messages import AskedPurpose, Entry, MessageReceived
from schemas.events.statuses import (
    MessageDelivered,
    MessageFailed,
    MessageRead,
    MessageSent,
    MessageSubmitted,
)
from schemas.events.subscriptions import AddressBound, ProfileUpdated, ReachChanged, SubjectCreated
from streams.step.contract import Record
from vault.claims import ClaimInfo
from vault.entry_tokens import UsedToken
from vault.permissions import Lower
from vault.subjects import ResolvedSender
from workers.inbound.decisions import (
    Came,
    Draft,
    decide_message,
    decide_opt_out,
    decide_status,
    submitted_by_echo,
)
from workers.inbound.entries import entry_evidence, entry_of, token_in, words_beside
from workers.inbound.fragments import Received, identity, kind_word
from workers.inbound_values import InboundMessage, InboundOptOut, InboundStatus, ReportedStatus

ID_KEY = b"k" * 32
SUBJECT = "5" * 32
MESSAGE = "20261123" + "a" * 24
AT_MS = 1_795_478_400_123  # 2026-11-24T00:00:00.123Z
AT = "2026-11-24T00:00:00.123Z"
PHONE = Address("whatsapp", "phone", "4915112345678")
BSUID = Address("whatsapp", "bsuid", "DE.13491208655302741918")


def received(value: Any) -> Received:
    """A fragment that holds `value`."""
    record = Record("sealpost.inbound.whatsapp", 2, 17, b"ab12", b"sealed", AT_MS)
    return Received("e" * 32, "acme", "whatsapp", "account-1", AT_MS, ID_KEY, value, record)


def message(text: str | None = "Hallo", **changes: Any) -> InboundMessage:
    """A text message of one person."""
    base = InboundMessage("pn-1", "wamid.in", AT_MS - 2_000, (PHONE, BSUID), "Ada", "text", "text", text)
    return replace(base, **changes)


def status(word: ReportedStatus, **changes: Any) -> InboundStatus:
    """A status of one message."""
    return replace(InboundStatus("pn-1", "wamid.out", word, AT_MS - 1_000), **changes)


def kinds(drafts: tuple[Draft, ...]) -> list[type]:
    """The event types, in order."""
    return [type(draft.data) for draft in drafts]


CLAIM = ClaimInfo(MESSAGE, 0, "acme", SUBJECT, "account-1", "newsletter", 2, has_outcome=False)


def test_each_address_that_is_bound_has_an_event_of_its_own() -> None:
    """Two numbers of another subject that is the same person are two events, and no id is made of an address."""
    other, third = (
        Address("whatsapp", "phone", "4915112345679"),
        Address("whatsapp", "phone", "4915112345670"),
    )
    value = message()
    ids = []
    for bound in ((PHONE, other, BSUID), (third, PHONE, BSUID), (PHONE, BSUID)):
        decision = decide_message(received(value), value, ResolvedSender(SUBJECT, bound=bound), ())
        ids.append([draft.id for draft in decision.drafts if isinstance(draft.data, AddressBound)])
    assert len(set(ids[0])) == 3
    assert ids[1] == ids[0]
    assert ids[2] == [ids[0][0], ids[0][2]]


def test_a_new_person_is_introduced_before_the_message() -> None:
    """SubjectCreated, one AddressBound an address, ProfileUpdated, then the message."""
    who = ResolvedSender(SUBJECT, created=True, bound=(PHONE, BSUID), name_changed=True)
    value = message()
    decision = decide_message(received(value), value, who, ("newsletter",))
    assert kinds(decision.drafts) == [
        SubjectCreated,
        AddressBound,
        AddressBound,
        ProfileUpdated,
        MessageReceived,
    ]
    created, phone, bsuid, profile, said = decision.drafts
    assert all(draft.subject == SUBJECT for draft in decision.drafts)
    assert len({draft.id for draft in decision.drafts}) == 5
    assert orjson.loads(phone.identity or b"") == {"address": PHONE.value, "kind": "phone"}
    assert isinstance(bsuid.data, AddressBound)
    assert bsuid.data.address_kind == "bsuid"
    assert orjson.loads(profile.identity or b"") == {"name": "Ada"}
    assert created.identity is None
    assert said.id == "e" * 32
    assert isinstance(said.data, MessageReceived)
    assert (said.data.message, said.data.intent, said.data.acted_at) == ("e" * 32, None, AT)
    assert orjson.loads(said.content or b"") == {
        "text": "Hallo",
        "provider_id": "wamid.in",
        "provider_time": "2026-11-23T23:59:58.123Z",
    }
    assert said.evidence is None
    assert decision.lowers == ()


def test_a_known_person_only_says_something() -> None:
    """No introduction for who is known."""
    value = message()
    assert kinds(decide_message(received(value), value, ResolvedSender(SUBJECT), ()).drafts) == [
        MessageReceived
    ]


@pytest.mark.parametrize(
    ("text", "intent", "language"),
    [
        ("START", "start", None),
        ("ja!", "yes", "de"),
        ("Yes", "yes", "en"),
        ("nein", "no", "de"),
        ("anmelden", "start", "de"),
        ("/start", "start", None),
    ],
)
def test_intents_carry_evidence_and_the_language_of_the_keyword(
    text: str, intent: str, language: str | None
) -> None:
    """The words are sealed as evidence of the message in which they were found."""
    value = message(text)
    decision = decide_message(received(value), value, ResolvedSender(SUBJECT), ("newsletter",))
    (said,) = decision.drafts
    assert isinstance(said.data, MessageReceived)
    assert (said.data.intent, said.data.language) == (intent, language)
    assert orjson.loads(said.evidence or b"") == {
        "text": text,
        "sender": PHONE.value,
        "kind": "text",
        "provider_time": "2026-11-23T23:59:58.123Z",
        "name": "Ada",
        "provider_id": "wamid.in",
    }
    assert decision.lowers == ()


def test_stop_withdraws_every_purpose_first() -> None:
    """ConsentWithdrawn before MessageReceived, each with a copy of the message's evidence, and the permissions fall at once."""
    value = message("Stopp.")
    decision = decide_message(received(value), value, ResolvedSender(SUBJECT), ("news", "offers"))
    assert kinds(decision.drafts) == [ConsentWithdrawn, ConsentWithdrawn, MessageReceived]
    first, second, said = decision.drafts
    assert first.data == ConsentWithdrawn(purpose="news", method="keyword", language="de", acted_at=AT)
    assert (first.evidence, first.evidence_of) == (None, said.id)
    assert second.evidence_of == said.id
    assert said.evidence is not None
    assert first.id != second.id
    assert decision.lowers == (
        Lower("acme", SUBJECT, "whatsapp", "news", AT_MS),
        Lower("acme", SUBJECT, "whatsapp", "offers", AT_MS),
    )


def test_a_button_counts_like_its_words() -> None:
    """A reply by button: the title is what the person said."""
    value = message(
        kind="button_reply", provider_kind="button", text=None, option_id="x-1", option_title="STOP"
    )
    decision = decide_message(received(value), value, ResolvedSender(SUBJECT), ("news",))
    withdrawn, said = decision.drafts
    assert isinstance(withdrawn.data, ConsentWithdrawn)
    assert withdrawn.data.method == "button"
    content = orjson.loads(said.content or b"")
    assert (content["option_id"], content["option_title"]) == ("x-1", "STOP")


def test_an_unsupported_kind_is_kept_whole_and_means_nothing() -> None:
    """The provider's JSON goes into the sealed content; a text inside it is no intent."""
    raw = {"value": {"messages": [{"type": "image", "text": {"body": "STOP"}}]}}
    value = message(kind="unsupported", provider_kind="image", text=None, raw=raw)
    decision = decide_message(received(value), value, ResolvedSender(SUBJECT), ("news",))
    (said,) = decision.drafts
    assert isinstance(said.data, MessageReceived)
    assert (said.data.kind, said.data.provider_kind, said.data.intent) == ("unsupported", "image", None)
    assert orjson.loads(said.content or b"")["raw"] == raw


def test_an_act_of_before_the_erasure_writes_nothing() -> None:
    """Neither events nor withdrawals; counted as erased."""
    value = message("STOP")
    decision = decide_message(received(value), value, ResolvedSender("", dropped=True), ("news",))
    assert (decision.drafts, decision.lowers, decision.why) == ((), (), "erased")


def test_the_same_fragment_gives_the_same_ids() -> None:
    """Handling something twice writes the same events."""
    value = message("STOP")
    who = ResolvedSender(SUBJECT, created=True, bound=(PHONE,), name_changed=True)
    once, twice = (decide_message(received(value), value, who, ("news",)) for _ in range(2))
    assert once == twice


def test_what_is_passed_on_asks_for_nothing() -> None:
    """A forwarded STOP or JA is another's word: it is kept, and no intent is found in it."""
    value = message("STOP", forwarded=True)
    decision = decide_message(received(value), value, ResolvedSender(SUBJECT), ("news",))
    (said,) = decision.drafts
    assert isinstance(said.data, MessageReceived)
    assert (said.data.intent, said.evidence, decision.lowers) == (None, None, ())
    content = orjson.loads(said.content or b"")
    assert (content["text"], content["forwarded"]) == ("STOP", True)


def test_the_providers_switch() -> None:
    """It withdraws with evidence of its own; the block is sealed once and copied."""
    value = InboundOptOut("pn-1", "user_preferences:x", AT_MS - 5_000, (PHONE,), "marketing", "stop")
    decision = decide_opt_out(received(value), value, ResolvedSender(SUBJECT), ("news", "offers"))
    first, second = decision.drafts
    assert first.data == ConsentWithdrawn(purpose="news", method="provider_preference", acted_at=AT)
    assert orjson.loads(first.evidence or b"")["kind"] == "provider_preference"
    assert (second.evidence, second.evidence_of) == (None, first.id)
    assert [lower.purpose for lower in decision.lowers] == ["news", "offers"]
    assert decide_opt_out(received(value), value, ResolvedSender("", dropped=True), ("news",)).why == "erased"


@pytest.mark.parametrize(
    ("word", "model"),
    [("sent", MessageSent), ("delivered", MessageDelivered), ("read", MessageRead), ("played", MessageRead)],
)
def test_statuses(word: ReportedStatus, model: type) -> None:
    """A status becomes the event of its word, about the claim's message and person."""
    value = status(word)
    (draft,) = decide_status(received(value), value, CLAIM, ("news",)).drafts
    assert draft.data == model(message=MESSAGE, account="account-1", purpose="newsletter", acted_at=AT)
    assert draft.subject == SUBJECT
    assert orjson.loads(draft.content or b"") == {"provider_id": "wamid.out"}


def test_a_failed_status_names_class_and_code() -> None:
    """The class and the number are clear; the provider's words are sealed."""
    error = {"code": 131047, "title": "Re-engagement message", "message": "to 4915112345678"}
    value = status("failed", error_code=131047, error_class="WINDOW", raw_error=error)
    (draft,) = decide_status(received(value), value, CLAIM, ("news",)).drafts
    assert isinstance(draft.data, MessageFailed)
    assert (draft.data.reason, draft.data.code) == ("WINDOW", 131047)
    assert orjson.loads(orjson.loads(draft.content or b"")["provider_error"]) == error


FAILED_AT, BEFORE_THAT_SECOND = "2026-11-23T23:59:59.123Z", "2026-11-23T23:59:58.999Z"


@pytest.mark.parametrize("reach_changed", [True, False])
@pytest.mark.parametrize("opted_out", [True, False])
def test_a_failed_status_that_says_something_about_the_person(opted_out: bool, reach_changed: bool) -> None:
    """Withdrawals first, then the reach, then the status; the act is as old as the provider says, and never of the future."""
    value = status("failed", error_code=131050, error_class="UNREACH", opted_out=opted_out)
    decision = decide_status(received(value), value, CLAIM, ("news", "offers"), reach_changed=reach_changed)
    withdrawn = [ConsentWithdrawn] * 2 if opted_out else []
    assert kinds(decision.drafts) == [*withdrawn, *([ReachChanged] if reach_changed else []), MessageFailed]
    for draft in decision.drafts[:-1]:
        assert isinstance(draft.data, ConsentWithdrawn | ReachChanged)
        at = BEFORE_THAT_SECOND if isinstance(draft.data, ReachChanged) else FAILED_AT
        assert (draft.data.acted_at, draft.subject) == (at, SUBJECT)
        assert (draft.identity, draft.content, draft.evidence, draft.evidence_of) == (None, None, None, None)
    assert decision.lowers == tuple(
        Lower("acme", SUBJECT, "whatsapp", purpose, AT_MS - 1_000)
        for purpose in (("news", "offers") if opted_out else ())
    )
    late = replace(value, provider_time_ms=AT_MS + 60_000)
    for lower in decide_status(received(late), late, CLAIM, ("news",)).lowers:
        assert lower.acted_at_ms == AT_MS


def test_an_echo_settles_what_outbound_could_not() -> None:
    """MessageSubmitted in outbound's place: its id depends on message, part and attempt alone."""
    one = submitted_by_echo(received(status("sent")), status("sent"), CLAIM)
    other = submitted_by_echo(replace(received(status("read")), id="f" * 32), status("read"), CLAIM)
    assert one.id == other.id
    assert one.data == MessageSubmitted(
        message=MESSAGE, account="account-1", purpose="newsletter", attempt=2, acted_at=AT
    )


def test_every_value_has_an_identity_and_a_word() -> None:
    """Two statuses of one message differ, a repetition does not; labels come from fixed words."""
    sent, read = status("sent"), status("read")
    assert identity(sent, b"1") != identity(read, b"1")
    assert identity(sent, b"1") == identity(status("sent", echo=f"{MESSAGE}.0"), b"2")
    assert identity(message(), b"1") != identity(sent, b"1")
    assert identity(None, b"1") != identity(None, b"2")
    assert [kind_word(value) for value in (message(), sent, None)] == ["text", "status.sent", "nothing"]


def test_in_another_apps_conversation_a_stop_holds_and_nothing_is_asked_for() -> None:
    """The withdrawal is written with its proof; the message asks for no answer. A START there asks for nothing at all."""
    who = ResolvedSender(SUBJECT)
    value = message("STOP", standby=True)
    decision = decide_message(received(value), value, who, ("newsletter",))
    withdrawn, said = decision.drafts
    assert isinstance(withdrawn.data, ConsentWithdrawn)
    assert isinstance(said.data, MessageReceived)
    assert (withdrawn.evidence_of, said.data.intent) == (said.id, None)
    assert said.evidence is not None
    assert [lower.purpose for lower in decision.lowers] == ["newsletter"]
    asked = message("START", standby=True)
    (only,) = decide_message(received(asked), asked, who, ("newsletter",)).drafts
    assert isinstance(only.data, MessageReceived)
    assert only.data.intent is None


DRAFT = "Ja, Backhaus darf mir schreiben: No Limits. Code:"
TEXT = TextReference(id="signup", version=1, language="de")
FACTS = {
    "form": "f" * 32, "purposes": [{"purpose": "newsletter", "optin": "1" * 32}], "text": TEXT.model_dump(),
    "notice": "privacy/1/de", "language": "de", "requested_at": AT, "draft": DRAFT,
}  # fmt: skip


def came_by(value: InboundMessage, outcome: Any = "fresh") -> Came:
    """What the vault says of the token in a message: a form's."""
    found = token_in(value)
    assert found is not None
    used = UsedToken("form", outcome, FACTS)
    entry = entry_of(found, used)
    return Came(entry, entry_evidence(found, entry), words_beside(found, used))


def intent_of(value: InboundMessage, outcome: Any = "fresh") -> tuple[str | None, list[str]]:
    """The intent, and what is withdrawn."""
    decision = decide_message(
        received(value), value, ResolvedSender(SUBJECT), ("newsletter",), came_by(value, outcome)
    )
    said = decision.drafts[-1].data
    assert isinstance(said, MessageReceived)
    return said.intent, [lower.purpose for lower in decision.lowers]


@pytest.mark.parametrize(
    "words",
    [
        DRAFT, f"Hallo! {DRAFT}", "", "Ja gern", "ja bitte, Code:", f"{DRAFT} Danke, liebe Grüße",
    ],
)  # fmt: skip
def test_a_fresh_token_signs_up_with_the_prepared_words_or_others(words: str) -> None:
    """What was prepared may hold any name; it is no word of the person's."""
    assert intent_of(message(f"{words} {make_token()}".strip())) == ("signup", [])


@pytest.mark.parametrize(
    ("words", "intent"),
    [
        ("Nein, Backhaus darf mir nicht schreiben: No Limits. Code:", "no"),
        ("Nein. Code:", "no"),
        (f"NEIN\n\n{DRAFT}", "no"),
        ("I don't want that. Code:", "no"),
        ("Bitte keine Werbung. Code:", "no"),
        ("STOPP Code:", "stop"),
        (f"stop {DRAFT}", "stop"),
    ],
)
def test_a_no_or_stop_beside_a_token_is_what_counts(words: str, intent: str) -> None:
    """Wherever it stands: who changed the prepared sentence has not said yes."""
    withdrawn = ["newsletter"] if intent == "stop" else []
    assert intent_of(message(f"{words} {make_token()}")) == (intent, withdrawn)


def test_a_link_that_was_only_opened_signs_nobody_up() -> None:
    """The chat asks; whoever writes with the token is signed up."""
    opened = message(None, kind="unsupported", provider_kind="entry", token=make_token())
    assert intent_of(opened) == ("start", [])
    assert intent_of(message("Hallo", token=make_token())) == ("signup", [])


def test_of_a_token_that_counts_no_more_no_opt_in_is_named() -> None:
    """It may be another person's, or that of somebody who was erased."""
    for outcome in ("used", "expired"):
        entry = came_by(message(make_token()), outcome).entry
        assert (entry.purposes, entry.requested_at) == ([AskedPurpose(purpose="newsletter", optin="")], None)
        assert entry.form == "f" * 32
    fresh = came_by(message(make_token())).entry
    assert fresh.purposes[0].optin == "1" * 32
    assert isinstance(fresh, Entry)
    assert find_token(make_token()) is not None


@pytest.mark.parametrize(
    "value",
    [
        message(None, kind="button_reply", option_id="STOP"),
        message("STOP", kind="unsupported", provider_kind="other"),
        message(f"STOP {make_token()}", standby=True),
    ],
)
def test_a_stop_is_heard_where_little_can_be_read(value: InboundMessage) -> None:
    """A button without its title, a caption under something unknown, a token in another app's conversation."""
    decision = decide_message(received(value), value, ResolvedSender(SUBJECT), ("newsletter",))
    assert [lower.purpose for lower in decision.lowers] == ["newsletter"]
    other = message(None, kind="button_reply", option_id="START")
    (said,) = decide_message(received(other), other, ResolvedSender(SUBJECT), ("newsletter",)).drafts
    assert isinstance(said.data, MessageReceived)
    assert said.data.intent is None, "an id is no word of the person's own, unless it forbids"
