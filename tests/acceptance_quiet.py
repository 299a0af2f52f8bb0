"""When has a running instance done all there was to do?"""

import time
from collections.abc import Callable

import psycopg
from confluent_kafka import Consumer, TopicPartition

from schemas.topics import CHANNELS, outbound
from streams.kafka import group_offsets
from tests.acceptance_instance import RunningInstance, until

OUTBOUND_GROUP = "sealpost.outbound"
OUTBOUND_TOPICS = tuple(outbound(channel, bulk=bulk) for channel in CHANNELS for bulk in (False, True))
STILL_S = 3.0
"""How long nothing may be written before an instance counts as quiet: longer than a step, and than the second after which a
status settles a call without outcome."""
REPEATED_S = 6.0
"""Longer than the longest gap between two tries of a simulated provider."""
Part = tuple[str, int]


def log_ends(bootstrap: str) -> dict[Part, int]:
    """Where each partition of every topic ends now."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    try:
        known = consumer.list_topics(timeout=60).topics
        return {
            (name, number): consumer.get_watermark_offsets(TopicPartition(name, number), timeout=60)[1]
            for name, topic in known.items()
            if not name.startswith("__")
            for number in topic.partitions
        }
    finally:
        consumer.close()


def behind(instance: RunningInstance, ends: dict[Part, int]) -> dict[str, int]:
    """Records that each role still has to handle, by the positions in its database (outbound: in its group); only who has any."""
    found: dict[str, int] = {}
    for database in ("vault_dsn", "streams_dsn", "projections_dsn"):
        with psycopg.connect(instance.ready[database]) as connection:
            rows = connection.execute(
                "select role, topic, partition, next_offset from step.position"
            ).fetchall()
        reached = {(role, (topic, number)): int(position) for role, topic, number, position in rows}
        for role, topic in {(role, topic) for role, topic, _, _ in rows}:
            for part in (part for part in ends if part[0] == topic):
                found[role] = found.get(role, 0) + ends[part] - reached.get((role, part), 0)
    parts = [part for part in ends if part[0] in OUTBOUND_TOPICS]
    committed = group_offsets.read(instance.ready["kafka"], OUTBOUND_GROUP, parts)
    found["outbound"] = sum(ends[part] - committed.get(part, 0) for part in parts)
    return {role: count for role, count in found.items() if count > 0}


def await_quiet(instance: RunningInstance, limit_s: float = 300.0) -> dict[Part, int]:
    """Wait until no role has anything left to handle and nothing is written any more; where the topics end."""
    try:
        return _await_stillness(instance, "every role is idle", STILL_S, behind, limit_s)
    except AssertionError as late:
        left = behind(instance, log_ends(instance.ready["kafka"]))
        raise AssertionError(f"{late}; records left: {left}") from late


def await_still(instance: RunningInstance) -> None:
    """Wait until nothing was written for longer than a provider waits before it repeats a webhook; a message that cannot go out
    may stay where it is."""
    _await_stillness(instance, "nothing is written any more", REPEATED_S, lambda *_: {}, 240.0)


def _await_stillness(
    instance: RunningInstance,
    what: str,
    still_s: float,
    left: Callable[[RunningInstance, dict[Part, int]], dict[str, int]],
    limit_s: float,
) -> dict[Part, int]:
    """Wait until for so long nothing was written and nothing was left; where the topics end."""
    bootstrap = instance.ready["kafka"]
    ends, since_s = log_ends(bootstrap), time.monotonic()

    def look() -> bool:
        nonlocal ends, since_s
        looked_s = time.monotonic()  # before the look, which itself takes seconds on a busy machine
        seen = log_ends(bootstrap)
        if seen != ends or left(instance, seen):
            ends, since_s = seen, time.monotonic()
        return looked_s - since_s >= still_s

    until(what, look, limit_s)
    return ends
