"""What the simulators of all channels share: faults on demand, rate limits, and webhooks that are repeated
until taken.

Nothing here logs or stores what it is given; all memory is bounded.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from aiohttp import web

from schemas import clock, ids
from workers.channel import ChannelError
from workers.inbound_values import JsonObject

log = logging.getLogger(__name__)

WEBHOOK_LIMIT_S = 20.0
"""How long a provider waits for the answer to a webhook (Messenger: 20 s)."""
REPEATS_MAX = 5_000
"""Webhooks that wait to be repeated; above it the oldest is dropped, as a provider's queue would."""
CALM_MAX = 10
"""While more than this wait, reports that can wait do: an outage must not turn into thousands of small
webhooks.
"""
BUCKETS_MAX = 200_000
"""Rate limits kept a kind; the one used longest ago is forgotten (it is full again by then)."""
WINDOWS_MAX = 500_000
"""People whose last message is remembered; the one who wrote longest ago is forgotten, and the window is
closed.
"""
NO_ANSWER = 0
"""Stands for the HTTP status of a webhook that could not be delivered at all."""


class InvalidControl(ChannelError):
    """A control request to a simulator is not understood; correct the field that the message names."""


# ---- rates --------------------------------------------------------------------------------------------------------


class RateLimit:
    """One token bucket a key: `burst` at once, `per_s` afterwards."""

    def __init__(self, per_s: float, burst: float) -> None:
        self.per_s = per_s
        self.burst = max(burst, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> bool:
        """Use one token; False when there is none."""
        now_s = clock.boot_s()
        tokens, at_s = self._buckets.pop(key, (self.burst, now_s))
        tokens = min(self.burst, tokens + (now_s - at_s) * self.per_s)
        allowed = tokens >= 1.0
        self._buckets[key] = (tokens - 1.0 if allowed else tokens, now_s)
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        return allowed

    def clear(self) -> None:
        """All buckets are full again."""
        self._buckets.clear()


class Windows:
    """Service windows: who wrote to which account, and how long ago. People stand in it by a keyed hash
    only.
    """

    def __init__(self, window_s: float, *, unknown_open: bool = False) -> None:
        """`unknown_open`: people of before the start, who are not known, count as having written at the start."""
        self._window_s = window_s
        self._unknown_s = clock.boot_s() if unknown_open else None
        self._key = ids.random_bytes(32)
        self._wrote: OrderedDict[bytes, float] = OrderedDict()

    def opened(self, account: str, person: str, age_s: float = 0.0) -> None:
        """The person wrote `age_s` ago; an older message does not shorten a window."""
        key = ids.keyed_hash(self._key, account, person)
        wrote_s = clock.boot_s() - age_s
        self._wrote[key] = max(wrote_s, self._wrote.pop(key, wrote_s))
        if len(self._wrote) > WINDOWS_MAX:
            self._wrote.popitem(last=False)

    def is_open(self, account: str, person: str) -> bool:
        """True while free-form content may go to this person."""
        wrote_s = self._wrote.get(ids.keyed_hash(self._key, account, person), self._unknown_s)
        return wrote_s is not None and clock.boot_s() - wrote_s <= self._window_s

    def clear(self) -> None:
        """Close all."""
        self._wrote.clear()
        self._unknown_s = None


# ---- record -------------------------------------------------------------------------------------------------------


class MessageRecord:
    """What was accepted, in order, the newest `kept`; found by recipient too."""

    def __init__(self, kept: int) -> None:
        self._kept = max(kept, 1)
        self._all: deque[JsonObject] = deque()
        self._by_to: dict[str, deque[JsonObject]] = {}

    def add(self, message: JsonObject) -> None:
        """Append one; the oldest goes when there are too many."""
        if len(self._all) == self._kept:
            oldest = self._all.popleft()
            mine = self._by_to[oldest["to"]]
            mine.popleft()
            if not mine:
                del self._by_to[oldest["to"]]
        self._all.append(message)
        self._by_to.setdefault(message["to"], deque()).append(message)

    def messages(self, to: str | None = None) -> list[JsonObject]:
        """All, or those to one recipient."""
        return list(self._all if to is None else self._by_to.get(to, ()))

    def clear(self) -> None:
        """Forget all."""
        self._all.clear()
        self._by_to.clear()


# ---- faults -------------------------------------------------------------------------------------------------------

When = Literal["before", "after"]


@dataclass(slots=True)
class Fault:
    """What happens to requests that match: all to recipient `to`, or any; `left` of them (None: until
    cleared).

    `when`: before the message is accepted (it is not), or after (it is, and only the answer is lost or
    wrong).
    """

    to: str | None
    left: int | None
    when: When
    error: JsonObject | None
    delay_s: float
    drop: bool
    retry_after_s: float | None
    statuses: tuple[Any, ...] | None

    @classmethod
    def read(cls, body: Mapping[str, Any], recipient: Callable[[str], str | None]) -> "Fault":
        """From a control request; InvalidControl names the field that is wrong."""
        known = {"next", "to", "error", "delay_s", "drop", "retry_after_s", "statuses", "when"}
        for name in body:
            if name not in known:
                raise InvalidControl(f"unknown field {name!r}; known are {', '.join(sorted(known))}")
        to = recipient(str(body["to"])) if "to" in body else None
        if "to" in body and to is None:
            raise InvalidControl("to: neither an address nor a number")
        if to is None and "next" not in body:
            raise InvalidControl("next or to: one of them must say which requests")
        left = body.get("next")
        if left is not None and (not isinstance(left, int) or isinstance(left, bool) or left < 1):
            raise InvalidControl("next: a whole number of at least 1")
        drop = body.get("drop", False)
        when = drop if drop in ("before", "after") else body.get("when", "before")
        if when not in ("before", "after") or drop not in (True, False, "before", "after"):
            raise InvalidControl('drop, when: "before" or "after" accepting')
        error = _error(body.get("error"))
        statuses = body.get("statuses")
        if statuses is not None and not isinstance(statuses, list):
            raise InvalidControl("statuses: a list")
        return cls(
            to=to,
            left=left,
            when=when,
            error=error,
            delay_s=_seconds(body, "delay_s") or 0.0,
            drop=bool(drop),
            retry_after_s=_seconds(body, "retry_after_s"),
            statuses=None if statuses is None else tuple(statuses),
        )


class Faults:
    """The faults in force; those for one recipient go before those for anybody, older before newer."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def __len__(self) -> int:
        return len(self._faults)

    def apply(
        self,
        body: Mapping[str, Any],
        recipient: Callable[[str], str | None],
        check_status: Callable[[Any], None],
    ) -> int:
        """Put the fault of a control request in force, or clear all (`{"clear": true}`); returns how many are in force."""
        if body.get("clear") is True:
            self.clear()
            return 0
        fault = Fault.read(body, recipient)
        for status in fault.statuses or ():
            check_status(status)
        self._faults.append(fault)
        return len(self._faults)

    def take(self, to: str) -> Fault | None:
        """The fault that this request meets, used up by one."""
        found = next((f for f in self._faults if f.to == to), None) or next(
            (f for f in self._faults if f.to is None), None
        )
        if found is not None and found.left is not None:
            found.left -= 1
            if found.left == 0:
                self._faults.remove(found)
        return found

    def clear(self) -> None:
        """No more faults."""
        self._faults.clear()


def _error(given: object) -> JsonObject | None:
    """`{"code"?, "subcode"?, "http"?, "details"?}` of a fault; a bare number is a code."""
    if given is None:
        return None
    error = {"code": given} if isinstance(given, int) else given
    if not isinstance(error, dict) or not error.keys() & {"code", "http"}:
        raise InvalidControl('error: a code, or {"code", "subcode", "http", "details"}')
    for name, value in error.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (
            (name in {"code", "subcode", "http"} and whole) or (name == "details" and isinstance(value, str))
        ):
            raise InvalidControl("error: code, subcode and http are whole numbers, details is text")
    within = error.get("http") == 200 and "code" in error
    if not within and not 400 <= error.get("http", 400) < 600:
        raise InvalidControl("error: http is 400 to 599, or 200 with a code")
    return error


def _seconds(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 86_400:
        raise InvalidControl(f"{name}: seconds, 0 to 86400")
    return float(value)


async def suffer(
    request: web.Request, fault: Fault | None, moment: When, answer: Callable[[Fault], web.Response]
) -> web.StreamResponse | None:
    """Delay, cut the connection, or give the error that `answer` makes; None when the request goes on."""
    if fault is None or fault.when != moment:
        return None
    if fault.delay_s:
        await asyncio.sleep(fault.delay_s)
    if fault.drop:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
    return answer(fault) if fault.error is not None else None


# ---- webhooks -----------------------------------------------------------------------------------------------------


class Webhooks:
    """Posts signed webhooks to one URL. What is not answered 2xx is repeated with growing gaps, oldest first.

    `taken`, `repeated` and `dropped` count webhooks. While repeats wait, newer reports go on past them, as
    real ones do.
    """

    def __init__(
        self, url: str, sign: Callable[[bytes], Mapping[str, str]], *, first_s: float, max_s: float
    ) -> None:
        self.taken = self.repeated = self.dropped = 0
        self._url, self._sign = url, sign
        self._first_s, self._max_s = first_s, max_s
        self._waiting: deque[bytes] = deque(maxlen=REPEATS_MAX)
        self._wanted = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()
        self._session: aiohttp.ClientSession | None = None
        self._repeater: asyncio.Task[None] | None = None

    def counts(self) -> JsonObject:
        """How many webhooks were taken, repeated, dropped, and wait to be repeated."""
        waiting = len(self._waiting)
        return {"taken": self.taken, "repeated": self.repeated, "dropped": self.dropped, "waiting": waiting}

    def start(self) -> None:
        """Open the HTTP client; call inside the running loop."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=WEBHOOK_LIMIT_S), auto_decompress=False
        )
        self._repeater = asyncio.create_task(self._repeat())

    async def stop(self) -> None:
        """Forget what waits and close the client."""
        self._waiting.clear()
        if self._repeater is not None:
            self._repeater.cancel()
            await asyncio.gather(self._repeater, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._calm.set()

    async def calm(self) -> None:
        """Wait until few webhooks wait to be repeated."""
        await self._calm.wait()

    async def send(self, body: bytes) -> int:
        """Post once and return the HTTP status (`NO_ANSWER`: none); repeats go on by themselves when it is
        not 2xx.
        """
        status = await self._post(body)
        if not 200 <= status < 300:
            if len(self._waiting) == REPEATS_MAX:
                self.dropped += 1
            self._waiting.append(body)
            self._wanted.set()
            if len(self._waiting) > CALM_MAX:
                self._calm.clear()
        return status

    async def _post(self, body: bytes) -> int:
        assert self._session is not None, "start() comes first"
        headers = {"Content-Type": "application/json", **self._sign(body)}
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            log.info("a webhook was not answered: %s", type(error).__name__)
            return NO_ANSWER
        if 200 <= status < 300:
            self.taken += 1
        return status

    async def _repeat(self) -> None:
        gap_s = self._first_s
        while True:
            if not self._waiting:
                gap_s = self._first_s
                self._wanted.clear()
                await self._wanted.wait()
            await asyncio.sleep(gap_s)
            if not self._waiting:
                continue
            body = self._waiting[0]
            self.repeated += 1
            if 200 <= await self._post(body) < 300:
                gap_s = 0.0
                if self._waiting and self._waiting[0] is body:
                    self._waiting.popleft()
                if len(self._waiting) <= CALM_MAX:
                    self._calm.set()
            else:
                gap_s = min(max(gap_s * 2, self._first_s), self._max_s)
                if self._waiting and self._waiting[0] is body:
                    self._waiting.rotate(-1)
