"""What the outbound bench measures, in a process of its own: `python -m tests.bench.outbound_process JSON`.

JSON of kind `worker`: bootstrap, dsn, group, in_flight; prints a line when it has joined, and runs until SIGTERM. The master
key comes from the environment. JSON of kind `bare`: url, count, in_flight; the limit: the same HTTP client in so many loops;
prints {"cpu_us"} when all are sent.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from typing import Any

import orjson
import uvloop

from schemas import collector
from schemas.constants import PRODUCTION
from schemas.ids import random_id
from streams.kafka.settings_follower import SettingsFollower
from vault.keyring import MasterKey
from vault.vault import Vault
from workers.channels.whatsapp.channel import CHANNEL
from workers.outbound.provider import ANSWER_MAX_BYTES
from workers.outbound.provider import client as http_client
from workers.outbound.turns import Limits
from workers.outbound.worker import OutboundConfig, OutboundWorker


def worker(config: dict[str, Any]) -> None:
    """The role as it is deployed."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    vault = Vault(config["dsn"], MasterKey.from_environment(os.environ))
    settings = SettingsFollower(config["bootstrap"])
    settings.start()
    limits = Limits(calls=config["in_flight"], calls_per_account=config["in_flight"])
    made = OutboundWorker(
        OutboundConfig(config["bootstrap"], {CHANNEL.name: CHANNEL}, limits=limits, group=config["group"]),
        vault,
        settings,
    )
    threading.Thread(target=_tell, args=(made,), daemon=True).start()
    made.run(stop)
    settings.stop()
    vault.close()


def _tell(made: OutboundWorker) -> None:
    pause = threading.Event()
    while not made.ready():
        pause.wait(0.05)
    print(json.dumps({"ready": True}), flush=True)


def bare(config: dict[str, Any]) -> None:
    """Nothing but the client."""
    uvloop.run(_bare(config["url"], config["count"], config["in_flight"]))


async def _bare(url: str, count: int, in_flight: int) -> None:
    headers = {"Authorization": "Bearer provider-token", "Content-Type": "application/json"}
    content = {"type": "text", "text": {"preview_url": False, "body": "Your order is on its way."}}
    left, client = iter(range(count)), http_client(PRODUCTION.http_s)

    async def loop() -> None:
        for number in left:
            to = {"to": f"49{number:011}", "biz_opaque_callback_data": random_id()}
            body = orjson.dumps({"messaging_product": "whatsapp", **content, **to})
            async with client.post(url).headers(headers).body_bytes(body).build_streamed() as answer:
                assert orjson.loads(bytes(await answer.body_reader.read(ANSWER_MAX_BYTES) or b""))["messages"]

    begin = time.process_time()
    await asyncio.gather(*(loop() for _ in range(in_flight)))
    print(json.dumps({"cpu_us": (time.process_time() - begin) / count * 1e6}), flush=True)
    await client.close()


if __name__ == "__main__":
    collector.set_for_batches()
    given = json.loads(sys.argv[1])
    {"worker": worker, "bare": bare}[given["kind"]](given)
