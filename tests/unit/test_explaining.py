"""What `message explain` says: a right sentence for every reason, status and wait that exists."""

from dataclasses import replace
from typing import get_args

import pytest

from projections.api.explaining import (
    FAILURES,
    REFUSALS,
    WAITS,
    Act,
    Facts,
    Tried,
    chain,
    parts_of,
    verdict,
)
from schemas.clock import to_ms
from schemas.events.statuses import Status
from schemas.reasons import FailureClass, RefusalReason, WaitReason

AT = to_ms("2026-05-03T14:00:00Z")
FACTS = Facts(
    channel="whatsapp",
    purpose="newsletter",
    kind="text",
    account="wa-main",
    status="rejected",
    requested_at_ms=AT,
    now_ms=AT + 90_000,
    reason="consent_withdrawn",
    tried=(Tried(1, AT + 40, "consent_withdrawn", "rejected", AT + 45),),
    acts=(
        Act(False, to_ms("2026-05-03T13:02:11Z"), "keyword"),
        Act(True, to_ms("2026-05-01T09:00:00Z"), "keyword"),
    ),
)


def test_who_withdrew_when_and_how() -> None:
    assert verdict(FACTS) == (
        "Not sent: consent for newsletter withdrawn on 3 May 2026 13:02:11 UTC by a keyword in the chat."
    )


def test_what_was_withdrawn_later_was_no_reason() -> None:
    later = Act(False, AT + 86_400_000, "button")
    assert "13:02:11" in verdict(replace(FACTS, acts=(later, *FACTS.acts)))
    assert verdict(replace(FACTS, acts=(later,))) == "Not sent: consent for newsletter was withdrawn."


def test_a_yes_that_did_not_count_is_not_denied() -> None:
    assert "never said yes" in verdict(replace(FACTS, reason="no_consent", acts=()))
    assert "never" not in verdict(replace(FACTS, reason="no_consent"))


def test_what_the_gate_knows_goes_before_a_read_model_that_is_behind() -> None:
    behind = replace(FACTS, status="requested", reason=None)
    taken = replace(behind, tried=(Tried(1, AT + 40, None, "submitted", AT + 90),))
    assert verdict(taken) == "The provider took it and has reported nothing since."
    refused = replace(behind, tried=(Tried(1, AT + 40, "no_dpa", "rejected", AT + 45),))
    assert "data-processing agreement" in verdict(refused)


def test_what_the_claims_do_not_tell_any_more_the_statuses_tell() -> None:
    """After nine days, and for a failure that was reported later."""
    times = {"submitted": AT + 100, "failed": AT + 5_000}
    steps = chain(replace(FACTS, status="failed", reason="PERM", tried=(), times=times))
    assert [step.words for step in steps[1:]] == [
        "The provider took it. (100 ms later)",
        "The provider reported that it failed. (4.9 s later)",
    ]


def test_catalogues_are_whole() -> None:
    """A reason that is added without a sentence fails here."""
    assert set(REFUSALS) == set(get_args(RefusalReason))
    assert set(FAILURES) == set(get_args(FailureClass))
    assert set(WAITS) == set(get_args(WaitReason))


@pytest.mark.parametrize("reason", get_args(RefusalReason))
def test_every_refusal_has_a_sentence_of_its_own(reason: RefusalReason) -> None:
    status: Status = "expired" if reason == "expired" else "rejected"
    words = verdict(replace(FACTS, status=status, reason=reason))
    assert words.startswith("Not sent: ")
    assert words.endswith(".")
    others = {verdict(replace(FACTS, reason=other)) for other in get_args(RefusalReason) if other != reason}
    assert words not in others


@pytest.mark.parametrize("reason", get_args(FailureClass))
def test_every_failure_has_a_sentence_and_the_providers_code(reason: FailureClass) -> None:
    words = verdict(replace(FACTS, status="failed", reason=reason, code=131026))
    assert words.startswith("Not delivered: the provider")
    assert words.endswith(" (the provider's code 131026)")
    others = {verdict(replace(FACTS, status="failed", reason=other)) for other in get_args(FailureClass)}
    assert len(others) == len(get_args(FailureClass))


@pytest.mark.parametrize("reason", get_args(WaitReason))
def test_every_wait_has_a_sentence(reason: WaitReason) -> None:
    words = verdict(replace(FACTS, status="requested", reason=None, tried=(), waits_for=reason))
    assert words == f"Not sent yet; it was asked for 90 s ago. {WAITS[reason]}"


@pytest.mark.parametrize("status", get_args(Status))
def test_every_status_has_a_verdict(status: Status) -> None:
    words = verdict(replace(FACTS, status=status, reason=None))
    assert words.endswith(".")
    assert "on its way" not in words, "nothing is said that fits everything"


def test_the_chain_has_times_and_delays() -> None:
    """Tried twice, delivered, read."""
    tried = (
        Tried(1, AT + 40, None, "retry", AT + 1_240),
        Tried(2, AT + 2_000, None, "submitted", AT + 2_130),
    )
    facts = replace(
        FACTS,
        status="read",
        reason=None,
        tried=tried,
        times={"submitted": AT + 2_130, "delivered": AT + 5_000, "read": AT + 3 * 3_600_000},
    )
    steps = chain(facts)
    assert [step.words for step in steps] == [
        "A text for the purpose newsletter was asked for, over whatsapp.",
        "The gate let it go. (40 ms later)",
        "The provider did not take it; it is tried again. (1.2 s later)",
        "The gate let it go once more, attempt 2. (760 ms later)",
        "The provider took it. (130 ms later)",
        "It arrived on the person's device. (2.9 s later)",
        "The person opened it. (2 h later)",
    ]


def test_a_providers_clock_that_is_behind_changes_no_order() -> None:
    """Sent before it was taken, by its own report: 0 ms later."""
    tried = (Tried(1, AT + 40, None, "submitted", AT + 90),)
    steps = chain(replace(FACTS, status="sent", reason=None, tried=tried, times={"sent": AT + 80}))
    assert [step.words for step in steps[2:]] == [
        "The provider took it. (50 ms later)",
        "The provider sent it on. (0 ms later)",
    ]


def test_a_closed_window_tells_of_the_last_message() -> None:
    closed = replace(FACTS, reason="window_closed", last_inbound_at_ms=to_ms("2026-05-01T08:00:00Z"))
    assert "and that came on 1 May 2026 08:00:00 UTC" in verdict(closed)
    assert "they have written since then" in verdict(replace(closed, last_inbound_at_ms=AT + 60_000))
    assert "have never written" in verdict(replace(closed, last_inbound_at_ms=None))


def test_a_reason_of_a_newer_release_is_shown_as_it_is() -> None:
    assert verdict(replace(FACTS, reason="moon_phase")) == "Not sent: moon_phase."


TAKEN = Tried(1, AT + 40, None, "submitted", AT + 90)
FAILED = Tried(1, AT + 100, None, "failed", AT + 150, 1, "PERM", 131008)
HELD = Tried(1, AT + 160, None, "rejected", AT + 165, 2, "part_failed")
CUT = replace(FACTS, purpose="service", acts=(), status="failed", reason="PERM", code=131008)


def test_a_text_with_a_hole_says_where_and_what_was_held_back_for_it() -> None:
    """Every part has its attempts, its end and its sentence; the one that failed comes first in the verdict."""
    facts = replace(CUT, tried=(TAKEN, FAILED, HELD, replace(HELD, part=3)))
    assert [(part.part, part.status, part.reason, part.code) for part in parts_of(facts)] == [
        (0, "submitted", None, None),
        (1, "failed", "PERM", 131008),
        (2, "rejected", "part_failed", None),
        (3, "rejected", "part_failed", None),
    ]
    assert verdict(facts) == (
        "Part 2: Not delivered: the provider refused it for good, or it could not be handed over. (the provider's code 131008) "
        "Parts 3 and 4: Not sent: a part of the same text before it was not sent, and a text with a hole is "
        "none. Part 1: The provider took it."
    )
    assert [step.words for step in chain(facts)[3:7]] == [
        "Part 2: The gate let it go. (10 ms later)",
        "Part 2: The provider refused it. (50 ms later)",
        "Part 3: The gate let it go. (10 ms later)",
        "Part 3: It was held back: a part before it was not sent. (5 ms later)",
    ]


def test_parts_that_the_gate_refused_share_a_sentence() -> None:
    refused = Tried(1, AT + 40, "no_dpa", "rejected", AT + 45)
    words = verdict(
        replace(CUT, status="rejected", reason="no_dpa", tried=(refused, replace(refused, part=1)))
    )
    assert words.startswith("Parts 1 and 2: Not sent: the business had no data-processing agreement")
    assert words.count("Not sent") == 1


def test_what_the_provider_took_counts_before_a_failure_of_another_attempt() -> None:
    """A worker that froze came back after another had taken its claim over."""
    failed = replace(FAILED, attempt=1, part=0)
    facts = replace(CUT, tried=(failed, replace(TAKEN, attempt=2), replace(TAKEN, part=1)))
    assert [part.status for part in parts_of(facts)] == ["submitted", "submitted"]


def test_a_later_part_that_waits_or_is_unknown_is_not_covered_by_the_first() -> None:
    """The read model has the first part's status."""
    taken = replace(CUT, status="delivered", reason=None, code=None)
    retried = replace(TAKEN, part=1, outcome="retry")
    assert verdict(replace(taken, tried=(TAKEN, retried))).startswith("Part 2: Not sent yet. The provider")
    calling = replace(TAKEN, part=1, outcome=None, outcome_at_ms=None)
    assert WAITS["busy"] in verdict(replace(taken, tried=(TAKEN, calling), waits_for="busy"))
    unknown = replace(TAKEN, part=1, outcome="unknown")
    assert verdict(replace(taken, tried=(TAKEN, unknown))).startswith("Part 2: Nobody knows")


def test_parts_that_all_went_say_how_far_the_first_is() -> None:
    went = replace(
        CUT,
        status="read",
        reason=None,
        code=None,
        tried=(TAKEN, replace(TAKEN, part=1)),
        times={"read": AT + 200},
    )
    assert verdict(went) == "Parts 1 and 2: The provider took it. Part 1: The person opened it."
    assert chain(went)[-1].words == "Part 1: The person opened it. (110 ms later)"
    failed = replace(went, status="failed", reason="UNREACH")
    assert verdict(failed).startswith("A part was not delivered: the provider says that the person cannot")
    assert parts_of(replace(went, tried=(TAKEN,))) == [], "what was not cut has no parts"
