"""The role `vault`: permissions in every order, poison, settings, lists, the follower."""

import base64
from collections.abc import Iterator
from itertools import permutations
from random import Random

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.clock import now_ms, to_text
from schemas.envelope import Event
from schemas.events import subscriptions, tenants
from schemas.ids import random_id
from schemas.settings import SettingsFold
from schemas.topics import CONSENTS, DEADLETTERS, DELETIONS, SUBSCRIPTIONS, TENANTS
from streams.step.contract import Effects, Item, Poison, Record
from tests.embedded_fixtures import PostgresServer
from tests.vault_world import CHANNEL, Person, Tenant, World, tenant_event
from vault.errors import UnreadableLedger
from vault.permissions import Lower
from vault.permits import Permit, Refusal


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    made = World.make(postgres_server.fresh_database("vault"))
    yield made
    made.vault.close()


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


@pytest.fixture
def person(tenant: Tenant) -> Person:
    return tenant.person()


def row(person: Person) -> tuple[int | None, str | None, int | None, bool]:
    (found,) = person.vault.permissions(person.tenant.name, person.subject)
    return found.given_at_ms, found.given_by, found.withdrawn_at_ms, found.active


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 6)), min_size=1, max_size=7),
    st.randoms(use_true_random=False),
)
@pytest.mark.finding(2, 3)
def test_every_order_and_repetition_ends_in_the_same_permission(
    world: World, acts: list[tuple[bool, int]], chance: Random
) -> None:
    tenant = world.tenant()
    straight, shuffled = tenant.person(), tenant.person()
    ids: dict[tuple[bool, int], str] = {}

    def event_of(person: Person, act: tuple[bool, int]) -> Event:
        given_, at = act
        event = person.given(at) if given_ else person.withdrawn(at)
        return event.model_copy(update={"id": ids.setdefault(act, random_id())})

    for act in acts:
        world.apply(event_of(straight, act))
    repeated = acts + [chance.choice(acts) for _ in range(4)]
    chance.shuffle(repeated)
    while repeated:
        size = chance.randint(1, 4)
        batch, repeated = repeated[:size], repeated[size:]
        by_hand = [at for given_, at in batch if not given_]
        if by_hand and chance.random() < 0.5:
            # Inbound lowers at once, in its own transaction, before or after the role gets to see the event.
            with world.vault.transaction() as cursor:
                lower = Lower(tenant.name, shuffled.subject, CHANNEL, "newsletter", by_hand[0])
                world.vault.lower_permissions(cursor, [lower])
        world.apply(*(event_of(shuffled, act) for act in batch))
    given_at = max((at for yes, at in acts if yes), default=None)
    withdrawn_at = max((at for yes, at in acts if not yes), default=None)
    expected_active = given_at is not None and given_at > (withdrawn_at or 0)
    consent = ids[True, given_at] if given_at is not None else None
    assert row(straight) == row(shuffled) == (given_at, consent, withdrawn_at, expected_active)


def test_all_orders_of_one_story(world: World, tenant: Tenant) -> None:
    story = [(True, 10), (False, 20), (True, 30), (False, 30)]
    for order in permutations(story):
        person = tenant.person()
        world.apply(*(person.given(at) if yes else person.withdrawn(at) for yes, at in order))
        assert not row(person)[3]


def test_two_consents_at_one_moment_name_the_same_one_in_both_orders(world: World, tenant: Tenant) -> None:
    one, other = tenant.person(), tenant.person()
    ids = [random_id(), random_id()]
    for person, order in ((one, ids), (other, ids[::-1])):
        for id_ in order:
            world.apply(person.given(5).model_copy(update={"id": id_}))
    assert row(one)[1] == row(other)[1] == max(ids)


def test_purposes_and_channels_are_apart(world: World, person: Person) -> None:
    world.apply(person.given(5), person.given(6, purpose="weather"), person.withdrawn(7))
    found = {p.purpose: p.active for p in person.vault.permissions(person.tenant.name, person.subject)}
    assert found == {"newsletter": False, "weather": True}


def test_nothing_is_written_for_an_erased_subject(world: World, person: Person) -> None:
    world.apply(person.erasure())
    world.apply(person.given(5), person.withdrawn(6), member(person, 7))
    assert person.vault.permissions(person.tenant.name, person.subject) == []
    with world.sql() as cursor:
        cursor.execute("select count(*) from vault.list_members where subject = %s", [person.subject])
        assert cursor.fetchone() == (0,)


def member(person: Person, at_ms: int) -> Event:
    return person.event(
        subscriptions.SubscriptionActivated(
            subscription=random_id(), list="news", purpose="newsletter", basis=random_id(),
            account=person.tenant.account, language="de", acted_at=to_text(at_ms),
        )
    )  # fmt: skip


def ended(person: Person, at_ms: int) -> Event:
    return person.event(
        subscriptions.SubscriptionEnded(
            subscription=random_id(),
            list="news",
            purpose="newsletter",
            reason="withdrawn",
            acted_at=to_text(at_ms),
        )
    )


def test_memberships_only_grow_too(world: World, tenant: Tenant) -> None:
    for order in permutations([(member, 5), (ended, 6), (member, 7)]):
        person = tenant.person()
        for make, at in order:
            world.apply(make(person, at))
        with world.sql() as cursor:
            cursor.execute(
                "select activated_ms, ended_ms from vault.list_members where subject = %s", [person.subject]
            )
            assert cursor.fetchall() == [(7, 6)]


def test_settings_reach_the_gate(world: World, person: Person) -> None:
    request = person.ask(purpose="weather")
    define = tenants.PurposeDefined(purpose="weather", legal_basis="contract")
    world.apply(tenant_event(person.tenant.name, define))
    assert isinstance(person.vault.permits([request])[0], Permit)
    define = tenants.PurposeDefined(purpose="weather", legal_basis="consent")
    world.apply(tenant_event(person.tenant.name, define))
    assert person.vault.permits([person.ask(purpose="weather")]) == [Refusal("no_consent", 1)]
    state = person.vault.tenant_state(person.tenant.name)
    assert state is not None
    assert (state.dpa, state.purposes["weather"], state.purposes["service"]) == (True, "consent", "contract")
    assert person.vault.tenant_state("nobody") is None
    assert person.tenant.name in person.vault.tenants()


def dpa_signed(tenant: Tenant, at_ms: int) -> Event:
    data = tenants.DpaSigned(version="1", signed_at=to_text(at_ms))
    return tenant_event(tenant.name, data, at_ms=at_ms)


def dpa_ended(tenant: Tenant, at_ms: int) -> Event:
    return tenant_event(tenant.name, tenants.DpaEnded(ended_at=to_text(at_ms)), at_ms=at_ms)


def in_force(tenant: Tenant) -> bool:
    state = tenant.world.vault.tenant_state(tenant.name)
    assert state is not None
    return state.dpa


def test_an_agreement_ends_the_same_in_every_order_and_repetition(world: World) -> None:
    """In the vault and in every process that follows the settings."""
    for acts, holds in (((1, -2, 3), True), ((1, 3, -4), False), ((2, -2), False)):
        for order in permutations([*acts, acts[0]]):
            tenant, fold = world.tenant(dpa=False), SettingsFold()
            for offset, at in enumerate(order):
                event = dpa_signed(tenant, at) if at > 0 else dpa_ended(tenant, -at)
                world.apply(event)
                fold.apply(event, offset)
            assert in_force(tenant) is fold.snapshot()[tenant.name].dpa is holds, order


def test_a_signature_of_before_does_not_raise_what_an_end_has_lowered(world: World) -> None:
    """The API has answered that nothing is sent any more; role vault is still behind, or reads the log again from its start."""
    tenant = world.tenant(dpa=False)
    person, vault = tenant.person(), world.vault
    first = dpa_signed(tenant, vault.signing_time(tenant.name))
    with vault.transaction() as cursor:
        end = dpa_ended(tenant, vault.lower_dpa(cursor, tenant.name))
    world.apply(first)
    assert vault.permits([person.ask()]) == [Refusal("no_dpa", 1)]
    world.apply(end)
    world.apply(dpa_signed(tenant, vault.signing_time(tenant.name)))
    assert isinstance(vault.permits([person.ask()])[0], Permit)
    world.apply(first)
    world.apply(end)
    assert isinstance(vault.permits([person.ask()])[0], Permit)


def test_what_is_signed_after_an_end_is_in_force_whatever_the_clock_does(world: World) -> None:
    """Also when the database's clock was ahead at the end."""
    tenant = world.tenant()
    world.apply(dpa_ended(tenant, now_ms() + 3_600_000))
    world.apply(dpa_signed(tenant, world.vault.signing_time(tenant.name)))
    assert in_force(tenant)
    with world.vault.transaction() as cursor:
        world.vault.lower_dpa(cursor, tenant.name)
    assert not in_force(tenant)


def corrupt(world: World, person: Person, topic: str = CONSENTS, key: bytes | None = None) -> Record:
    world.offset += 1
    key = person.subject.encode() if key is None else key
    return Record(topic, 0, world.offset, key, b'{"not": "an event"}', now_ms())


@pytest.mark.finding(15)
def test_a_poisoned_withdrawal_restricts_and_later_events_go_behind_it(world: World, tenant: Tenant) -> None:
    person, other = tenant.person(), tenant.person()
    world.apply(person.given(5), other.given(5))
    assert isinstance(person.vault.permits([person.ask()])[0], Permit)
    world.apply_records([corrupt(world, person)])
    assert person.vault.permits([person.ask()]) == [Refusal("restricted", 1)]
    later = world.record(person.given(9), CONSENTS)
    (letter,) = world.apply_records([later, world.record(other.withdrawn(9), CONSENTS)])
    assert (letter.topic, letter.key) == (DEADLETTERS, person.subject.encode())
    content = orjson.loads(letter.value)
    assert content["origin"] == {"topic": CONSENTS, "partition": 0, "offset": later.offset}
    assert content["role"] == "vault"
    assert content["reason"] == "BehindPoison"
    assert base64.b64decode(content["value"]) == later.value
    assert row(person)[0] == 5
    assert not row(other)[3], "others flow"
    # A subscription is no consent: it is applied. And an erasure ends everything.
    world.apply(member(person, 5))
    assert len(world.apply(person.erasure())) == 2
    assert person.vault.permits([person.ask()]) == [Refusal("erased", 0)]


def test_unblocking_lifts_the_restriction(world: World, person: Person) -> None:
    world.apply_records([corrupt(world, person)])
    assert person.vault.blocked_subjects() == [person.subject]
    person.vault.unblock(person.subject)
    assert person.vault.blocked_subjects() == []
    assert isinstance(person.vault.permits([person.ask()])[0], Permit)
    world.apply(person.given(9))
    assert row(person)[0] == 9


def test_poison_elsewhere_restricts_nobody(world: World, person: Person) -> None:
    world.apply_records([corrupt(world, person, SUBSCRIPTIONS), corrupt(world, person, TENANTS)])
    assert isinstance(person.vault.permits([person.ask()])[0], Permit)


@pytest.mark.parametrize("topic", [CONSENTS, DELETIONS])
def test_a_record_of_unknown_subject_stops_the_partition(world: World, person: Person, topic: str) -> None:
    with pytest.raises(UnreadableLedger) as caught:
        world.apply_records([corrupt(world, person, topic, b"not an id")])
    assert "not an id" not in str(caught.value)


def test_an_item_that_fails_is_poison_for_its_record_key(world: World, person: Person) -> None:
    """The engine knows no subject when `apply` failed; the record key tells."""
    record = world.record(person.given(5), CONSENTS)
    with world.vault.transaction() as cursor:
        world.handler.poisoned(cursor, Poison(record, "DataError"), Effects())
    assert person.vault.permits([person.ask()]) == [Refusal("restricted", 1)]


@pytest.mark.parametrize(
    "change",
    [
        {"type": "sealpost.consent.given.v9"},
        {"subject": "somebody"},
        {"data": {}},
        {"data": {"purpose": "newsletter", "method": "keyword", "acted_at": "yesterday"}},
    ],
)
def test_what_is_not_understood_is_poison(world: World, person: Person, change: dict[str, object]) -> None:
    event = person.withdrawn(5).model_copy(update=change)
    record = Record(CONSENTS, 0, 1, person.subject.encode(), event.to_bytes(), now_ms())
    (answer,) = world.handler.prepare([record])
    assert isinstance(answer, Poison)
    assert answer.subject == person.subject
    assert "yesterday" not in answer.reason


def test_prepare_answers_each_record_in_order(world: World, person: Person) -> None:
    records = [
        world.record(person.given(5), CONSENTS),
        corrupt(world, person),
        world.record(person.withdrawn(6), CONSENTS),
    ]
    answers = world.handler.prepare(records)
    assert [type(answer) for answer in answers] == [Item, Poison, Item]
    assert [answer.record for answer in answers] == records
    assert world.handler.prepare(records) == answers


def test_the_handler_says_who_it_is(world: World) -> None:
    assert world.handler.role == "vault"
    assert set(world.handler.topics) == {DELETIONS, CONSENTS, SUBSCRIPTIONS, TENANTS}
    assert world.handler.priority_topic == DELETIONS
