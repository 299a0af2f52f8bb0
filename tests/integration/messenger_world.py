"""A simulated page on a real port, a webhook receiver that it reports to, and a client that sends as outbound does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from aiohttp import web

from schemas.content import TextContent
from workers.channel import (
    Accepted,
    Inbound,
    Outcome,
    ProviderResponse,
    SimulatedAccount,
    SimulatorSettings,
    WebhookRequest,
    echo_of,
)
from workers.channels.messenger import simulator
from workers.channels.messenger.channel import CHANNEL

PAGE = SimulatedAccount("1234567890", "1234567890", "token")
PERSON, OTHER = "5678901234567890", "5678901234567891"
WAIT_LIMIT_S = 20.0


@dataclass
class Secrets:
    """The connection's secrets."""

    app_secret: str = "app secret"
    verify_token: str = "verify token"


@dataclass
class Access:
    """The page as outbound knows it."""

    api_base_url: str
    provider_account_id: str = PAGE.provider_account_id
    access_token: str = PAGE.access_token


@dataclass
class World:
    """What a test drives and sees."""

    base: str
    session: aiohttp.ClientSession
    answers: list[int]
    """HTTP statuses of the next webhooks; 200 once it is empty."""
    webhooks: int = 0
    values: list[Inbound] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0

    async def receive(self, request: web.Request) -> web.Response:
        """The webhook receiver: checks the proof, reads what it takes."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert CHANNEL.authenticate(WebhookRequest("POST", {}, headers, body), Secrets()) == Accepted()
        status = self.answers.pop(0) if self.answers else 200
        self.webhooks += 1
        if status == 200:
            self.values += [
                value for fragment in CHANNEL.split(body) for value in CHANNEL.parse(fragment.raw)
            ]
        self.changed.set()
        return web.Response(status=status)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until webhooks have made a condition true."""
        async with asyncio.timeout(WAIT_LIMIT_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One call of the control side."""
        async with self.session.request(method, f"{self.base}/control{path}", json=body) as answer:
            return answer.status, await answer.json() if answer.status != 204 else None

    async def write(self, **body: Any) -> dict[str, Any]:
        """A person writes, and the webhook is taken."""
        status, content = await self.control("POST", "/inbound", {"from": PERSON, **body})
        assert status == 200, content
        found: dict[str, Any] = content
        return found

    async def messages(self, query: str = "") -> list[dict[str, Any]]:
        """The simulator's record."""
        _, content = await self.control("GET", f"/messages{query}")
        found: list[dict[str, Any]] = content["messages"]
        return found

    async def send(self, words: str = "Hallo", to: str = PERSON, access: Access | None = None) -> Outcome:
        """Send one text as outbound does; raises aiohttp.ClientError when there is no answer."""
        address = CHANNEL.read_address(to)
        assert address is not None
        self.sent += 1
        echo = echo_of(f"20261125{self.sent:024x}", 0)
        steps = CHANNEL.deliver(
            TextContent(text=words), address, access or Access(f"{self.base}/v25.0"), echo
        )
        request = next(steps)
        async with self.session.post(request.url, data=request.body, headers=request.headers) as answer:
            response = ProviderResponse(answer.status, answer.headers, await answer.read())
        try:
            steps.send(response)
        except StopIteration as ended:
            outcome: Outcome = ended.value
            return outcome
        raise AssertionError("one call is enough")


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    """A simulator with these settings, and all around it."""
    loop = asyncio.get_running_loop()
    listening: asyncio.Future[str] = loop.create_future()
    async with aiohttp.ClientSession() as session:
        found = World("", session, [])
        app = web.Application()
        app.add_routes([web.post("/hook", found.receive)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        wanted = SimulatorSettings(
            webhook_url=f"http://127.0.0.1:{runner.addresses[0][1]}/hook",
            app_secret="app secret",
            accounts=(PAGE,),
            retry_first_s=0.01,
            retry_max_s=0.05,
            ready=listening.set_result,
        )
        serving = asyncio.create_task(simulator.serve(replace(wanted, **settings)))
        try:
            found.base = await asyncio.wait_for(listening, WAIT_LIMIT_S)
            yield found
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await runner.cleanup()
