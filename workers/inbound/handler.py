"""The handler of role `inbound`: a batch of raw fragments in one step (DESIGN §9, protocols §1–§7)."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from schemas import topics
from schemas.clock import MS_PER_S, now_ms
from schemas.constants import PRODUCTION, Times
from schemas.errors import SealpostError
from schemas.metrics import counter, histogram
from streams.kafka.settings_follower import SettingsFollower
from streams.step.contract import Cursor, Effects, Item, Poison, Record
from streams.step.errors import DatabaseAway
from vault.claims import ClaimInfo, EchoSettlement
from vault.errors import KeyRefused
from vault.permissions import Lower
from vault.vault import Vault
from workers import registry
from workers.channel import Channel, read_echo
from workers.inbound import parking
from workers.inbound.asking import Input, find_claims, note_reach, resolve, use_tokens
from workers.inbound.changes import (
    decide_account_news,
    decide_address_change,
    decide_echo,
    decide_edit,
    decide_reaction,
    decide_resumed,
    decide_revoke,
    decide_template_status,
    decide_watermark,
)
from workers.inbound.decisions import (
    NOTHING,
    RESUMED,
    Decision,
    decide_message,
    decide_opt_out,
    decide_status,
    submitted_by_echo,
)
from workers.inbound.fragments import UNREADABLE, FragmentReader, kind_word
from workers.inbound.writing import ROLE, Work, emit, seal_all, write
from workers.inbound_values import (
    InboundAccountError,
    InboundAccountNews,
    InboundAddressChange,
    InboundEcho,
    InboundEdit,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundTemplateStatus,
    InboundUnsupported,
    InboundWatermark,
)

log = logging.getLogger(__name__)

SETTINGS_S = 10.0
"""Longest wait for the settings to be read to their end: at start, and for a tenant who is new."""


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
        resolve(self._vault, cursor, inputs)
        use_tokens(self._vault, cursor, inputs)
        find_claims(self._vault, cursor, inputs)
        note_reach(self._vault, cursor, inputs)
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

    def _input(self, item: Item, dropped: Counter[tuple[str, str]]) -> Input | None:
        """None for a wake that is over. KeyRefused goes to the engine, which dead-letters the wake alone."""
        if item.due is None:
            return Input(item, item.value)
        try:
            with self._reader.keys() as keys:
                received = self._reader.read(parking.record_of(item.due), keys)
        except UNREADABLE as error:
            # It could be read when it was parked: its day key has died since.
            log.warning("a parked value cannot be read any more: %s", type(error).__name__)
            dropped["unknown", "unreadable"] += 1
            return None
        return Input(item, received, item.due.kind, parking.tries_of(item.due))

    def _decide(self, found: Input, effects: Effects, dropped: Counter[tuple[str, str]]) -> Decision:
        received = found.received
        match received.value:
            case InboundStatus() as value:
                return self._decide_status(found, value, effects, dropped)
            case InboundAddressChange():
                return self._decide_address_change(found, effects, dropped)
            case InboundWatermark() as value:
                return self._decide_watermark(found, value, effects)
            case InboundTemplateStatus() as value:
                return decide_template_status(received, value)
            case InboundAccountNews() as value:
                log.info("account %s: the provider reports %s", received.account, value.field)
                return decide_account_news(received, value)
            case InboundAccountError() as value:
                log.warning(
                    "account %s: the provider reports error %d (%s)",
                    received.account,
                    value.code,
                    value.error_class,
                )
            case InboundUnsupported() as value:
                log.info("%s: %s (%s) is not handled", received.channel, value.field, value.provider_kind)
        return self._decide_act(found)

    def _decide_act(self, found: Input) -> Decision:
        """What a person did in the chat, or somebody of the business."""
        received, who = found.received, found.who
        if who is None:
            lifted = isinstance(received.value, InboundOptOut)
            return RESUMED if lifted else NOTHING
        purposes = self._purposes(received.tenant)
        match received.value:
            case InboundMessage() as value:
                return decide_message(received, value, who, purposes, found.came)
            case InboundOptOut(value="resume"):
                return decide_resumed(received, who, reach_changed=found.reach_changed)
            case InboundOptOut() as value:
                return decide_opt_out(received, value, who, purposes, reach_changed=found.reach_changed)
            case InboundEdit() as value:
                return decide_edit(received, value, who, purposes)
            case InboundRevoke() as value:
                return decide_revoke(received, value, who)
            case InboundReaction() as value:
                return decide_reaction(received, value, who, found.claim)
            case InboundEcho() as value:
                return decide_echo(received, value, who, found.claim)
        return NOTHING

    def _decide_address_change(
        self, found: Input, effects: Effects, dropped: Counter[tuple[str, str]]
    ) -> Decision:
        """Of somebody who is not known (yet) it is kept a while: the change before it or the first message may be on its way."""
        if found.moved is not None:
            return decide_address_change(found.received, found.moved)
        wake = parking.next_wake(found.received, found.tries, self._times)
        if wake is not None:
            effects.wake(found.item.partition, wake)
        else:
            dropped[found.received.channel, "unknown_sender"] += 1
        return NOTHING

    def _decide_watermark(self, found: Input, value: InboundWatermark, effects: Effects) -> Decision:
        """A message that is being sent just now may be meant: it is looked for again, under the person's own id."""
        who, received = found.who, found.received
        assert who is not None
        if found.covered.calling:
            wake = parking.next_wake(received, found.tries, self._times, who.subject)
            if wake is not None:
                effects.wake(found.item.partition, wake)
        return decide_watermark(received, value, who, found.covered)

    def _decide_status(
        self, found: Input, value: InboundStatus, effects: Effects, dropped: Counter[tuple[str, str]]
    ) -> Decision:
        received, partition = found.received, found.item.partition
        if found.kind == parking.SETTLE:
            return NOTHING
        if found.claim is not None:
            if not found.claim.has_outcome and found.kind is None:
                effects.wake(partition, parking.settle_wake(received, found.claim.subject))
            purposes = self._purposes(received.tenant)
            return decide_status(received, value, found.claim, purposes, reach_changed=found.reach_changed)
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

    def _settle(self, cursor: Cursor, woken: Sequence[Input], effects: Effects) -> None:
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

    def _count(self, inputs: Sequence[Input], dropped: Counter[tuple[str, str]]) -> None:
        values = Counter((f.received.channel, kind_word(f.received.value)) for f in inputs if f.kind is None)
        for labels, count in values.items():
            self._values.labels(*labels).inc(count)
        for labels, count in dropped.items():
            self._dropped.labels(*labels).inc(count)
