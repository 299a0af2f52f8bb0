"""The subscriber processor: dispatches inputs to the double opt-in machine, and purges at KeyDestroyed."""

from dataclasses import dataclass
from typing import Any

from schemas.clock import to_ms, to_text
from schemas.constants import PRODUCTION, Times
from schemas.events import consents, deletions, messages
from schemas.settings import TenantSettings
from schemas.stores import SUBSCRIBER_STATE
from schemas.topics import CONSENTS, DELETIONS, MESSAGES
from streams.processors.contract import Decision, Heard, Ids, Input, NewEvent
from streams.processors.subscriber import acts, machine
from streams.processors.subscriber.machine import Machine, Outcome
from streams.processors.subscriber.state import STATE_VERSION, State, load

NAME = "streams.subscriber"


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Consents, subscriptions and language of a subject; asks, confirms, welcomes, says good-bye."""

    times: Times = PRODUCTION
    name: str = NAME
    topics: tuple[str, ...] = (DELETIONS, CONSENTS, MESSAGES)
    first_topics: tuple[str, ...] = (DELETIONS, CONSENTS)
    """Fences and withdrawals are known before what a person wrote earlier is read again: after a loss of all state nothing
    is asked of, or granted for, somebody who has withdrawn or is erased."""
    handled: frozenset[str] = frozenset(
        {
            messages.MessageReceived.TYPE,
            consents.OptInRequested.TYPE,
            consents.ConsentRequested.TYPE,
            consents.ConsentGiven.TYPE,
            consents.ConsentRefused.TYPE,
            consents.ConsentWithdrawn.TYPE,
            consents.ConsentExpired.TYPE,
            deletions.KeyDestroyed.TYPE,
        }
    )
    state_version: int = STATE_VERSION

    def upcast(self, state: dict[str, Any], version: int) -> dict[str, Any]:
        """There is one layout so far."""
        if version != STATE_VERSION:
            raise ValueError(f"state of the subscriber in layout {version}")
        return state

    def lacks(self, settings: TenantSettings | None, heard: Heard) -> bool:
        """A START depends on agreement, purposes and notice: what is missing may have been published a moment ago."""
        if not isinstance(heard.data, messages.MessageReceived) or heard.data.intent is None:
            return False
        if settings is None:
            return True
        return heard.data.intent in ("start", "signup") and not (
            settings.dpa and settings.notices and settings.consent_purposes()
        )

    def decide(
        self, settings: TenantSettings, ids: Ids, state: dict[str, Any] | None, given: Input
    ) -> Decision:
        """Decide one input (DESIGN §8)."""
        before = load(state)
        if isinstance(given, Heard):
            if isinstance(given.data, deletions.KeyDestroyed):
                return _purge(ids, given, given.data)
            correlation = given.event.correlationid or given.event.id
            outcome = _heard(
                Machine(settings, self.times, ids, given.now_ms, given.event.id, correlation), before, given
            )
        else:
            body = given.body
            optin = str(body["optin"])
            woken = Machine(settings, self.times, ids, given.now_ms, optin, optin)
            outcome = machine.expired(woken, before, str(body["channel"]), str(body["purpose"]), optin)
        after = (
            state if outcome.state == before else outcome.state.model_dump(mode="json", exclude_defaults=True)
        )
        return Decision(after, outcome.events, outcome.wakes, outcome.counts)


def _heard(at: Machine, state: State, heard: Heard) -> Outcome:
    channel = heard.event.channel or ""
    match heard.data:
        case messages.MessageReceived() as said:
            return acts.wrote(at, state, heard.event, said)
        case consents.OptInRequested() as data:
            return machine.requested(at, state, channel, data)
        case consents.ConsentRequested() as data:
            return Outcome(machine.questioned(state, channel, data))
        case consents.ConsentGiven() as data:
            return machine.give(at, Outcome(state), channel, heard.event.id, data)
        case consents.ConsentWithdrawn() as data:
            return machine.withdraw(
                at, Outcome(state), channel, data.purpose, to_ms(data.acted_at), data.method
            )
        case consents.ConsentRefused() | consents.ConsentExpired() as data:
            return Outcome(machine.closed(state, channel, data))
    return Outcome(state)


def _purge(ids: Ids, heard: Heard, destroyed: deletions.KeyDestroyed) -> Decision:
    """State gone, fence left, receipt written; a repeat writes the same receipt."""
    receipt = deletions.StorePurged(
        erasure=destroyed.erasure, store=SUBSCRIBER_STATE, purged_at=to_text(heard.now_ms)
    )
    event = NewEvent(ids.event("store_purged"), receipt, None, heard.event.id, heard.event.correlationid)
    return Decision(None, (event,), purge=True)
