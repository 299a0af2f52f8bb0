"""Serves the page and carries what it asks for to the API or the simulator, with the token of the role it acts as.

https://docs.aiohttp.org/en/stable/web_advanced.html, .../client_advanced.html
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from deploy.instance import Tokens
from deploy.sandbox.doors import DOORS, Door
from deploy.sandbox.entering import JSON, Refused, is_meant, refused
from schemas.problems import PROBLEM_PREFIX

BODY_MAX_BYTES = 256 * 1024
ANSWER_S = 20.0
"""For an answer that has an end."""
SILENCE_S = 60.0
"""For one that has none: the feed says something every 15 s."""
CONNECT_S = 5.0
CHUNK_BYTES = 64 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""No script, style or request from elsewhere, nothing inline, and no text that becomes markup (trusted types)."""
MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """What the page needs to know. `key`: opens it."""

    host: str
    port: int
    key: str
    api_url: str
    simulator_url: str
    tokens: Tokens
    business: str


def page_files() -> Mapping[str, tuple[bytes, str]]:
    """Path → (content, media type) of everything the page consists of."""
    found = {}
    for one in files("deploy.sandbox").joinpath("page").iterdir():
        media_type = MEDIA_TYPES[one.name.rpartition(".")[2]]
        found["/" if one.name == "index.html" else f"/{one.name}"] = (one.read_bytes(), media_type)
    return found


class Sandbox:
    """The page's side of one running instance."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._files = page_files()
        self._open_to_all = {"/healthz", *self._files}
        self._session: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        """All routes; its HTTP client lives as long as it does."""
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_MAX_BYTES)
        app.cleanup_ctx.append(self._client)
        app.router.add_get("/healthz", _healthy)
        app.router.add_get("/about", self._about)
        for path in self._files:
            app.router.add_get(path, self._file)
        for door in DOORS:
            app.router.add_route(door.method, door.page_path, self._through(door))
        return app

    async def _client(self, _: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            yield

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        why = None if is_meant(request.headers, self._settings.port) else Refused.HOST
        if why is None and request.path not in self._open_to_all:
            why = refused(request.method, request.headers, self._settings.key)
        if why is not None:
            return web.Response(status=why.status, text=why.words + "\n", headers=HEADERS)
        try:
            answer = await handler(request)
        except web.HTTPRequestEntityTooLarge:
            answer = _told(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, orjson.dumps({"type": PROBLEM_PREFIX + "too_large"})
            )
        except web.HTTPException as error:
            return web.Response(status=error.status, text=f"{error.reason}\n", headers=HEADERS)
        if not answer.prepared:
            answer.headers.update(HEADERS)
        return answer

    async def _file(self, request: web.Request) -> web.StreamResponse:
        content, media_type = self._files[request.path]
        return web.Response(body=content, content_type=media_type, charset="utf-8")

    async def _about(self, _: web.Request) -> web.StreamResponse:
        return _told(HTTPStatus.OK, orjson.dumps({"business": self._settings.business}))

    def _through(self, door: Door) -> Handler:
        acting = door.acting
        base = self._settings.simulator_url if acting == "person" else self._settings.api_url
        headers = {"Accept": "text/event-stream" if door.streams else JSON, "Content-Type": JSON}
        if acting != "person":
            headers["Authorization"] = f"Bearer {getattr(self._settings.tokens, acting)}"
        limit = aiohttp.ClientTimeout(
            total=None if door.streams else ANSWER_S, sock_connect=CONNECT_S, sock_read=SILENCE_S
        )
        prefix = f"/as/{acting}"

        async def handle(request: web.Request) -> web.StreamResponse:
            assert self._session is not None, "the application runs"
            query = [(name, value) for name, value in request.query.items() if name not in (door.fixed or {})]
            url = URL(base + request.path.removeprefix(prefix)).with_query(
                [*query, *(door.fixed or {}).items()]
            )
            body = await request.read() if door.method == "POST" else None
            try:
                async with self._session.request(
                    door.method, url, data=body, headers=headers, timeout=limit, allow_redirects=False
                ) as answer:
                    return await (_streamed(request, answer) if door.streams else _whole(answer))
            except (aiohttp.ClientError, TimeoutError) as error:
                log.info(
                    "%s is away: %s",
                    "the simulator" if acting == "person" else "the API",
                    type(error).__name__,
                )
                if door.streams:
                    return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)
                return _told(
                    HTTPStatus.SERVICE_UNAVAILABLE, orjson.dumps({"type": PROBLEM_PREFIX + "unavailable"})
                )

        return handle


async def _whole(answer: aiohttp.ClientResponse) -> web.Response:
    return _told(answer.status, await answer.read() if "json" in answer.content_type else b"null")


def _told(status: int, body: bytes) -> web.Response:
    """The status is told inside: a browser writes every other than 200 into its console as an error, and a refusal is none."""
    return web.Response(body=b'{"status":%d,"body":%s}' % (status, body or b"null"), content_type=JSON)


async def _streamed(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    if answer.status != HTTPStatus.OK:
        return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": answer.content_type})
    await response.prepare(request)
    try:
        # A page that reads slowly holds this up, and through it the feed.
        async for piece in answer.content.iter_chunked(CHUNK_BYTES):
            await response.write(piece)
    except (ConnectionResetError, aiohttp.ClientError, TimeoutError) as error:
        # The head is sent: all that can be said is the end of the stream; the page asks again.
        log.info("a feed was cut off: %s", type(error).__name__)
    return response


async def _healthy(_: web.Request) -> web.StreamResponse:
    return web.Response(text="ok\n")


async def serve(settings: SandboxSettings) -> None:
    """Listen and serve until cancelled."""
    app = Sandbox(settings).application()
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, handler_cancellation=True, shutdown_timeout=1.0
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
