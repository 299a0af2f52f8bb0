"""The waiting of statuses whose message is not known yet."""

import orjson

from schemas.constants import PRODUCTION, Times
from streams.step.contract import Due, Record
from workers.inbound import parking
from workers.inbound.fragments import Received
from workers.inbound_values import InboundStatus

AT_MS = 1_795_478_400_000
PROVIDER_ID = "wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEg"
RECORD = Record("sealpost.inbound.whatsapp", 3, 17, b"ab12", b'{"sealed": "bytes"}', AT_MS)
RECEIVED = Received(
    "e" * 32,
    "acme",
    "whatsapp",
    "a",
    AT_MS,
    b"k" * 32,
    InboundStatus("pn", PROVIDER_ID, "sent", AT_MS),
    RECORD,
)


def test_the_tries() -> None:
    """1, 5, 30 s, 2 and 15 min after the raw record, then no more."""
    seconds: list[float] = []
    tries = 0
    while (wake := parking.next_wake(RECEIVED, tries, PRODUCTION)) is not None:
        seconds.append((wake.at_ms - AT_MS) / 1000)
        tries += 1
        assert wake.body["tries"] == tries
    assert seconds == [1, 5, 30, 120, 900]
    assert parking.tries_s(Times(status_parked_s=3)) == (1, 3)


def test_a_wake_holds_the_sealed_record_and_nothing_else_about_the_person() -> None:
    """The record comes back byte for byte; neither the provider's id nor its base64 stands in the row."""
    for wake in (parking.next_wake(RECEIVED, 0, PRODUCTION), parking.settle_wake(RECEIVED, "a" * 32)):
        assert wake is not None
        assert PROVIDER_ID not in orjson.dumps(wake.body).decode()
        due = Due(3, wake.at_ms, 1, wake.key, wake.kind, orjson.loads(orjson.dumps(wake.body)))
        found = parking.record_of(due)
        assert (found.topic, found.partition, found.offset) == (RECORD.topic, 3, 17)
        assert (found.value, found.time_ms) == (RECORD.value, AT_MS)
        assert parking.tries_of(due) == 1
