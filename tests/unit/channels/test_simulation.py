"""What simulators share: limits, windows, the record and faults."""

from typing import Any

import pytest

from schemas import clock
from workers.simulation import Fault, Faults, InvalidControl, MessageRecord, RateLimit, Windows


class Clock:
    """The boot clock, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1_000.0
        monkeypatch.setattr(clock, "boot_s", lambda: self.now_s)


def recipient(text: str) -> str | None:
    return text if text.isdigit() else None


def accept(_: Any) -> None:
    """Every status is fine."""


def test_a_rate_limit_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = Clock(monkeypatch)
    limit = RateLimit(per_s=2, burst=3)
    assert [limit.take("a") for _ in range(4)] == [True, True, True, False]
    assert limit.take("b")
    now.now_s += 0.5
    assert [limit.take("a") for _ in range(2)] == [True, False]
    now.now_s += 1_000
    assert [limit.take("a") for _ in range(4)] == [True, True, True, False]


def test_windows_open_close_and_are_not_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    now = Clock(monkeypatch)
    windows = Windows(100)
    assert not windows.is_open("account", "person")
    windows.opened("account", "person", age_s=101)
    assert not windows.is_open("account", "person")
    windows.opened("account", "person")
    windows.opened("account", "person", age_s=90)
    now.now_s += 100
    assert windows.is_open("account", "person")
    assert not windows.is_open("other", "person")
    now.now_s += 1
    assert not windows.is_open("account", "person")


def test_the_record_is_bounded() -> None:
    record = MessageRecord(3)
    for n in range(5):
        record.add({"to": str(n % 2), "n": n})
    assert [m["n"] for m in record.messages()] == [2, 3, 4]
    assert [m["n"] for m in record.messages("0")] == [2, 4]
    record.add({"to": "0", "n": 5})
    record.add({"to": "0", "n": 6})
    record.add({"to": "0", "n": 7})
    assert record.messages("1") == []


def test_faults_for_one_recipient_go_first_and_are_used_up() -> None:
    faults = Faults()
    faults.apply({"next": 2, "error": 1}, recipient, accept)
    assert faults.apply({"to": "49151", "next": 1, "error": 2}, recipient, accept) == 2

    def code(to: str) -> int | None:
        found = faults.take(to)
        return found.error["code"] if found and found.error else None

    assert [code("49151"), code("49151"), code("49160"), code("49151")] == [2, 1, 1, None]
    faults.apply({"to": "49151", "error": 3}, recipient, accept)
    assert [code("49151"), code("49160"), code("49151")] == [3, None, 3]
    assert faults.apply({"clear": True}, recipient, accept) == 0
    assert code("49151") is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"error": 1}, "next or to"),
        ({"next": 0}, "next"),
        ({"next": True}, "next"),
        ({"to": "Ada"}, "to"),
        ({"next": 1, "error": "x"}, "error"),
        ({"next": 1, "error": {"http": 200}}, "error"),
        ({"next": 1, "error": {"details": "alone"}}, "error"),
        ({"next": 1, "error": {"code": 131026, "details": 7}}, "error"),
        ({"next": 1, "error": {"code": 131026, "colour": "red"}}, "error"),
        ({"next": 1, "error": {"code": "1"}}, "error"),
        ({"next": 1, "drop": "during"}, "drop"),
        ({"next": 1, "delay_s": -1}, "delay_s"),
        ({"next": 1, "statuses": "sent"}, "statuses"),
        ({"next": 1, "dely_s": 1}, "dely_s"),
    ],
)
def test_a_fault_that_makes_no_sense_names_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidControl, match=field):
        Fault.read(body, recipient)
