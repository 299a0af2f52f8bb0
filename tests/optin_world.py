"""A small world for the subscriber's tests: one tenant, one person, the topics as lists, and a scheduler between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from schemas.clock import to_ms, to_text
from schemas.constants import Times
from schemas.content import TextReference
from schemas.envelope import Event, EventData, Sealed, SealedBlock
from schemas.events import consents, messages, registry
from schemas.ids import derived_id
from schemas.settings import Account, Notice, TenantSettings
from schemas.topics import CONSENTS, MESSAGES
from streams.processors.contract import Heard, Ids, Input, NewEvent, NewWake, Woken
from streams.processors.subscriber.processor import Subscriber
from streams.processors.subscriber.state import State, load

TENANT, SUBJECT, ACCOUNT = "t1", "5" * 32, "a" * 32
CHANNEL = "whatsapp"
ID_KEY = bytes(range(32))
START_MS = to_ms("2026-11-23T10:00:00Z")
SETTINGS = TenantSettings(
    tenant=TENANT,
    name="Backhaus",
    default_language="de",
    dpa_signed_ms=1,
    purposes={"service": "contract", "newsletter": "consent"},
    notices={
        "de": Notice("notice-1", 3, "de", "https://example.org/de"),
        "en": Notice("notice-1", 3, "en", "https://example.org/en"),
    },
    accounts={ACCOUNT: Account(ACCOUNT, CHANNEL, "c1")},
    offset=7,
)
Intent = Literal["start", "stop", "yes", "no", "signup", "late_signup", "preferences"]
TICKED_S: dict[str | None, float] = {"signup": 3.0, "late_signup": 15.0}
"""How long before the message the page was ticked. The acts of a story are ten seconds apart: `late_signup` has one between."""
SIGNUP_TEXT = TextReference(id="signup", version=1, language="de")
BEYOND_THE_LIMIT = 2
"""A welcome and the confirmation of a STOP: what may follow the last START within the limit of answers."""


def build(data: EventData, event_id: str, at_ms: int) -> Event:
    """An event of the person."""
    return registry.build(
        data, id=event_id, role="inbound", tenant=TENANT, subject=SUBJECT, at_ms=at_ms, channel=CHANNEL
    )


def said(intent: Intent | None, at_s: float, language: str | None = None, kind: str = "text") -> Event:
    """The person writes, `at_s` seconds after the beginning; the same time and intent is the same event."""
    at_ms = START_MS + round(at_s * 1000)
    reported = derived_id(ID_KEY, "said", str(intent), str(at_ms))
    entry = ticked(reported, at_ms - round(TICKED_S[intent] * 1000)) if intent in TICKED_S else None
    block = SealedBlock(gen=derived_id(ID_KEY, "gen", reported), ct="c2VhbGVk")
    data = messages.MessageReceived(
        message=reported,
        account=ACCOUNT,
        kind="button_reply" if kind == "button" else "text",
        provider_kind="text",
        intent="signup" if intent == "late_signup" else intent,
        language=language,
        acted_at=to_text(at_ms),
        entry=entry,
        sealed=Sealed(evidence=block) if intent else None,
    )
    return build(data, reported, at_ms)


def ticked(name: str, at_ms: int, purposes: Sequence[str] = ("newsletter",)) -> messages.Entry:
    """A fresh token of a form whose page was ticked at that time; `name` makes its opt-ins."""
    asked = [
        messages.AskedPurpose(purpose=one, optin=derived_id(ID_KEY, "optin", name, one)) for one in purposes
    ]
    return messages.Entry(
        kind="form", outcome="fresh", form="f" * 32, campaign="herbst", purposes=asked, text=SIGNUP_TEXT, text_hash="1" * 64,
        notice="notice-1/3/de", notice_hash="2" * 64, language="de", requested_at=to_text(at_ms),
    )  # fmt: skip


def withdrawn(at_s: float, method: consents.Method = "keyword", purpose: str = "newsletter") -> Event:
    """Inbound or a page records a withdrawal."""
    at_ms = START_MS + round(at_s * 1000)
    data = consents.ConsentWithdrawn(purpose=purpose, method=method, acted_at=to_text(at_ms))
    return build(data, derived_id(ID_KEY, "withdrawn", method, purpose, str(at_ms)), at_ms)


@dataclass
class World:
    """The subscriber processor, its row, and everything it wrote."""

    settings: TenantSettings = SETTINGS
    subscriber: Subscriber = field(default_factory=lambda: Subscriber(Times()))
    row: dict[str, Any] | None = None
    written: list[NewEvent] = field(default_factory=list)
    wakes: list[NewWake] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    purged: bool = False

    @property
    def state(self) -> State:
        """The row as the machine reads it."""
        return load(self.row)

    def give(self, given: Event | Input, delay_ms: int = 40) -> list[NewEvent]:
        """Apply one input; what it led to. An event's broker time is `delay_ms` after its own."""
        if isinstance(given, Event):
            given = Heard(given, registry.read(given), to_ms(given.time) + delay_ms)
        cause = given.event.id if isinstance(given, Heard) else f"{given.kind}/{given.body['optin']}"
        ids = Ids(ID_KEY, self.subscriber.name, cause)
        decision = self.subscriber.decide(self.settings, ids, self.row, given)
        self.row = decision.state
        self.written += decision.events
        self.wakes += decision.wakes
        self.counted += [count.labels[1] for count in decision.counts]
        self.purged = self.purged or decision.purge
        return list(decision.events)

    def wake_all(self) -> list[NewEvent]:
        """Let every wake that was set come."""
        wakes, self.wakes = self.wakes, []
        return [event for w in wakes for event in self.give(Woken(w.kind, w.body, w.at_ms))]

    def texts(self) -> list[tuple[str, str]]:
        """(text, language) of every message asked for, without repeats of the same message."""
        asked = {
            e.data.message: e.data for e in self.written if isinstance(e.data, messages.MessageRequested)
        }
        return [(data.text.id, data.text.language) for data in asked.values() if data.text is not None]

    def types(self) -> list[str]:
        """Class names of the events written."""
        return [type(event.data).__name__ for event in self.written]

    def open_question(self) -> str | None:
        """The opt-in that a yes would confirm now."""
        request = self.state.consent(CHANNEL, "newsletter").request
        return request.optin if request is not None and request.outcome in ("open", "expired") else None

    def forget(self) -> "World":
        """The same world after the loss of all processor state."""
        return World(replace(self.settings), self.subscriber)


def as_event(new: NewEvent, at_ms: int) -> Event:
    """What a processor wrote, as it comes back in its topic."""
    return registry.build(
        new.data,
        id=new.id,
        role="streams.subscriber",
        tenant=TENANT,
        subject=SUBJECT,
        at_ms=at_ms,
        channel=new.channel,
        cause=new.cause,
        correlation=new.correlation,
    )


def active(log: Iterable[EventData]) -> bool:
    """The permission row of the newsletter, as role vault folds it from `consents`: the greatest times win."""
    log = list(log)
    given = max((to_ms(d.acted_at) for d in log if isinstance(d, consents.ConsentGiven)), default=0)
    ended = max((to_ms(d.acted_at) for d in log if isinstance(d, consents.ConsentWithdrawn)), default=0)
    return given > ended


def run_interleaved(
    world: World, said_events: Sequence[Event], consent_events: Sequence[Event], turns: Iterable[bool]
) -> list[Event]:
    """Feed both topics in their own order, `turns` choosing which is next (True: messages), then the rest of both; what is
    written to `consents` comes back behind what is there. Returns everything that stood in `consents`."""
    waiting = {MESSAGES: list(said_events), CONSENTS: list(consent_events)}
    log = list(consent_events)

    def take(topic: str) -> None:
        if not waiting[topic]:
            return
        event = waiting[topic].pop(0)
        for new in world.give(event):
            if registry.TOPIC_OF[type(new.data)] == CONSENTS and new.id not in {e.id for e in log}:
                echo = as_event(new, to_ms(event.time) + 40)
                log.append(echo)
                waiting[CONSENTS].append(echo)

    for messages_next in turns:
        take(MESSAGES if messages_next else CONSENTS)
    while waiting[MESSAGES] or waiting[CONSENTS]:
        take(MESSAGES if waiting[MESSAGES] else CONSENTS)
    return log
