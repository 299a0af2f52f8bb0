"""The way to the vault: permits and settlements of thousands of lanes in few round trips, in threads.

Settlements go first: while one cannot be written (PostgreSQL is away), or a whole batch of them waits, no permit is asked for,
so that no call starts whose outcome could not be kept either. So what waits here, and with it what a crash leaves unknown, is
bounded by the calls that may run at once and the batches under way.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from psycopg import InterfaceError, NotSupportedError, OperationalError, ProgrammingError
from psycopg.errors import ReadOnlySqlTransaction

from schemas.errors import SealpostError
from schemas.ids import random_unit
from schemas.metrics import gauge
from streams.step.contract import Output
from streams.step.errors import DatabaseAway
from streams.step.postgres import THROWN_OUT
from vault.claims import Settlement
from vault.permits import PERMITS_MAX, Answer, PermitRequest
from vault.vault import Vault
from workers.outbound.waits import Waits

COLLECT_S = 0.002
"""Ready lane heads are collected for so long before the vault is asked: one round trip serves many."""
AWAY_FIRST_S = 0.1
AWAY_MAX_S = 1.0
"""Between two tries while PostgreSQL is away: how late it is noticed that it is back."""
THREADS = 3
"""One for permits, one for settlements, one for what is looked up besides."""

AWAY = (
    OperationalError, InterfaceError, DatabaseAway, ReadOnlySqlTransaction, *THROWN_OUT, ProgrammingError, NotSupportedError,
)  # fmt: skip
"""How PostgreSQL says that it cannot answer anybody now: away, read-only after a fail-over, or not in this release's shape (a
function or a right is missing). Anything else is an error of the question."""

logger = logging.getLogger(__name__)
Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
Result = TypeVar("Result")
Draft = Callable[[], Settlement]


@dataclass(slots=True)
class _Waiting(Generic[Asked, Answered]):
    asked: Asked
    answer: asyncio.Future[Answered]
    waits: Waits | None = None


class Interrupted(SealpostError):
    """The partition was lost before the vault was asked; handled within this package. No action needed."""


class _Batches(Generic[Asked, Answered]):
    """Collects questions and answers them in batches, one batch at a time, for ever until it succeeds."""

    def __init__(
        self, ask: Callable[[Sequence[Asked]], Awaitable[Sequence[Answered]]], *allowed: asyncio.Event
    ) -> None:
        """Nothing is asked before all of `allowed` are set."""
        self._ask = ask
        self._allowed = allowed
        self._up = gauge("sealpost_component_up").labels("vault")
        self._queue: list[_Waiting[Asked, Answered]] = []
        self._filled = asyncio.Event()
        self.working = asyncio.Event()
        """The last question was answered."""
        self.working.set()
        self.room = asyncio.Event()
        """Less than a batch waits."""
        self.room.set()

    def put(self, asked: Asked, waits: Waits | None = None) -> asyncio.Future[Answered]:
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(asked, answer, waits))
        self._filled.set()
        if len(self._queue) >= PERMITS_MAX:
            self.room.clear()
        return answer

    async def serve(self) -> None:
        while True:
            await self._filled.wait()
            for allowed in self._allowed:
                await allowed.wait()
            await asyncio.sleep(COLLECT_S)
            batch = [waiting for waiting in self._queue[:PERMITS_MAX] if not _given_up(waiting)]
            del self._queue[:PERMITS_MAX]
            if len(self._queue) < PERMITS_MAX:
                self.room.set()
            if not self._queue:
                self._filled.clear()
            if batch:
                await self._answer(batch)

    async def _answer(self, batch: list[_Waiting[Asked, Answered]]) -> None:
        try:
            answers = await self._ask_until_back([waiting.asked for waiting in batch])
        except Exception as error:  # noqa: BLE001  # whatever one question does to the vault must not end the others' lanes
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._answer(batch[:middle])
                await self._answer(batch[middle:])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    async def _ask_until_back(self, questions: Sequence[Asked]) -> Sequence[Answered]:
        """The same questions are asked again while the vault is away: an answer that got lost on the way is then given again."""
        tries = 0
        while True:
            try:
                answers = await self._ask(questions)
            except AWAY as error:
                self.working.clear()
                self._up.set(0)
                if tries == 0:
                    logger.warning("the vault is away: %s", type(error).__name__)
                wait_s = min(AWAY_MAX_S, AWAY_FIRST_S * 2.0 ** min(tries, 8))
                tries += 1
                await asyncio.sleep(wait_s * (1.0 - random_unit() / 2))
                continue
            if tries:
                logger.warning("the vault is back")
            self.working.set()
            self._up.set(1)
            return answers


def _given_up(waiting: _Waiting[Asked, Answered]) -> bool:
    if waiting.waits is None or not waiting.waits.interrupted:
        return False
    if not waiting.answer.done():
        waiting.answer.set_exception(Interrupted())
    return True


class VaultGate:
    """One a process; make it inside the event loop and run `serve` for as long as it is used."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="outbound-vault")
        self._settlements = _Batches[Draft, tuple[Output, ...]](self._settle)
        self._permits = _Batches[PermitRequest, Answer](
            self._ask, self._settlements.working, self._settlements.room
        )

    async def serve(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settlements.serve())
            tasks.create_task(self._permits.serve())

    async def permit(self, request: PermitRequest, waits: Waits) -> Answer:
        """The vault's answer, however long it is away. Interrupted when the wait was cut short before the vault was asked;
        once it is asked, the answer is awaited, for it may hold a claim."""
        return await self._permits.put(request, waits)

    async def settle(self, draft: Draft) -> tuple[Output, ...]:
        """Written and committed; what to produce: what was stored first. Waits for as long as the vault is away.

        `draft` makes the settlement in a thread, where it may ask the vault itself; it must give the same when repeated.
        """
        return await self._settlements.put(draft)

    async def look_up(self, question: Callable[[], Result]) -> Result:
        """Ask the vault something else, in a thread; one of AWAY when it is away."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, question)

    @property
    def working(self) -> bool:
        """False while the vault is away."""
        return self._settlements.working.is_set() and self._permits.working.is_set()

    def close(self) -> None:
        """Let the threads end; calls under way finish by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ask(self, requests: Sequence[PermitRequest]) -> Sequence[Answer]:
        return await self.look_up(lambda: self._vault.permits(requests))

    async def _settle(self, drafts: Sequence[Draft]) -> Sequence[tuple[Output, ...]]:
        return await self.look_up(lambda: self._vault.settle([draft() for draft in drafts]))
