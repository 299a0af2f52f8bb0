"""What the intake needs of producers: asyncio for the API's hot path, blocking for the registrar."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Protocol

from streams.kafka.producer import ProduceFailed
from streams.kafka.written import count_written
from streams.step.contract import Output

PRODUCE_LIMIT_S = 10.0
"""A command whose outputs are not acknowledged in this time is answered 503; role clock produces what was recorded."""
HAND_OVER_S = 1.0


class Sends(Protocol):
    """An asyncio producer (streams.kafka.producer.AsyncProducer)."""

    async def send_all(self, outputs: Sequence[Output], timeout_s: float | None = None) -> None:
        """Produce in order; returns when all are acknowledged, else ProduceFailed."""
        ...


class Produces(Protocol):
    """A blocking producer (streams.kafka.producer.OrderedProducer)."""

    def produce_all(self, outputs: Sequence[Output], timeout_s: float | None = None) -> None:
        """Produce in order; returns when all are acknowledged, else ProduceFailed."""
        ...


class Counted:
    """Counts what is written through another producer, once it is acknowledged."""

    def __init__(self, sends: Sends) -> None:
        self._sends = sends

    async def send_all(self, outputs: Sequence[Output], timeout_s: float | None = None) -> None:
        """As the other."""
        await self._sends.send_all(outputs, timeout_s)
        count_written(outputs)


class FromThread:
    """Lets a thread use the producer of a running event loop; bind it to the loop first."""

    def __init__(self, sends: Sends) -> None:
        self._sends = sends
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self) -> None:
        """Called in the event loop that the producer serves."""
        self._loop = asyncio.get_running_loop()

    def produce_all(self, outputs: Sequence[Output], timeout_s: float | None = None) -> None:
        """Hand the outputs to the loop and wait for the acknowledgements; ProduceFailed when they do not come."""
        if self._loop is None:
            raise ProduceFailed("no event loop serves the producer")
        limit_s = PRODUCE_LIMIT_S if timeout_s is None else timeout_s
        sending = asyncio.run_coroutine_threadsafe(self._sends.send_all(outputs, limit_s), self._loop)
        try:
            sending.result(limit_s + HAND_OVER_S)
        except FutureTimeout:
            sending.cancel()
            raise ProduceFailed(f"{outputs[0].topic}: the event loop gave no answer in time") from None
