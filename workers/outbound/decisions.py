"""What to do on an answer: pure, no clock, no I/O.

Two questions are answered here: what the vault's answer means for a message (`on_answer`), and what the way a call ended
means (`on_attempt`). The caller does what is decided, in this order: settle in the vault, write events, finish the offset.
"""

from dataclasses import dataclass
from typing import Literal

from schemas.events.statuses import (
    MessageExpired,
    MessageFailed,
    MessageRejected,
    MessageSubmitted,
    MessageUnknown,
)
from schemas.reasons import ends_reach
from streams.step.contract import Output
from vault.claims import OutcomeClass
from vault.permits import Answer, Permit, Refusal, Settled, Unknown, Wait
from workers.channel import Failed, Submitted, Unclear
from workers.outbound.provider import Attempted, Broken, NoAnswer, NotSent
from workers.outbound.statuses import Verdict

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 60.0
"""Longest back-off: how late a provider that works again is noticed by a message that waits."""
RATE_HOLD_S = 1.0
"""Pause of a whole account after "too fast" without a time given: long enough for a per-second limit to refill."""
POLL_FIRST_S = 0.1
POLL_MAX_S = 1.0
"""Between two questions to the vault while it waits for an event that is on its way."""
ECHO_LOOK_S = 5.0
"""Between two questions while the outcome of a call is unknown: how late it is noticed that inbound has settled it by the
provider's status. The person's further messages wait behind it."""

WaitWhy = Literal[
    "retry",
    "rate",
    "account",
    "lease",
    "vault_behind",
    "basis",
    "settings",
    "busy",
    "echo",
    "vault_away",
    "vault_fault",
    "turn",
    "lost",
]


@dataclass(frozen=True, slots=True)
class Call:
    """The permit is there: call the provider now."""

    permit: Permit


@dataclass(frozen=True, slots=True)
class Finish:
    """The message has its end: settle this, write the events, finish. `fault`: the kind of error that ended it; its command is
    kept as a dead letter then."""

    outcome: OutcomeClass
    verdict: Verdict
    attempt: int
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class WriteAgain:
    """Settled before: write the same records again, call nobody, finish."""

    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """The person is erased: finish, and write nothing."""


@dataclass(frozen=True, slots=True)
class Again:
    """Not now: wait and ask for a permit again.

    `settle`: what the attempt ends as in the vault before the wait; None leaves the claim as it is (nothing was claimed, or
    nobody knows whether the provider took the message). `hold_s`: the whole account goes slower for so long. `pause`: the
    account is paused for this reason until a probe succeeds.
    """

    after_s: float
    why: WaitWhy
    settle: Literal["retry"] | None = None
    attempt: int = 0
    hold_s: float = 0.0
    pause: Literal["AUTH", "ACCOUNT"] | None = None
    alarm: bool = False


Next = Call | Finish | WriteAgain | Drop | Again


def on_answer(answer: Answer, asked: int, jitter: float) -> Next:
    """What the vault's answer means. `asked`: answers of the kind Wait so far; `jitter`: uniform in [0, 1)."""
    match answer:
        case Permit():
            return Call(answer)
        case Settled():
            return WriteAgain(answer.outputs)
        case Unknown():
            return Finish("unknown", Verdict(MessageUnknown), answer.attempt)
        case Refusal(reason="erased"):
            return Drop()
        case Refusal(reason="expired"):
            return Finish("expired", Verdict(MessageExpired, reason="expired"), answer.attempt)
        case Refusal():
            return Finish("rejected", Verdict(MessageRejected, reason=answer.reason), answer.attempt)
        case Wait(reason="busy" | "echo"):
            return Again(min(answer.retry_after_s, ECHO_LOOK_S), answer.reason)
        case Wait():
            return Again(max(answer.retry_after_s, poll_s(asked)) * (1 + jitter / 4), answer.reason)


def on_attempt(
    attempted: Attempted, attempt: int, jitter: float, *, permitted_ms: int, again: bool = False
) -> Finish | Again:
    """What the way a call ended means for the message. `attempt` and `again`: the permit's; `jitter`: uniform in [0, 1);
    `permitted_ms`: when the permit was given, by the database's clock.

    An unknown outcome keeps its claim open: the vault says, once the echo has not come, whether it is the end or repeated.
    """
    match attempted:
        case Submitted():
            return Finish("submitted", Verdict(MessageSubmitted, provider_id=attempted.provider_id), attempt)
        case Failed():
            return _on_failed(attempted, attempt, jitter, permitted_ms)
        case NotSent(why="refused"):
            return Again(backoff_s(attempt, jitter), "retry", "retry", attempt)
        case NotSent(why="lapsed"):
            return Again(backoff_s(attempt, jitter), "lease", "retry", attempt)
        case NotSent(why="no_account"):
            return Finish("rejected", Verdict(MessageRejected, reason="unknown_account"), attempt)
        case NotSent(why="unsupported"):
            return Finish("rejected", Verdict(MessageRejected, reason="unsupported"), attempt)
        case NotSent():
            return Finish("failed", Verdict(MessageFailed, reason="PERM"), attempt)
        case Broken():
            return on_fault(attempted.fault, attempt, called=attempted.called or again)
        case NoAnswer() | Unclear():
            return Again(POLL_FIRST_S, "echo", None, attempt)


def on_fault(fault: str, attempt: int, *, called: bool) -> Finish:
    """The end of a message that could not be handled. `called`: the provider may have been called for it."""
    if called:
        return Finish("unknown", Verdict(MessageUnknown), attempt, fault)
    return Finish("failed", Verdict(MessageFailed, reason="PERM"), attempt, fault)


def _on_failed(failed: Failed, attempt: int, jitter: float, permitted_ms: int) -> Finish | Again:
    tries_left = failed.tries_max is None or attempt < failed.tries_max
    match failed.failure_class:
        case "AUTH" | "ACCOUNT":
            return Again(0.0, "account", "retry", attempt, pause=failed.failure_class, alarm=True)
        case "RATE" if tries_left:
            after_s = failed.retry_after_s or backoff_s(attempt, jitter)
            hold_s = 0.0 if failed.pair_only else (failed.retry_after_s or RATE_HOLD_S)
            return Again(after_s, "rate", "retry", attempt, hold_s=hold_s, alarm=failed.alarm)
        case "RETRY" if tries_left:
            after_s = failed.retry_after_s or backoff_s(attempt, jitter)
            return Again(after_s, "retry", "retry", attempt, alarm=failed.alarm)
    verdict = Verdict(
        MessageFailed,
        failed.failure_class,
        failed.code,
        provider_error=failed.text,
        opted_out=failed.opted_out,
        unreached=ends_reach(failed.failure_class, message_only=failed.message_only),
        permitted_ms=permitted_ms,
    )
    return Finish("failed", verdict, attempt)


def backoff_s(attempt: int, jitter: float) -> float:
    """Wait before attempt + 1: doubles from half a second up to a minute, of which a random half is taken off."""
    whole_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(attempt - 1, 16))
    return whole_s * (1.0 - jitter / 2)


def poll_s(asked: int) -> float:
    """Wait before the vault is asked again: doubles from 100 ms up to a second."""
    return min(POLL_MAX_S, POLL_FIRST_S * 2.0 ** min(asked, 8))
