"""The order in which the gate asks: settlements before permits."""

import asyncio
from collections.abc import Sequence

import uvloop

from vault.permits import PERMITS_MAX
from workers.outbound.gate import _Batches


def test_no_permit_is_asked_for_while_a_batch_of_settlements_waits() -> None:
    """Calls end without waiting for their settlement, so their number alone does not bound what a crash leaves unknown."""

    async def test() -> None:
        settled = asyncio.Event()

        async def settle(drafts: Sequence[int]) -> Sequence[int]:
            await settled.wait()
            return drafts

        async def answer(questions: Sequence[int]) -> Sequence[int]:
            return questions

        settlements = _Batches[int, int](settle)
        permits = _Batches[int, int](answer, settlements.working, settlements.room)
        free = _Batches[int, int](answer)
        serving = [asyncio.create_task(batches.serve()) for batches in (settlements, permits, free)]
        under_way = [settlements.put(number) for number in range(PERMITS_MAX)]
        before = permits.put(1)
        assert await before == 1, "it is under way, and nothing waits behind it"
        waiting = [settlements.put(number) for number in range(PERMITS_MAX)]
        behind = permits.put(2)
        await free.put(2)
        assert not behind.done(), "a batch waits behind the one under way"
        settled.set()
        assert await behind == 2
        assert await asyncio.gather(*under_way, *waiting) == [*range(PERMITS_MAX)] * 2
        for task in serving:
            task.cancel()

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())
