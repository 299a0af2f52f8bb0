"""The way of one message: turn → permit → call → end of turn → settle → events. What answers mean is decided in `decisions`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

from schemas import clock, ids
from schemas.constants import Times
from schemas.content import Content
from schemas.events.statuses import PART_FAILED, MessageRejected
from schemas.settings import TenantSettings
from streams.kafka.producer import AsyncProducer, ProduceFailed
from streams.kafka.settings_follower import SettingsFollower
from streams.step.contract import Output
from streams.step.deadletter import dead_letter
from vault.claims import Settlement
from vault.connections import AccountCredentials, AccountLimits
from vault.outcomes import Corrupt
from vault.permits import Permit, PermitRequest
from vault.vault import Vault
from workers.channel import Channel, Failed, Submitted, Unclear, echo_of
from workers.outbound import about_person, decisions, measures, rendering, sealers, statuses
from workers.outbound.accounts import Accounts
from workers.outbound.commands import Message
from workers.outbound.decisions import Again, Call, Drop, Finish, Next, WriteAgain
from workers.outbound.faults import is_vaults, where
from workers.outbound.gate import AWAY, AWAY_MAX_S, Draft, Interrupted, VaultGate
from workers.outbound.provider import Attempted, Broken, NoAnswer, NotSent, ProviderCalls
from workers.outbound.turns import Pace, Turns
from workers.outbound.waits import Waits

logger = logging.getLogger(__name__)
GOLDEN_RATIO = 0.618033988749895
NO_LIMITS = AccountLimits()
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the sender works with; all made by the worker, inside its event loop."""

    vault: Vault
    gate: VaultGate
    accounts: Accounts
    turns: Turns
    calls: ProviderCalls
    producer: AsyncProducer
    settings: SettingsFollower
    channels: Mapping[str, Channel]
    times: Times
    public_url: str = ""
    paces: dict[tuple[str, AccountLimits], Pace] = field(default_factory=dict)

    def pace(self, channel: str, access: AccountCredentials | None) -> Pace:
        """How fast an account of this channel may send."""
        key = channel, NO_LIMITS if access is None else access.limits
        found = self.paces.get(key)
        if found is None:
            found = self.paces[key] = Pace.of(self.channels[channel].capabilities, key[1])
        return found


@dataclass(slots=True)
class _Way:
    """What is known of one message on its way. `asked`: tries without a call in a row. `permit`: held and not settled yet.
    `called`: since then the provider may have been called. `fault`: the kind of error for which the message is ended instead of
    sent; `unclaimed`: and the vault has no claim for it. `vault_faults`: in a row. `holed`:
    a part of the message before this one was not sent."""

    asked: int = 0
    permit: Permit | None = None
    called: bool = False
    holed: bool = False
    fault: str | None = None
    unclaimed: bool = False
    vault_faults: int = 0


class Sender:
    """Brings one message at a time of a lane to its end.

    A message that meets a fault of this program or of a channel ends too: settled as failed, or as unknown where a call may
    have been made, with its status, and kept as a dead letter. For a fault of the vault it waits.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._jitter = ids.random_unit()

    async def send(self, message: Message, waits: Waits) -> bool:
        """True when the message needs nothing any more, False when its partition was lost first.

        ProduceFailed when Kafka refuses for good; any other error when the message cannot even be given a status.
        """
        way = _Way()
        while not waits.interrupted:
            try:
                if way.fault is None:
                    decided = await self._try(message, waits, way)
                else:
                    decided = await self._end(message, waits, way, way.fault)
            except Interrupted:
                return False
            except ProduceFailed:
                raise
            except Exception as error:  # noqa: BLE001  # whatever one message meets, it must come to an end
                decided = self._on_fault(message, way, error)
            else:
                way.permit, way.called, way.vault_faults = None, False, 0
            if decided is None:
                return True
            way.asked = way.asked + 1 if decided.settle is None or decided.why == "turn" else 0
            if decided.after_s > 0:
                with measures.parked(message.channel, decided.why):
                    await waits.sleep(decided.after_s)
        return False

    def _on_fault(self, message: Message, way: _Way, error: Exception) -> Again:
        """Wait, where the vault is at fault; else go on towards the message's end, with less at each step."""
        if is_vaults(error):
            way.vault_faults += 1
            if way.vault_faults == 1:
                logger.error("the vault cannot answer for command %s: %s", message.event.id, where(error))
            return Again(decisions.backoff_s(way.vault_faults, self._next_jitter()), "vault_fault")
        logger.error("command %s could not be handled: %s", message.event.id, where(error))
        if way.unclaimed:
            raise error
        way.unclaimed = way.fault is not None
        way.fault = way.fault or type(error).__name__
        return Again(0.0, "lost")

    def _next_jitter(self) -> float:
        """Evenly spread in [0, 1), from a random start: cheaper than a random number a message, and as good for waits."""
        self._jitter = (self._jitter + GOLDEN_RATIO) % 1.0
        return self._jitter

    async def _try(self, message: Message, waits: Waits, way: _Way) -> Again | None:
        """Once through: None when the message has its end, else how long to wait."""
        if self._settings_missing(message):
            return Again(decisions.poll_s(way.asked), "settings")
        left_s = (message.expires_ms - clock.now_ms()) / clock.MS_PER_S
        access = None
        try:
            way.holed = await self._part_ended(message)
            if left_s > 0:
                access = await self._parts.accounts.credentials(message.command.account)
        except AWAY:
            return Again(decisions.POLL_MAX_S, "vault_away")
        turn = left_s > 0 and await self._turn(message, access, waits, left_s)
        try:
            if waits.interrupted and not turn:
                return Again(0.0, "lost")
            decided, permit = await self._ask_and_call(message, waits, way, access, turn=turn)
        finally:
            if turn:
                # A turn stands for a call that may run, and it is over: settling and writing need no place among the calls.
                self._parts.turns.release(message.command.account)
        return await self._conclude(message, decided, permit, waits)

    async def _ask_and_call(
        self, message: Message, waits: Waits, way: _Way, access: AccountCredentials | None, *, turn: bool
    ) -> tuple[Next, Permit | None]:
        """What needs a turn: permit and call. What its answer means for the whole account takes effect before the turn ends."""
        decided = await self._ask(message, waits, way.asked)
        if isinstance(decided, Call) and way.holed:
            verdict = statuses.Verdict(MessageRejected, reason=PART_FAILED)
            decided = Finish("rejected", verdict, decided.permit.attempt)
        if not isinstance(decided, Call):
            if turn:
                self._parts.turns.give_back(message.command.account, message.event.subject)
            return decided, None
        way.permit = permit = decided.permit
        if waits.interrupted or not turn:
            # Nobody waits for this permit any more, or no turn was free before the end: release it, so that it is not
            # taken for a call.
            return Again(decisions.poll_s(way.asked), "turn", "retry", permit.attempt), permit
        attempted = await self._call(message, permit, access, way)
        self._count(message, attempted)
        after = decisions.on_attempt(
            attempted,
            permit.attempt,
            self._next_jitter(),
            permitted_ms=permit.granted_at_ms,
            again=permit.again,
        )
        if isinstance(after, Again):
            self._slow_down(message.command.account, after)
        return after, permit

    async def _end(self, message: Message, waits: Waits, way: _Way, fault: str) -> Again | None:
        """End a message that met a fault. Its end needs a claim, so that a redelivery cannot send it after all."""
        permit = way.permit
        if permit is None and not way.unclaimed:
            decided = await self._ask(message, waits, way.asked)
            if not isinstance(decided, Call):
                return await self._conclude(message, decided, None, waits)
            way.permit = permit = decided.permit
        attempt = 0 if permit is None or way.unclaimed else permit.attempt
        called = way.called or (permit is not None and permit.again)
        return await self._conclude(message, decisions.on_fault(fault, attempt, called=called), permit, waits)

    async def _part_ended(self, message: Message) -> bool:
        """True where an earlier part was not sent: what is behind it is not sent either, a text with a hole is none. The lane
        has ended all earlier parts by now, and what a part ended as stays in the vault."""
        command = message.command
        if command.part == 0:
            return False
        return await self._parts.gate.look_up(
            partial(self._parts.vault.part_ended, command.message, command.part)
        )

    async def _turn(
        self, message: Message, access: AccountCredentials | None, waits: Waits, left_s: float
    ) -> bool:
        account, subject = message.command.account, message.event.subject
        pace = self._parts.pace(message.channel, access)
        return await self._parts.turns.take(
            account, subject, pace, bulk=message.bulk, waits=waits, limit_s=left_s
        )

    async def _ask(self, message: Message, waits: Waits, asked: int) -> Next:
        """A permit, with a token of its own: only a repetition after a lost answer is the same question."""
        try:
            asking = permit_request(message, ids.random_token(), self._parts.channels[message.channel])
            answer = await self._parts.gate.permit(asking, waits)
        except Interrupted:
            return Again(0.0, "lost")
        if isinstance(answer, Permit):
            measures.stage("permit").observe(_age_s(message))
        decided = decisions.on_answer(answer, asked, self._next_jitter())
        if isinstance(decided, Call) and message.ahead_s > self._parts.times.clock_skew_s:
            # Its expiry is wrong by as much. The permit's claim holds its place, so that a redelivery is not sent after all.
            return Finish(
                "rejected", statuses.Verdict(MessageRejected, reason="clock"), decided.permit.attempt
            )
        return decided

    async def _call(
        self, message: Message, permit: Permit, access: AccountCredentials | None, way: _Way
    ) -> Attempted:
        content = await self._own_text(message) if message.block is None else self._content(message, permit)
        if isinstance(content, NotSent):
            return content
        if access is None:
            return NotSent("no_account")
        if permit.again:
            measures.unknown(message.channel).inc()
            measures.duplicate(message.channel).inc()
        measures.until_call(message.channel, message.bulk).observe(_age_s(message))
        began_s = clock.boot_s()
        way.called = True
        attempted = await self._parts.calls.deliver(
            self._parts.channels[message.channel],
            content,
            permit.address,
            access,
            echo=echo_of(message.command.message, message.command.part),
            deadline_s=permit.deadline_s,
        )
        if not isinstance(attempted, NotSent):
            measures.stage("provider").observe(clock.boot_s() - began_s)
        way.called = not isinstance(attempted, NotSent | Failed)
        return attempted

    async def _own_text(self, message: Message) -> Content | NotSent:
        settings, text, url = self._settings(message), message.command.text, ""
        if text is not None and text.id == rendering.PREFERENCES and self._parts.public_url:
            tenant, subject = message.event.tenant, message.event.subject
            key = await asyncio.to_thread(self._parts.vault.preference_key, tenant, subject)
            url = f"{self._parts.public_url}/optin/preferences/{tenant}/{key}"
        return rendering.own_text(message, settings, url) or NotSent("unsupported")

    def _content(self, message: Message, permit: Permit) -> Content | NotSent:
        block = message.block
        assert block is not None, "one of our own texts has no block"
        if permit.content_key is None:
            return NotSent("corrupt")
        opened = rendering.open_content(message, block, permit.content_key)
        if isinstance(opened, Corrupt):
            measures.opened("corrupt").inc()
            logger.error("content of command %s does not open: %s", message.event.id, opened.reason)
            return NotSent("corrupt")
        measures.opened("plain").inc()
        return opened.value

    def _settings(self, message: Message) -> TenantSettings:
        tenant = message.event.tenant
        return self._parts.settings.tenant(tenant) or TenantSettings(tenant)

    def _settings_missing(self, message: Message) -> bool:
        """True while the settings that the writer of the command had seen have not arrived here, for a bounded time."""
        wanted = message.command.settings
        if wanted is None or self._parts.settings.offset >= wanted:
            return False
        return clock.now_ms() - message.asked_ms < self._parts.times.basis_wait_s * clock.MS_PER_S

    async def _conclude(
        self, message: Message, decided: Next, permit: Permit | None, waits: Waits
    ) -> Again | None:
        """Settle, write, or leave it for later, as decided."""
        match decided:
            case Finish():
                stored = await self._settle(message, self._draft(message, decided, permit), waits)
                if decided.outcome == "unknown":
                    measures.unknown(message.channel).inc()
                await self._end_with(message, stored, waits)
                return None
            case WriteAgain():
                await self._end_with(message, decided.outputs, waits)
                return None
            case Again():
                if decided.settle is not None:
                    await self._settle(message, self._retry(message, decided.attempt), waits)
                return decided
            case Drop():
                if message.block is not None:
                    measures.opened("erased").inc()
                return None
            case Call():
                return None

    def _slow_down(self, account: str, again: Again) -> None:
        """Hold or pause the account where the provider's answer asks for it."""
        if again.hold_s > 0:
            self._parts.turns.hold(account, again.hold_s)
        if again.alarm:
            logger.warning(
                "the provider asks for attention to account %s: %s", account, again.pause or again.why
            )
        if again.pause is not None:
            self._parts.accounts.forget(account)
            self._parts.turns.pause(account, again.pause)

    async def _settle(self, message: Message, draft: Draft, waits: Waits) -> tuple[Output, ...]:
        return await self._keep_on(message, waits, lambda: self._parts.gate.settle(draft))

    async def _keep_on(self, message: Message, waits: Waits, record: Callable[[], Awaitable[Kept]]) -> Kept:
        """What is known of a call is not forgotten because the vault cannot take it now. Interrupted when the partition is lost
        meanwhile: the claim is then for its next owner to judge."""
        tries = 0
        while True:
            try:
                return await record()
            except Exception as error:
                if not (is_vaults(error) or isinstance(error, AWAY)):
                    raise
                tries += 1
                if tries == 1:
                    logger.error("an outcome of command %s waits: %s", message.event.id, where(error))
            with measures.parked(message.channel, "vault_fault"):
                if not await waits.sleep(decisions.backoff_s(tries, self._next_jitter())):
                    raise Interrupted

    def _retry(self, message: Message, attempt: int) -> Draft:
        command = message.command
        settlement = Settlement(message.event.tenant, command.message, command.part, attempt, "retry")
        return lambda: settlement

    def _draft(self, message: Message, finish: Finish, permit: Permit | None) -> Draft:
        """How the settlement is made, in a thread; the time of the decision is taken now."""
        event, command, verdict = message.event, message.command, finish.verdict
        vault, times = self._parts.vault, self._parts.times
        at_ms = clock.now_ms()
        purposes = self._settings(message).consent_purposes() if verdict.opted_out else ()
        sealer = sealers.sealer(vault, message, permit)

        def draft() -> Settlement:
            id_key = vault.tenant_ids(event.tenant)
            outputs = statuses.outputs(
                message,
                verdict,
                purposes=purposes,
                attempt=finish.attempt,
                at_ms=at_ms,
                id_key=id_key,
                sealer=sealer,
            )
            if finish.fault is not None:
                outputs = (*outputs, dead_letter(message.record, statuses.ROLE, finish.fault, times))
            index = None
            if verdict.provider_id is not None:
                index = vault.provider_index(event.tenant, message.channel, verdict.provider_id)
            part = (event.tenant, command.message, command.part)
            return Settlement(*part, finish.attempt, finish.outcome, outputs, index)

        return draft

    async def _end_with(self, message: Message, stored: tuple[Output, ...], waits: Waits) -> None:
        """Write a stored outcome. What it says about the person holds before it is told."""
        if about_person.concerns(stored):
            heed = partial(about_person.heed, self._parts.vault, stored)
            stored = await self._keep_on(message, waits, lambda: self._parts.gate.look_up(heed))
        await self._write(await self._completed(message, stored))

    async def _completed(self, message: Message, stored: tuple[Output, ...]) -> tuple[Output, ...]:
        """The outcome as stored, with what inbound could not know when it settled in our place."""
        if message.command.on_submitted is None:
            return stored
        while True:
            try:
                id_key = await self._parts.gate.look_up(
                    partial(self._parts.vault.tenant_ids, message.event.tenant)
                )
            except AWAY:
                await asyncio.sleep(AWAY_MAX_S)
            else:
                return statuses.with_confirmation(message, stored, id_key)

    async def _write(self, outputs: Sequence[Output]) -> None:
        """Produce and wait for the acks; ProduceFailed ends the process: what is settled is written again by the next one."""
        await self._parts.producer.send_all(outputs)
        measures.written(outputs)

    def _count(self, message: Message, attempted: Attempted) -> None:
        name = attempted.failure_class if isinstance(attempted, Failed) else _NAMES[type(attempted)]
        measures.result(message.channel, name).inc()
        if isinstance(attempted, Submitted) or (isinstance(attempted, Failed) and _account_works(attempted)):
            self._parts.turns.resume(message.command.account)


_NAMES: Mapping[type, str] = {
    Submitted: "submitted",
    Unclear: "unclear",
    NoAnswer: "no_answer",
    NotSent: "not_sent",
    Broken: "broken",
}


def _account_works(failed: Failed) -> bool:
    return failed.failure_class not in ("AUTH", "ACCOUNT")


def _age_s(message: Message) -> float:
    """Seconds since the command was written."""
    return max(0, clock.now_ms() - message.record.time_ms) / clock.MS_PER_S


def permit_request(message: Message, token: str, channel: Channel) -> PermitRequest:
    """The question to the vault for this message. Where the channel knows no service window, nothing needs one."""
    command, event, block = message.command, message.event, message.block
    needs_window = command.kind != "template" and channel.capabilities.window_s is not None
    kind: Literal["free_form", "template"] = "free_form" if needs_window else "template"
    return PermitRequest(
        tenant=event.tenant,
        subject=event.subject,
        message=command.message,
        part=command.part,
        account=command.account,
        channel=message.channel,
        purpose=command.purpose,
        kind=kind,
        requested_at_ms=message.asked_ms,
        expires_ms=message.expires_ms,
        delivery=command.delivery,
        token=token,
        basis=command.basis,
        settings=command.settings,
        content_gen=None if block is None else block.gen,
        partition=message.record.partition,
        template=command.template,
        language=command.language,
    )
