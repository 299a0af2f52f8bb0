"""Webhook to durable ack, sealed, beside a bare ASGI app that only checks the signature and produces (DESIGN §14)."""

from base64 import b64encode
from functools import partial
from typing import Any

from schemas.constants import PRODUCTION
from schemas.topics import Topic
from streams.kafka import admin
from tests.bench.ground import Child, Ground, child, ground
from tests.bench.receiver_process import TOPIC
from tests.bench.report import Aim, Figures, Measured
from tests.receiving_world import PARTITIONS, SECRET, ReceivingWorld, Site
from tests.vault_world import CHANNEL
from vault.keyring import VALUE_VARIABLE

SECONDS = 5.0
CLOSED_CONNECTIONS = 64
OPEN_CONNECTIONS = 256
OPEN_RATE = 2_000
COURIER_PER_S = 590
"""Webhooks a second of the best open channel broker (anchors.md E), not measured here."""


def load(port: int, site: Site, *, rate: int | None) -> dict[str, Any]:
    """One run of the load process against one server."""
    config = {
        "port": port,
        "path": f"/webhooks/{CHANNEL}/{site.connection}",
        "secret": SECRET,
        "number_id": site.number_id,
        "connections": CLOSED_CONNECTIONS if rate is None else OPEN_CONNECTIONS,
        "seconds": SECONDS,
        "rate": rate,
    }
    with child("tests.bench.http_load", config) as loader:
        found: dict[str, Any] = loader.read()
    assert not found["errors"], found
    return found


def throughput(server: Child, port: int, site: Site) -> Measured:
    """Requests a second of a closed loop; processor time of the server."""
    before = server.cpu_s()
    found = load(port, site, rate=None)
    # The load's warm-up is in the processor time, so it is shared out over its requests too.
    requests = found["requests"] * (SECONDS + 1) / SECONDS
    return Measured(found["requests"] / SECONDS, (server.cpu_s() - before) / requests * 1e6)


def measure(rounds: int, servers: dict[str, tuple[Child, int]], site: Site) -> None:
    """The rounds: closed loop, then open loop."""
    rates = Figures(
        "receiver closed loop, 64 connections",
        "webhooks/s",
        "bare ASGI app",
        {"receiver": (Aim(0.5, "ratio"), Aim(5_000), Aim(10 * COURIER_PER_S))},
    )
    waits = Figures(
        f"receiver open loop, {OPEN_RATE}/s",
        "ms",
        "bare ASGI app p50",
        {"receiver p50": Aim(5, "at most"), "receiver p99": Aim(20, "at most")},
    )
    rates.rounds(
        rounds, {name: partial(throughput, server, port, site) for name, (server, port) in servers.items()}
    )
    for _ in range(rounds):
        for name, (_, port) in servers.items():
            found = load(port, site, rate=OPEN_RATE)
            for point in ("p50", "p99"):
                waits.add(f"{name} {point}", Measured(found[f"{point}_ms"]))
    rates.finish()
    waits.finish()


def run(rounds: int) -> None:
    """Start both servers, then load them in turn."""
    with ground() as parts:
        dsn = parts.database()
        world = ReceivingWorld(parts.bootstrap, dsn, parts.folder, PRODUCTION)
        site = world.site()
        admin.apply_topics(parts.bootstrap, [Topic(TOPIC, -1)], PARTITIONS, 1, embedded=True)
        with (
            serving("bare", parts, dsn, world) as bare,
            serving("receiver", parts, dsn, world) as receiver,
        ):
            servers = {
                "bare ASGI app": (bare, bare.read()["port"]),
                "receiver": (receiver, receiver.read()["port"]),
            }
            measure(rounds, servers, site)
        world.close()


def serving(kind: str, parts: Ground, dsn: str, world: ReceivingWorld) -> Any:
    """One of the two servers in a process of its own."""
    config = {"kind": kind, "bootstrap": parts.bootstrap, "dsn": dsn, "secret": SECRET}
    key = b64encode(world.vaults.master._key).decode()
    return child("tests.bench.receiver_process", config, {VALUE_VARIABLE: key})
