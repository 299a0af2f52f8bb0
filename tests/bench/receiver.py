"""Webhook to durable ack, sealed, beside a bare ASGI app that only checks the signature and produces (DESIGN §14)."""

from base64 import b64encode
from functools import partial
from statistics import median
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
OPEN_RATES = (500, 1_000, 2_000)
AIMED_RATE = 2_000
"""The rate for which DESIGN §14 has aims."""
BARE, OURS = "bare ASGI app", "receiver"
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
    """The rounds: closed loop, then open loop at each rate; at the end all of it in one table."""
    rates = Figures(
        "receiver closed loop, 64 connections",
        "webhooks/s",
        BARE,
        {OURS: (Aim(0.5, "ratio"), Aim(5_000), Aim(10 * COURIER_PER_S))},
    )
    rates.rounds(
        rounds, {name: partial(throughput, server, port, site) for name, (server, port) in servers.items()}
    )
    waits = {rate: open_loop(rate, rounds, servers, site) for rate in OPEN_RATES}
    for figures in (rates, *waits.values()):
        figures.finish()
    table(rates, waits)


def open_loop(rate: int, rounds: int, servers: dict[str, tuple[Child, int]], site: Site) -> Figures:
    """How long answers take at this rate, whether the server keeps up or not."""
    aims = {f"{OURS} p50": Aim(5, "at most"), f"{OURS} p99": Aim(20, "at most")}
    figures = Figures(
        f"receiver open loop, {rate}/s", "ms", f"{BARE} p50", aims if rate == AIMED_RATE else {}
    )
    for _ in range(rounds):
        for name, (_, port) in servers.items():
            found = load(port, site, rate=rate)
            for point in ("p50", "p99"):
                figures.add(f"{name} {point}", Measured(found[f"{point}_ms"]))
    return figures


def table(rates: Figures, waits: dict[int, Figures]) -> None:
    """The receiver beside the bare app: medians of the rounds, and the share of the bare app that is reached (1: as good)."""
    print(
        f"{'open loop':>12} {'p50 ms':>8} {'bare':>8} {'share':>6}   {'p99 ms':>8} {'bare':>8} {'share':>6}"
    )
    for rate, figures in waits.items():
        line = f"{rate:>10,}/s"
        for point in ("p50", "p99"):
            ours, bare = (median(figures.values(f"{name} {point}")) for name in (OURS, BARE))
            line += f" {ours:>8.1f} {bare:>8.1f} {bare / ours:>6.0%}  "
        print(line)
    ours, bare = (median(rates.values(name)) for name in (OURS, BARE))
    print(f"at most {ours:,.0f}/s, bare {bare:,.0f}/s: {ours / bare:.0%}", flush=True)


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
                BARE: (bare, bare.read()["port"]),
                OURS: (receiver, receiver.read()["port"]),
            }
            measure(rounds, servers, site)
        world.close()


def serving(kind: str, parts: Ground, dsn: str, world: ReceivingWorld) -> Any:
    """One of the two servers in a process of its own."""
    config = {"kind": kind, "bootstrap": parts.bootstrap, "dsn": dsn, "secret": SECRET}
    key = b64encode(world.vaults.master._key).decode()
    return child("tests.bench.receiver_process", config, {VALUE_VARIABLE: key})
