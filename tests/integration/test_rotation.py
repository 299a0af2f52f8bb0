"""Replacing a connection's secret: which signatures are taken before, during and after, with PostgreSQL and without."""

from collections.abc import Iterator

import orjson
import pytest

from schemas import topics
from schemas.clock import now_ms, today
from schemas.ids import random_id
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.receiving_world import (
    SECRET,
    ReceivingWorld,
    Running,
    Site,
    await_until,
    change,
    new_number,
    sample,
    text,
    webhook,
)
from vault.connections import Connection, seal_connections, unseal_connections
from vault.errors import RotationRefused, UnknownConnection
from vault.rotation import ConnectionFacts

RAW = topics.inbound("whatsapp")
NEW = "the-new-secret"
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def world(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReceivingWorld]:
    """A vault of its own; each test takes a tenant of its own."""
    folder = tmp_path_factory.mktemp("rotation")
    made = ReceivingWorld(kafka_server.bootstrap, postgres_server.fresh_database("rotation"), folder)
    yield made
    made.close()


def post(running: Running, site: Site, secret: str) -> int:
    return running.post(site, webhook(change(site, text(new_number(), "hallo"))), secret)


def rotate(world: ReceivingWorld, site: Site, secret: str = NEW, overlap_s: float = DAY_S) -> None:
    with world.vault.transaction() as cursor:
        world.vault.rotate_secret(cursor, site.connection, secret, overlap_s)


def known(running: Running, site: Site) -> Connection:
    found = running.role._book.get(site.connection)
    assert found is not None
    return found


def follow(running: Running) -> None:
    """What the receiver's thread does every few seconds."""
    running.role._book.refresh()


def facts(world: ReceivingWorld, site: Site) -> ConnectionFacts:
    (found,) = [one for one in world.vault.connection_facts() if one.connection == site.connection]
    return found


def test_two_secrets_are_valid_during_a_rotation(world: ReceivingWorld) -> None:
    """Before: the old one alone. During: both. Finished: the new one alone. What is neither is a forgery all the time."""
    site = world.site()
    with world.receiver() as running:
        assert [post(running, site, one) for one in (SECRET, NEW)] == [200, 401]
        rotate(world, site)
        follow(running)
        forged = sample("sealpost_signature_failures_total", channel="whatsapp")
        assert [post(running, site, one) for one in (SECRET, NEW, SECRET, "neither")] == [200, 200, 200, 401]
        assert sample("sealpost_signature_failures_total", channel="whatsapp") == forged + 1
        with world.vault.transaction() as cursor:
            assert world.vault.finish_rotation(cursor, site.connection)
        await_until("the receiver follows by itself", lambda: not known(running, site).previous_secret)
        assert [post(running, site, one) for one in (SECRET, NEW)] == [401, 200]
    assert len(world.records(RAW, site.tenant)) == 5


def test_the_secret_before_ends_by_itself(world: ReceivingWorld) -> None:
    """At its time, in a receiver that has not looked into the vault since; then it is destroyed there, too."""
    site = world.site()
    with world.receiver() as running:
        rotate(world, site, overlap_s=15)
        follow(running)
        assert post(running, site, SECRET) == 200
        until_ms = known(running, site).previous_until_ms
        await_until("its time is over", lambda: now_ms() >= until_ms)
        assert [post(running, site, one) for one in (SECRET, NEW)] == [401, 200]
    await_until("it is over for the database", lambda: not facts(world, site).rotating)
    world.vault.keep_house(today())
    assert facts(world, site).previous_until_ms is None
    assert world.rows("select count(*) from vault.connections where previous is not null")[0][0] == 0


def test_without_postgres(world: ReceivingWorld, postgres_server: PostgresServer) -> None:
    """No answer of 500 or above; a receiver that starts from its file alone takes both secrets. The file shows neither."""
    site, cache = world.site(), world.folder / "receiver" / "connections.sealed"
    rotate(world, site)
    with world.receiver(cache=cache) as running:
        assert post(running, site, SECRET) == 200
        assert not any(one.encode() in cache.read_bytes() for one in (SECRET, NEW))
        postgres_server.pause()
        try:
            answers = [post(running, site, one) for one in (SECRET, NEW, "neither") * 5]
            with world.receiver(cache=cache) as other:
                answers += [post(other, site, one) for one in (SECRET, NEW, "neither")]
        finally:
            postgres_server.resume()
    assert answers == [200, 200, 401] * 6
    assert len(world.records(RAW, site.tenant)) == 13


def test_a_cache_of_an_older_version_is_read(world: ReceivingWorld) -> None:
    """One without what rotation brought, and one with fields that only a newer version knows."""
    site, cache = world.site(), world.folder / "older" / "connections.sealed"
    master = world.vaults.master
    (connection,) = [one for one in world.vault.connections().usable if one.connection == site.connection]
    place = ("connections cache", "1")
    (row,) = orjson.loads(master.unwrap(place, seal_connections(master, [connection])))
    for name in ("previous_secret", "previous_until_ms", "app_id"):
        del row[name]
    cache.parent.mkdir()
    cache.write_bytes(master.wrap(place, orjson.dumps([row])))
    with world.receiver(vault=False, cache=cache) as running:
        assert [post(running, site, one) for one in (SECRET, NEW)] == [200, 401]
    newer = master.wrap(place, orjson.dumps([row | {"of_tomorrow": 1}]))
    assert unseal_connections(master, newer) == [connection]


def test_what_is_refused(world: ReceivingWorld) -> None:
    """A third secret, the current one again, a connection that does not exist; nothing has changed then."""
    site = world.site()
    with pytest.raises(RotationRefused, match="current"):
        rotate(world, site, SECRET)
    rotate(world, site)
    with pytest.raises(RotationRefused, match="two secrets"):
        rotate(world, site, "a third one")
    with pytest.raises(UnknownConnection), world.vault.transaction() as cursor:
        world.vault.rotate_secret(cursor, random_id(), NEW, 0)
    with pytest.raises(UnknownConnection), world.vault.transaction() as cursor:
        world.vault.finish_rotation(cursor, random_id())
    with world.receiver() as running:
        assert [post(running, site, one) for one in (SECRET, NEW, "a third one")] == [200, 200, 401]


def test_the_age_of_a_secret(world: ReceivingWorld) -> None:
    """It counts from its rotation; the same secrets again change nothing, others end what was before at once."""
    site = world.site()
    first = facts(world, site)
    assert first.secret_since_ms is not None
    assert not first.rotating
    await_until("time passes", lambda: facts(world, site).now_ms > first.now_ms + 5)
    rotate(world, site)
    during = facts(world, site)
    assert during.rotating
    assert during.secret_since_ms is not None
    assert during.secret_since_ms > first.secret_since_ms
    assert [(a.account, a.provider_account_id, a.approved) for a in during.accounts] == [
        (site.account, site.number_id, True)
    ]

    def add(secret: str) -> ConnectionFacts:
        with world.vault.transaction() as cursor:
            world.vault.add_connection(cursor, site.connection, site.tenant, "whatsapp", secret, "verify-me")
        return facts(world, site)

    same = add(NEW)
    assert (same.secret_since_ms, same.previous_until_ms) == (
        during.secret_since_ms,
        during.previous_until_ms,
    )
    assert add("another").previous_until_ms is None
    rotate(world, site, "at once", overlap_s=0)
    assert facts(world, site).previous_until_ms is None


def test_secrets_lie_sealed(world: ReceivingWorld) -> None:
    """Neither the current nor the one before can be read in the table."""
    site = world.site()
    rotate(world, site)
    row = str(world.rows(f"select c::text from vault.connections c where connection = '{site.connection}'"))
    for secret in (SECRET, NEW):
        assert secret not in row
        assert secret.encode().hex() not in row
    (found,) = [one for one in world.vault.connections().usable if one.connection == site.connection]
    assert (found.app_secret, found.previous_secret) == (NEW, SECRET)
    assert NEW not in repr(found)
    assert SECRET not in repr(found)
