"""What became of one message, in sentences: request, permit, provider, statuses, with times and delays. Pure.

Facts come from the read models, the vault's claims and the consent history; no address and no word of a message is among them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from schemas.clock import MS_PER_S, from_ms
from schemas.events.statuses import PART_FAILED, Status
from schemas.reasons import FailureClass, RefusalReason, WaitReason

WINDOW_HOURS = 24
"""Free text may go out so long after the person's last message (channel-apis §1)."""
METHODS: Mapping[str, str] = {
    "keyword": "by a keyword in the chat",
    "button": "by a button in the chat",
    "provider_preference": "in the provider's own settings",
    "api": "through the API",
}
_ENDS: Mapping[str, Status] = {
    "submitted": "submitted", "failed": "failed", "rejected": "rejected", "expired": "expired",
}  # fmt: skip
"""Outcomes of an attempt that say what became of the message, and the status that follows."""
_NOT_SENT = ("rejected", "expired", "failed")
_SECONDS_PER: tuple[tuple[int, str], ...] = ((86_400, "d"), (3_600, "h"), (60, "min"))


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt: when the gate answered, what it refused for, and how the provider call ended (None: not yet, or unknown).
    `part`: of a text that was cut, counted from 0 as in the statuses. `reason` and `code`: what the status says that followed."""

    attempt: int
    at_ms: int
    refusal: str | None = None
    outcome: str | None = None
    outcome_at_ms: int | None = None
    part: int = 0
    reason: str | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What became of one part of a text that was cut. `part` is counted from 0; people read one more. `words`: the sentence."""

    part: int
    status: Status
    reason: str | None
    code: int | None
    tried: Sequence[Tried]
    words: str


@dataclass(frozen=True, slots=True)
class Act:
    """What the person said about the purpose; `method` is schemas.events.consents.Method."""

    said_yes: bool
    at_ms: int
    method: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an outgoing message. Times in milliseconds. `status` and `reason`: as the read model has them.
    `acts`: newest first. `waits_for`: what the gate would answer now, where that is known."""

    channel: str
    purpose: str
    kind: str
    account: str | None
    status: str
    requested_at_ms: int
    now_ms: int
    reason: str | None = None
    code: int | None = None
    times: Mapping[str, int] = field(default_factory=dict)
    tried: Sequence[Tried] = ()
    acts: Sequence[Act] = ()
    last_inbound_at_ms: int | None = None
    waits_for: WaitReason | None = None

    @property
    def decided_ms(self) -> int:
        """When the gate refused it, as far as that is known: what happened later was no reason."""
        refused = [one.at_ms for one in self.tried if one.refusal is not None]
        ended = [self.times[end] for end in ("rejected", "expired") if end in self.times]
        return min([*refused, *ended], default=self.now_ms)

    @property
    def stands(self) -> str:
        """The status, or what the gate knows already and the read model does not."""
        newest = self.tried[-1] if self.tried else None
        if self.status != "requested" or newest is None:
            return self.status
        if newest.refusal is not None:
            return "expired" if newest.refusal == "expired" else "rejected"
        return _ENDS.get(newest.outcome or "", self.status)

    @property
    def is_cut(self) -> bool:
        """The gate was asked for more than one part."""
        return any(one.part for one in self.tried)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One step of the way, and when it was."""

    at_ms: int
    words: str


KINDS: Mapping[str, str] = {
    "text": "A text", "template": "A template", "own_text": "One of Sealpost's own texts", "media": "A file",
    "buttons": "A text with buttons", "list": "A list to choose from", "read_mark": "A mark that a message was read",
}  # fmt: skip


def chain(facts: Facts) -> list[Sentence]:
    """Everything that happened, in the order in which it can only have done: the provider's clock is not ours. Each with the time
    since the step before."""
    kind = KINDS.get(facts.kind, "A message")
    steps = [
        Sentence(
            facts.requested_at_ms,
            f"{kind} for the purpose {facts.purpose} was asked for, over {facts.channel}.",
        )
    ]
    for one in facts.tried:
        whose = f"Part {one.part + 1}: " if facts.is_cut else ""
        steps += [Sentence(step.at_ms, whose + step.words) for step in _attempt(one)]
    told = {"rejected" if one.refusal else one.outcome for one in facts.tried}
    for status, words in _STATUS_WORDS.items():
        if status in facts.times and status not in told:
            whose = "Part 1: " if facts.is_cut and status in _SPOKEN_FOR else ""
            steps.append(Sentence(facts.times[status], whose + words))
    return [
        step if number == 0 else Sentence(step.at_ms, f"{step.words} ({_since(steps[number - 1], step)})")
        for number, step in enumerate(steps)
    ]


def verdict(facts: Facts) -> str:
    """The one sentence that support staff need: what became of it, why, and what to do. Of a text that was cut a sentence for
    all parts that went the same way, those that went wrong first."""
    if facts.is_cut:
        return _verdict_of_parts(facts)
    match facts.stands:
        case "rejected" | "expired":
            refusal = next((one.refusal for one in facts.tried if one.refusal), None)
            return f"Not sent: {_why_refused(facts, refusal)}"
        case "failed":
            return f"Not delivered: {_why_failed(facts)}"
        case "unknown":
            return f"Nobody knows whether it arrived: {_UNANSWERED}"
        case "requested":
            return f"Not sent yet; it was asked for {_ago(facts)} ago. {_waiting(facts)}"
    return _PROGRESS.get(facts.stands, "It is on its way.")


def parts_of(facts: Facts) -> list[Part]:
    """What became of each part that the gate was asked for, in order; [] for what was not cut."""
    if not facts.is_cut:
        return []
    found = []
    for number in sorted({one.part for one in facts.tried}):
        tried = [one for one in facts.tried if one.part == number]
        counts = _counts(tried)
        status, reason = _status_of(counts), counts.refusal or counts.reason
        words = _part_words(replace(facts, tried=tried, reason=reason, code=counts.code, times={}), status)
        found.append(Part(number, status, reason, counts.code, tried, words))
    return found


def _counts(tried: Sequence[Tried]) -> Tried:
    """The attempt that says what became of a part, as the vault has it: what the provider took before every other end."""
    ends = [one for one in tried if one.outcome in _ENDS]
    taken = [one for one in ends if one.outcome == "submitted"]
    return [*taken, *ends, tried[-1]][0]


def _status_of(one: Tried) -> Status:
    if one.outcome == "unknown":
        return "unknown"
    refused: Status = "expired" if one.refusal == "expired" else "rejected"
    return refused if one.refusal is not None else _ENDS.get(one.outcome or "", "requested")


def _part_words(facts: Facts, status: Status) -> str:
    """`facts`: with the attempts, the reason and the code of this part alone."""
    match status:
        case "rejected" | "expired":
            return f"Not sent: {_why_refused(facts)}"
        case "failed":
            return f"Not delivered: {_why_failed(facts)}"
        case "unknown":
            return f"Nobody knows whether it arrived: {_UNANSWERED}"
        case "requested":
            return f"Not sent yet. {_waiting(facts)}"
    return "The provider took it."


def _verdict_of_parts(facts: Facts) -> str:
    parts = parts_of(facts)
    alike: dict[str, list[Part]] = {}
    for part in sorted(parts, key=_urgency):
        alike.setdefault(part.words, []).append(part)
    words = [f"{_named(group)}: {said}" for said, group in alike.items()]
    if any(part.status in _NOT_SENT for part in parts):
        return " ".join(words)
    if facts.status in _NOT_SENT:
        # The provider took every part, and reported later that one of them did not arrive.
        return f"A part was not delivered: {_why_failed(facts)}"
    if len(alike) == 1 and facts.status in _SPOKEN_FOR:
        return f"{words[0]} Part 1: {_PROGRESS[facts.status]}"
    return " ".join(words)


def _urgency(part: Part) -> tuple[int, int]:
    """Why a text is not whole comes first, then what was held back for it, then what is open, then what went."""
    if part.reason == PART_FAILED:
        return 1, part.part
    order = {**dict.fromkeys(_NOT_SENT, 0), "unknown": 2, "requested": 3}
    return order.get(part.status, 4), part.part


def _named(parts: Sequence[Part]) -> str:
    """`Part 2`, `Parts 2 and 3`, `Parts 1, 2 and 3`."""
    *first, last = [str(part.part + 1) for part in parts]
    return f"Parts {', '.join(first)} and {last}" if first else f"Part {last}"


def _why_refused(facts: Facts, refusal: str | None = None) -> str:
    return _words(REFUSALS, facts.reason or refusal)(facts)


def _why_failed(facts: Facts) -> str:
    code = f" (the provider's code {facts.code})" if facts.code is not None else ""
    return f"{_words(FAILURES, facts.reason)(facts)}{code}"


def _words(known: Mapping[Any, Callable[[Facts], str]], reason: str | None) -> Callable[[Facts], str]:
    return known.get(reason, _unknown_reason)


def _attempt(one: Tried) -> list[Sentence]:
    if one.refusal is not None:
        return [Sentence(one.at_ms, "The gate refused it.")]
    again = "" if one.attempt == 1 else f" once more, attempt {one.attempt}"
    steps = [Sentence(one.at_ms, f"The gate let it go{again}.")]
    if one.reason == PART_FAILED and one.outcome_at_ms is not None:
        steps.append(Sentence(one.outcome_at_ms, "It was held back: a part before it was not sent."))
    elif one.outcome is not None and one.outcome_at_ms is not None:
        steps.append(Sentence(one.outcome_at_ms, _OUTCOMES.get(one.outcome, "The call ended.")))
    return steps


_OUTCOMES: Mapping[str, str] = {
    "submitted": "The provider took it.",
    "failed": "The provider refused it.",
    "retry": "The provider did not take it; it is tried again.",
    "unknown": "The call ended without an answer.",
    "rejected": "It was not called for.",
    "expired": "Its time had run out.",
}
_STATUS_WORDS: Mapping[str, str] = {
    "submitted": "The provider took it.",
    "rejected": "The gate refused it.",
    "expired": "Its time had run out.",
    "unknown": "The call ended without an answer.",
    "failed": "The provider reported that it failed.",
    "sent": "The provider sent it on.",
    "delivered": "It arrived on the person's device.",
    "read": "The person opened it.",
}
_SPOKEN_FOR = ("sent", "delivered", "read")
"""What the provider reports of every part; the read model keeps it of the first, which speaks for the message."""
_UNANSWERED = (
    "the provider was called and its answer never came. It is not sent again, so that nothing arrives twice."
)
_PROGRESS: Mapping[str, str] = {
    "submitted": "The provider took it and has reported nothing since.",
    "sent": "The provider sent it on; it has not arrived on the person's device yet.",
    "delivered": "It arrived on the person's device.",
    "read": "The person opened it.",
}


def _since(before: Sentence, step: Sentence) -> str:
    return f"{_span(step.at_ms - before.at_ms)} later"


def _span(ms: int) -> str:
    if ms < 10 * MS_PER_S:
        return f"{max(0, ms)} ms" if ms < MS_PER_S else f"{ms / MS_PER_S:.1f} s"
    seconds = ms // MS_PER_S
    for size, unit in _SECONDS_PER:
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def when(at_ms: int) -> str:
    """`3 May 2026 14:02:11 UTC`."""
    at = from_ms(at_ms)
    return f"{at.day} {at:%B %Y %H:%M:%S} UTC"


# ---- one sentence a reason ----------------------------------------------------------------------------------------


def _consent_withdrawn(facts: Facts) -> str:
    act = next((act for act in facts.acts if not act.said_yes and act.at_ms <= facts.decided_ms), None)
    if act is None:
        return f"consent for {facts.purpose} was withdrawn."
    how = METHODS.get(act.method or "", "")
    return f"consent for {facts.purpose} withdrawn on {when(act.at_ms)} {how}".rstrip() + "."


def _no_consent(facts: Facts) -> str:
    if any(act.said_yes for act in facts.acts):
        return f"no consent to {facts.purpose} that it could rest on was known when it was to go."
    return f"the person has never said yes to {facts.purpose} on {facts.channel}. Only they can: by START and JA in the chat."


def _window_closed(facts: Facts) -> str:
    rule = f"free text may go out within {WINDOW_HOURS} hours of the person's last message"
    if facts.last_inbound_at_ms is None:
        return f"{rule}, and they have never written to this account. Send a template."
    if facts.last_inbound_at_ms > facts.decided_ms:
        return f"{rule}; they have written since then."
    return f"{rule}, and that came on {when(facts.last_inbound_at_ms)}. Send a template."


def _unknown_account(facts: Facts) -> str:
    name = f"the account {facts.account}" if facts.account else "the account"
    return f"{name} has no credentials or is not approved. Connect it with `sealpost tenant connect`."


def _unknown_reason(facts: Facts) -> str:
    return f"{facts.reason or 'no reason is on record'}."


def _fixed(words: str) -> Callable[[Facts], str]:
    return lambda _: words


REFUSALS: Mapping[RefusalReason, Callable[[Facts], str]] = {
    "erased": _fixed("the person was erased."),
    "restricted": _fixed(
        "an event of the person could not be handled, so nothing goes to them until somebody has looked: "
        "`sealpost deadletters list`."
    ),
    "no_dpa": _fixed(
        "the business had no data-processing agreement on record. Record it with `sealpost tenant dpa`."
    ),
    "no_consent": _no_consent,
    "consent_withdrawn": _consent_withdrawn,
    "window_closed": _window_closed,
    "expired": _fixed(
        "its time ran out before it could go. Give it a longer `ttl`, or find out what it waited for."
    ),
    "cancelled": _fixed("it was cancelled before it went out."),
    "unreachable": _fixed(
        "the person blocked the account, or the provider says that it cannot reach them, or they have no address on this"
        " channel any more, or the key of the content is gone."
    ),
    "unknown_purpose": lambda facts: f"the business has no purpose {facts.purpose}. Define it first.",
    "unknown_account": _unknown_account,
    "unsupported": lambda facts: f"{facts.channel} cannot carry this kind of content.",
    "template_not_approved": _fixed(
        "the provider has rejected, paused or disabled the template. Look into its console, or use another template."
    ),
    "part_failed": _fixed("a part of the same text before it was not sent, and a text with a hole is none."),
    "clock": _fixed("the clock of whoever asked for it was wrong by more than is allowed. Set that clock."),
}
"""One for every reason that exists; a test walks the catalogue."""
FAILURES: Mapping[FailureClass, Callable[[Facts], str]] = {
    "RETRY": _fixed("the provider had trouble again and again, and the tries are used up."),
    "RATE": _fixed("the provider found it too fast again and again, and the tries are used up."),
    "PERM": _fixed("the provider refused it for good, or it could not be handed over."),
    "WINDOW": _fixed("the provider says that the service window is closed. Send a template."),
    "UNREACH": _fixed("the provider says that the person cannot be reached there."),
    "AUTH": _fixed("the provider did not accept the account's credentials."),
    "ACCOUNT": _fixed("the provider has restricted the account. Look into its console."),
}
WAITS: Mapping[WaitReason, str] = {
    "vault_behind": "It waits until everything that persons did is applied; role vault or inbound is behind.",
    "basis": "It waits for the consent that it relies on to be applied.",
    "settings": "It waits for the settings that its writer had seen.",
    "busy": "A worker is calling the provider for it, or was a moment ago.",
    "echo": "The provider was called and its answer is not known; its status report is awaited.",
    "vault_fault": "It waits for the repair of a damaged key; look at the alarm of the vault.",
}


def _ago(facts: Facts) -> str:
    return _span(facts.now_ms - facts.requested_at_ms)


def _waiting(facts: Facts) -> str:
    if facts.waits_for is not None:
        return WAITS[facts.waits_for]
    if facts.tried and facts.tried[-1].outcome == "retry":
        return "The provider did not take it; it is tried again until its time runs out."
    return "It is in line, behind earlier messages to the person or the provider's rate."
