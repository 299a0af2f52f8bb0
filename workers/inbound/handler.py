"""The handler of role `inbound`: a batch of raw fragments in one step (DESIGN §9, protocols §1–§7)."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas import topics
from schemas.clock import MS_PER_S, now_ms
from schemas.constants import PRODUCTION, Times
from schemas.entry_tokens import FoundToken, token_hash
from schemas.errors import SealpostError
from schemas.metrics import counter, histogram
from streams.kafka.settings_follower import SettingsFollower
from streams.step.contract import Cursor, Effects, Item, Poison, Record
from streams.step.errors import DatabaseAway
from vault.claims import ClaimInfo, EchoSettlement
from vault.entry_tokens import TokenUse
from vault.errors import KeyRefused
from vault.permissions import Lower
from vault.subjects import ResolvedSender, Sender
from vault.vault import Vault
from workers import registry
from workers.channel import Channel, read_echo
from workers.inbound import parking
from workers.inbound.decisions import (
    RESUMED,
    Came,
    Decision,
    decide_message,
    decide_opt_out,
    decide_status,
    submitted_by_echo,
)
from workers.inbound.entries import entry_evidence, entry_of, token_in
from workers.inbound.fragments import UNREADABLE, FragmentReader, Received, kind_word
from workers.inbound.writing import ROLE, Work, emit, seal_all, write
from workers.inbound_values import (
    InboundAccountError,
    InboundMessage,
    InboundOptOut,
    InboundStatus,
    InboundUnsupported,
)

log = logging.getLogger(__name__)

NOTHING = Decision()
"""Nothing is to be written."""
SETTINGS_S = 10.0
"""Longest wait for the settings to be read to their end: at start, and for a tenant who is new."""


@dataclass(slots=True)
class _Input:
    """One item of a batch while it is handled. `tries`: 0 for a record, 1 and more for a wake of `kind`."""

    item: Item
    received: Received
    kind: str | None = None
    tries: int = 0
    who: ResolvedSender | None = None
    came: Came | None = None
    claim: ClaimInfo | None = None
    decision: Decision = NOTHING


class InboundHandler:
    """Handles `sealpost.inbound.<channel>` of all channels, in the vault database."""

    role = ROLE
    topics: tuple[str, ...] = tuple(topics.inbound(channel) for channel in topics.CHANNELS)
    priority_topic: str | None = None
    refuse_new_incarnation = True
    """After a restore an operator must say where to go on (protocols §7)."""

    def __init__(
        self,
        vault: Vault,
        settings: SettingsFollower,
        times: Times = PRODUCTION,
        *,
        channel: Callable[[str], Channel] = registry.channel,
    ) -> None:
        """`settings` must be started; it is read to its end before the first fragment is handled."""
        self._vault = vault
        self._settings = settings
        self._times = times
        self._settings_read = False
        self._reader = FragmentReader(vault, channel)
        self._values = counter("sealpost_inbound_values_total")
        self._dropped = counter("sealpost_inbound_dropped_total")
        self._withdrawal = histogram("sealpost_withdrawal_effect_seconds")
        self._delay = histogram("sealpost_stage_delay_seconds").labels("inbound")

    # ---- the contract -------------------------------------------------------------------------------------------------

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        """Open and parse; what cannot be read is Poison: one tenant's damaged key stops no other's fragments."""
        answers: list[Item | Poison] = []
        with self._reader.keys() as keys:
            for record in records:
                try:
                    received = self._reader.read(record, keys)
                except (*UNREADABLE, KeyRefused) as error:
                    answers.append(Poison(record, type(error).__name__))
                else:
                    answers.append(Item(received.id, record.partition, record.time_ms, received, record))
        self._await_settings({item.value.tenant for item in answers if isinstance(item, Item)})
        return answers

    def apply(self, cursor: Cursor, items: Sequence[Item], effects: Effects) -> None:
        """Resolve, decide, seal, write: everything once for the whole batch."""
        dropped: Counter[tuple[str, str]] = Counter()
        inputs = [found for item in items if (found := self._input(item, dropped)) is not None]
        self._resolve(cursor, inputs)
        self._use_tokens(cursor, inputs)
        self._find_claims(cursor, inputs)
        for found in inputs:
            found.decision = self._decide(found, effects, dropped)
        lowers: list[Lower] = [lower for found in inputs for lower in found.decision.lowers]
        if lowers:
            self._vault.lower_permissions(cursor, lowers)
            for found in inputs:
                if found.decision.lowers:
                    self._withdrawal.observe(max(0, now_ms() - found.received.at_ms) / MS_PER_S)
        works = [Work(found.item.partition, found.received, found.decision) for found in inputs]
        for work, written in zip(works, write(self._vault, cursor, works, effects), strict=True):
            if written.why is not None:
                dropped[work.received.channel, written.why] += 1
        self._settle(cursor, [found for found in inputs if found.kind is not None], effects)
        self._count(inputs, dropped)
        oldest_ms = min((item.now_ms for item in items if item.record is not None), default=None)
        if oldest_ms is not None:
            self._delay.observe(max(0, now_ms() - oldest_ms) / MS_PER_S)

    def poisoned(self, cursor: Cursor, poison: Poison, effects: Effects) -> None:
        """Nothing to mark: a raw fragment that cannot be read concerns nobody yet."""

    def caught_up(self, cursor: Cursor, partitions: Sequence[int]) -> None:
        """The gate relies on how far inbound is: what needs consent waits while a STOP may lie unread."""
        self._vault.inbound_read(cursor, self.topics, partitions)

    # ---- inside -------------------------------------------------------------------------------------------------------

    def _await_settings(self, tenants: set[str]) -> None:
        """Purposes must be known before STOP is understood. The agreement stood in the settings before the receiver took
        anything, so they are on their way."""
        if self._settings_read and all(self._settings.tenant(tenant) is not None for tenant in tenants):
            return
        try:
            self._settings.refresh(SETTINGS_S)
        except SealpostError as error:
            raise DatabaseAway(f"settings cannot be read: {error}") from None
        self._settings_read = True

    def _input(self, item: Item, dropped: Counter[tuple[str, str]]) -> _Input | None:
        """None for a wake that is over. KeyRefused goes to the engine, which dead-letters the wake alone."""
        if item.due is None:
            return _Input(item, item.value)
        try:
            with self._reader.keys() as keys:
                received = self._reader.read(parking.record_of(item.due), keys)
        except UNREADABLE as error:
            # It could be read when it was parked: its day key has died since.
            log.warning("a parked status cannot be read any more: %s", type(error).__name__)
            dropped["unknown", "unreadable"] += 1
            return None
        return _Input(item, received, item.due.kind, parking.tries_of(item.due))

    def _resolve(self, cursor: Cursor, inputs: Sequence[_Input]) -> None:
        """Who wrote, or forbade: one question for all."""
        asked: list[tuple[_Input, Sender]] = []
        for found in inputs:
            value, received = found.received.value, found.received
            if isinstance(value, InboundMessage) or (
                isinstance(value, InboundOptOut) and value.value == "stop"
            ):
                is_message = isinstance(value, InboundMessage)
                sender = Sender(
                    received.tenant,
                    received.channel,
                    received.account,
                    value.addresses,
                    value.name if isinstance(value, InboundMessage) else None,
                    received.at_ms,
                    value.provider_time_ms,
                    opens_window=is_message,
                )
                asked.append((found, sender))
        if not asked:
            return
        answers = self._vault.resolve_senders(cursor, [sender for _, sender in asked])
        for (found, _), who in zip(asked, answers, strict=True):
            found.who = who

    def _use_tokens(self, cursor: Cursor, inputs: Sequence[_Input]) -> None:
        """By which way people came: one question for all messages that hold a token."""
        held: list[tuple[_Input, FoundToken]] = []
        for one in inputs:
            value = one.received.value
            if isinstance(value, InboundMessage) and one.who is not None and not one.who.dropped:
                found = token_in(value)
                held += [(one, found)] if found is not None else []
        asked = [
            (one, TokenUse(one.received.tenant, token_hash(found.token), one.received.id, one.received.at_ms))
            for one, found in held
            if found.token is not None
        ]
        answers = self._vault.use_entry_tokens(cursor, [use for _, use in asked]) if asked else []
        used = {one.received.id: answer for (one, _), answer in zip(asked, answers, strict=True)}
        for one, found in held:
            entry = entry_of(found, used.get(one.received.id))
            one.came = Came(entry, entry_evidence(found, entry), found.rest)

    def _find_claims(self, cursor: Cursor, inputs: Sequence[_Input]) -> None:
        """Whose message a status is about: by our own echo, else by the provider's id."""
        statuses = [(f, f.received.value) for f in inputs if isinstance(f.received.value, InboundStatus)]
        echoes = {echo: None for found, value in statuses if (echo := read_echo(value.echo)) is not None}
        by_echo = self._vault.claims_of(cursor, list(echoes)) if echoes else {}
        asked: dict[tuple[str, str, str], list[_Input]] = {}
        for found, value in statuses:
            echo = read_echo(value.echo)
            claim = by_echo.get(echo) if echo is not None else None
            if claim is not None and claim.tenant == found.received.tenant:
                found.claim = claim
            else:
                key = (found.received.tenant, found.received.channel, value.provider_id)
                asked.setdefault(key, []).append(found)
        if asked:
            by_id = self._vault.by_provider_id(cursor, list(asked))
            for key, waiting in asked.items():
                for found in waiting:
                    found.claim = by_id.get(key)

    def _decide(self, found: _Input, effects: Effects, dropped: Counter[tuple[str, str]]) -> Decision:
        received = found.received
        match received.value:
            case InboundMessage() as value:
                assert found.who is not None
                purposes = self._purposes(received.tenant)
                return decide_message(received, value, found.who, purposes, found.came)
            case InboundOptOut(value="resume"):
                return RESUMED
            case InboundOptOut() as value:
                assert found.who is not None
                return decide_opt_out(received, value, found.who, self._purposes(received.tenant))
            case InboundStatus() as value:
                return self._decide_status(found, value, effects, dropped)
            case InboundAccountError() as value:
                log.warning(
                    "account %s: the provider reports error %d (%s)",
                    received.account,
                    value.code,
                    value.error_class,
                )
            case InboundUnsupported() as value:
                log.info("%s: %s (%s) is not handled", received.channel, value.field, value.provider_kind)
        return NOTHING

    def _decide_status(
        self, found: _Input, value: InboundStatus, effects: Effects, dropped: Counter[tuple[str, str]]
    ) -> Decision:
        received, partition = found.received, found.item.partition
        if found.kind == parking.SETTLE:
            return NOTHING
        if found.claim is not None:
            if not found.claim.has_outcome and found.kind is None:
                effects.wake(partition, parking.settle_wake(received, found.claim.subject))
            return decide_status(received, value, found.claim)
        age_s = (received.at_ms - value.provider_time_ms) / MS_PER_S
        wake = (
            parking.next_wake(received, found.tries, self._times)
            if age_s <= self._times.status_parked_s
            else None
        )
        if wake is not None:
            effects.wake(partition, wake)
        else:
            why = "late_status" if read_echo(value.echo) is not None else "foreign_status"
            dropped[received.channel, why] += 1
        return NOTHING

    def _settle(self, cursor: Cursor, woken: Sequence[_Input], effects: Effects) -> None:
        """Messages that a status shows as taken and that still have no outcome: outbound did not live to record it."""
        works: list[Work] = []
        claims: list[ClaimInfo] = []
        indexes: list[bytes] = []
        for found in woken:
            value, claim = found.received.value, found.claim
            if isinstance(value, InboundStatus) and claim is not None and not claim.has_outcome:
                draft = submitted_by_echo(found.received, value, claim)
                works.append(Work(found.item.partition, found.received, Decision((draft,))))
                claims.append(claim)
                indexes.append(
                    self._vault.provider_index(
                        found.received.tenant, found.received.channel, value.provider_id
                    )
                )
        if not works:
            return
        sealed = seal_all(self._vault, cursor, works)
        echoes = [
            EchoSettlement(claim.tenant, claim.message, claim.part, written.outputs, index)
            for claim, written, index in zip(claims, sealed, indexes, strict=True)
        ]
        settled = self._vault.settle_by_echo(cursor, echoes)
        for work, written, mine in zip(works, sealed, settled, strict=True):
            if mine:
                emit(work, written, effects)

    def _purposes(self, tenant: str) -> tuple[str, ...]:
        settings = self._settings.tenant(tenant)
        return settings.consent_purposes() if settings is not None else ()

    def _count(self, inputs: Sequence[_Input], dropped: Counter[tuple[str, str]]) -> None:
        values = Counter((f.received.channel, kind_word(f.received.value)) for f in inputs if f.kind is None)
        for labels, count in values.items():
            self._values.labels(*labels).inc(count)
        for labels, count in dropped.items():
            self._dropped.labels(*labels).inc(count)
