"""Evidence outlives an erasure only when it belongs to a consent that was given (protocols §6, P9)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import permutations

import pytest

from schemas.clock import MS_PER_S
from schemas.events import deletions, registry
from schemas.ids import random_id
from tests.embedded_fixtures import PostgresServer
from tests.vault_world import FAST, Person, World, bsuid, wait_until_blocked
from vault.outcomes import Erased, Plain


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    made = World.make(postgres_server.fresh_database("vault"))
    yield made
    made.vault.close()


@pytest.fixture
def person(world: World) -> Person:
    return world.tenant().person()


def erase(world: World, person: Person) -> deletions.KeyDestroyed:
    data = registry.read(world.apply(person.erasure())[0])
    assert isinstance(data, deletions.KeyDestroyed)
    return data


@pytest.mark.parametrize("act", ["stop", "start", "start and stop"])
def test_nothing_is_kept_of_somebody_who_never_consented(world: World, person: Person, act: str) -> None:
    """Who only said STOP, or START and never yes, is gone with the rest."""
    _, start = person.evidence(b"START")
    _, stop = person.evidence(b"STOP")
    if "start" in act:
        world.apply(person.asked_in(1000, random_id(), start.block))
    if "stop" in act:
        world.apply(person.withdrawn(2000, evidence=stop.block))
    data = erase(world, person)
    assert (data.evidence, data.classes) == ("destroyed", ["identity", "content", "evidence"])
    vault = world.other_process()
    assert vault.open_blocks([start, stop], legal=True) == [Erased(), Erased()]
    assert vault.find_retained(person.tenant.name, person.address) == []
    vault.close()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_what_belongs_to_a_consent_is_kept_in_any_order(
    world: World, person: Person, order: tuple[int, ...]
) -> None:
    """Start and yes of the opt-in, and the STOP that ended it; not another START, nor a STOP before or a second one after."""
    optin = random_id()
    (_, start), (_, yes), (_, stop) = (person.evidence(word) for word in (b"START", b"JA", b"STOP"))
    (_, other), (_, early), (_, again) = (person.evidence(word) for word in (b"START", b"STOP", b"STOP"))
    events = [
        person.asked_in(2000, optin, start.block),
        person.given(3000, evidence=yes.block, optin=optin),
        person.withdrawn(4000, evidence=stop.block),
    ]
    world.apply(person.asked_in(500, random_id(), other.block), person.withdrawn(1000, evidence=early.block))
    for place in order:
        world.apply(events[place])
    world.apply(person.withdrawn(5000, evidence=again.block))
    assert erase(world, person).evidence == "retained"
    vault = world.other_process()
    opened = vault.open_blocks([start, yes, stop, other, early, again], legal=True)
    assert opened == [Plain(b"START"), Plain(b"JA"), Plain(b"STOP"), Erased(), Erased(), Erased()]
    vault.close()


def test_another_purpose_or_person_ties_nothing(world: World, person: Person) -> None:
    """A withdrawal of something else, and a consent of somebody else, make no proof."""
    _, stop = person.evidence()
    world.apply(
        person.given(1000, purpose="newsletter"),
        person.withdrawn(2000, purpose="offers", evidence=stop.block),
    )
    world.apply(person.tenant.person().given(1000, purpose="offers"))
    assert erase(world, person).evidence == "destroyed"


def test_what_belongs_to_no_consent_goes_after_its_time(world: World, person: Person) -> None:
    """The START of an opt-in that came to nothing is destroyed, that of a consent stays, though both were written down."""
    optin = random_id()
    (_, start), (_, other), (_, yes) = (person.evidence() for _ in range(3))
    world.apply(
        person.asked_in(1000, optin, start.block),
        person.asked_in(1000, random_id(), other.block),
        person.given(2000, evidence=yes.block, optin=optin),
    )
    with world.sql() as cursor:
        old = round((FAST.evidence_untied_s + 1) * MS_PER_S)
        cursor.execute(
            "update vault.keys set created_ms = created_ms - %s where subject = %s", [old, person.subject]
        )
    vault = world.other_process()
    assert vault.destroy_evidence(date(2020, 1, 1)) == 1
    assert vault.open_blocks([start, other, yes]) == [Plain(b"JA"), Erased(), Plain(b"JA")]
    with world.sql() as cursor:
        cursor.execute("select count(*) from vault.proofs where subject = %s", [person.subject])
        assert cursor.fetchone() == (2,)
    vault.close()


def test_an_address_bound_just_before_t1_finds_the_evidence(world: World, person: Person) -> None:
    """The index of retained evidence has every address that T1 moves, also one whose binding T1 had to wait for."""
    _, yes = person.evidence()
    world.apply(person.given(1000, evidence=yes.block))
    user = bsuid()
    with ThreadPoolExecutor(1) as pool:
        with person.vault.transaction() as cursor:
            person.vault.resolve_senders(cursor, [person.tenant.sender(person.address, user)])
            erasing = pool.submit(erase, world, person)
            wait_until_blocked(world, 1)
        assert erasing.result(60).evidence == "retained"
    for address in (person.address, user):
        assert person.vault.find_retained(person.tenant.name, address) == [person.subject]
