"""What the receiver writes: valid events, sealed, keyed by two bytes, nothing in clear."""

from base64 import b64decode, b64encode
from datetime import UTC, date, datetime

import orjson

from schemas import ids
from schemas.clock import at_ms
from schemas.constants import EVENT_MAX_BYTES, PRODUCTION, WEBHOOK_MAX_BYTES
from schemas.envelope import Event
from schemas.events import registry
from schemas.events.inbound import FragmentReceived
from streams.kafka.producer import PRODUCER_MAX_BYTES
from vault.connections import Connection
from vault.ingress import DayKeyPair, DayOpener, DaySealer
from workers.channel import Fragment
from workers.receiver import records
from workers.receiver.records import DayKey

NOW_MS = at_ms(datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC))
PAIR = DayKeyPair.make()
KEY = DayKey(date(2026, 11, 23), DaySealer(PAIR.public))
CONNECTION = Connection("conn-1", "acme", "whatsapp", "secret", "verify", b"r" * 32, {"pn-1": "account-1"})
MARKER = "4915112345678"


def test_a_record_is_a_valid_event_that_opens_with_the_day_key() -> None:
    """The hand-written JSON is what the model would write."""
    raw = {"value": {"messages": [{"from": MARKER, "text": {"body": "Grüße"}}]}}
    fragments = [Fragment("pn-1", MARKER, raw), Fragment("", "", {"field": "account_update"})]
    first, second = records.seal_fragments(CONNECTION, fragments, KEY, now_ms=NOW_MS, times=PRODUCTION)
    assert first.topic == "sealpost.inbound.whatsapp"
    event = Event.from_bytes(first.value)
    data = registry.read(event)
    assert isinstance(data, FragmentReceived)
    assert (event.tenant, event.subject, event.channel) == ("acme", "conn-1", "whatsapp")
    assert (data.connection, data.account, data.day) == ("conn-1", "account-1", "2026-11-23")
    assert orjson.loads(event.to_bytes()) == orjson.loads(first.value)
    opened = DayOpener(PAIR.private).open(("acme", "conn-1", "account-1", "2026-11-23"), b64decode(data.ct))
    assert orjson.loads(opened) == {"fragment": raw}
    assert MARKER.encode() not in first.value + first.key
    other = registry.read(Event.from_bytes(second.value))
    assert isinstance(other, FragmentReceived)
    assert other.account == ""


def test_the_key_is_two_bytes_of_a_keyed_hash() -> None:
    """The same person has the same key; another connection's key hides who shares one."""
    key = records.routing_key(CONNECTION, Fragment("pn-1", MARKER, {}))
    assert key == records.routing_key(CONNECTION, Fragment("pn-2", MARKER, {"other": 1}))
    assert key == ids.keyed_hash(b"r" * 32, MARKER)[: ids.ROUTING_KEY_BYTES].hex().encode()
    assert len(key) == 4
    keys = {records.routing_key(CONNECTION, Fragment("pn-1", str(n), {})) for n in range(1_000)}
    assert len(keys) > 950


def test_what_is_too_large_for_an_event_becomes_a_dead_letter() -> None:
    """It is kept whole, and fits into a record."""
    fragment = Fragment("pn-1", MARKER, {"value": "x" * EVENT_MAX_BYTES})
    (letter,) = records.seal_fragments(CONNECTION, [fragment], KEY, now_ms=NOW_MS, times=PRODUCTION)
    assert letter.topic == "sealpost.deadletters"
    content = orjson.loads(letter.value)
    assert content["reason"] == records.TOO_LARGE
    assert content["origin"] == {"topic": "sealpost.inbound.whatsapp", "partition": None, "offset": None}
    assert content["replay_until"] == "2026-12-03T00:00:00.000Z"
    assert Event.from_bytes(b64decode(content["value"])).tenant == "acme"


def test_the_largest_body_fits_into_a_dead_letter() -> None:
    """An authentic body that cannot be split is kept whole, sealed to the day key of its connection's tenant."""
    body = (MARKER * (WEBHOOK_MAX_BYTES // len(MARKER) + 1)).encode()[:WEBHOOK_MAX_BYTES]
    letter = records.dead_letter_body(
        CONNECTION, body, KEY, reason="UnparseableBody", now_ms=NOW_MS, times=PRODUCTION
    )
    assert len(letter.value) < PRODUCER_MAX_BYTES
    content = orjson.loads(letter.value)
    event = Event.from_bytes(b64decode(content["value"]))
    data = registry.read(event)
    assert isinstance(data, FragmentReceived)
    assert MARKER.encode() not in letter.value
    assert b64encode(MARKER.encode()[:9]) not in letter.value
    opened = DayOpener(PAIR.private).open(("acme", "conn-1", "", "2026-11-23"), b64decode(data.ct))
    assert b64decode(orjson.loads(opened)["body"]) == body
