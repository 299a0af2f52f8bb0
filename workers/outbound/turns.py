"""Whose call may start now: each account's rate, its state, and how many calls run at once.

Everything here happens before a permit is asked for, so that nothing waits between permit and call. Within an account replies
go before bulk; between accounts free places go round, so that none starves another.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.metrics import gauge
from vault.connections import AccountLimits
from workers.channel import Capabilities
from workers.outbound import measures
from workers.outbound.rates import PairRates, Rate
from workers.outbound.waits import Clock, Waits, resolve

SLICE_S = 0.25
"""Burst of an account, in seconds of its rate: what may go at once after a pause. More would break a limit a second."""
PAUSE_FIRST_S = 5.0
"""First pause of an account whose token or standing is broken; one message probes it afterwards."""
PAUSE_MAX_S = 300.0
"""Longest pause between two probes: how late a repaired account is noticed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one process does at once.

    `messages_per_partition`: how many messages of a partition are in memory; above it the partition is paused.
    """

    calls: int = 1_000
    calls_per_account: int = 500
    pause_first_s: float = PAUSE_FIRST_S
    messages_per_partition: int = 2_000


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one account may send: `pair_interval_s` seconds between messages to one person after a burst of `pair_burst`
    (None: no such limit)."""

    rate_per_s: float
    pair_interval_s: float | None = None
    pair_burst: int = 1

    @classmethod
    def of(cls, declared: Capabilities, own: AccountLimits) -> "Pace":
        """What the channel declares, except where the account has limits of its own; a pair interval of 0 is none."""
        interval_s = declared.pair_interval_s if own.pair_interval_s is None else own.pair_interval_s
        return cls(
            own.rate_per_s or declared.rate_per_s, interval_s or None, own.pair_burst or declared.pair_burst
        )

    @property
    def rate(self) -> tuple[float, int]:
        """(interval, burst) of the account."""
        return 1.0 / self.rate_per_s, max(1, int(self.rate_per_s * SLICE_S))


@dataclass(slots=True)
class _Account:
    pace: Pace
    rate: Rate
    pairs: PairRates | None
    replies: deque[asyncio.Future[bool]] = field(default_factory=deque)
    bulk: deque[asyncio.Future[bool]] = field(default_factory=deque)
    running: int = 0
    paused_until_s: float = 0.0
    pause_s: float = 0.0
    timer: asyncio.TimerHandle | None = None
    timer_at_s: float = 0.0
    listed: bool = False

    def heads(self) -> Iterator[deque[asyncio.Future[bool]]]:
        yield self.replies
        yield self.bulk


class Turns:
    """Hands out turns. A turn that was taken is ended by `release`; one that led to no call is given back first."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._running = 0
        self._round: deque[str] = deque()
        self._states = gauge("sealpost_account_state")
        self._account_wait = measures.pacing_wait("account")
        self._pair_wait = measures.pacing_wait("pair")

    async def take(
        self, account: str, subject: str, pace: Pace, *, bulk: bool, waits: Waits, limit_s: float
    ) -> bool:
        """Wait for a turn of this account; False when `limit_s` seconds are over or the wait is interrupted.

        `pace`: the account's as it is known now; a change takes effect at once.
        """
        state = self._account(account, pace)
        began_s = self._clock()
        end_s = began_s + limit_s
        pairs, pair = state.pairs, (account, subject)
        if pairs is not None:
            # Taken before the wait, so that a reply and a bulk message to the same person cannot both use one share.
            pause_s = pairs.wait_s(pair, began_s)
            pairs.take(pair, began_s)
            waited = not pause_s or await waits.sleep(min(pause_s, limit_s))
            self._pair_wait.observe(self._clock() - began_s)
            if not waited or pause_s > limit_s:
                pairs.give_back(pair)
                return False
        granted = not waits.interrupted and await self._account_turn(account, state, waits, end_s, bulk=bulk)
        if not granted and pairs is not None:
            pairs.give_back(pair)
        return granted

    async def _account_turn(
        self, account: str, state: _Account, waits: Waits, end_s: float, *, bulk: bool
    ) -> bool:
        began_s = self._clock()
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        (state.bulk if bulk else state.replies).append(waiting)
        self._pump(account)
        # Most of the time there is a turn at once: no timer then.
        granted = waiting.result() if waiting.done() else await waits.until(waiting, end_s - began_s)
        self._account_wait.observe(self._clock() - began_s)
        return granted

    def give_back(self, account: str, subject: str) -> None:
        """The turn led to no call: its share of the rates is free again."""
        state = self._accounts[account]
        state.rate.give_back()
        if state.pairs is not None:
            state.pairs.give_back((account, subject))

    def release(self, account: str) -> None:
        """The call is over (or there was none): its place is free."""
        state = self._accounts[account]
        state.running -= 1
        self._running -= 1
        if not self._round:
            self._pump(account)
            return
        self._enlist(account, state)
        while self._round and self._running < self._limits.calls:
            other = self._round.popleft()
            self._accounts[other].listed = False
            self._pump(other, most=1)

    def hold(self, account: str, seconds: float) -> None:
        """The provider says slow down: nothing goes on this account for so long."""
        self._accounts[account].rate.hold(self._clock() + seconds)

    def pause(self, account: str, why: str) -> float:
        """Token or standing are broken: stop, and let one message probe after the seconds that are returned."""
        state = self._accounts[account]
        now_s = self._clock()
        if state.paused_until_s > now_s:
            return state.paused_until_s - now_s
        first = state.pause_s == 0.0
        state.pause_s = self._limits.pause_first_s if first else min(PAUSE_MAX_S, state.pause_s * 2)
        state.paused_until_s = now_s + state.pause_s
        if first:
            self._show(account, paused=True)
            logger.warning("account %s is paused: %s", account, why)
        return state.pause_s

    def resume(self, account: str) -> None:
        """The provider took something: the account works."""
        state = self._accounts[account]
        if state.pause_s:
            state.pause_s = 0.0
            state.paused_until_s = 0.0
            self._show(account, paused=False)
            logger.warning("account %s works again", account)
            self._pump(account)

    def _account(self, account: str, pace: Pace) -> _Account:
        state = self._accounts.get(account)
        if state is None:
            state = self._accounts[account] = _Account(pace, Rate(*pace.rate), _pairs(pace))
            self._show(account, paused=False)
        elif state.pace != pace:
            now_s = self._clock()
            state.pace = pace
            state.rate.change(*pace.rate, now_s)
            if state.pairs is None or pace.pair_interval_s is None:
                state.pairs = _pairs(pace)
            else:
                state.pairs.change(pace.pair_interval_s, pace.pair_burst, now_s)
            logger.info("account %s has other limits now", account)
        return state

    def _pump(self, account: str, most: int | None = None) -> None:
        """Grant turns of one account while rate, state and places allow; come back when only time is missing."""
        state = self._accounts[account]
        granted = 0
        for queue in state.heads():
            while queue:
                if queue[0].done():
                    queue.popleft()
                    continue
                if granted == most:
                    self._enlist(account, state)
                    return
                if not self._may_start(account, state):
                    return
                resolve(queue.popleft(), True)
                state.rate.take(self._clock())
                state.running += 1
                self._running += 1
                granted += 1

    def _may_start(self, account: str, state: _Account) -> bool:
        now_s = self._clock()
        wait_s = max(state.paused_until_s - now_s, state.rate.wait_s(now_s))
        if wait_s > 0:
            self._come_back(account, state, wait_s)
            return False
        if state.running >= (1 if state.pause_s else self._limits.calls_per_account):
            return False
        if self._running >= self._limits.calls:
            self._enlist(account, state)
            return False
        return True

    def _enlist(self, account: str, state: _Account) -> None:
        if not state.listed:
            state.listed = True
            self._round.append(account)

    def _come_back(self, account: str, state: _Account, wait_s: float) -> None:
        at_s = self._clock() + wait_s
        if state.timer is not None:
            if state.timer_at_s <= at_s:
                return
            state.timer.cancel()

        def again() -> None:
            state.timer = None
            self._pump(account)

        state.timer_at_s = at_s
        state.timer = asyncio.get_running_loop().call_later(wait_s, again)

    def _show(self, account: str, *, paused: bool) -> None:
        self._states.labels(account, "paused").set(1 if paused else 0)
        self._states.labels(account, "active").set(0 if paused else 1)


def _pairs(pace: Pace) -> PairRates | None:
    return None if pace.pair_interval_s is None else PairRates(pace.pair_interval_s, pace.pair_burst)
