"""Waits that a lost partition or the end of the process may cut short."""

import asyncio
from collections.abc import Callable


class Waits:
    """All waits of one partition's messages. Once interrupted, every wait, running or new, ends at once with False."""

    def __init__(self) -> None:
        self._open: set[asyncio.Future[bool]] = set()
        self.interrupted = False

    def interrupt(self) -> None:
        """The partition belongs to somebody else now, or the process ends."""
        self.interrupted = True
        for waiting in tuple(self._open):
            resolve(waiting, False)

    async def until(self, waiting: asyncio.Future[bool], limit_s: float | None = None) -> bool:
        """The future's result; False when interrupted or when `limit_s` seconds are over first (the future is then done)."""
        if self.interrupted:
            resolve(waiting, False)
        loop = asyncio.get_running_loop()
        timer = None if limit_s is None else loop.call_later(max(0.0, limit_s), resolve, waiting, False)
        self._open.add(waiting)
        try:
            return await waiting
        finally:
            self._open.discard(waiting)
            if timer is not None:
                timer.cancel()

    async def sleep(self, seconds: float) -> bool:
        """True after this time, False at once when interrupted."""
        if self.interrupted:
            return False
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(max(0.0, seconds), resolve, waiting, True)
        try:
            return await self.until(waiting)
        finally:
            timer.cancel()


def resolve(waiting: asyncio.Future[bool], value: bool) -> None:
    """Give a waiting future its value unless it has one."""
    if not waiting.done():
        waiting.set_result(value)


Clock = Callable[[], float]
"""Seconds on a clock that never steps (schemas.clock.boot_s)."""
