"""Rates as arithmetic, and who gets the next turn."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.clock import boot_s
from vault.connections import AccountLimits
from workers.channels.whatsapp.channel import CHANNEL as WHATSAPP
from workers.outbound.rates import PairRates, Rate
from workers.outbound.turns import Limits, Pace, Turns
from workers.outbound.waits import Waits

FAST = Pace(rate_per_s=10_000)


@given(
    st.integers(1, 20),
    st.floats(0.01, 5),
    st.lists(st.floats(0, 30), min_size=1, max_size=200),
)
def test_never_more_than_the_bucket_in_any_window(burst: int, interval_s: float, gaps: list[float]) -> None:
    rate = Rate(interval_s, burst)
    now_s, went = 1000.0, []
    for gap in gaps:
        now_s += gap * interval_s
        if rate.wait_s(now_s) <= 0:
            rate.take(now_s)
            went.append(now_s)
    for first, start in enumerate(went):
        for last in range(first, len(went)):
            allowed = burst + (went[last] - start) / interval_s
            assert last - first + 1 <= allowed + 1e-6


@given(st.integers(1, 20), st.floats(0.01, 5))
def test_waiting_as_told_is_enough_and_uses_the_whole_rate(burst: int, interval_s: float) -> None:
    rate = Rate(interval_s, burst)
    now_s = 0.0
    for _ in range(burst + 10):
        now_s += rate.wait_s(now_s) + 1e-9
        assert rate.wait_s(now_s) <= 1e-6
        rate.take(now_s)
    assert now_s <= 11 * interval_s + 1e-3


def test_what_is_given_back_may_go_again_and_a_hold_owes_no_burst() -> None:
    rate = Rate(1.0, 2)
    rate.take(10.0)
    rate.take(10.0)
    assert rate.wait_s(10.0) == 1.0
    rate.give_back()
    assert rate.wait_s(10.0) == 0.0
    rate.hold(20.0)
    assert rate.wait_s(10.0) == 10.0
    assert rate.wait_s(20.0) == 0.0
    rate.take(20.0)
    assert rate.wait_s(20.0) == 1.0


def test_pairs_are_forgotten_once_they_are_whole_again() -> None:
    pairs = PairRates(6.0, 45)
    for person in range(PairRates.SWEEP_EVERY):
        pairs.take(("account", str(person)), 0.0 if person < 9_000 else 1_000.0)
    assert len(pairs) == 1_000
    assert pairs.wait_s(("account", "0"), 1_000.0) == 0.0


def test_other_figures_keep_what_went_and_a_hold() -> None:
    rate = Rate(1.0, 1)
    rate.take(10.0)
    rate.change(0.1, 5, 10.0)
    assert rate.wait_s(10.0) == 0.0, "one of five is used"
    for _ in range(4):
        rate.take(10.0)
    assert 0.09 < rate.wait_s(10.0) <= 0.1000001
    rate.hold(20.0)
    rate.change(0.001, 50, 10.0)
    assert rate.wait_s(10.0) == 10.0
    pairs = PairRates(6.0, 1)
    pairs.take(("a", "anna"), 10.0)
    pairs.change(2.0, 1, 10.0)
    assert pairs.wait_s(("a", "anna"), 10.0) == 2.0
    pairs.take(("a", "ben"), 10.0)
    assert pairs.wait_s(("a", "ben"), 10.0) == 2.0


def test_an_accounts_own_limits_go_before_the_channels() -> None:
    declared = WHATSAPP.capabilities
    assert Pace.of(declared, AccountLimits()) == Pace(80.0, 6.0, 45)
    assert Pace.of(declared, AccountLimits(rate_per_s=500.0)) == Pace(500.0, 6.0, 45)
    assert Pace.of(declared, AccountLimits(pair_interval_s=0)) == Pace(80.0, None, 45)
    assert Pace.of(declared, AccountLimits(pair_interval_s=1.5, pair_burst=3)) == Pace(80.0, 1.5, 3)


def _run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


def test_replies_go_before_bulk_that_waited_longer() -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(calls=1, calls_per_account=1), boot_s), Waits()
        order: list[str] = []

        async def go(name: str, bulk: bool) -> None:
            assert await turns.take("a", name, FAST, bulk=bulk, waits=waits, limit_s=50)
            order.append(name)
            turns.release("a")

        assert await turns.take("a", "first", FAST, bulk=True, waits=waits, limit_s=50)
        tasks = [asyncio.create_task(go(f"bulk{n}", True)) for n in range(3)]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(go("reply", False)))
        await asyncio.sleep(0)
        turns.release("a")
        await asyncio.gather(*tasks)
        assert order == ["reply", "bulk0", "bulk1", "bulk2"]

    _run(test)


def test_free_places_go_round_between_accounts() -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(calls=2, calls_per_account=2), boot_s), Waits()
        order: list[str] = []

        async def go(account: str, number: int) -> None:
            assert await turns.take(account, str(number), FAST, bulk=False, waits=waits, limit_s=50)
            order.append(account)
            await asyncio.sleep(0.001)
            turns.release(account)

        tasks = [asyncio.create_task(go("big", n)) for n in range(40)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(go("small", n)) for n in range(4)]
        await asyncio.gather(*tasks)
        assert max(place for place, account in enumerate(order) if account == "small") < 14

    _run(test)


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_everybody_gets_a_turn_and_limits_hold(
    wanted: list[tuple[str, bool]], calls: int, calls_per_account: int
) -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(calls=calls, calls_per_account=calls_per_account), boot_s), Waits()
        running: dict[str, int] = {}

        async def go(account: str, bulk: bool) -> None:
            assert await turns.take(account, "s", FAST, bulk=bulk, waits=waits, limit_s=50)
            running[account] = running.get(account, 0) + 1
            assert running[account] <= calls_per_account
            assert sum(running.values()) <= calls
            await asyncio.sleep(0)
            running[account] -= 1
            turns.release(account)

        await asyncio.gather(*(go(account, bulk) for account, bulk in wanted))

    _run(test)


def test_a_wait_ends_at_its_limit_or_when_interrupted() -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(calls=1), boot_s), Waits()
        assert await turns.take("a", "s", FAST, bulk=False, waits=waits, limit_s=50)
        assert not await turns.take("a", "s", FAST, bulk=False, waits=waits, limit_s=0.01)
        waiting = asyncio.create_task(turns.take("a", "s", FAST, bulk=False, waits=waits, limit_s=50))
        sleeping = asyncio.create_task(waits.sleep(5))
        await asyncio.sleep(0)
        waits.interrupt()
        assert not await waiting
        assert not await sleeping
        assert not await waits.sleep(5)
        turns.release("a")
        assert await turns.take("a", "s", FAST, bulk=False, waits=Waits(), limit_s=50)

    _run(test)


def test_a_paused_account_lets_one_probe_through_until_it_works() -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(pause_first_s=0.5), boot_s), Waits()
        assert await turns.take("a", "s", FAST, bulk=False, waits=waits, limit_s=50)
        started_s = boot_s()
        assert 0 < turns.pause("a", "AUTH") <= 0.5
        assert 0 < turns.pause("a", "AUTH") <= 0.5, (
            "a second failure of the same moment does not lengthen the pause"
        )
        turns.release("a")
        first = asyncio.create_task(turns.take("a", "s", FAST, bulk=False, waits=waits, limit_s=50))
        second = asyncio.create_task(turns.take("a", "s", FAST, bulk=False, waits=waits, limit_s=50))
        assert await first
        assert boot_s() - started_s >= 0.4
        assert await turns.take("other", "s", FAST, bulk=False, waits=waits, limit_s=50)
        await asyncio.sleep(0.02)
        assert not second.done(), "one probe at a time"
        assert turns.pause("a", "AUTH") > 0.5, "each failed probe doubles the pause"
        turns.release("a")
        assert await second
        turns.resume("a")
        assert await turns.take("a", "s", FAST, bulk=False, waits=waits, limit_s=50)

    _run(test)


def test_a_held_account_waits_and_others_go_on() -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(), boot_s), Waits()
        for account in "ab":
            assert await turns.take(account, "s", FAST, bulk=False, waits=waits, limit_s=50)
        started_s = boot_s()
        turns.hold("a", 3600)
        turns.hold("b", 0.05)
        held = asyncio.create_task(turns.take("a", "s", FAST, bulk=False, waits=waits, limit_s=7200))
        assert await turns.take("c", "s", FAST, bulk=False, waits=waits, limit_s=50)
        assert await turns.take("b", "s", FAST, bulk=False, waits=waits, limit_s=60)
        assert boot_s() - started_s >= 0.049
        assert not held.done()
        waits.interrupt()
        assert not await held

    _run(test)


def test_the_pair_limit_slows_one_person_only() -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(), boot_s), Waits()
        pace = Pace(10_000, pair_interval_s=0.05, pair_burst=2)
        started_s = boot_s()
        for _ in range(3):
            assert await turns.take("a", "anna", pace, bulk=False, waits=waits, limit_s=50)
        assert boot_s() - started_s >= 0.045
        rare = Pace(10_000, pair_interval_s=60.0, pair_burst=2)
        assert await turns.take("a", "ben", rare, bulk=False, waits=waits, limit_s=50)
        for _ in range(5):
            assert await turns.take("a", "cleo", rare, bulk=False, waits=waits, limit_s=50)
            turns.give_back("a", "cleo")

    _run(test)


def test_a_reply_and_a_bulk_message_do_not_use_the_same_share_of_a_person() -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(), boot_s), Waits()
        pace = Pace(10_000, pair_interval_s=0.05, pair_burst=1)
        started_s = boot_s()
        assert await turns.take("a", "anna", pace, bulk=False, waits=waits, limit_s=50)
        both = [turns.take("a", "anna", pace, bulk=bulk, waits=waits, limit_s=50) for bulk in (False, True)]
        assert await asyncio.gather(*both) == [True, True]
        assert boot_s() - started_s >= 0.095

    _run(test)


def test_a_turn_that_does_not_come_in_time_uses_no_share_of_a_person() -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(), boot_s), Waits()
        pace = Pace(10_000, pair_interval_s=5.0, pair_burst=1)
        assert await turns.take("a", "anna", pace, bulk=False, waits=waits, limit_s=50)
        for _ in range(3):
            assert not await turns.take("a", "anna", pace, bulk=False, waits=waits, limit_s=0.01)
        assert await turns.take("a", "anna", pace, bulk=False, waits=waits, limit_s=9), "they took no share"

    _run(test)


def test_other_limits_take_effect_while_an_account_sends() -> None:
    async def test() -> None:
        turns, waits = Turns(Limits(), boot_s), Waits()
        limited, free = Pace(10_000, pair_interval_s=60.0, pair_burst=1), Pace(10_000)
        assert await turns.take("a", "anna", limited, bulk=False, waits=waits, limit_s=50)
        assert not await turns.take("a", "anna", limited, bulk=False, waits=waits, limit_s=0.01)
        for _ in range(100):
            assert await turns.take("a", "anna", free, bulk=False, waits=waits, limit_s=50)
        assert await turns.take("a", "anna", limited, bulk=False, waits=waits, limit_s=50)
        assert not await turns.take("a", "anna", limited, bulk=False, waits=waits, limit_s=0.01)

    _run(test)


@pytest.mark.parametrize(("rate_per_s", "messages"), [(2_500, 400), (20_000, 3_000)])
def test_waits_too_short_for_the_loops_timer_lose_no_turn(rate_per_s: int, messages: int) -> None:
    """uvloop's timers count whole milliseconds: one of 0.4 ms fires at once, before the turn is due, and must be set again."""

    async def test() -> None:
        turns, waits = Turns(Limits(), boot_s), Waits()
        fast = Pace(rate_per_s)
        assert await turns.take("a", "s", fast, bulk=False, waits=waits, limit_s=50)
        turns.release("a")
        turns.hold("a", 0.01)
        started_s = boot_s()

        async def go(number: int) -> bool:
            granted = await turns.take("a", str(number), fast, bulk=False, waits=waits, limit_s=50)
            turns.release("a")
            return granted

        assert await asyncio.gather(*(go(number) for number in range(messages))) == [True] * messages
        assert boot_s() - started_s >= messages / rate_per_s, "each waited for its own time"

    _run(test)


def test_sleeps_too_short_for_the_loops_timer_end() -> None:
    async def test() -> None:
        waits = Waits()
        assert all([await waits.sleep(0.0001) for _ in range(100)])

    _run(test)
