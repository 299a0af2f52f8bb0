"""No personal data in clear anywhere at rest, in logs or metrics (law L1, protocols §10)."""

import base64
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka.admin import AdminClient

from deploy.http_client import call
from tests.acceptance_instance import RunningInstance, topic_records, until

NAME = "Zephyrine Quarkstrudel"
TEXT_IN = "Mein Gartenzwerg heisst Balthasar-77"
TEXT_OUT = "Ihr Gartenzwerg Balthasar-88 ist abholbereit"


def needles(*texts: str) -> list[bytes]:
    """Each text, and its base64 in every alignment (without the ends, which depend on the neighbours)."""
    found: list[bytes] = []
    for text in texts:
        raw = text.encode()
        found.append(raw)
        for shift in range(3):
            encoded = base64.b64encode(b"\0" * shift + raw)
            found.append(encoded[4 if shift else 0 : -4])
    return found


def in_topics(bootstrap: str, wanted: list[bytes]) -> list[str]:
    """Topics in which one of the needles stands, in any key or value."""
    names = list(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics)
    hits = []
    for name in names:
        for key, value, _ in topic_records(bootstrap, name):
            if any(n in (key or b"") or n in (value or b"") for n in wanted):
                hits.append(name)
                break
    return hits


def in_tables(dsn: str, wanted: list[bytes]) -> list[str]:
    """Tables of a database in which one of the needles stands, in any column as text or bytes."""
    hits = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        tables = connection.execute(
            "select schemaname, tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            for row in connection.execute(f'select * from "{schema}"."{table}"').fetchall():
                if any(n in as_bytes(value) for value in row for n in wanted):
                    hits.append(f"{schema}.{table}")
                    break
    return hits


def as_bytes(value: Any) -> bytes:
    """A column's value for searching."""
    return bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()


def in_files(folder: Path, wanted: list[bytes]) -> list[str]:
    """Files below a folder in which one of the needles stands."""
    hits = []
    for path in folder.rglob("*"):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        if any(n in content for n in wanted):
            hits.append(str(path.relative_to(folder)))
    return hits


def in_metrics(instance: RunningInstance, wanted: list[bytes]) -> list[str]:
    """Roles whose metrics hold one of the needles."""
    import urllib.request

    hits = []
    for role, entry in instance.ready["roles"].items():
        with urllib.request.urlopen(entry["metrics_url"], timeout=5) as answer:
            if any(n in answer.read() for n in wanted):
                hits.append(role)
    return hits


def everywhere(instance: RunningInstance, wanted: list[bytes]) -> list[str]:
    """All places with a hit."""
    ready = instance.ready
    hits = in_topics(ready["kafka"], wanted)
    for database in ("vault_dsn", "streams_dsn", "projections_dsn"):
        hits += in_tables(ready[database], wanted)
    hits += (
        in_files(instance.data, wanted) + in_files(instance.log.parent, wanted) + in_metrics(instance, wanted)
    )
    return hits


def test_the_search_finds_planted_markers(instance: RunningInstance) -> None:
    """A search that cannot find is no proof: a marker planted in topic, table and file is found."""
    from confluent_kafka import Producer

    ready = instance.ready
    planted = "planted-marker-4711"
    producer = Producer({"bootstrap.servers": ready["kafka"]})
    producer.produce(
        "sealpost.deadletters",
        key=b"planted",
        value=b'{"value": "' + base64.b64encode(b"xx" + planted.encode()) + b'"}',
    )
    assert producer.flush(10) == 0
    with psycopg.connect(ready["projections_dsn"], autocommit=True) as connection:
        connection.execute("create table public.planted (words text)")
        connection.execute("insert into public.planted values (%s)", [planted])
    (instance.data / "planted.txt").write_text(planted)
    try:
        hits = everywhere(instance, needles(planted))
        assert "sealpost.deadletters" in hits
        assert "public.planted" in hits
        assert "planted.txt" in hits
    finally:
        (instance.data / "planted.txt").unlink()
        with psycopg.connect(ready["projections_dsn"], autocommit=True) as connection:
            connection.execute("drop table public.planted")


def test_a_person_is_nowhere_in_clear_and_gone_after_erasure(instance: RunningInstance) -> None:
    """Unusual name, number and texts: shown by the API, found nowhere at rest; after erasure not shown either."""
    number = instance.new_number()
    subject = instance.sign_up(number, NAME)
    instance.write(number, TEXT_IN, NAME)
    accepted = instance.send(number, TEXT_OUT)
    assert accepted.status == 202, accepted
    instance.item(subject, accepted.body["message_id"], {"delivered", "read"})

    def texts() -> list[str]:
        return [
            str(i["text"])
            for i in instance.api("GET", f"/v1/subjects/{subject}/messages?limit=200").body["items"]
        ]

    until("the person's words in the API", lambda: TEXT_IN in texts() and TEXT_OUT in texts())
    shown = instance.api("GET", f"/v1/subjects/{subject}").body
    assert shown["profile"]["name"] == NAME
    assert number in str(shown["addresses"])

    wanted = needles(NAME, TEXT_IN, TEXT_OUT, number)
    assert everywhere(instance, wanted) == []

    erasure = instance.erase(subject)
    assert erasure["t0"] <= erasure["t1"] <= erasure["t2"]
    assert {r["store"] for r in erasure["receipts"]} == {"vault", "streams.subscriber", "projections.v1"}
    after = instance.api("GET", f"/v1/subjects/{subject}")
    assert after.status == 200
    assert set(after.body) == {"subject", "state", "erased_at"}
    assert instance.api("GET", f"/v1/subjects/{subject}/messages").body == {"state": "erased", "items": []}
    lookup = {"channel": "whatsapp", "address": number}
    assert instance.api("POST", "/v1/subjects/lookup", body=lookup).status == 404
    assert everywhere(instance, wanted) == []


def test_the_simulator_writes_nothing_to_disk(instance: RunningInstance) -> None:
    """What the simulated provider received exists in its memory only."""
    number = instance.new_number()
    instance.write(number, "Nur im Speicher 90125")
    instance.subject_of(number)
    assert in_files(instance.data, needles("Nur im Speicher 90125")) == []
    assert call("GET", f"{instance.whatsapp['simulator_url']}/control/messages?to={number}").status == 200
