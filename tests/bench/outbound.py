"""Sends a second of the whole worker (permit, call, settle, status) beside a bare loop with the same HTTP client."""

from base64 import b64encode
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from random import Random
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from deploy.http_client import call
from schemas import topics
from schemas.clock import month_of_ms, now_ms
from schemas.constants import PRODUCTION
from schemas.ids import random_id
from streams.kafka import admin
from tests.bench import certificate
from tests.bench.ground import Child, Ground, child, ground
from tests.bench.permits import populate
from tests.bench.report import Aim, Figures, Measured
from tests.outbound_commands import Person, output_of, text_command
from tests.receiving_world import ReceivingWorld, await_until
from tests.vault_world import CHANNEL, Tenant
from vault.connections import AccountLimits
from vault.keyring import VALUE_VARIABLE

PEOPLE = 20_000
SENDS = 8_000
SECONDS = 8
"""At 100 ms of latency only so many messages as go in this time."""
IN_FLIGHT = (50, 500, 1_000)
DELAYS_MS = (0, 100)
UNLIMITED = AccountLimits(rate_per_s=1e6, pair_interval_s=0)
"""No pacing: what is measured is the worker, not the provider's rate."""
COURIER_PER_S = 960
"""Sends a second of the best open channel broker (anchors.md E), not measured here."""


class World:
    """A vault full of people whose windows are open, and a provider."""

    def __init__(self, parts: Ground, provider: Child) -> None:
        self.parts = parts
        self.dsn = parts.database()
        self.world = ReceivingWorld(parts.bootstrap, self.dsn, parts.folder, PRODUCTION)
        self.site = self.world.site()
        found = provider.read()
        self.plain = f"http://127.0.0.1:{found['port']}"
        self.provider = f"https://127.0.0.1:{found['tls_port']}"
        month = month_of_ms(now_ms())
        tenant = Tenant(self.world.vaults, self.site.tenant, self.site.account)
        people = [
            Person(subject, key, month, self.site.tenant, self.site.account)
            for subject, key in populate(tenant, PEOPLE)
        ]
        Random(1).shuffle(people)
        self.people = cycle(people)
        with self.world.vault.transaction() as cursor:
            self.world.vault.limit_account(cursor, self.site.account, UNLIMITED)

    def point_at(self, delay_ms: int) -> str:
        """Let the account's provider answer after so long; its URL."""
        base = f"{self.provider}/{delay_ms}/v25.0"
        with self.world.vault.transaction() as cursor:
            self.world.vault.add_account(
                cursor, self.site.account, self.site.connection, self.site.number_id, "provider-token", base
            )
        return f"{base}/{self.site.number_id}/messages"

    def write(self, count: int) -> None:
        """Commands for so many different people."""
        commands = [text_command(one, "Your order is on its way.") for one in islice(self.people, count)]
        self.world.producer.produce_all([output_of(command) for command in commands])

    def group_at_end(self) -> str:
        """A group that has read everything there is."""
        group = f"bench-{random_id()}"
        consumer = Consumer({"bootstrap.servers": self.parts.bootstrap, "group.id": group})
        offsets = [
            TopicPartition(topic, number, end)
            for topic in (topics.outbound(CHANNEL), topics.outbound(CHANNEL, bulk=True))
            for number, end in admin.end_offsets(self.parts.bootstrap, topic).items()
        ]
        consumer.commit(offsets=offsets, asynchronous=False)
        consumer.close()
        return group

    def stats(self, method: str = "GET") -> dict[str, Any]:
        """What the provider has seen."""
        found: dict[str, Any] = call(method, f"{self.plain}/stats").body
        return found

    def statuses(self) -> int:
        """Statuses written so far."""
        return sum(admin.end_offsets(self.parts.bootstrap, topics.STATUSES).values())


def amount(in_flight: int, delay_ms: int) -> int:
    """How many messages of this kind."""
    return SENDS if not delay_ms else min(SENDS, in_flight * 1000 // delay_ms * SECONDS)


def with_the_worker(world: World, in_flight: int, delay_ms: int) -> Measured:
    """The role in a process of its own: from the commands in Kafka to the statuses in Kafka."""
    world.point_at(delay_ms)
    world.world.vaults.caught_up(range(4))
    world.parts.settle(world.dsn)
    count, before = amount(in_flight, delay_ms), world.statuses()
    config = {
        "kind": "worker",
        "bootstrap": world.parts.bootstrap,
        "dsn": world.dsn,
        "group": world.group_at_end(),
        "in_flight": in_flight,
    }
    environment = {VALUE_VARIABLE: b64encode(world.world.vaults.master._key).decode(), **trusting(world)}
    world.stats("DELETE")
    with child("tests.bench.outbound_process", config, environment) as worker:
        worker.read()
        cpu_s, database_s = worker.cpu_s(), world.parts.database_cpu_s()
        world.write(count)
        await_until("every status", lambda: world.statuses() - before >= count, 120.0)
        cpu_us = (worker.cpu_s() - cpu_s) / count * 1e6
        database_us = (world.parts.database_cpu_s() - database_s) / count * 1e6
    found = world.stats()
    assert found["count"] == count, found
    return Measured(found["rate"], cpu_us, database_us)


def with_the_client(world: World, in_flight: int, delay_ms: int) -> Measured:
    """The bare loop in a process of its own."""
    config = {
        "kind": "bare",
        "url": world.point_at(delay_ms),
        "count": amount(in_flight, delay_ms),
        "in_flight": in_flight,
    }
    world.stats("DELETE")
    with child("tests.bench.outbound_process", config, trusting(world)) as bare:
        cpu_us = bare.read()["cpu_us"]
    return Measured(world.stats()["rate"], cpu_us)


def trusting(world: World) -> dict[str, str]:
    """An environment in which the provider's certificate is trusted."""
    return {"SSL_CERT_FILE": str(world.parts.folder / "provider.pem")}


def run(rounds: int) -> None:
    """All numbers in flight at all latencies, in turn."""
    with ground() as parts:
        certified, key = certificate.make(parts.folder)
        with child("tests.bench.provider", {"certificate": str(certified), "key": str(key)}) as provider:
            world = World(parts, provider)
            for delay_ms in DELAYS_MS:
                for in_flight in IN_FLIGHT:
                    measure(world, in_flight, delay_ms, rounds)
            world.world.close()


def measure(world: World, in_flight: int, delay_ms: int, rounds: int) -> None:
    """The rounds of one setting."""
    aims: tuple[Aim, ...] = (Aim(0.85, "ratio"), Aim(6 * COURIER_PER_S))
    if delay_ms and in_flight == IN_FLIGHT[0]:
        # The client allows it, so concurrency over latency is what bounds it.
        aims = (Aim(0.85, "ratio"), Aim(0.95 * in_flight * 1000 / delay_ms))
    command = f"outbound over TLS, {in_flight} in flight, {delay_ms} ms"
    figures = Figures(command, "sends/s", "bare client", {"outbound": aims})
    variants: dict[str, Callable[[], Measured]] = {
        "bare client": partial(with_the_client, world, in_flight, delay_ms),
        "outbound": partial(with_the_worker, world, in_flight, delay_ms),
    }
    figures.rounds(rounds, variants)
    figures.finish()
