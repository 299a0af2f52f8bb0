"""Values that came before what they are about: kept as the sealed raw record, tried again, then counted and dropped. A status
whose message is not known yet, a change of address of nobody who is known yet, a watermark while a message is being sent.

A wake holds nothing but the raw record as the receiver sealed it: no provider id, no number. It is opened anew at each try.
Whose it is, is mostly not known while what it is about is not: an erasure cannot find such a row, which is gone after the
last try.
"""

from base64 import b64decode, b64encode
from typing import Any

from schemas.clock import MS_PER_S
from schemas.constants import Times
from streams.step.contract import Due, Record, Wake
from workers.inbound.fragments import Received

PARKED = "status"
SETTLE = "settle"
EARLY_TRIES_S = (1.0, 5.0, 30.0, 120.0)
"""When a parked value is tried, counted from its raw record; the last try is at `Times.status_parked_s`."""
SETTLE_AFTER_S = 1.0
"""Outbound itself records the outcome of a call that is answered, and knows more about it; only what has no outcome this long
after a status is settled by the status. Below `Times.echo_s`, at whose end the message would be sent again or given up."""


def tries_s(times: Times) -> tuple[float, ...]:
    """Seconds after the raw record at which a parked value is tried."""
    return (*(s for s in EARLY_TRIES_S if s < times.status_parked_s), times.status_parked_s)


def next_wake(received: Received, tries: int, times: Times, subject: str | None = None) -> Wake | None:
    """The wake for the next try after `tries` of them were made, None when that was the last. With a subject, T1 deletes it."""
    schedule = tries_s(times)
    if tries >= len(schedule):
        return None
    at_ms = received.at_ms + round(schedule[tries] * MS_PER_S)
    key = received.id if subject is None else f"{subject}/{received.id}"
    return _wake(received, PARKED, at_ms, tries + 1, key)


def settle_wake(received: Received, subject: str) -> Wake:
    """Look again whether the message that a status showed as taken has an outcome. Its key begins with the subject whose
    message it is: T1 deletes the wake by it."""
    at_ms = received.at_ms + round(SETTLE_AFTER_S * MS_PER_S)
    return _wake(received, SETTLE, at_ms, 1, f"{subject}/{received.id}")


def record_of(due: Due) -> Record:
    """The raw record a wake holds; KeyError, TypeError or ValueError when the row was changed by hand."""
    body = due.body
    value = b64decode(body["value"], validate=True)
    return Record(str(body["topic"]), due.partition, int(body["offset"]), None, value, int(body["time_ms"]))


def tries_of(due: Due) -> int:
    """How many tries were made before this one, itself counted."""
    return int(due.body["tries"])


def _wake(received: Received, kind: str, at_ms: int, tries: int, key: str) -> Wake:
    record = received.record
    body: dict[str, Any] = {
        "topic": record.topic,
        "offset": record.offset,
        "time_ms": record.time_ms,
        "value": b64encode(record.value or b"").decode(),
        "tries": tries,
    }
    return Wake(at_ms, key, kind, body)
