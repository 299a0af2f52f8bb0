"""The HTTP API over real HTTP, with role vault and projector at work: commands, queries, erasure."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from schemas import topics
from schemas.envelope import Event
from schemas.events import messages, registry
from schemas.ids import message_day, random_id
from tests.api_world import ApiWorld, Person, Tenant
from vault.keys import BlockToOpen
from vault.outcomes import Plain

NOBODY = "0" * 32


@pytest.fixture(scope="module")
def ada(tenant: Tenant) -> Person:
    person = tenant.person()
    person.introduce()
    return person


# Commands


def test_a_message_is_requested_once_and_sealed(world: ApiWorld, tenant: Tenant) -> None:
    """202 with an id of today; MessageRequested and the send command share one content block; nothing personal is clear."""
    person = tenant.person()
    reply = tenant.send(person.to, "Birne Helene 4711", ttl_seconds=60, delivery="at_most_once")
    assert reply.status == 202, reply
    message = reply.body["message_id"]
    assert message_day(message) is not None
    requested = of_message(world.written(topics.MESSAGES, tenant.name), message)
    command = of_message(world.written(topics.outbound("whatsapp"), tenant.name), message)
    assert (requested.subject, command.subject) == (person.subject, person.subject)
    said, told = registry.read(requested), registry.read(command)
    assert isinstance(said, messages.MessageRequested)
    assert isinstance(told, messages.SendCommand)
    assert (said.kind, said.delivery, said.purpose, said.account) == (
        "text", "at_most_once", "service", tenant.account,
    )  # fmt: skip
    block, copy = requested.block("content"), command.block("content")
    assert block is not None
    assert copy == block.model_copy(update={"sealed_in": requested.id, "type": requested.type})
    for event in (requested, command):
        for clear in (b"Helene", person.address.value.encode()):
            assert clear not in event.to_bytes()
    place = (tenant.name, person.subject, requested.id, requested.type)
    assert world.vault.open_blocks([BlockToOpen(*place, "content", block)]) == [
        Plain(b'{"type":"text","text":"Birne Helene 4711"}')
    ]
    with psycopg.connect(world.vault_dsn) as connection:
        row = connection.execute(
            "select produced, subject from vault.requests where answer = %s", [reply.raw]
        ).fetchone()
    assert row is not None
    assert (row[0], row[1].hex) == (True, person.subject)


def of_message(events: list[Event], message: str) -> Event:
    """The one event of a message."""
    found = [event for event in events if event.data.get("message") == message]
    assert len(found) == 1, found
    return found[0]


def test_a_recipient_by_subject_and_a_template(world: ApiWorld, tenant: Tenant) -> None:
    """`to: {subject}` goes to the account on which the person wrote last."""
    person = tenant.person()
    content = {"type": "template", "name": "offer", "language": "de", "variables": {"fruit": "Birne"}}
    reply = tenant.send({"subject": person.subject}, role="agent", content=content)
    assert reply.status == 202, reply
    requested = of_message(world.written(topics.MESSAGES, tenant.name), reply.body["message_id"])
    assert (requested.channel, requested.data["account"]) == ("whatsapp", tenant.account)
    assert (requested.data["kind"], requested.data["template"], requested.data["language"]) == (
        "template",
        "offer",
        "de",
    )
    assert b"Birne" not in requested.to_bytes()


def test_a_text_over_the_limit_is_cut_once(world: ApiWorld, tenant: Tenant) -> None:
    """One message, one sealed content, a command for each part in order; asked for again, nothing is cut anew."""
    person = tenant.person()
    text = "Ein Satz über Birnen. " * 500
    reply = tenant.send(person.to, text, idempotency_key="long")
    assert reply.status == 202, reply
    assert tenant.send(person.to, text, idempotency_key="long").raw == reply.raw
    message = reply.body["message_id"]
    of_message(world.written(topics.MESSAGES, tenant.name), message)
    written = [
        event
        for event in world.written(topics.outbound("whatsapp"), tenant.name)
        if event.data["message"] == message
    ]
    told = [registry.read(event) for event in written]
    assert all(isinstance(one, messages.SendCommand) for one in told)
    assert [(event.data["part"], event.data["parts"]) for event in written] == [(0, 3), (1, 3), (2, 3)]
    assert len({event.id for event in written}) == 3
    assert len({event.block("content") for event in written}) == 1
    pieces = [text[event.data["text_from"] : event.data["text_to"]] for event in written]
    assert " ".join(pieces) == text.strip()
    assert max(map(len, pieces)) <= 4096


def test_a_text_of_more_parts_than_a_message_may_have_is_refused(tenant: Tenant) -> None:
    """Ten parts go; the answer to more names the field and the limit, not the text."""
    person = tenant.person()
    assert tenant.send(person.to, "a" * 40_960).status == 202
    reply = tenant.send(person.to, "a" * 40_961)
    assert (reply.status, reply.problem) == (422, "invalid")
    assert "10 parts of 4096 characters" in reply.raw.decode()
    assert "aaa" not in reply.raw.decode()


@pytest.mark.parametrize("in_header", [False, True])
@pytest.mark.finding(28)
def test_idempotency(world: ApiWorld, tenant: Tenant, in_header: bool) -> None:
    """The same key and body: the same answer, one message; the same key, another body: 409."""
    person, key = tenant.person(), f"order {random_id()}"

    def ask(text: str) -> Any:
        body = {"to": person.to, "purpose": "service", "content": {"type": "text", "text": text}}
        if in_header:
            return tenant.call("POST", "/v1/messages", "producer", body, headers={"Idempotency-Key": key})
        return tenant.call("POST", "/v1/messages", "producer", {**body, "idempotency_key": key})

    first, second = ask("one"), ask("one")
    assert (first.status, second.status) == (202, 202)
    assert first.raw == second.raw
    conflict = ask("two")
    assert (conflict.status, conflict.problem) == (409, "idempotency_conflict")
    requests = [e for e in world.written(topics.MESSAGES, tenant.name) if e.subject == person.subject]
    assert len(requests) == 1
    assert key not in requests[0].to_bytes().decode()
    assert tenant.world.tenant().send(person.to).problem == "unknown_recipient", (
        "keys and people are a tenant's own"
    )


def test_options_that_are_null_are_as_good_as_absent(tenant: Tenant) -> None:
    person, key = tenant.person(), random_id()
    bare = tenant.send(person.to, "one", idempotency_key=key)
    nulls = tenant.send(person.to, "one", idempotency_key=key, delivery=None, ttl_seconds=None)
    assert (bare.status, nulls.status, nulls.raw) == (202, 202, bare.raw)


def test_one_message_however_many_ask_at_once(world: ApiWorld, tenant: Tenant) -> None:
    """Eight requests under one key at the same moment: one answer, one message, none fails."""
    person, key = tenant.person(), random_id()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(tenant.send, person.to, "once", idempotency_key=key) for _ in range(8)]
        replies = [future.result() for future in asked]
    assert {reply.status for reply in replies} == {202}
    assert len({reply.raw for reply in replies}) == 1
    requests = {e.id for e in world.written(topics.MESSAGES, tenant.name) if e.subject == person.subject}
    assert len(requests) == 1


def test_key_in_body_and_header_must_agree(tenant: Tenant, ada: Person) -> None:
    body = {
        "to": ada.to,
        "purpose": "service",
        "content": {"type": "text", "text": "x"},
        "idempotency_key": "a",
    }
    reply = tenant.call("POST", "/v1/messages", "producer", body, headers={"Idempotency-Key": "b"})
    assert (reply.status, reply.pointers) == (422, ["/idempotency_key"])


def test_an_unknown_recipient_leaves_no_trace(world: ApiWorld, tenant: Tenant) -> None:
    """422, no subject, no key, no event; a stranger's id, a foreign subject and an erased one are the same."""
    stranger = {"channel": "whatsapp", "address": "+49 (170) 99 88 77"}
    elsewhere = world.tenant().person()

    def trace() -> tuple[Any, ...]:
        with psycopg.connect(world.vault_dsn) as connection:
            tables = ("subjects", "keys", "requests")
            row = [connection.execute(f"select count(*) from vault.{name}").fetchone() for name in tables]
        return (row, len(world.written(topics.MESSAGES, tenant.name)))

    before = trace()
    for to in (stranger, elsewhere.to, {"subject": elsewhere.subject}, {"subject": NOBODY}):
        reply = tenant.send(to)
        assert (reply.status, reply.problem) == (422, "unknown_recipient")
    assert trace() == before


def test_without_agreement_nothing_is_taken(world: ApiWorld) -> None:
    """409 before the recipient is looked at; signed: it goes on; ended: it stops at once."""
    tenant = world.tenant(dpa=False)
    person = tenant.person()
    assert tenant.send(person.to).problem == "no_dpa"
    assert tenant.send({"subject": NOBODY}).problem == "no_dpa"
    path = f"/v1/tenants/{tenant.name}/dpa"
    for _ in range(2):
        signed = world.call(
            "POST", path, world.admin, {"version": "2026-01", "signed_at": "2026-01-05T10:00:00Z"}
        )
        assert (signed.status, signed.body) == (202, {"tenant": tenant.name, "dpa": "signed"})
        assert tenant.send(person.to).status == 202
        ended = world.call("DELETE", path, world.admin)
        assert (ended.status, ended.body["dpa"]) == (202, "ended")
        assert (tenant.send(person.to).status, tenant.send(person.to).problem) == (409, "no_dpa")
    types = [event.type for event in world.written(topics.TENANTS, tenant.name)]
    assert types[-4:] == ["sealpost.tenant.dpa_signed.v1", "sealpost.tenant.dpa_ended.v1"] * 2


def test_registering_a_tenant(world: ApiWorld) -> None:
    """Keys, default purposes, the default wording as drafts, day keys four days long; again the same: no new events; another
    name: 409."""
    name = f"t-{random_id()[:8]}"
    body = {"id": name, "name": "Obsthof", "default_language": "de"}
    first = world.call("POST", "/v1/tenants", world.admin, body)
    assert first.status == 201
    assert set(first.body["tokens"]) == {"officer", "agent", "producer", "legal"}
    again = world.call("POST", "/v1/tenants", world.admin, body)
    assert (again.status, again.body) == (200, {"tenant": name}), "no token that nobody asked for"
    with psycopg.connect(world.vault_dsn) as vault:
        tokens = vault.execute("select count(*) from vault.tokens where tenant = %s", [name]).fetchone()
    assert tokens == (len(first.body["tokens"]),)
    other = world.call("POST", "/v1/tenants", world.admin, {**body, "name": "Another"})
    assert (other.status, other.problem) == (409, "conflict")
    events = world.written(topics.TENANTS, name)
    assert [event.type for event in events] == [
        "sealpost.tenant.registered.v1", "sealpost.tenant.purpose_defined.v1", "sealpost.tenant.purpose_defined.v1",
        *("sealpost.tenant.notice_published.v1", "sealpost.tenant.consent_text_published.v1") * 2,
    ]  # fmt: skip
    assert all(event.data["draft"] and len(event.data["hash"]) == 64 for event in events[3:])
    assert len(world.written(topics.INGRESS_KEYS, name)) == 4
    for change, pointer in (
        ({"id": "No Good"}, "/id"),
        ({"name": ""}, "/name"),
        ({"default_language": "fr"}, "/default_language"),
    ):
        reply = world.call("POST", "/v1/tenants", world.admin, {**body, **change})
        assert (reply.status, reply.pointers) == (422, [pointer])
    assert world.call("POST", "/v1/tenants/nobody/dpa", world.admin, {"version": "1"}).status == 404
    assert world.call("DELETE", "/v1/tenants/nobody/dpa", world.admin).status == 404
    bad = world.call(
        "POST", f"/v1/tenants/{name}/dpa", world.admin, {"version": "1", "signed_at": "yesterday"}
    )
    assert (bad.status, bad.pointers) == (422, ["/signed_at"])


def test_further_tokens_are_issued_when_asked_for(world: ApiWorld) -> None:
    """Beside the earlier ones, or in their place; each works for its role and tenant alone."""
    tenant, other = world.tenant(), world.tenant()
    path, lost = f"/v1/tenants/{tenant.name}/tokens", f"/v1/subjects/{NOBODY}"

    def issued(replace: bool) -> str:
        reply = world.call("POST", path, world.admin, {"role": "agent", "replace": replace})
        assert (reply.status, reply.body["tenant"], reply.body["role"]) == (201, tenant.name, "agent")
        return str(reply.body["token"])

    def status(token: str) -> int:
        return world.call("GET", lost, token).status

    first, second = tenant.tokens["agent"], issued(replace=False)
    assert [status(token) for token in (first, second)] == [404, 404]
    third = issued(replace=True)
    assert [status(token) for token in (first, second, third)] == [401, 401, 404]
    assert status(tenant.tokens["officer"]) == 404, "another role's stay"
    assert status(other.tokens["agent"]) == 404, "another tenant's stay"
    with ThreadPoolExecutor(8) as many:
        tokens = list(many.map(lambda _: issued(replace=True), range(8)))
    assert sorted(map(status, [third, *tokens])) == [401] * 8 + [404], "of those at once one lives"
    unknown = world.call("POST", "/v1/tenants/nobody/tokens", world.admin, {"role": "agent"})
    assert (unknown.status, unknown.problem) == (404, "not_found")
    wrong = world.call("POST", path, world.admin, {"role": "admin"})
    assert (wrong.status, wrong.pointers) == (422, ["/role"])


def test_a_registration_that_was_cut_off_before_its_tokens_is_finished(world: ApiWorld) -> None:
    """Keys are there and no token is: the repetition issues them, once, however many ask."""
    name = f"t-{random_id()[:8]}"
    with world.vault.transaction() as cursor:
        world.vault.register_tenant(cursor, name)
    body = {"id": name, "name": "Obsthof", "default_language": "de"}
    with ThreadPoolExecutor(4) as many:
        replies = list(many.map(lambda _: world.call("POST", "/v1/tenants", world.admin, body), range(4)))
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 201]


# Who may


ROUTES = [
    ("POST", "/v1/messages", {"producer", "agent"}),
    ("POST", "/v1/subjects/lookup", {"producer", "agent", "officer"}),
    ("GET", f"/v1/subjects/{NOBODY}", {"agent", "officer"}),
    ("GET", f"/v1/subjects/{NOBODY}/messages", {"agent", "officer"}),
    ("GET", f"/v1/subjects/{NOBODY}/consents", {"agent", "officer", "legal"}),
    ("POST", f"/v1/subjects/{NOBODY}/erasure", {"officer"}),
    ("GET", f"/v1/erasures/{NOBODY}", {"agent", "officer"}),
    ("POST", "/v1/tenants", {"admin"}),
    ("POST", "/v1/tenants/nobody/dpa", {"admin"}),
    ("POST", "/v1/tenants/nobody/tokens", {"admin"}),
    ("DELETE", "/v1/tenants/nobody/dpa", {"admin"}),
]


@pytest.mark.parametrize(("method", "path", "allowed"), ROUTES, ids=[f"{m} {p[:24]}" for m, p, _ in ROUTES])
def test_who_may(world: ApiWorld, tenant: Tenant, method: str, path: str, allowed: set[str]) -> None:
    """No or a wrong token: 401 with a challenge; another role: 403; the right ones get through to the request itself."""
    body: dict[str, str] | None = {} if method == "POST" else None
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer "},
    )
    for headers in wrong:
        reply = world.call(method, path, None, body, headers=headers)
        assert (reply.status, reply.problem) == (401, "unauthorized"), headers
        assert reply.headers["www-authenticate"].startswith("Bearer")
    for role, token in {**tenant.tokens, "admin": world.admin}.items():
        reply = world.call(method, path, token, body)
        if role in allowed:
            assert reply.status in (404, 422), (role, reply)
        else:
            assert (reply.status, reply.problem) == (403, "forbidden"), role


def test_a_token_sees_its_own_tenant_only(world: ApiWorld, ada: Person) -> None:
    other = world.tenant()
    for path in ("", "/messages", "/consents"):
        assert other.call("GET", f"/v1/subjects/{ada.subject}{path}", "officer").status == 404
    assert other.call("POST", f"/v1/subjects/{ada.subject}/erasure", "officer").status == 404
    assert other.call("POST", "/v1/subjects/lookup", "agent", ada.to).status == 404


def test_unknown_paths_and_methods_are_problems(world: ApiWorld, tenant: Tenant) -> None:
    reply = world.call("GET", "/v1/nothing")
    assert (reply.status, reply.problem) == (404, "not_found")
    reply = tenant.call("PUT", "/v1/messages", "producer", {})
    assert (reply.status, reply.problem) == (405, "about:blank")
    for path in ("x", "..%2f", "%00", "F" * 32, "0" * 31):
        assert tenant.call("GET", f"/v1/subjects/{path}", "agent").status == 404


def test_the_page_of_documentation_asks_no_other_host(world: ApiWorld) -> None:
    page = world.call("GET", "/docs").raw.decode()
    asked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(asked) >= 3
    for path in asked:
        assert path.startswith("/"), path
        assert world.call("GET", path).status == 200, path


def test_openapi_shows_examples_and_problems(world: ApiWorld) -> None:
    document = world.call("GET", "/openapi.json").body
    operation = document["paths"]["/v1/messages"]["post"]
    assert set(operation["responses"]) == {"202", "401", "403", "409", "413", "422", "503"}
    assert set(operation["responses"]["422"]["content"]) == {"application/problem+json"}
    assert document["components"]["schemas"]["SendRequest"]["examples"]
    assert "HTTPValidationError" not in str(document)
    assert operation["security"]
