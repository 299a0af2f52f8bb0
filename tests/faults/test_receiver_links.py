"""The receiver with a bad line to its broker: what it answers is a promise (law L4), whatever became of the bytes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas import topics
from schemas.clock import boot_s
from schemas.ids import random_id
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.faults.proxy import Proxy, Way
from tests.receiving_world import (
    ReceivingWorld,
    Running,
    Site,
    await_until,
    change,
    new_number,
    text,
    webhook,
)
from workers.receiver.limits import ReceiverLimits

RAW = topics.inbound("whatsapp")
ANSWERED_S = 30.0
"""Longest wait for a 503: a broker's answer is awaited 10 s, the rest is a busy machine."""
BACK_S = 120.0
"""Longest until it takes webhooks again: a broker's answer is awaited 10 s, a connection tried at growing gaps up to 10 s."""


@pytest.fixture
def world(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[ReceivingWorld]:
    made = ReceivingWorld(kafka_server.bootstrap, postgres_server.fresh_database("lines"), tmp_path)
    yield made
    made.close()


@pytest.fixture
def broker(kafka_server: KafkaServer) -> Iterator[Proxy]:
    with kafka_server.proxy() as proxy:
        yield proxy


class Sender:
    """Somebody's messages, each sent as a provider does: again, until it is taken."""

    def __init__(self, site: Site, running: Running) -> None:
        self.taken: list[str] = []
        self._site = site
        self._running = running
        self._number = new_number()

    def send(self, wamid: str) -> int:
        """One webhook; its HTTP status."""
        status = self._running.post(
            self._site, webhook(change(self._site, text(self._number, "hallo", wamid=wamid)))
        )
        if status == 200:
            self.taken.append(wamid)
        else:
            assert status == 503
        return status


FAULTS = {
    "deaf": lambda proxy: proxy.deaf(),
    "deaf to acks": lambda proxy: proxy.deaf(Way.TO_CLIENT),
    "cut": lambda proxy: proxy.cut(),
}


@pytest.mark.parametrize("how", FAULTS)
def test_503_while_the_broker_is_away_and_200_by_itself_afterwards(
    world: ReceivingWorld, broker: Proxy, how: str
) -> None:
    """In time for a provider that waits, also for requests that wait together; what was taken is received once."""
    site = world.site()
    with world.receiver(bootstrap=broker.address, limits=ReceiverLimits()) as running:
        sender = Sender(site, running)
        assert sender.send(f"wamid.{random_id()}") == 200
        FAULTS[how](broker)
        wamids = [f"wamid.{random_id()}" for _ in range(2)]
        began = boot_s()
        with ThreadPoolExecutor() as pool:
            assert list(pool.map(sender.send, wamids)) == [503, 503]
        assert boot_s() - began < ANSWERED_S, "a provider does not wait for ever"
        broker.heal()
        await_until("it takes webhooks again", lambda: sender.send(wamids[0]) == 200, BACK_S)
        assert sender.send(wamids[1]) == 200
    assert len(world.records(RAW, site.tenant)) >= len(sender.taken)
    with world.inbound():
        world.await_inbound()
    received = [
        e for e in world.events(topics.MESSAGES, site.tenant) if e.type == "sealpost.message.received.v1"
    ]
    assert len(received) == len(sender.taken) == 3
    assert len({event.id for event in received}) == 3
