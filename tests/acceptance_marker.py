"""Searching everything that an instance has at rest for words of a person, however they are encoded (protocols §10)."""

import json
import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg
from confluent_kafka.admin import AdminClient

from tests.acceptance_instance import RunningInstance, TopicRecord, topic_records

DATABASES = ("vault_dsn", "streams_dsn", "projections_dsn")
DEPENDS_ON_NEIGHBOUR = (0, 2, 3)
"""Base64 characters at the start that depend on 0, 1 or 2 bytes before."""
HEX = re.compile(rb"x((?:[0-9a-f]{2})+)")
ZEROS = re.compile(rb"\0{64,}")
"""Holes and space reserved ahead: most of the bytes of a young instance."""
TABLES = """select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema')"""
STATISTICS = """select schemaname, tablename, attname,
    concat_ws(' ', most_common_vals::text, histogram_bounds::text, most_common_elems::text) from pg_stats
    where schemaname not in ('pg_catalog', 'information_schema')"""
COMPRESSIBLE = """select n.nspname, c.relname, a.attname from pg_attribute a
    join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema')
    and a.attnum > 0 and not a.attisdropped and a.attstorage in ('x', 'm')"""


def needles(*texts: str) -> list[bytes]:
    """Each text as UTF-8, UTF-16, hexadecimal, escaped for JSON, and in base64 and base64 of base64 in every alignment."""
    found: dict[bytes, None] = {}
    for text in texts:
        raw, escaped = text.encode(), json.dumps(text)[1:-1].encode()
        plain = [raw, escaped, text.encode("utf-16-le"), text.encode("utf-16-be")]
        escaped_upper = re.sub(rb"\\u(....)", lambda code: rb"\u" + code[1].upper(), escaped)
        once = [core for form in (raw, escaped) for core in in_base64(form)]
        twice = [core for form in once for core in in_base64(form)]
        for form in (*plain, escaped_upper, raw.hex().encode(), raw.hex().upper().encode(), *once, *twice):
            found[form] = None
    return list(found)


def in_base64(raw: bytes) -> Iterator[bytes]:
    """What of its base64 does not depend on its neighbours, in each alignment and both alphabets."""
    for shift, start in enumerate(DEPENDS_ON_NEIGHBOUR):
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(b"\0" * shift + raw)[start : (shift + len(raw)) * 8 // 6]


def found_in(content: bytes, wanted: list[bytes]) -> bool:
    """True when one of the needles stands in the bytes."""
    return any(needle in content for needle in wanted)


def parts_of(record: TopicRecord) -> Iterator[bytes]:
    """All that a record holds."""
    yield record.key or b""
    yield record.value or b""
    for name, value in record.headers:
        yield name.encode()
        yield value or b""


def in_topics(bootstrap: str, wanted: list[bytes]) -> set[str]:
    """Topics with a hit in a key, value or header, as a consumer decodes them."""
    names = list(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=60).topics)
    return {
        f"topic {name}"
        for name in names
        if any(
            found_in(part, wanted) for record in topic_records(bootstrap, name) for part in parts_of(record)
        )
    }


def in_database(dsn: str, wanted: list[bytes]) -> set[str]:
    """Tables with a hit in a row, and columns with one in the statistics that the server keeps of them."""
    hits = set()
    with psycopg.connect(dsn, autocommit=True) as connection:
        for schema, table in connection.execute(TABLES).fetchall():
            rows = connection.execute(f'select * from "{schema}"."{table}"').fetchall()
            if any(found_in(part, wanted) for row in rows for value in row for part in as_bytes(value)):
                hits.add(f"table {schema}.{table}")
        for schema, table, column, sampled in connection.execute(STATISTICS).fetchall():
            text = sampled.encode()
            decoded = [bytes.fromhex(digits.decode()) for digits in HEX.findall(text)]
            if any(found_in(part, wanted) for part in (text, *decoded)):
                hits.add(f"statistics {schema}.{table}.{column}")
    return hits


def as_bytes(value: Any) -> Iterator[bytes]:
    """All that a column's value holds."""
    if isinstance(value, (bytes, memoryview)):
        yield bytes(value)
    elif isinstance(value, dict):
        yield from as_bytes([*value, *value.values()])
    elif isinstance(value, list | tuple):
        for part in value:
            yield from as_bytes(part)
    else:
        yield str(value).encode()


def in_files(folder: Path, wanted: list[bytes]) -> set[str]:
    """Files below a folder with a hit in their content or name."""
    hits = set()
    # Unlike `rglob`, `walk` passes over a folder that goes while it is looked into: Kafka's of a topic that was deleted.
    inside = (Path(place) / name for place, *names in os.walk(folder) for some in names for name in some)
    for path in inside:
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        name = path.relative_to(folder)
        if found_in(ZEROS.sub(b"\0", content), wanted) or found_in(name.name.encode(), wanted):
            hits.add(f"file {name}")
    return hits


def in_metrics(urls: dict[str, str], wanted: list[bytes]) -> set[str]:
    """Those whose metrics have a hit."""
    hits = set()
    for name, url in urls.items():
        with urlopen(url, timeout=60) as answer:
            if found_in(answer.read(), wanted):
                hits.add(f"metrics {name}")
    return hits


def everywhere(
    instance: RunningInstance, wanted: list[bytes], more_metrics: dict[str, str] | None = None
) -> set[str]:
    """All places with a hit."""
    ready = instance.ready
    urls = {name: role["metrics_url"] for name, role in ready["roles"].items()} | (more_metrics or {})
    hits = in_topics(ready["kafka"], wanted) | in_metrics(urls, wanted)
    for database in DATABASES:
        hits |= in_database(ready[database], wanted)
    return hits | in_files(instance.log.parent, wanted)


def sample_columns(instance: RunningInstance) -> None:
    """Let the server sample all columns for its statistics now, as it does by itself sooner or later."""
    for database in DATABASES:
        with psycopg.connect(instance.ready[database], autocommit=True) as connection:
            connection.execute("analyze")


def compress_nothing(instance: RunningInstance) -> None:
    """Let no column of an instance compress what it stores from now on: a search of files could not see into it."""
    for database in DATABASES:
        with psycopg.connect(instance.ready[database], autocommit=True) as connection:
            for schema, table, column in connection.execute(COMPRESSIBLE).fetchall():
                connection.execute(
                    f'alter table "{schema}"."{table}" alter column "{column}" set storage external'
                )
            assert connection.execute(COMPRESSIBLE).fetchall() == []
