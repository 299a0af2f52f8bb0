"""What all processes of an installation must agree on: recorded at first use, compared by every role at its start."""

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import projections
import streams
from deploy.instance import INSTANCE_FILE, Instance, WhatsAppSandbox, save
from deploy.settings import for_data
from schemas import topics
from schemas.clock import now_ms, to_text
from schemas.constants import AGREED_TIMES, PRODUCTION, Times
from schemas.events.tenants import DpaSigned
from schemas.ids import random_bytes, random_id
from streams.kafka import admin
from streams.step.migrate import apply_migrations
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.vault_world import World, tenant_event
from vault.errors import InstallationMismatch, MasterKeyInvalid
from vault.keyring import MasterKey
from vault.vault import Vault

OPENS_THE_VAULT = ("inbound", "api", "outbound", "vault", "streams", "clock")
START_LIMIT_S = 300


@pytest.fixture
def world(postgres_server: PostgresServer) -> Iterator[World]:
    made = World.make(postgres_server.fresh_database("vault"), PRODUCTION)
    yield made
    made.vault.close()


def bind(world: World, times: Times = PRODUCTION, master: MasterKey | None = None) -> None:
    """As another process does at its start."""
    vault = Vault(world.dsn, master or world.master, times)
    try:
        vault.bind_installation("cluster-1", 4)
    finally:
        vault.close()


@pytest.mark.parametrize("name", AGREED_TIMES)
def test_a_process_with_another_time_is_refused_by_its_name(world: World, name: str) -> None:
    bind(world)
    bind(world)
    other = replace(PRODUCTION, **{name: getattr(PRODUCTION, name) - 0.5})
    with pytest.raises(InstallationMismatch, match=f"SEALPOST_{name.upper()} is"):
        bind(world, other)
    bind(world)


def test_times_are_changed_for_all_at_once(world: World) -> None:
    bind(world)
    short = replace(PRODUCTION, lease_s=20.0)
    vault = world.other_process(short)
    vault.agree_on_times()
    assert vault.agreed_times() == {name: getattr(short, name) for name in AGREED_TIMES}
    vault.close()
    bind(world, short)
    with pytest.raises(InstallationMismatch, match="SEALPOST_LEASE_S is 60 here and 20"):
        bind(world)


def test_another_master_key_is_refused(world: World) -> None:
    """From the first use on, whether there are tenants or not."""
    bind(world)
    stranger = MasterKey(random_bytes(32))
    with pytest.raises(MasterKeyInvalid, match="not the one"):
        bind(world, master=stranger)
    vault = Vault(world.dsn, stranger)
    with pytest.raises(MasterKeyInvalid):
        vault.check_master_key()
    with pytest.raises(MasterKeyInvalid):
        vault.agree_on_times()
    vault.close()


def test_a_vault_that_has_tenants_already_takes_only_the_key_that_opens_one(world: World) -> None:
    """Also when one of them is damaged: that says nothing about the master key."""
    damaged, whole = sorted(world.tenant().name for _ in range(2))
    with world.sql() as cursor:
        cursor.execute("update vault.tenants set kcv = '\\x00' where tenant = %s", [damaged])
    with pytest.raises(MasterKeyInvalid, match="opens no tenant"):
        bind(world, master=MasterKey(random_bytes(32)))
    with world.sql() as cursor:
        cursor.execute("select count(*) from vault.master_key")
        assert cursor.fetchone() == (0,), "nothing was recorded"
    bind(world)
    world.apply(tenant_event(whole, DpaSigned(version="2", signed_at=to_text(now_ms()))))


def run_role(role: str, environment: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "deploy.cli", "run", role]
    return subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)


def test_every_role_that_opens_the_vault_refuses_what_does_not_belong_to_it(
    kafka_server: KafkaServer, postgres_server: PostgresServer, world: World
) -> None:
    """Wrong master key or other times: in words, before it does anything."""
    admin.apply_topics(kafka_server.bootstrap, topics.catalogue(), 4, 1, embedded=True)
    dsns = {name: postgres_server.fresh_database(name) for name in ("streams", "projections")}
    for package, dsn in ((streams, dsns["streams"]), (projections, dsns["projections"])):
        apply_migrations(dsn, Path(str(package.__file__)).parent / "sql")
    secret = random_bytes(32)
    vault = Vault(world.dsn, MasterKey(secret))
    vault.bind_installation(admin.cluster_id(kafka_server.bootstrap), 4)
    vault.close()
    environment = {
        "SEALPOST_KAFKA": kafka_server.bootstrap,
        "SEALPOST_VAULT_DSN": world.dsn,
        "SEALPOST_STREAMS_DSN": dsns["streams"],
        "SEALPOST_PROJECTIONS_DSN": dsns["projections"],
        "SEALPOST_BACKUP_KEPT_DAYS": "0",
    }
    stranger = environment | {"SEALPOST_MASTER_KEY": b64encode(random_bytes(32)).decode()}
    hasty = environment | {"SEALPOST_MASTER_KEY": b64encode(secret).decode(), "SEALPOST_LEASE_S": "30"}
    started = [
        (role, "MasterKeyInvalid", run_role(role, stranger)) for role in (*OPENS_THE_VAULT, "receiver")
    ]
    started += [
        (role, "SEALPOST_LEASE_S is 30 here and 60", run_role(role, hasty)) for role in OPENS_THE_VAULT
    ]
    try:
        for role, words, process in started:
            _, said = process.communicate(timeout=START_LIMIT_S)
            assert process.returncode == 1, role
            assert words in said, role
    finally:
        for _, _, process in started:
            process.kill()


def test_a_process_of_an_embedded_instance_takes_its_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sealpost run ROLE --data DIR` in another terminal, without the environment of `sealpost up`."""
    word = random_id()
    sandbox = WhatsAppSandbox(
        webhook_url=word,
        connection=word,
        account=word,
        app_secret=word,
        verify_token=word,
        simulator_url=word,
    )
    found = Instance(
        kafka=word, vault_dsn=word, streams_dsn=word, projections_dsn=word, receiver_url=word, api_url=word,
        master_key_file=word, tenant=word, whatsapp=sandbox, access_token=word,
        times=asdict(replace(PRODUCTION, lease_s=20.0, session_s=4.0)),
    )  # fmt: skip
    save(found, tmp_path / INSTANCE_FILE)
    assert for_data(tmp_path).times() == replace(PRODUCTION, lease_s=20.0, session_s=4.0)
    monkeypatch.setenv("SEALPOST_LEASE_S", "30")
    assert for_data(tmp_path).times().lease_s == 30.0
    assert for_data(None).times().session_s == PRODUCTION.session_s
