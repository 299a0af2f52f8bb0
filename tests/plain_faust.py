"""Faust as its documentation shows it, for tests of what we must not rely on: one app with one agent, in a thread."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust

LOG = logging.getLogger(__name__)
COMMIT_S = 0.5
LIMIT_S = 100.0

Agent = Callable[[Any, "PlainFaust"], Awaitable[None]]


class PlainFaust:
    """Runs `agent(stream, self)` on one topic. What the agent has seen is in `seen`."""

    def __init__(self, bootstrap: str, group: str, topic: str, data_dir: Path, agent: Agent) -> None:
        self.seen: list[bytes] = []
        self.inside = threading.Event()
        self._config = (bootstrap, group, topic, data_dir, agent)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()

    async def _run(self) -> None:
        bootstrap, group, name, data_dir, agent = self._config
        app = faust.App(
            group,
            broker=f"kafka://{bootstrap}",
            broker_session_timeout=30.0,
            broker_heartbeat_interval=1.0,
            broker_commit_interval=COMMIT_S,
            consumer_auto_offset_reset="earliest",
            store="memory://",
            datadir=str(data_dir),
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
        )
        topic = app.topic(
            name, value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw"
        )

        async def consume(stream: Any) -> None:
            await agent(stream, self)

        app.agent(topic, name="plain")(consume)
        app.finalize()
        await app.start()
        await asyncio.to_thread(self._stop.wait)
        await app.stop()

    def end(self) -> None:
        """Stop as a worker stops on SIGTERM."""
        self._stop.set()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()
