"""Dead letters: the original bytes, where they came from and why, never an error text (DESIGN §5)."""

import base64
import math
from typing import Any

import orjson

from schemas.clock import MS_PER_S, to_text
from schemas.constants import DAY_S, DEADLETTER_MAX_BYTES, PRODUCTION, Times
from schemas.topics import DEADLETTERS
from streams.step.contract import Due, Output, Record

DUE_TOPIC = "step.due"
"""Origin topic of a wake that could not be handled; its offset is the row's `seq`."""
OUTPUT_TOO_LARGE = "OutputTooLarge"
ENVELOPE_BYTES = 4096
"""Room for everything in a dead letter but its value, and for the record's key."""


def dead_letter(record: Record, role: str, reason: str, times: Times = PRODUCTION) -> Output:
    """The dead letter of a record, keyed as the original.

    Value: JSON `{origin: {topic, partition, offset}, role, reason, replay_until, value}`; `value` is base64 of the original
    bytes, or null where there were none or too many.
    """
    origin = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    return _letter(origin, role, reason, record.key or b"", record.value, replay_until(record.time_ms, times))


def dead_output(output: Output, partition: int, role: str, now_ms: int, times: Times = PRODUCTION) -> Output:
    """The dead letter of an output that is too large to be produced; its origin is the topic it was meant for, no offset."""
    origin = {"topic": output.topic, "partition": partition, "offset": None}
    return _letter(origin, role, OUTPUT_TOO_LARGE, output.key, output.value, replay_until(now_ms, times))


def due_record(role: str, due: Due) -> Record:
    """A wake as a record, for dead letters and for handlers' `poisoned`: the value is JSON of `{role, kind, at_ms, body}`."""
    value = orjson.dumps({"role": role, "kind": due.kind, "at_ms": due.at_ms, "body": due.body})
    return Record(DUE_TOPIC, due.partition, due.seq, due.key.encode(), value, due.at_ms)


def replay_until(time_ms: int, times: Times = PRODUCTION) -> str:
    """Until when a record of this broker time can be replayed: its day key dies then."""
    end_of_day_s = (math.floor(time_ms / MS_PER_S / DAY_S) + 1) * DAY_S
    return to_text(round((end_of_day_s + times.day_key_s) * MS_PER_S))


def _letter(
    origin: dict[str, Any], role: str, reason: str, key: bytes, value: bytes | None, until: str
) -> Output:
    encoded = None if value is None else base64.b64encode(value).decode()
    if encoded is not None and len(encoded) + len(key) + ENVELOPE_BYTES > DEADLETTER_MAX_BYTES:
        encoded = None
    letter = {"origin": origin, "role": role, "reason": reason, "replay_until": until, "value": encoded}
    return Output(DEADLETTERS, key, orjson.dumps(letter))
