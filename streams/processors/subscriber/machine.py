"""Decisions of the double opt-in machine (DESIGN §8, protocols §4, §5, §8).

The order of topics does not matter: acts are compared by the time at which the person acted, never by arrival.
- A START asks, under a new opt-in that replaces an open one, unless a withdrawal is later; who is subscribed is told so.
- A yes counts only for the question that was open when it was said; so does a no.
- The first message with a form's token confirms what was ticked on its page, unless a withdrawal is later than the tick; with a
  link's token, or one that counts no more, it asks as a START does.
- A withdrawal closes every request that is not later than it, and wins over a Given whose request it closes: where the
  Given was already written, its time of act is withdrawn too, so that the permission row ends the same.
- A STOP in `messages` withdraws here as well (inbound wrote ConsentWithdrawn itself, first): whichever topic is ahead.
Own events that come back change nothing; after a loss of all state they bring back what `messages` no longer holds.
"""

from dataclasses import dataclass, replace

from schemas.clock import MS_PER_S, to_ms, to_text
from schemas.constants import Times
from schemas.envelope import Event, EventData, Sealed
from schemas.events import consents, subscriptions
from schemas.settings import Notice, TenantSettings
from streams.processors.contract import Count, Ids, NewEvent, NewWake
from streams.processors.subscriber.own_text import Ask, ask_for
from streams.processors.subscriber.state import Consent, Request, State

ENTRY_KEYWORD = "keyword"
ENTRY_LINK = "link"
"""How somebody came who is asked in the chat: by a keyword, or by a campaign's link. Who comes from a page was asked there."""
EXPIRE = "optin_expires"
STARTED_PURPOSE = "newsletter"
"""What START signs up for, and the list it leads to, when the tenant has it; else the first purpose that needs consent."""
SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Outcome:
    """State, events, wakes and counts so far; each decision adds to it."""

    state: State
    events: tuple[NewEvent, ...] = ()
    wakes: tuple[NewWake, ...] = ()
    counts: tuple[Count, ...] = ()

    def add(self, *events: NewEvent) -> "Outcome":
        """With more events."""
        return replace(self, events=self.events + events)


@dataclass(frozen=True, slots=True)
class Machine:
    """One input being decided: what it is about, and where its ids come from."""

    settings: TenantSettings
    times: Times
    ids: Ids
    now_ms: int
    cause: str
    correlation: str
    may_answer: bool = True
    """False when the automatic answers of the hour are used up."""
    entry_point: str = ENTRY_KEYWORD

    def event(self, slot: str, data: EventData, channel: str, ids: Ids | None = None) -> NewEvent:
        """An event because of this input, or with the id of what several inputs have in common."""
        return NewEvent((ids or self.ids).event(slot), data, channel, self.cause, self.correlation)

    def step(self, name: str) -> Count:
        """Count a step of the opt-in."""
        return Count("sealpost_optin_steps_total", (self.entry_point, name, self.settings.tenant))

    def said(self, outcome: Outcome, ask: Ask) -> Outcome:
        """Ask for one of our own texts. The first one a person gets shows where the privacy notice stands (GDPR Art. 13)."""
        shown = self.settings.notice_for(ask.language)
        if not outcome.state.informed and ask.notice is None and shown is not None:
            ask = replace(ask, notice=exact(shown))
        outcome = replace(outcome, state=outcome.state.model_copy(update={"informed": True}))
        asked = ask_for(self.settings, self.times, self.ids, self.now_ms, ask, self.cause, self.correlation)
        return outcome.add(*asked.events)


def started_purpose(settings: TenantSettings) -> str | None:
    """The purpose START signs up for; None when no purpose of the tenant needs consent."""
    purposes = settings.consent_purposes()
    return STARTED_PURPOSE if STARTED_PURPOSE in purposes else next(iter(purposes), None)


def exact(notice: Notice) -> str:
    """Names a privacy notice so that what was shown can be proved: id, version and language."""
    return f"{notice.notice}/{notice.version}/{notice.language}"


def give(
    machine: Machine, outcome: Outcome, channel: str, given_by: str, given: consents.ConsentGiven
) -> Outcome:
    """Apply a Given: it counts only for the request it names, and not when a withdrawal has closed that request.

    One that tells when it was asked for (`requested_at`) is of a page, and names no question of the chat: one that is open is
    answered by it.
    """
    consent, acted_at = outcome.state.consent(channel, given.purpose), to_ms(given.acted_at)
    request = consent.request
    ticked = given.requested_at is not None
    if acted_at <= consent.given_at or not (ticked or (request is not None and request.optin == given.optin)):
        return outcome
    asked_at = to_ms(given.requested_at) if given.requested_at is not None else _asked_at(request)
    answered = request is not None and (not ticked or request.answerable(acted_at))
    if request is not None and answered and request.outcome != "withdrawn":
        request = request.model_copy(update={"outcome": "given"})
    after = consent.model_copy(
        update={
            "given_at": acted_at,
            "given_by": given_by,
            "given_requested_at": asked_at,
            "request": request,
        }
    )
    outcome = replace(outcome, state=outcome.state.model_copy(update={"informed": True}))
    if asked_at <= consent.withdrawn_at:
        return _withdraw_given(machine, outcome, channel, given.purpose, after, given.method)
    outcome = replace(outcome, state=outcome.state.with_consent(channel, given.purpose, after))
    if not after.active:
        return outcome
    lasting = machine.ids.because(given_by)
    activated = subscriptions.SubscriptionActivated(
        subscription=lasting.thing("subscription"), list=given.purpose, purpose=given.purpose, basis=given_by,
        account=given.account, language=given.language, acted_at=given.acted_at,
    )  # fmt: skip
    return outcome.add(machine.event("subscription_activated", activated, channel, lasting))


def _asked_at(request: Request | None) -> int:
    assert request is not None, "a Given of the chat has found its request"
    return request.requested_at


def withdraw(
    machine: Machine, outcome: Outcome, channel: str, purpose: str, acted_at: int, method: consents.Method
) -> Outcome:
    """Apply a withdrawal: close what was asked for before it, end the membership, win over a Given it should have prevented."""
    before = outcome.state.consent(channel, purpose)
    if acted_at <= before.withdrawn_at:
        return outcome
    request = before.request
    if request is not None and request.requested_at <= acted_at and request.outcome in ("open", "expired"):
        request = request.model_copy(update={"outcome": "withdrawn"})
    after = before.model_copy(update={"withdrawn_at": acted_at, "request": request})
    outcome = replace(outcome, state=outcome.state.with_consent(channel, purpose, after))
    if before.active:
        ended = _ended(machine, channel, purpose, after, acted_at)
        if after.active and after.given_requested_at <= acted_at:
            outcome = _withdraw_given(machine, outcome, channel, purpose, after, method).add(ended)
        elif not after.active:
            outcome = outcome.add(ended)
    return outcome


def _withdraw_given(
    machine: Machine, outcome: Outcome, channel: str, purpose: str, consent: Consent, method: consents.Method
) -> Outcome:
    """A Given was written that a withdrawal should have prevented: withdraw as of its own time, in the log as well, for the
    permission row knows times of acts only."""
    if not consent.active:
        return replace(outcome, state=outcome.state.with_consent(channel, purpose, consent))
    lasting = machine.ids.because(consent.given_by or "")
    void = consents.ConsentWithdrawn(purpose=purpose, method=method, acted_at=to_text(consent.given_at))
    state = outcome.state.with_consent(
        channel, purpose, consent.model_copy(update={"withdrawn_at": consent.given_at})
    )
    return replace(outcome, state=state).add(machine.event("withdrawal_wins", void, channel, lasting))


def _ended(machine: Machine, channel: str, purpose: str, consent: Consent, acted_at: int) -> NewEvent:
    lasting = machine.ids.because(consent.given_by or "")
    ended = subscriptions.SubscriptionEnded(
        subscription=lasting.thing("subscription"),
        list=purpose,
        purpose=purpose,
        reason="withdrawn",
        acted_at=to_text(acted_at),
    )
    return machine.event("subscription_ended", ended, channel, lasting)


def requested(machine: Machine, state: State, channel: str, data: consents.OptInRequested) -> Outcome:
    """A request in the log that is newer than what is known: after a loss of state the machine's own, come back. Its wake is
    set when the START that led to it comes back, too. What was asked for on a page needs no answer in the chat."""
    if data.entry_point not in (ENTRY_KEYWORD, ENTRY_LINK):
        return Outcome(state)
    consent, acted_at = state.consent(channel, data.purpose), to_ms(data.acted_at)
    if consent.request is not None and consent.request.requested_at >= acted_at:
        return Outcome(state)
    expires_at = acted_at + round(machine.times.optin_s * MS_PER_S)
    request = Request(
        optin=data.optin, requested_at=acted_at, expires_at=expires_at, account=data.account, language=data.language,
        outcome="withdrawn" if acted_at <= consent.withdrawn_at else "open",
    )  # fmt: skip
    return Outcome(state.with_consent(channel, data.purpose, consent.model_copy(update={"request": request})))


def questioned(state: State, channel: str, data: consents.ConsentRequested) -> State:
    """The question of a request that came back from the log: which wording, which notice."""
    consent = state.consent(channel, data.purpose)
    request = consent.request
    if request is None or request.optin != data.optin or request.text is not None:
        return state
    told = request.model_copy(update={"text": data.text, "notice": data.notice})
    now = state.with_consent(channel, data.purpose, consent.model_copy(update={"request": told}))
    return now.model_copy(update={"informed": True})


def closed(state: State, channel: str, data: consents.ConsentRefused | consents.ConsentExpired) -> State:
    """A refusal or an expiry in the log closes the request it names."""
    consent = state.consent(channel, data.purpose)
    request = consent.request
    if request is None or request.optin != data.optin:
        return state
    if isinstance(data, consents.ConsentRefused) and request.outcome in ("open", "expired"):
        now = request.model_copy(update={"outcome": "refused"})
    elif isinstance(data, consents.ConsentExpired) and request.outcome == "open":
        now = request.model_copy(update={"outcome": "expired"})
    else:
        return state
    return state.with_consent(channel, data.purpose, consent.model_copy(update={"request": now}))


def expired(machine: Machine, state: State, channel: str, purpose: str, optin: str) -> Outcome:
    """The time to answer is over; nothing happens when the request was answered or replaced meanwhile."""
    request = state.consent(channel, purpose).request
    if request is None or request.optin != optin or request.outcome != "open":
        return Outcome(state)
    data = consents.ConsentExpired(optin=optin, purpose=purpose, acted_at=to_text(request.expires_at))
    return Outcome(
        closed(state, channel, data),
        (machine.event("consent_expired", data, channel, machine.ids.because(optin)),),
        counts=(machine.step("expired"),),
    )


def evidence_of(event: Event) -> Sealed | None:
    """The evidence block of a message, copied, with the identity it was sealed for: a processor neither opens nor seals."""
    block = event.block("evidence")
    if block is None:
        return None
    copied = block.model_copy(
        update={"sealed_in": block.sealed_in or event.id, "type": block.type or event.type}
    )
    return Sealed(evidence=copied)
