"""The simulated Bot API over real HTTP, driven by the channel itself."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from schemas import clock
from schemas.content import TextContent
from workers.channel import (
    Accepted,
    Failed,
    Inbound,
    InboundMessage,
    InboundOptOut,
    InboundUnsupported,
    Outcome,
    ProviderResponse,
    SimulatedAccount,
    SimulatorSettings,
    Submitted,
    Unclear,
    WebhookRequest,
    echo_of,
)
from workers.channels.telegram import simulator
from workers.channels.telegram.channel import CHANNEL

PERSON, OTHER = "7400000000001", "7400000000002"
TOKEN, WAIT_LIMIT_S = "7000000001:token", 20.0
BOT = SimulatedAccount("7000000001", "shop_bot", TOKEN)


class Secrets:
    """The connection's."""

    app_secret = "webhook-secret"
    verify_token = ""


@dataclass
class Access:
    """The bot as outbound knows it."""

    api_base_url: str
    access_token: str = TOKEN
    provider_account_id: str = BOT.provider_account_id


@dataclass
class World:
    """What a test drives and sees."""

    base: str
    session: aiohttp.ClientSession
    answers: list[int]
    """HTTP statuses of the next webhooks; 200 once it is empty."""
    values: list[Inbound] = field(default_factory=list)
    webhooks: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, request: web.Request) -> web.Response:
        """The webhook receiver: checks the proof, reads what it takes."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert CHANNEL.authenticate(WebhookRequest("POST", {}, headers, body), Secrets()) == Accepted()
        status = self.answers.pop(0) if self.answers else 200
        self.webhooks += 1
        if status == 200:
            self.values += [value for part in CHANNEL.split(body) for value in CHANNEL.parse(part.raw)]
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

    async def act(self, **body: Any) -> Any:
        """A person does something; the webhook must be taken. The value that came of it."""
        status, _ = await self.control("POST", "/inbound", {"from": PERSON, "name": "Ada", **body})
        assert status == 200
        return self.values[-1]

    async def bodies(self, query: str = "") -> list[str]:
        """The texts in the simulator's record."""
        _, content = await self.control("GET", f"/messages{query}")
        return [message["body"] for message in content["messages"]]

    async def send(self, text: str = "Hallo", to: str = PERSON, token: str = TOKEN) -> Outcome:
        """Send one part as outbound does; raises aiohttp.ClientError when there is no answer."""
        address = CHANNEL.read_address(to)
        assert address is not None
        echo = echo_of(f"20261125{1:024x}", 0)
        steps = CHANNEL.deliver(TextContent(text=text), address, Access(self.base, token), echo)
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
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with aiohttp.ClientSession() as session:
        found = World("", session, [])
        app = web.Application()
        app.add_routes([web.post("/hook", found.receive)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        wanted = SimulatorSettings(
            webhook_url=f"http://127.0.0.1:{runner.addresses[0][1]}/hook",
            app_secret=Secrets.app_secret,
            accounts=(BOT,),
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


def run(scene: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    async def play() -> None:
        async with world(**settings) as found:
            await scene(found)

    asyncio.run(play())


def failed(outcome: Outcome) -> tuple[Any, ...]:
    assert isinstance(outcome, Failed), outcome
    return outcome.failure_class, outcome.code, outcome.retry_after_s


def test_a_person_starts_and_gets_an_answer() -> None:
    """Before Start nothing reaches her."""

    async def scene(found: World) -> None:
        assert failed(await found.send()) == ("UNREACH", 400, None)
        value = await found.act(text="/start token_1")
        assert isinstance(value, InboundMessage)
        assert (value.text, value.name, value.addresses[0].value) == ("/start token_1", "Ada", PERSON)
        submitted = await found.send("Größe 😮")
        assert isinstance(submitted, Submitted)
        _, content = await found.control("GET", f"/messages?to={PERSON}")
        (message,) = content["messages"]
        assert (message["body"], message["id"]) == ("Größe 😮", submitted.provider_id)
        assert clock.to_ms(message["at"]) <= clock.now_ms()
        assert await found.bodies(f"?to={OTHER}") == await found.bodies("?after=1") == []
        assert (await found.control("GET", "/messages?after=x"))[0] == 422

    run(scene)


def test_everything_a_person_can_do() -> None:
    async def scene(found: World) -> None:
        button = await found.act(button={"id": "j", "title": "Ja"}, id=5)
        assert (button.kind, button.option_id, button.words) == ("button_reply", "j", "Ja")
        photo = await found.act(type="photo", raw=[{"file_id": "a"}])
        assert (photo.kind, photo.provider_kind) == ("unsupported", "photo")
        first, again = [await found.act(text="again", id=77) for _ in range(2)]
        assert first.provider_id == again.provider_id
        assert (await found.act(text="x", reply_to=16)).in_reply_to == f"{PERSON}:16"
        assert (await found.act(text="JA", forwarded=True)).words == ""
        assert (await found.act(text="neu", edited=True)).provider_kind == "edit"
        assert isinstance(await found.act(text="START", group_id=-1001), InboundUnsupported)
        wrongs = (
            {"from": "Ada"}, {"from": "-5"}, {"text": 7}, {"button": {"id": "x"}}, {"at": "x"}, {"id": "x"}, {"account": "x"},
            {"event": "x"}, {"type": 5},
        )  # fmt: skip
        for wrong in wrongs:
            status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "x", **wrong})
            assert status == 422, content
            assert next(iter(wrong)) in content["error"]

    run(scene)


def test_who_blocked_the_bot_is_not_reached_until_she_writes_again() -> None:
    async def scene(found: World) -> None:
        await found.act(text="/start")
        blocked = await found.act(event="blocked")
        assert isinstance(blocked, InboundOptOut)
        assert blocked.value == "stop"
        assert failed(await found.send()) == ("UNREACH", 403, None)
        assert (await found.act(event="unblocked")).value == "resume"
        assert isinstance(await found.send(), Submitted)
        await found.act(event="blocked")
        await found.act(text="Hallo")
        assert isinstance(await found.send(), Submitted)
        assert (await found.control("DELETE", ""))[0] == 204
        assert await found.bodies() == []
        assert isinstance(await found.send(), Submitted), "she still pressed Start"
        await found.control("DELETE", "?chats=close")
        assert failed(await found.send())[0] == "UNREACH"

    run(scene)


def test_token_and_request_are_checked() -> None:
    async def scene(found: World) -> None:
        assert failed(await found.send(token="7000000001:x")) == ("AUTH", 401, None)
        assert failed(await found.send(token="x")) == ("AUTH", 404, None)
        await found.act(text="/start")
        wrongs: list[tuple[bytes, str]] = [
            (b"no json", "parse"),
            (b"{}", "chat_id"),
            (b'{"chat_id": "@ada", "text": "x"}', "chat not found"),
            (b'{"chat_id": -1001, "text": "x"}', "chat not found"),
            (f'{{"chat_id": {PERSON}, "text": " "}}'.encode(), "text is empty"),
            (f'{{"chat_id": {PERSON}, "text": "{"x" * 4097}"}}'.encode(), "too long"),
        ]
        for body, words in wrongs:
            async with found.session.post(f"{found.base}/bot{TOKEN}/sendMessage", data=body) as answer:
                assert answer.status == 400
                said = await answer.json()
                assert (said["ok"], said["error_code"]) == (False, 400)
                assert words in said["description"]
        async with found.session.post(f"{found.base}/bot{TOKEN}/sendPigeon", data=b"{}") as answer:
            assert answer.status == 404
        assert await found.bodies() == []

    run(scene)


def test_rates() -> None:
    """429 with the wait, for the whole bot; one message a second and person where that is asked for."""

    async def whole_bot(found: World) -> None:
        await found.act(text="/start")
        outcomes = [await found.send() for _ in range(4)]
        assert isinstance(outcomes[0], Submitted)
        assert failed(outcomes[-1]) == ("RATE", 429, 1.0)

    async def person(found: World) -> None:
        await found.act(text="/start")
        await found.act(**{"from": OTHER, "text": "/start"})
        outcomes = [await found.send() for _ in range(4)]
        assert isinstance(outcomes[2], Submitted)
        assert failed(outcomes[3]) == ("RATE", 429, 1.0)
        assert isinstance(await found.send(to=OTHER), Submitted)

    run(whole_bot, rate_per_s=0.5)
    run(person, pair_limit=True, rate_per_s=1_000.0)


def test_faults_before_and_after_accepting() -> None:
    async def scene(found: World) -> None:
        async def fault(**body: Any) -> None:
            status, content = await found.control("POST", "/faults", body)
            assert status == 200, content

        await fault(next=1, error=429, retry_after_s=90)
        assert failed(await found.send()) == ("RATE", 429, 90.0)
        await fault(to=PERSON, error={"code": 403, "details": "user is deactivated"})
        assert isinstance(await found.send(to=OTHER), Submitted)
        assert failed(await found.send()) == ("UNREACH", 403, None)
        await fault(clear=True)
        for error, status in (({"http": 502}, 502), (500, 500)):
            await fault(next=1, error=error, when="after")
            assert await found.send() == Unclear(status)
        assert len(await found.bodies()) == 3
        for drop, accepted in (("before", 3), ("after", 4)):
            await fault(next=1, drop=drop)
            with pytest.raises(aiohttp.ClientError):
                await found.send()
            assert len(await found.bodies()) == accepted
        status, content = await found.control("POST", "/faults", {"next": 1, "statuses": ["read"]})
        assert (status, "statuses" in content["error"]) == (422, True)

    run(scene, unknown_windows_open=True)


def test_webhooks_are_repeated_until_they_are_taken() -> None:
    async def scene(found: World) -> None:
        found.answers += [503, 500]
        status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "START"})
        assert (status, content["status"]) == (503, 503)
        await found.until(lambda: bool(found.values))
        assert (found.webhooks, len(found.values)) == (3, 1)
        assert (await found.control("GET", "/state"))[1]["webhooks"]["dropped"] == 0

    run(scene)


def test_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def scene(found: World) -> None:
        await found.act(text="Geheim 4711")
        await found.send("Antwort 4712")
        await found.send(token="7000000001:wrong")

    run(scene)
    shown = "\n".join(record.getMessage() for record in caplog.records)
    assert not any(word in shown for word in (PERSON, "4711", "4712", ":token", "webhook-secret"))
