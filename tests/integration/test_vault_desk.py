"""What the front of the house needs: requests, tokens, credentials, certificates, the master key, upkeep."""

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.clock import today
from schemas.ids import random_bytes, random_id
from streams.step.contract import Output
from tests.embedded_fixtures import PostgresServer
from tests.vault_world import CHANNEL, Tenant, World, phone
from vault.connections import seal_connections, unseal_connections
from vault.errors import ConnectionTaken, InstallationMismatch, KeyRefused, MasterKeyInvalid, UnknownTenant
from vault.keyring import MasterKey
from vault.requests import Recorded

OUTPUTS = (Output("sealpost.messages", b"k", b"1"), Output("sealpost.outbound.whatsapp", b"k", b"2"))


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    made = World.make(postgres_server.fresh_database("vault"))
    yield made
    made.vault.close()


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


# Requests


def record(world: World, tenant: Tenant, request: str, body: bytes = b"hash") -> Recorded:
    with world.vault.transaction() as cursor:
        return world.vault.record_request(cursor, tenant.name, "api", request, body, b"answer", OUTPUTS)


def test_a_request_is_recorded_once(world: World, tenant: Tenant) -> None:
    vault = world.vault
    with vault.transaction() as cursor:
        assert vault.find_request(cursor, tenant.name, "api", "r", b"hash") is None
    assert record(world, tenant, "r") == Recorded("new", b"answer", OUTPUTS)
    assert record(world, tenant, "r") == Recorded("repeat", b"answer", OUTPUTS)
    assert record(world, tenant, "r", b"other") == Recorded("conflict")
    assert record(world, world.tenant(), "r").kind == "new"
    vault.mark_produced(tenant.name, "api", "r")
    vault.mark_produced(tenant.name, "api", "r")
    assert record(world, tenant, "r") == Recorded("repeat", b"answer", OUTPUTS, produced=True)
    with vault.transaction() as cursor:
        assert vault.find_request(cursor, tenant.name, "api", "r", b"other") == Recorded("conflict")


def test_two_at_once_are_one_new_one_repeat(world: World, tenant: Tenant) -> None:
    with ThreadPoolExecutor(4) as pool:
        for name in [random_id() for _ in range(10)]:
            kinds = [found.kind for found in pool.map(record, [world] * 4, [tenant] * 4, [name] * 4)]
            assert sorted(kinds) == ["new", "repeat", "repeat", "repeat"]


def test_what_is_not_marked_is_found_by_the_clock(world: World, tenant: Tenant) -> None:
    record(world, tenant, "late")
    mine = [found for found in world.vault.unproduced(0.0) if found.tenant == tenant.name]
    assert [(found.source, found.request_id, found.outputs) for found in mine] == [("api", "late", OUTPUTS)]
    assert not [found for found in world.vault.unproduced(60.0) if found.tenant == tenant.name]
    world.vault.mark_produced(tenant.name, "api", "late")
    assert not [found for found in world.vault.unproduced(0.0) if found.tenant == tenant.name]


# Tokens


def test_tokens(world: World, tenant: Tenant) -> None:
    vault = world.vault
    admin, agent = vault.issue_token(None, "admin"), vault.issue_token(tenant.name, "agent")
    found = vault.check_token(agent)
    assert found is not None
    assert (found.tenant, found.role) == (tenant.name, "agent")
    root = vault.check_token(admin)
    assert root is not None
    assert (root.tenant, root.role) == (None, "admin")
    assert root.principal != found.principal
    for wrong in ("", agent + "x", agent[:-1], "\0"):
        assert vault.check_token(wrong) is None
    with world.sql() as cursor:
        cursor.execute("select string_agg(t::text, '') from vault.tokens t")
        row = cursor.fetchone()
        assert row is not None
        assert agent not in row[0]
    assert vault.revoke_token(agent)
    assert not vault.revoke_token(agent)
    assert vault.check_token(agent) is None
    with pytest.raises(ValueError, match="tenant"):
        vault.issue_token(None, "agent")
    with pytest.raises(ValueError, match="tenant"):
        vault.issue_token(tenant.name, "admin")


# Credentials


def test_credentials_are_sealed_and_come_back(world: World, tenant: Tenant) -> None:
    vault, name, account = world.vault, f"c-{tenant.name}", f"a-{tenant.name}"
    with vault.transaction() as cursor:
        vault.add_connection(cursor, name, tenant.name, CHANNEL, "app-secret", "verify-me")
        vault.add_account(cursor, account, name, "1055", "token-1", "http://localhost:1")
    (found,) = [c for c in vault.connections().usable if c.connection == name]
    assert (found.tenant, found.channel, found.app_secret, found.verify_token) == (
        tenant.name,
        CHANNEL,
        "app-secret",
        "verify-me",
    )
    assert found.accounts == {"1055": account}
    assert len(found.routing_key) == 32
    assert "app-secret" not in repr(found)
    credentials = vault.account(account)
    assert credentials is not None
    assert (credentials.access_token, credentials.provider_account_id, credentials.tenant) == (
        "token-1",
        "1055",
        tenant.name,
    )
    assert "token-1" not in repr(credentials)
    assert vault.account("nobody's") is None
    with vault.transaction() as cursor:
        vault.add_account(cursor, account, name, "1055", "token-2", "http://localhost:2")
    renewed = vault.account(account)
    assert renewed is not None
    assert renewed.access_token == "token-2"
    with world.sql() as cursor:
        cursor.execute(
            "select string_agg(c::text, '') || (select string_agg(a::text, '') from vault.accounts a) from vault.connections c"
        )
        row = cursor.fetchone()
    assert row is not None
    for secret in ("app-secret", "verify-me", "token-1", "token-2"):
        assert secret not in row[0]
        assert secret.encode().hex() not in row[0]


def test_nobody_takes_over_a_connection_or_account(world: World, tenant: Tenant) -> None:
    other, name = world.tenant(), random_id()
    with world.vault.transaction() as cursor:
        world.vault.add_connection(cursor, name, tenant.name, CHANNEL, "s", "v")
        world.vault.add_account(cursor, f"a-{name}", name, "1", "t", "u")
        world.vault.add_connection(cursor, f"{name}-2", other.name, CHANNEL, "s", "v")
    with pytest.raises(ConnectionTaken, match="another tenant"), world.vault.transaction() as cursor:
        world.vault.add_connection(cursor, name, other.name, CHANNEL, "stolen", "v")
    with pytest.raises(ConnectionTaken, match="another connection"), world.vault.transaction() as cursor:
        world.vault.add_account(cursor, f"a-{name}", f"{name}-2", "1", "stolen", "u")


def test_one_tenants_broken_key_does_not_hide_the_connections_of_others(world: World, tenant: Tenant) -> None:
    """Neither a tenant key that was exchanged, nor secrets that do not open, nor rows of a tenant without keys."""
    other, name = world.tenant(), random_id()
    with world.vault.transaction() as cursor:
        world.vault.add_connection(cursor, f"good-{name}", tenant.name, CHANNEL, "s", "v")
        world.vault.add_connection(cursor, f"key-{name}", other.name, CHANNEL, "s", "v")
        world.vault.add_connection(cursor, f"secret-{name}", tenant.name, CHANNEL, "s", "v")
        cursor.execute(
            "update vault.tenants set wrapped_key = (select wrapped_key from vault.tenants where tenant = %s) where tenant = %s",
            [tenant.name, other.name],
        )
        cursor.execute("update vault.connections set sealed = 'x' where connection = %s", [f"secret-{name}"])
        cursor.execute(
            "insert into vault.connections (connection, tenant, channel, sealed) values (%s, 'nobody', %s, 'x')",
            [f"orphan-{name}", CHANNEL],
        )
    found = world.other_process().connections()
    assert f"good-{name}" in {connection.connection for connection in found.usable}
    assert {f"key-{name}", f"secret-{name}", f"orphan-{name}"} <= found.unusable
    with pytest.raises(UnknownTenant), world.vault.transaction() as cursor:
        world.vault.add_connection(cursor, random_id(), "nobody", CHANNEL, "s", "v")


def test_the_receivers_cache_needs_the_master_key_only(world: World, tenant: Tenant) -> None:
    with world.vault.transaction() as cursor:
        world.vault.add_connection(
            cursor, f"c-{random_id()}", tenant.name, CHANNEL, "app-secret", "verify-me"
        )
    sealed = world.vault.export_connections_sealed()
    assert b"app-secret" not in sealed
    assert unseal_connections(world.master, sealed) == world.vault.connections().usable
    assert unseal_connections(world.master, seal_connections(world.master, [])) == []
    for wrong in (sealed[:-1] + bytes([sealed[-1] ^ 1]), b"", sealed[:20]):
        with pytest.raises(KeyRefused):
            unseal_connections(world.master, wrong)
    with pytest.raises(KeyRefused):
        unseal_connections(MasterKey(random_bytes(32)), sealed)


# Certificates


def test_one_signing_key_whoever_asks_first(postgres_server: PostgresServer) -> None:
    world = World.make(postgres_server.fresh_database("vault"))
    with ThreadPoolExecutor(4) as pool:
        signers = list(pool.map(lambda _: world.vault.certificate_signer(), range(4)))
    assert len({signer.key_id for signer in signers}) == 1
    signer = signers[0]
    assert world.vault.certificate_keys() == {signer.key_id: signer.public}
    public = Ed25519PublicKey.from_public_bytes(signer.public)
    public.verify(signer.sign(b"certificate"), b"certificate")
    with pytest.raises(InvalidSignature):
        public.verify(signer.sign(b"certificate"), b"another")
    with world.sql() as cursor:
        cursor.execute("begin")
        cursor.execute("lock table vault.signing_keys in share row exclusive mode")
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(world.vault.certificate_signer).result(60)
    assert again.key_id == signer.key_id, "a key that is there is read, and nothing is locked"
    world.vault.close()


# The master key


def test_master_key_file(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    made = MasterKey.create_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]
    wrapped = made.wrap(("x",), b"secret")
    for again in (
        MasterKey.create_file(path),
        MasterKey.from_file(path),
        MasterKey.from_environment({"SEALPOST_MASTER_KEY_FILE": str(path)}),
        MasterKey.from_environment({"SEALPOST_MASTER_KEY": path.read_text().strip()}),
    ):
        assert again.unwrap(("x",), wrapped) == b"secret"
    with pytest.raises(KeyRefused):
        made.unwrap(("y",), wrapped)
    path.chmod(0o640)
    with pytest.raises(MasterKeyInvalid, match="owner"):
        MasterKey.from_file(path)


@pytest.mark.parametrize("content", ["", "not base64!", "c2hvcnQ=", "ä"])
def test_master_key_nonsense(tmp_path: Path, content: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(MasterKeyInvalid) as caught:
        MasterKey.from_file(path)
    assert content == "" or content not in str(caught.value)
    with pytest.raises(MasterKeyInvalid):
        MasterKey.from_file(tmp_path / "missing")
    with pytest.raises(MasterKeyInvalid):
        MasterKey.from_environment({})


# Upkeep


def test_keep_house(world: World, tenant: Tenant) -> None:
    person = tenant.person()
    record(world, tenant, "old"), record(world, tenant, "old and unproduced")
    world.vault.mark_produced(tenant.name, "api", "old")
    with world.vault.transaction() as cursor:
        cursor.execute("update vault.requests set created_ms = 0 where tenant = %s", [tenant.name])
        cursor.execute("insert into vault.erased_index values ('\\x01', %s, 1, 1)", [tenant.name])
        world.vault.create_day_keys(cursor, tenant.name, [today() - timedelta(days=n) for n in (9, 10)])
        cursor.execute("select vault.make_claim_days(%s, 1)", [today() - timedelta(days=10)])
    kept = world.vault.keep_house(today())
    assert (kept.partitions_dropped, kept.requests_deleted, kept.day_keys_destroyed) == (1, 1, 1)
    again = world.vault.keep_house(today())
    assert (
        again.partitions_made,
        again.partitions_dropped,
        again.requests_deleted,
        again.day_keys_destroyed,
    ) == (0, 0, 0, 0)
    assert world.vault.day_opener(tenant.name, today() - timedelta(days=9)) is not None
    with world.sql() as cursor:
        cursor.execute("select request from vault.requests where tenant = %s", [tenant.name])
        assert cursor.fetchall() == [("old and unproduced",)]
        cursor.execute("select count(*) from vault.erased_index where tenant = %s", [tenant.name])
        assert cursor.fetchone() == (0,)
        cursor.execute("select min(day), max(day) from vault.claim_days")
        assert cursor.fetchone() == (today() - timedelta(days=9), today() + timedelta(days=3))
    assert world.vault.find_subject(tenant.name, person.address) == person.subject
    assert world.vault.find_subject(tenant.name, phone()) is None


def test_many_clocks_make_the_same_partitions(world: World) -> None:
    far = today() + timedelta(days=300)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: world.vault.make_partitions(far), range(4)))
    assert sum(made) == 13
    assert world.vault.make_partitions(far) == 0


@pytest.mark.finding(26)
def test_a_vault_belongs_to_one_cluster(world: World) -> None:
    world.vault.bind_installation("cluster-1", 4)
    world.vault.bind_installation("cluster-1", 4)
    with pytest.raises(InstallationMismatch, match="cluster-1"):
        world.vault.bind_installation("cluster-2", 4)
    with pytest.raises(InstallationMismatch):
        world.vault.bind_installation("cluster-1", 48)
