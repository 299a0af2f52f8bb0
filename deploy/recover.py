"""Positions of the roles beside the log, and setting them after a restore, once the operator has chosen (protocols §1, §7)."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import psycopg

from deploy.settings import Settings
from schemas.clock import now_ms, to_text
from schemas.errors import ConfigurationError
from schemas.events.deletions import ErasureRequested
from schemas.events.registry import build
from schemas.ids import derived_id, event_id
from schemas.topics import DELETIONS
from streams.kafka import group_offsets
from streams.kafka.admin import ClusterIdentity
from streams.kafka.producer import OrderedProducer
from streams.step.contract import Output
from streams.step.incarnation import read_incarnation, record_incarnation
from streams.step.postgres import connect
from vault.restoring import LostSubject
from vault.vault import Vault

CHOICES = ("start", "end", "kafka", "accept")
GROUP_PREFIX = "sealpost."
CLI = "cli"


def databases(settings: Settings) -> dict[str, str]:
    """Database name → DSN."""
    settings.need("kafka", "vault_dsn", "streams_dsn", "projections_dsn")
    return {
        "vault": settings.vault_dsn,
        "streams": settings.streams_dsn,
        "projections": settings.projections_dsn,
    }


def show(settings: Settings) -> Iterator[str]:
    """One JSON line a position: where it stands, where the log begins and ends, and whether it belongs to this log."""
    cluster = ClusterIdentity(settings.kafka)
    for name, dsn in databases(settings).items():
        for row in _positions(dsn, None):
            role, topic, partition, offset, cluster_id, topic_id = row
            known = topic in cluster.topics
            ranges = cluster.log_ranges([(topic, partition)]) if known else {}
            log = ranges.get((topic, partition))
            fits = known and cluster_id == cluster.cluster_id and topic_id == cluster.topic_id(topic)
            yield orjson.dumps(
                {
                    "database": name,
                    "role": role,
                    "topic": topic,
                    "partition": partition,
                    "position": offset,
                    "log_start": log.low if log else None,
                    "log_end": log.high if log else None,
                    "valid": bool(fits and log and log.low <= offset <= log.high),
                }
            ).decode()


def recover_role(settings: Settings, role: str, to: str | None) -> Iterator[str]:
    """Set a role's positions. A process of the role that runs is fenced and goes on from there when it is started anew; what it
    handles again is known by its id for nine days, only dead letters are written again. ConfigurationError when there is no
    such role or the choice is none of CHOICES.

    `start`/`end`: of the log as it is. `kafka`: the offsets the role's group had in Kafka (inbound after a restore of the
    vault). `accept`: keep the stored positions, but for this cluster and this database.
    """
    positions = {name: list(_positions(dsn, role)) for name, dsn in databases(settings).items()}
    if not any(positions.values()):
        raise ConfigurationError(f"no role {role[:40]!r} has positions; see them all with: sealpost recover")
    if to not in CHOICES:
        raise ConfigurationError(f"choose with --to one of: {', '.join(CHOICES)}")
    cluster = ClusterIdentity(settings.kafka)
    for name, rows in positions.items():
        if not rows:
            continue
        parts = [(topic, partition) for _, topic, partition, *_ in rows if topic in cluster.topics]
        ranges = cluster.log_ranges(parts)
        group = group_offsets.read(settings.kafka, GROUP_PREFIX + role, parts) if to == "kafka" else {}
        with connect(databases(settings)[name], application_name="sealpost-recover") as connection:
            for _, topic, partition, offset, *_ in rows:
                log = ranges.get((topic, partition))
                if log is None:
                    yield f"{name} {role} {topic}/{partition}: the topic does not exist; left alone"
                    continue
                chosen = {"start": log.low, "end": log.high, "accept": offset}.get(to)
                if chosen is None:
                    chosen = group.get((topic, partition), log.low)
                connection.execute(
                    "update step.position set next_offset = %s, cluster_id = %s, topic_id = %s"
                    " where role = %s and topic = %s and partition = %s",
                    (chosen, cluster.cluster_id, cluster.topic_id(topic), role, topic, partition),
                )
                connection.execute(
                    "update step.owner set epoch = epoch + 1 where role = %s and partition = %s",
                    (role, partition),
                )
                yield f"{name} {role} {topic}/{partition}: {offset} → {chosen}"
            with connection.cursor() as cursor:
                record_incarnation(cursor, role, read_incarnation(cursor))


def _positions(dsn: str, role: str | None) -> list[tuple[Any, ...]]:
    query = "select role, topic, partition, next_offset, cluster_id, topic_id from step.position"
    try:
        with connect(dsn, application_name="sealpost-recover") as connection:
            if role is None:
                return connection.execute(query + " order by role, topic, partition").fetchall()
            return connection.execute(
                query + " where role = %s order by topic, partition", (role,)
            ).fetchall()
    except psycopg.errors.UndefinedTable:
        raise ConfigurationError("the database has no step tables; run: sealpost migrate") from None


def lost(settings: Settings, *, close: bool) -> Iterator[str]:
    """One JSON line a subject whose keys were lost in a restore of the vault. With `close` an erasure is requested for each, so
    that every store purges what nobody can read any more: only once no better backup will come."""
    settings.need("vault_dsn", *(("kafka",) if close else ()))
    vault = Vault(settings.vault_dsn, settings.master_key(), settings.times())
    try:
        vault.check_master_key()
        found = vault.lost_subjects()
        if close and found:
            _request_erasures(settings, vault, found)
    finally:
        vault.close()
    for one in found:
        line = {
            "tenant": one.tenant,
            "subject": one.subject,
            "noticed": to_text(one.noticed_ms),
            "closed": close,
        }
        yield orjson.dumps(line).decode()


def _request_erasures(settings: Settings, vault: Vault, found: Sequence[LostSubject]) -> None:
    outputs = []
    for one in found:
        ids, now = vault.tenant_ids(one.tenant), now_ms()
        erasure = derived_id(ids, "erasure", one.subject, "restore")
        request = build(
            ErasureRequested(erasure=erasure, requested_by="restore", t0=to_text(now)),
            id=event_id(ids, erasure, CLI, "erasure_requested"),
            role=CLI,
            tenant=one.tenant,
            subject=one.subject,
            at_ms=now,
        )
        outputs.append(Output(DELETIONS, request.key(), request.to_bytes()))
    producer = OrderedProducer(settings.kafka, client_id="sealpost-cli")
    try:
        producer.produce_all(outputs)
    finally:
        producer.close()
