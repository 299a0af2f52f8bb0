"""State of one subject in the double opt-in machine. All times are milliseconds, those of acts being `acted_at`.

Nothing personal: ids, times, language, names of texts.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.content import TextReference

STATE_VERSION = 1
HOUR_MS = 3_600_000
ANSWERS_MAX_PER_HOUR = 10
"""Automatic answers to one subject in an hour (protocols §8): two machines that answer one another come to rest. A welcome and
the confirmation of a STOP that ends something count, but are never left out; each needs a START that was within the limit."""

SIGNUP_ACT = "signup/"
"""Before the opt-in's id: the name of the act by which a form's token was used."""
TOKENS_KEPT = 20
Outcome = Literal["open", "given", "refused", "expired", "withdrawn"]


class Request(BaseModel):
    """The newest opt-in request of a purpose. It can be answered by an act in (requested_at, expires_at)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    optin: str
    requested_at: int
    expires_at: int
    account: str
    language: str
    text: TextReference | None = None
    notice: str | None = None
    outcome: Outcome = "open"

    def answerable(self, acted_at: int) -> bool:
        """True when an act of this time may answer. An expiry does not close it to what was said in time: wakes and
        records have no common order."""
        return self.outcome in ("open", "expired") and self.requested_at < acted_at < self.expires_at


class Consent(BaseModel):
    """One purpose on one channel. `given_at` and `withdrawn_at` only ever grow; active means given_at > withdrawn_at."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    request: Request | None = None
    given_at: int = 0
    given_by: str | None = None
    given_requested_at: int = 0
    withdrawn_at: int = 0

    @property
    def active(self) -> bool:
        """The rule of the permission row (protocols §5); equal times mean withdrawn."""
        return self.given_at > self.withdrawn_at


class Act(BaseModel):
    """The newest act of one intent, and the events that reported acts of exactly that time: how a repeat is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    at: int
    ids: tuple[str, ...]


class State(BaseModel):
    """Everything the machine keeps of a subject."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    language: str | None = None
    consents: Mapping[str, Consent] = Field(default_factory=dict)
    acts: Mapping[str, Act] = Field(default_factory=dict)
    answered_at: tuple[int, ...] = ()
    """Broker times of the acts of the last hour that may be answered. This and the next two are known from `messages` alone, so
    that a replay counts as the first run did, in whatever order the other topics come."""
    asked: bool = False
    """A START within the limit came last, not a yes, no or stop: what decides whether a yes or no counts as a turn."""
    informed: bool = False
    """One of our texts has been asked for: the first one shows where the privacy notice stands."""
    started_at: int = 0
    """Time of the newest START within the limit; only what began with one can a STOP end."""

    def consent(self, channel: str, purpose: str) -> Consent:
        """What is known of a purpose on a channel."""
        return self.consents.get(consent_key(channel, purpose), Consent())

    def with_consent(self, channel: str, purpose: str, consent: Consent) -> "State":
        """This state with another consent."""
        return self.model_copy(update={"consents": {**self.consents, consent_key(channel, purpose): consent}})

    def is_new(self, intent: str, acted_at: int, event: str) -> bool:
        """False for an act that was handled, or that is older than one of its kind that was."""
        last = self.acts.get(intent)
        return last is None or acted_at > last.at or (acted_at == last.at and event not in last.ids)

    def with_act(self, intent: str, acted_at: int, event: str) -> "State":
        """This state after an act that `is_new`. Of tokens the newest are kept: each counts once in the vault, too."""
        last = self.acts.get(intent)
        ids = (*last.ids, event) if last is not None and last.at == acted_at else (event,)
        acts = {**self.acts, intent: Act(at=acted_at, ids=ids)}
        tokens = sorted(
            (name for name in acts if name.startswith(SIGNUP_ACT)), key=lambda name: acts[name].at
        )
        for name in tokens[:-TOKENS_KEPT]:
            del acts[name]
        return self.model_copy(update={"acts": acts})

    def with_turn(self, intent: str, acted_at: int, now_ms: int) -> tuple["State", bool]:
        """Count an act that may be answered, before it is noted by `with_act`; False when its answer is left out because the
        hour's answers are used up.

        A STOP that ends something is always answered: the first one, and one after a START within the limit.
        """
        recent = tuple(at for at in self.answered_at if at > now_ms - HOUR_MS)
        free = len(recent) < ANSWERS_MAX_PER_HOUR
        last_stop = self.acts.get("stop")
        ends = intent == "stop" and (last_stop is None or self.started_at > last_stop.at)
        may_answer = free or ends or (intent == "yes" and self.asked)
        # A token of a form counts once, and what it confirms is always answered.
        if (may_answer or intent == "signup") and (
            intent in ("start", "stop", "signup", "preferences") or self.asked
        ):
            recent = (*recent, now_ms)
        turn: dict[str, Any] = {"answered_at": recent, "asked": intent == "start" and (free or self.asked)}
        if (intent == "start" and free) or intent == "signup":
            turn["started_at"] = max(self.started_at, acted_at)
        return self.model_copy(update=turn), may_answer


def consent_key(channel: str, purpose: str) -> str:
    """Key of a consent in `State.consents`."""
    return f"{channel}/{purpose}"


def load(raw: dict[str, Any] | None) -> State:
    """State of a row, or of a subject without one."""
    return State() if raw is None else State.model_validate(raw)
