"""Lines for the person who waits: what happens now, and never more than 5 s of silence."""

import threading
from collections.abc import Callable

from schemas.clock import boot_s

SILENCE_MAX_S = 4.0
TICK_S = 0.25


class Progress:
    """Prints lines; a background thread says what is being waited for when nothing else was printed for 4 s."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._started = boot_s()
        self._last = self._started
        self._waiting: dict[str, None] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="progress", daemon=True)
        self._thread.start()

    def say(self, line: str) -> None:
        """Print a line now."""
        with self._lock:
            self._last = boot_s()
            self._write(line)

    def begin(self, what: str) -> None:
        """Something is being waited for."""
        with self._lock:
            self._waiting[what] = None

    def done(self, what: str) -> None:
        """It is there; says after how many seconds since the start."""
        with self._lock:
            self._waiting.pop(what, None)
        self.say(f"  {what} ({boot_s() - self._started:.1f} s)")

    def quiet(self) -> None:
        """Stop the background thread: from now on silence is fine."""
        self._stopped.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return boot_s() - self._started

    def _beat(self) -> None:
        while not self._stopped.wait(TICK_S):
            with self._lock:
                silent = boot_s() - self._last >= SILENCE_MAX_S
                waiting = ", ".join(self._waiting) or "the next step"
            if silent:
                self.say(f"  … waiting for {waiting} ({self.seconds:.0f} s)")
