"""Permits: may this message go now? Address, content key and claim together, or a refusal with its reason (DESIGN §7).

Order of the answers: erased · settled before · refused before · under way elsewhere (busy, echo, unknown) · what the
conditions say. A claim comes before a refusal because a message that went out must not be called rejected afterwards.

A worker that was killed leaves an open claim. It is `busy` until lease + HTTP limit + 1 s have passed on the database's clock
(whoever had it cannot call any more), then waits for the provider's echo, then is unknown: with at_most_once that is its end,
with at_least_once the next attempt is granted.

Claims are not in backups: after a restore or a promotion, what was asked for before is `Unknown`.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas import metrics
from schemas.addresses import Address
from schemas.clock import MS_PER_S, boot_s
from schemas.events.messages import Delivery
from schemas.ids import is_id, message_day
from schemas.reasons import RefusalReason, WaitReason
from streams.step.contract import Output
from streams.step.store import decode_outputs
from vault.base import TenantSecrets, as_json
from vault.binding import address_place
from vault.claims import ClaimsPart, Settlement
from vault.errors import KeyRefused
from vault.keyring import unwrap, unwrap_checked
from vault.keys import key_place
from vault.sealing import IDENTITY_GENERATION
from vault.takeover import ClockWatch

LOG = logging.getLogger(__name__)
PERMITS_MAX = 500
RETRY_S: dict[WaitReason, float] = {
    "vault_behind": 1.0, "basis": 0.5, "settings": 0.5, "busy": 1.0, "echo": 1.0, "vault_fault": 20.0,
}  # fmt: skip
"""When to ask again where the database names no time. A damaged key waits for an operator; each question may cost an attempt,
and their number (below 2**15) must last for a message's longest life."""
NO_ID = "0" * 32
_ASK = """
select n, verdict, reason, attempt, retry_ms, age_ms, now_ms, kind, address, identity, identity_kcv, content, content_kcv, outputs
from vault.permits(%s::json, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class PermitRequest:
    """One (message, part) whose call can start at once.

    `kind` "free_form" needs an open window, "template" does not. `basis`: id of the consent event relied on. `settings`:
    offset in `tenants` that the writer had seen. Times in milliseconds. `token`: a random word per attempt
    (`schemas.ids.random_token`): the same question with the same token gets the same answer while the lease lasts; another
    token is another question, made anew. `content_gen`: generation of the content block to open, None when there is none.
    `template` and `language` name the template, where it is one: the provider may have taken it back.
    `partition`: the command's partition number; without it the slowest partition of the follower decides.
    """

    tenant: str
    subject: str
    message: str
    part: int
    account: str
    channel: str
    purpose: str
    kind: Literal["free_form", "template"]
    requested_at_ms: int
    expires_ms: int
    delivery: Delivery
    token: str
    basis: str | None = None
    settings: int | None = None
    content_gen: str | None = None
    template: str | None = None
    language: str | None = None
    partition: int | None = None
    made_s: float = field(default_factory=boot_s, compare=False)
    """Boot second at which it was made: no claim of its token is older."""


@dataclass(frozen=True, slots=True)
class Permit:
    """Go. `deadline_s` (boot clock, `schemas.clock.boot_s`): check before each provider request; past it, settle as `retry`
    and ask again with a new token. `address` and `content_key` must not outlive it. `granted_at_ms`: database clock."""

    address: Address
    content_key: bytes | None
    attempt: int
    deadline_s: float
    granted_at_ms: int
    again: bool = False
    """An attempt before this one has an outcome that nobody knows: the message may go out twice (at_least_once only)."""

    def __repr__(self) -> str:
        return f"Permit(attempt={self.attempt})"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Never. Write the status, after settling it (`rejected` or `expired`) under `attempt`; `erased` has attempt 0 and gets
    neither status nor settlement. Attempt 0 with another reason: the day is over the horizon; settling it stores nothing."""

    reason: RefusalReason
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: ask again in `retry_after_s`, with a new token. `vault_fault`: a key of the living subject is missing or was
    exchanged; the message waits for its repair until it expires."""

    reason: WaitReason
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Settled:
    """This (message, part) has its outcome: produce `outputs` again and call nobody."""

    outputs: tuple[Output, ...]

    def __repr__(self) -> str:
        return f"Settled({len(self.outputs)} outputs)"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A call was or may have been made and nobody knows its outcome, and it may not be repeated: settle `unknown` under
    `attempt` with MessageUnknown."""

    attempt: int


Answer = Permit | Refusal | Wait | Settled | Unknown


class PermitsPart(ClaimsPart):
    """The gate."""

    def _start_parts(self) -> None:
        super()._start_parts()
        self._clock_watch = ClockWatch(self.times.takeover_s)
        self._permits_total = metrics.counter("sealpost_permits_total")
        self._corrupt = metrics.counter("sealpost_opens_total").labels("corrupt")

    def permits(self, requests: Sequence[PermitRequest]) -> list[Answer]:
        """Answer up to 500 requests in one round trip, in order; more are cut into batches of 500. Blocking: call it in a
        thread. A tenant without keys has no DPA here: `no_dpa`, attempt 0."""
        answers: list[Answer] = []
        for start in range(0, len(requests), PERMITS_MAX):
            answers += self._permits(requests[start : start + PERMITS_MAX])
        counts = Counter(
            (type(answer).__name__.lower(), getattr(answer, "reason", ""), request.tenant)
            for request, answer in zip(requests, answers, strict=True)
        )
        for labels, count in counts.items():
            self._permits_total.labels(*labels).inc(count)
        corrupt = sum(isinstance(answer, Wait) and answer.reason == "vault_fault" for answer in answers)
        if corrupt:
            LOG.error("%d permits wait: keys of living subjects are missing or were exchanged", corrupt)
            self._corrupt.inc(corrupt)
        return answers

    def _permits(self, requests: Sequence[PermitRequest]) -> list[Answer]:
        secrets = self._known_secrets({request.tenant for request in requests})
        answers: list[Answer] = [
            Refusal("expired" if request.tenant in secrets else "no_dpa") for request in requests
        ]
        rows = [
            row
            for n, request in enumerate(requests)
            if request.tenant in secrets and (row := _as_row(n, request)) is not None
        ]
        if not rows:
            return answers
        asked_s = boot_s()
        found = self._ask(rows, asked_s)
        self._clock_watch.saw(asked_s, boot_s(), found[0][6])
        unopened: list[Settlement] = []
        for n, *columns in found:
            request = requests[n]
            answers[n] = self._answer(request, secrets[request.tenant], asked_s, columns)
            if columns[0] == "permit" and isinstance(answers[n], Wait):
                unopened.append(
                    Settlement(request.tenant, request.message, request.part, columns[2], "retry")
                )
        if unopened:
            self.settle(unopened)
        return answers

    def _ask(self, rows: list[dict[str, Any]], asked_s: float) -> list[tuple[Any, ...]]:
        times, watch = self.times, self._clock_watch
        limits = (
            times.lease_outbound_s, times.takeover_s, times.echo_s, times.follower_behind_s, times.basis_wait_s,
            times.window_s - times.window_margin_s,
        )  # fmt: skip
        milliseconds: list[int | None] = [round(limit * MS_PER_S) for limit in limits]
        milliseconds += [watch.expected_ms(asked_s), watch.agreed_ms(asked_s), ClockWatch.STEP_MS]
        with self._statement() as cursor:
            cursor.execute(_ASK, [as_json(rows), *milliseconds], binary=True)
            return cursor.fetchall()

    def _answer(
        self, request: PermitRequest, secrets: TenantSecrets, asked_s: float, columns: list[Any]
    ) -> Answer:
        verdict, reason, attempt, retry_ms, age_ms, now_ms, *sealed, outputs = columns
        match verdict:
            case "permit":
                try:
                    reached, key = _keys(request, secrets, sealed)
                except KeyRefused as error:
                    LOG.error("a permit waits: %s", error)
                    return Wait("vault_fault", RETRY_S["vault_fault"])
                deadline_s = asked_s + self.times.lease_outbound_s - age_ms / MS_PER_S
                return Permit(reached, key, attempt, deadline_s, now_ms, again=reason == "again")
            case "refuse":
                return Refusal(reason, attempt)
            case "settled":
                return Settled(tuple(decode_outputs(outputs)))
            case "unknown":
                return Unknown(attempt)
            case _:
                return Wait(reason, RETRY_S[reason] if retry_ms is None else retry_ms / MS_PER_S)


def _as_row(n: int, request: PermitRequest) -> dict[str, Any] | None:
    """The request for the database; None when its message id names no day (then it is over every horizon)."""
    try:
        day = message_day(request.message)
    except ValueError:
        return None
    return {
        "n": n,
        "tenant": request.tenant,
        "subject": request.subject if is_id(request.subject) else NO_ID,
        "message": request.message,
        "part": request.part,
        "day": day.isoformat(),
        "account": request.account,
        "channel": request.channel,
        "purpose": request.purpose,
        "free_form": request.kind == "free_form",
        "requested": request.requested_at_ms,
        "expires": request.expires_ms,
        "once": request.delivery == "at_most_once",
        "token": request.token,
        "basis": request.basis if request.basis is None or is_id(request.basis) else NO_ID,
        "settings": request.settings,
        "gen": request.content_gen,
        "partition": request.partition,
        "template": request.template,
        "language": request.language,
        "waited": round((boot_s() - request.made_s) * MS_PER_S),
    }


def _keys(
    request: PermitRequest, secrets: TenantSecrets, sealed: Sequence[Any]
) -> tuple[Address, bytes | None]:
    """Address and content key out of their wrappings; KeyRefused when one is exchanged."""
    kind, address, identity, identity_kcv, content, content_kcv = sealed
    tenant, subject = request.tenant, request.subject
    place = key_place(tenant, subject, "identity", IDENTITY_GENERATION)
    identity_key = unwrap_checked(secrets.key, place, identity, identity_kcv)
    value = unwrap(identity_key, address_place(tenant, subject, request.channel, kind), address)
    key = None
    if request.content_gen is not None:
        content_place = key_place(tenant, subject, "content", request.content_gen)
        key = unwrap_checked(secrets.key, content_place, content, content_kcv)
    return Address(request.channel, kind, value.decode()), key
