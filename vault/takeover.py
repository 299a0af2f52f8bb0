"""Does the database's clock agree with the boot clock? Take-overs rest on it (protocols §5).

A claim's age is read on the database's clock. Where that clock has stepped, an age says nothing about whether the worker that
holds the claim may still call, so take-overs pause for as long as it could.
"""

import logging
from threading import Lock

from schemas.clock import MS_PER_S

LOG = logging.getLogger(__name__)


class ClockWatch:
    """Compares the two clocks at every call; thread-safe."""

    STEP_MS = 1_000
    """A larger difference than this between two readings is a step."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._lock = Lock()
        self._offset_ms: float | None = None
        self._agreeing_since_s = 0.0
        self._paused_until_s = 0.0

    def expected_ms(self, at_boot_s: float) -> int | None:
        """What the database's clock should show now; None before the first reading and while take-overs pause."""
        with self._lock:
            if self._offset_ms is None or at_boot_s < self._paused_until_s:
                return None
            return round(at_boot_s * MS_PER_S + self._offset_ms)

    def agreed_ms(self, at_boot_s: float) -> int:
        """How long the clocks have agreed, as far as is known here: 0 before the first reading."""
        with self._lock:
            if self._offset_ms is None:
                return 0
            return max(0, round((at_boot_s - self._agreeing_since_s) * MS_PER_S))

    def saw(self, before_s: float, after_s: float, database_ms: int) -> None:
        """The database showed `database_ms` at some moment between these two boot times."""
        least, most = database_ms - after_s * MS_PER_S, database_ms - before_s * MS_PER_S
        with self._lock:
            known = self._offset_ms
            if known is None:
                self._agreeing_since_s = after_s
            elif not least - self.STEP_MS <= known <= most + self.STEP_MS:
                self._agreeing_since_s = after_s
                self._paused_until_s = after_s + self._pause_s
                LOG.warning(
                    "the database's clock stepped against the boot clock; take-overs pause for %.0f s",
                    self._pause_s,
                )
            # A slow call says little about the offset: it is moved only as far as the call proves.
            self._offset_ms = most if known is None else min(max(known, least), most)
