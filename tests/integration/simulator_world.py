"""A channel's simulator on a real port, a webhook receiver that it reports to, and a client that sends as outbound does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from schemas.content import Content, TextContent
from tests.unit.channels.connection import Secrets
from workers.channel import Accepted, Channel, Outcome, ProviderResponse, WebhookRequest, echo_of
from workers.inbound_values import Inbound
from workers.simulator import SimulatedAccount, Simulator, SimulatorSettings

WAIT_LIMIT_S = 60.0


@dataclass(frozen=True)
class Access:
    """An account as outbound knows it."""

    api_base_url: str
    provider_account_id: str
    access_token: str


@dataclass
class SimulatorWorld:
    """What a test drives and sees. `api_path`: where below the simulator's address the provider's API is."""

    channel: Channel
    simulator: Simulator
    account: SimulatedAccount
    person: str
    secrets: Secrets
    api_path: str = ""
    base: str = ""
    answers: list[int] = field(default_factory=list)
    """HTTP statuses of the next webhooks; 200 once it is empty."""
    webhooks: int = 0
    values: list[Inbound] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    session: aiohttp.ClientSession = field(init=False)

    async def receive(self, request: web.Request) -> web.Response:
        """The webhook receiver: checks the proof, reads what it takes."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        proof = self.channel.authenticate(WebhookRequest("POST", {}, headers, body), self.secrets)
        assert isinstance(proof, Accepted)
        status = self.answers.pop(0) if self.answers else 200
        self.webhooks += 1
        if status == 200:
            self.values += [
                value for part in self.channel.split(body) for value in self.channel.parse(part.raw)
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
        status, content = await self.control("POST", "/inbound", {"from": self.person, "name": "Ada", **body})
        assert status == 200, content
        return content

    async def messages(self, query: str = "") -> list[dict[str, Any]]:
        """The simulator's record."""
        _, content = await self.control("GET", f"/messages{query}")
        found: list[dict[str, Any]] = content["messages"]
        return found

    def access(self, **changed: str) -> Access:
        """The account, with something changed."""
        own = Access(
            f"{self.base}{self.api_path}", self.account.provider_account_id, self.account.access_token
        )
        return replace(own, **changed)

    async def send(
        self,
        content: Content | str = "Hallo",
        to: str | None = None,
        access: Access | None = None,
    ) -> Outcome:
        """Send one part as outbound does; raises aiohttp.ClientError when there is no answer."""
        address = self.channel.read_address(to or self.person)
        assert address is not None
        self.sent += 1
        echo = echo_of(f"20261123{self.sent:024x}", 0)
        words = TextContent(text=content) if isinstance(content, str) else content
        steps = self.channel.deliver(words, address, access or self.access(), echo)
        request = next(steps)
        async with self.session.post(request.url, data=request.body, headers=request.headers) as answer:
            response = ProviderResponse(answer.status, answer.headers, await answer.read())
        try:
            steps.send(response)
        except StopIteration as ended:
            outcome: Outcome = ended.value
            return outcome
        raise AssertionError("one call is enough")


World = TypeVar("World", bound=SimulatorWorld)


@asynccontextmanager
async def _running(found: SimulatorWorld, settings: dict[str, Any]) -> AsyncIterator[None]:
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with aiohttp.ClientSession() as found.session:
        app = web.Application()
        app.add_routes([web.post("/hook", found.receive)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        wanted = SimulatorSettings(
            webhook_url=f"http://127.0.0.1:{runner.addresses[0][1]}/hook",
            app_secret=found.secrets.app_secret,
            accounts=(found.account,),
            retry_first_s=0.01,
            retry_max_s=0.05,
            ready=listening.set_result,
        )
        serving = asyncio.create_task(found.simulator(replace(wanted, **settings)))
        try:
            found.base = await asyncio.wait_for(listening, WAIT_LIMIT_S)
            yield
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await runner.cleanup()


def run(make: Callable[[], World], scene: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    """Play a scene against a simulator with these settings."""

    async def play() -> None:
        found = make()
        async with _running(found, settings):
            await scene(found)

    asyncio.run(play())
