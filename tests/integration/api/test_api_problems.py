"""Bad input: a problem that names every wrong field by its place in the body, and never quotes what the caller sent."""

import json
from typing import Any

import pytest

from schemas import topics
from schemas.clock import now_ms
from schemas.http import BODY_MAX_BYTES
from schemas.ids import random_id
from tests.api_world import ApiWorld, Person, Reply, Tenant
from workers.intake import commands

RED = "red-4711"
NOBODY = "0" * 32
GOOD: dict[str, Any] = {
    "to": {"subject": NOBODY}, "purpose": "service", "content": {"type": "text", "text": "hallo"},
}  # fmt: skip
TEMPLATE = {"type": "template", "name": "offer", "language": "de"}
ADDRESS = {"channel": "whatsapp", "address": "4915123456"}


def refused(reply: Reply) -> list[str]:
    """The fields that a 422 names, in order; nothing of what was sent stands in it."""
    assert (reply.status, reply.problem) == (422, "invalid"), reply
    said = reply.raw.decode()
    assert RED not in said
    assert "4711" not in said
    assert "49151" not in said
    assert all(error["detail"] for error in reply.body["errors"])
    return sorted(reply.pointers)


MESSAGES: list[tuple[dict[str, Any], list[str]]] = [
    # unknown, missing and wrong fields at the top
    ({"colour": RED}, ["/colour"]),
    ({"colour": RED, "size": 4711}, ["/colour", "/size"]),
    ({"a/b~c": RED}, ["/a~1b~0c"]),
    ({"": RED}, ["/"]),
    ({"x" * 65 + RED: RED}, [""]),
    ({"purpose": RED}, ["/purpose"]),
    ({"purpose": "Red 4711"}, ["/purpose"]),
    ({"purpose": None}, ["/purpose"]),
    ({"purpose": {"purpose": 4711}}, ["/purpose"]),
    ({"delivery": RED}, ["/delivery"]),
    ({"ttl_seconds": 0}, ["/ttl_seconds"]),
    ({"ttl_seconds": 47.11}, ["/ttl_seconds"]),
    ({"ttl_seconds": True}, ["/ttl_seconds"]),
    ({"ttl_seconds": "4711"}, ["/ttl_seconds"]),
    ({"ttl_seconds": 6 * 86_400 + 1}, ["/ttl_seconds"]),
    ({"ttl_seconds": 10**18}, ["/ttl_seconds"]),
    ({"idempotency_key": ""}, ["/idempotency_key"]),
    ({"idempotency_key": RED * 30}, ["/idempotency_key"]),
    ({"idempotency_key": [RED]}, ["/idempotency_key"]),
    # the recipient, one of two kinds
    ({"to": None}, ["/to"]),
    ({"to": RED}, ["/to"]),
    ({"to": ["4915123456", "4915123457"]}, ["/to"]),
    ({"to": {}}, ["/to/address", "/to/channel"]),
    ({"to": {"channel": "whatsapp"}}, ["/to/address"]),
    ({"to": {"channel": "whatsapp", "address": RED}}, ["/to/address"]),
    ({"to": {"channel": "whatsapp", "address": "0151 4711"}}, ["/to/address"]),
    ({"to": {"channel": "whatsapp", "address": 49151}}, ["/to/address"]),
    ({"to": {"channel": "whatsapp", "address": ["49151"]}}, ["/to/address"]),
    ({"to": {"channel": "whatsapp", "address": "4" * 257}}, ["/to/address"]),
    ({"to": {"channel": RED, "address": "4915123456"}}, ["/to/channel"]),
    ({"to": {**ADDRESS, "subject": RED}}, ["/to/address", "/to/channel", "/to/subject"]),
    ({"to": {**ADDRESS, "to_address": RED}}, ["/to/to_address"]),
    ({"to": {"to_address": ADDRESS}}, ["/to/address", "/to/channel", "/to/to_address"]),
    ({"to": {"subject": RED}}, ["/to/subject"]),
    ({"to": {"subject": {"subject": RED}}}, ["/to/subject"]),
    # the content, told apart by its type
    ({"content": None}, ["/content"]),
    ({"content": RED}, ["/content"]),
    ({"content": [TEMPLATE]}, ["/content"]),
    ({"content": {}}, ["/content/type"]),
    ({"content": {"text": RED}}, ["/content/type"]),
    ({"content": {"type": RED, "text": "x"}}, ["/content/type"]),
    ({"content": {"type": None, "text": "x"}}, ["/content/type"]),
    ({"content": {"type": ["text"], "text": "x"}}, ["/content/type"]),
    ({"content": {"type": {"type": RED}, "text": "x"}}, ["/content/type"]),
    ({"content": {"type": "text"}}, ["/content/text"]),
    ({"content": {"type": "text", "text": ""}}, ["/content/text"]),
    ({"content": {"type": "text", "text": " \n "}}, ["/content/text"]),
    ({"content": {"type": "text", "text": "\u200b\ufeff"}}, ["/content/text"]),
    ({"content": {"type": "text", "text": "\u0000"}}, ["/content/text"]),
    ({"content": {"type": "text", "text": 4711}}, ["/content/text"]),
    ({"content": {"type": "text", "text": {"text": RED}}}, ["/content/text"]),
    ({"content": {"type": "text", "text": [RED]}}, ["/content/text"]),
    ({"content": {"type": "text", "text": "x", "colour": RED}}, ["/content/colour"]),
    ({"content": {"type": "text", "text": "x", "template": RED}}, ["/content/template"]),
    ({"content": {**TEMPLATE, "template": {"name": RED}}}, ["/content/template"]),
    ({"content": {"type": "template"}}, ["/content/language", "/content/name"]),
    ({"content": {**TEMPLATE, "name": "Red 4711"}}, ["/content/name"]),
    ({"content": {**TEMPLATE, "language": "Red 4711"}}, ["/content/language"]),
    ({"content": {**TEMPLATE, "variables": RED}}, ["/content/variables"]),
    ({"content": {**TEMPLATE, "variables": [5]}}, ["/content/variables/0"]),
    ({"content": {**TEMPLATE, "variables": ["a", None, ["b"]]}}, ["/content/variables/1", "/content/variables/2"]),
    ({"content": {**TEMPLATE, "variables": {"fruit": 4711}}}, ["/content/variables/fruit"]),
    ({"content": {**TEMPLATE, "variables": {"a/b": {"a/b": 1}}}}, ["/content/variables/a~1b"]),
    ({"content": {**TEMPLATE, "variables": {"dict[str,str]": 1}}}, ["/content/variables/dict[str,str]"]),
    ({"content": {**TEMPLATE, "variables": ["x"] * 101}}, ["/content/variables"]),
    ({"content": {**TEMPLATE, "variables": ["x", RED * 200]}}, ["/content/variables/1"]),
    ({"content": {**TEMPLATE, "variables": {"fruit": RED * 200}}}, ["/content/variables/fruit"]),
    ({"content": {**TEMPLATE, "variables": {RED * 200: "fruit"}}}, ["/content/variables"]),
    ({"purpose": RED, "colour": RED, "content": {"type": RED}}, ["/colour", "/content/type"]),
]  # fmt: skip
OF_THE_CHANNEL: list[tuple[dict[str, Any], list[str]]] = [
    ({"content": {"type": "text", "text": RED * 6_000}}, ["/content/text"]),
    ({"purpose": RED}, ["/purpose"]),
]
"""What is found only once the recipient's channel is known."""


@pytest.mark.parametrize(
    ("change", "fields"), MESSAGES, ids=[f"{n} {p}" for n, (_, p) in enumerate(MESSAGES)]
)
def test_a_message(tenant: Tenant, change: dict[str, Any], fields: list[str]) -> None:
    reply = tenant.call("POST", "/v1/messages", "producer", {**GOOD, **change})
    assert refused(reply) == fields


@pytest.mark.parametrize(("change", "fields"), OF_THE_CHANNEL)
@pytest.mark.parametrize("by_address", [True, False])
def test_a_message_to_somebody(
    tenant: Tenant, ada: Person, change: dict[str, Any], fields: list[str], by_address: bool
) -> None:
    to = ada.to if by_address else {"subject": ada.subject}
    reply = tenant.call("POST", "/v1/messages", "producer", {**GOOD, "to": to, **change})
    assert refused(reply) == fields


@pytest.mark.parametrize("ahead_s", [-400, 400])
def test_a_server_whose_clock_is_wrong_records_nothing(
    world: ApiWorld, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    """It says that it is at fault, not the caller; the same request is taken once the clock is set."""
    person, key = tenant.person(), random_id()
    monkeypatch.setattr(commands, "now_ms", lambda: now_ms() + ahead_s * 1000)
    reply = tenant.send(person.to, idempotency_key=key)
    assert (reply.status, reply.problem) == (503, "clock")
    monkeypatch.undo()
    assert tenant.send(person.to, idempotency_key=key).status == 202
    written = [
        event for event in world.written(topics.MESSAGES, tenant.name) if event.subject == person.subject
    ]
    assert len(written) == 1


def test_fields_that_are_missing(tenant: Tenant) -> None:
    for name in GOOD:
        rest = {key: value for key, value in GOOD.items() if key != name}
        assert refused(tenant.call("POST", "/v1/messages", "producer", rest)) == [f"/{name}"]
    assert refused(tenant.call("POST", "/v1/messages", "producer", {})) == ["/content", "/purpose", "/to"]


def test_other_bodies(world: ApiWorld, tenant: Tenant) -> None:
    """Every route that takes a body."""
    registration = {"id": f"t-{random_id()[:8]}", "name": "Obsthof", "default_language": "de"}
    agreement = f"/v1/tenants/{tenant.name}/dpa"
    cases: list[tuple[str, str, Any, list[str]]] = [
        ("/v1/subjects/lookup", tenant.tokens["agent"], {}, ["/address", "/channel"]),
        ("/v1/subjects/lookup", tenant.tokens["agent"], {**ADDRESS, "channel": RED}, ["/channel"]),
        ("/v1/subjects/lookup", tenant.tokens["agent"], {**ADDRESS, "address": RED}, ["/address"]),
        ("/v1/subjects/lookup", tenant.tokens["agent"], {**ADDRESS, "address": 4711}, ["/address"]),
        ("/v1/subjects/lookup", tenant.tokens["agent"], {**ADDRESS, "colour": RED}, ["/colour"]),
        ("/v1/subjects/lookup", tenant.tokens["agent"], [RED], [""]),
        ("/v1/tenants", world.admin, {**registration, "id": "Red 4711"}, ["/id"]),
        ("/v1/tenants", world.admin, {**registration, "name": " "}, ["/name"]),
        ("/v1/tenants", world.admin, {**registration, "default_language": RED}, ["/default_language"]),
        ("/v1/tenants", world.admin, {**registration, "colour": RED}, ["/colour"]),
        ("/v1/tenants", world.admin, {}, ["/id", "/name"]),
        (agreement, world.admin, {}, ["/version"]),
        (agreement, world.admin, {"version": 4711}, ["/version"]),
        (agreement, world.admin, {"version": "1", "signed_at": RED}, ["/signed_at"]),
        (agreement, world.admin, {"version": "1", "signed_at": "2026-01-01T10:00:00"}, ["/signed_at"]),
    ]
    for path, token, body, fields in cases:
        assert refused(world.call("POST", path, token, body)) == fields, (path, body)


NOT_JSON = [
    b"{", b"{red-4711}", b'{"to": red-4711}', b'{"to": "\xff"}', b"\xff\xfe\xff", b"[" * 100_000,
    b'{"ttl_seconds": ' + b"4711" * 2_000 + b"}", b'{"purpose": "a\nb"}',
]  # fmt: skip
NO_OBJECT = [b"", b"[]", b'"red-4711"', b"4711", b"null", b"[" * 50 + b"]" * 50]


@pytest.mark.parametrize("raw", [*NOT_JSON, *NO_OBJECT], ids=lambda raw: str(raw[:16]))
def test_bodies_that_are_none(tenant: Tenant, raw: bytes) -> None:
    """The pointer of the whole body is empty."""
    assert refused(tenant.call("POST", "/v1/messages", "producer", raw=raw)) == [""]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"]
)
def test_bodies_that_do_not_say_that_they_are_json(tenant: Tenant, kind: str) -> None:
    headers = {"Content-Type": kind}
    reply = tenant.call("POST", "/v1/messages", "producer", raw=b'{"to": "red-4711"}', headers=headers)
    assert refused(reply) == [""]
    assert "application/json" in reply.body["errors"][0]["detail"]


NO_UNICODE: list[tuple[dict[str, Any], list[str]]] = [
    ({"purpose": "\ud800"}, ["/purpose"]),
    ({"idempotency_key": "\ud800"}, ["/idempotency_key"]),
    ({"to": {"channel": "whatsapp", "address": "\ud800"}}, ["/to/address"]),
    ({"content": {"type": "text", "text": "\ud800"}}, ["/content/text"]),
    ({"content": {"type": "\ud800", "text": "x"}}, ["/content/type"]),
    ({"content": {"type": "text", "text": "x", "\ud800": 1}}, ["/content"]),
    ({"content": {**TEMPLATE, "variables": ["x", "\ud800"]}}, ["/content/variables/1"]),
    ({"content": {**TEMPLATE, "variables": {"x": "\ud800"}}}, ["/content/variables/x"]),
    ({"content": {**TEMPLATE, "variables": {"\ud800": "x"}}}, ["/content/variables"]),
    ({"\ud800": 1}, [""]),
]


@pytest.mark.parametrize(
    ("change", "fields"), NO_UNICODE, ids=[f"{n} {p}" for n, (_, p) in enumerate(NO_UNICODE)]
)
def test_text_without_meaning_in_unicode(
    tenant: Tenant, ada: Person, change: dict[str, Any], fields: list[str]
) -> None:
    """A lone surrogate can neither be sealed as UTF-8 nor be named: refused, not failed on."""
    raw = json.dumps({**GOOD, "to": ada.to, **change}).encode()
    assert refused(tenant.call("POST", "/v1/messages", "producer", raw=raw)) == fields


def test_parameters_are_named(tenant: Tenant, ada: Person) -> None:
    """They have no place in the body; their name is said."""
    for query, name in (("limit=0", "limit"), ("limit=red-4711", "limit"), ("cursor=red-4711", "cursor")):
        reply = tenant.call("GET", f"/v1/subjects/{ada.subject}/messages?{query}", "agent")
        assert refused(reply) == [name]
    headers = {"Idempotency-Key": RED * 30}
    assert refused(tenant.call("POST", "/v1/messages", "producer", GOOD, headers=headers)) == [
        "idempotency-key"
    ]


def test_thousands_of_wrong_fields_make_no_large_answer(tenant: Tenant) -> None:
    reply = tenant.call("POST", "/v1/messages", "producer", {**GOOD, **{f"f{n}": RED for n in range(5000)}})
    assert 10 < len(refused(reply)) < 100


def test_a_body_over_the_limit(tenant: Tenant) -> None:
    """413 that says the limit; one byte less is read."""
    frame = len(b'{"x": ""}')
    reply = tenant.call(
        "POST", "/v1/messages", "producer", raw=b'{"x": "%s"}' % (b"r" * (BODY_MAX_BYTES - frame + 1))
    )
    assert (reply.status, reply.problem) == (413, "too_large")
    assert str(BODY_MAX_BYTES) in reply.body["detail"]
    large = tenant.call("POST", "/v1/messages", "producer", raw=b"r" * 5_000_000)
    assert (large.status, large.problem) == (413, "too_large"), "who sends all before reading gets the answer"
    reply = tenant.call(
        "POST", "/v1/messages", "producer", raw=b'{"x": "%s"}' % (b"r" * (BODY_MAX_BYTES - frame))
    )
    assert refused(reply) == ["/content", "/purpose", "/to", "/x"]
