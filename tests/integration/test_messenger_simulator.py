"""The simulated Send API over real HTTP, driven by the channel itself."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from schemas import clock
from tests.integration import simulator_world
from tests.integration.messenger_world import OTHER, PAGE, PERSON, World
from workers.channel import Failed, Submitted, Unclear, echo_of
from workers.inbound_values import InboundMessage, InboundStatus, InboundUnsupported


def run(scene: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    simulator_world.run(World, scene, **settings)


def statuses(found: World) -> list[str]:
    return [value.status for value in found.values if isinstance(value, InboundStatus)]


def test_a_person_writes_and_gets_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The echo carries our id, the delivery names the message, the read is a watermark; nothing of it in the log."""
    caplog.set_level(logging.DEBUG)

    async def scene(found: World) -> None:
        written = await found.write(text="START")
        (value,) = found.values
        assert isinstance(value, InboundMessage)
        assert (value.text, value.provider_id) == ("START", written["id"])
        submitted = await found.send("Größe 😮")
        assert isinstance(submitted, Submitted)
        await found.until(lambda: any(isinstance(v, InboundUnsupported) for v in found.values))
        reported = [value for value in found.values if isinstance(value, InboundStatus)]
        assert [(s.status, s.provider_id, s.echo) for s in reported] == [
            ("sent", submitted.provider_id, echo_of(f"20261123{1:024x}", 0)),
            ("delivered", submitted.provider_id, None),
        ]
        (message,) = await found.messages()
        assert (message["to"], message["body"], message["id"]) == (
            PERSON,
            "Größe 😮",
            submitted.provider_id,
        )
        assert await found.messages(f"?to={PERSON}") == [message]
        assert await found.messages(f"?to={OTHER}") == await found.messages("?after=1") == []

    run(scene)
    shown = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith("asyncio"))
    assert not any(word in shown for word in (PERSON, "START", "m_"))


def test_everything_a_person_can_do() -> None:
    async def scene(found: World) -> None:
        await found.write(button={"id": "b", "title": "Ja"}, ref="t0k")
        await found.write(quick_reply={"id": "q", "title": "Nein"})
        await found.write(ref="t0k")
        await found.write(type="reaction", raw={"mid": "m_1", "action": "react", "emoji": "👍"})
        await found.write(text="again", id="m_same", reply_to="m_0")
        await found.write(text="again", id="m_same")
        kinds = [
            (v.kind, v.provider_kind, v.option_id) for v in found.values if isinstance(v, InboundMessage)
        ]
        assert kinds == [
            ("button_reply", "postback", "b"), ("button_reply", "quick_reply", "q"), ("unsupported", "referral", None),
            ("unsupported", "reaction", None), ("text", "text", None), ("text", "text", None),
        ]  # fmt: skip
        assert [getattr(v, "provider_id", None) for v in found.values].count("m_same") == 2
        for wrong in (
            {"from": "Ada"},
            {"text": 7},
            {"button": {"id": "x"}},
            {"at": "x"},
            {"account": "x"},
            {"ref": 1},
        ):
            status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "x", **wrong})
            assert status == 422, content
            assert next(iter(wrong)) in content["error"]

    run(scene)


def test_the_service_window() -> None:
    async def scene(found: World) -> None:
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

    run(scene)


def test_token_page_and_request_are_checked() -> None:
    async def scene(found: World) -> None:
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
            ({"messaging_type": "MESSAGE_TAG", "tag": "ACCOUNT_UPDATE"}, 400),
            ({"messaging_type": None}, 400),
            ({"recipient": {"id": "Ada"}}, 400),
            ({"recipient": None}, 400),
            ({"message": {"text": " "}}, 400),
            ({"message": {"text": "x" * 2001}}, 400),
            ({"message": {"text": "x", "metadata": "x" * 1001}}, 400),
        ]
        for wrong, status in wrongs:
            url = f"{base}/me/messages"
            async with found.session.post(
                url, json=good | wrong, headers={"Authorization": f"Bearer {PAGE.access_token}"}
            ) as answer:
                content = await answer.json()
                assert answer.status == status, wrong
                assert status == 200 or content["error"]["code"] == 100
        assert len(await found.messages()) == 1

    run(scene)


def test_throughput() -> None:
    async def scene(found: World) -> None:
        await found.write(text="START")
        outcomes = [await found.send() for _ in range(8)]
        slow = [o for o in outcomes if isinstance(o, Failed)]
        assert slow
        assert {(o.failure_class, o.code) for o in slow} == {("RATE", 613)}

    run(scene, rate_per_s=0.5)


def test_faults_before_and_after_accepting() -> None:
    async def scene(found: World) -> None:
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

    run(scene)


def test_statuses_are_chosen_withheld_and_sent_by_hand_and_webhooks_repeated() -> None:
    async def scene(found: World) -> None:
        await found.write(text="START")
        await found.control("PUT", "/statuses", {"report": []})
        submitted = await found.send()
        assert isinstance(submitted, Submitted)
        assert (await found.control("GET", "/state"))[1]["statuses_waiting"] == 0
        body = {"id": submitted.provider_id, "status": "delivered"}
        assert (await found.control("POST", "/statuses", body))[0] == 200
        assert statuses(found) == ["delivered"]
        found.answers += [503, 500, 404]
        status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "JA"})
        assert (status, content["status"]) == (503, 503)
        await found.until(lambda: len(found.values) == 3)
        assert (await found.control("GET", "/state"))[1]["webhooks"]["repeated"] == 3

    run(scene)
