"""Look-ups shared by many requests."""

import asyncio
import threading

from schemas.errors import SealpostError
from workers.receiver.coalesced import Coalesced


class Work:
    """A look-up that a test lets go on."""

    def __init__(self) -> None:
        """Not begun yet."""
        self.runs = 0
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.fails = False

    def __call__(self) -> None:
        """Look."""
        self.runs += 1
        self.began.set()
        self.go_on.wait(60)
        if self.fails:
            raise SealpostError("away")


def test_whoever_asks_gets_a_run_that_began_after_the_question() -> None:
    """A hundred who ask during a run share the one after it."""

    async def scenario() -> None:
        work = Work()
        look = Coalesced(work, pause_s=0, waiters_max=1_000)
        first = asyncio.create_task(look.fresh())
        await asyncio.to_thread(work.began.wait, 60)
        others = [asyncio.create_task(look.fresh()) for _ in range(100)]
        await asyncio.sleep(0)
        work.go_on.set()
        assert await first
        assert all(await asyncio.gather(*others))
        assert work.runs == 2

    asyncio.run(scenario())


def test_failure_too_many_waiters_and_hang_ups() -> None:
    """A failed look answers False; so does one too many; who hangs up does not cancel the others' run."""

    async def scenario() -> None:
        work = Work()
        look = Coalesced(work, pause_s=0, waiters_max=2)
        patient, gone = asyncio.create_task(look.fresh()), asyncio.create_task(look.fresh())
        await asyncio.sleep(0)
        assert not await look.fresh()
        gone.cancel()
        work.go_on.set()
        assert await patient
        work.fails = True
        assert not await look.fresh()

    asyncio.run(scenario())


def test_runs_begin_apart() -> None:
    """Questions one after another do not become look-ups one after another."""

    async def scenario() -> None:
        work = Work()
        work.go_on.set()
        look = Coalesced(work, pause_s=0.05, waiters_max=10)
        began = asyncio.get_running_loop().time()
        for _ in range(3):
            assert await look.fresh()
        assert asyncio.get_running_loop().time() - began >= 0.1
        assert work.runs == 3

    asyncio.run(scenario())
