"""A channel beside its simulator, with the very code that calls providers in production between them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

from schemas import ids
from schemas.addresses import Address
from schemas.clock import boot_s, day_of_ms, now_ms
from schemas.content import Content
from schemas.errors import SealpostError
from workers.channel import Channel, ProviderRequest, ProviderResponse, WebhookRequest, echo_of
from workers.conformance.scripted import Break, ScriptedProvider
from workers.conformance.under_test import ChannelUnderTest
from workers.conformance.watch import Watch, WatchedChannel
from workers.inbound_values import JsonObject
from workers.outbound.provider import Attempted, ProviderCalls
from workers.simulator import SimulatorSettings

ARRIVES_S = 60.0
"""Longest wait for something that the simulator does by itself; far above what a busy machine needs."""
HTTP_S = 60.0
SHORT_HTTP_S = 1.0
"""For cases in which nothing is answered; the request must be written before, on a busy machine as well."""


class SimulatorRefused(SealpostError):
    """A control request that the kit made was not taken; the simulator's control side is not as ADDING_CHANNELS.md says."""


@dataclass(frozen=True, slots=True)
class Access:
    """An account, as `deliver` is shown it."""

    provider_account_id: str
    access_token: str = field(repr=False)
    api_base_url: str


class Deliveries:
    """Sends by one channel, as role outbound does."""

    def __init__(
        self, under_test: ChannelUnderTest, channel: Channel, base: str, http_s: float = HTTP_S
    ) -> None:
        self.access = Access(
            under_test.account.provider_account_id,
            under_test.account.access_token,
            base + under_test.api_path,
        )
        self._channel = channel
        self._address = address_of(under_test)
        self._http_s = http_s
        self._message = ids.message_id(day_of_ms(now_ms()), bytes(32), "kit", "conformance", "message")

    def echo(self, part: int = 0) -> str:
        """What goes along with a part, to come back in its statuses."""
        return echo_of(self._message, part)

    async def send(self, content: Content, part: int = 0) -> Attempted:
        """One part; what is known of it then."""
        calls = ProviderCalls(self._http_s, boot_s)
        try:
            return await calls.deliver(
                self._channel,
                content,
                self._address,
                self.access,
                echo=self.echo(part),
                deadline_s=boot_s() + self._http_s,
            )
        finally:
            await calls.close()

    def first_request(self, content: Content) -> ProviderRequest:
        """What the channel would call first; UnsupportedContent where it refuses."""
        steps = self._channel.deliver(content, self._address, self.access, self.echo())
        try:
            return next(steps)
        finally:
            steps.close()


class World:
    """The simulator of a channel, running, and all webhooks it posts."""

    def __init__(self, under_test: ChannelUnderTest, watch: Watch, statuses: tuple[str, ...] = ()) -> None:
        """`statuses`: what the simulator reports of each message that it takes, in this order."""
        self._under_test, self._watch, self._statuses = under_test, watch, statuses
        self._posted: asyncio.Queue[WebhookRequest] = asyncio.Queue()
        self.base = ""

    async def __aenter__(self) -> "World":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._sink = web.AppRunner(app, access_log=None)
        await self._sink.setup()
        await web.TCPSite(self._sink, "127.0.0.1", 0).start()
        listens: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        settings = SimulatorSettings(
            webhook_url=f"http://127.0.0.1:{self._sink.addresses[0][1]}/webhook",
            app_secret=self._under_test.secrets.app_secret,
            accounts=(self._under_test.account,),
            statuses=self._statuses,
            ready=listens.set_result,
        )
        self._simulator = asyncio.ensure_future(self._under_test.simulator(settings))
        either: set[asyncio.Future[Any]] = {self._simulator, listens}
        await asyncio.wait(either, timeout=ARRIVES_S, return_when=asyncio.FIRST_COMPLETED)
        assert listens.done(), "the simulator does not call `ready`"
        self.base = listens.result()
        self._session = aiohttp.ClientSession()
        self.deliveries = Deliveries(
            self._under_test, WatchedChannel(self._under_test.channel, self._watch), self.base
        )
        return self

    async def __aexit__(self, error: object, *_: object) -> None:
        state = await self.control("GET", "state") if error is None else {}
        if state.get("faults"):
            self._watch.broken.append("a fault of the simulator was not met by any request")
        await self._session.close()
        self._simulator.cancel()
        await asyncio.gather(self._simulator, return_exceptions=True)
        await self._sink.cleanup()

    async def control(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """Ask the simulator's control side; SimulatorRefused when it does not do what it is asked to."""
        async with self._session.request(method, f"{self.base}/control/{path}", json=body) as answer:
            if answer.status // 100 != 2:
                raise SimulatorRefused(
                    f"{method} /control/{path.split('?', maxsplit=1)[0]} is answered {answer.status}"
                )
            found: JsonObject = await answer.json()
            return found

    async def says(self, words: str) -> str:
        """The person writes; the provider's id of what she wrote."""
        return await self.does({"text": words})

    async def does(self, act: JsonObject) -> str:
        """The person does something; the provider's id of it ("" where it has none)."""
        told = await self.control("POST", "inbound", {"from": address_of(self._under_test).value, **act})
        return str(told.get("id") or "")

    async def posted(self) -> WebhookRequest:
        """The next webhook."""
        async with asyncio.timeout(ARRIVES_S):
            return await self._posted.get()

    async def fail_next(self, http: int) -> None:
        """The next send to the person is answered with this status."""
        await self.control("POST", "faults", {"next": 1, "error": {"http": http}})

    async def arrived(self) -> list[str]:
        """The words of all that the person was sent, in order."""
        person = address_of(self._under_test).value
        found = (await self.control("GET", f"messages?to={quote(person, safe='')}"))["messages"]
        return [str(message["body"]) for message in found]

    async def raw(self, request: ProviderRequest) -> ProviderResponse:
        """Make a call as it is given, past the channel."""
        asked: Any = {"data": request.body, "headers": dict(request.headers), "allow_redirects": False}
        async with self._session.request(request.method, request.url, **asked) as answer:
            return ProviderResponse(answer.status, dict(answer.headers), await answer.read())

    async def _take(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self._posted.put_nowait(
            WebhookRequest(request.method, dict(request.query), headers, await request.read())
        )
        return web.Response(status=200)


def address_of(under_test: ChannelUnderTest) -> Address:
    """The person's address."""
    found = under_test.channel.read_address(under_test.person)
    assert found is not None, "read_address() does not know the person's address"
    return found


async def answered(
    under_test: ChannelUnderTest, watch: Watch, content: Content, answers: Sequence[ProviderResponse | Break]
) -> Attempted:
    """What is known of one part after these answers, all of which must be asked for."""
    http_s = SHORT_HTTP_S if "silence" in answers else HTTP_S
    async with ScriptedProvider(answers) as provider:
        channel = WatchedChannel(under_test.channel, watch)
        attempted = await Deliveries(under_test, channel, provider.base, http_s).send(content)
        if provider.unused:
            watch.broken.append("an answer of the provider was not asked for")
        if provider.requests > len(answers):
            watch.broken.append("the provider was called again after the answer that was the end")
    return attempted
