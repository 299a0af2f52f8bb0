"""The ledger finds what is wrong: every rule is broken once, in a truth in which everything else is right."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from schemas.clock import to_ms, to_text
from tests.faults import ledger
from tests.faults.ledger import (
    Allowed,
    Attempt,
    Delivery,
    Fault,
    Logged,
    Truth,
    fold,
    judge,
    second_deliveries,
    stops_without_effect,
)

T = 1_795_600_000_000
ACCOUNT = "a-1"
ADA, BOB, EVE = "aa" * 16, "bb" * 16, "ee" * 16
M1, M2, M3, M4 = (f"20261125{n:024d}" for n in range(1, 5))


@dataclass
class Writing:
    """A log being made up: offsets and times go up by themselves."""

    log: list[Logged]
    at_ms: int = T

    def put(self, topic: str, type_: str, subject: str, id_: str = "", **data: Any) -> Logged:
        self.at_ms += 1_000
        number = len(self.log)
        record = Logged(
            topic, 0, number, self.at_ms, id_ or f"{number:032x}", type_, subject, data, f"bytes {number}"
        )
        self.log.append(record)
        return record

    def person(self, subject: str) -> None:
        self.put("subscriptions", ledger.CREATED, subject)

    def says(self, subject: str, intent: str | None = None) -> str:
        at = to_text(self.at_ms + 1_000)
        return self.put("messages", ledger.RECEIVED, subject, message="m", intent=intent, acted_at=at).id

    def asked(
        self, subject: str, message: str, purpose: str = "service", delivery: str = "at_least_once"
    ) -> None:
        data = {"message": message, "account": ACCOUNT, "purpose": purpose, "delivery": delivery}
        self.put("messages", ledger.REQUESTED, subject, **data)
        self.put("outbound.whatsapp", ledger.COMMAND, subject, part=0, **data)

    def status(self, subject: str, message: str, *words: str, **more: Any) -> None:
        for word in words:
            self.put("statuses", f"sealpost.message.{word}.v1", subject, message=message, part=0, **more)


def right() -> Truth:
    """Ada signs up, gets two messages (the first one twice, for a kill), Bob is refused one and stops, Eve is erased."""
    writing = Writing([])
    written: dict[str, bool] = {}
    for subject in (ADA, BOB, EVE):
        writing.person(subject)
        written[writing.says(subject)] = True
    written[writing.says(ADA, "start")] = True
    written[writing.says(ADA, "yes")] = True
    given = writing.at_ms
    writing.put("consents", ledger.GIVEN, ADA, purpose="newsletter", acted_at=to_text(given))
    written[writing.says(BOB, "stop")] = True
    withdrawn = writing.at_ms
    writing.put("consents", ledger.WITHDRAWN, BOB, purpose="newsletter", acted_at=to_text(withdrawn))
    granted = writing.at_ms
    writing.asked(ADA, M1)
    writing.asked(ADA, M2, "newsletter", "at_most_once")
    writing.asked(BOB, M3, "newsletter")
    writing.asked(EVE, M4)
    for message in (M1, M2):
        writing.status(ADA, message, "submitted", "sent", "read", "delivered")
    writing.status(BOB, M3, "rejected", reason="no_consent")
    t1 = writing.at_ms
    writing.put("deletions", ledger.DESTROYED, EVE, t1=to_text(t1))
    writing.put("deletions", ledger.ERASED, EVE)
    allowed = {ADA: Allowed(given_ms=given), BOB: Allowed(withdrawn_ms=withdrawn)}
    return Truth(
        log=writing.log,
        deliveries=[Delivery(f"{m}.0", granted + n) for n, m in enumerate((M1, M1, M2))],
        accepted={M1: "at_least_once", M2: "at_most_once", M3: "at_least_once"},
        written=written,
        erasures=frozenset({EVE}),
        attempts=[
            Attempt(M1, 0, 1, granted + 100),
            Attempt(M1, 0, 2, granted + 90_000, None, "submitted", granted + 91_000),
            Attempt(M2, 0, 1, granted + 92_000, None, "submitted", granted + 93_000),
            Attempt(M3, 0, 1, granted + 94_000, "no_consent", "rejected", granted + 94_500),
        ],
        permissions=dict.fromkeys(("vault", "projection", "processor"), allowed),
        statuses={M1: "read", M2: "read", M3: "rejected"},
        left_behind={"vault": {EVE: 0}},
        faults=[Fault(granted + 400, "SIGKILL", "outbound")],
    )


def with_log(truth: Truth, *, without: str = "", message: str = "", **changed: Any) -> Truth:
    """The same with the records of a type (and message) left out, or changed."""
    hit = [r for r in truth.log if r.type == without and message in (r.data.get("message"), "")]
    assert hit
    kept = [r for r in truth.log if r not in hit]
    if changed:
        kept = [replace(r, data={**r.data, **changed}) if r in hit else r for r in truth.log]
    return replace(truth, log=kept)


def repeated(truth: Truth, type_: str, **changed: Any) -> Truth:
    """The same with one record more, which is like the first of a type."""
    first = next(record for record in truth.log if record.type == type_)
    return replace(truth, log=[*truth.log, replace(first, offset=len(truth.log), **changed)])


def allowed_in(truth: Truth, store: str, **allowed: Allowed) -> Truth:
    """The same with another permission in one store."""
    changed = {
        **truth.permissions[store],
        **{{"ada": ADA, "bob": BOB, "eve": EVE}[name]: one for name, one in allowed.items()},
    }
    return replace(truth, permissions={**truth.permissions, store: changed})


def attempt_changed(truth: Truth, place: int, **changed: Any) -> Truth:
    attempts = list(truth.attempts)
    attempts[place] = replace(attempts[place], **changed)
    return replace(truth, attempts=attempts)


STATUS = "sealpost.message.{}.v1".format
LETTER = Logged("sealpost.deadletters", 0, 0, T, "f" * 32, "", ADA, {"role": "inbound", "reason": "KeyError"})

BROKEN: list[tuple[str, str, Callable[[Truth], Truth]]] = [
    ("one_id_one_content", "decided anew", lambda t: repeated(t, ledger.RECEIVED, digest="other bytes")),
    ("nothing_dead_lettered", "a dead letter", lambda t: replace(t, log=[*t.log, LETTER])),
    ("everything_has_its_end", "lost before the log", lambda t: replace(t, accepted={**t.accepted, "9" * 32: "x"})),
    (
        "everything_has_its_end",
        "stuck",
        lambda t: replace(
            with_log(t, without=STATUS("rejected")), statuses={**t.statuses, M3: "requested"}
        ),
    ),
    (
        "everything_has_its_end",
        "submitted, and what was reported is lost",
        lambda t: replace(
            with_log(
                with_log(with_log(t, without=STATUS("read"), message=M2), without=STATUS("sent"), message=M2),
                without=STATUS("delivered"),
                message=M2,
            ),
            statuses={**t.statuses, M2: "submitted"},
        ),
    ),
    (
        "everything_has_its_end",
        "rejected without a reason",
        lambda t: with_log(t, without=STATUS("rejected"), reason=None),
    ),
    (
        "everything_has_its_end",
        "never reached the provider",
        lambda t: replace(t, deliveries=t.deliveries[:2]),
    ),
    ("everything_has_its_end", "called expired and sent", lambda t: replace(
        t, log=[*t.log, Logged("statuses", 0, 99, T, "c" * 32, STATUS("expired"), EVE, {"message": M4, "reason": "expired"})],
        deliveries=[*t.deliveries, Delivery(f"{M3}.0", T)], attempts=[*t.attempts, Attempt(M3, 0, 2, T + 1_000_000)],
    )),
    ("nothing_twice_but_what_may", "more calls than claims", lambda t: replace(
        t, deliveries=[*t.deliveries[:2], t.deliveries[1], t.deliveries[2]])),
    ("nothing_twice_but_what_may", "at_most_once", lambda t: replace(
        attempt_changed(t, 2, outcome=None), deliveries=[*t.deliveries, t.deliveries[2]],
        attempts=[*attempt_changed(t, 2, outcome=None).attempts, Attempt(M2, 0, 2, T + 10_000_000)])),
    ("nothing_twice_but_what_may", "a known end", lambda t: attempt_changed(
        t, 0, outcome="submitted", outcome_ms=t.attempts[0].at_ms + 1)),
    ("nothing_twice_but_what_may", "under a claim that was given back", lambda t: attempt_changed(t, 0, outcome="retry")),
    ("nothing_twice_but_what_may", "without a permit", lambda t: replace(t, attempts=[*t.attempts[:2], *t.attempts[3:]])),
    ("lanes_are_in_order", "overtaken", lambda t: replace(
        t, deliveries=[t.deliveries[0], t.deliveries[2], t.deliveries[1]])),
    ("statuses_are_the_join", "gone back", lambda t: replace(t, statuses={**t.statuses, M1: "delivered"})),
    ("statuses_are_the_join", "no row", lambda t: replace(t, statuses={M1: "read", M2: "read"})),
    ("permissions_are_the_fold_of_acts", "given lost", lambda t: allowed_in(t, "vault", ada=Allowed())),
    ("permissions_are_the_fold_of_acts", "withdrawal made up", lambda t: allowed_in(
        t, "processor", ada=replace(t.permissions["processor"][ADA], withdrawn_ms=1))),
    ("permissions_are_the_fold_of_acts", "the erased have one", lambda t: allowed_in(
        t, "projection", eve=Allowed(given_ms=1))),
    ("webhooks_become_messages_once", "lost", lambda t: replace(t, written={**t.written, "d" * 32: True})),
    ("webhooks_become_messages_once", "made up", lambda t: replace(
        t, written=dict(list(t.written.items())[1:]))),
    ("persons_begin_once", "no beginning", lambda t: with_log(t, without=ledger.CREATED)),
    ("persons_begin_once", "two beginnings", lambda t: repeated(t, ledger.CREATED, id="7" * 32)),
    ("withdrawn_means_no_permit", "after the stop", lambda t: attempt_changed(t, 3, refusal=None)),
    ("withdrawn_means_no_permit", "never given", lambda t: with_log(t, without=ledger.GIVEN)),
    ("the_erased_are_gone", "no end", lambda t: with_log(t, without=ledger.ERASED)),
    ("the_erased_are_gone", "a row stays", lambda t: replace(t, left_behind={"vault": {EVE: 1}})),
    ("the_erased_are_gone", "a late call", lambda t: replace(
        t, deliveries=[*t.deliveries, Delivery(f"{M4}.0", T + 10_000_000)],
        attempts=[*t.attempts, Attempt(M4, 0, 1, T + 9_999_000)])),
]  # fmt: skip


def test_what_is_right_is_found_right() -> None:
    assert judge(right()) == []


@pytest.mark.parametrize(("rule", "how", "break_"), BROKEN, ids=[f"{rule}: {how}" for rule, how, _ in BROKEN])
def test_each_rule_finds_what_breaks_it(rule: str, how: str, break_: Callable[[Truth], Truth]) -> None:
    """The rule speaks, and says of what."""
    findings = judge(break_(right()))
    assert rule in {finding.rule for finding in findings}, how
    assert all(finding.words for finding in findings)


def test_submitted_is_an_end_where_the_provider_reports_nothing() -> None:
    (broken,) = [
        break_(right()) for _, how, break_ in BROKEN if how == "submitted, and what was reported is lost"
    ]
    assert judge(broken)
    silent = [replace(one, reported=False) for one in broken.deliveries]
    assert judge(replace(broken, deliveries=silent)) == []


def test_a_yes_that_a_stop_followed_at_once_may_leave_no_trace() -> None:
    """In all stores alike; and only where it is withdrawn."""
    given_and_withdrawn = Allowed(5, 9)
    assert Allowed(5, 9).is_right(given_and_withdrawn)
    assert Allowed(0, 9).is_right(given_and_withdrawn)
    assert Allowed(2, 9).is_right(given_and_withdrawn)
    assert not Allowed(6, 9).is_right(given_and_withdrawn)
    assert not Allowed(0, 8).is_right(given_and_withdrawn)
    assert not Allowed(0, 3).is_right(Allowed(5, 3))


def test_a_stop_that_is_dated_before_the_yes_is_seen() -> None:
    """And with stepped clocks the stores are still compared with one another."""
    truth = right()
    late = Logged(
        "messages", 0, 99, T, "5" * 32, ledger.RECEIVED, ADA, {"intent": "stop", "acted_at": to_text(T)}
    )
    stepped = replace(truth, log=[*truth.log, late], written={**truth.written, late.id: True}, step_ms=1)
    assert stops_without_effect(truth) == []
    assert stops_without_effect(stepped) == [ADA]
    assert judge(stepped) == []
    differ = allowed_in(stepped, "vault", ada=Allowed(given_ms=1))
    assert {finding.rule for finding in judge(differ)} == {"permissions_are_the_fold_of_acts"}


def test_every_rule_is_broken_once() -> None:
    assert {rule for rule, _, _ in BROKEN} == {rule.__name__ for rule in ledger.RULES}


def test_second_deliveries_are_listed_with_attempts_and_fault() -> None:
    (line,) = second_deliveries(right())
    assert line.startswith(f"{M1}.0 delivered 2 times: attempt 1")
    assert "open (SIGKILL of outbound +300 ms)" in line
    assert "attempt 2" in line


def test_the_latest_act_decides_in_whatever_order_the_log_has_them() -> None:
    """A stop of before the yes that was written after it, as when inbound could not write for minutes, and one of after it."""
    truth = right()
    given = next(record for record in truth.log if record.type == ledger.GIVEN)

    def also_stopped(after_ms: int) -> Truth:
        acted_at = to_text(to_ms(given.data["acted_at"]) + after_ms)
        stop = replace(
            given,
            id="8" * 32,
            type=ledger.WITHDRAWN,
            at_ms=given.at_ms + 1,
            data={**given.data, "acted_at": acted_at},
        )
        return replace(truth, log=[*truth.log, stop])

    rule = "withdrawn_means_no_permit"
    assert rule not in {finding.rule for finding in judge(also_stopped(-1))}
    assert rule in {finding.rule for finding in judge(also_stopped(+1))}


def test_a_stop_that_lies_unread_counts_all_the_same() -> None:
    """Written long after the newsletter went out, said long before: decision 051."""
    truth = right()
    given = next(record for record in truth.log if record.type == ledger.GIVEN)
    acted_ms = to_ms(given.data["acted_at"]) + 1_000
    stop = replace(
        given,
        id="8" * 32,
        type=ledger.WITHDRAWN,
        at_ms=acted_ms + 600_000,
        data={**given.data, "acted_at": to_text(acted_ms)},
    )
    truth = replace(truth, log=[*truth.log, stop])

    def granted_after(ms: int) -> Truth:
        return attempt_changed(truth, 2, at_ms=acted_ms + ms)

    rule = "withdrawn_means_no_permit"
    assert rule not in {finding.rule for finding in judge(granted_after(ledger.UNREAD_MS))}
    assert rule in {finding.rule for finding in judge(granted_after(ledger.UNREAD_MS + 1))}


def test_clocks_that_were_made_to_differ_are_allowed_for() -> None:
    """A permit between two readings that may be off by two hours proves nothing; one far behind a withdrawal still does."""
    stopped = attempt_changed(right(), 3, refusal=None)
    assert [f.rule for f in judge(replace(stopped, step_ms=7_200_000))] == ["withdrawn_means_no_permit"]
    given_late = replace(right(), step_ms=0, log=[
        replace(r, at_ms=r.at_ms + 3_600_000) if r.type == ledger.GIVEN else r for r in right().log
    ])  # fmt: skip
    assert {f.rule for f in judge(given_late)} == {"withdrawn_means_no_permit"}
    assert judge(replace(given_late, step_ms=7_200_000)) == []


@pytest.mark.parametrize(
    ("acts", "wanted"),
    [
        ([], (0, 0)),
        ([("start", 1)], (0, 0)),
        ([("yes", 1)], (0, 0)),
        ([("start", 1), ("yes", 2)], (2, 0)),
        ([("start", 1), ("no", 2), ("yes", 3)], (0, 0)),
        ([("start", 1), ("stop", 2), ("yes", 3)], (0, 2)),
        ([("start", 1), ("yes", 2), ("stop", 3)], (2, 3)),
        ([("start", 1), ("yes", 2), ("stop", 3), ("start", 4), ("yes", 5)], (5, 3)),
        ([("start", 1), ("yes", 2), ("start", 3), ("yes", 4)], (2, 0)),
        ([("stop", 5), ("start", 5), ("yes", 6)], (0, 5)),
    ],
)
def test_the_fold_of_acts(acts: list[tuple[ledger.Kind, int]], wanted: tuple[int, int]) -> None:
    """In any order of arrival."""
    timed = [(at, kind) for kind, at in acts]
    assert fold(timed) == fold(timed[::-1]) == Allowed(*wanted)
