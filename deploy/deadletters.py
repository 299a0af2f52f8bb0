"""Read the dead letters: where each came from and why, never what it holds."""

from collections.abc import Iterator

import orjson

from deploy.settings import Settings
from schemas import topics
from schemas.clock import to_text
from streams.kafka.consumer import read_to_end

READ_LIMIT_S = 30.0


def lines(settings: Settings) -> Iterator[str]:
    """One JSON object a dead letter, oldest first of each partition."""
    settings.need("kafka")
    for record in read_to_end(settings.kafka, topics.DEADLETTERS, timeout_s=READ_LIMIT_S):
        letter = orjson.loads(record.value or b"{}")
        yield orjson.dumps(
            {
                "at": to_text(record.time_ms),
                "role": letter.get("role"),
                "reason": letter.get("reason"),
                "origin": letter.get("origin"),
                "replay_until": letter.get("replay_until"),
                "bytes": len(letter.get("value", "")) * 3 // 4,
                "offset": record.offset,
                "partition": record.partition,
            }
        ).decode()
