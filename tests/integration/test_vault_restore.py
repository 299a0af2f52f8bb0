"""A vault restored from a backup: what the ledger tells it, and whose keys it has lost."""

from base64 import b64encode
from collections.abc import Iterator

import orjson
import pytest

from deploy.recover import lost
from deploy.settings import Settings
from schemas import topics
from schemas.clock import now_ms, to_ms, to_text
from schemas.envelope import Event
from schemas.events import deletions
from schemas.ids import random_bytes, random_id
from streams.kafka import admin
from streams.kafka.consumer import read_to_end
from streams.step.contract import Due, Effects, Item, Wake
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.vault_world import Person, Tenant, World, bsuid, created, topic_of
from vault.keyring import MasterKey
from vault.subjects import SubjectState

T1 = "2026-03-01T10:00:00.000Z"


@pytest.fixture
def world(postgres_server: PostgresServer) -> Iterator[World]:
    """Its positions, followers and incarnations are those of the backup."""
    made = World.make(postgres_server.fresh_database("vault"))
    yield made
    made.vault.close()


@pytest.fixture
def tenant(world: World) -> Tenant:
    found = world.tenant()
    with world.sql() as cursor:
        cursor.execute("update vault.incarnations set incarnation = 'the old database'")
        cursor.execute("update vault.follower set incarnation = 'the old database'")
    return found


def unknown(tenant: Tenant) -> Person:
    """Somebody who came after the backup."""
    return Person(tenant, random_id(), bsuid())


def step(world: World, *items: Item) -> Effects:
    effects = Effects()
    with world.vault.transaction() as cursor:
        world.handler.apply(cursor, items, effects)
    return effects


def read(world: World, *events: Event) -> Effects:
    """One step over events; what it leaves."""
    prepared = world.handler.prepare([world.record(event, topic_of(event)) for event in events])
    assert all(isinstance(one, Item) for one in prepared)
    return step(world, *(one for one in prepared if isinstance(one, Item)))


def wake(world: World, effects: Effects) -> Effects:
    """The only wake of a step has come due."""
    (due,) = due_items(effects)
    return step(world, due)


def due_items(effects: Effects) -> list[Item]:
    wakes: list[Wake] = effects.wakes.get(0, [])
    return [
        Item(
            "", 0, w.at_ms, None, None, Due(0, w.at_ms, n, w.key, w.kind, orjson.loads(orjson.dumps(w.body)))
        )
        for n, w in enumerate(wakes)
    ]


def written(effects: Effects) -> list[Event]:
    return [Event.from_bytes(output.value) for output in effects.outputs.get(0, [])]


def kinds(effects: Effects) -> list[str]:
    return [event.type.split(".")[-2] for event in written(effects)]


def destroyed(person: Person, erasure: str) -> Event:
    """As the vault wrote it before it was restored."""
    return person.event(
        deletions.KeyDestroyed(
            erasure=erasure,
            classes=["identity", "content"],
            evidence="retained",
            t1=T1,
            day_keys_until="2026-03-11T00:00:00.000Z",
        )
    )


def test_an_erasure_that_the_ledger_shows_as_done_is_a_fence_not_a_refusal(
    world: World, tenant: Tenant
) -> None:
    """Created and erased after the backup: the request, KeyDestroyed and SubjectCreated are read in three steps."""
    person, erasure = unknown(tenant), random_id()
    first = read(world, person.erasure(erasure))
    assert written(first) == []
    assert written(read(world, destroyed(person, erasure))) == []
    fence = SubjectState("erased", to_ms(T1))
    assert world.vault.subject_state(tenant.name, person.subject) == fence
    read(world, created(person))
    assert world.vault.subject_state(tenant.name, person.subject) == fence
    again = wake(world, first)
    assert kinds(again) == ["destroyed", "purged"]
    assert written(again)[0].data["t1"] == T1
    assert world.vault.lost_subjects() == []


def test_in_one_step_too(world: World, tenant: Tenant) -> None:
    person, erasure = unknown(tenant), random_id()
    effects = read(world, person.erasure(erasure), destroyed(person, erasure), created(person))
    assert kinds(effects) == ["destroyed", "purged"]
    assert effects.wakes == {}


def test_a_request_for_nobody_is_refused_once_the_log_has_been_read(world: World, tenant: Tenant) -> None:
    effects = read(world, unknown(tenant).erasure())
    for _ in range(2):
        effects = wake(world, effects)
        assert written(effects) == []
    world.caught_up()
    assert kinds(wake(world, effects)) == ["refused"]
    assert kinds(read(world, unknown(tenant).erasure())) == ["refused"], "and at once from then on"


def test_a_request_that_was_not_carried_out_is_carried_out(world: World, tenant: Tenant) -> None:
    """Created after the backup, its erasure requested after the vault had died."""
    person = unknown(tenant)
    effects = read(world, person.erasure())
    read(world, created(person))
    assert [one.subject for one in world.vault.lost_subjects()] == [person.subject]
    assert kinds(wake(world, effects)) == ["destroyed", "purged"]
    assert world.vault.lost_subjects() == []


def test_the_lost_are_listed_and_closed_when_the_operator_says_so(
    world: World, kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed only, nothing is written; closed, each is erased like anybody, with a reason of its own."""
    bootstrap = kafka_server.bootstrap
    admin.apply_topics(bootstrap, topics.catalogue(), 4, 1, embedded=True)
    secret = random_bytes(32)
    monkeypatch.setenv("SEALPOST_MASTER_KEY", b64encode(secret).decode())
    world.vault.keyring = world.master = MasterKey(secret)
    people = sorted((unknown(world.tenant()) for _ in range(2)), key=lambda person: person.tenant.name)
    read(world, *map(created, people))
    settings = Settings(kafka=bootstrap, vault_dsn=world.dsn)

    def requests() -> list[Event]:
        subjects = {
            person.subject.encode() for person in people
        }  # other tests may have left there what is no event
        ours = [r for r in read_to_end(bootstrap, topics.DELETIONS, timeout_s=60) if r.key in subjects]
        return sorted((Event.from_bytes(r.value) for r in ours), key=lambda event: event.tenant)

    listed = [orjson.loads(line) for line in lost(settings, close=False)]
    assert [(one["tenant"], one["subject"]) for one in listed] == [(p.tenant.name, p.subject) for p in people]
    assert all(to_ms(one["noticed"]) <= now_ms() for one in listed)
    assert requests() == []
    assert len(list(lost(settings, close=True))) == 2
    asked = requests()
    assert [event.data["requested_by"] for event in asked] == ["restore", "restore"]
    assert asked[0].data["t0"] <= to_text(now_ms())
    assert kinds(read(world, *asked)) == ["destroyed", "purged"] * 2
    assert list(lost(settings, close=True)) == []
    assert world.vault.subject_state(people[0].tenant.name, people[0].subject) is not None
