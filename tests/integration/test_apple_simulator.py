"""The simulated gateway over real HTTP, driven by the channel itself."""

import gzip
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest

from schemas import clock
from schemas.content import (
    Button,
    ButtonsContent,
    Content,
    ListContent,
    ListRow,
    ListSection,
    MediaContent,
)
from tests.integration import simulator_world
from tests.integration.simulator_world import SimulatorWorld
from tests.unit.channels.apple_payloads import BUSINESS, KEY, MSP_ID, PERSON, SECRET, connection
from workers.channel import Failed, Outcome, Submitted, Unclear
from workers.channels.apple import simulator, wire
from workers.channels.apple.channel import CHANNEL
from workers.inbound_values import InboundMessage, InboundOptOut
from workers.simulator import SimulatedAccount, SimulatorSettings

OTHER = "urn:mbid:another"
SHOP = SimulatedAccount(BUSINESS, BUSINESS, f"{MSP_ID}:{SECRET}")
BUTTONS = ButtonsContent(
    type="buttons", text="Ja?", buttons=[Button(id="j", title="Ja"), Button(id="n", title="Nein")]
)
LIST = ListContent(
    type="list", text="Was?", button="Wählen", sections=[ListSection(rows=[ListRow(id="b", title="Birnen")])]
)
FILE = MediaContent(type="media", kind="document", url="https://files.example/flyer.pdf", caption="Der Flyer")


class World(SimulatorWorld):
    """One business."""

    def __init__(self) -> None:
        super().__init__(CHANNEL, simulator.serve, SHOP, PERSON, connection(), "/v1")

    async def act(self, **body: Any) -> Any:
        """A person does something; the webhook must be taken. The value that came of it."""
        await self.write(**body)
        return self.values[-1]

    async def bodies(self, query: str = "") -> list[str]:
        """What is read in the simulator's record."""
        return [message["body"] for message in await self.messages(query)]


def run(scene: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    simulator_world.run(World, scene, **settings)


def failed(outcome: Outcome) -> tuple[Any, ...]:
    assert isinstance(outcome, Failed), outcome
    return outcome.failure_class, outcome.code, outcome.retry_after_s


def test_a_person_writes_and_gets_an_answer() -> None:
    """Before that nothing reaches her."""

    async def scene(found: World) -> None:
        assert failed(await found.send()) == ("UNREACH", 404, None)
        value = await found.act(text="START", intent="campaign_7", group="shop-3")
        assert isinstance(value, InboundMessage)
        assert (value.text, value.token, value.addresses[0].value) == ("START", "campaign_7", PERSON)
        submitted = await found.send("Größe 😮")
        assert isinstance(submitted, Submitted)
        (message,) = await found.messages(f"?to={quote(PERSON, safe='')}")
        assert (message["body"], message["id"]) == ("Größe 😮", submitted.provider_id)
        assert clock.to_ms(message["at"]) <= clock.now_ms()
        assert await found.bodies(f"?to={OTHER}") == await found.bodies("?after=1") == []

    run(scene)


@pytest.mark.parametrize(
    ("content", "type_"), [(BUTTONS, "interactive"), (LIST, "interactive"), (FILE, "richLink")]
)
def test_everything_that_can_be_sent(content: Content, type_: str) -> None:
    async def scene(found: World) -> None:
        await found.act(text="Hallo")
        assert isinstance(await found.send(content), Submitted)
        (message,) = await found.messages()
        shown = content.caption if isinstance(content, MediaContent) else getattr(content, "text", None)
        assert (message["type"], message["body"]) == (type_, shown)

    run(scene)


def test_an_answer_names_the_message_and_comes_twice_as_one() -> None:
    """As Apple posts it: two ids, one session."""

    async def scene(found: World) -> None:
        await found.act(text="Hallo")
        submitted = await found.send(BUTTONS)
        assert isinstance(submitted, Submitted)
        await found.act(button={"id": "j", "title": "Ja"}, session=submitted.provider_id)
        first, again = found.values[-2:]
        assert isinstance(first, InboundMessage)
        assert (first.kind, first.option_id, first.words) == ("button_reply", "j", "Ja")
        assert first.in_reply_to == submitted.provider_id
        assert first == again
        assert found.webhooks == 3
        row = await found.act(list={"id": "b", "title": "Birnen"})
        assert (row.kind, row.option_id) == ("list_reply", "b")

    run(scene)


def test_everything_a_person_can_do() -> None:
    async def scene(found: World) -> None:
        files = [{"url": "https://p.example/1", "mimeType": "image/png", "signature": "81"}]
        photo = await found.act(raw={"body": "\ufffc", "attachments": files})
        assert (photo.kind, photo.media[0].kind, photo.text) == ("media", "image", None)
        pigeon = await found.act(type="pigeon", raw={"body": "x"})
        assert (pigeon.kind, pigeon.provider_kind) == ("unsupported", "other")
        first, again = [await found.act(text="again", id="7c") for _ in range(2)]
        assert first.provider_id == again.provider_id == "7c"
        count = len(found.values)
        await found.write(event="typing")
        assert len(found.values) == count
        wrongs = (
            {"from": "a b"}, {"from": 5}, {"text": 7}, {"button": {"id": "x"}}, {"list": 5}, {"id": ""}, {"account": "x"},
            {"event": "x"}, {"type": 5}, {"intent": 5},
        )  # fmt: skip
        for wrong in wrongs:
            status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "x", **wrong})
            assert status == 422, content
            assert next(iter(wrong)) in content["error"]

    run(scene)


def test_who_closed_the_chat_is_not_reached_until_she_writes_again() -> None:
    async def scene(found: World) -> None:
        await found.act(text="START")
        closed = await found.act(event="closed")
        assert isinstance(closed, InboundOptOut)
        assert (closed.scope, closed.value) == ("all", "stop")
        refused = await found.send()
        assert failed(refused) == ("UNREACH", 410, None)
        assert isinstance(refused, Failed)
        assert (refused.opted_out, refused.message_only) == (True, False)
        assert (await found.control("GET", "/state"))[1]["closed"] == 1
        await found.act(event="typing")
        assert failed(await found.send()) == ("UNREACH", 410, None)
        await found.act(text="Hallo")
        assert isinstance(await found.send(), Submitted)
        declined = await found.act(**{"from": "tel:+4915112345678", "event": "closed"})
        assert declined.addresses[0].kind == "phone"
        assert (await found.control("DELETE", ""))[0] == 204
        assert isinstance(await found.send(), Submitted), "she still wrote once"
        await found.control("DELETE", "?chats=close")
        assert failed(await found.send())[0] == "UNREACH"

    run(scene)


def test_a_message_that_comes_again_is_shown_once() -> None:
    """Its id is ours, so that a repetition after an answer that was lost has the same."""

    async def scene(found: World) -> None:
        await found.act(text="Hallo")
        for _ in range(2):
            found.sent = 7
            assert isinstance(await found.send("einmal"), Submitted)
        assert await found.bodies() == ["einmal"]
        assert (await found.control("GET", "/state"))[1]["repeated"] == 1

    run(scene)


def test_token_business_and_request_are_checked() -> None:
    async def scene(found: World) -> None:
        await found.act(text="Hallo")
        for token in (f"{MSP_ID}:YW5vdGhlcg==", f"another:{SECRET}"):
            assert failed(await found.send(access=found.access(access_token=token))) == ("AUTH", 401, None)
        other = found.access(provider_account_id="another")
        assert failed(await found.send(access=other)) == ("AUTH", 403, None)
        bearer = wire.made_token({"iss": MSP_ID, "iat": 1}, KEY)
        headers = {
            "Authorization": f"Bearer {bearer}", "id": "1", "source-id": BUSINESS, "destination-id": PERSON,
        }  # fmt: skip
        whole = {
            "v": 1,
            "id": "1",
            "type": "text",
            "sourceId": BUSINESS,
            "destinationId": PERSON,
            "body": "x",
        }
        data = {"version": "1.0", "requestIdentifier": "r", "quick-reply": {"summaryText": "?", "items": []}}
        wrongs: list[dict[str, Any]] = [
            {"id": "2"}, {"v": 2}, {"body": ""}, {"type": "pigeon"}, {"type": "richLink"},
            {"type": "interactive", "interactiveData": {"bid": "b", "data": data}},
        ]  # fmt: skip
        bodies = [b"no json", b"\x1f\x8b", *(orjson.dumps(whole | wrong) for wrong in wrongs)]
        for body in bodies:
            async with found.session.post(f"{found.base}/v1/message", data=body, headers=headers) as answer:
                assert answer.status == 400
        packed = gzip.compress(orjson.dumps(whole))
        headers["Content-Encoding"] = "gzip"
        async with found.session.post(f"{found.base}/v1/message", data=packed, headers=headers) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        assert await found.bodies() == ["x"]

    run(scene)


def test_rates() -> None:
    async def scene(found: World) -> None:
        await found.act(text="Hallo")
        outcomes = [await found.send() for _ in range(4)]
        assert isinstance(outcomes[0], Submitted)
        assert failed(outcomes[-1]) == ("RATE", 429, 1.0)

    run(scene, rate_per_s=0.01)


def test_faults_before_and_after_accepting() -> None:
    async def scene(found: World) -> None:
        async def fault(**body: Any) -> None:
            status, content = await found.control("POST", "/faults", body)
            assert status == 200, content

        await fault(next=1, error=429, retry_after_s=90)
        assert failed(await found.send()) == ("RATE", 429, 90.0)
        await fault(to=PERSON, error=410)
        assert isinstance(await found.send(to=OTHER), Submitted)
        assert failed(await found.send()) == ("UNREACH", 410, None)
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
    """Each time with a token of its own."""

    async def scene(found: World) -> None:
        found.answers += [503, 500]
        status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "START"})
        assert (status, content["status"]) == (503, 503)
        await found.until(lambda: bool(found.values))
        assert (found.webhooks, len(found.values)) == (3, 1)
        assert (await found.control("GET", "/state"))[1]["webhooks"]["dropped"] == 0

    run(scene)


@pytest.mark.parametrize("token", [SECRET, f":{SECRET}", f"{MSP_ID}:YW5vdGhlcg=="])
def test_accounts_that_could_never_send_are_refused(token: str) -> None:
    account = SimulatedAccount(BUSINESS, BUSINESS, token)
    with pytest.raises(simulator.InvalidSimulatedAccount):
        simulator.GatewaySimulator(SimulatorSettings("http://127.0.0.1:9/", SECRET, (account,)))


def test_nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def scene(found: World) -> None:
        await found.act(text="Geheim 4711")
        await found.send("Antwort 4712")
        await found.send(access=found.access(access_token=f"another:{SECRET}"))

    run(scene)
    shown = "\n".join(record.getMessage() for record in caplog.records)
    assert not any(word in shown for word in (PERSON, "4711", "4712", SECRET, "Bearer"))
