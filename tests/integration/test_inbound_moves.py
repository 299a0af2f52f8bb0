"""Changes of address on the real engine: the old one reaches nobody, no consent goes along, in any order."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import pytest

from schemas import topics
from schemas.clock import now_ms
from schemas.ids import random_id
from tests.acting_world import ActingWorld, moved, wrote
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.receiving_world import ReceivingWorld, Site, sample
from tests.vault_world import Person, bsuid, phone
from vault.permits import Permit, Refusal


@pytest.fixture(scope="module")
def acting(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ActingWorld]:
    """One vault and one engine; each test takes a tenant of its own."""
    folder = tmp_path_factory.mktemp("acting")
    world = ReceivingWorld(kafka_server.bootstrap, postgres_server.fresh_database("acting"), folder)
    with ActingWorld.open(world) as made:
        yield made
    world.close()


@pytest.fixture
def site(acting: ActingWorld) -> Site:
    return acting.site()


def dropped(why: str) -> float:
    """Values dropped for a reason."""
    return sample("sealpost_inbound_dropped_total", channel="whatsapp", why=why)


def answer(person: Person, **more: object) -> object:
    """What the gate says to a message for the person."""
    person.tenant.world.caught_up()
    return person.vault.permits([person.ask(**more)])[0]


def test_a_number_that_changed_reaches_nobody_who_had_it(acting: ActingWorld, site: Site) -> None:
    """The person keeps subject and consent; whoever gets the old number is somebody else, whom nobody may send a newsletter."""
    old, new = phone(), phone()
    acting.handle(site, wrote(old))
    person = acting.person(site, old)
    person.tenant.world.apply(person.given(now_ms() - 1))
    change = moved(old, new)
    acting.handle(site, change)
    assert acting.subject(site, old) is None
    assert acting.subject(site, new) == person.subject
    (unbound,) = acting.events(topics.SUBSCRIPTIONS, site, "address.unbound")
    bound = acting.events(topics.SUBSCRIPTIONS, site, "address.bound")[-1]
    assert (unbound.subject, bound.subject) == (person.subject, person.subject)
    assert unbound.data["reason"] == "changed"
    assert acting.plain(unbound, "identity") == {"address": old.value, "kind": "phone"}
    assert acting.plain(bound, "identity") == {"address": new.value, "kind": "phone"}
    permit = answer(person, purpose="newsletter")
    assert isinstance(permit, Permit)
    assert permit.address == new
    later = now_ms() + 1_000
    acting.handle(site, wrote(old, at_ms=later), at_ms=later)
    stranger = acting.person(site, old)
    assert stranger.subject != person.subject
    assert answer(stranger, purpose="newsletter") == Refusal("no_consent", 1)
    # The same news under another id, long after: the number is another's by now, whom it is not about.
    acting.handle(site, replace(change, provider_id=random_id()), at_ms=later + 1_000)
    acting.wait(3600)
    assert acting.subject(site, old) == stranger.subject
    assert acting.subject(site, new) == person.subject


def test_a_change_and_what_follows_in_one_batch(acting: ActingWorld, site: Site) -> None:
    """Each stands in its place: who writes from the old number behind the change is somebody else."""
    old, new, start = phone(), phone(), now_ms() - 10_000
    messages = [wrote(one, at_ms=start + 1_000 * n) for n, one in enumerate((old, old, new))]
    acting.handle(site, messages[0], moved(old, new, at_ms=start + 500), *messages[1:])
    said = acting.events(topics.MESSAGES, site, "message.received")
    subjects = {acting.plain(event)["provider_id"]: event.subject for event in said}
    first, recycled, again = (subjects[message.provider_id] for message in messages)
    assert first == again != recycled
    assert acting.subject(site, old) == recycled


def test_nobody_is_made_by_a_change(acting: ActingWorld, site: Site) -> None:
    """It waits a while for who may be on the way, then it is counted and dropped."""
    old, new = phone(), phone()
    before = dropped("unknown_sender")
    acting.handle(site, moved(old, new))
    assert acting.world.parked() == 1
    acting.wait(3600)
    assert acting.world.parked() == 0
    assert dropped("unknown_sender") == before + 1
    assert acting.events(topics.SUBSCRIPTIONS, site) == []
    assert acting.world.rows(f"select 1 from vault.subjects where tenant = '{site.tenant}'") == []


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_change_its_repeat_and_a_message_from_the_new_number_in_any_order(
    acting: ActingWorld, order: tuple[int, ...]
) -> None:
    """The old number reaches nobody, the new one the person who had the old; two subjects that were made are linked."""
    site, old, new, start = acting.site(), phone(), phone(), now_ms() - 10_000
    acting.handle(site, wrote(old, at_ms=start), at_ms=start)
    person = acting.person(site, old)
    change = moved(old, new, at_ms=start + 1_000)
    values = (change, replace(change, provider_id=random_id()), wrote(new, at_ms=start + 2_000))
    for place in order:
        acting.handle(site, values[place])
    acting.wait(3600)
    assert acting.subject(site, old) is None
    assert acting.subject(site, new) == person.subject
    subjects = acting.world.rows(f"select subject from vault.subjects where tenant = '{site.tenant}'")
    links = acting.world.rows(f"select subject, other from vault.links where tenant = '{site.tenant}'")
    others = [subject for (subject,) in subjects if subject.hex != person.subject]
    assert [(one.hex, other) for one, other in links] == [(person.subject, other) for other in others]
    assert len(others) == (1 if order[0] == 2 else 0)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_changes_in_any_order(acting: ActingWorld, order: tuple[int, int]) -> None:
    """The second, come first, is about nobody known; it waits for the first."""
    site, first, second, third, start = acting.site(), phone(), phone(), phone(), now_ms() - 10_000
    acting.handle(site, wrote(first, at_ms=start), at_ms=start)
    person = acting.person(site, first)
    changes = (moved(first, second, at_ms=start + 1_000), moved(second, third, at_ms=start + 2_000))
    for place in order:
        acting.handle(site, changes[place])
    acting.wait(3600)
    assert [acting.subject(site, one) for one in (first, second, third)] == [None, None, person.subject]


def test_a_new_number_that_somebody_had_is_taken_without_their_consent(
    acting: ActingWorld, site: Site
) -> None:
    """Both are linked, so that a STOP and an erasure count for both; what the other allowed does not follow the number."""
    new, old, start = phone(), phone(), now_ms() - 10_000
    acting.handle(site, wrote(new, at_ms=start), at_ms=start)
    other = acting.person(site, new)
    other.tenant.world.apply(other.given(start))
    acting.handle(site, wrote(old, at_ms=start + 1_000))
    person = acting.person(site, old)
    acting.handle(site, moved(old, new, at_ms=start + 2_000))
    assert acting.subject(site, new) == person.subject, "though the other is older"
    assert answer(person, purpose="newsletter") == Refusal("no_consent", 1)
    assert answer(other, purpose="newsletter") == Refusal("unreachable", 1)
    unbound = acting.events(topics.SUBSCRIPTIONS, site, "address.unbound")
    assert sorted(one.subject for one in unbound) == sorted((person.subject, other.subject))
    acting.handle(site, wrote(new, text="STOP"))
    (permission,) = acting.world.vault.permissions(site.tenant, other.subject)
    assert not permission.active
    person.tenant.world.apply(person.erasure())
    state = acting.world.vault.subject_state(site.tenant, other.subject)
    assert state is not None
    assert state.state == "erased"


def test_a_change_of_before_an_erasure_binds_nothing(acting: ActingWorld, site: Site) -> None:
    """Who was erased under the new number is not reached there again by a late word of the provider."""
    old, new, start = phone(), phone(), now_ms() - 10_000
    acting.handle(site, wrote(old, at_ms=start), at_ms=start)
    person = acting.person(site, old)
    acting.handle(site, wrote(new, at_ms=start + 2_000))
    other = acting.person(site, new)
    other.tenant.world.apply(other.erasure())
    acting.handle(site, moved(old, new, at_ms=start + 1_000))
    assert (acting.subject(site, old), acting.subject(site, new)) == (None, None)
    assert answer(person, kind="template") == Refusal("unreachable", 1)


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_who_gets_a_number_without_news_of_a_change_gets_no_consent_with_it(
    acting: ActingWorld, *, known: bool
) -> None:
    """The log says that the number left the one who had it, and whom it reaches now; nobody may send the new one a newsletter."""
    site, number, first, second, start = acting.site(), phone(), bsuid(), bsuid(), now_ms() - 10_000
    acting.handle(site, wrote(first, number, at_ms=start))
    person = acting.person(site, first)
    person.tenant.world.apply(person.given(start))
    if known:
        acting.handle(site, wrote(second, at_ms=start + 1_000))
    acting.handle(site, wrote(second, number, at_ms=start + 2_000))
    other = acting.person(site, second)
    assert acting.subject(site, number) == other.subject != person.subject
    (unbound,) = acting.events(topics.SUBSCRIPTIONS, site, "address.unbound")
    bound = [
        e for e in acting.events(topics.SUBSCRIPTIONS, site, "address.bound") if e.subject == other.subject
    ]
    assert (unbound.subject, unbound.data["reason"]) == (person.subject, "changed")
    assert acting.plain(unbound, "identity") == {"address": number.value, "kind": "phone"}
    assert {"address": number.value, "kind": "phone"} in [acting.plain(e, "identity") for e in bound]
    assert answer(other, purpose="newsletter") == Refusal("no_consent", 1)
    permit = answer(person, purpose="newsletter")
    assert isinstance(permit, Permit)
    assert permit.address == first
    acting.handle(site, wrote(number, text="STOP"))
    (permission,) = acting.world.vault.permissions(site.tenant, person.subject)
    assert permission.active, "the STOP is that of another person"


@pytest.mark.parametrize("told", ["by the message", "by news", "no new id"])
def test_a_new_number_brings_a_new_user_id(acting: ActingWorld, told: str) -> None:
    """News of the number names no id. Whoever has the new one keeps subject and consent; the next owner of that gets neither."""
    site, old, new, start = acting.site(), phone(), phone(), now_ms() - 10_000
    first, third = bsuid(), bsuid()
    second = first if told == "no new id" else bsuid()
    acting.handle(site, wrote(first, old, at_ms=start), at_ms=start)
    person = acting.person(site, first)
    person.tenant.world.apply(person.given(start))
    acting.handle(site, moved(old, new, at_ms=start + 1_000))
    if told == "by news":
        acting.handle(site, moved(first, second, at_ms=start + 1_000))
    acting.handle(site, wrote(second, new, at_ms=start + 2_000))
    found = [acting.subject(site, one) for one in (old, new, second)]
    assert found == [None, person.subject, person.subject]
    assert isinstance(answer(person, purpose="newsletter"), Permit)
    acting.handle(site, wrote(third, new, at_ms=start + 3_000))
    stranger = acting.person(site, new)
    assert stranger.subject == acting.subject(site, third) != person.subject
    assert answer(stranger, purpose="newsletter") == Refusal("no_consent", 1)


def test_a_number_and_a_user_id_are_one_person(acting: ActingWorld, site: Site) -> None:
    """Known by either, found by both; a new user id replaces the old one and the number stays."""
    number, user, later = phone(), bsuid(), bsuid()
    acting.handle(site, wrote(number, user))
    person = acting.person(site, number)
    acting.handle(site, wrote(user))
    acting.handle(site, moved(user, later))
    assert [acting.subject(site, one) for one in (number, user, later)] == [
        person.subject,
        None,
        person.subject,
    ]
    assert {e.subject for e in acting.events(topics.MESSAGES, site)} == {person.subject}
