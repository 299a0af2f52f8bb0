"""Read the dead letters: where each came from and why, never what it holds; and count those that wait."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from deploy.settings import Settings
from schemas import topics
from schemas.clock import now_ms, to_text
from schemas.metrics import gauge
from streams.kafka.admin import ClusterIdentity
from streams.kafka.consumer import read_to_end
from streams.kafka.direct import StretchReader
from streams.step.contract import Record
from streams.step.store import TopicPart

READ_LIMIT_S = 30.0


def lines(settings: Settings) -> Iterator[str]:
    """One JSON object a dead letter, oldest first of each partition."""
    settings.need("kafka")
    for record in read_to_end(settings.kafka, topics.DEADLETTERS, timeout_s=READ_LIMIT_S):
        letter = fields(record)
        value = letter.get("value") or ""
        yield orjson.dumps(
            {
                "at": to_text(record.time_ms),
                "role": letter.get("role"),
                "reason": letter.get("reason"),
                "origin": letter.get("origin"),
                "replay_until": letter.get("replay_until"),
                "bytes": len(value) * 3 // 4 - value.count("="),
                "offset": record.offset,
                "partition": record.partition,
            }
        ).decode()


def fields(record: Record) -> dict[str, Any]:
    """What a dead letter says of itself; nothing of a record that is none."""
    try:
        found = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


class WaitingLetters:
    """Counts the dead letters that can still be replayed, and keeps `sealpost_deadletters_waiting`. For one thread."""

    def __init__(self, bootstrap: str) -> None:
        """Nothing is read before the first look."""
        self._bootstrap = bootstrap
        self._reader: StretchReader | None = None
        self._next: dict[TopicPart, int] = {}
        self._until: dict[TopicPart, Counter[str]] = {}
        self._gauge = gauge("sealpost_deadletters_waiting")

    def look(self) -> int:
        """Read what is new since the last look and set the gauge; how many wait. KafkaAway, ReadFailed."""
        identity = ClusterIdentity(self._bootstrap)
        parts = [(topics.DEADLETTERS, number) for number in range(identity.partitions(topics.DEADLETTERS))]
        for part, found in identity.log_ranges(parts).items():
            start = max(found.low, self._next.get(part, 0))
            if start > found.high:  # another log than before: it was made anew
                start, self._until[part] = found.low, Counter()
            self._read(part, start, found.high)
        now = to_text(now_ms())
        for counts in self._until.values():
            for until in [until for until in counts if until <= now]:
                del counts[until]
        waiting = sum(counts.total() for counts in self._until.values())
        self._gauge.set(waiting)
        return waiting

    def close(self) -> None:
        """End the consumer."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _read(self, part: TopicPart, start: int, end: int) -> None:
        if self._reader is None:
            self._reader = StretchReader(self._bootstrap, client_id="sealpost-deadletters")
        counts = self._until.setdefault(part, Counter())
        for batch in self._reader.read(*part, start, end):
            found = (fields(record).get("replay_until") for record in batch)
            counts.update(until for until in found if isinstance(until, str))
            self._next[part] = batch[-1].offset + 1
        self._next[part] = end
