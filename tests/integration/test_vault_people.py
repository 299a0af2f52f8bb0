"""Find or create, addresses, names, reach, look-ups."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import pytest
from psycopg.errors import DeadlockDetected

from schemas.clock import now_ms
from schemas.ids import random_id
from tests.embedded_fixtures import PostgresServer
from tests.vault_world import CHANNEL, Tenant, World, bsuid, phone


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    made = World.make(postgres_server.fresh_database("vault"))
    yield made
    made.vault.close()


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


def test_a_first_act_creates_and_a_second_finds(tenant: Tenant) -> None:
    address = phone()
    first = tenant.resolve(tenant.sender(address, name="Ada"))[0]
    assert first.created
    assert first.bound == (address,)
    assert first.name_changed
    again = tenant.resolve(tenant.sender(address, name="Ada"))[0]
    assert again.subject == first.subject
    assert (again.created, again.bound, again.name_changed) == (False, (), False)
    assert tenant.resolve(tenant.sender(address, name="Ada L."))[0].name_changed
    vault = tenant.world.vault
    assert vault.find_subject(tenant.name, address) == first.subject
    assert vault.find_subject(tenant.name, phone()) is None
    state = vault.subject_state(tenant.name, first.subject)
    assert state is not None
    assert state.state == "active"
    assert vault.subject_state(tenant.name, random_id()) is None
    assert vault.subject_state(tenant.name, "' or 1=1") is None


def test_one_batch_with_the_same_person_many_times(tenant: Tenant) -> None:
    number, user = phone(), bsuid()
    answers = tenant.resolve(
        tenant.sender(number), tenant.sender(phone()), tenant.sender(number, user), tenant.sender(user)
    )
    one, other, both, by_user = answers
    assert one.subject == both.subject == by_user.subject != other.subject
    assert [a.created for a in answers] == [True, True, False, False]
    assert one.bound == (number,)
    assert both.bound == (user,)
    assert by_user.bound == ()


def test_an_address_that_a_known_person_brings_along_is_no_strangers(tenant: Tenant) -> None:
    number, user = phone(), bsuid()
    known = tenant.resolve(tenant.sender(number))[0].subject
    by_user, both = tenant.resolve(tenant.sender(user), tenant.sender(number, user))
    assert by_user.subject == both.subject == known
    assert not by_user.created
    assert both.bound == (user,)


@pytest.mark.finding(13)
def test_two_subjects_that_are_one_person_are_linked(tenant: Tenant) -> None:
    number, user = phone(), bsuid()
    older = tenant.resolve(tenant.sender(number))[0].subject
    younger = tenant.resolve(tenant.sender(user))[0].subject
    assert older != younger
    both = tenant.resolve(tenant.sender(user, number))[0]
    assert both.subject == older
    assert both.bound == (user,)
    assert tenant.resolve(tenant.sender(user))[0].subject == older
    with tenant.world.sql() as cursor:
        cursor.execute("select subject, other from vault.links where tenant = %s", [tenant.name])
        assert [(one.hex, other.hex) for one, other in cursor.fetchall()] == [(older, younger)]


def links(tenant: Tenant) -> int:
    """How many subjects of the tenant were found to be one person."""
    with tenant.world.sql() as cursor:
        cursor.execute("select count(*) from vault.links where tenant = %s", [tenant.name])
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_a_number_with_another_user_id_is_another_person(tenant: Tenant, *, known: bool) -> None:
    """Nobody told of a change: the number leaves who had it, unlinked, and reaches the person who brings her own id."""
    number, first, second, now = phone(), bsuid(), bsuid(), now_ms()
    had = tenant.resolve(tenant.sender(first, number, at_ms=now))[0].subject
    subject = tenant.resolve(tenant.sender(second, at_ms=now))[0].subject if known else None
    has = tenant.resolve(tenant.sender(second, number, at_ms=now + 1))[0]
    assert has.subject != had
    assert has.created == (subject is None)
    assert subject in (None, has.subject)
    assert has.unbound == ((had, number),)
    assert number in has.bound
    alone, old, again = tenant.resolve(
        tenant.sender(number, at_ms=now + 2),
        tenant.sender(first, at_ms=now + 2),
        tenant.sender(second, number, at_ms=now + 1),
    )
    assert [alone.subject, old.subject, again.subject] == [has.subject, had, has.subject]
    assert (again.bound, again.unbound, links(tenant)) == ((), (), 0)


@pytest.mark.parametrize("batched", [False, True], ids=["apart", "one batch"])
@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_a_number_of_two_people_in_any_order(
    tenant: Tenant, order: tuple[int, ...], *, batched: bool
) -> None:
    """However their acts come, two people stay two, and the number ends with the one who had it last."""
    number, first, second, start = phone(), bsuid(), bsuid(), now_ms()
    senders = [
        tenant.sender(first, number, at_ms=start),
        tenant.sender(first, number, at_ms=start + 1),
        tenant.sender(second, number, at_ms=start + 2),
        tenant.sender(second, number, at_ms=start + 3),
    ]
    ordered = [senders[place] for place in order]
    answers = tenant.resolve(*ordered) if batched else [tenant.resolve(one)[0] for one in ordered]
    subjects = {place: answer.subject for place, answer in zip(order, answers, strict=True)}
    assert subjects[0] == subjects[1] != subjects[2] == subjects[3]
    assert tenant.world.vault.find_subject(tenant.name, number) == subjects[2]
    assert links(tenant) == 0
    for answer in answers:
        assert all(subject != answer.subject for subject, _ in answer.unbound)


def test_what_says_no_more_than_a_device_takes_no_number(tenant: Tenant) -> None:
    """Who makes nobody known is told by the own id alone."""
    number, first, second, now = phone(), bsuid(), bsuid(), now_ms()
    had = tenant.resolve(tenant.sender(first, number, at_ms=now))[0].subject
    answer = tenant.resolve(tenant.sender(second, number, at_ms=now + 1, creates=False))[0]
    assert answer.unknown
    assert tenant.world.vault.find_subject(tenant.name, number) == had


def test_many_workers_with_recycled_numbers(tenant: Tenant) -> None:
    """Transactions that meet over the same numbers, in every order, all end, and nobody has two ids."""
    start = now_ms()
    groups = [(phone(), bsuid(), bsuid()) for _ in range(4)]

    def inbound(turn: int) -> None:
        pairs = groups if turn % 2 else groups[::-1]
        senders = [tenant.sender(g[1 + turn % 3 % 2], g[0], at_ms=start + turn % 3 % 2) for g in pairs]
        for _ in range(20):
            try:
                tenant.resolve(*senders)
            except DeadlockDetected:  # the engine tries such a step again
                continue
            return
        raise AssertionError("never got through")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(inbound, range(24)))
    find = tenant.world.vault.find_subject
    for number, first, second in groups:
        subjects = [find(tenant.name, one) for one in (number, first, second)]
        assert subjects[0] == subjects[2] != subjects[1]
    assert links(tenant) == 0


def test_tenants_do_not_share_people(world: World) -> None:
    one, other = world.tenant(), world.tenant()
    address = phone()
    assert one.resolve(one.sender(address))[0].subject != other.resolve(other.sender(address))[0].subject
    assert world.vault.find_subject(one.name, address) != world.vault.find_subject(other.name, address)


def test_many_workers_make_one_subject(tenant: Tenant) -> None:
    groups = [(phone(), bsuid()) for _ in range(6)]

    def inbound(turn: int) -> list[str]:
        senders = [tenant.sender(*(pair if turn % 2 else pair[::-1])) for pair in groups]
        return [answer.subject for answer in tenant.resolve(*senders)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(inbound, range(16)))
    assert len({tuple(subjects) for subjects in found}) == 1
    with tenant.world.sql() as cursor:
        cursor.execute("select count(*) from vault.subjects where tenant = %s", [tenant.name])
        assert cursor.fetchone() == (len(groups),)
        cursor.execute("select count(*) from vault.keys where tenant = %s", [tenant.name])
        assert cursor.fetchone() == (len(groups),)


def test_reach_only_grows_and_only_by_messages(tenant: Tenant) -> None:
    address = phone()
    now = now_ms()
    subject = tenant.resolve(tenant.sender(address, at_ms=now))[0].subject
    tenant.resolve(tenant.sender(address, at_ms=now - 5000))
    tenant.resolve(tenant.sender(address, at_ms=now + 5000, opens_window=False))
    reach = tenant.world.vault.newest_reach(tenant.name, subject)
    assert reach is not None
    assert (reach.channel, reach.account, reach.last_inbound_ms) == (CHANNEL, tenant.account, now)
    assert tenant.world.vault.newest_reach(tenant.name, random_id()) is None


def test_nothing_personal_is_stored_in_clear(tenant: Tenant) -> None:
    address = phone()
    tenant.resolve(tenant.sender(address, name="Xaverine Marker"))
    with tenant.world.sql() as cursor:
        cursor.execute(
            "select coalesce(string_agg(t::text, ''), '') from (select a::text t from vault.addresses a "
            "union all select p::text from vault.profiles p union all select s::text from vault.subjects s) x"
        )
        row = cursor.fetchone()
    assert row is not None
    assert address.value not in row[0]
    assert address.value.encode().hex() not in row[0]
    assert "Xaverine" not in row[0]
    assert b"Xaverine".hex() not in row[0]
