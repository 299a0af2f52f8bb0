"""No personal data in clear anywhere at rest, in logs or metrics (law L1, protocols §10)."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from tests.acceptance_instance import RunningInstance, call, post_raw, signature, until
from tests.acceptance_marker import (
    DATABASES,
    compress_nothing,
    everywhere,
    found_in,
    in_database,
    in_files,
    needles,
    sample_columns,
)
from tests.acceptance_quiet import await_quiet

WORD = "Quärkstrüdel"
"""Stands in all that the person says, is called and is told; not ASCII, so that escapes are searched too."""
NAME = f"Zephyrine {WORD}"
TEXT_IN = f"Mein Gartenzwerg heißt {WORD}-77"
TEXT_OUT = f"Ihr Gartenzwerg {WORD}-88 ist abholbereit"
PLANTED, DELETED = "Plänted-märker-4711", "Deleted-märker-4712"
PLANTED_TOPICS: dict[str, dict[str, Any]] = {
    "planted.key": {"key": PLANTED.encode()},
    "planted.value": {"value": b'{"value": "' + base64.b64encode(b"xx" + PLANTED.encode()) + b'"}'},
    "planted.header": {"headers": [("about", PLANTED.encode("utf-16-le"))]},
    "planted.header.name": {"headers": [(PLANTED, b"")]},
    "planted.compressed": {"value": (json.dumps(PLANTED) + "x" * 4000).encode()},
}
PLANTED_FILES = {
    "planted.txt": PLANTED.encode("utf-16-be"),
    "logs/planted.log": f"WARNING refused: {PLANTED.encode().hex()}\n".encode(),
    f"{PLANTED}.json": b"{}",
}
Search = Callable[[RunningInstance, list[bytes]], set[str]]


@pytest.mark.parametrize("before", ["", "x", "xx"])
def test_needles_are_found_in_every_encoding(before: str) -> None:
    """Whatever stands around them; and none is found in what says something else."""
    text = f"{before}{PLANTED} und mehr"
    forms = [text.encode(), json.dumps(text).encode()]
    once = [encode(f) for f in forms for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    twice = [base64.b64encode(b"-" * shift + f) for shift in range(3) for f in once]
    wide = [text.encode("utf-16-le"), text.encode("utf-16-be")]
    for form in (
        *forms,
        *once,
        *twice,
        *wide,
        text.encode().hex().encode(),
        text.encode().hex().upper().encode(),
    ):
        assert found_in(form, needles(PLANTED)), form
        assert not found_in(form, needles(DELETED)), form


@pytest.fixture(scope="module")
def search(instance: RunningInstance) -> Iterator[Search]:
    """The search, once it has found a marker planted in each kind of place: one that cannot find is no proof."""
    compress_nothing(instance)
    metrics = CollectorRegistry()
    Gauge("planted", "A marker in a label.", ["about"], registry=metrics).labels(PLANTED).set(1)
    server, thread = start_http_server(0, "127.0.0.1", metrics)
    try:
        plant(instance)
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        hits = everywhere(instance, needles(PLANTED), {"planted": url})
        assert expected_hits() <= hits, expected_hits() - hits
        assert find_deleted(instance), "what was deleted from a table is still in its file"
        yield everywhere
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        pull_out(instance)


def expected_hits() -> set[str]:
    """Every place that `plant` puts a marker in, but for the deleted ones."""
    return {
        *(f"topic {name}" for name in PLANTED_TOPICS),
        *(f"file data/{name}" for name in PLANTED_FILES),
        *("table planted.lives", "table planted.compressed", "statistics planted.sampled.words"),
        "metrics planted",
    }


def plant(instance: RunningInstance) -> None:
    """A marker in each kind of place."""
    bootstrap = instance.ready["kafka"]
    client = AdminClient({"bootstrap.servers": bootstrap})
    for future in client.create_topics([NewTopic(name, 1, 1) for name in PLANTED_TOPICS]).values():
        future.result(60)
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "gzip"})
    for name, record in PLANTED_TOPICS.items():
        producer.produce(name, **record)
    assert producer.flush(60) == 0
    for name, content in PLANTED_FILES.items():
        (instance.data / name).write_bytes(content)
    with psycopg.connect(instance.ready["projections_dsn"], autocommit=True) as connection:
        connection.execute("create schema planted")
        connection.execute("create table planted.lives (words bytea[])")
        connection.execute("insert into planted.lives values (%s)", [[b"-", PLANTED.encode()]])
        connection.execute("create table planted.compressed (words text)")
        connection.execute("insert into planted.compressed values (%s)", [PLANTED + "x" * 4000])
        connection.execute("create table planted.sampled (words bytea)")
        connection.execute(
            "insert into planted.sampled select %s::bytea || n::text::bytea from generate_series(1, 3) n",
            [PLANTED.encode()],
        )
        connection.execute("alter table planted.sampled set (autovacuum_enabled = off)")
        connection.execute("analyze planted.sampled")
        connection.execute("delete from planted.sampled")
    plant_deleted(instance)


def plant_deleted(instance: RunningInstance) -> None:
    """A long row in a table of each database, deleted again: only files can tell, and only if nothing was compressed."""
    for database in DATABASES:
        with psycopg.connect(instance.ready[database], autocommit=True) as connection:
            body = json.dumps({"words": DELETED + database + "x" * 4000}, ensure_ascii=False)
            connection.execute(
                "insert into step.due (role, partition, at, key, kind, body) values ('planted', 0, 0, '', '', %s)",
                [body],
            )
            connection.execute("delete from step.due where role = 'planted'")


def find_deleted(instance: RunningInstance) -> bool:
    """True when the deleted row of each database is found, in files alone."""
    wanted = [needles(DELETED + database) for database in DATABASES]
    assert not any(in_database(instance.ready[database], needles(DELETED)) for database in DATABASES)
    return all(in_files(instance.data, words) for words in wanted)


def pull_out(instance: RunningInstance) -> None:
    """Take out what was planted."""
    client = AdminClient({"bootstrap.servers": instance.ready["kafka"]})
    for future in client.delete_topics(list(PLANTED_TOPICS)).values():
        future.exception(60)
    for name in PLANTED_FILES:
        (instance.data / name).unlink(missing_ok=True)
    with psycopg.connect(instance.ready["projections_dsn"], autocommit=True) as connection:
        connection.execute("drop schema if exists planted cascade")


def says(instance: RunningInstance, number: str, **said: Any) -> None:
    """The person says something that is no plain text."""
    body = {"from": number, "name": NAME, **said}
    answer = call("POST", f"{instance.whatsapp['simulator_url']}/control/inbound", body=body)
    assert answer.status < 300, answer


def faulty(instance: RunningInstance, number: str, **fault: Any) -> None:
    """The provider will treat the next message to the person so."""
    body = {"next": 1, "to": number, **fault}
    assert call("POST", f"{instance.whatsapp['simulator_url']}/control/faults", body=body).status < 300


def speak(instance: RunningInstance, number: str) -> None:
    """The person chats by every kind of message, and sends what nobody can read."""
    instance.write(number, TEXT_IN, NAME)
    says(instance, number, button={"id": "b1", "title": f"{WORD} ja"})
    says(instance, number, list={"id": "l1", "title": f"{WORD} groß"})
    says(instance, number, type="button", button={"id": "q1", "title": f"{WORD} Knopf"})
    says(instance, number, type="location", raw={"name": WORD, "address": f"{WORD} 7", "latitude": 1.5})
    says(instance, number, type="image", raw={"id": "1", "caption": f"{WORD} im Bild"})
    broken = {"from": number, "id": "wamid.broken", "type": "text", "text": {"body": TEXT_IN}}
    assert instance.post_webhook({"messages": [broken]}) == 200, (
        "a message without time: role inbound's dead letter"
    )
    body = f'{{"entry": [{{"from": "{number}", "text": "{TEXT_IN}"'.encode()
    assert (
        post_raw(instance.whatsapp["webhook_url"], body, signature(instance.whatsapp["app_secret"], body))
        == 200
    )
    assert post_raw(instance.whatsapp["webhook_url"], body, "sha256=" + "0" * 64) == 401


def blocked(instance: RunningInstance, subject: str) -> bool:
    """Whether an account does not reach the person."""
    return bool(instance.api("GET", f"/v1/subjects/{subject}").body.get("blocked"))


def fail(instance: RunningInstance, number: str, subject: str) -> None:
    """Two messages that fail, the provider quoting number and name: one in its answer, one in a status, which ends her reach
    until she writes."""
    details = f"{number} ({NAME}) is not reachable"
    faulty(instance, number, error={"code": 130472, "details": details})
    refused = instance.send(number, f"{TEXT_OUT} 1")
    instance.item(subject, refused.body["message_id"], {"failed"})
    faulty(instance, number, statuses=[])
    undelivered = instance.send(number, f"{TEXT_OUT} 2")
    instance.item(subject, undelivered.body["message_id"], {"submitted"})
    taken, taken_s = instance.phone(number)[-1], int(time.time())
    until("the second of her last words is over", lambda: time.time() > taken_s + 1)
    error = {"code": 131026, "title": WORD, "message": details, "error_data": {"details": details}}
    status = {
        "id": taken["id"],
        "status": "failed",
        "timestamp": str(int(time.time())),
        "recipient_id": number,
        "biz_opaque_callback_data": taken["biz_opaque_callback_data"],
        "errors": [error],
    }
    assert instance.post_webhook({"statuses": [status]}) == 200
    instance.item(subject, undelivered.body["message_id"], {"failed"})
    until("the block is shown", lambda: blocked(instance, subject))
    instance.write(number, TEXT_IN, NAME)
    until("its end is shown", lambda: not blocked(instance, subject))


def be_refused(instance: RunningInstance, number: str) -> None:
    """Requests that name the person and are not taken: the answer does not quote them."""
    wrong: list[tuple[str, dict[str, Any]]] = [
        (f"{number} {WORD}", {}),
        (number, {"colour": f"{number} {WORD}"}),
        (number, {"purpose": f"{WORD}"}),
        (number, {"ttl_seconds": f"{number} {WORD}"}),
        (number, {"content": {"type": "text", "text": f"{WORD}" * 4_000}}),
        (number, {"content": {"type": "text", "text": {WORD: number}}}),
    ]
    for address, more in wrong:
        to = {"channel": "whatsapp", "address": address}
        body = {"to": to, "purpose": "service", "content": {"type": "text", "text": TEXT_OUT}, **more}
        answer = instance.api("POST", "/v1/messages", "producer", body)
        assert answer.status == 422, answer
        words = json.dumps(answer.body, ensure_ascii=False).encode()
        assert not found_in(words, needles(WORD, number))
    lookup = {"channel": f"whatsapp {number}", "address": f"{number} {WORD}"}
    assert instance.api("POST", "/v1/subjects/lookup", body=lookup).status in {404, 422}


def keys_of(instance: RunningInstance, subject: str) -> list[bytes]:
    """The person's wrapped keys (evidence apart: it may be retained) and sealed addresses, as they lie in the vault."""
    with psycopg.connect(instance.ready["vault_dsn"]) as connection:
        rows = connection.execute(
            "select wrapped from vault.keys where subject = %(s)s and class <> 'evidence'"
            " union all select sealed from vault.addresses where subject = %(s)s",
            {"s": subject},
        ).fetchall()
    assert len(rows) >= 3, "identity, content, address"
    return [bytes(value) for (value,) in rows]


def test_a_person_is_nowhere_in_clear_and_gone_after_erasure(
    instance: RunningInstance, search: Search
) -> None:
    """Unusual name, number and texts by every way: shown by the API, found nowhere at rest; after erasure not shown either,
    and the destroyed keys stand in no row and in no statistics of the database."""
    for other in [
        instance.new_number() for _ in range(3)
    ]:  # statistics are kept of columns with several values
        instance.write(other, "Hallo")
        instance.subject_of(other)
    number = instance.new_number()
    subject = instance.sign_up(number, NAME)
    speak(instance, number)
    accepted = instance.send(number, TEXT_OUT)
    assert accepted.status == 202, accepted
    instance.item(subject, accepted.body["message_id"], {"delivered", "read"})
    fail(instance, number, subject)
    be_refused(instance, number)
    instance.write(number, "STOP", NAME)
    until("the withdrawal", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    instance.write(number, f"STOP {WORD}", NAME)
    await_quiet(instance)

    items = instance.api("GET", f"/v1/subjects/{subject}/messages?limit=200").body["items"]
    shown = json.dumps(items, ensure_ascii=False)
    for words in (TEXT_IN, TEXT_OUT, f"{WORD} ja", f"{WORD} groß", f"{WORD} Knopf"):
        assert words in shown
    person = instance.api("GET", f"/v1/subjects/{subject}").body
    assert person["profile"]["name"] == NAME
    assert number in str(person["addresses"])

    sample_columns(instance)
    wanted = needles(WORD, number)
    assert search(instance, wanted) == set()

    keys = keys_of(instance, subject)
    assert all(in_database(instance.ready["vault_dsn"], [key]) for key in keys)
    erasure = instance.erase(subject)
    assert erasure["t0"] <= erasure["t1"] <= erasure["t2"]
    assert {r["store"] for r in erasure["receipts"]} == {"vault", "streams.subscriber", "projections.v1"}
    after = instance.api("GET", f"/v1/subjects/{subject}")
    assert after.status == 200
    assert set(after.body) == {"subject", "state", "erased_at"}
    assert instance.api("GET", f"/v1/subjects/{subject}/messages").body == {"state": "erased", "items": []}
    lookup = {"channel": "whatsapp", "address": number}
    assert instance.api("POST", "/v1/subjects/lookup", body=lookup).status == 404
    assert in_database(instance.ready["vault_dsn"], keys) == set()
    assert search(instance, wanted) == set()


def test_the_simulator_writes_nothing_to_disk(instance: RunningInstance) -> None:
    """What the simulated provider received exists in its memory only."""
    number = instance.new_number()
    instance.write(number, "Nur im Speicher 90125")
    instance.subject_of(number)
    assert in_files(instance.data, needles("Nur im Speicher 90125")) == set()
    assert call("GET", f"{instance.whatsapp['simulator_url']}/control/messages?to={number}").status == 200
