"""A role process for fault tests: `python -m tests.step_role '<json>'`.

JSON: bootstrap, dsn, source, target, role, group, priority (or null), session_s, batch. Ends on SIGTERM with 0; when the feed
gives up, with 1 and the reason as the last line of its error output.
"""

import logging
import signal
import sys
import threading
from typing import Any

import orjson

from schemas.constants import Times
from schemas.errors import SealpostError
from streams.kafka import admin
from streams.kafka.producer import OrderedProducer
from streams.step.batch_feed import BatchFeed
from streams.step.engine import Engine
from tests.step_world import Counting


def main(config: dict[str, Any]) -> int:
    """Run until told to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    times = Times(session_s=config["session_s"])
    producer = OrderedProducer(config["bootstrap"], client_id="step-role", give_up=stop)
    handler = Counting(config["source"], config["target"], role=config["role"], priority=config["priority"])
    cluster = admin.ClusterIdentity(config["bootstrap"])
    engine = Engine(handler, config["dsn"], producer, cluster=cluster, times=times)
    feed = BatchFeed(
        engine, config["bootstrap"], times=times, group=config["group"], batch_records=config["batch"]
    )
    try:
        feed.run(stop)
    except SealpostError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        engine.close()
        producer.close()
    return 0


if __name__ == "__main__":
    logging.basicConfig(
        level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    sys.exit(main(orjson.loads(sys.argv[1])))
