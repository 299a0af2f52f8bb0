"""Named points at which a fault test kills a role. Without SEALPOST_FAULT_FILE nothing of this exists at run time."""

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Protocol

LOG = logging.getLogger(__name__)
FAULT_FILE = "SEALPOST_FAULT_FILE"
POINTS = (
    "before_take_over", "after_take_over", "after_outbox",
    "before_commit", "after_commit", "before_produce", "mid_produce", "after_produce", "after_ack",
)  # fmt: skip
"""Points of the engine, in the order of a start and a step. Roles outside the engine name their own."""


class EngineHooks(Protocol):
    """Is told each point that is reached."""

    def at(self, name: str) -> None:
        """A point was reached."""
        ...


class FaultFile:
    """Kills its own process (SIGKILL) when a file names this role and the point just reached.

    The file holds `<role> <point> [count [stop]]`: the `count`-th time (default 1) since the file was there; with `stop` the
    process is frozen (SIGSTOP) instead. The file is removed first, so that the restarted process lives.
    """

    def __init__(self, role: str, file: Path) -> None:
        self._role = role
        self._file = file
        self._reached: dict[str, int] = {}

    def at(self, name: str) -> None:
        """Die here if the file says so."""
        try:
            text = self._file.read_text()
        except FileNotFoundError:
            self._reached.clear()
            return
        words = text.split()
        if words[:2] != [self._role, name]:
            return
        self._reached[name] = self._reached.get(name, 0) + 1
        if self._reached[name] < (int(words[2]) if len(words) > 2 else 1):
            return
        self._file.unlink(missing_ok=True)
        LOG.warning("fault point %s reached", name)
        # To this thread: sent to the process, SIGSTOP may reach another thread first, and this one goes on for a while.
        signal.pthread_kill(
            threading.get_ident(), signal.SIGSTOP if words[3:] == ["stop"] else signal.SIGKILL
        )


def from_environment(role: str) -> EngineHooks | None:
    """The fault file of this process, or None when SEALPOST_FAULT_FILE is not set."""
    file = os.environ.get(FAULT_FILE)
    return FaultFile(role, Path(file)) if file else None
