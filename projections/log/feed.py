"""One reader's feed: records from the log, filtered, shown, opened where that was asked for, as server-sent events.

Pull, not push: a reader who is slow is only late. Who follows from now on and has fallen far behind goes on at the end and is
told so; who reads from a time on gets everything. A feed ends when its reader takes nothing for a while, when the token is not
good any more, and with the process. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio.to_thread
import orjson
from anyio import CapacityLimiter
from fastapi.responses import StreamingResponse
from starlette.types import Send

from projections.api.opening import Opening
from projections.log.shown import CLASSES, Shown, shown
from schemas.clock import boot_s, now_ms, to_text
from schemas.errors import SealpostError
from schemas.ids import is_id
from schemas.topics import DEADLETTERS
from streams.kafka.admin import TopicPart
from streams.kafka.tail import LogTail, Start
from vault.vault import Vault

BATCH = 500
WAIT_S = 0.5
"""How long one look at the log waits; also how late the end of the process is noticed."""
BEHIND_MAX = 20_000
"""A follower who is further behind goes on at the end."""
KEEP_ALIVE_S = 15.0
SEND_S = 30.0
"""A reader who takes nothing for so long has gone, or holds a place that others want."""
CHECK_S = 15.0
"""How often it is asked whether the token is still good."""
REACHED_S = 5.0
"""How often a follower is told that it has everything that had landed."""
FEEDS_MAX = 8
"""At one time: each holds a thread and a consumer."""
FEEDS_OF_ONE = 3
"""Of one tenant (the admin counts as one): nobody keeps all others out."""
T = TypeVar("T")
log = logging.getLogger(__name__)


class TooManyFeeds(SealpostError):
    """All feeds of this process are in use; end one, or ask again later."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader asked for. `tenant` "": of all tenants. `reason`: why blocks are opened; "" opens none."""

    topics: tuple[str, ...]
    tenant: str = ""
    subject: str = ""
    type: str = ""
    start: Start = None
    limit: int | None = None
    follow: bool = True
    reason: str = ""

    def takes(self, one: Shown) -> bool:
        """True for what is shown. Dead letters name no tenant in clear."""
        return (
            (not self.tenant or (one.tenant == self.tenant and one.topic != DEADLETTERS))
            and (not self.subject or one.subject == self.subject)
            and (not self.type or one.type == self.type or one.type.startswith(self.type + "."))
        )


class FeedResponse(StreamingResponse):
    """Sends a feed, and lets it go as soon as its reader has: hung up, or taken nothing for SEND_S."""

    async def stream_response(self, send: Send) -> None:
        """Starlette's own, with a limit for each piece."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                try:
                    async with asyncio.timeout(SEND_S):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                except TimeoutError:
                    log.info("a feed ends: its reader takes nothing")
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _pieces(self) -> AsyncGenerator[bytes, None]:
        assert isinstance(self.body_iterator, AsyncGenerator)
        return self.body_iterator


@dataclass(frozen=True, slots=True)
class FeedParts:
    """What feeds need. `stands`: False for a subject that is erased, lost or unknown. `ending`: True once the process ends."""

    bootstrap: str
    vault: Vault
    stands: Callable[[str, str], bool]
    ending: Callable[[], bool]


class _Reached:
    """Until when a follower has been told everything: the log's ends are noted, and passed some looks later."""

    def __init__(self, tail: LogTail) -> None:
        self._tail = tail
        self._ends: dict[TopicPart, int] = {}
        self._noted_ms = 0
        self._next_s = boot_s()

    def look(self) -> int | None:
        """A time in milliseconds; what had landed then has been read. None when there is nothing new to tell. May block."""
        if self._tail.is_past(self._ends):
            self._ends = {}
            self._next_s = boot_s() + REACHED_S
            return self._noted_ms
        if not self._ends and boot_s() >= self._next_s:
            self._next_s = boot_s() + REACHED_S
            self._noted_ms = now_ms()
            self._ends = self._tail.ends()
        return None


class Feeds:
    """All feeds of one API process."""

    def __init__(self, parts: FeedParts) -> None:
        self._parts = parts
        self._open: Counter[str] = Counter()
        self._threads = CapacityLimiter(FEEDS_MAX)
        """Of their own: feeds are in a thread nearly all the time, and requests must not wait for them."""

    async def begin(self, wanted: Wanted, is_good: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
        """The bytes of the stream. `is_good`: whether the token still is. TooManyFeeds, KafkaAway, ReadFailed or TopicMismatch
        before the first of them."""
        if self._open.total() >= FEEDS_MAX or self._open[wanted.tenant] >= FEEDS_OF_ONE:
            raise TooManyFeeds("too many feeds")
        self._open[wanted.tenant] += 1
        try:
            tail = await self._in_thread(lambda: LogTail(self._parts.bootstrap, wanted.topics, wanted.start))
        except BaseException:
            self._open[wanted.tenant] -= 1
            raise
        return self._stream(tail, wanted, is_good)

    async def _stream(
        self, tail: LogTail, wanted: Wanted, is_good: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        left, told_s, checked_s, reached = wanted.limit, boot_s(), boot_s(), _Reached(tail)
        try:
            yield b": the log\n\n"
            while not self._parts.ending():
                if boot_s() - checked_s > CHECK_S:
                    checked_s = boot_s()
                    if not await self._in_thread(is_good):
                        break
                events = await self._in_thread(lambda: self._events(tail.read(BATCH, WAIT_S), wanted))
                for event in events if left is None else events[:left]:
                    yield b"data: " + orjson.dumps(event) + b"\n\n"
                if left is not None and (left := left - len(events)) <= 0:
                    break
                if not wanted.follow and tail.at_end:
                    break
                passed = tail.pass_over(BEHIND_MAX) if wanted.follow and wanted.start is None else 0
                if passed:
                    # How much it is tells a tenant of the others' traffic.
                    count = {} if wanted.tenant else {"count": passed}
                    yield b"event: dropped\ndata: " + orjson.dumps(count) + b"\n\n"
                if events or passed:
                    told_s = boot_s()
                if wanted.follow and (at_ms := await self._in_thread(reached.look)) is not None:
                    yield b"event: reached\ndata: " + orjson.dumps({"at": to_text(at_ms)}) + b"\n\n"
                elif boot_s() - told_s > KEEP_ALIVE_S:
                    told_s = boot_s()
                    yield b": still here\n\n"
        finally:
            self._open[wanted.tenant] -= 1
            # Shielded: whoever hung up cancels this, and the consumer must be closed all the same.
            await asyncio.shield(asyncio.to_thread(tail.close))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    def _events(self, records: Iterable[Any], wanted: Wanted) -> list[dict[str, Any]]:
        found = [one for one in map(shown, records) if wanted.takes(one)]
        events = [one.as_json() for one in found]
        if wanted.reason:
            standing: dict[tuple[str, str], bool] = {}
            for one, event in zip(found, events, strict=True):
                opened = self._opened(one, standing)
                if opened is not None:
                    event["opened"] = opened
        return events

    def _opened(self, one: Shown, standing: dict[tuple[str, str], bool]) -> dict[str, Any] | None:
        """By key class: the fields, `erased`, or `unreadable`; None where there is nothing to open."""
        event = one.event
        names = [name for name in CLASSES if any(block.name == name for block in one.blocks)]
        if event is None or not is_id(event.subject) or not names:
            return None
        whose = (event.tenant, event.subject)
        if whose not in standing:
            standing[whose] = self._parts.stands(*whose)
        if not standing[whose]:
            # At once, whatever lease on a key is still held here.
            return dict.fromkeys(names, "erased")
        opening = Opening(self._parts.vault, event.tenant, event.subject)
        for name in names:
            opening.want(name, event.id, event.type, name, event.data["sealed"][name])
        opening.open()
        answers: dict[str, Any] = {}
        for name in names:
            fields = opening.of(name)
            answers[name] = (
                "erased" if fields.erased else "unreadable" if fields.unreadable else fields.values
            )
        return answers
