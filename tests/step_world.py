"""A real handler and the topics around it, for tests of the step engine.

It counts records per key in PostgreSQL and forwards one output an input. Each output holds the count it saw and a random
word: an output that was decided twice would differ in its bytes.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psycopg

from schemas.clock import boot_s
from schemas.ids import derived_id, random_id
from schemas.topics import DEADLETTERS, Topic
from streams.kafka import admin
from streams.kafka.consumer import read_to_end
from streams.kafka.producer import OrderedProducer
from streams.step.contract import Cursor, Effects, Item, Output, Poison, Record, Wake
from streams.step.engine import Engine
from streams.step.migrate import apply_migrations

PARTITIONS = 4
SQL = Path(__file__).parent / "step_sql"
ID_KEY = b"step-world"
READ_S = 60.0
OUTPUTS_S = 60.0

COUNT = """
insert into work.counts (key, n) select key, n from json_to_recordset(%s::json) as x(key text, n integer)
on conflict (key) do update set n = counts.n + excluded.n returning key, n
"""


def value(number: int, **more: Any) -> bytes:
    """An input: its id follows from its number."""
    return orjson.dumps({"id": derived_id(ID_KEY, str(number)), "number": number, **more})


class Counting:
    """The handler. What an input asks for: `poison` (prepare answers Poison), `raise_in` (prepare or apply), `wake_at`."""

    def __init__(
        self, source: str, target: str, *, role: str = "counting", priority: str | None = None
    ) -> None:
        self.role = role
        self.topics: tuple[str, ...] = (source,) if priority is None else (priority, source)
        self.priority_topic = priority
        self.target = target
        self.order: list[str] = []
        self.reached: list[int] = []
        self.before_apply: Callable[[Cursor, Sequence[Item]], None] | None = None

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        answers: list[Item | Poison] = []
        for record in records:
            content = orjson.loads(record.value or b"")
            if content.get("raise_in") == "prepare":
                raise KeyError(content["id"])
            if content.get("poison"):
                answers.append(Poison(record, "Strange", (record.key or b"").decode()))
            else:
                answers.append(Item(content["id"], record.partition, record.time_ms, content, record))
        return answers

    def apply(self, cursor: Cursor, items: Sequence[Item], effects: Effects) -> None:
        if self.before_apply is not None:
            self.before_apply(cursor, items)
        counts: dict[str, int] = {}
        for item in items:
            if item.value is not None and item.value.get("raise_in") == "apply":
                raise ValueError(item.id)
            key = (
                item.due.key
                if item.due is not None
                else (item.record.key or b"").decode()
                if item.record
                else ""
            )
            counts[key] = counts.get(key, 0) + 1
        rows = [{"key": key, "n": n} for key, n in sorted(counts.items())]
        cursor.execute(COUNT, (orjson.dumps(rows).decode(),))
        totals = {row[0]: int(row[1]) - counts[row[0]] for row in cursor.fetchall()}
        for item in items:
            self._forward(item, totals, effects)

    def _forward(self, item: Item, totals: dict[str, int], effects: Effects) -> None:
        if item.due is not None:
            key, cause, topic = item.due.key, item.due.body["of"], "due"
            if item.due.body.get("raise"):
                raise ValueError(cause)
        else:
            assert item.record is not None
            key, cause, topic = (item.record.key or b"").decode(), item.id, item.record.topic
        totals[key] += 1
        self.order.append(f"{topic}:{cause}")
        words = {
            "id": derived_id(ID_KEY, "out", topic, cause),
            "of": cause,
            "n": totals[key],
            "word": random_id(),
        }
        if item.value is not None and item.value.get("large"):
            words["padding"] = "x" * int(item.value["large"])
        effects.emit(item.partition, self.target, key.encode(), orjson.dumps(words))
        if item.value is not None and "wake_at" in item.value:
            body = {"of": cause, **({"raise": True} if item.value.get("wake_raises") else {})}
            effects.wake(item.partition, Wake(item.value["wake_at"], key, "later", body))

    def poisoned(self, cursor: Cursor, poison: Poison, effects: Effects) -> None:
        cursor.execute(
            "insert into work.poisoned (reason, subject) values (%s, %s)", (poison.reason, poison.subject)
        )

    def caught_up(self, cursor: Cursor, partitions: Sequence[int]) -> None:
        self.reached += partitions
        cursor.execute(
            "insert into work.reached (partition) select unnest(%s::integer[])",
            ("{" + ",".join(map(str, partitions)) + "}",),
        )


@dataclass
class World:
    """One test's topics and database."""

    bootstrap: str
    dsn: str
    name: str = field(default_factory=lambda: random_id()[:8])
    partitions: int = PARTITIONS
    replication: int = 1
    """3 on a cluster: there a topic must have two replicas in sync."""

    def __post_init__(self) -> None:
        self.source, self.target, self.urgent = (
            f"{self.name}.{what}" for what in ("source", "target", "urgent")
        )
        apply_migrations(self.dsn, SQL)
        catalogue = [Topic(name, -1) for name in (self.source, self.target, self.urgent)]
        large = {"max.message.bytes": "8388608"}
        admin.apply_topics(
            self.bootstrap,
            [*catalogue, Topic(DEADLETTERS, -1, config=large)],
            self.partitions,
            self.replication,
            embedded=self.replication == 1,
        )

    def produce(
        self, numbers: Sequence[int], *, topic: str | None = None, keys: int = 20, **more: Any
    ) -> None:
        """One input a number, keyed by `number % keys`."""
        producer = OrderedProducer(self.bootstrap, client_id="step-world")
        target = topic or self.source
        producer.produce_all(
            [Output(target, f"k{n % keys}".encode(), value(n, **more)) for n in numbers], READ_S
        )
        producer.close()

    def records(self, topic: str) -> list[Record]:
        """All a topic holds, by partition and offset."""
        return sorted(
            read_to_end(self.bootstrap, topic, timeout_s=READ_S), key=lambda r: (r.partition, r.offset)
        )

    def outputs(self) -> list[dict[str, Any]]:
        """What was forwarded, each id once; outputs sent again must equal the first in every byte."""
        first: dict[str, bytes] = {}
        for record in self.records(self.target):
            content = orjson.loads(record.value or b"")
            assert first.setdefault(content["id"], record.value or b"") == record.value, (
                "sent again, but decided anew"
            )
        return [orjson.loads(raw) for raw in first.values()]

    def awaited_outputs(self, count: int) -> list[dict[str, Any]]:
        """`outputs`, once at least `count` are there: a step's rows are committed before its outputs are produced."""
        await_until(lambda: len(self.outputs()) >= count, OUTPUTS_S, f"{count} outputs")
        return self.outputs()

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters of this world's topics."""
        letters = [orjson.loads(record.value or b"") for record in self.records(DEADLETTERS)]
        return [
            letter
            for letter in letters
            if self.name in letter["origin"]["topic"] or self.name in letter["role"]
        ]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query).fetchall()

    def counts(self) -> dict[str, int]:
        """Key → count."""
        return dict(self.rows("select key, n from work.counts order by key"))

    def engine(self, handler: Any = None, extra: dict[str, Any] | None = None, **more: Any) -> Engine:
        """An engine with a producer of its own, with `extra` settings."""
        producer = OrderedProducer(self.bootstrap, client_id="step-world-engine", extra=extra)
        identity = admin.ClusterIdentity(self.bootstrap)
        return Engine(
            handler or Counting(self.source, self.target), self.dsn, producer, cluster=identity, **more
        )


def expected_counts(numbers: Sequence[int], keys: int = 20) -> dict[str, int]:
    """The fold of the log, each number once."""
    result: dict[str, int] = {}
    for number in sorted(set(numbers)):
        result[f"k{number % keys}"] = result.get(f"k{number % keys}", 0) + 1
    return result


def await_until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Wait for a condition, looking often; fails with `what` after the limit."""
    deadline = boot_s() + limit_s
    pause = threading.Event()
    while not condition():
        assert boot_s() < deadline, f"not within {limit_s} s: {what}"
        pause.wait(0.05)
