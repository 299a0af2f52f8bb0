"""Signing up by a form's token or a campaign's link, by example; orders and repetitions: test_subscriber_properties.py."""

from dataclasses import replace

import pytest

from schemas.clock import to_text
from schemas.envelope import Event
from schemas.events import consents, messages, registry
from tests.optin_world import CHANNEL, SETTINGS, START_MS, World, as_event, said, ticked, withdrawn

TWO = replace(SETTINGS, purposes={"service": "contract", "newsletter": "consent", "offers": "consent"})
CONFIRMED = ["OptInRequested", "OptInConfirmed", "ConsentGiven", "SubscriptionActivated"]
WELCOME = ["MessageRequested", "SendCommand"]
QUESTION = ["OptInRequested", "ConsentRequested", "MessageRequested", "SendCommand"]


def came(at_s: float, entry: messages.Entry, intent: str) -> Event:
    """The person writes with a token."""
    event = said("signup", at_s)
    data = registry.read(event).model_copy(
        update={"entry": entry, "intent": intent, "sealed": registry.read(event).sealed}
    )
    return event.model_copy(update={"data": data.model_dump(mode="json", exclude_none=True)})


def test_the_first_message_confirms_what_was_ticked() -> None:
    """Every step is told, with the page's own time and what it showed; the welcome holds the notice; a STOP ends it."""
    world = World()
    event = said("signup", 60)
    world.give(event)
    assert world.types() == CONFIRMED + WELCOME
    requested, confirmed, given = (new.data for new in world.written[:3])
    assert isinstance(requested, consents.OptInRequested)
    assert isinstance(confirmed, consents.OptInConfirmed)
    assert isinstance(given, consents.ConsentGiven)
    assert (requested.acted_at, given.requested_at) == (to_text(START_MS + 57_000), requested.acted_at)
    assert given.acted_at == event.time
    assert given.method == "first_message"
    for told in (requested, confirmed, given):
        assert (told.form, told.campaign, told.entry_point) == ("f" * 32, "herbst", "form")
        assert (told.notice, told.notice_hash, told.text_hash) == ("notice-1/3/de", "2" * 64, "1" * 64)
        assert told.sealed is not None
        assert told.sealed.evidence is not None
        assert told.sealed.evidence.sealed_in == event.id
    assert world.texts() == [("welcome_first", "de")]
    command = world.written[-1].data
    assert isinstance(command, messages.SendCommand)
    assert (command.basis, command.notice) == (world.written[2].id, "notice-1/3/de")
    world.give(said("stop", 90))
    assert not world.state.consent(CHANNEL, "newsletter").active


def test_each_purpose_is_its_own_consent_and_one_welcome_is_said() -> None:
    world = World(settings=TWO)
    world.give(
        came(60, ticked("two", START_MS + 50_000, ("newsletter", "offers", "service", "gone")), "signup")
    )
    assert world.types() == CONFIRMED * 2 + WELCOME
    given = [new.data for new in world.written if isinstance(new.data, consents.ConsentGiven)]
    assert [one.purpose for one in given] == ["newsletter", "offers"]
    assert len({one.optin for one in given}) == 2


def test_a_stop_after_the_tick_leaves_the_question_only() -> None:
    """What was ticked before it counts no more; whoever writes after all is asked in the chat."""
    world = World()
    world.give(withdrawn(50))
    world.give(said("late_signup", 60))
    assert world.types() == QUESTION
    assert not world.state.consent(CHANNEL, "newsletter").active


def test_a_stop_after_the_tick_that_comes_late_ends_what_was_given() -> None:
    world = World()
    world.give(said("late_signup", 60))
    assert world.state.consent(CHANNEL, "newsletter").active
    late = world.give(withdrawn(50))
    assert not world.state.consent(CHANNEL, "newsletter").active
    assert [type(new.data).__name__ for new in late] == ["ConsentWithdrawn", "SubscriptionEnded"]


def test_who_is_subscribed_is_told_so() -> None:
    world = World()
    world.give(said("signup", 60))
    again = world.give(said("signup", 90))
    assert [type(new.data).__name__ for new in again] == WELCOME
    assert world.texts() == [("welcome_first", "de"), ("already", "de")]


def test_an_open_question_is_answered_by_the_token() -> None:
    """A NO that comes later answers nothing: STOP is how to end it."""
    world = World()
    world.give(said("start", 10))
    world.give(said("signup", 60))
    assert world.open_question() is None
    assert world.give(said("no", 90)) == []
    assert world.state.consent(CHANNEL, "newsletter").active


@pytest.mark.parametrize("outcome", ["used", "expired", "edited", "unknown"])
def test_a_token_that_counts_no_more_leads_to_the_question(outcome: str) -> None:
    known = ticked("old", START_MS) if outcome in ("used", "expired") else messages.Entry(outcome="unknown")
    world = World(settings=TWO)
    world.give(came(60, known.model_copy(update={"outcome": outcome}), "start"))
    assert world.types() == QUESTION
    assert f"token_{outcome}" in world.counted
    assert not world.state.consent(CHANNEL, "newsletter").active


def test_a_link_leads_to_the_question_about_its_purpose_and_is_named() -> None:
    purposes = [messages.AskedPurpose(purpose="offers", optin="")]
    entry = messages.Entry(kind="link", outcome="fresh", link="1" * 32, campaign="herbst", purposes=purposes)
    world = World(settings=TWO)
    world.give(came(60, entry, "start"))
    requested = world.written[0].data
    assert isinstance(requested, consents.OptInRequested)
    assert (requested.purpose, requested.entry_point, requested.link, requested.campaign) == (
        "offers", "link", "1" * 32, "herbst",
    )  # fmt: skip
    world.give(said("yes", 90))
    assert world.state.consent(CHANNEL, "offers").active
    assert not world.state.consent(CHANNEL, "newsletter").active


def test_without_an_agreement_nothing_is_given() -> None:
    world = World(settings=replace(SETTINGS, dpa_signed_ms=-1))
    assert world.give(said("signup", 60)) == []
    assert world.counted == ["no_dpa", "token_fresh"]


def test_the_word_for_preferences_is_answered_with_their_text() -> None:
    world = World()
    world.give(said("preferences", 60, "en"))
    assert world.texts() == [("preferences", "en")]


def test_tokens_in_another_order_are_both_confirmed() -> None:
    """Two forms of one person, the later message first: each stands by itself."""
    world = World(settings=TWO)
    world.give(came(60, ticked("offers", START_MS + 50_000, ("offers",)), "signup"))
    world.give(came(50, ticked("news", START_MS + 40_000, ("newsletter",)), "signup"))
    assert world.state.consent(CHANNEL, "newsletter").active
    assert world.state.consent(CHANNEL, "offers").active


def test_a_question_after_a_dead_tick_is_known_from_consents_alone() -> None:
    """`messages` is kept for 13 months: the yes must not depend on it."""
    world = World()
    world.give(withdrawn(50))
    world.give(said("late_signup", 60))
    world.give(said("yes", 70))
    assert world.state.consent(CHANNEL, "newsletter").active
    again = World()
    again.give(withdrawn(50))
    for new in world.written:
        if type(new.data).__module__ == consents.__name__:
            again.give(as_event(new, START_MS + 80_000))
    assert again.state.consent(CHANNEL, "newsletter").active


def test_what_was_shown_in_the_chat_is_proved_by_its_hash() -> None:
    world = World()
    world.give(said("start", 10))
    world.give(said("yes", 30))
    given = next(new.data for new in world.written if isinstance(new.data, consents.ConsentGiven))
    assert given.text_hash is not None
    assert len(given.text_hash) == 64
