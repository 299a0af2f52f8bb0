"""The role `api`: commands and queries behind one address, served by uvicorn."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from fastapi import APIRouter, FastAPI, Request

from deploy.role_server import VERSION
from deploy.settings import Settings
from projections.api.answers import Answers
from projections.api.provider_ids import provider_ids
from projections.api.reading import Reader, open_pool
from projections.api.router import QueryParts
from projections.api.router import create_router as create_queries
from projections.log.feed import FeedParts, Feeds
from projections.log.router import create_router as create_log
from schemas.http import READ_S, create_app
from schemas.http_counts import AnswerCounts
from streams.kafka.producer import AsyncProducer
from streams.kafka.settings_follower import SettingsFollower
from streams.step.connections import Connections
from vault.tokens import TokenMemory
from vault.vault import Vault
from workers.http_protocol import HeadLimits, protocol_of
from workers.intake.producing import PRODUCE_LIMIT_S, Counted
from workers.intake.router import UNAVAILABLE, CommandParts
from workers.intake.router import create_router as create_commands
from workers.optin.public import create_public_router
from workers.optin.router import OptInParts
from workers.optin.router import create_router as create_optin
from workers.optin.web import PublicParts, source_of
from workers.receiver.limits import read_networks
from workers.registry import address_reader, channel

DRAIN_S = 10
"""Requests under way at a stop may take so long to end."""
LOOK_S = 0.2
LIMITS = HeadLimits(headers_max_bytes=32 * 1024, read_s=READ_S)
"""A token and a browser's own headers are a few kilobytes. Without limits one socket that never ends its head, which anybody may
open, would fill the memory."""
SETTINGS_S = 60.0
"""To read the settings topic to its end at start."""


class Api:
    """One API process."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self._settings = settings
        self._vault = vault
        self._server: uvicorn.Server | None = None

    def ready(self) -> bool:
        """True while requests are taken."""
        return self._server is not None and self._server.started and not self._server.should_exit

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; requests under way are answered first."""
        follower = SettingsFollower(self._settings.kafka)
        follower.start()
        pool = open_pool(self._settings.projections_dsn)
        try:
            follower.wait_ready(SETTINGS_S)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                producer = AsyncProducer(
                    self._settings.kafka, client_id="sealpost-api", delivery_timeout_s=PRODUCE_LIMIT_S
                )
                times = self._settings.times()
                tokens = TokenMemory(self._vault.check_token)
                routers = (
                    create_commands(
                        CommandParts(
                            self._vault,
                            producer,
                            follower,
                            tokens.check,
                            tokens.check_or_recall,
                            times,
                            self._settings.public_url,
                            provider_ids(self._vault, Reader(pool)),
                        )
                    ),
                    *self._optin_routers(producer, follower, tokens),
                    create_queries(QueryParts(self._vault, pool, follower, tokens.check, address_reader)),
                    create_log(self._feeds(pool, follower, stop), tokens.check),
                )
                app = create_app("Sealpost", VERSION, routers, unavailable=UNAVAILABLE)
                runner.run(self._serve(uvicorn_config(app, self._settings), stop))
                runner.run(producer.close())
        finally:
            pool.close()
            follower.stop()

    def _source_of(self) -> Callable[[Request], str]:
        return source_of(read_networks(self._settings.trusted_proxies))

    def _optin_routers(
        self, producer: AsyncProducer, follower: SettingsFollower, tokens: TokenMemory
    ) -> tuple[APIRouter, APIRouter]:
        times, url = self._settings.times(), self._settings.public_url
        managed = OptInParts(self._vault, producer, follower, tokens.check, times, channel, url)
        public = PublicParts(self._vault, Counted(producer), follower, times, channel, self._source_of())
        return create_optin(managed), create_public_router(public)

    def _feeds(self, pool: Connections, follower: SettingsFollower, stop: threading.Event) -> Feeds:
        answers = Answers(self._vault, Reader(pool), follower)
        return Feeds(FeedParts(self._settings.kafka, self._vault, answers.is_there, stop.is_set))

    async def _serve(self, config: uvicorn.Config, stop: threading.Event) -> None:
        server = self._server = _Server(config)
        serving = asyncio.create_task(server.serve())
        while not serving.done() and not stop.is_set():
            await asyncio.wait({serving}, timeout=LOOK_S)
        server.should_exit = True
        await serving


def uvicorn_config(app: FastAPI, settings: Settings, limits: HeadLimits = LIMITS) -> uvicorn.Config:
    """Quiet (paths hold ids), no server header, no proxy headers."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=protocol_of(limits, AnswerCounts().cut_off),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_S,
    )


class _Server(uvicorn.Server):
    """Leaves signals to the process: the role is told to stop by an event."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
