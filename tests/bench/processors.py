"""The subscriber processor, whole, on Faust and on the batch feed; beside a bare Faust agent that only decodes and counts."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import psycopg

import streams
from schemas.clock import now_ms, to_text
from schemas.constants import PRODUCTION
from schemas.events import messages, registry
from schemas.ids import random_id
from schemas.topics import MESSAGES
from streams.kafka import admin
from streams.kafka.settings_follower import SettingsFollower
from streams.processors.role import Feed, StreamsRole
from streams.processors.subscriber.processor import Subscriber
from streams.step.contract import Output
from streams.step.migrate import apply_migrations
from tests.bench.ground import Ground, Stopwatch, ground
from tests.bench.report import Aim, Figures, Measured
from tests.plain_faust import PlainFaust
from tests.receiving_world import ReceivingWorld
from tests.vault_world import CHANNEL

EVENTS = 20_000
PEOPLE = 5_000
BATCH_AIM = 15_000
LOOK_S = 0.1
LIMIT_S = 120.0


def fill(world: ReceivingWorld, tenant: str) -> None:
    """Messages of many people that ask for nothing, as inbound writes them."""
    people = [random_id() for _ in range(PEOPLE)]
    now = now_ms()
    for start in range(0, EVENTS, 5_000):
        events = []
        for number in range(start, start + 5_000):
            event_id = random_id()
            data = messages.MessageReceived(
                message=event_id, account="a", kind="text", provider_kind="text", acted_at=to_text(now)
            )
            events.append(
                registry.build(
                    data,
                    id=event_id,
                    role="inbound",
                    tenant=tenant,
                    subject=people[number % PEOPLE],
                    at_ms=now,
                    channel=CHANNEL,
                )
            )
        world.producer.produce_all([Output(MESSAGES, event.key(), event.to_bytes()) for event in events])


def bare_agent(parts: Ground) -> Measured:
    """Faust as its documentation shows it."""
    watch, done = Stopwatch(), threading.Event()
    seen = 0

    async def agent(stream: Any, _: PlainFaust) -> None:
        nonlocal seen
        async for value in stream:
            watch.start()
            orjson.loads(value)
            seen += 1
            if seen == EVENTS:
                done.set()

    plain = PlainFaust(parts.bootstrap, f"bench-{random_id()}", MESSAGES, parts.folder / "plain", agent)
    try:
        assert done.wait(LIMIT_S), f"{seen} of {EVENTS}"
        return watch.events(EVENTS)
    finally:
        plain.end()


def on(feed: Feed, parts: Ground, dsn: str, world: ReceivingWorld, settings: SettingsFollower) -> Measured:
    """The role with this one processor, under a new name."""
    name = f"streams.{random_id()}"
    role = StreamsRole(
        parts.bootstrap,
        dsn,
        settings,
        world.vault.tenant_ids,
        world.vault.certificate_signer(),
        parts.folder / "streams",
        backup_kept_s=0.0,
        feed=feed,
        chosen=(Subscriber(name=name),),
    )
    stop, watch = threading.Event(), Stopwatch(parts)
    parts.settle(dsn)
    thread = threading.Thread(target=role.run, args=(stop,))
    thread.start()
    pause, first = threading.Event(), 0
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            question = (
                "select coalesce(sum(next_offset), 0) from step.position where role = %s and topic = %s"
            )
            while True:
                row = connection.execute(question, (name, MESSAGES)).fetchone()
                now = int(row[0]) if row else 0
                if now and not first:
                    watch.start()
                    first = now
                if now >= EVENTS:
                    return watch.events(now - first)
                assert thread.is_alive()
                pause.wait(LOOK_S)
    finally:
        stop.set()
        thread.join(LIMIT_S)


def run(rounds: int) -> None:
    """Fill, then measure in turn."""
    with ground() as parts:
        world = ReceivingWorld(parts.bootstrap, parts.database(), parts.folder, PRODUCTION)
        site = world.site()
        dsn = parts.database()
        assert streams.__file__ is not None
        apply_migrations(dsn, Path(streams.__file__).parent / "sql")
        fill(world, site.tenant)
        assert sum(admin.end_offsets(parts.bootstrap, MESSAGES).values()) == EVENTS
        settings = SettingsFollower(parts.bootstrap)
        settings.start()
        settings.wait_ready(30)
        figures = Figures(
            "processors",
            "events/s",
            "bare Faust agent",
            {"subscriber on Faust": Aim(0.85, "ratio"), "subscriber on the batch feed": Aim(BATCH_AIM)},
        )
        variants: dict[str, Callable[[], Measured]] = {
            "bare Faust agent": lambda: bare_agent(parts),
            "subscriber on Faust": lambda: on("faust", parts, dsn, world, settings),
            "subscriber on the batch feed": lambda: on("batch", parts, dsn, world, settings),
        }
        figures.rounds(rounds, variants)
        figures.finish()
        settings.stop()
        world.close()
