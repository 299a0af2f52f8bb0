"""The double opt-in machine: what holds for every order and repetition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.clock import to_ms
from schemas.constants import DAY_S
from schemas.envelope import Event
from schemas.events import consents, messages, registry
from streams.processors.subscriber.state import ANSWERS_MAX_PER_HOUR
from tests.optin_world import BEYOND_THE_LIMIT, World, active, run_interleaved, said, withdrawn

ACT = st.tuples(
    st.sampled_from(["start", "yes", "no", "stop", "signup", "late_signup", None]),
    st.sampled_from([None, "de", "en"]),
)
ACTS = st.lists(ACT, max_size=9)
FLOODS = st.builds(
    lambda flood, act, acts: [act] * flood + acts,
    st.integers(5, 12),
    ACT,
    st.lists(ACT, min_size=5, max_size=20),
)
"""Acts of less than an hour, mostly more than may be answered."""
TURNS = st.lists(st.booleans(), max_size=60)


def story(acts: list[tuple[str | None, str | None]]) -> tuple[list[Event], list[Event]]:
    """Acts ten seconds apart → what stands in `messages`, and the withdrawals inbound wrote before each STOP."""
    heard = [said(intent, 10.0 * n, language) for n, (intent, language) in enumerate(acts, 1)]  # type: ignore[arg-type]  # sampled
    ends = [withdrawn(10.0 * n) for n, (intent, _) in enumerate(acts, 1) if intent == "stop"]
    return heard, ends


def in_order(world: World, heard: list[Event], ends: list[Event]) -> list[Event]:
    """The topics as they come when nothing is late."""
    turns: list[bool] = []
    for event in heard:
        turns += [False] * 8 if any(e.time == event.time for e in ends) else []
        turns += [True] + [False] * 8
    return run_interleaved(world, heard, ends, turns)


def ending(world: World, log: list[Event]) -> tuple[bool, bool, str | None, str | None]:
    """What must not depend on order: permission of the log, membership, the open question, the language."""
    consent = world.state.consent("whatsapp", "newsletter")
    return (
        active(registry.read(event) for event in log),
        consent.active,
        world.open_question(),
        world.state.language,
    )


@given(ACTS | FLOODS, TURNS)
@pytest.mark.finding(3)
def test_any_interleaving_of_the_topics_ends_the_same(
    acts: list[tuple[str | None, str | None]], turns: list[bool]
) -> None:
    """However far one topic is ahead of the other: same permission, membership, open question, language."""
    heard, ends = story(acts)
    expected_world, world = World(), World()
    expected = ending(expected_world, in_order(expected_world, heard, list(ends)))
    assert ending(world, run_interleaved(world, heard, list(ends), turns)) == expected
    assert expected[0] == expected[1]


@given(ACTS, st.lists(st.integers(1, 99), max_size=3), TURNS)
def test_foreign_withdrawals_never_leave_more_permission(
    acts: list[tuple[str | None, str | None]], foreign: list[int], turns: list[bool]
) -> None:
    """A withdrawal from a page or the provider, however late: the log's permission is never active where order gives none."""
    heard, ends = story(acts)
    ends = sorted(
        [*ends, *(withdrawn(float(at), "provider_preference") for at in foreign)], key=lambda e: to_ms(e.time)
    )
    expected_world, world = World(), World()
    expected_log = run_interleaved(expected_world, heard, list(ends), [False] * len(ends))
    log = run_interleaved(world, heard, list(ends), turns)
    permitted, member, _, _ = ending(world, log)
    assert permitted == member
    assert permitted <= ending(expected_world, expected_log)[0]


@given(ACTS | FLOODS, TURNS, TURNS)
def test_after_a_loss_of_all_state_nothing_new_is_written(
    acts: list[tuple[str | None, str | None]], turns: list[bool], again: list[bool]
) -> None:
    """The log read again from its start, withdrawals and consents first: the same ending, and no event with a new id."""
    heard, ends = story(acts)
    world = World()
    log = run_interleaved(world, heard, list(ends), turns)
    new = world.forget()
    replayed = run_interleaved(new, heard, list(log), [False] * len(log) + again)
    assert {e.id for e in new.written} <= {e.id for e in world.written}
    assert ending(new, replayed) == ending(world, log)


@given(ACTS | FLOODS, TURNS, st.data())
@pytest.mark.finding(29)
def test_an_input_twice_equals_once(
    acts: list[tuple[str | None, str | None]], turns: list[bool], data: st.DataObject
) -> None:
    """Any input again, at any distance, also at another broker time and day: same state, same events by id."""
    heard, ends = story(acts)
    first = World()
    log = run_interleaved(first, heard, list(ends), turns)
    inputs = heard + log
    order = data.draw(st.permutations(range(len(inputs)))) if len(inputs) < 4 else list(range(len(inputs)))
    once, twice = World(), World()
    for n in order:
        once.give(inputs[n])
        twice.give(inputs[n])
        if n:
            earlier = order[: order.index(n) + 1]
            repeat = inputs[data.draw(st.sampled_from(earlier))]
            twice.give(repeat, delay_ms=data.draw(st.sampled_from([40, 3_600_000, 2 * DAY_S * 1000])))
    assert twice.row == once.row
    assert {e.id for e in twice.written} == {e.id for e in once.written}


def answered(world: World, text: str) -> set[str | None]:
    """Causes of the messages with this text."""
    return {
        e.cause
        for e in world.written
        if isinstance(e.data, messages.MessageRequested)
        and e.data.text is not None
        and e.data.text.id == text
    }


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "start", "yes", "stop", "no"]), st.integers(1, 500)),
        min_size=30,
        max_size=90,
    )
)
def test_no_hour_has_more_answers_than_ten_and_two(acts: list[tuple[str, int]]) -> None:
    """Whatever somebody writes for hours, at whatever pace: ten answers in any hour, and a welcome and a good-bye at most
    beyond them; no more than these is kept in the state."""
    world, at_s = World(), 0
    answered_at: list[int] = []
    for intent, gap_s in acts:
        at_s += gap_s
        before = len(world.texts())
        world.give(said(intent, at_s))  # type: ignore[arg-type]  # sampled
        answered_at += [at_s] * (len(world.texts()) - before)
        assert len([at for at in answered_at if at > at_s - 3600]) <= ANSWERS_MAX_PER_HOUR + BEYOND_THE_LIMIT
        assert len(world.state.answered_at) <= ANSWERS_MAX_PER_HOUR + BEYOND_THE_LIMIT


@given(FLOODS, TURNS)
def test_a_yes_and_a_stop_that_count_are_always_answered(
    acts: list[tuple[str | None, str | None]], turns: list[bool]
) -> None:
    """Any flood, in any interleaving: each yes that gave consent is welcomed, the first STOP after each is confirmed, and all the
    answers of one hour are ten and two at most. Which STOPs are confirmed does not depend on the order of the topics."""
    heard, ends = story(acts)
    world, expected = World(), World()
    run_interleaved(world, heard, list(ends), turns)
    gave = [e for e in world.written if isinstance(e.data, consents.ConsentGiven)]
    assert answered(world, "welcome") | answered(world, "welcome_first") == {e.cause for e in gave}
    for event in gave:
        assert isinstance(event.data, consents.ConsentGiven)
        at = to_ms(event.data.acted_at)
        stops = [e.id for e in heard if _intent(e) == "stop" and to_ms(e.time) > at]
        assert set(stops[:1]) <= answered(world, "stopped")
    tokens = sum(intent in ("signup", "late_signup") for intent, _ in acts)
    assert len(world.texts()) <= ANSWERS_MAX_PER_HOUR + BEYOND_THE_LIMIT + tokens
    in_order(expected, heard, list(ends))
    assert answered(world, "stopped") == answered(expected, "stopped")


def _intent(event: Event) -> str | None:
    data = registry.read(event)
    assert isinstance(data, messages.MessageReceived)
    return data.intent
