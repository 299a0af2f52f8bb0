"""What the receiver bench measures, in a process of its own: `python -m tests.bench.receiver_process JSON`.

JSON: kind (`receiver` or `bare`), bootstrap, dsn, secret. Prints {"port"} when it takes webhooks. The master key comes from the
environment. `bare` is the limit: check the signature, produce, await the ack, answer; nothing is looked up, split or sealed.
"""

import hmac
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any

import uvicorn

from schemas import collector
from schemas.ids import random_bytes
from streams.kafka.producer import AsyncProducer
from vault.keyring import MasterKey
from vault.vault import Vault
from workers.receiver.role import BACKLOG, Receiver, ReceiverConfig

TOPIC = "bench.bare"
Message = MutableMapping[str, Any]


def receiver(config: dict[str, Any]) -> None:
    """The role as it is deployed."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    master = MasterKey.from_environment(os.environ)
    role = Receiver(ReceiverConfig(config["bootstrap"]), master, Vault(config["dsn"], master))
    tell = threading.Thread(target=_tell, args=(role,), daemon=True)
    tell.start()
    role.run(stop)


def _tell(role: Receiver) -> None:
    pause = threading.Event()
    while not role.ready():
        pause.wait(0.05)
    print(json.dumps({"port": role.port}), flush=True)


def bare(config: dict[str, Any]) -> None:
    """A bare ASGI app on the same server with the same producer."""
    secret = config["secret"].encode()
    producers: list[AsyncProducer] = []

    async def app(
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if not producers:
            producers.append(AsyncProducer(config["bootstrap"], client_id="bench-bare"))
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        given = dict(scope["headers"]).get(b"x-hub-signature-256", b"")
        right = hmac.compare_digest(b"sha256=" + hmac.new(secret, body, sha256).hexdigest().encode(), given)
        if right:
            await producers[0].send(TOPIC, random_bytes(2).hex().encode(), body)
        await send(
            {
                "type": "http.response.start",
                "status": 200 if right else 401,
                "headers": [(b"content-length", b"0")],
            }
        )
        await send({"type": "http.response.body", "body": b""})

    listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    settings = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", lifespan="off", interface="asgi3", log_config=None,
        access_log=False, server_header=False, proxy_headers=False, backlog=BACKLOG,
    )  # fmt: skip
    uvicorn.Server(settings).run([listening])


if __name__ == "__main__":
    collector.set_for_batches()
    given = json.loads(sys.argv[1])
    {"receiver": receiver, "bare": bare}[given["kind"]](given)
