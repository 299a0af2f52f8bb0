"""The role `receiver`: everything put together and served by uvicorn until it is told to stop."""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
import uvloop

from schemas.constants import PRODUCTION, Times
from schemas.errors import SealpostError
from streams.kafka.producer import AsyncProducer
from streams.kafka.settings_follower import SettingsFollower
from vault.keyring import MasterKey
from vault.vault import Vault
from workers.http_protocol import HeadLimits, protocol_of
from workers.receiver.app import ReceiverApp
from workers.receiver.connections import ConnectionBook, look_into
from workers.receiver.counts import Counts
from workers.receiver.day_keys import DayKeyFollower
from workers.receiver.limits import ANSWER_MAX_S, DEFAULTS, ReceiverLimits
from workers.receiver.sources import Forgeries
from workers.receiver.webhooks import Webhooks

log = logging.getLogger(__name__)

BACKLOG = 2_048
KEEP_ALIVE_S = 75
"""Providers keep connections; longer than the idle limits of usual proxies."""
DRAIN_S = int(ANSWER_MAX_S)
"""Requests under way at a stop may take so long to end."""
LOOK_S = 0.5
"""How often a running receiver looks whether its settings are still followed."""


class ReceiverStopped(SealpostError):
    """The receiver cannot go on; the message says why. The supervisor starts it anew; look at Kafka's topics."""


@dataclass(frozen=True, slots=True)
class ReceiverConfig:
    """Where a receiver listens and what it needs. `cache`: its own file for connections, sealed; None keeps none."""

    bootstrap: str
    host: str = "127.0.0.1"
    port: int = 0
    cache: Path | None = None
    times: Times = PRODUCTION
    limits: ReceiverLimits = DEFAULTS
    producer_extra: dict[str, object] = field(default_factory=dict)


class Receiver:
    """One receiver. The port is taken when it is made; requests are answered while `run` runs."""

    def __init__(self, config: ReceiverConfig, master: MasterKey, vault: Vault | None) -> None:
        """`vault`: where connections come from; None lives on the cache alone. OSError when the port is taken."""
        self._config = config
        look = None if vault is None else lambda: look_into(vault)
        self._book = ConnectionBook(look, master, config.cache)
        self._settings = SettingsFollower(config.bootstrap)
        self._keys = DayKeyFollower(config.bootstrap)
        self._settings_read = False
        self._serving = False
        self._socket = socket.create_server((config.host, config.port), backlog=BACKLOG)
        self.port: int = self._socket.getsockname()[1]

    def ready(self) -> bool:
        """True when webhooks can be taken."""
        return self._serving and not self.waiting_for()

    def waiting_for(self) -> list[str]:
        """What is still missing, in words."""
        limit_s = self._config.times.clock_skew_s
        facts = (
            (self._settings_read and self._settings.failure is None, "settings of the tenants (Kafka)"),
            (self._keys.ready, "public day keys (Kafka)"),
            (self._book.loaded, "connections (vault database or cache)"),
            (
                abs(self._book.clock_ahead_s) <= limit_s,
                f"clocks of receiver and vault within {limit_s:.0f} s",
            ),
        )
        return [words for holds, words in facts if not holds]

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; requests under way are answered first. ReceiverStopped when it cannot go on."""
        self._book.start()
        self._settings.start()
        self._keys.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(stop))
        finally:
            self._serving = False
            self._socket.close()
            self._book.stop()
            self._settings.stop()
            self._keys.stop()

    async def _serve(self, stop: threading.Event) -> None:
        config, limits = self._config, self._config.limits
        counts, forgeries = Counts(), Forgeries(limits.forged_a_minute)
        producer = AsyncProducer(
            config.bootstrap,
            client_id="sealpost-receiver",
            delivery_timeout_s=limits.answer_s,
            extra=config.producer_extra,
        )
        webhooks = Webhooks(
            self._book, self._settings, self._keys, producer, counts, config.times,
            forgeries=forgeries, limits=limits,
        )  # fmt: skip
        app = ReceiverApp(webhooks, counts, forgeries, limits)
        protocol = protocol_of(HeadLimits(limits.headers_max_bytes, limits.read_s), counts.cut_off)
        server = _Server(
            uvicorn.Config(
                app, loop="uvloop", http=protocol, ws="none", lifespan="off", interface="asgi3", log_config=None,
                access_log=False, server_header=False, proxy_headers=False, backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=DRAIN_S,
            )
        )  # fmt: skip
        watch = asyncio.create_task(self._watch(stop, server))
        try:
            self._serving = True
            await server.serve(sockets=[self._socket])
        finally:
            self._serving = False
            stop.set()
            await watch
            await producer.close()
        if self._settings.failure is not None:
            raise ReceiverStopped(self._settings.failure)

    async def _watch(self, stop: threading.Event, server: uvicorn.Server) -> None:
        while not await asyncio.to_thread(stop.wait, LOOK_S):
            if not self._settings_read:
                self._settings_read = await asyncio.to_thread(self._read_settings)
            if self._settings.failure is not None:
                log.error("the receiver ends: %s", self._settings.failure)
                break
        server.should_exit = True

    def _read_settings(self) -> bool:
        try:
            self._settings.wait_ready(LOOK_S)
        except SealpostError:
            return False
        return True


class _Server(uvicorn.Server):
    """Leaves signals to the process: the role is told to stop by an event."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
