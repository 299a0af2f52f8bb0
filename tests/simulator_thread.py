"""A simulator in a thread of its own: for tests that are not asynchronous themselves."""

import asyncio
import threading
from dataclasses import replace

from workers.simulator import Simulator, SimulatorSettings

START_LIMIT_S = 60.0


class SimulatorThread:
    """Listens once it is made; `base` is where."""

    def __init__(self, simulator: Simulator, settings: SimulatorSettings) -> None:
        self.base = ""
        self._listens = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(simulator(replace(settings, ready=self._listening)))
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._thread.start()
        assert self._listens.wait(START_LIMIT_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return

    def _listening(self, base: str) -> None:
        self.base = base
        self._listens.set()

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(START_LIMIT_S)
