"""The simulated Send API over real HTTP, driven by the channels themselves."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from schemas import clock
from schemas.content import Button, ButtonsContent, MediaContent, ReadMarkContent
from tests.integration import simulator_world
from tests.integration.meta_world import OTHER, PERSON, Instagram, Messenger
from tests.integration.simulator_world import SimulatorWorld
from workers.channel import Failed, Submitted, Unclear, echo_of
from workers.inbound_values import (
    Inbound,
    InboundEcho,
    InboundEdit,
    InboundEntry,
    InboundMessage,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundUnsupported,
    InboundWatermark,
)

World = Callable[[], SimulatorWorld]
Scene = Callable[[SimulatorWorld], Awaitable[None]]
pytestmark = pytest.mark.parametrize("world", [Messenger, Instagram], ids=lambda world: world.__name__)


def run(world: World, scene: Scene, **settings: Any) -> None:
    simulator_world.run(world, scene, **settings)


def statuses(found: SimulatorWorld) -> list[str]:
    return [value.status for value in found.values if isinstance(value, InboundStatus)]


def reads(found: SimulatorWorld) -> list[Inbound]:
    """What says that something was read."""
    kinds = InboundStatus | InboundWatermark
    return [value for value in found.values if isinstance(value, kinds) and value.status == "read"]


def test_a_person_writes_and_gets_an_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The echo carries our id; a delivery names the message where there is one; a read is a watermark on Messenger and names the
    message on Instagram; nothing of it in the log."""
    caplog.set_level(logging.DEBUG)

    async def scene(found: SimulatorWorld) -> None:
        written = await found.write(text="START")
        (value,) = found.values
        assert isinstance(value, InboundMessage)
        assert (value.text, value.provider_id) == ("START", written["id"])
        submitted = await found.send("Größe 😮")
        assert isinstance(submitted, Submitted)
        await found.until(lambda: bool(reads(found)))
        reported = [value for value in found.values if isinstance(value, InboundStatus)]
        middle = "delivered" if found.channel.name == "messenger" else "read"
        assert [(s.status, s.provider_id, s.echo) for s in reported] == [
            ("sent", submitted.provider_id, echo_of(f"20261123{1:024x}", 0)),
            (middle, submitted.provider_id, None),
        ]
        assert isinstance(reads(found)[0], InboundWatermark) == (found.channel.name == "messenger")
        (message,) = await found.messages()
        assert (message["to"], message["body"], message["id"]) == (
            PERSON,
            "Größe 😮",
            submitted.provider_id,
        )
        assert await found.messages(f"?to={PERSON}") == [message]
        assert await found.messages(f"?to={OTHER}") == await found.messages("?after=1") == []

    run(world, scene)
    shown = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("asyncio"))
    assert not any(word in shown for word in (PERSON, "START", "m_"))


def test_everything_that_can_be_sent_arrives(world: World) -> None:
    """Files, buttons with their ids, read marks; the echo of each carries our id."""

    async def scene(found: SimulatorWorld) -> None:
        read = (await found.write(text="START"))["id"]
        url = "https://files.example/birnen.jpg"
        await found.send(MediaContent(type="media", kind="image", url=url))
        asked = ButtonsContent(type="buttons", text="Ja?", buttons=[Button(id="y", title="Ja")])
        await found.send(asked)
        assert isinstance(await found.send(ReadMarkContent(type="read_mark", of=read)), Submitted)
        file, buttons = await found.messages()
        assert (file["type"], file["url"]) == ("image", url)
        assert (buttons["body"], buttons["buttons"]) == ("Ja?", [{"id": "y", "title": "Ja"}])
        assert (await found.control("GET", "/state"))[1]["read_marks"] == 1
        await found.until(lambda: statuses(found).count("sent") == 2)
        await found.write(quick_reply=buttons["buttons"][0])
        pressed = found.values[-1]
        assert isinstance(pressed, InboundMessage)
        assert (pressed.option_id, pressed.words) == ("y", "Ja")

    run(world, scene, statuses=("sent",))


ACTS: list[tuple[dict[str, Any], type[Inbound], dict[str, Any]]] = [
    ({"button": {"id": "b", "title": "Ja"}}, InboundMessage, {"provider_kind": "postback", "option_id": "b"}),
    ({"button": {"id": "b", "title": "Los"}, "ref": "t0k"}, InboundMessage, {"token": "t0k"}),
    ({"quick_reply": {"id": "q", "title": "Nein"}}, InboundMessage, {"option_id": "q", "words": "Nein"}),
    ({"text": "Hallo", "ref": "t0k", "reply_to": "m_0"}, InboundMessage, {"token": "t0k", "in_reply_to": "m_0"}),
    ({"text": "STOP", "standby": True}, InboundMessage, {"words": "STOP", "standby": True}),
    ({"media": [{"type": "image", "url": "https://x/y"}], "text": "Schau"}, InboundMessage,
     {"kind": "media", "provider_kind": "image", "words": "Schau"}),
    ({"media": [{"type": "like_heart"}]}, InboundMessage, {"kind": "media", "provider_kind": "like_heart"}),
    ({"sticker": 369239263222822}, InboundMessage, {"kind": "media", "provider_kind": "sticker"}),
    ({"location": {"lat": 52.5, "long": 13.4}}, InboundMessage, {"kind": "location"}),
    ({"story": {"id": "1", "url": "https://x/y"}, "text": "Schön"}, InboundMessage, {"words": "Schön"}),
    ({"media": [{"type": "fallback", "url": "My Documents/foo.doc"}]}, InboundMessage, {"kind": "unsupported"}),
    ({"ref": "t0k"}, InboundEntry, {"token": "t0k"}),
    ({"optin": "t0k"}, InboundEntry, {"token": "t0k"}),
    ({"edited": "m_1", "text": "neu"}, InboundEdit, {"target": "m_1", "text": "neu"}),
    ({"deleted": "m_1"}, InboundRevoke, {"target": "m_1"}),
    ({"reaction": {"mid": "m_1", "emoji": "👍"}}, InboundReaction, {"target": "m_1", "emoji": "👍"}),
    ({"reaction": {"mid": "m_1", "emoji": ""}}, InboundReaction, {"emoji": ""}),
    ({"colleague": "Guten Tag"}, InboundEcho, {"text": "Guten Tag"}),
    ({"type": "read", "raw": {"watermark": 1_764_000_000_000}}, InboundWatermark, {"watermark_ms": 1_764_000_000_000}),
    ({"type": "app_roles", "raw": {}}, InboundUnsupported, {"provider_kind": "app_roles"}),
    ({"change": {"field": "comments", "value": {"id": "1", "text": "START"}}}, InboundUnsupported, {"field": "comments"}),
]  # fmt: skip


def test_everything_a_person_can_do(world: World) -> None:
    """And what a colleague does: each act becomes its value."""

    async def scene(found: SimulatorWorld) -> None:
        for body, kind, fields in ACTS:
            await found.write(**body)
            value = found.values[-1]
            assert isinstance(value, kind), body
            assert {name: getattr(value, name) for name in fields} == fields, body
        assert len(found.values) == len(ACTS)
        for _ in range(2):
            await found.write(text="again", id="m_same")
        assert [getattr(v, "provider_id", None) for v in found.values].count("m_same") == 2

    run(world, scene)
    reached = {kind for _, kind, _ in ACTS} | {InboundStatus}
    not_of_meta = {name.__name__ for name in set(get_args(Inbound)) - reached}
    assert not_of_meta == {
        "InboundOptOut", "InboundAddressChange", "InboundTemplateStatus", "InboundAccountNews", "InboundAccountError",
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": "Ada"}, {"text": 7}, {"button": {"id": "x"}}, {"quick_reply": {}}, {"at": "x"}, {"account": "x"}, {"ref": 1},
        {"media": []}, {"media": [{}]}, {"location": {}}, {"reaction": {"mid": "m"}}, {"edited": 1}, {"deleted": 1},
        {"optin": 1}, {"colleague": 1}, {"change": {}},
    ],
)  # fmt: skip
def test_the_control_side_says_what_is_wrong(world: World, wrong: dict[str, Any]) -> None:
    async def scene(found: SimulatorWorld) -> None:
        status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "x", **wrong})
        assert status == 422, content
        assert next(iter(wrong)) in content["error"]

    run(world, scene)


def test_the_token_of_a_link_comes_back(world: World) -> None:
    """In a new thread with the button that was pressed or the first words, in one that exists by itself."""

    async def scene(found: SimulatorWorld) -> None:
        link = urlsplit(found.channel.chat_link(found.account.number, "Kampagne_7-x"))
        (token,) = parse_qs(link.query)["ref"]
        for how in ({"button": {"id": "start", "title": "Los"}}, {"text": "Hallo"}, {}):
            await found.write(ref=token, **how)
            value = found.values[-1]
            assert isinstance(value, InboundMessage | InboundEntry)
            assert value.token == "Kampagne_7-x"

    run(world, scene)


def test_the_service_window(world: World) -> None:
    async def scene(found: SimulatorWorld) -> None:
        await found.write(text="long ago", at=clock.now_ms() // 1000 - 90_000)
        closed = await found.send()
        assert isinstance(closed, Failed)
        assert (closed.failure_class, closed.code) == ("WINDOW", 10)
        await found.write(text="now")
        assert isinstance(await found.send(), Submitted)
        assert (await found.control("DELETE", ""))[0] == 204
        assert await found.messages() == []
        assert isinstance(await found.send(), Submitted), "the person still wrote"
        await found.control("DELETE", "?windows=close")
        assert isinstance(await found.send(), Failed)

    run(world, scene)


def test_token_page_and_request_are_checked(world: World) -> None:
    async def scene(found: SimulatorWorld) -> None:
        await found.write(text="START")
        base = f"{found.base}/v25.0"
        wrong_token = await found.send(access=found.access(access_token="x"))
        assert isinstance(wrong_token, Failed)
        assert (wrong_token.failure_class, wrong_token.code, wrong_token.alarm) == ("AUTH", 190, True)
        wrong_page = await found.send(access=found.access(provider_account_id="1"))
        assert isinstance(wrong_page, Failed)
        assert (wrong_page.failure_class, wrong_page.code) == ("PERM", 100)
        good = {"messaging_type": "RESPONSE", "recipient": {"id": PERSON}, "message": {"text": "x"}}
        wrongs: list[tuple[dict[str, Any], int]] = [
            ({}, 200),
            ({"message": {"text": " "}}, 400),
            ({"sender_action": "mark_seen"}, 400),
        ]
        for wrong, status in wrongs:
            url = f"{base}/me/messages"
            async with found.session.post(
                url, json=good | wrong, headers={"Authorization": f"Bearer {found.account.access_token}"}
            ) as answer:
                content = await answer.json()
                assert answer.status == status, wrong
                assert status == 200 or content["error"]["code"] == 100
        assert len(await found.messages()) == 1

    run(world, scene)


def test_throughput(world: World) -> None:
    async def scene(found: SimulatorWorld) -> None:
        await found.write(text="START")
        outcomes = [await found.send() for _ in range(8)]
        slow = [o for o in outcomes if isinstance(o, Failed)]
        assert slow
        assert {(o.failure_class, o.code) for o in slow} == {("RATE", 613)}

    run(world, scene, rate_per_s=0.01)


def test_faults_before_and_after_accepting(world: World) -> None:
    async def scene(found: SimulatorWorld) -> None:
        async def fault(**body: Any) -> None:
            status, content = await found.control("POST", "/faults", body)
            assert status == 200, content

        await found.write(text="START")
        await fault(next=1, error=1200, retry_after_s=90)
        failed = await found.send()
        assert isinstance(failed, Failed)
        assert (failed.failure_class, failed.code, failed.retry_after_s) == ("RETRY", 1200, 90)
        await fault(to=PERSON, error={"code": 10, "subcode": 2018108})
        blocked = await found.send()
        assert isinstance(blocked, Failed)
        assert blocked.failure_class == "UNREACH"
        await fault(clear=True)
        await fault(next=1, error={"code": 36000, "http": 200})
        inside = await found.send()
        assert isinstance(inside, Failed), "an error may come with HTTP 200"
        assert (inside.failure_class, inside.code) == ("PERM", 36000)
        await fault(next=1, error={"http": 502})
        assert await found.send() == Unclear(502)
        assert await found.messages() == []
        for drop, accepted in (("before", 0), ("after", 1)):
            await fault(next=1, drop=drop)
            with pytest.raises(aiohttp.ClientError):
                await found.send()
            assert len(await found.messages()) == accepted
        await found.until(lambda: "sent" in statuses(found))
        status, content = await found.control("POST", "/faults", {"next": 1, "statuses": ["failed"]})
        assert (status, "status" in content["error"]) == (422, True)

    run(world, scene)


def test_statuses_are_chosen_withheld_and_sent_by_hand_and_webhooks_repeated(world: World) -> None:
    async def scene(found: SimulatorWorld) -> None:
        await found.write(text="START")
        await found.control("PUT", "/statuses", {"report": []})
        submitted = await found.send()
        assert isinstance(submitted, Submitted)
        assert (await found.control("GET", "/state"))[1]["statuses_waiting"] == 0
        body = {"id": submitted.provider_id, "status": "sent"}
        assert (await found.control("POST", "/statuses", body))[0] == 200
        assert statuses(found) == ["sent"]
        known = 200 if found.channel.name == "messenger" else 422
        assert (await found.control("PUT", "/statuses", {"report": ["delivered"]}))[0] == known
        found.answers += [503, 500, 404]
        status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "JA"})
        assert (status, content["status"]) == (503, 503)
        await found.until(lambda: len(found.values) == 3)
        assert (await found.control("GET", "/state"))[1]["webhooks"]["repeated"] == 3

    run(world, scene)
