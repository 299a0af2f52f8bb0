"""T1 and what may never happen after it (laws L2, L9; pitfalls P1, P2, P3, P22, P37, P39, P44)."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import psycopg
import pytest

from schemas.clock import MS_PER_S, now_ms, to_ms
from schemas.constants import DAY_S
from schemas.envelope import Event
from schemas.events import deletions, registry
from schemas.ids import random_id
from schemas.stores import VAULT
from streams.step.contract import Cursor, Record, Wake
from streams.step.store import write_wakes
from tests.embedded_fixtures import PostgresServer
from tests.store_register import EMPTIED
from tests.vault_world import CHANNEL, FAST, Person, Tenant, World, bsuid, created, phone, wait_until_blocked
from vault import resolving
from vault.keys import BlockToOpen, KeyNeed
from vault.outcomes import Erased, Plain
from vault.permissions import Lower
from vault.permits import Permit, Refusal
from vault.person import Person as PersonOnItsWay
from vault.sealing import SealContext, seal
from workers.inbound import parking
from workers.inbound import writing as inbound
from workers.inbound.fragments import Received
from workers.inbound_values import InboundStatus

INSERT_KEY = "insert into vault.keys (subject, tenant, class, gen, wrapped, kcv, created_ms) values (%s, %s, %s, %s, %s, %s, 1)"
BOTH = "select class, gen from vault.keys where subject = %s and wrapped is not null order by 1, 2"


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


def living_keys(person: Person) -> list[tuple[str, str]]:
    with person.tenant.world.sql() as cursor:
        cursor.execute(BOTH, [person.subject])
        return cursor.fetchall()


@pytest.mark.finding(20)
def test_t1_is_one_transaction_with_its_events(world: World, person: Person) -> None:
    person.content_key()
    person.evidence()
    asked = person.erasure()
    before = now_ms()
    destroyed, purged = world.apply(asked)
    data, receipt = registry.read(destroyed), registry.read(purged)
    assert isinstance(data, deletions.KeyDestroyed)
    assert isinstance(receipt, deletions.StorePurged)
    assert data.erasure == receipt.erasure == asked.data["erasure"]
    assert data.classes == ["identity", "content", "evidence"]
    assert data.evidence == "destroyed"
    assert receipt.store == "vault"
    assert before <= to_ms(data.t1) <= now_ms()
    assert receipt.purged_at == destroyed.time == purged.time == data.t1
    day_end = (to_ms(data.t1) // (DAY_S * 1000) + 1) * DAY_S
    assert to_ms(data.day_keys_until) == (day_end + FAST.day_key_s) * MS_PER_S
    assert living_keys(person) == []
    state = person.vault.subject_state(person.tenant.name, person.subject)
    assert state is not None
    assert (state.state, state.erased_at_ms) == ("erased", to_ms(data.t1))
    assert person.vault.find_subject(person.tenant.name, person.address) is None
    assert person.vault.newest_reach(person.tenant.name, person.subject) is None


def offset_of(person: Person) -> int:
    return int(person.subject[:6], 16)


def settle_wake(person: Person) -> Wake:
    """What inbound leaves when a status of a message to this person comes before the outcome."""
    value = InboundStatus("pn", f"wamid.{person.subject}", "sent", now_ms())
    record = Record("sealpost.inbound.whatsapp", 0, offset_of(person), b"ab12", b"sealed", now_ms())
    name, account = person.tenant.name, person.tenant.account
    received = Received(random_id(), name, CHANNEL, account, now_ms(), b"k" * 32, value, record)
    return parking.settle_wake(received, person.subject)


def test_nothing_of_the_subject_is_left_but_the_fence(world: World, person: Person) -> None:
    other = person.tenant.person()
    person.tenant.resolve(person.tenant.sender(person.address, bsuid(), name="Ada"))
    _, yes = person.evidence()
    world.apply(person.given(now_ms(), evidence=yes.block), person.withdrawn(now_ms()))
    with person.vault.transaction() as cursor:
        person.vault.record_request(
            cursor, person.tenant.name, "api", "r1", b"h", b"a", [], subject=person.subject
        )
        write_wakes(cursor.connection, inbound.ROLE, {0: [settle_wake(other), settle_wake(person)]})
    world.apply(person.erasure())
    tables = sorted(EMPTIED[VAULT][1] - {"step.due"})
    with world.sql() as cursor:
        for table in tables:
            cursor.execute(f"select count(*) from {table} where subject = %s".encode(), [person.subject])
            assert cursor.fetchone() == (0,), table
        cursor.execute("select body ->> 'offset' from step.due")
        assert cursor.fetchall() == [(str(offset_of(other)),)]


@pytest.mark.finding(20)
def test_repeating_it_writes_the_same_bytes(world: World, person: Person) -> None:
    asked = person.erasure()
    first = world.apply_records([world.record(asked, "sealpost.deletions")])
    assert len(first) == 2
    assert world.apply_records([world.record(asked, "sealpost.deletions")]) == first
    both = world.apply_records([world.record(asked, "sealpost.deletions") for _ in range(2)])
    assert both == first * 2


def test_an_unknown_subject_is_refused(world: World, tenant: Tenant, person: Person) -> None:
    strangers = [
        Person(tenant, random_id(), person.address),
        Person(world.tenant(), person.subject, person.address),
    ]
    for stranger in strangers:
        asked = stranger.erasure()
        (refused,) = world.apply(asked)
        data = registry.read(refused)
        assert data == deletions.ErasureRefused(erasure=asked.data["erasure"], reason="unknown_subject")
    assert living_keys(person) == [("identity", "0")], "another tenant's erasure changes nothing"
    nowhere = registry.build(
        deletions.ErasureRequested(erasure=random_id(), requested_by="person", t0="2026-01-01T00:00:00.000Z"),
        id=random_id(), role="test", tenant="nobody", subject=random_id(), at_ms=now_ms(),
    )  # fmt: skip
    assert [event.type for event in world.apply(nowhere)] == ["sealpost.erasure.refused.v1"]


def test_after_it_no_key_is_made_and_no_key_comes_back(world: World, person: Person) -> None:
    person.content_key()
    with world.sql() as cursor:
        cursor.execute("select class, gen, wrapped, kcv from vault.keys where subject = %s", [person.subject])
        backup = cursor.fetchall()
        cursor.execute("select * from vault.addresses where subject = %s", [person.subject])
        addresses = cursor.fetchall()
    world.apply(person.erasure())
    need = KeyNeed(person.tenant.name, person.subject, "content", "2031-01")
    with person.vault.transaction() as cursor:
        assert person.vault.sealing_keys(cursor, [need]) == {need: Erased()}
    attacks: list[tuple[str, list[object]]] = [
        ("update vault.subjects set state = 'active' where subject = %s", [person.subject]),
        ("update vault.subjects set state = 'active', t1_ms = null where subject = %s", [person.subject]),
        ("delete from vault.subjects where subject = %s", [person.subject]),
        ("delete from vault.keys where subject = %s", [person.subject]),
        ("insert into vault.addresses values (%s, %s, %s, %s, %s, %s, %s, %s)", list(addresses[0])),
    ]
    for kind, gen, wrapped, kcv in backup:
        attacks += [
            (
                "update vault.keys set wrapped = %s, destroyed_ms = null where subject = %s and class = %s and gen = %s",
                [wrapped, person.subject, kind, gen],
            ),
            (
                INSERT_KEY,
                [person.subject, person.tenant.name, kind, f"{gen}-again", wrapped, kcv],
            ),
            (
                INSERT_KEY + " on conflict (subject, tenant, class, gen) do update"
                " set wrapped = excluded.wrapped, destroyed_ms = null",
                [person.subject, person.tenant.name, kind, gen, wrapped, kcv],
            ),
        ]
    with world.sql() as cursor:
        for statement, parameters in attacks:
            with pytest.raises(psycopg.errors.CheckViolation):
                cursor.execute(statement.encode(), parameters)
    assert living_keys(person) == []


def test_no_statement_order_gets_round_the_fence(world: World, person: Person) -> None:
    """The fence cannot be written while keys live, not even by hand."""
    with world.sql() as cursor, pytest.raises(psycopg.errors.CheckViolation):
        cursor.execute(
            "update vault.subjects set state = 'erased', t1_ms = 1, day_keys_until_ms = 1, evidence = 'destroyed'"
            " where subject = %s",
            [person.subject],
        )


def test_a_late_commit_waits_for_t1_or_t1_for_it(world: World, person: Person) -> None:
    """P2: a batch that was prepared before the erasure commits before T1, or not at all."""
    need = KeyNeed(person.tenant.name, person.subject, "content", "2032-01")
    with ThreadPoolExecutor(1) as pool:
        with person.vault.transaction() as cursor:
            assert isinstance(person.vault.sealing_keys(cursor, [need])[need], bytes)
            erasing: Future[list[Event]] = pool.submit(world.apply, person.erasure())
            wait_until_blocked(world, 1)
            assert not erasing.done()
            writer_done = now_ms()
        destroyed = registry.read(erasing.result(60)[0])
    assert isinstance(destroyed, deletions.KeyDestroyed)
    assert to_ms(destroyed.t1) >= writer_done, "T1 is stamped under the lock"
    assert living_keys(person) == []


def test_a_writer_that_comes_during_t1_finds_the_fence(world: World, tenant: Tenant) -> None:
    person, vault = tenant.person(), world.vault
    person.content_key()
    need = KeyNeed(tenant.name, person.subject, "content", "2032-02")
    request = person.ask()

    def seal_something() -> object:
        with vault.transaction() as cursor:
            return vault.sealing_keys(cursor, [need])[need]

    def insert_by_hand() -> object:
        with world.sql() as cursor:
            cursor.execute(INSERT_KEY, [person.subject, tenant.name, "content", "x", b"x", b"x"])
        return "written"

    with ThreadPoolExecutor(4) as pool:
        with world.sql() as cursor:
            cursor.execute("begin")
            cursor.execute(
                "select * from vault.erase(%s, %s, 0, 1, null, '{}')", [tenant.name, person.subject]
            )
            sealing, by_hand = pool.submit(seal_something), pool.submit(insert_by_hand)
            asking = pool.submit(vault.permits, [request])
            lowering = pool.submit(lower, person)
            wait_until_blocked(world, 4)
            cursor.execute("commit")
        assert sealing.result(60) == Erased()
        assert asking.result(60) == [Refusal("erased", 0)]
        with pytest.raises(psycopg.errors.CheckViolation):
            by_hand.result(60)
        lowering.result(60)
    assert living_keys(person) == []
    assert vault.permissions(tenant.name, person.subject) == []


def lower(person: Person) -> None:
    with person.vault.transaction() as cursor:
        row = Lower(person.tenant.name, person.subject, CHANNEL, "newsletter", now_ms())
        person.vault.lower_permissions(cursor, [row])


def test_a_returning_person_is_somebody_new(world: World, tenant: Tenant, person: Person) -> None:
    asked = person.erasure()
    t1 = to_ms(world.apply(asked)[0].data["t1"])
    old = tenant.resolve(tenant.sender(person.address, at_ms=t1))[0]
    assert old.dropped
    assert old.subject == ""
    assert tenant.resolve(tenant.sender(person.address, at_ms=t1 - 60_000))[0].dropped
    mixed = tenant.sender(person.address, bsuid(), at_ms=t1)
    assert tenant.resolve(mixed)[0].dropped, "one address is enough to know whose act it is"
    assert world.vault.find_subject(tenant.name, mixed.addresses[1]) is None
    new = tenant.resolve(tenant.sender(person.address, at_ms=t1 + 1))[0]
    assert new.created
    assert new.subject != person.subject
    assert tenant.resolve(tenant.sender(person.address, at_ms=t1))[0].dropped, "also beside the new subject"
    assert isinstance(world.vault.permits([Person(tenant, new.subject, person.address).ask()])[0], Permit)
    other = world.tenant()
    assert other.resolve(other.sender(person.address, at_ms=t1))[0].created


def test_the_earlier_of_the_two_times_decides(world: World, tenant: Tenant, person: Person) -> None:
    t1 = to_ms(world.apply(person.erasure())[0].data["t1"])
    late = tenant.sender(person.address, at_ms=t1 + 5000)
    assert tenant.resolve(replace(late, provider_at_ms=t1 - 1000))[0].dropped
    assert tenant.resolve(replace(late, acted_at_ms=t1))[0].dropped
    assert tenant.resolve(late)[0].created


def test_an_erasure_between_look_up_and_creation_is_noticed(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else creates and erases the same person while this worker is about to create it for an older act."""
    address, at_ms = phone(), now_ms()
    create = resolving._create

    def slow_create(cursor: Cursor, strangers: list[PersonOnItsWay]) -> list[PersonOnItsWay]:
        monkeypatch.setattr(resolving, "_create", create)
        if strangers:
            found = tenant.resolve(tenant.sender(address, at_ms=at_ms))[0]
            world.apply(Person(tenant, found.subject, address).erasure())
        return create(cursor, strangers)

    monkeypatch.setattr(resolving, "_create", slow_create)
    late = tenant.resolve(tenant.sender(address, at_ms=at_ms))[0]
    assert late.dropped
    assert world.vault.find_subject(tenant.name, address) is None


def test_tied_evidence_is_retained_for_legal_alone(world: World, person: Person) -> None:
    tied, block = person.evidence()
    _, other = person.evidence()
    given = person.given(now_ms(), evidence=block.block)
    world.apply(given)
    assert world.other_process().open_blocks([block, other]) == [Plain(b"JA"), Plain(b"JA")]
    data = registry.read(world.apply(person.erasure())[0])
    assert isinstance(data, deletions.KeyDestroyed)
    assert (data.evidence, data.classes) == ("retained", ["identity", "content"])
    assert living_keys(person) == [("evidence", tied.gen)]
    vault = world.other_process()
    assert vault.open_blocks([block, other]) == [Erased(), Erased()]
    assert vault.open_blocks([block, other], legal=True) == [Plain(b"JA"), Erased()]
    assert vault.open_blocks([block]) == [Erased()], "what legal opens is leased to nobody"
    assert vault.find_retained(person.tenant.name, person.address) == [person.subject]
    assert vault.find_retained(world.tenant().name, person.address) == []
    with vault.transaction() as cursor:
        assert vault.sealing_keys(cursor, [tied]) == {tied: Erased()}
    year = now_ms() // (DAY_S * 365_250)
    assert vault.destroy_evidence(date(1970 + year + 3, 12, 31)) == 0
    assert vault.destroy_evidence(date(1970 + year + 5, 1, 1)) >= 1
    assert vault.open_blocks([block], legal=True) == [Erased()]
    assert vault.find_retained(person.tenant.name, person.address) == []
    vault.close()


def test_evidence_that_no_consent_names_is_destroyed_after_its_time(world: World, person: Person) -> None:
    need, block = person.evidence()
    _, tied = person.evidence()
    world.apply(person.given(now_ms(), evidence=tied.block))
    with world.sql() as cursor:
        old = round((FAST.evidence_untied_s + 1) * MS_PER_S)
        cursor.execute(
            "update vault.keys set created_ms = created_ms - %s where subject = %s", [old, person.subject]
        )
    vault = world.other_process()
    assert vault.destroy_evidence(date(2020, 1, 1)) == 1
    assert vault.open_blocks([block, tied]) == [Erased(), Plain(b"JA")]
    assert ("evidence", need.gen) not in living_keys(person)
    vault.close()


def test_linked_subjects_are_erased_together(world: World, tenant: Tenant) -> None:
    """One transaction destroys the keys of all ids of the person, also of those linked through a third one; no link is left."""
    person, user, third = tenant.person(), bsuid(), bsuid()
    younger = Person(tenant, tenant.resolve(tenant.sender(user))[0].subject, user)
    youngest = Person(tenant, tenant.resolve(tenant.sender(third))[0].subject, third)
    tenant.resolve(tenant.sender(user, third))
    tenant.resolve(tenant.sender(person.address, user))
    _, yes = younger.evidence()
    world.apply(person.given(1000), younger.given(1000, evidence=yes.block))
    lower(person)
    assert not younger.vault.permissions(tenant.name, younger.subject)[0].active, (
        "a withdrawal counts for both"
    )
    asked = person.erasure()
    written = world.apply(asked)
    assert living_keys(person) == living_keys(youngest) == []
    assert [kind for kind, _ in living_keys(younger)] == ["evidence"]
    states = [world.vault.subject_state(tenant.name, p.subject) for p in (person, younger, youngest)]
    assert [state and state.state for state in states] == ["erased"] * 3
    with world.sql() as cursor:
        cursor.execute("select count(*) from vault.links where tenant = %s", [tenant.name])
        assert cursor.fetchone() == (0,)
    assert world.vault.find_retained(tenant.name, person.address) == [younger.subject]
    assert [event.type.split(".")[2] for event in written] == [
        "destroyed",
        "purged",
        "requested",
        "requested",
    ]
    others = written[2:]
    assert {event.subject for event in others} == {younger.subject, youngest.subject}
    assert {event.data["t0"] for event in others} == {asked.data["t0"]}
    assert len({event.data["erasure"] for event in (*others, asked)}) == 3
    for event in others:
        assert [found.type.split(".")[2] for found in world.apply(event)] == ["destroyed", "purged"]


def test_a_link_made_just_before_t1_counts(world: World, tenant: Tenant) -> None:
    """T1 waits for the step that finds out that two ids are one person, and then erases both."""
    person, user = tenant.person(), bsuid()
    other = Person(tenant, tenant.resolve(tenant.sender(user))[0].subject, user)
    with ThreadPoolExecutor(1) as pool:
        with person.vault.transaction() as cursor:
            person.vault.resolve_senders(cursor, [tenant.sender(person.address, user)])
            erasing = pool.submit(world.apply, person.erasure())
            wait_until_blocked(world, 1)
        erasing.result(60)
    assert living_keys(person) == living_keys(other) == []


def test_a_subject_younger_than_the_restored_vault_is_lost(world: World, tenant: Tenant) -> None:
    """Its keys are gone: it opens as erased and says why, gets no key, and closes like any other."""
    person = Person(tenant, random_id(), bsuid())
    world.apply(created(person))
    state = world.vault.subject_state(tenant.name, person.subject)
    assert state is not None
    assert state.state == "lost"
    block = seal(b"k" * 32, SealContext(tenant.name, person.subject, "e", "t", "content", "2026-11"), b"x")
    opened = BlockToOpen(tenant.name, person.subject, "e", "t", "content", block)
    assert world.other_process().open_blocks([opened]) == [Erased(lost=True)]
    need = KeyNeed(tenant.name, person.subject, "content", "2026-11")
    with world.vault.transaction() as cursor:
        assert world.vault.sealing_keys(cursor, [need]) == {need: Erased(lost=True)}
    assert world.vault.permits([person.ask()]) == [Refusal("erased", 0)]
    assert [event.type.split(".")[2] for event in world.apply(person.erasure())] == ["destroyed", "purged"]
