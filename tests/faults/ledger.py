"""The ledger: what must be true after any sequence of faults, judged from the log and from the provider's own record.

Nothing here asks a role what it did. The truth is what lies in Kafka, what the simulator accepted (each request carries our echo,
`message.part`), what was promised by HTTP answers, and, for the stores, that they equal a fold of the log made here anew. A
rule yields findings; no findings means that it held. Pure: `ledger_reading` brings the truth from a running installation.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from schemas.clock import to_ms
from schemas.events.statuses import Status, join

Kind = Literal["start", "yes", "no", "stop"]
STATUS_TYPES: Mapping[str, Status] = {
    f"sealpost.message.{status}.v1": status
    for status in ("submitted", "sent", "delivered", "read", "rejected", "failed", "expired", "unknown")
}
ENDS: frozenset[Status] = frozenset(("sent", "delivered", "read", "rejected", "failed", "expired", "unknown"))
WITH_REASON: frozenset[Status] = frozenset(("rejected", "failed", "expired"))
NEVER_SENT: frozenset[Status] = frozenset(("rejected", "expired"))
OPTIN_MS = 7 * 86_400_000
CONSENT_PURPOSE = "newsletter"
UNREAD_MS = 15_000
"""So long a withdrawal may lie unread in a raw topic before the gate waits for it (decision 051): 10 s, and what a look at the
ends of the logs may be old."""
REQUESTED, COMMAND = "sealpost.message.requested.v1", "sealpost.send.command.v1"
RECEIVED, CREATED = "sealpost.message.received.v1", "sealpost.subject.created.v1"
GIVEN, WITHDRAWN = "sealpost.consent.given.v1", "sealpost.consent.withdrawn.v1"
DESTROYED, ERASED = "sealpost.key.destroyed.v1", "sealpost.subject.erased.v1"


@dataclass(frozen=True, slots=True)
class Logged:
    """One record of the log; `digest` stands for its bytes, `data` holds its clear fields."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    id: str
    type: str
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request that the provider accepted, in the order of acceptance."""

    echo: str
    at_ms: int
    reported: bool = True
    """The provider says what becomes of it; without, submitted is the last that anybody hears."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claim of the vault with its outcome (None: nobody wrote one)."""

    message: str
    part: int
    attempt: int
    at_ms: int
    refusal: str | None = None
    outcome: str | None = None
    outcome_ms: int = 0

    @property
    def echo(self) -> str:
        """How the provider's record names the message."""
        return f"{self.message}.{self.part}"

    def open_at(self, at_ms: int) -> bool:
        """Granted, and nobody knew then how its call ended; a frozen worker may tell later."""
        return self.refusal is None and (self.outcome in (None, "unknown") or self.outcome_ms >= at_ms)


@dataclass(frozen=True, slots=True)
class Allowed:
    """A permission as a store has it: times of acts in milliseconds, 0 when there was none."""

    given_ms: int = 0
    withdrawn_ms: int = 0

    @property
    def active(self) -> bool:
        """The rule of protocols §5."""
        return self.given_ms > self.withdrawn_ms

    def is_right(self, wanted: "Allowed") -> bool:
        """What is withdrawn in the end may lack the last yes: topics have no common order, so a stop may have been heard before
        the question that it closed."""
        if self.withdrawn_ms != wanted.withdrawn_ms:
            return False
        return self.given_ms == wanted.given_ms or (not wanted.active and self.given_ms < wanted.given_ms)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to a process or a part."""

    at_ms: int
    what: str
    whom: str


@dataclass
class Truth:
    """Everything the rules look at."""

    log: Sequence[Logged] = ()
    """Of all topics; within a partition in order."""
    deliveries: Sequence[Delivery] = ()
    accepted: Mapping[str, str] = field(default_factory=dict)
    """Message → delivery, of requests answered 202."""
    written: Mapping[str, bool] = field(default_factory=dict)
    """Event id that a person's message must have → whether its webhook was answered 2xx."""
    erasures: frozenset[str] = frozenset()
    """Subjects whose erasure was answered 202."""
    attempts: Sequence[Attempt] = ()
    permissions: Mapping[str, Mapping[str, Allowed]] = field(default_factory=dict)
    """Store → subject → permission of the consent purpose."""
    statuses: Mapping[str, Status] = field(default_factory=dict)
    """Message → status that the projection shows."""
    left_behind: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Store → erased subject → rows that still name it."""
    faults: Sequence[Fault] = ()
    call_ms: int = 26_000
    """How long a granted claim may have its call: lease + HTTP limit + margin."""
    step_ms: int = 0
    """By how much clocks were made to differ: comparisons between clocks allow for it."""

    def of_type(self, *types: str) -> Iterator[Logged]:
        """Records of these types, each event id once."""
        seen: set[str] = set()
        for record in self.log:
            if record.type in types and record.id not in seen:
                seen.add(record.id)
                yield record

    def destroyed(self) -> dict[str, int]:
        """Subject → T1, of everybody who was erased."""
        return {record.subject: to_ms(record.data["t1"]) for record in self.of_type(DESTROYED)}

    def finals(self) -> dict[str, Status]:
        """Message → join of its status events."""
        found: dict[str, Status] = {}
        for record in self.of_type(*STATUS_TYPES):
            status = STATUS_TYPES[record.type]
            message = str(record.data["message"])
            found[message] = join(found.get(message, status), status)
        return found


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that did not hold."""

    rule: str
    words: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.words}"


Rule = Callable[[Truth], Iterator[str]]


def one_id_one_content(truth: Truth) -> Iterator[str]:
    """What is written again is the same in every byte: it was recorded, not decided anew."""
    first: dict[tuple[str, str], str] = {}
    for record in truth.log:
        if first.setdefault((record.topic, record.id), record.digest) != record.digest:
            yield f"{record.topic}: two contents under id {record.id} ({record.type})"


def nothing_dead_lettered(truth: Truth) -> Iterator[str]:
    """No input of these runs is bad: a dead letter is an event lost to a fault."""
    for record in truth.log:
        if record.topic.endswith("deadletters"):
            yield f"{record.data.get('role')}: {record.data.get('origin')} ({record.data.get('reason')})"


def everything_has_its_end(truth: Truth) -> Iterator[str]:
    """What was accepted is asked for, and ends, with a reason where the provider did not take it; nobody is called rejected to
    whom it was sent, or sent to whom it was not."""
    finals, erased = truth.finals(), truth.destroyed()
    requested = {str(record.data["message"]): record for record in truth.of_type(REQUESTED)}
    reasons = {
        str(r.data["message"]): r.data.get("reason")
        for r in truth.of_type(*STATUS_TYPES)
        if STATUS_TYPES[r.type] in WITH_REASON
    }
    reached = {delivery.echo.rpartition(".")[0] for delivery in truth.deliveries}
    reported = {delivery.echo.rpartition(".")[0] for delivery in truth.deliveries if delivery.reported}
    for message in truth.accepted:
        if message not in requested:
            yield f"message {message} was answered 202 and never asked for in the log"
    for message, record in requested.items():
        final = finals.get(message)
        if record.subject in erased:
            continue
        if final not in ENDS and (final != "submitted" or message in reported):
            yield f"message {message} has no end: {final}"
        elif final in WITH_REASON and not reasons.get(message):
            yield f"message {message} is {final} without a reason"
        if final in NEVER_SENT and message in reached:
            yield f"message {message} is called {final}, and the provider took it"
        if final in ("submitted", "sent", "delivered", "read") and message not in reached:
            yield f"message {message} is called {final}, and the provider never saw it"
    for message in reached - requested.keys():
        yield f"message {message} reached the provider and was never asked for"


def nothing_twice_but_what_may(truth: Truth) -> Iterator[str]:
    """L5: a call a claim; a second one only with at_least_once, after an attempt that was open."""
    commands = {_echo(record): record for record in truth.of_type(COMMAND)}
    attempts = _attempts(truth)
    for echo, count in Counter(delivery.echo for delivery in truth.deliveries).items():
        granted = [attempt for attempt in attempts.get(echo, ()) if attempt.refusal is None]
        called = [attempt for attempt in granted if attempt.outcome != "retry"]
        command = commands.get(echo)
        if command is None:
            yield f"{echo} reached the provider without a command"
            continue
        if count > len(called):
            yield f"{echo} was delivered {count} times under {len(called)} claims that allow it: {_told(granted)}"
        if count > 1 and command.data.get("delivery") == "at_most_once":
            yield f"{echo} is at_most_once and was delivered {count} times: {_told(granted)}"
        if any(not one.open_at(following.at_ms) for one, following in pairwise(called)):
            yield f"{echo} was sent again after an attempt whose end was known: {_told(granted)}"


def lanes_are_in_order(truth: Truth) -> Iterator[str]:
    """L6: per account, subject and topic, what the provider took is in the order of the log; a repetition stays in its place."""
    place: dict[str, tuple[tuple[str, str, str], int]] = {}
    for record in truth.of_type(COMMAND):
        lane = (record.topic, str(record.data["account"]), record.subject)
        place[_echo(record)] = (lane, record.offset)
    newest: dict[tuple[str, str, str], int] = {}
    for delivery in truth.deliveries:
        if delivery.echo not in place:
            continue
        lane, offset = place[delivery.echo]
        if offset < newest.get(lane, -1):
            yield f"{delivery.echo} overtook: offset {offset} after {newest[lane]} of the lane"
        newest[lane] = max(offset, newest.get(lane, -1))


def statuses_are_the_join(truth: Truth) -> Iterator[str]:
    """L7: what the projection shows is the join of the status events, in whatever order they came."""
    erased = truth.destroyed()
    asked = {str(r.data["message"]): r.subject for r in truth.of_type(REQUESTED)}
    finals = truth.finals()
    for message, subject in asked.items():
        wanted, shown = finals.get(message, "requested"), truth.statuses.get(message)
        if subject not in erased and shown != wanted:
            yield f"message {message} is shown as {shown}, its events say {wanted}"


def permissions_are_the_fold_of_acts(truth: Truth) -> Iterator[str]:
    """Vault, projection and processor agree with what the persons said, in the order in which they said it, and with one
    another. Acts are dated by the broker's clock: where that stepped, their order is not theirs, and only the stores are
    compared."""
    acts, erased = _acts(truth), truth.destroyed()
    for store, found in truth.permissions.items() if not truth.step_ms else ():
        for subject in acts.keys() | found.keys():
            wanted = Allowed() if subject in erased else fold(acts.get(subject, ()))
            if not found.get(subject, Allowed()).is_right(wanted):
                yield f"{store}: subject {subject} has {found.get(subject)}, the acts say {wanted}"
    for subject in {subject for found in truth.permissions.values() for subject in found}:
        seen = {store: found.get(subject, Allowed()) for store, found in truth.permissions.items()}
        if len(set(seen.values())) > 1:
            yield f"stores differ about subject {subject}: {seen}"


def fold(acts: Sequence[tuple[int, Kind]]) -> Allowed:
    """The double opt-in in its simplest words: a yes counts for the open question, a stop ends everything before it."""
    asked = given = withdrawn = 0
    for at_ms, kind in sorted(acts):
        answers = 0 < asked < at_ms < asked + OPTIN_MS
        if kind == "start" and given <= withdrawn and at_ms > withdrawn:
            asked = at_ms
        elif kind == "yes" and answers:
            given, asked = at_ms, 0
        elif kind == "no" and answers:
            asked = 0
        elif kind == "stop":
            withdrawn, asked = at_ms, 0
    return Allowed(given, withdrawn)


def _acts(truth: Truth) -> dict[str, list[tuple[int, Kind]]]:
    """Subject → acts with their times, in the order of the log."""
    acts: dict[str, list[tuple[int, Kind]]] = defaultdict(list)
    for record in truth.of_type(RECEIVED):
        if record.data.get("intent") is not None:
            acts[record.subject].append((to_ms(record.data["acted_at"]), record.data["intent"]))
    return acts


def stops_without_effect(truth: Truth) -> list[str]:
    """Subjects whose last act is a stop and who may be written to all the same: a clock that stepped back dated the stop before
    the yes. No rule, for permissions are defined by the times of the acts (protocols §5); to be seen."""
    vault = truth.permissions.get("vault", {})
    return sorted(
        subject
        for subject, acts in _acts(truth).items()
        if acts[-1][1] == "stop" and vault.get(subject, Allowed()).active
    )


def webhooks_become_messages_once(truth: Truth) -> Iterator[str]:
    """L4: what was answered 2xx is received, once by id; nothing is received that nobody wrote."""
    received = {record.id for record in truth.of_type(RECEIVED)}
    for event, taken in truth.written.items():
        if taken and event not in received:
            yield f"a webhook answered 2xx never became message {event}"
    for event in received - truth.written.keys():
        yield f"message {event} was received and never written"


def persons_begin_once(truth: Truth) -> Iterator[str]:
    """Every subject that wrote has one SubjectCreated (review 13a)."""
    created = Counter(record.subject for record in truth.of_type(CREATED))
    for subject in {record.subject for record in truth.of_type(RECEIVED)} - created.keys():
        yield f"subject {subject} has no beginning"
    for subject, count in created.items():
        if count > 1:
            yield f"subject {subject} begins {count} times"


def withdrawn_means_no_permit(truth: Truth) -> Iterator[str]:
    """No claim of a message that needs consent is granted unless what was known by then gives it: the latest act decides, in
    whatever order the events were written (protocols §5). A yes is known when it is written, a withdrawal also before."""
    acts: dict[str, list[tuple[int, int, bool]]] = defaultdict(list)
    for record in truth.of_type(GIVEN, WITHDRAWN):
        acted_ms = to_ms(record.data["acted_at"])
        is_given = record.type == GIVEN
        known_ms = record.at_ms if is_given else min(record.at_ms, acted_ms + UNREAD_MS)
        acts[record.subject].append((known_ms, acted_ms, is_given))
    commands = {_echo(record): record for record in truth.of_type(COMMAND)}
    for attempt in truth.attempts:
        command = commands.get(attempt.echo)
        if command is None or command.data["purpose"] != CONSENT_PURPOSE or attempt.refusal is not None:
            continue
        by_then = [act for act in acts[command.subject] if act[0] + truth.step_ms < attempt.at_ms]
        given, withdrawn = (
            max((acted for _, acted, yes in by_then if yes is wanted), default=0) for wanted in (True, False)
        )
        given_soon = any(
            yes and abs(at_ms - attempt.at_ms) <= truth.step_ms for at_ms, _, yes in acts[command.subject]
        )
        if given <= withdrawn and not given_soon:
            yield f"{attempt.echo} got a permit without a consent in force"


def the_erased_are_gone(truth: Truth) -> Iterator[str]:
    """Every erasure that was taken ends; no store holds a row; no call runs after T1 + lease + HTTP limit."""
    destroyed, ended = truth.destroyed(), {record.subject for record in truth.of_type(ERASED)}
    for subject in truth.erasures - ended:
        yield f"the erasure of subject {subject} was answered 202 and has no end"
    for store, rows in truth.left_behind.items():
        for subject, count in rows.items():
            if count:
                yield f"{store} holds {count} rows of erased subject {subject}"
    subjects = {_echo(record): record.subject for record in truth.of_type(COMMAND)}
    for delivery in truth.deliveries:
        t1 = destroyed.get(subjects.get(delivery.echo, ""))
        if t1 is not None and delivery.at_ms > t1 + truth.call_ms + truth.step_ms:
            yield f"{delivery.echo} was delivered {delivery.at_ms - t1} ms after T1"


RULES: tuple[Rule, ...] = (
    one_id_one_content,
    nothing_dead_lettered,
    everything_has_its_end,
    nothing_twice_but_what_may,
    lanes_are_in_order,
    statuses_are_the_join,
    permissions_are_the_fold_of_acts,
    webhooks_become_messages_once,
    persons_begin_once,
    withdrawn_means_no_permit,
    the_erased_are_gone,
)


def judge(truth: Truth) -> list[Finding]:
    """Everything that does not hold."""
    return [Finding(rule.__name__, words) for rule in RULES for words in rule(truth)]


def second_deliveries(truth: Truth) -> list[str]:
    """What the provider got more than once, each with its attempts and the fault that is nearest to the open one."""
    attempts, lines = _attempts(truth), []
    for echo, count in Counter(delivery.echo for delivery in truth.deliveries).items():
        if count > 1:
            told = "; ".join(_with_fault(truth, attempt) for attempt in attempts[echo])
            lines.append(f"{echo} delivered {count} times: {told}")
    return lines


def unknown_messages(truth: Truth) -> list[str]:
    """Messages that ended as unknown."""
    return sorted(message for message, status in truth.finals().items() if status == "unknown")


def _attempts(truth: Truth) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(truth.attempts, key=lambda one: one.attempt):
        found[attempt.echo].append(attempt)
    return found


def _echo(command: Logged) -> str:
    return f"{command.data['message']}.{command.data.get('part', 0)}"


def _told(attempts: Sequence[Attempt]) -> str:
    return ", ".join(f"attempt {one.attempt} at {one.at_ms} {one.outcome or 'open'}" for one in attempts)


def _with_fault(truth: Truth, attempt: Attempt) -> str:
    told = _told([attempt])
    near = [f for f in truth.faults if -1_000 <= f.at_ms - attempt.at_ms <= truth.call_ms]
    if not near:
        return f"{told} (no fault near it)"
    fault = min(near, key=lambda one: (one.whom != "outbound", abs(one.at_ms - attempt.at_ms)))
    return f"{told} ({fault.what} of {fault.whom} {fault.at_ms - attempt.at_ms:+d} ms)"
