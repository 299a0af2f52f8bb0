"""The ledger of erasures: examples, and the same events in any order and repetition."""

from dataclasses import dataclass, field
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from schemas.clock import to_ms, to_text
from schemas.constants import DAY_S, Times
from schemas.envelope import Event, EventData
from schemas.events import deletions, registry
from schemas.ids import derived_id
from schemas.settings import TenantSettings
from schemas.stores import STORES
from streams.processors.contract import Heard, Ids, NewEvent, NewWake, Woken
from streams.processors.erasure.certificate import canonical, certify, is_genuine
from streams.processors.erasure.processor import ErasureLedger

KEY = bytes(32)
ERASURE, SUBJECT, TENANT = "e" * 32, "5" * 32, "t1"
T0 = to_ms("2026-11-23T10:00:00Z")
T1 = T0 + 700
T2 = T1 + 61_000
TR = T1 + 9 * DAY_S * 1000


def event(data: EventData, at_ms: int) -> Event:
    """An event of the ledger; the same data and time is the same event."""
    name = derived_id(KEY, type(data).__name__, str(at_ms), data.model_dump_json())
    return registry.build(data, id=name, role="vault", tenant=TENANT, subject=SUBJECT, at_ms=at_ms)


def requested(at_ms: int = T0) -> Event:
    """T0."""
    return event(deletions.ErasureRequested(erasure=ERASURE, requested_by="person", t0=to_text(T0)), at_ms)


def destroyed(at_ms: int = T1) -> Event:
    """T1."""
    data = deletions.KeyDestroyed(
        erasure=ERASURE,
        classes=["content", "identity"],
        evidence="retained",
        t1=to_text(T1),
        day_keys_until=to_text(TR),
    )
    return event(data, at_ms)


def purged(store: str, at_ms: int = T1 + 2000) -> Event:
    """A receipt."""
    return event(deletions.StorePurged(erasure=ERASURE, store=store, purged_at=to_text(at_ms)), at_ms)


@dataclass
class Ledger:
    """The processor with its row; wakes come when time has passed them."""

    processor: ErasureLedger = field(default_factory=lambda: ErasureLedger(Times()))
    row: dict[str, Any] | None = None
    unfinished: list[bool] = field(default_factory=list)
    written: list[NewEvent] = field(default_factory=list)
    waiting: list[NewWake] = field(default_factory=list)

    def give(self, heard: Event, now_ms: int | None = None) -> list[str]:
        """Apply an event; the class names of what was written."""
        at = to_ms(heard.time) if now_ms is None else now_ms
        return self._apply(Heard(heard, registry.read(heard), at), heard.id)

    def until(self, at_ms: int) -> list[str]:
        """Let time pass: every wake up to then, in order."""
        names: list[str] = []
        while self.waiting:
            due = [wake for wake in self.waiting if wake.at_ms <= at_ms]
            if not due:
                break
            first = min(due, key=lambda wake: wake.at_ms)
            self.waiting.remove(first)
            names += self._apply(Woken(first.kind, first.body, first.at_ms), f"{first.kind}/{first.at_ms}")
        return names

    def _apply(self, given: Heard | Woken, cause: str) -> list[str]:
        settings = TenantSettings(TENANT)
        decision = self.processor.decide(settings, Ids(KEY, self.processor.name, cause), self.row, given)
        self.row = decision.state
        self.unfinished.append(decision.unfinished)
        self.written += decision.events
        self.waiting += decision.wakes
        return [type(new.data).__name__ for new in decision.events]

    def by_id(self) -> dict[str, bytes]:
        """What was written, by id, without repeats."""
        return {new.id: new.data.model_dump_json().encode() for new in self.written}


def test_an_erasure_from_request_to_settlement() -> None:
    """SubjectErased at T2 with every receipt, sorted; ErasureSettled when Tr has passed; nothing twice."""
    ledger = Ledger()
    assert ledger.give(requested()) == []
    assert ledger.unfinished == [True]
    assert ledger.give(destroyed()) == []
    for store in reversed(STORES):
        assert ledger.give(purged(store)) == []
    assert ledger.until(T2 - 1) == []
    assert ledger.until(T2) == ["SubjectErased"]
    assert ledger.unfinished[-1] is False
    erased = ledger.written[-1].data
    assert isinstance(erased, deletions.SubjectErased)
    assert (erased.t0, erased.t1, erased.t2) == (to_text(T0), to_text(T1), to_text(T2))
    assert [receipt.store for receipt in erased.receipts] == sorted(STORES)
    assert (erased.tr, erased.t3) == (to_text(TR), to_text(T1))
    assert ledger.until(TR - 1) == []
    assert ledger.until(TR) == ["ErasureSettled"]
    assert ledger.until(TR * 2) == []


def test_the_last_receipt_after_t2_closes() -> None:
    """A store that answers late closes the erasure when it does."""
    ledger = Ledger()
    for heard in (requested(), destroyed(), *(purged(store) for store in STORES[1:])):
        ledger.give(heard)
    assert ledger.until(T2) == []
    assert ledger.give(purged(STORES[0], T2 + 5)) == ["SubjectErased"]


def test_what_is_missing_after_a_day_is_reported_once() -> None:
    """ErasureIncomplete names the stores; SubjectErased follows when they have answered."""
    ledger = Ledger()
    ledger.give(requested())
    ledger.give(destroyed())
    ledger.give(purged(STORES[0]))
    late = T0 + DAY_S * 1000
    assert ledger.until(late) == ["ErasureIncomplete"]
    incomplete = ledger.written[-1].data
    assert isinstance(incomplete, deletions.ErasureIncomplete)
    assert incomplete.missing == sorted(set(STORES) - {STORES[0]})
    assert ledger.give(purged(STORES[1], late + 10)) == []
    assert ledger.give(purged(STORES[2], late + 20)) == ["SubjectErased"]
    assert ledger.until(TR) == ["ErasureSettled"]


def test_a_refused_erasure_ends() -> None:
    """The vault knows no such subject: nothing is reported as overdue."""
    ledger = Ledger()
    ledger.give(requested())
    ledger.give(event(deletions.ErasureRefused(erasure=ERASURE, reason="unknown_subject"), T1))
    assert ledger.unfinished[-1] is False
    assert ledger.until(TR) == []


def test_backups_move_t3_and_the_settlement() -> None:
    """With backups kept 30 days, T3 is T1 + 30 days and the settlement waits for it."""
    ledger = Ledger(ErasureLedger(Times(), backup_kept_s=30.0 * DAY_S))
    for heard in (requested(), destroyed(), *(purged(store) for store in STORES)):
        ledger.give(heard)
    t3 = T1 + 30 * DAY_S * 1000
    assert ledger.until(t3 - 1) == ["SubjectErased"]
    assert ledger.until(t3) == ["ErasureSettled"]


def test_the_settlement_keeps_to_the_certificate() -> None:
    """Backups are kept for a shorter time from now on: those of before live as long as the certificate says."""
    ledger = Ledger(ErasureLedger(Times(), backup_kept_s=30.0 * DAY_S))
    for heard in (requested(), destroyed(), *(purged(store) for store in STORES)):
        ledger.give(heard)
    assert ledger.until(T2) == ["SubjectErased"]
    ledger.processor = ErasureLedger(Times(), backup_kept_s=0.0)
    assert ledger.give(purged(STORES[0], TR + 1)) == []
    assert ledger.until(T1 + 30 * DAY_S * 1000) == ["ErasureSettled"]


def test_the_certificate_signs_every_fact() -> None:
    """Signed over canonical JSON: genuine as written, not when anything is changed."""
    private = Ed25519PrivateKey.generate()

    class Signer:
        key_id = "k1"

        def sign(self, message: bytes) -> bytes:
            return private.sign(message)

    ledger = Ledger()
    for heard in (requested(), destroyed(), *(purged(store) for store in STORES)):
        ledger.give(heard)
    ledger.until(T2)
    erased = ledger.written[-1].data
    assert isinstance(erased, deletions.SubjectErased)
    signed = certify(erased, Signer())
    public = private.public_key().public_bytes_raw()
    assert is_genuine(signed, public)
    assert not is_genuine(signed.model_copy(update={"t1": to_text(T1 + 1)}), public)
    assert not is_genuine(erased, public)
    assert list(orjson.loads(canonical(signed))) == ["erasure", "receipts", "t0", "t1", "t2", "t3", "tr"]


REPORTS = [requested(), destroyed(), *(purged(store) for store in STORES)]


@given(st.permutations(REPORTS), st.lists(st.sampled_from(REPORTS), max_size=6), st.data())
def test_any_order_and_repetition_gives_the_same_events(
    order: list[Event], repeats: list[Event], data: st.DataObject
) -> None:
    """The ledger in any order, with anything repeated, within the day: the same events with the same content."""
    expected = Ledger()
    for heard in REPORTS:
        expected.give(heard)
    expected.until(TR)
    ledger, now = Ledger(), T1 + 3000
    for heard in order + repeats:
        now += data.draw(st.integers(0, 3_600_000))
        ledger.until(now)
        ledger.give(heard, now)
    ledger.until(TR)
    assert ledger.by_id() == expected.by_id()
    assert len(ledger.written) == len(ledger.by_id())
    assert ledger.row == expected.row
