"""The erasure processor: reads the ledger and closes, reports or settles each erasure (DESIGN §7, protocols §7).

    T0 requested · T1 keys destroyed · T2 = T1 + lease life + 1 s · SubjectErased: T2 has passed and every store answered
    Tr the last day key that sealed a raw webhook of the person dies · T3 the last backup that may hold a key dies
    ErasureSettled: Tr and T3 have passed

Any order of arrival, and any repetition, ends in the same events: what is written is named by the erasure alone.
"""

from dataclasses import dataclass
from typing import Any

from schemas.clock import MS_PER_S, to_ms, to_text
from schemas.constants import PRODUCTION, Times
from schemas.envelope import EventData
from schemas.events import deletions
from schemas.settings import TenantSettings
from schemas.stores import STORES
from schemas.topics import DELETIONS
from streams.processors.contract import Count, Decision, Heard, Ids, Input, NewEvent, NewWake
from streams.processors.erasure.state import STATE_VERSION, Erasure, load

NAME = "streams.erasure"
LEASES_OVER, OVERDUE, SETTLE = "leases_over", "overdue", "settle"


@dataclass(frozen=True, slots=True)
class ErasureLedger:
    """Collects receipts. `stores` must all answer; backups live `backup_kept_s` (0: none are made, so T3 is T1)."""

    times: Times = PRODUCTION
    backup_kept_s: float = 0.0
    stores: tuple[str, ...] = STORES
    name: str = NAME
    topics: tuple[str, ...] = (DELETIONS,)
    first_topics: tuple[str, ...] = ()
    handled: frozenset[str] = frozenset(
        {
            deletions.ErasureRequested.TYPE,
            deletions.ErasureRefused.TYPE,
            deletions.KeyDestroyed.TYPE,
            deletions.StorePurged.TYPE,
        }
    )
    state_version: int = STATE_VERSION

    def upcast(self, state: dict[str, Any], version: int) -> dict[str, Any]:
        """There is one layout so far."""
        if version != STATE_VERSION:
            raise ValueError(f"state of an erasure in layout {version}")
        return state

    def lacks(self, settings: TenantSettings | None, heard: Heard) -> bool:
        """An erasure depends on no setting."""
        return False

    def decide(
        self, settings: TenantSettings, ids: Ids, state: dict[str, Any] | None, given: Input
    ) -> Decision:
        """Decide one input."""
        before = load(state)
        if isinstance(given, Heard):
            data = given.data
            if not isinstance(data, _REPORTS):
                return Decision(state)
            erasure, cause = data.erasure, given.event.id
            known = _reported(before.erasure(erasure), data)
        else:
            erasure, cause = str(given.body["erasure"]), None
            known = before.erasure(erasure)
        at = _Deciding(self, ids.because(erasure), erasure, cause, given.now_ms)
        now, events, wakes = at.follow(before.erasure(erasure), known)
        after = before.with_erasure(erasure, now)
        return Decision(
            state if after == before else after.model_dump(mode="json", exclude_defaults=True),
            events,
            wakes,
            _observed(before.erasure(erasure), now, given.now_ms),
            unfinished=any(not (known.erased or known.refused) for known in after.erasures.values()),
        )

    def t2_ms(self, t1: str) -> int:
        """When nothing sealed with the subject's keys opens any more."""
        return to_ms(t1) + round(self.times.leases_over_s * MS_PER_S)

    def t3(self, t1: str) -> str:
        """When the last backup that may hold a key has died."""
        return to_text(to_ms(t1) + round(self.backup_kept_s * MS_PER_S))


_REPORTS = (
    deletions.ErasureRequested,
    deletions.ErasureRefused,
    deletions.KeyDestroyed,
    deletions.StorePurged,
)


def _reported(known: Erasure, data: EventData) -> Erasure:
    """Take in what an event of the ledger reports; the earliest of repeated times counts, whatever comes first."""
    match data:
        case deletions.ErasureRequested():
            return known.model_copy(update={"t0": _earliest(known.t0, data.t0)})
        case deletions.ErasureRefused():
            return known.model_copy(update={"refused": True})
        case deletions.KeyDestroyed():
            t1, tr = _earliest(known.t1, data.t1), _earliest(known.tr, data.day_keys_until)
            return known.model_copy(update={"t1": t1, "tr": tr})
        case deletions.StorePurged():
            purged_at = _earliest(known.receipts.get(data.store), data.purged_at)
            return known.model_copy(update={"receipts": {**known.receipts, data.store: purged_at}})
    return known


def _earliest(one: str | None, other: str) -> str:
    return other if one is None else min(one, other, key=to_ms)


def _observed(before: Erasure, now: Erasure, now_ms: int) -> tuple[Count, ...]:
    """How long the stages took since T0, for those reached by this input."""
    if now.t0 is None:
        return ()
    counts = []
    if now.t1 is not None and before.t1 is None:
        counts.append(Count("sealpost_erasure_seconds", ("t1",), (to_ms(now.t1) - to_ms(now.t0)) / MS_PER_S))
    if now.erased and not before.erased:
        counts.append(Count("sealpost_erasure_seconds", ("erased",), (now_ms - to_ms(now.t0)) / MS_PER_S))
    return tuple(counts)


@dataclass(frozen=True, slots=True)
class _Deciding:
    """One erasure at one input."""

    ledger: ErasureLedger
    ids: Ids
    erasure: str
    cause: str | None
    now_ms: int

    def event(self, slot: str, data: EventData) -> NewEvent:
        return NewEvent(self.ids.event(slot), data, None, self.cause, self.erasure)

    def wake(self, at_ms: int, kind: str) -> NewWake:
        return NewWake(at_ms, kind, {"erasure": self.erasure})

    def follow(
        self, before: Erasure, now: Erasure
    ) -> tuple[Erasure, tuple[NewEvent, ...], tuple[NewWake, ...]]:
        """Write what can be written now, and set the wakes for what has become known."""
        events: list[NewEvent] = []
        wakes: list[NewWake] = []
        if now.t0 is not None and before.t0 is None:
            wakes.append(
                self.wake(to_ms(now.t0) + round(self.ledger.times.erasure_incomplete_s * MS_PER_S), OVERDUE)
            )
        if now.t1 is not None and before.t1 is None:
            wakes.append(self.wake(self.ledger.t2_ms(now.t1), LEASES_OVER))
        if self._is_complete(now):
            erased = self._erased(now)
            events.append(self.event("subject_erased", erased))
            wakes.append(self.wake(max(to_ms(erased.tr), to_ms(erased.t3)), SETTLE))
            now = now.model_copy(update={"erased": True, "t3": erased.t3})
        elif self._is_overdue(now):
            events.append(self.event("erasure_incomplete", self._incomplete(now)))
            now = now.model_copy(update={"incomplete": True})
        if self._can_settle(now):
            events.append(self.event("erasure_settled", deletions.ErasureSettled(erasure=self.erasure)))
            now = now.model_copy(update={"settled": True})
        return now, tuple(events), tuple(wakes)

    def _missing(self, now: Erasure) -> list[str]:
        return sorted(set(self.ledger.stores) - set(now.receipts))

    def _is_complete(self, now: Erasure) -> bool:
        if now.erased or now.t0 is None or now.t1 is None or self._missing(now):
            return False
        return self.now_ms >= self.ledger.t2_ms(now.t1)

    def _is_overdue(self, now: Erasure) -> bool:
        if now.erased or now.incomplete or now.refused or now.t0 is None or not self._missing(now):
            return False
        return self.now_ms >= to_ms(now.t0) + round(self.ledger.times.erasure_incomplete_s * MS_PER_S)

    def _can_settle(self, now: Erasure) -> bool:
        if not now.erased or now.settled or now.t1 is None or now.tr is None:
            return False
        # What the certificate says, whatever is set today.
        return self.now_ms >= max(to_ms(now.tr), to_ms(now.t3 or self.ledger.t3(now.t1)))

    def _incomplete(self, now: Erasure) -> deletions.ErasureIncomplete:
        return deletions.ErasureIncomplete(erasure=self.erasure, missing=self._missing(now))

    def _erased(self, now: Erasure) -> deletions.SubjectErased:
        assert now.t0 is not None
        assert now.t1 is not None
        assert now.tr is not None
        receipts = [
            deletions.PurgeReceipt(store=store, purged_at=at) for store, at in sorted(now.receipts.items())
        ]
        return deletions.SubjectErased(
            erasure=self.erasure,
            t0=now.t0,
            t1=now.t1,
            t2=to_text(self.ledger.t2_ms(now.t1)),
            receipts=receipts,
            tr=now.tr,
            t3=self.ledger.t3(now.t1),
        )
