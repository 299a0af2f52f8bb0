"""The only place where Sealpost reads a clock. Times in events are RFC 3339, UTC, milliseconds."""

import time
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

MS_PER_S = 1000
DAY = timedelta(days=1)
_DAY_MS = 86_400_000


def now_ms() -> int:
    """Wall clock, milliseconds since the epoch. Never for deadlines; see `boot_s`."""
    return time.time_ns() // 1_000_000


def now() -> datetime:
    """Wall clock as an aware UTC datetime."""
    return datetime.now(UTC)


def boot_s() -> float:
    """Seconds on a clock that never steps and goes on while the machine sleeps; lease deadlines are measured on it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def today() -> date:
    """The UTC day of the wall clock."""
    return now().date()


def sleep_s(seconds: float) -> None:
    """Block this thread; for back-off only, never to wait for a condition."""
    time.sleep(seconds)


def to_text(at_ms: int) -> str:
    """Milliseconds since the epoch → `2026-11-23T10:00:00.123Z`."""
    return f"{_second_text(at_ms // MS_PER_S)}.{at_ms % MS_PER_S:03d}Z"


@lru_cache(maxsize=4_096)
def _second_text(at_s: int) -> str:
    """Times of one batch share their seconds."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%S}"


def to_ms(text: str) -> int:
    """RFC 3339 text → milliseconds since the epoch; ValueError when it is not a time with a zone."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return round(at.timestamp() * MS_PER_S)


def at_ms(at: datetime) -> int:
    """Aware datetime → milliseconds since the epoch."""
    return round(at.timestamp() * MS_PER_S)


def day_of_ms(at: int) -> date:
    """UTC day of a time in milliseconds."""
    return datetime.fromtimestamp(at / MS_PER_S, UTC).date()


def month_of_ms(at: int) -> str:
    """UTC month of a time in milliseconds as `YYYY-MM`: the generation of content keys."""
    return _month_text(at // _DAY_MS)


@lru_cache(maxsize=64)
def _month_text(day: int) -> str:
    """`day` counts from the epoch."""
    return day_of_ms(day * _DAY_MS).strftime("%Y-%m")


def from_ms(at: int) -> datetime:
    """Milliseconds since the epoch → aware UTC datetime."""
    return datetime.fromtimestamp(at / MS_PER_S, UTC)
