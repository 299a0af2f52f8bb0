"""Runs a handler on the step engine through the real batch feed, from the start of its topics to their end, and times it."""

import threading
from collections.abc import Callable

from schemas.constants import PRODUCTION
from schemas.ids import random_id
from streams.kafka import admin
from streams.kafka.producer import OrderedProducer
from streams.step.batch_feed import BatchFeed
from streams.step.contract import Handler
from streams.step.engine import Engine
from tests.bench.ground import Ground, Stopwatch
from tests.bench.report import Measured

LOOK_S = 0.005
"""Between two looks at the positions; small beside what is timed, and rare enough to cost the handler nothing."""


def through_the_feed(handler: Handler, dsn: str, parts: Ground) -> Measured:
    """Events a second once the first batch is done. `handler.role` must be new: it begins at the start of the topics."""
    bootstrap = parts.bootstrap
    cluster = admin.ClusterIdentity(bootstrap)
    producer = OrderedProducer(bootstrap, client_id="bench-feed")
    engine = Engine(handler, dsn, producer, cluster=cluster)
    feed = BatchFeed(engine, bootstrap, times=PRODUCTION, group=f"bench-{random_id()}")
    stop, failures = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            feed.run(stop)
        except BaseException as error:  # noqa: BLE001  # raised by the thread that waits
            failures.append(error)
            stop.set()

    ends = {topic: admin.end_offsets(bootstrap, topic) for topic in handler.topics}
    total = sum(sum(parts.values()) for parts in ends.values())
    thread = threading.Thread(target=work)
    thread.start()
    try:
        return _timed(lambda: sum(engine.positions().values()), total, stop, Stopwatch(parts))
    finally:
        stop.set()
        thread.join()
        engine.close()
        producer.close()
        if failures:
            raise failures[0]


def _timed(done: Callable[[], int], total: int, stop: threading.Event, watch: Stopwatch) -> Measured:
    first = 0
    while not stop.is_set():
        now = done()
        if now and not first:
            watch.start()
            first = now
        if now >= total:
            return watch.events(total - first)
        stop.wait(LOOK_S)
    return Measured(0.0)
