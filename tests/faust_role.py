"""A role process on the Faust feed for fault tests: `python -m tests.faust_role '<json>'`.

JSON: bootstrap, dsn, source, target, role, group, session_s, data_dir, first (topics read first), line (another way to the
broker, for Faust alone), freeze (`[point, file]` or null: at this point of the engine the process stops itself with SIGSTOP,
once, if the file is there). Ends on SIGTERM with 0; when a feed gives up, with 1 and the reason as the last line of its error
output. Says `taken` once it is ready.
"""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import orjson

from schemas.constants import Times
from schemas.errors import SealpostError
from streams.kafka import admin
from streams.kafka.producer import OrderedProducer
from streams.processors.faust_feed import FaustFeeds, ProcessorFeed
from streams.processors.stepper import Stepper
from streams.step.engine import Engine
from tests.step_world import Counting


class Freezing:
    """Stops its own process at a point of the engine when a file is there, which it removes first."""

    def __init__(self, point: str, file: str) -> None:
        self._point, self._file = point, Path(file)

    def at(self, name: str) -> None:
        """A point was reached."""
        if name == self._point and self._file.exists():
            self._file.unlink()
            # To this thread, which then stops the process before it goes on. Sent to the process, it may reach another thread
            # first, and on a busy machine this one has sent half of a transaction's end by then.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def run(config: dict[str, Any], stop: threading.Event, handler: Counting | None = None) -> None:
    """Run a counting handler on one Faust app until told to stop."""
    times = Times(session_s=config["session_s"])
    producer = OrderedProducer(config["bootstrap"], client_id="faust-role", give_up=stop)
    handler = handler or Counting(config["source"], config["target"], role=config["role"])
    handler.topics = (*config["first"], config["source"])
    cluster = admin.ClusterIdentity(config["bootstrap"])
    hooks = Freezing(*config["freeze"]) if config.get("freeze") else None
    engine = Engine(handler, config["dsn"], producer, cluster=cluster, times=times, hooks=hooks)

    def make() -> list[ProcessorFeed]:
        stepper = Stepper(
            engine, config["dsn"], config["bootstrap"], group=config["group"], first_topics=config["first"]
        )
        line = config.get("line", config["bootstrap"])
        return [ProcessorFeed(stepper, line, times=times, data_dir=Path(config["data_dir"]))]

    feeds = FaustFeeds(make)
    threading.Thread(target=_tell, args=(feeds, stop), daemon=True).start()
    try:
        feeds.run(stop)
    finally:
        engine.close()
        producer.close()


def _tell(feeds: FaustFeeds, stop: threading.Event) -> None:
    while not feeds.ready:
        if stop.wait(0.05):
            return
    print("taken", flush=True)


def main(config: dict[str, Any]) -> int:
    """The process."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        run(config, stop)
    except SealpostError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    logging.basicConfig(
        level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    sys.exit(main(orjson.loads(sys.argv[1])))
