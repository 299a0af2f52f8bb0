"""Keys: who gets one, what opens, leases, day keys."""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import psycopg
import pytest

from schemas.clock import today
from schemas.constants import Times
from schemas.envelope import SealedBlock
from schemas.ids import random_bytes, random_id
from tests.embedded_fixtures import PostgresServer
from tests.vault_world import Person, Tenant, World
from vault.errors import KeyRefused, NotActive, UnknownTenant
from vault.ingress import DaySealer
from vault.keyring import MasterKey, wrap
from vault.keys import BlockToOpen, KeyNeed, key_place
from vault.leases import LeaseCache
from vault.outcomes import Corrupt, Erased, Plain
from vault.sealing import SealContext, seal
from vault.vault import Vault

TYPE = "sealpost.message.received.v1"
GEN = "2026-11"


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


def need(person: Person, gen: str = GEN, kind: str = "content") -> KeyNeed:
    return KeyNeed(person.tenant.name, person.subject, kind, gen)  # type: ignore[arg-type]  # one of the classes


def sealed(person: Person, text: bytes, gen: str = GEN) -> BlockToOpen:
    """Seal in one step, as inbound does."""
    event_id = random_id()
    with person.vault.transaction() as cursor:
        key = person.vault.sealing_keys(cursor, [need(person, gen)])[need(person, gen)]
        assert isinstance(key, bytes)
    context = SealContext(person.tenant.name, person.subject, event_id, TYPE, "content", gen)
    return BlockToOpen(
        person.tenant.name, person.subject, event_id, TYPE, "content", seal(key, context, text)
    )


def test_keys_are_made_once_and_found_again(person: Person) -> None:
    wanted = [
        need(person),
        need(person, "2026-12"),
        need(person, "0", "identity"),
        need(person, random_id(), "evidence"),
    ]
    with person.vault.transaction() as cursor:
        first = person.vault.sealing_keys(cursor, [*wanted, wanted[0]])
        assert person.vault.sealing_keys(cursor, wanted) == first
    with person.vault.transaction() as cursor:
        assert person.vault.sealing_keys(cursor, wanted) == first
    assert len(set(first.values())) == 4


def test_a_key_made_in_a_transaction_that_rolls_back_never_was(person: Person) -> None:
    with suppress(psycopg.Rollback), person.vault.transaction() as cursor:
        person.vault.sealing_keys(cursor, [need(person)])
        raise psycopg.Rollback
    with person.tenant.world.sql() as cursor:
        cursor.execute(
            "select count(*) from vault.keys where subject = %s and class = 'content'", [person.subject]
        )
        assert cursor.fetchone() == (0,)


def test_no_key_without_a_subject(tenant: Tenant) -> None:
    for subject in (random_id(), "nonsense"):
        with pytest.raises(NotActive), tenant.world.vault.transaction() as cursor:
            tenant.world.vault.sealing_keys(cursor, [KeyNeed(tenant.name, subject, "content", GEN)])
    with pytest.raises(UnknownTenant), tenant.world.vault.transaction() as cursor:
        tenant.world.vault.sealing_keys(cursor, [KeyNeed("nobody", random_id(), "content", GEN)])


def test_the_same_subject_id_in_two_tenants_is_two_people(world: World, person: Person) -> None:
    other = world.tenant()
    with pytest.raises(NotActive), world.vault.transaction() as cursor:
        world.vault.sealing_keys(cursor, [KeyNeed(other.name, person.subject, "content", GEN)])


def test_two_workers_make_the_same_key(person: Person) -> None:
    wanted = [need(person, f"2030-{month:02d}") for month in range(1, 13)]

    def make(turn: int) -> Mapping[KeyNeed, bytes | Erased]:
        with person.vault.transaction() as cursor:
            return person.vault.sealing_keys(cursor, wanted if turn % 2 else wanted[::-1])

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(make, range(8)))
    assert all(keys == found[0] for keys in found)


def test_opening_gives_plain_erased_or_corrupt(world: World, person: Person) -> None:
    block = sealed(person, b"hello")
    vault = world.other_process()
    assert vault.open_blocks([block]) == [Plain(b"hello")]
    other = person.tenant.person()
    wrong = BlockToOpen(block.tenant, other.subject, block.event_id, TYPE, "content", block.block)
    unknown = BlockToOpen(block.tenant, random_id(), block.event_id, TYPE, "content", block.block)
    nonsense = BlockToOpen(block.tenant, "nonsense", block.event_id, TYPE, "content", block.block)
    nobody = BlockToOpen("nobody", person.subject, block.event_id, TYPE, "content", block.block)
    opened = vault.open_blocks([wrong, block, unknown, nonsense, nobody])
    assert [type(o) for o in opened] == [Corrupt, Plain, Corrupt, Corrupt, Corrupt]
    world.apply(person.erasure())
    vault.forget_leases(person.tenant.name, person.subject)
    assert vault.open_blocks([block]) == [Erased()]
    vault.close()


def test_a_destroyed_generation_is_erased_and_gets_no_new_key(world: World, person: Person) -> None:
    block, later = sealed(person, b"old"), sealed(person, b"new", "2026-12")
    with world.sql() as cursor:
        cursor.execute(
            "update vault.keys set wrapped = null, destroyed_ms = 1 where subject = %s and gen = %s",
            [person.subject, GEN],
        )
    vault = world.other_process()
    assert vault.open_blocks([block, later]) == [Erased(), Plain(b"new")]
    with vault.transaction() as cursor:
        assert vault.sealing_keys(cursor, [need(person)]) == {need(person): Erased()}
    vault.close()


def test_a_missing_row_is_corrupt_not_erased(world: World, person: Person) -> None:
    block = sealed(person, b"x")
    with world.sql() as cursor:
        cursor.execute("alter table vault.keys disable trigger guard_key")
        cursor.execute("delete from vault.keys where subject = %s", [person.subject])
        cursor.execute("alter table vault.keys enable always trigger guard_key")
    vault = world.other_process()
    assert vault.open_blocks([block]) == [Corrupt("missing")]
    vault.close()


def test_an_exchanged_or_restored_key_is_refused_by_its_check_value(world: World, person: Person) -> None:
    """The wrapped key of a backup opens under the tenant's key and is in its place; only the check value exposes it."""
    block = sealed(person, b"x")
    with world.sql() as cursor:
        cursor.execute(
            "select wrapped, kcv from vault.keys where subject = %s and gen = %s", [person.subject, GEN]
        )
        old = cursor.fetchone()
        assert old is not None
    secrets = world.vault._secrets([person.tenant.name])[person.tenant.name]
    place = key_place(person.tenant.name, person.subject, "content", GEN)
    with world.sql() as cursor:
        forged = wrap(secrets.key, place, random_bytes(32))
        cursor.execute(
            "update vault.keys set wrapped = %s where subject = %s and gen = %s",
            [forged, person.subject, GEN],
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            cursor.execute(
                "update vault.keys set kcv = %s where subject = %s and gen = %s",
                [b"0" * 16, person.subject, GEN],
            )
    vault = world.other_process()
    assert vault.open_blocks([block]) == [Corrupt("exchanged")]
    with pytest.raises(KeyRefused), vault.transaction() as cursor:
        vault.sealing_keys(cursor, [need(person)])
    with world.sql() as cursor:
        cursor.execute(
            "update vault.keys set wrapped = %s where subject = %s and gen = %s",
            [old[0], person.subject, GEN],
        )
    assert vault.open_blocks([block]) == [Plain(b"x")], "errors are never cached"
    vault.close()


def test_another_master_key_opens_nothing(world: World, person: Person) -> None:
    stranger = Vault(world.dsn, MasterKey(random_bytes(32)))
    with pytest.raises(KeyRefused):
        stranger.tenant_ids(person.tenant.name)
    stranger.close()


@pytest.mark.finding(20)
def test_a_lease_ends_at_its_deadline_whatever_the_tail_says(world: World, person: Person) -> None:
    block = sealed(person, b"x")
    vault = world.other_process(Times(lease_s=6.0, lease_outbound_s=0.2))
    assert vault.open_blocks([block]) == [Plain(b"x")]
    world.apply(person.erasure())
    assert vault.open_blocks([block]) == [Plain(b"x")], "the lease was given before T1"
    threading.Event().wait(6.05)
    assert vault.open_blocks([block]) == [Erased()]
    vault.close()


def test_leases_are_batched_single_flight_and_never_cache_errors() -> None:
    cache: LeaseCache[str, int] = LeaseCache(60.0)
    calls: list[list[str]] = []
    gate = threading.Event()

    def fetch(keys: list[str]) -> dict[str, int]:
        calls.append(sorted(keys))
        gate.wait(5)
        return {key: len(key) for key in keys if key != "absent"}

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(cache.get_many, ["a", "bb", "absent"], fetch) for _ in range(4)]
        gate.set()
        assert [future.result() for future in futures] == [{"a": 1, "bb": 2}] * 4
    assert [call for call in calls if call != ["absent"]] == [["a", "absent", "bb"]]
    before = len(calls)
    assert cache.get_many(["absent"], fetch) == {}
    assert len(calls) == before + 1, "absence is not cached"

    def broken(_: list[str]) -> dict[str, int]:
        raise KeyRefused("away")

    with pytest.raises(KeyRefused):
        cache.get_many(["a", "c"], broken)
    assert cache.get_many(["a", "c"], fetch) == {"a": 1, "c": 1}
    cache.forget(["a"])
    assert cache.get_many(["a"], fetch) == {"a": 1}
    assert calls[-1] == ["a"]


def test_a_full_lease_cache_forgets_the_longest_unused() -> None:
    cache: LeaseCache[int, int] = LeaseCache(60.0, limit=3)
    calls: list[int] = []

    def fetch(keys: list[int]) -> dict[int, int]:
        calls.extend(keys)
        return {key: key for key in keys}

    for key in (1, 2, 3, 1, 4, 1, 2):
        cache.get_many([key], fetch)
    assert calls == [1, 2, 3, 4, 2]


def test_evidence_gets_a_generation_of_its_own(person: Person) -> None:
    one, two = (KeyNeed(person.tenant.name, person.subject, "evidence", random_id()) for _ in range(2))
    with person.vault.transaction() as cursor:
        keys = person.vault.sealing_keys(cursor, [one, two])
    assert keys[one] != keys[two]


@pytest.mark.finding(19)
def test_day_keys(world: World, tenant: Tenant) -> None:
    day, vault = today(), world.vault
    assert tenant.name in vault.day_keys_to_make(day)
    with vault.transaction() as cursor:
        made = vault.create_day_keys(cursor, tenant.name, [day, day + timedelta(days=1)])
        assert vault.create_day_keys(cursor, tenant.name, [day]) == made[:1]
    assert [key.day for key in made] == [day, day + timedelta(days=1)]
    assert len(vault.day_keys_to_make(day)[tenant.name]) == 4, "made is not published"
    vault.day_keys_published(made)
    assert vault.day_keys_to_make(day)[tenant.name] == [day + timedelta(days=2), day + timedelta(days=3)]
    context = (tenant.name, "c", "a", day.isoformat())
    fragment = DaySealer(made[0].public).seal(context, b"raw")
    opener = vault.day_opener(tenant.name, day)
    assert opener is not None
    assert opener.open(context, fragment) == b"raw"
    assert vault.day_opener(tenant.name, day - timedelta(days=1)) is None
    with vault.transaction() as cursor:
        old = day - timedelta(days=11)
        vault.create_day_keys(cursor, tenant.name, [old, old + timedelta(days=1), old + timedelta(days=2)])
    fresh = world.other_process()
    assert fresh.destroy_day_keys(day - timedelta(days=9)) == 2
    assert fresh.day_opener(tenant.name, old + timedelta(days=1)) is None
    assert fresh.day_opener(tenant.name, old + timedelta(days=2)) is not None
    with fresh.transaction() as cursor:
        assert fresh.create_day_keys(cursor, tenant.name, [old]) == [], (
            "a destroyed day key does not come back"
        )
    fresh.close()


def test_a_tenant_can_be_used_in_the_transaction_that_registers_it(world: World) -> None:
    name = f"t-{random_id()[:8]}"
    with suppress(psycopg.Rollback), world.vault.transaction() as cursor:
        assert world.vault.register_tenant(cursor, name)
        first = world.vault.tenant_ids_within(cursor, name)
        assert world.vault.create_day_keys(cursor, name, [today()])
        raise psycopg.Rollback
    with pytest.raises(UnknownTenant):
        world.vault.tenant_ids(name)
    with world.vault.transaction() as cursor:
        assert world.vault.register_tenant(cursor, name)
        assert not world.vault.register_tenant(cursor, name)
    assert world.vault.tenant_ids(name) != first
    assert world.vault.tenant_ids(name) == world.other_process().tenant_ids(name)


def test_a_block_sealed_by_hand_for_another_event_is_corrupt(person: Person) -> None:
    block = sealed(person, b"x")
    copied = block.block.model_copy(update={"sealed_in": random_id(), "type": TYPE})
    moved = BlockToOpen(block.tenant, block.subject, random_id(), TYPE, "content", block.block)
    named = BlockToOpen(block.tenant, block.subject, block.event_id, TYPE, "content", copied)
    right = SealedBlock(gen=GEN, ct=block.block.ct, sealed_in=block.event_id, type=TYPE)
    carried = BlockToOpen(
        block.tenant, block.subject, random_id(), "sealpost.consent.given.v1", "content", right
    )
    assert person.vault.open_blocks([moved, named, carried]) == [Corrupt("tag"), Corrupt("tag"), Plain(b"x")]
