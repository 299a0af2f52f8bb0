"""What to do on each answer of the vault and on each way a call can end."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import Address
from schemas.events.statuses import (
    MessageExpired,
    MessageFailed,
    MessageRejected,
    MessageSubmitted,
    MessageUnknown,
)
from schemas.reasons import FailureClass
from streams.step.contract import Output
from vault.permits import Permit, Refusal, Settled, Unknown, Wait
from workers.channel import Failed, Submitted, Unclear
from workers.outbound import decisions
from workers.outbound.decisions import Again, Call, Drop, Finish, WriteAgain, on_answer
from workers.outbound.provider import Attempted, Broken, NoAnswer, NotSent

jitters = st.floats(0, 1, exclude_max=True)
PERMITTED_MS = 1_795_478_400_123
on_attempt = partial(decisions.on_attempt, permitted_ms=PERMITTED_MS)


def failed(failure_class: FailureClass, **more: object) -> Failed:
    fields = {"code": 1, "retry_after_s": None, "text": "words about a person", **more}
    return Failed(failure_class=failure_class, **fields)  # type: ignore[arg-type]  # a test's shorthand


def test_a_permit_is_a_call_and_a_settled_claim_is_written_again() -> None:
    permit = Permit(Address("whatsapp", "phone", "4915112345678"), b"k" * 32, 1, 10.0, 0)
    assert on_answer(permit, 0, 0.5) == Call(permit)
    outputs = (Output("t", b"k", b"v"),)
    assert on_answer(Settled(outputs), 0, 0.5) == WriteAgain(outputs)


def test_refusals_end_a_message_each_in_its_way() -> None:
    assert on_answer(Refusal("erased"), 0, 0.5) == Drop()
    expired = on_answer(Refusal("expired", 1), 0, 0.5)
    assert isinstance(expired, Finish)
    assert (expired.outcome, expired.verdict.model, expired.attempt) == ("expired", MessageExpired, 1)
    refused = on_answer(Refusal("consent_withdrawn", 2), 0, 0.5)
    assert isinstance(refused, Finish)
    assert (refused.outcome, refused.verdict.model) == ("rejected", MessageRejected)
    assert (refused.verdict.reason, refused.attempt) == ("consent_withdrawn", 2)
    unknown = on_answer(Unknown(1), 0, 0.5)
    assert isinstance(unknown, Finish)
    assert (unknown.outcome, unknown.verdict.model, unknown.attempt) == ("unknown", MessageUnknown, 1)


@given(st.integers(0, 1000), jitters)
def test_waits_for_events_are_polled_soon_then_seldom_and_others_as_told(asked: int, jitter: float) -> None:
    for reason in ("vault_behind", "basis", "settings"):
        again = on_answer(Wait(reason, 0.01), asked, jitter)
        assert isinstance(again, Again)
        assert (again.settle, again.why) == (None, reason)
        assert decisions.POLL_FIRST_S <= again.after_s <= decisions.POLL_MAX_S * 1.25
    assert on_answer(Wait("echo", 42.0), asked, jitter) == Again(decisions.ECHO_LOOK_S, "echo")
    assert on_answer(Wait("busy", 3.0), asked, jitter) == Again(3.0, "busy")


def test_submitted() -> None:
    finish = on_attempt(Submitted("wamid.1"), 3, 0.0)
    assert isinstance(finish, Finish)
    assert (finish.outcome, finish.verdict.model, finish.attempt) == ("submitted", MessageSubmitted, 3)
    assert finish.verdict.personal() == {"provider_id": "wamid.1"}
    assert "wamid" not in repr(finish)


@pytest.mark.parametrize("failure_class", ["PERM", "WINDOW", "UNREACH"])
def test_permanent_failures_end_the_message(failure_class: FailureClass) -> None:
    finish = on_attempt(failed(failure_class, code=131026), 1, 0.0)
    assert isinstance(finish, Finish)
    assert (finish.outcome, finish.verdict.model) == ("failed", MessageFailed)
    assert (finish.verdict.reason, finish.verdict.code) == (failure_class, 131026)
    assert finish.verdict.personal() == {"provider_error": "words about a person"}
    assert "person" not in repr(finish)


@pytest.mark.parametrize(
    ("failure_class", "opted_out", "message_only", "unreached"),
    [
        ("UNREACH", False, False, True),
        ("UNREACH", True, False, True),
        ("UNREACH", True, True, False),
        ("UNREACH", False, True, False),
        ("PERM", True, False, False),
        ("WINDOW", False, False, False),
    ],
)
def test_what_an_answer_says_about_the_person_is_as_old_as_the_call(
    failure_class: FailureClass, opted_out: bool, message_only: bool, unreached: bool
) -> None:
    """A no withdraws whatever its class; only an UNREACH that does not pass by itself ends the reach."""
    finish = on_attempt(failed(failure_class, opted_out=opted_out, message_only=message_only), 1, 0.0)
    assert isinstance(finish, Finish)
    verdict = finish.verdict
    assert (verdict.opted_out, verdict.unreached, verdict.permitted_ms) == (
        opted_out,
        unreached,
        PERMITTED_MS,
    )


def test_rate_waits_as_told_and_slows_the_account_unless_one_person_is_meant() -> None:
    told = on_attempt(failed("RATE", retry_after_s=7.0), 1, 0.5)
    assert told == Again(7.0, "rate", "retry", 1, hold_s=7.0)
    pair = on_attempt(failed("RATE", pair_only=True), 3, 0.0)
    assert pair == Again(2.0, "rate", "retry", 3)
    plain = on_attempt(failed("RATE"), 1, 0.0)
    assert plain == Again(0.5, "rate", "retry", 1, hold_s=decisions.RATE_HOLD_S)


def test_retry_gives_up_after_the_tries_a_code_allows() -> None:
    assert isinstance(on_attempt(failed("RETRY", tries_max=3), 2, 0.5), Again)
    last = on_attempt(failed("RETRY", tries_max=3), 3, 0.5)
    assert isinstance(last, Finish)
    assert last.verdict.reason == "RETRY"
    assert isinstance(on_attempt(failed("RETRY"), 1_000, 0.5), Again)


@pytest.mark.parametrize("failure_class", ["AUTH", "ACCOUNT"])
def test_a_broken_account_is_paused_and_the_message_stays(failure_class: FailureClass) -> None:
    again = on_attempt(failed(failure_class), 1, 0.5)
    assert isinstance(again, Again)
    assert (again.pause, again.settle, again.alarm) == (failure_class, "retry", True)


@pytest.mark.parametrize("attempted", [NoAnswer(), Unclear(500)])
def test_an_unknown_outcome_is_never_called_released(attempted: Attempted) -> None:
    """The claim stays open, whatever the delivery: the vault lets nobody repeat it, and calls nothing unknown, too early."""
    again = on_attempt(attempted, 1, 0.5)
    assert isinstance(again, Again)
    assert (again.settle, again.why) == (None, "echo")


@given(st.sampled_from(["refused", "lapsed"]), st.integers(1, 30), jitters)
def test_what_was_surely_not_sent_is_released(why: str, attempt: int, jitter: float) -> None:
    again = on_attempt(NotSent(why), attempt, jitter)  # type: ignore[arg-type]  # one of the literals
    assert isinstance(again, Again)
    assert (again.settle, again.attempt) == ("retry", attempt)


def test_what_cannot_be_sent_ends_the_message() -> None:
    ends = {
        "unsupported": "rejected",
        "no_account": "rejected",
        "corrupt": "failed",
    }
    for why, outcome in ends.items():
        finish = on_attempt(NotSent(why), 1, 0.5)  # type: ignore[arg-type]  # one of the literals
        assert isinstance(finish, Finish)
        assert finish.outcome == outcome


@given(st.booleans(), st.booleans())
def test_a_fault_ends_the_message_and_keeps_it(called: bool, again: bool) -> None:
    """Unknown where a call may have been made, by this attempt or the one before; repeated in no case."""
    finish = on_attempt(Broken(called, "LookupError"), 2, 0.5, again=again)
    assert isinstance(finish, Finish)
    assert (finish.outcome, finish.fault) == ("unknown" if called or again else "failed", "LookupError")


@given(st.integers(1, 10_000), jitters)
def test_back_off_grows_up_to_its_bound(attempt: int, jitter: float) -> None:
    wait_s = decisions.backoff_s(attempt, jitter)
    assert decisions.RETRY_FIRST_S / 2 <= wait_s <= decisions.RETRY_MAX_S
    assert decisions.backoff_s(attempt + 1, jitter) >= wait_s
