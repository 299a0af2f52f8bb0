"""What a person writes, decided: START, YES, NO, STOP, the token of a form, the word for her preferences.

Each act goes to the machine's rules (`machine`), and is answered with one of Sealpost's own texts.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from schemas.clock import MS_PER_S, to_ms
from schemas.envelope import Event
from schemas.events import consents, messages
from schemas.settings import TenantSettings
from schemas.texts import LANGUAGES
from streams.processors.contract import NewWake
from streams.processors.subscriber.machine import (
    ENTRY_KEYWORD,
    ENTRY_LINK,
    EXPIRE,
    SERVICE,
    Machine,
    Outcome,
    evidence_of,
    exact,
    give,
    started_purpose,
    withdraw,
)
from streams.processors.subscriber.own_text import Ask, ask_for, own_text_hash
from streams.processors.subscriber.state import SIGNUP_ACT, Consent, Request, State


def wrote(machine: Machine, state: State, event: Event, said: messages.MessageReceived) -> Outcome:
    """The person wrote something in which inbound found an intent."""
    acted_at = to_ms(said.acted_at)
    if said.intent is None or not state.is_new(_act_name(said), acted_at, event.id):
        return Outcome(state)
    state, may_answer = state.with_turn(said.intent, acted_at, machine.now_ms)
    state = state.with_act(_act_name(said), acted_at, event.id)
    if said.language in LANGUAGES:
        state = state.model_copy(update={"language": said.language})
    act: Callable[[Machine, State, Event, messages.MessageReceived], Outcome] = {
        "start": _start, "yes": _yes, "no": _no, "stop": _stop, "signup": _signup, "preferences": _preferences,
    }[said.intent]  # fmt: skip
    entry = said.entry
    machine = replace(machine, may_answer=may_answer, entry_point=_entry_point(said))
    outcome = act(machine, state, event, said)
    if entry is not None:
        outcome = replace(outcome, counts=(*outcome.counts, machine.step(f"token_{entry.outcome}")))
    if may_answer or any(isinstance(new.data, messages.MessageRequested) for new in outcome.events):
        return outcome
    return replace(outcome, counts=(*outcome.counts, machine.step("flood")))


def _act_name(said: messages.MessageReceived) -> str:
    """What an act is compared with: the newest of its kind, and each token of a form by itself, for what it confirms was asked
    elsewhere and is no less true when it comes late."""
    if said.intent == "signup" and said.entry is not None and said.entry.purposes:
        return f"{SIGNUP_ACT}{said.entry.purposes[0].optin}"
    return said.intent or ""


def _entry_point(said: messages.MessageReceived) -> str:
    """How somebody came. A form's token that does not confirm leads to the question as a link does."""
    if said.entry is None or said.entry.kind is None:
        return ENTRY_KEYWORD
    return said.entry.kind if said.intent == "signup" else ENTRY_LINK


def _start(machine: Machine, state: State, event: Event, said: messages.MessageReceived) -> Outcome:
    purpose, channel = _wanted_purpose(machine.settings, said), event.channel or ""
    if purpose is None:
        return Outcome(state, counts=(machine.step("no_purpose"),))
    consent, acted_at = state.consent(channel, purpose), to_ms(said.acted_at)
    if consent.active:
        return _subscribed_already(machine, state, consent, event, said)
    optin, open_one = machine.ids.thing("optin"), consent.request
    again = open_one is not None and open_one.optin == optin and open_one.outcome == "open"
    older = open_one is not None and open_one.requested_at >= acted_at and not again
    if older or acted_at <= consent.withdrawn_at or not machine.may_answer:
        return Outcome(state, counts=(machine.step("ignored"),))
    if not machine.settings.dpa:
        return Outcome(state, counts=(machine.step("no_dpa"),))
    language = state.language or machine.settings.default_language
    shown = machine.settings.notice_for(language)
    if shown is None:
        return Outcome(state, counts=(machine.step("no_notice"),))
    ask = Ask(
        "consent_question", language, channel, said.account, SERVICE, purpose, notice=shown.notice, optin=optin
    )  # fmt: skip
    return _question(machine, state, event, said, ask, exact(shown))


def _wanted_purpose(settings: TenantSettings, said: messages.MessageReceived) -> str | None:
    """What a link or a form's page was for, where that needs consent; else what START signs up for."""
    named = said.entry.purposes[0].purpose if said.entry and said.entry.purposes else None
    return named if named in settings.consent_purposes() else started_purpose(settings)


def _signup(machine: Machine, state: State, event: Event, said: messages.MessageReceived) -> Outcome:
    """The first message with a fresh token of a form: what was ticked and shown there is confirmed on the channel itself."""
    entry = said.entry
    if not machine.settings.dpa:
        return Outcome(state, counts=(machine.step("no_dpa"),))
    if entry is None or entry.requested_at is None or entry.text is None or entry.notice is None:
        return Outcome(state, counts=(machine.step("ignored"),))
    outcome, channel = Outcome(state), event.channel or ""
    wanted = set(machine.settings.consent_purposes())
    for asked in entry.purposes:
        if asked.purpose in wanted:
            outcome = _confirm_ticked(machine, outcome, event, said, entry, asked)
    given = [new for new in outcome.events if isinstance(new.data, consents.ConsentGiven)]
    language = state.language or entry.language or machine.settings.default_language
    if given:
        about = given[0].data
        assert isinstance(about, consents.ConsentGiven)
        ask = Ask(
            "welcome_first", language, channel, said.account, about.purpose, basis=given[0].id, notice=entry.notice
        )  # fmt: skip
        return machine.said(outcome, ask)
    held = [one for asked in entry.purposes if (one := state.consent(channel, asked.purpose)).active]
    if held:
        outcome = replace(outcome, counts=(*outcome.counts, machine.step("already")))
        # A message of before the consent is the one that led to it and comes back: no answer.
        if not machine.may_answer or to_ms(said.acted_at) <= max(one.given_at for one in held):
            return outcome
        return machine.said(outcome, Ask("already", language, channel, said.account, SERVICE))
    # A withdrawal is later than the tick: the page counts no more, and what she writes now is a START.
    return _start(replace(machine, entry_point=ENTRY_LINK), state, event, said)


def _confirm_ticked(
    machine: Machine,
    outcome: Outcome,
    event: Event,
    said: messages.MessageReceived,
    entry: messages.Entry,
    asked: messages.AskedPurpose,
) -> Outcome:
    channel, requested_at = event.channel or "", entry.requested_at or ""
    consent, ticked_at = outcome.state.consent(channel, asked.purpose), to_ms(requested_at)
    if consent.active or ticked_at <= consent.withdrawn_at:
        return outcome
    language = outcome.state.language or entry.language or machine.settings.default_language
    shown = entry.model_dump(
        include={"text", "text_hash", "notice", "notice_hash", "form", "link", "campaign"}, exclude_none=True
    )
    shared = {
        "optin": asked.optin, "purpose": asked.purpose, "account": said.account, "entry_point": machine.entry_point,
        "sealed": evidence_of(event), **shown,
    }  # fmt: skip
    requested = consents.OptInRequested(**shared, language=language, acted_at=requested_at)
    yes = {**shared, "method": "first_message", "requested_at": requested_at, "acted_at": said.acted_at}
    confirmed = consents.OptInConfirmed(**yes)
    given = consents.ConsentGiven(**yes, language=language)
    because = machine.ids.because(asked.optin)
    given_event = machine.event("consent_given", given, channel, because)
    told = replace(
        outcome.add(
            machine.event("optin_requested", requested, channel, because),
            machine.event("optin_confirmed", confirmed, channel, because),
            given_event,
        ),
        counts=(*outcome.counts, machine.step("confirmed")),
    )
    return give(machine, told, channel, given_event.id, given)


def _preferences(machine: Machine, state: State, event: Event, said: messages.MessageReceived) -> Outcome:
    """Where to see and change what was agreed to."""
    outcome = Outcome(state, counts=(machine.step("preferences"),))
    if not machine.may_answer or not machine.settings.dpa:
        return outcome
    language = state.language or machine.settings.default_language
    return machine.said(outcome, Ask("preferences", language, event.channel or "", said.account, SERVICE))


def _subscribed_already(
    machine: Machine, state: State, consent: Consent, event: Event, said: messages.MessageReceived
) -> Outcome:
    """Nothing is asked of a subscriber. A START of before the consent is one that led to it and comes back: no answer."""
    outcome = Outcome(state, counts=(machine.step("already"),))
    if not machine.may_answer or to_ms(said.acted_at) <= consent.given_at:
        return outcome
    language = state.language or machine.settings.default_language
    return machine.said(outcome, Ask("already", language, event.channel or "", said.account, SERVICE))


def _question(
    machine: Machine, state: State, event: Event, said: messages.MessageReceived, ask: Ask, notice: str
) -> Outcome:
    """Ask for consent to `ask.about`, under the opt-in of `ask`."""
    purpose, optin, acted_at = ask.about or "", ask.optin or "", to_ms(said.acted_at)
    consent = state.consent(ask.channel, purpose)
    asked = ask_for(
        machine.settings, machine.times, machine.ids, machine.now_ms, ask, machine.cause, machine.correlation
    )
    expires_at = acted_at + round(machine.times.optin_s * MS_PER_S)
    request = Request(
        optin=optin, requested_at=acted_at, expires_at=expires_at, account=said.account, language=ask.language,
        text=asked.reference, notice=notice,
    )  # fmt: skip
    requested = consents.OptInRequested(
        optin=optin, purpose=purpose, account=said.account, entry_point=machine.entry_point, language=ask.language,
        acted_at=said.acted_at, sealed=evidence_of(event), **_way(said.entry),
    )  # fmt: skip
    question = consents.ConsentRequested(
        optin=optin,
        purpose=purpose,
        account=said.account,
        text=asked.reference,
        notice=notice,
        message=asked.message,
    )
    return Outcome(
        state.with_consent(ask.channel, purpose, consent.model_copy(update={"request": request})).model_copy(
            update={"informed": True}
        ),
        (
            machine.event("optin_requested", requested, ask.channel),
            machine.event("consent_requested", question, ask.channel),
            *asked.events,
        ),
        (NewWake(expires_at, EXPIRE, {"channel": ask.channel, "purpose": purpose, "optin": optin}),),
        (machine.step("requested"),),
    )


def _way(entry: messages.Entry | None) -> dict[str, Any]:
    """By which form or link somebody came, for the events."""
    return entry.model_dump(include={"form", "link", "campaign"}, exclude_none=True) if entry else {}


def _open_question(state: State, channel: str, acted_at: int) -> tuple[str, Consent, Request] | None:
    """The newest question of this channel that an act of this time answers: (purpose, consent, request)."""
    found: tuple[str, Consent, Request] | None = None
    for key, consent in sorted(state.consents.items()):
        own_channel, _, purpose = key.partition("/")
        request = consent.request
        if (
            own_channel != channel
            or request is None
            or request.text is None
            or not request.answerable(acted_at)
        ):
            continue
        if found is None or request.requested_at > found[2].requested_at:
            found = (purpose, consent, request)
    return found


def _yes(machine: Machine, state: State, event: Event, said: messages.MessageReceived) -> Outcome:
    channel, acted_at = event.channel or "", to_ms(said.acted_at)
    question = _open_question(state, channel, acted_at)
    if question is None:
        return Outcome(state)
    purpose, _, request = question
    assert request.text is not None
    assert request.notice is not None
    language = state.language or request.language
    method: consents.Method = "keyword" if said.kind == "text" else "button"
    shown = machine.settings.notice_history.get(request.notice)
    confirmed = consents.OptInConfirmed(
        optin=request.optin, purpose=purpose, account=said.account, text=request.text, notice=request.notice,
        text_hash=own_text_hash(request.text), notice_hash=shown.hash if shown else None,
        method=method, acted_at=said.acted_at, sealed=evidence_of(event),
    )  # fmt: skip
    given = consents.ConsentGiven(
        **confirmed.model_dump(exclude={"sealed"}), language=language, sealed=confirmed.sealed
    )
    given_event = machine.event("consent_given", given, channel)
    outcome = Outcome(
        state,
        (machine.event("optin_confirmed", confirmed, channel), given_event),
        counts=(machine.step("confirmed"),),
    )
    outcome = give(machine, outcome, channel, given_event.id, given)
    # Whatever the number of answers: who has said yes is told that it counts.
    return machine.said(
        outcome, Ask("welcome", language, channel, said.account, purpose, basis=given_event.id)
    )


def _no(machine: Machine, state: State, event: Event, said: messages.MessageReceived) -> Outcome:
    channel = event.channel or ""
    question = _open_question(state, channel, to_ms(said.acted_at))
    if question is None:
        return Outcome(state)
    purpose, consent, request = question
    closed = consent.model_copy(update={"request": request.model_copy(update={"outcome": "refused"})})
    # No evidence is copied: a no needs no proof, and what no consent names is destroyed after 30 days.
    refused = consents.ConsentRefused(optin=request.optin, purpose=purpose, acted_at=said.acted_at)
    outcome = Outcome(
        state.with_consent(channel, purpose, closed),
        (machine.event("consent_refused", refused, channel),),
        counts=(machine.step("refused"),),
    )
    if not machine.may_answer:
        return outcome
    language = state.language or request.language
    return machine.said(outcome, Ask("refused", language, channel, said.account, SERVICE))


def _stop(machine: Machine, state: State, event: Event, said: messages.MessageReceived) -> Outcome:
    channel, acted_at = event.channel or "", to_ms(said.acted_at)
    known = {key.partition("/")[2] for key in state.consents if key.partition("/")[0] == channel}
    outcome = Outcome(state, counts=(machine.step("stopped"),))
    for purpose in sorted(known | set(machine.settings.consent_purposes())):
        outcome = withdraw(machine, outcome, channel, purpose, acted_at, "keyword")
    if not machine.may_answer:
        return outcome
    language = state.language or machine.settings.default_language
    return machine.said(outcome, Ask("stopped", language, channel, said.account, SERVICE))
