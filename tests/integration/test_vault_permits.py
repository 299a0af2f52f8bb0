"""The gate: conditions, reasons, and what a permit carries."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from schemas.clock import boot_s, month_of_ms, now_ms, today
from schemas.events import tenants
from schemas.ids import message_id, random_id, random_token
from tests.embedded_fixtures import PostgresServer
from tests.vault_world import CHANNEL, FAST, RAW_TOPICS, Person, Tenant, World, bsuid, tenant_event
from vault.claims import Settlement
from vault.permissions import Lower
from vault.permits import Answer, Permit, PermitRequest, Refusal, Settled, Unknown, Wait


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


def answer(person: Person, request: PermitRequest) -> Answer:
    return person.vault.permits([request])[0]


def newsletter(person: Person, **more: object) -> PermitRequest:
    return person.ask(purpose="newsletter", kind="template", **more)


def test_a_permit_carries_address_key_and_deadline(person: Person) -> None:
    key = person.content_key()
    before = boot_s()
    permit = answer(person, person.ask(content_gen=month_of_ms(now_ms())))
    assert isinstance(permit, Permit)
    assert permit.address == person.address
    assert permit.content_key == key
    assert permit.attempt == 1
    assert before + FAST.lease_outbound_s <= permit.deadline_s <= boot_s() + FAST.lease_outbound_s
    assert abs(permit.granted_at_ms - now_ms()) < 10_000
    assert person.address.value not in repr(permit)


def test_a_phone_number_is_preferred_to_a_user_id(tenant: Tenant) -> None:
    user = bsuid()
    subject = tenant.resolve(tenant.sender(user))[0].subject
    person = Person(tenant, subject, user)
    permit = answer(person, person.ask())
    assert isinstance(permit, Permit)
    assert permit.address == user
    number = tenant.person().address
    other = replace(number, value=number.value[:-1] + str((int(number.value[-1]) + 1) % 10))
    tenant.resolve(tenant.sender(user, other))
    permit = answer(person, person.ask())
    assert isinstance(permit, Permit)
    assert permit.address == other


def test_a_batch_is_answered_in_order(tenant: Tenant) -> None:
    people = [tenant.person() for _ in range(5)]
    requests = [person.ask() for person in people]
    requests[2] = replace(requests[2], account="other")
    answers = people[0].vault.permits(requests)
    assert [type(a).__name__ for a in answers] == ["Permit", "Permit", "Refusal", "Permit", "Permit"]
    assert [a.address for a in answers if isinstance(a, Permit)] == [
        p.address for n, p in enumerate(people) if n != 2
    ]
    assert people[0].vault.permits([]) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"expires_ms": 1}, "expired"),
        ({"account": "nobody's"}, "unknown_account"),
        ({"channel": "telegram"}, "unknown_account"),
        ({"purpose": "weather"}, "unknown_purpose"),
        ({"purpose": "newsletter", "kind": "template"}, "no_consent"),
        ({"subject": "0" * 31 + "1"}, "unreachable"),
        ({"subject": "nonsense"}, "unreachable"),
    ],
)
def test_reasons(person: Person, change: dict[str, object], reason: str) -> None:
    request = replace(person.ask(), **change)  # type: ignore[arg-type]  # field values
    refused = answer(person, request)
    assert refused == Refusal(reason, 1)  # type: ignore[arg-type]  # one of the codes
    # Asked again, by anybody, the answer is the same, whatever has changed meanwhile.
    assert answer(person, replace(request, token="another", expires_ms=now_ms() + 60_000)) == refused


def test_a_message_of_a_day_without_partition_is_expired(person: Person) -> None:
    old = message_id(today() - timedelta(days=40), b"k", random_id(), "test", "m")
    assert answer(person, person.ask(message=old)) == Refusal("expired", 0)
    assert answer(person, person.ask(message="f" * 32)) == Refusal("expired", 0)
    assert answer(person, person.ask(message="nonsense")) == Refusal("expired", 0)
    stored = person.vault.settle([Settlement(person.tenant.name, old, 0, 1, "expired")])
    assert stored == [()]


def test_dpa(world: World) -> None:
    tenant = world.tenant(dpa=False)
    person = tenant.person()
    assert answer(person, person.ask()) == Refusal("no_dpa", 1)
    world.apply(tenant_event(tenant.name, tenants.DpaSigned(version="1", signed_at="2026-01-01T00:00:00Z")))
    assert isinstance(answer(person, person.ask()), Permit)
    world.apply(tenant_event(tenant.name, tenants.DpaEnded(ended_at="2026-01-02T00:00:00Z")))
    assert answer(person, person.ask()) == Refusal("no_dpa", 1)


def test_window(tenant: Tenant) -> None:
    edge = round((FAST.window_s - FAST.window_margin_s) * 1000)
    for age_ms, open_ in ((0, True), (edge - 5000, True), (edge + 1, False)):
        person = tenant.person()
        with tenant.world.sql() as cursor:
            cursor.execute(
                "update vault.reach set last_inbound_ms = vault.now_ms() - %s where subject = %s",
                [age_ms, person.subject],
            )
        expected = Permit if open_ else Refusal
        found = answer(person, person.ask())
        assert isinstance(found, expected)
        assert open_ or found == Refusal("window_closed", 1)
        assert isinstance(answer(person, person.ask(kind="template")), Permit)


def test_the_window_is_of_one_account(world: World, tenant: Tenant) -> None:
    person = tenant.person()
    approved = tenants.ChannelApproved(connection="c2", account=f"{tenant.account}-2")
    world.apply(tenant_event(tenant.name, approved, CHANNEL))
    assert answer(person, person.ask(account=f"{tenant.account}-2")) == Refusal("window_closed", 1)


def test_consent_given_and_withdrawn(world: World, person: Person) -> None:
    now = now_ms()
    given = person.given(now)
    assert answer(person, newsletter(person)) == Refusal("no_consent", 1)
    world.apply(given)
    assert isinstance(answer(person, newsletter(person)), Permit)
    assert isinstance(answer(person, newsletter(person, basis=given.id)), Permit)
    with person.vault.transaction() as cursor:
        lower = Lower(person.tenant.name, person.subject, CHANNEL, "newsletter", now + 1)
        person.vault.lower_permissions(cursor, [lower])
    assert answer(person, newsletter(person)) == Refusal("consent_withdrawn", 1)
    assert answer(person, newsletter(person, basis=given.id)) == Refusal("consent_withdrawn", 1)
    assert isinstance(answer(person, person.ask()), Permit), "service needs no consent"
    later = person.given(now + 2)
    world.apply(later)
    assert isinstance(answer(person, newsletter(person, basis=given.id)), Permit)


def test_equal_times_mean_withdrawn(world: World, person: Person) -> None:
    now = now_ms()
    world.apply(person.given(now), person.withdrawn(now))
    assert answer(person, newsletter(person)) == Refusal("consent_withdrawn", 1)


@pytest.mark.finding(3)
def test_a_basis_that_is_not_applied_yet_is_waited_for_and_then_refused(world: World, person: Person) -> None:
    given = person.given(now_ms())
    young = newsletter(person, basis=given.id)
    waiting = answer(person, young)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "basis"
    old = replace(newsletter(person, basis=given.id), requested_at_ms=now_ms() - 31_000)
    assert answer(person, old) == Refusal("no_consent", 1)
    world.apply(given)
    assert isinstance(answer(person, young), Permit)
    assert answer(person, old) == Refusal("no_consent", 1), "refused once is refused for ever"


def test_the_basis_of_somebody_else_is_none(world: World, person: Person) -> None:
    other = person.tenant.person()
    given = other.given(now_ms())
    world.apply(given, person.given(now_ms()))
    request = replace(newsletter(person, basis=given.id), requested_at_ms=now_ms() - 31_000)
    assert answer(person, request) == Refusal("no_consent", 1)


def test_settings_that_are_not_applied_yet_are_waited_for(world: World, person: Person) -> None:
    ahead = world.offset + 1000
    waiting = answer(person, person.ask(settings=ahead))
    assert isinstance(waiting, Wait)
    assert waiting.reason == "settings"
    old = person.ask(settings=ahead, requested_at_ms=now_ms() - 31_000)
    assert isinstance(answer(person, old), Permit)
    assert isinstance(answer(person, person.ask(settings=0)), Permit)


@pytest.mark.finding(2)
def test_a_follower_that_is_behind_stops_what_needs_consent(world: World, person: Person) -> None:
    world.apply(person.given(now_ms()))
    with world.sql() as cursor:
        cursor.execute("update vault.follower set reached_ms = reached_ms - 10500")
    waiting = answer(person, newsletter(person))
    assert isinstance(waiting, Wait)
    assert waiting.reason == "vault_behind"
    assert isinstance(answer(person, replace(newsletter(person), partition=None)), Wait)
    assert isinstance(answer(person, person.ask()), Permit), "service goes on"
    world.caught_up()
    assert isinstance(answer(person, newsletter(person)), Permit)
    assert isinstance(answer(person, replace(newsletter(person), partition=None)), Permit)


def test_a_stop_that_may_lie_unread_stops_what_needs_consent(world: World, person: Person) -> None:
    """The follower is at its ends, inbound is not at one of its: decision 051."""
    world.apply(person.given(now_ms()))
    with world.sql() as cursor:
        cursor.execute("update vault.inbound_read set reached_ms = reached_ms - 10500 where partition = 0")
    with world.vault.transaction() as cursor:
        world.vault.inbound_read(cursor, RAW_TOPICS, [1])
        world.handler.caught_up(cursor, [0])
    waiting = answer(person, newsletter(person))
    assert isinstance(waiting, Wait)
    assert waiting.reason == "vault_behind"
    assert isinstance(answer(person, person.ask()), Permit), "service goes on"
    world.caught_up()
    assert isinstance(answer(person, newsletter(person)), Permit)


def test_before_inbound_has_read_every_partition_nothing_that_needs_consent_goes_out(
    postgres_server: PostgresServer,
) -> None:
    world = World.make(postgres_server.fresh_database("vault"))
    person = world.tenant().person()
    world.apply(person.given(now_ms()))
    with world.sql() as cursor:
        cursor.execute("delete from vault.inbound_read")
    with world.vault.transaction() as cursor:
        world.handler.caught_up(cursor, [0])
    assert isinstance(answer(person, newsletter(person)), Wait)
    assert isinstance(answer(person, person.ask()), Permit)
    world.vault.bind_installation("cluster-1", 2)
    for partition, wanted in ((0, Wait), (1, Permit)):
        with world.vault.transaction() as cursor:
            world.vault.inbound_read(cursor, RAW_TOPICS, [partition])
            cursor.execute(
                "insert into vault.inbound_read values ('a channel that is gone', 0, 0) on conflict do nothing"
            )
            world.handler.caught_up(cursor, [0])
        assert isinstance(answer(person, newsletter(person)), wanted), (
            "a partition that was never read counts"
        )
    world.vault.close()


@pytest.mark.finding(2, 18)
def test_after_a_restore_everything_waits_until_the_follower_has_caught_up(
    world: World, person: Person
) -> None:
    assert isinstance(answer(person, replace(person.ask(), partition=3)), Wait), "never read to its end"
    with world.sql() as cursor:
        cursor.execute("update vault.follower set incarnation = 'another database'")
    for request in (person.ask(), person.ask(partition=None), newsletter(person)):
        waiting = answer(person, request)
        assert isinstance(waiting, Wait)
        assert waiting.reason == "vault_behind"
    world.caught_up()
    assert isinstance(answer(person, person.ask()), Permit)


@pytest.mark.finding(18)
def test_after_a_restore_what_was_asked_for_before_is_unknown(postgres_server: PostgresServer) -> None:
    """The claims are gone with the old database: nobody knows what was sent."""
    world = World.make(postgres_server.fresh_database("vault"))
    person = world.tenant().person()
    before, cancelled = (
        person.ask(requested_at_ms=now_ms() - 1000),
        person.ask(requested_at_ms=now_ms() - 1000),
    )
    assert isinstance(answer(person, person.ask(requested_at_ms=now_ms() - 1000)), Permit), (
        "the first is no restore"
    )
    with world.sql() as cursor:
        cursor.execute("update vault.incarnations set incarnation = 'the old database'")
        cursor.execute("update vault.follower set incarnation = 'the old database'")
    waiting = answer(person, before)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "vault_behind"
    world.caught_up()
    assert answer(person, before) == Unknown(1)
    assert answer(person, replace(before, token="redelivered")) == Unknown(1)
    assert answer(person, replace(cancelled, expires_ms=1)) == Unknown(1), (
        "it may have been sent before it expired"
    )
    outcome = Settlement(person.tenant.name, before.message, 0, 1, "unknown")
    assert person.vault.settle([outcome]) == [()]
    assert answer(person, before) == Settled(())
    world.caught_up()
    assert isinstance(answer(person, person.ask(requested_at_ms=now_ms() + 1)), Permit)
    world.vault.close()


def test_cancelled(person: Person) -> None:
    request = person.ask()
    with person.vault.transaction() as cursor:
        person.vault.cancel(cursor, person.tenant.name, request.message)
        person.vault.cancel(cursor, "another tenant", person.ask().message)
    assert answer(person, request) == Refusal("cancelled", 1)


def test_restricted(world: World, person: Person) -> None:
    with world.sql() as cursor:
        cursor.execute("update vault.subjects set state = 'restricted' where subject = %s", [person.subject])
    assert answer(person, person.ask()) == Refusal("restricted", 1)


def test_erased_leaves_no_claim_and_comes_first(world: World, person: Person) -> None:
    sent = person.ask()
    assert isinstance(answer(person, sent), Permit)
    world.apply(person.erasure())
    assert answer(person, person.ask(expires_ms=1)) == Refusal("erased", 0)
    assert answer(person, sent) == Refusal("erased", 0)


def test_a_message_that_went_out_is_never_called_rejected(world: World, person: Person) -> None:
    world.apply(person.given(now_ms()))
    request = newsletter(person)
    permit = answer(person, request)
    assert isinstance(permit, Permit)
    person.vault.settle([Settlement(person.tenant.name, request.message, 0, 1, "submitted")])
    world.apply(person.withdrawn(now_ms() + 1))
    assert answer(person, replace(request, token="redelivered")) == Settled(())


def test_an_exchanged_key_is_refused_not_used(world: World, tenant: Tenant) -> None:
    one, other = tenant.person(), tenant.person()
    with world.sql() as cursor:
        cursor.execute("select wrapped from vault.keys where subject = %s", [one.subject])
        ((wrapped,),) = cursor.fetchall()
        cursor.execute(
            "update vault.keys k set wrapped = o.wrapped from vault.keys o where k.subject = %s and o.subject = %s",
            [one.subject, other.subject],
        )
    request, corrupt = one.ask(delivery="at_most_once"), opens_corrupt()
    for turn in range(1, 4):
        assert_waits_for_repair(answer(one, replace(request, token=random_token())))
        assert opens_corrupt() == corrupt + turn
    assert isinstance(answer(other, other.ask()), Permit)
    with world.sql() as cursor:
        cursor.execute("update vault.keys set wrapped = %s where subject = %s", [wrapped, one.subject])
    permit = answer(one, replace(request, token=random_token()))
    assert isinstance(permit, Permit), "nobody was called, so nothing is in doubt"
    assert permit.again is False


@pytest.mark.parametrize("key_class", ["identity", "content"])
def test_a_missing_key_is_a_fault_of_the_vault(world: World, person: Person, key_class: str) -> None:
    """As after a restore of an older backup: it alarms, leaves no claim, and the message goes once the row is back."""
    person.content_key()
    request, corrupt = person.ask(content_gen=month_of_ms(now_ms())), opens_corrupt()
    with world.sql() as cursor:
        cursor.execute(
            "create temporary table kept as select * from vault.keys where subject = %s", [person.subject]
        )
        cursor.execute("alter table vault.keys disable trigger guard_key")
        cursor.execute(
            "delete from vault.keys where subject = %s and class = %s", [person.subject, key_class]
        )
        cursor.execute("alter table vault.keys enable always trigger guard_key")
        assert_waits_for_repair(answer(person, request))
        assert opens_corrupt() == corrupt + 1
        cursor.execute("select count(*) from vault.claims where message = %s", [request.message])
        assert cursor.fetchone() == (0,)
        assert answer(person, replace(request, expires_ms=1)) == Refusal("expired", 1)
        cursor.execute("insert into vault.keys select * from kept where class = %s", [key_class])
    later = person.ask(content_gen=request.content_gen)
    assert isinstance(answer(person, later), Permit)


def test_a_destroyed_generation_is_a_refusal(world: World, person: Person) -> None:
    person.content_key()
    corrupt = opens_corrupt()
    with world.sql() as cursor:
        cursor.execute(
            "update vault.keys set wrapped = null, destroyed_ms = 1 where subject = %s and class = 'content'",
            [person.subject],
        )
    request = person.ask(content_gen=month_of_ms(now_ms()))
    assert answer(person, request) == Refusal("unreachable", 1)
    assert opens_corrupt() == corrupt


def opens_corrupt() -> float:
    """What has alarmed so far."""
    return REGISTRY.get_sample_value("sealpost_opens_total", {"result": "corrupt"}) or 0


def assert_waits_for_repair(waiting: Answer) -> None:
    assert isinstance(waiting, Wait)
    assert waiting.reason == "vault_fault"


def test_one_round_trip(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    person.vault.permits([person.ask()])
    statements: list[object] = []
    with person.vault._pool.connection() as connection:
        execute: Any = type(connection.cursor()).execute

    def counted(self: object, query: object, *rest: object, **more: object) -> object:
        statements.append(query)
        return execute(self, query, *rest, **more)

    monkeypatch.setattr("psycopg.Cursor.execute", counted)
    person.vault.permits([person.ask() for _ in range(20)])
    assert len(statements) == 1


def test_an_unknown_tenant_does_not_hold_up_the_others(person: Person) -> None:
    refused, permit = person.vault.permits([person.ask(tenant="nobody"), person.ask()])
    assert refused == Refusal("no_dpa", 0)
    assert isinstance(permit, Permit)
