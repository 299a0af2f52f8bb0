"""Brings the ledger its truth: reads the whole log, the provider's record and the stores of a running installation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

from deploy.http_client import call
from schemas import topics
from schemas.clock import to_ms
from schemas.constants import Times
from schemas.events.statuses import Status, rank
from streams.kafka.consumer import read_to_end
from streams.processors.subscriber.processor import NAME as SUBSCRIBER
from streams.step.contract import Record
from tests.faults.installation import Installation
from tests.faults.ledger import CONSENT_PURPOSE, STATUS_TYPES, Allowed, Attempt, Delivery, Logged, Truth
from tests.faults.traffic import Said

READ_S = 300.0
CHANNEL = "whatsapp"
EVENT_TOPICS = (
    topics.SUBSCRIPTIONS,
    topics.CONSENTS,
    topics.MESSAGES,
    topics.STATUSES,
    topics.DELETIONS,
    topics.outbound(CHANNEL),
    topics.outbound(CHANNEL, bulk=True),
)
STATUS_OF_RANK: Mapping[int, Status] = {
    rank(status): status for status in (*STATUS_TYPES.values(), "requested")
}
ATTEMPTS = """
select c.message, c.part, c.attempt, c.at_ms, c.refusal, o.class, o.at_ms
from vault.claims c left join lateral (
    select class, at_ms from vault.outcomes o
    where o.day = c.day and o.message = c.message and o.part = c.part and o.attempt = c.attempt
    order by o.definite desc limit 1
) o on true order by c.message, c.part, c.attempt
"""
IN_VAULT = """
select subject, coalesce(given_ms, 0), coalesce(withdrawn_ms, 0) from vault.permissions where purpose = %s
"""
IN_PROJECTION = """
select subject, coalesce(round(extract(epoch from given_at) * 1000), 0),
    coalesce(round(extract(epoch from withdrawn_at) * 1000), 0)
from projections.permission where purpose = %s
"""
IN_PROCESSOR = """
select subject, coalesce(state->'consents'->%(key)s->>'given_at', '0'), coalesce(state->'consents'->%(key)s->>'withdrawn_at', '0')
from streams.state where processor = %(processor)s and state->'consents' ? %(key)s
"""
VAULT_TABLES = ("addresses", "permissions", "reach", "profiles", "list_members")
PROJECTION_TABLES = ("subject", "address", "consent", "permission", "subscription", "message")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one installation; `said` is what the traffic did, `silent` of whom the provider reports nothing."""

    installation: Installation
    said: Said
    silent: Sequence[str]

    def truth(self) -> Truth:
        """Everything, as it stands now."""
        times = Times.from_environment(self.installation.times)
        log = list(self._log())
        erased = sorted({record.subject for record in log if record.type == "sealpost.key.destroyed.v1"})
        call_s = times.lease_outbound_s + times.http_s + times.claim_margin_s
        return Truth(
            log=log,
            deliveries=self._deliveries(),
            accepted=dict(self.said.accepted),
            written=self.said.written_events(),
            erasures=frozenset(self.said.erasures),
            attempts=self._attempts(),
            permissions=self._permissions(),
            statuses=self._statuses(),
            left_behind=self._left_behind(erased),
            faults=sorted(self.installation.faults, key=lambda fault: fault.at_ms),
            call_ms=round(call_s * 1000),
        )

    def _log(self) -> Iterator[Logged]:
        bootstrap = self.installation.kafka.bootstrap
        for topic in EVENT_TOPICS:
            for record in read_to_end(bootstrap, topic, timeout_s=READ_S):
                yield _logged(record)
        for record in read_to_end(bootstrap, topics.DEADLETTERS, timeout_s=READ_S):
            letter = orjson.loads(record.value or b"{}")
            clear = {name: letter.get(name) for name in ("role", "reason", "origin")}
            place = (record.topic, record.partition, record.offset, record.time_ms)
            yield Logged(*place, f"{record.partition}/{record.offset}", "", "", clear)

    def _deliveries(self) -> list[Delivery]:
        messages = call("GET", f"{self.installation.simulator_url}/control/messages", timeout_s=60).body[
            "messages"
        ]
        silent = set(self.silent)
        return [
            Delivery(str(m["biz_opaque_callback_data"]), to_ms(m["at"]), m["to"] not in silent)
            for m in messages
        ]

    def _attempts(self) -> list[Attempt]:
        return [
            Attempt(message.hex, part, attempt, at_ms, refusal, outcome, ended_ms or 0)
            for message, part, attempt, at_ms, refusal, outcome, ended_ms in self.installation.rows(
                "vault", ATTEMPTS
            )
        ]

    def _permissions(self) -> dict[str, dict[str, Allowed]]:
        key = {"key": f"{CHANNEL}/{CONSENT_PURPOSE}", "processor": SUBSCRIBER}
        found = {
            "vault": self.installation.rows("vault", IN_VAULT, (CONSENT_PURPOSE,)),
            "projection": self.installation.rows("projections", IN_PROJECTION, (CONSENT_PURPOSE,)),
            "processor": self.installation.rows("streams", IN_PROCESSOR, key),
        }
        return {
            store: {_hex(subject): Allowed(int(given), int(withdrawn)) for subject, given, withdrawn in rows}
            for store, rows in found.items()
        }

    def _statuses(self) -> dict[str, Status]:
        query = "select message, status_rank from projections.message where direction = 'out'"
        return {
            str(m): STATUS_OF_RANK[int(r)]
            for m, r in self.installation.rows("projections", query)
            if r is not None
        }

    def _left_behind(self, erased: Sequence[str]) -> dict[str, dict[str, int]]:
        if not erased:
            return {}
        listed = "{" + ",".join(erased) + "}"
        vault = " union all ".join(
            f"select subject from vault.{table} where subject = any(%(s)s::uuid[])" for table in VAULT_TABLES
        ) + (
            " union all select subject from vault.keys where subject = any(%(s)s::uuid[])"
            " and class in ('identity', 'content') and wrapped is not null"
        )
        projection = " union all ".join(
            f"select subject from projections.{table} where subject = any(%(s)s::text[])"
            for table in PROJECTION_TABLES
        )
        streams = "select subject from streams.state where processor = %(p)s and subject = any(%(s)s::text[])"
        found = {}
        for database, query in (("vault", vault), ("projections", projection), ("streams", streams)):
            rows = dict.fromkeys(erased, 0)
            for (subject,) in self.installation.rows(database, query, {"s": listed, "p": SUBSCRIBER}):
                rows[_hex(subject)] += 1
            found[database] = rows
        return found


def _hex(subject: Any) -> str:
    return str(subject).replace("-", "")


def _logged(record: Record) -> Logged:
    event = orjson.loads(record.value or b"{}")
    clear = {name: value for name, value in event["data"].items() if name != "sealed"}
    place = (record.topic, record.partition, record.offset, record.time_ms)
    digest = sha256(record.value or b"").hexdigest()
    return Logged(*place, event["id"], event["type"], event["subject"], clear, digest)
