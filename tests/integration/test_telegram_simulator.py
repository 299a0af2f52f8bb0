"""The simulated Bot API over real HTTP, driven by the channel itself."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from schemas import clock
from schemas.content import Button, ButtonsContent, Content, MediaContent, TextContent
from tests.integration import simulator_world
from tests.integration.simulator_world import SimulatorWorld
from tests.unit.channels.connection import Secrets
from workers.channel import Failed, Outcome, Submitted, Unclear
from workers.channels.telegram import send, simulator
from workers.channels.telegram.channel import CHANNEL
from workers.inbound_values import (
    InboundEdit,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundUnsupported,
)
from workers.outbound.provider import Attempted, ProviderCalls
from workers.simulator import SimulatedAccount

HTTP_S = 10.0
PERSON, OTHER = "7400000000001", "7400000000002"
TOKEN = "7000000001:token"
BOT = SimulatedAccount("7000000001", "shop_bot", TOKEN)


class World(SimulatorWorld):
    """One bot."""

    def __init__(self) -> None:
        super().__init__(CHANNEL, simulator.serve, BOT, PERSON, Secrets("webhook-secret"))

    async def act(self, **body: Any) -> Any:
        """A person does something; the webhook must be taken. The value that came of it."""
        await self.write(**body)
        return self.values[-1]

    async def deliver(self, content: Content) -> Attempted:
        """Send one part by the code that role outbound sends with."""
        address = CHANNEL.read_address(PERSON)
        assert address is not None
        calls = ProviderCalls(HTTP_S, clock.boot_s)
        try:
            return await calls.deliver(
                CHANNEL, content, address, self.access(), echo="", deadline_s=clock.boot_s() + HTTP_S
            )
        finally:
            await calls.close()

    async def queries(self) -> Any:
        """What became of the presses."""
        return (await self.control("GET", "/state"))[1]["queries"]

    async def bodies(self, query: str = "") -> list[str]:
        """The texts in the simulator's record."""
        return [message["body"] for message in await self.messages(query)]


def run(scene: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    simulator_world.run(World, scene, **settings)


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
        photo = await found.act(type="photo", caption="Schau")
        assert (photo.kind, photo.words, photo.media[0].ref) == ("media", "Schau", "AgADlarge")
        for kind in ("video", "animation", "audio", "voice", "video_note", "document", "sticker"):
            assert (await found.act(type=kind)).media[0].ref == f"AgAD{kind}"
        assert (await found.act(type="location", raw={"latitude": 1.0, "longitude": 2.0})).kind == "location"
        assert (await found.act(type="contact", raw={"phone_number": "+49151"})).kind == "contacts"
        assert (await found.act(type="poll", raw={"id": "1"})).kind == "unsupported"
        first, again = [await found.act(text="again", id=77) for _ in range(2)]
        assert first.provider_id == again.provider_id
        assert (await found.act(text="x", reply_to=16)).in_reply_to == f"{PERSON}:16"
        assert (await found.act(text="JA", forwarded=True)).words == ""
        edit = await found.act(text="neu", edited=True, id=77)
        assert isinstance(edit, InboundEdit)
        assert (edit.target, edit.text) == (first.provider_id, "neu")
        for emoji in ("👍", ""):
            liked = await found.act(reaction={"message": 77, "emoji": emoji})
            assert isinstance(liked, InboundReaction)
            assert (liked.target, liked.emoji) == (first.provider_id, emoji)
        assert isinstance(await found.act(text="START", group_id=-1001), InboundUnsupported)
        wrongs = (
            {"from": "Ada"}, {"from": "-5"}, {"text": 7}, {"button": {"id": "x"}}, {"at": "x"}, {"id": "x"}, {"account": "x"},
            {"event": "x"}, {"type": 5}, {"reaction": {"message": "x"}},
        )  # fmt: skip
        for wrong in wrongs:
            status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "x", **wrong})
            assert status == 422, content
            assert next(iter(wrong)) in content["error"]

    run(scene)


def test_everything_that_can_be_sent_arrives() -> None:
    """A file, an answer, a keyboard whose button comes back with its id and title."""

    async def scene(found: World) -> None:
        asked = await found.act(text="/start")
        url = "https://files.example/birnen.jpg"
        await found.send(MediaContent(type="media", kind="image", url=url, caption="Birnen"))
        await found.send(TextContent(text="Gern", in_reply_to=asked.provider_id))
        asking = ButtonsContent(type="buttons", text="Ja?", buttons=[Button(id="y", title="Ja")])
        assert isinstance(await found.send(asking), Submitted)
        photo, answer, keyboard = await found.messages()
        assert (photo["type"], photo["url"], photo["body"]) == ("photo", url, "Birnen")
        assert answer["reply_to"] == asked.provider_id
        pressed = await found.act(button=keyboard["buttons"][0])
        assert (pressed.option_id, pressed.words) == ("y", "Ja")

    run(scene)


def test_who_answers_a_press_ends_its_spinner() -> None:
    """Once, before the message; nothing is called for messages that answer no press. An old press does not hold its answer up."""

    async def scene(found: World) -> None:
        said = await found.act(text="/start")
        press = await found.act(button={"id": "y", "title": "Ja"})
        assert await found.queries() == {"unanswered": 1, "answered": 0, "refused": 0}
        for content in (TextContent(text="1"), TextContent(text="2", in_reply_to=said.provider_id)):
            assert isinstance(await found.deliver(content), Submitted)
        assert await found.queries() == {"unanswered": 1, "answered": 0, "refused": 0}
        answer = TextContent(text="3", in_reply_to=press.provider_id)
        assert isinstance(await found.deliver(answer), Submitted)
        assert await found.queries() == {"unanswered": 0, "answered": 1, "refused": 0}
        again = TextContent(text="4", in_reply_to=press.provider_id)
        assert isinstance(await found.deliver(again), Submitted)
        assert await found.queries() == {"unanswered": 0, "answered": 1, "refused": 1}
        assert await found.bodies() == ["1", "2", "3", "4"]
        assert "reply_to" not in (await found.messages())[2]

    run(scene)


def test_the_token_of_a_link_comes_back() -> None:
    async def scene(found: World) -> None:
        link = urlsplit(CHANNEL.chat_link(BOT.number, "Kampagne_7-x"))
        (token,) = parse_qs(link.query)["start"]
        assert (await found.act(text=f"/start {token}")).token == "Kampagne_7-x"

    run(scene)


def test_who_blocked_the_bot_is_not_reached_until_she_writes_again() -> None:
    async def scene(found: World) -> None:
        await found.act(text="/start")
        blocked = await found.act(event="blocked")
        assert isinstance(blocked, InboundOptOut)
        assert blocked.value == "stop"
        refused = await found.send()
        assert failed(refused) == ("UNREACH", 403, None)
        assert isinstance(refused, Failed)
        assert (refused.opted_out, refused.message_only) == (True, False)
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
        assert failed(await found.send(access=found.access(access_token="7000000001:x"))) == (
            "AUTH",
            401,
            None,
        )
        assert failed(await found.send(access=found.access(access_token="x"))) == ("AUTH", 404, None)
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


def test_rates(monkeypatch: pytest.MonkeyPatch) -> None:
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

    run(whole_bot, rate_per_s=0.01)
    monkeypatch.setattr(send, "PAIR_INTERVAL_S", 600.0)  # a busy machine may take longer than a second
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
        await found.send(access=found.access(access_token="7000000001:wrong"))

    run(scene)
    shown = "\n".join(record.getMessage() for record in caplog.records)
    assert not any(word in shown for word in (PERSON, "4711", "4712", ":token", "webhook-secret"))
