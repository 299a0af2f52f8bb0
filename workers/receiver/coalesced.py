"""A blocking look-up shared by many requests, so that a flood of requests is never a flood of look-ups."""

import asyncio
import logging
from collections.abc import Callable

import psycopg

from schemas import clock
from schemas.errors import SealpostError

log = logging.getLogger(__name__)


class Coalesced:
    """Runs `work` in a thread for whoever asks. Each caller gets the result of a run that began after it had asked; at most
    one run is under way, one more is waited for by everybody who came meanwhile, and runs begin `pause_s` apart."""

    def __init__(self, work: Callable[[], None], *, pause_s: float, waiters_max: int) -> None:
        """`work` raises SealpostError, psycopg.Error or OSError when it cannot look."""
        self._work = work
        self._pause_s = pause_s
        self._waiters_max = waiters_max
        self._waiters = 0
        self._began_s = float("-inf")
        self._running: asyncio.Task[bool] | None = None
        self._next: asyncio.Task[bool] | None = None

    async def fresh(self) -> bool:
        """True once a run that began after this call has ended well; False when it failed, or too many are waiting."""
        if self._waiters >= self._waiters_max:
            return False
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._running))
        self._waiters += 1
        try:
            # Shielded: a client that hangs up must not cancel the run that others wait for.
            return await asyncio.shield(self._next)
        finally:
            self._waiters -= 1

    async def _run(self, before: "asyncio.Task[bool] | None") -> bool:
        if before is not None:
            await before
        wait_s = self._began_s + self._pause_s - clock.boot_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        self._running, self._next = self._next, None
        self._began_s = clock.boot_s()
        try:
            await asyncio.to_thread(self._work)
        except (SealpostError, psycopg.Error, OSError) as error:
            log.warning("a look-up failed: %s", type(error).__name__)
            return False
        return True
