"""One reader's feed: records from the log, filtered, shown, opened where that was asked for, as server-sent events.

Pull, not push: a reader who is slow is only late. One who follows and has fallen far behind goes on at the end and is told how
much was passed over. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool

from projections.api.opening import Opening
from projections.log.shown import CLASSES, Shown, shown
from schemas.clock import boot_s
from schemas.errors import SealpostError
from schemas.ids import is_id
from schemas.topics import DEADLETTERS
from streams.kafka.tail import LogTail, Start
from vault.vault import Vault

BATCH = 500
WAIT_S = 0.5
"""How long one look at the log waits; also how late the end of the process is noticed."""
BEHIND_MAX = 20_000
"""A follower who is further behind goes on at the end."""
KEEP_ALIVE_S = 15.0
FEEDS_MAX = 8
"""At one time: each holds a thread and a consumer."""
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


class Feeds:
    """All feeds of one API process."""

    def __init__(self, bootstrap: str, vault: Vault, ending: Callable[[], bool]) -> None:
        """`ending`: True once the process is to end; feeds end with it."""
        self._bootstrap, self._vault, self._ending = bootstrap, vault, ending
        self._open = 0

    async def begin(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """The bytes of the stream. TooManyFeeds, KafkaAway or TopicMismatch before the first of them."""
        if self._open >= FEEDS_MAX:
            raise TooManyFeeds("too many feeds")
        self._open += 1
        try:
            tail = await run_in_threadpool(LogTail, self._bootstrap, wanted.topics, wanted.start)
        except BaseException:
            self._open -= 1
            raise
        return self._stream(tail, wanted)

    async def _stream(self, tail: LogTail, wanted: Wanted) -> AsyncIterator[bytes]:
        left, told_s = wanted.limit, boot_s()
        try:
            yield b": the log\n\n"
            while not self._ending():
                records = await run_in_threadpool(tail.read, BATCH, WAIT_S)
                events = await run_in_threadpool(self._events, records, wanted)
                for event in events if left is None else events[:left]:
                    yield b"data: " + orjson.dumps(event) + b"\n\n"
                if left is not None and (left := left - len(events)) <= 0:
                    break
                if not wanted.follow and tail.at_end:
                    break
                if wanted.follow and wanted.start is None and (passed := tail.pass_over(BEHIND_MAX)):
                    yield b'event: dropped\ndata: {"count": %d}\n\n' % passed
                if records:
                    told_s = boot_s()
                elif boot_s() - told_s > KEEP_ALIVE_S:
                    told_s = boot_s()
                    yield b": still here\n\n"
        finally:
            self._open -= 1
            # Shielded: whoever hung up cancels this, and the consumer must be closed all the same.
            await asyncio.shield(asyncio.to_thread(tail.close))

    def _events(self, records: Iterable[Any], wanted: Wanted) -> list[dict[str, Any]]:
        found = [one for one in map(shown, records) if wanted.takes(one)]
        events = [one.as_json() for one in found]
        if wanted.reason:
            for one, event in zip(found, events, strict=True):
                opened = self._opened(one)
                if opened is not None:
                    event["opened"] = opened
        return events

    def _opened(self, one: Shown) -> dict[str, Any] | None:
        """By key class: the fields, `erased`, or `unreadable`; None where there is nothing to open."""
        event = one.event
        names = [name for name in CLASSES if any(block.name == name for block in one.blocks)]
        if event is None or not is_id(event.subject) or not names:
            return None
        opening = Opening(self._vault, event.tenant, event.subject)
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
