"""From the parts of an authentic webhook to records for Kafka: sealed, keyed, in order. Pure but for the fresh salts."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

import orjson

from schemas import clock, ids, topics
from schemas.constants import EVENT_MAX_BYTES, Times
from schemas.envelope import SOURCE_PREFIX
from schemas.events.inbound import FragmentReceived
from streams.step.contract import Output
from streams.step.deadletter import replay_until
from vault.connections import Connection
from vault.ingress import INGRESS_ALGORITHM, DaySealer
from workers.channel import Fragment

ROLE = "receiver"
TOO_LARGE = "FragmentTooLarge"
_SPREAD_DIGITS = ids.ROUTING_KEY_BYTES * 2


@dataclass(frozen=True, slots=True)
class DayKey:
    """What is sealed with now: `day` is the UTC day of the receiver's clock, `sealer` seals to its public key."""

    day: date
    sealer: DaySealer = field(repr=False)


def routing_key(connection: Connection, fragment: Fragment) -> bytes:
    """Record key: the first 16 bits of a keyed hash of the most stable sender id, as 4 hexadecimal digits."""
    about = fragment.sender_ref or fragment.account_ref
    return ids.keyed_hash(connection.routing_key, about).hex()[:_SPREAD_DIGITS].encode()


def seal_fragments(
    connection: Connection, fragments: Sequence[Fragment], key: DayKey, *, now_ms: int, times: Times
) -> Iterator[Output]:
    """One record a fragment, in order; a fragment that is too large for an event becomes a dead letter.

    Every `account_ref` must be known to the connection or empty. `now_ms` lies in the key's day.
    """
    topic = topics.inbound(connection.channel)
    for fragment in fragments:
        account = connection.accounts[fragment.account_ref] if fragment.account_ref else ""
        value = _record(connection, account, key, now_ms, orjson.dumps({"fragment": fragment.raw}))
        spread = routing_key(connection, fragment)
        if len(value) > EVENT_MAX_BYTES:
            yield _dead_letter(topic, spread, value, TOO_LARGE, now_ms, times)
        else:
            yield Output(topic, spread, value)


def dead_letter_body(
    connection: Connection, body: bytes, key: DayKey, *, reason: str, now_ms: int, times: Times
) -> Output:
    """An authentic body that cannot be split, kept whole: `{"body": base64}` sealed to the day key of the connection's tenant."""
    value = _record(connection, "", key, now_ms, orjson.dumps({"body": b64encode(body).decode()}))
    spread = routing_key(connection, Fragment("", "", {}))
    return _dead_letter(topics.inbound(connection.channel), spread, value, reason, now_ms, times)


def _record(connection: Connection, account: str, key: DayKey, now_ms: int, plaintext: bytes) -> bytes:
    """A FragmentReceived event as bytes; written without its model, which a test holds it against: this is the hot path."""
    day = key.day.isoformat()
    sealed = key.sealer.seal((connection.tenant, connection.connection, account, day), plaintext)
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": ids.random_id(),
            "source": SOURCE_PREFIX + ROLE,
            "type": FragmentReceived.TYPE,
            "subject": connection.connection,
            "time": clock.to_text(now_ms),
            "datacontenttype": "application/json",
            "tenant": connection.tenant,
            "channel": connection.channel,
            "data": {
                "connection": connection.connection,
                "account": account,
                "day": day,
                "alg": INGRESS_ALGORITHM,
                "ct": b64encode(sealed).decode(),
            },
        }
    )


def _dead_letter(topic: str, spread: bytes, value: bytes, reason: str, now_ms: int, times: Times) -> Output:
    # It never stood in its topic, so it has neither partition nor offset there.
    letter = {
        "origin": {"topic": topic, "partition": None, "offset": None},
        "role": ROLE,
        "reason": reason,
        "replay_until": replay_until(now_ms, times),
        "value": b64encode(value).decode(),
    }
    return Output(topics.DEADLETTERS, spread, orjson.dumps(letter))
