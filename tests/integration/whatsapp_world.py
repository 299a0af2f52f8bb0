"""A simulator on a real port, a webhook receiver that it reports to, and a client that sends as outbound does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from aiohttp import web

from schemas.addresses import Address
from schemas.content import TemplateContent, TextContent
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
from workers.channels.whatsapp import simulator
from workers.channels.whatsapp.channel import CHANNEL

ACCOUNT = SimulatedAccount("106540352242922", "+1 555 078 3881", "token")
WAIT_LIMIT_S = 20.0


@dataclass
class Secrets:
    """The connection's secrets."""

    app_secret: str = "app secret"
    verify_token: str = "verify token"


@dataclass
class Access:
    """The account as outbound knows it."""

    api_base_url: str
    provider_account_id: str = ACCOUNT.provider_account_id
    access_token: str = ACCOUNT.access_token


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
        """Wait for webhooks until this holds."""
        async with asyncio.timeout(WAIT_LIMIT_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One call of the control side."""
        async with self.session.request(method, f"{self.base}/control{path}", json=body) as answer:
            content = await answer.json() if answer.content_type == "application/json" else None
            return answer.status, content

    async def write(self, **body: Any) -> Any:
        """A person writes; the webhook must be taken."""
        status, content = await self.control(
            "POST", "/inbound", {"from": "4915112345678", "name": "Ada", **body}
        )
        assert status == 200
        return content

    async def messages(self, query: str = "") -> list[dict[str, Any]]:
        """The simulator's record."""
        _, content = await self.control("GET", f"/messages{query}")
        found: list[dict[str, Any]] = content["messages"]
        return found

    async def send(
        self,
        content: TextContent | TemplateContent | str = "Hallo",
        to: str = "4915112345678",
        access: Access | None = None,
    ) -> Outcome:
        """Send one part as outbound does; raises aiohttp.ClientError when there is no answer."""
        address = CHANNEL.read_address(to)
        assert isinstance(address, Address)
        self.sent += 1
        echo = echo_of(f"20261123{self.sent:024x}", 0)
        words = TextContent(text=content) if isinstance(content, str) else content
        steps = CHANNEL.deliver(words, address, access or Access(f"{self.base}/v25.0"), echo)
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
            accounts=(ACCOUNT,),
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
