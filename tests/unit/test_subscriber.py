"""The double opt-in machine by example; what holds for every order and repetition: test_subscriber_properties.py."""

from dataclasses import replace

import pytest

from schemas.clock import to_ms, to_text
from schemas.constants import DAY_S
from schemas.envelope import Event
from schemas.events import consents, deletions, messages, registry, subscriptions
from schemas.ids import message_day
from schemas.texts import LANGUAGES, LATEST, TEXTS
from streams.processors.contract import Heard, NewEvent
from streams.processors.subscriber.state import ANSWERS_MAX_PER_HOUR
from tests.optin_world import (
    BEYOND_THE_LIMIT,
    SETTINGS,
    Intent,
    World,
    active,
    as_event,
    build,
    run_interleaved,
    said,
    withdrawn,
)

QUESTION = ["OptInRequested", "ConsentRequested", "MessageRequested", "SendCommand"]
CONFIRMATION = ["OptInConfirmed", "ConsentGiven", "SubscriptionActivated", "MessageRequested", "SendCommand"]


def only(world: World, kind: type) -> NewEvent:
    """The one event of a type that was written."""
    found = [event for event in world.written if isinstance(event.data, kind)]
    assert len(found) == 1, world.types()
    return found[0]


@pytest.mark.parametrize(
    ("start", "yes", "language"),
    [(None, None, "de"), ("de", "de", "de"), ("en", "en", "en"), (None, "en", "en")],
)
def test_sign_up(start: str | None, yes: str | None, language: str) -> None:
    """START asks with the notice of that language; a yes gives consent and activates; each message is asked for once."""
    world = World()
    question = said("start", 10, start)
    world.give(question)
    assert world.types() == QUESTION
    asked_language = start or "de"
    command = only(world, messages.SendCommand).data
    assert isinstance(command, messages.SendCommand)
    assert (command.purpose, command.about) == ("service", "newsletter")
    assert (command.delivery, command.on_submitted) == ("at_least_once", "confirmation_sent")
    assert command.text is not None
    assert command.text.language == asked_language
    assert (command.notice, command.settings, command.basis) == ("notice-1", SETTINGS.offset, None)
    assert to_ms(command.expires) == to_ms(question.time) + 40 + DAY_S * 1000
    assert message_day(command.message).isoformat() == "2026-11-23"
    requested = only(world, messages.MessageRequested).data
    assert (
        set(requested.model_dump().items() ^ command.model_dump(include=set(requested.model_dump())).items())
        == set()
    )

    world.give(said("yes", 30, yes))
    assert world.types() == QUESTION + CONFIRMATION
    assert world.texts() == [("consent_question", asked_language), ("welcome", language)]
    given_event = only(world, consents.ConsentGiven)
    welcome = world.written[-1].data
    assert isinstance(welcome, messages.SendCommand)
    assert (welcome.purpose, welcome.basis, welcome.on_submitted) == ("newsletter", given_event.id, None)
    activated = only(world, subscriptions.SubscriptionActivated).data
    assert isinstance(activated, subscriptions.SubscriptionActivated)
    assert (activated.list, activated.basis, activated.language) == ("newsletter", given_event.id, language)


def test_evidence_is_copied_with_the_identity_it_was_sealed_for() -> None:
    """OptInRequested carries the block of the START, OptInConfirmed and ConsentGiven that of the yes; others carry none."""
    world = World()
    start, yes = said("start", 10), said("yes", 30, kind="button")
    world.give(start)
    world.give(yes)
    for kind, source in (
        (consents.OptInRequested, start),
        (consents.OptInConfirmed, yes),
        (consents.ConsentGiven, yes),
    ):
        data = only(world, kind).data
        assert data.sealed is not None
        assert data.sealed.evidence is not None
        original = source.block("evidence")
        assert original is not None
        assert data.sealed.evidence == original.model_copy(
            update={"sealed_in": source.id, "type": "sealpost.message.received.v1"}
        )
    others = [
        e for e in world.written if not isinstance(e.data, (consents.OptInRequested, consents.OptInConfirmed))
    ]
    assert all(e.data.sealed is None for e in others if not isinstance(e.data, consents.ConsentGiven))
    given_data = only(world, consents.ConsentGiven).data
    assert isinstance(given_data, consents.ConsentGiven)
    assert (given_data.method, given_data.acted_at, given_data.notice) == (
        "button",
        to_text(to_ms(yes.time)),
        "notice-1/3/de",
    )


def test_no_is_recorded_and_answered() -> None:
    """A no refuses; a later yes to the same question counts nothing; a new START asks anew."""
    world = World()
    for event in (said("start", 10), said("no", 20), said("yes", 30)):
        world.give(event)
    assert world.types() == [*QUESTION, "ConsentRefused", "MessageRequested", "SendCommand"]
    assert world.texts()[-1] == ("refused", "de")
    world.give(said("start", 40))
    assert world.types()[-4:] == QUESTION


def test_yes_without_a_question_and_plain_text_do_nothing() -> None:
    """Neither a yes nobody asked for nor ordinary words lead to anything."""
    world = World()
    assert world.give(said("yes", 10)) == []
    assert world.give(said(None, 20)) == []
    assert world.give(said("no", 30)) == []


@pytest.mark.parametrize("first", ["stop", "preferences", "start", "signup"])
def test_the_first_answer_shows_the_notice_and_no_later_one_does(first: Intent) -> None:
    """Whatever it is; a tenant without a notice answers without one."""
    world = World()
    world.give(said(first, 10))
    world.give(said("stop", 30))
    asked = [new.data for new in world.written if isinstance(new.data, messages.SendCommand)]
    assert [bool(one.notice) for one in asked] == [True] + [False] * (len(asked) - 1)
    assert len(asked) == 2
    bare = World(settings=replace(SETTINGS, notices={}))
    bare.give(said("stop", 10))
    assert [new.data.notice for new in bare.written if isinstance(new.data, messages.SendCommand)] == [None]


def test_a_yes_of_the_same_moment_as_the_start_does_not_count() -> None:
    """Who has not seen the question cannot have answered it."""
    world = World()
    world.give(said("start", 10))
    assert world.give(said("yes", 10)) == []
    assert "ConsentGiven" in [type(e.data).__name__ for e in world.give(said("yes", 10.001))]


def test_start_again_replaces_the_open_question() -> None:
    """A second START asks again under a new opt-in; the yes confirms that one, the wake of the first does nothing."""
    world = World()
    world.give(said("start", 10))
    first = world.open_question()
    world.give(said("start", 20))
    second = world.open_question()
    assert first != second
    assert world.types() == QUESTION + QUESTION
    world.give(said("yes", 30))
    given_data = only(world, consents.ConsentGiven).data
    assert isinstance(given_data, consents.ConsentGiven)
    assert given_data.optin == second
    assert world.wake_all() == []


@pytest.mark.parametrize(("keyword", "language"), [("en", "en"), (None, "de")])
def test_start_of_a_subscriber_is_answered_and_asks_nothing(keyword: str | None, language: str) -> None:
    """Who is subscribed is told so, in the language of the keyword, and not asked a second time; nothing about consent is
    written, and a later yes finds no question."""
    world = World()
    world.give(said("start", 10))
    world.give(said("yes", 20))
    told = world.give(said("start", 30, keyword))
    assert [type(e.data).__name__ for e in told] == ["MessageRequested", "SendCommand"]
    assert world.texts()[-1] == ("already", language)
    command = told[-1].data
    assert isinstance(command, messages.SendCommand)
    assert (command.purpose, command.basis, command.on_submitted) == ("service", None, None)
    assert world.counted[-1] == "already"
    assert world.give(said("yes", 40)) == []


def test_start_of_a_subscriber_is_within_the_limit() -> None:
    """Ten answers an hour: the START of a subscriber beyond them is counted and gets none."""
    world = World()
    for event in (said("start", 10), said("yes", 20), *(said("start", 30.0 + n) for n in range(20))):
        world.give(event)
    assert [text for text, _ in world.texts()] == ["consent_question", "welcome"] + ["already"] * 8
    assert world.counted.count("flood") == 12


@pytest.mark.parametrize("message_first", [True, False])
@pytest.mark.parametrize(("keyword", "language"), [("de", "de"), ("en", "en"), (None, "de")])
def test_stop_ends_and_is_confirmed(message_first: bool, keyword: str | None, language: str) -> None:
    """Whichever topic is ahead: SubscriptionEnded once, one confirmation, and the withdrawal itself is not written again."""
    world = World()
    world.give(said("start", 10))
    world.give(said("yes", 20))
    before = len(world.written)
    events = [said("stop", 30, keyword), withdrawn(30)]
    for event in events if message_first else reversed(events):
        world.give(event)
    assert sorted(world.types()[before:]) == ["MessageRequested", "SendCommand", "SubscriptionEnded"]
    assert world.texts()[-1] == ("stopped", language)
    command = world.written[-1].data if message_first is False else world.written[before + 2].data
    assert isinstance(command, messages.SendCommand)
    assert command.purpose == "service"
    activated, ended = (
        only(world, kind).data
        for kind in (subscriptions.SubscriptionActivated, subscriptions.SubscriptionEnded)
    )
    assert isinstance(activated, subscriptions.SubscriptionActivated)
    assert isinstance(ended, subscriptions.SubscriptionEnded)
    assert activated.subscription == ended.subscription


def test_stop_of_a_stranger_is_confirmed() -> None:
    """Somebody without any consent gets the confirmation, too."""
    world = World()
    assert [type(e.data).__name__ for e in world.give(said("stop", 10))] == [
        "MessageRequested",
        "SendCommand",
    ]


def test_a_withdrawal_closes_the_open_question() -> None:
    """After a withdrawal the yes to an older question gives nothing; a later START begins anew."""
    world = World()
    world.give(said("start", 10))
    world.give(withdrawn(15, "provider_preference"))
    assert world.give(said("yes", 20)) == []
    world.give(said("start", 30))
    world.give(said("yes", 40))
    assert world.types().count("ConsentGiven") == 1


def test_an_act_older_than_a_withdrawal_never_activates() -> None:
    """START and yes that are read after a later withdrawal ask and give nothing."""
    world = World()
    world.give(withdrawn(50))
    assert world.give(said("start", 10)) == []
    assert world.give(said("yes", 20)) == []


def test_a_withdrawal_that_comes_late_wins_over_the_consent_it_should_have_prevented() -> None:
    """START, yes, and then the news that between them the person had withdrawn: the log's permission ends inactive."""
    world = World()
    log = run_interleaved(
        world, [said("start", 10), said("yes", 20)], [withdrawn(15, "provider_preference")], [True, True]
    )
    assert not active(registry.read(event) for event in log)
    assert not world.state.consent("whatsapp", "newsletter").active
    assert world.types().count("SubscriptionEnded") == 1
    void = only(world, consents.ConsentWithdrawn).data
    assert isinstance(void, consents.ConsentWithdrawn)
    assert to_ms(void.acted_at) == to_ms(said("yes", 20).time)


def test_a_given_counts_only_for_the_request_it_names() -> None:
    """A Given of another opt-in changes nothing."""
    world = World()
    world.give(said("start", 10))
    other = World()
    other.give(said("start", 11))
    other.give(said("yes", 20))
    foreign = as_event(only(other, consents.ConsentGiven), to_ms(said("yes", 20).time))
    assert world.give(foreign) == []
    assert not world.state.consent("whatsapp", "newsletter").active


def test_the_question_expires() -> None:
    """Not answered in time: ConsentExpired, once; a yes after it does not count, one said in time still does."""
    late, in_time = World(), World()
    for world in (late, in_time):
        world.give(said("start", 10))
        wakes = list(world.wakes)
        assert [type(e.data).__name__ for e in world.wake_all()] == ["ConsentExpired"]
        world.wakes = wakes
        assert world.wake_all() == []
    assert late.give(said("yes", 10 + 7 * DAY_S)) == []
    assert "ConsentGiven" in [type(e.data).__name__ for e in in_time.give(said("yes", 9 + 7 * DAY_S))]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (replace(SETTINGS, notices={}), "no_notice"),
        (replace(SETTINGS, purposes={"service": "contract"}), "no_purpose"),
        (replace(SETTINGS, dpa_ended_ms=1), "no_dpa"),
    ],
)
def test_no_question_without_what_it_needs(settings: object, reason: str) -> None:
    """A tenant without notice, purpose or agreement: nothing is written, the reason is counted, and settings are re-read."""
    world = World(settings=settings)  # type: ignore[arg-type]  # parametrised values are objects to mypy
    start = said("start", 10)
    assert world.give(start) == []
    assert world.counted[-1] == reason
    assert world.subscriber.lacks(world.settings, Heard(start, registry.read(start), 0))
    assert not world.subscriber.lacks(SETTINGS, Heard(start, registry.read(start), 0))


@pytest.mark.finding(32)
def test_a_flood_comes_to_rest() -> None:
    """Two machines that answer one another: ten answers an hour, the rest is counted; the next hour answers again."""
    world = World()
    for second in range(30):
        world.give(said("stop", second))
    assert len(world.texts()) == ANSWERS_MAX_PER_HOUR
    assert world.counted.count("flood") == 30 - ANSWERS_MAX_PER_HOUR
    world.give(said("stop", 3700))
    assert len(world.texts()) == ANSWERS_MAX_PER_HOUR + 1


@pytest.mark.parametrize("between", [None, said("yes", 100), said("start", 105)])
def test_a_yes_that_gives_consent_is_welcomed_within_a_flood(between: Event | None) -> None:
    """Whoever says yes is told that it counts, though the question was the last answer of the hour; also when a yes that
    answered nothing, or a START beyond the limit, stands between."""
    world = World()
    for second in range(ANSWERS_MAX_PER_HOUR - 1):
        world.give(said("stop", second))
    for event in (said("start", 100), *([between] if between else []), said("yes", 110)):
        world.give(event)
    assert world.types().count("ConsentGiven") == 1
    assert world.texts()[-1][0] == "welcome"
    assert len(world.state.answered_at) == ANSWERS_MAX_PER_HOUR + 1, "it counts like any other answer"


@pytest.mark.parametrize("message_first", [True, False])
@pytest.mark.parametrize("chatty", ["start", "stop"])
def test_a_stop_that_ends_a_consent_is_confirmed_within_a_flood(chatty: Intent, message_first: bool) -> None:
    """Who was subscribed and says stop is told that it counts, whatever the number of answers and whichever topic is ahead; the
    same word again changes nothing, and is answered in the next hour only."""
    world = World()
    before = [said("stop", n) for n in range(ANSWERS_MAX_PER_HOUR - 2)] if chatty == "stop" else []
    after = [said("start", 30.0 + n) for n in range(ANSWERS_MAX_PER_HOUR)] if chatty == "start" else []
    for event in (*before, said("start", 10), said("yes", 20), *after):
        world.give(event)
    end = [said("stop", 50), withdrawn(50)]
    for event in end if message_first else reversed(end):
        world.give(event)
    assert world.types().count("SubscriptionEnded") == 1
    assert world.texts()[-1] == ("stopped", "de")
    answers = len(world.texts())
    assert answers == ANSWERS_MAX_PER_HOUR + 1
    world.give(said("stop", 60))
    world.give(said("start", 70))
    world.give(said("stop", 80))
    assert len(world.texts()) == answers
    assert world.counted.count("flood") == (5 if chatty == "start" else 3)
    world.give(said("stop", 3700))
    assert len(world.texts()) == answers + 1


@pytest.mark.parametrize(
    "replies",
    [
        {"consent_question": "yes", "welcome": "stop", "stopped": "start", "already": "stop"},
        {"consent_question": "stop", "stopped": "start"},
        {"consent_question": "start"},
        {"consent_question": "yes", "welcome": "start", "already": "start"},
    ],
)
@pytest.mark.finding(32)
def test_two_machines_that_answer_one_another_come_to_rest(replies: dict[str, Intent]) -> None:
    """Another machine has an answer to each of ours: after the hour's answers, a welcome and a good-bye it hears nothing more."""
    world, answer, silent = World(), "start", False
    for second in range(4 * ANSWERS_MAX_PER_HOUR):
        before = world.texts()
        world.give(said(answer, second))  # type: ignore[arg-type]  # one of the intents
        silent = world.texts() == before
        if silent:
            break
        answer = replies[world.texts()[-1][0]]
    assert silent
    assert ANSWERS_MAX_PER_HOUR <= len(world.texts()) <= ANSWERS_MAX_PER_HOUR + BEYOND_THE_LIMIT


def test_small_talk_does_not_use_up_answers() -> None:
    """Many a yes in a chat is no automatic answer: the START after it is answered."""
    world = World()
    for second in range(40):
        world.give(said("yes", second))
    world.give(said("start", 100))
    assert world.types() == QUESTION


def test_key_destroyed_purges() -> None:
    """State goes, a receipt is written; the same event again gives the same receipt."""
    world = World()
    world.give(said("start", 10))
    data = deletions.KeyDestroyed(
        erasure="e" * 32, classes=["identity"], evidence="destroyed", t1=to_text(0), day_keys_until=to_text(1)
    )
    event = build(data, "d" * 32, to_ms(said("start", 60).time))
    first, second = world.give(event), world.give(event)
    assert world.row is None
    assert world.purged
    assert [e.id for e in first] == [e.id for e in second]
    receipt = first[0].data
    assert isinstance(receipt, deletions.StorePurged)
    assert receipt.store == "streams.subscriber"


def test_every_text_it_asks_for_exists_in_every_language() -> None:
    """The machine's texts are in the catalogue, German and English alike."""
    for text in ("consent_question", "welcome", "already", "refused", "stopped"):
        assert set(TEXTS[text][LATEST[text]]) == set(LANGUAGES)
