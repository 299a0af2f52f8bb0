"""The API while a part is away, and when something fails that nobody expected."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import psycopg
import pytest
from fastapi import FastAPI

from projections.api.reading import open_pool
from projections.api.router import QueryParts
from projections.api.router import create_router as create_queries
from schemas import topics
from schemas.clock import boot_s
from schemas.http import create_app
from schemas.ids import random_id, random_token
from streams.kafka.producer import AsyncProducer
from streams.kafka.settings_follower import SettingsFollower
from streams.step.connections import PROMPT
from streams.step.postgres import THROWN_OUT
from tests.api_world import TIMES, ApiWorld, Person, Reply, Tenant, asgi_call
from tests.embedded_fixtures import PostgresServer
from tests.step_world import await_until
from vault.keyring import MasterKey
from vault.tokens import Principal
from vault.vault import Vault
from workers.intake.router import UNAVAILABLE, CommandParts
from workers.intake.router import create_router as create_commands
from workers.registry import address_reader

RED = "red-4711"
GOOD: dict[str, Any] = {"purpose": "service", "content": {"type": "text", "text": "hallo"}}
CLOSED_PORT = "127.0.0.1:9"
LATE_S = 40.0
"""For what comes to the processor late: two hundred callers and the server share it."""


def test_kafka_away(world: ApiWorld, tenant: Tenant) -> None:
    """503, and the request is recorded: role clock, or the same request again, brings it into the log once."""
    person, key = tenant.person(), random_id()
    body = {"to": person.to, **GOOD, "idempotency_key": key}

    async def ask(app_of: Callable[[AsyncProducer], FastAPI]) -> Reply:
        producer = AsyncProducer(CLOSED_PORT, client_id="test-away", delivery_timeout_s=0.5)
        reply = await asgi_call(app_of(producer), "POST", "/v1/messages", body)
        await producer.close(0)
        return reply

    reply = asyncio.run(ask(lambda producer: lone_app(world.vault, producer, tenant)))
    assert (reply.status, reply.problem) == (503, "unavailable")
    assert reply.headers["retry-after"]
    waiting = [one for one in world.vault.unproduced(0) if one.tenant == tenant.name]
    assert [output.topic for one in waiting for output in one.outputs] == [
        topics.MESSAGES,
        topics.outbound("whatsapp"),
    ]
    again = tenant.call("POST", "/v1/messages", "producer", body)
    assert again.status == 202
    assert not [one for one in world.vault.unproduced(0) if one.tenant == tenant.name]
    assert len([e for e in world.written(topics.MESSAGES, tenant.name) if e.subject == person.subject]) == 1


def test_postgres_away(tenant: Tenant, ada: Person) -> None:
    """503 from commands and queries alike."""
    vault = Vault("postgresql://nobody@127.0.0.1:9/nothing?connect_timeout=1", MasterKey(bytes(32)), TIMES)

    requests = (
        ("POST", "/v1/messages", {"to": ada.to, **GOOD}),
        ("GET", f"/v1/subjects/{ada.subject}", None),
    )

    async def ask_all() -> list[Reply]:
        producer = AsyncProducer(CLOSED_PORT, client_id="test-away")
        app = lone_app(vault, producer, tenant)
        replies = await asyncio.gather(*(asgi_call(app, *request) for request in requests))
        await producer.close(0)
        return replies

    for reply in asyncio.run(ask_all()):
        assert (reply.status, reply.problem) == (503, "unavailable"), reply
    vault.close()


def routes(world: ApiWorld, tenant: Tenant, ada: Person) -> list[tuple[str, str, str, Any]]:
    """Every route that needs a database (an erasure does not): method, path, token, body."""
    subject, agent, officer = f"/v1/subjects/{ada.subject}", tenant.tokens["agent"], tenant.tokens["officer"]
    return [
        ("POST", "/v1/messages", tenant.tokens["producer"], {"to": ada.to, **GOOD}),
        ("POST", "/v1/messages", agent, {"to": ada.to, **GOOD, "idempotency_key": random_id()}),
        ("POST", "/v1/subjects/lookup", agent, ada.to),
        ("GET", subject, agent, None),
        ("GET", f"{subject}/messages", agent, None),
        ("GET", f"{subject}/consents", agent, None),
        ("GET", f"/v1/erasures/{random_id()}", officer, None),
        ("POST", "/v1/tenants", world.admin, {"id": "frozen", "name": "x", "default_language": "de"}),
        ("POST", f"/v1/tenants/{tenant.name}/dpa", world.admin, {"version": "2"}),
        ("DELETE", "/v1/tenants/frozen/dpa", world.admin, None),
    ]


def test_postgres_frozen(
    world: ApiWorld, tenant: Tenant, ada: Person, postgres_server: PostgresServer
) -> None:
    """200 requests to all routes: every one is answered 503 within the bound, and later ones at once; after the thaw they are
    served again by themselves."""
    paths = routes(world, tenant, ada)
    for _ in range(2):
        before = {path: world.call(*request).status for request in paths if (path := request[1])}
        assert 503 not in before.values()
        with postgres_server.frozen():
            began = boot_s()
            with ThreadPoolExecutor(200) as many:
                replies = list(many.map(lambda n: world.call(*paths[n % len(paths)]), range(200)))
            took_s = boot_s() - began
            assert {(reply.status, reply.problem) for reply in replies} == {(503, "unavailable")}
            assert took_s < PROMPT.use_s + LATE_S
            began = boot_s()
            assert {world.call(*request).status for request in paths} == {503}
            assert boot_s() - began < LATE_S + len(paths) * PROMPT.back_s
        person = f"/v1/subjects/{ada.subject}"
        await_until(
            lambda: world.call("GET", person, tenant.tokens["agent"]).status == 200,  # noqa: B023  # called at once
            LATE_S,
            "served again",
        )
        with ThreadPoolExecutor(10) as many:  # no more at once than a busy machine serves in time
            after = list(many.map(lambda _: tenant.send(ada.to).status, range(80)))
        assert set(after) == {202}


@pytest.mark.finding(16)
def test_an_erasure_needs_kafka_only(
    world: ApiWorld, tenant: Tenant, postgres_server: PostgresServer
) -> None:
    """Asked for while the database is frozen: 202 with the same id as ever; it is carried out when the database is back."""
    person, nobody = tenant.person(), random_id()
    erasure = f"/v1/subjects/{person.subject}/erasure"
    assert tenant.call("GET", f"/v1/erasures/{random_id()}", "officer").status == 404
    assert tenant.call("POST", erasure, "producer").status == 403
    with postgres_server.frozen():
        reply = tenant.call("POST", erasure, "officer")
        assert reply.status == 202, reply
        assert tenant.call("POST", erasure, "officer").body == reply.body
        assert tenant.call("POST", erasure, "producer").status == 403
        assert world.call("POST", erasure, random_token()).status == 503, (
            "a token that nobody has seen lately"
        )
        assert tenant.call("POST", f"/v1/subjects/{nobody}/erasure", "officer").status == 202

    def state() -> str | None:
        found = world.vault.subject_state(tenant.name, person.subject)
        return None if found is None else found.state

    await_until(lambda: state() == "erased", 90, "the person is erased")
    await_until(
        lambda: "sealpost.erasure.refused.v1" in ledger(world, tenant, nobody), 90, "nobody is refused"
    )


def ledger(world: ApiWorld, tenant: Tenant, subject: str) -> list[str]:
    """Types of the ledger's events about a subject."""
    return [event.type for event in world.written(topics.DELETIONS, tenant.name) if event.subject == subject]


@pytest.mark.parametrize("which", ["vault", "projections"])
def test_sessions_of_one_database_frozen(world: ApiWorld, tenant: Tenant, ada: Person, which: str) -> None:
    """A query that meets a silent session is answered 503 within the bound; the next one is served by another session."""
    dsn = {"vault": world.vault_dsn, "projections": world.projections_dsn}[which]
    ada.get()
    with frozen_sessions(dsn, "sealpost-vault" if which == "vault" else "sealpost-queries"):
        began = boot_s()
        reply = tenant.call("GET", f"/v1/subjects/{ada.subject}", "agent")
        assert (reply.status, reply.problem) == (503, "unavailable")
        assert boot_s() - began < PROMPT.use_s + LATE_S
        assert tenant.call("GET", f"/v1/subjects/{ada.subject}", "agent").status == 200


@contextmanager
def frozen_sessions(dsn: str, application: str) -> Iterator[None]:
    """The sessions of one application in one database say nothing for the block."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where datname = current_database() and application_name = %s",
            [application],
        ).fetchall()
    sessions = [psutil.Process(pid) for (pid,) in rows]
    assert sessions
    try:
        for session in sessions:
            session.suspend()
        yield
    finally:
        for session in sessions:
            with suppress(psutil.NoSuchProcess):
                session.resume()


def test_what_nobody_expected_is_500_and_its_words_are_not_logged(
    ada: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the kind of the error and the place."""

    def check(_token: str) -> Principal:
        raise RuntimeError(RED)

    app = create_app("test", "0", [create_queries(no_query_parts(check))], unavailable=UNAVAILABLE)
    reply = asyncio.run(asgi_call(app, "GET", f"/v1/subjects/{ada.subject}", None))
    assert (reply.status, reply.headers["content-type"]) == (500, "application/problem+json")
    assert "RuntimeError" in caplog.text
    assert RED not in caplog.text + reply.raw.decode()


@pytest.mark.parametrize("thrown", [*THROWN_OUT, psycopg.errors.AdminShutdown, psycopg.errors.QueryCanceled])
def test_a_session_that_the_server_ended_is_503(ada: Person, thrown: type[Exception]) -> None:
    """Also by a limit that ran out because the server's clock was set ahead: the caller repeats."""

    def check(_token: str) -> Principal:
        raise thrown

    app = create_app("test", "0", [create_queries(no_query_parts(check))], unavailable=UNAVAILABLE)
    reply = asyncio.run(asgi_call(app, "GET", f"/v1/subjects/{ada.subject}", None))
    assert (reply.status, reply.problem) == (503, "unavailable")


def lone_app(vault: Vault, producer: AsyncProducer, tenant: Tenant) -> FastAPI:
    """The API with parts that may be away; whoever calls is an agent of the tenant."""

    def check(_token: str) -> Principal:
        return Principal(random_id(), tenant.name, "agent")

    follower = SettingsFollower(CLOSED_PORT)
    commands = create_commands(CommandParts(vault, producer, follower, check, check, TIMES))
    pool = open_pool(tenant.world.projections_dsn)
    queries = create_queries(QueryParts(vault, pool, follower, check, address_reader))
    return create_app("test", "0", [commands, queries], unavailable=UNAVAILABLE)


def no_query_parts(check: Callable[[str], Principal]) -> QueryParts:
    """Parts of queries of which only the check is used."""
    vault = Vault("postgresql://nobody@127.0.0.1:9/nothing", MasterKey(bytes(32)), TIMES)
    return QueryParts(
        vault,
        open_pool("postgresql://nobody@127.0.0.1:9/nothing"),
        SettingsFollower(CLOSED_PORT),
        check,
        address_reader,
    )
