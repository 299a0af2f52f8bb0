"""The simulated Graph API over real HTTP, driven by the channel itself."""

import asyncio
import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from schemas import clock
from schemas.content import TemplateContent
from tests.integration import simulator_world
from tests.integration.whatsapp_world import OTHER, PERSON, World
from workers.channel import Failed, Submitted, Unclear
from workers.channels.whatsapp import simulator
from workers.inbound_values import InboundMessage, InboundStatus, InboundUnsupported

TEMPLATE = TemplateContent(name="order_ready", language="de", variables=["17"])


def run(scene: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    simulator_world.run(World, scene, **settings)


def statuses(found: World) -> list[str]:
    return [value.status for value in found.values if isinstance(value, InboundStatus)]


def test_a_person_writes_and_gets_an_answer() -> None:
    async def scene(found: World) -> None:
        written = await found.write(text="START")
        (value,) = found.values
        assert isinstance(value, InboundMessage)
        assert (value.text, value.name, value.provider_id) == ("START", "Ada", written["id"])
        assert PERSON.encode() in b64decode(written["id"].removeprefix("wamid."))
        submitted = await found.send("Größe 😮")
        assert isinstance(submitted, Submitted)
        await found.until(lambda: statuses(found) == ["sent", "delivered", "read"])
        reported = [value for value in found.values if isinstance(value, InboundStatus)]
        assert {(s.provider_id, s.echo) for s in reported} == {(submitted.provider_id, f"20261123{1:024x}.0")}
        (message,) = await found.messages()
        assert (message["to"], message["body"], message["id"]) == (PERSON, "Größe 😮", submitted.provider_id)
        assert clock.to_ms(message["at"]) <= clock.now_ms()
        assert await found.messages(f"?to=%2B{PERSON}") == [message]
        assert await found.messages(f"?to={OTHER}") == []
        assert await found.messages("?after=1") == []

    run(scene)


def test_everything_a_person_can_say() -> None:
    async def scene(found: World) -> None:
        await found.write(button={"id": "b", "title": "Ja"})
        await found.write(list={"id": "l", "title": "Nein"})
        await found.write(type="button", button={"id": "q", "title": "STOP"}, reply_to="wamid.0")
        await found.write(type="image", raw={"id": "1", "mime_type": "image/png"})
        await found.write(media={"kind": "audio", "voice": True})
        await found.write(media="video")
        await found.write(location={"latitude": 0, "longitude": 0})
        await found.write(contacts=[{"name": {"formatted_name": "Bob"}}], contact_request=True)
        await found.write(order={"catalog_id": "c", "product_items": []})
        await found.write(flow={"answers": ["no object"]})
        await found.write(type="unsupported", raw={})
        await found.write(text="again", id="wamid.same")
        await found.write(text="again", id="wamid.same", user_id="US.1")
        await found.write(text="passed on", forwarded=True, referral={"source_id": "9"})
        await found.write(text="group", group_id="g")
        kinds = [(v.kind, v.option_id) for v in found.values if isinstance(v, InboundMessage)]
        assert kinds == [
            ("button_reply", "b"), ("list_reply", "l"), ("button_reply", "q"),
            ("media", None), ("media", None), ("media", None), ("location", None), ("contacts", None), ("order", None),
            ("form_reply", None), ("unsupported", None), ("text", None), ("text", None), ("text", None),
        ]  # fmt: skip
        files = [m.kind for v in found.values if isinstance(v, InboundMessage) for m in v.media]
        assert files == ["image", "voice", "video"]
        forwarded = found.values[-2]
        assert isinstance(forwarded, InboundMessage)
        assert (forwarded.forwarded, forwarded.raw is not None) == (True, True)
        assert [getattr(v, "provider_id", None) for v in found.values].count("wamid.same") == 2
        assert isinstance(found.values[-1], InboundUnsupported)
        assert isinstance(await found.send(to="US.1"), Submitted)
        wrongs: tuple[dict[str, Any], ...] = (
            {"from": "Ada"}, {"text": 7}, {"button": {"id": "x"}}, {"at": "x"}, {"account": "x"}, {"media": "smell"},
            {"location": 7}, {"contacts": {}}, {"reaction": {"emoji": "x"}}, {"moves_to": "Ada"}, {"hidden": True},
            {"edit": {"message_id": "x"}},
        )  # fmt: skip
        for wrong in wrongs:
            status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "x", **wrong})
            assert status == 422, content
            assert next(iter(wrong)) in content["error"] or "edit" in wrong

    run(scene)


def test_the_service_window() -> None:
    async def scene(found: World) -> None:
        closed = await found.send()
        assert isinstance(closed, Failed)
        assert (closed.failure_class, closed.code) == ("WINDOW", 131047)
        await found.write(text="long ago", at=clock.now_ms() // 1000 - 90_000)
        assert isinstance(await found.send(), Failed)
        assert isinstance(await found.send(TEMPLATE), Submitted)
        await found.write(text="now")
        assert isinstance(await found.send(), Submitted)
        assert (await found.messages())[0]["template"]["variables"] == ["17"]

    run(scene)


def test_token_account_and_request_are_checked() -> None:
    async def scene(found: World) -> None:
        base = f"{found.base}/v25.0"
        wrong_token = await found.send(access=found.access(access_token="x"))
        assert isinstance(wrong_token, Failed)
        assert (wrong_token.failure_class, wrong_token.code, wrong_token.alarm) == ("AUTH", 190, True)
        wrong_number = await found.send(access=found.access(provider_account_id="1"))
        assert isinstance(wrong_number, Failed)
        assert (wrong_number.failure_class, wrong_number.code) == ("PERM", 100)
        url = f"{base}/{found.account.provider_account_id}/messages"
        good = {"messaging_product": "whatsapp", "to": PERSON, "type": "text", "text": {"body": "x"}}
        wrongs: list[tuple[dict[str, Any], int]] = [
            ({"messaging_product": "sms"}, 100),
            ({"to": None}, 100),
            ({"to": "Ada"}, 131009),
            ({"to": "15550783881"}, 131021),
            ({"text": {"body": ""}}, 100),
            ({"text": {"body": "x" * 4097}}, 100),
            ({"type": "image"}, 131008),
            ({"type": "poll"}, 131051),
            ({"type": ["text"]}, 100),
            ({"context": {}}, 131008),
            ({"type": "template", "template": {"name": "a"}}, 131008),
            ({"biz_opaque_callback_data": "x" * 513}, 100),
        ]
        for wrong, code in wrongs:
            async with found.session.post(
                url, json=good | wrong, headers={"Authorization": "Bearer token"}
            ) as answer:
                assert answer.status == 400
                assert (await answer.json())["error"]["code"] == code
        assert await found.messages() == []

    run(scene)


def test_throughput_and_pair_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def throughput(found: World) -> None:
        outcomes = [await found.send(TEMPLATE) for _ in range(8)]
        slow = [o for o in outcomes if isinstance(o, Failed)]
        assert slow
        assert {(o.failure_class, o.code, o.pair_only) for o in slow} == {("RATE", 130429, False)}

    async def pair(found: World) -> None:
        outcomes = [await found.send(TEMPLATE) for _ in range(46)]
        assert sum(isinstance(o, Submitted) for o in outcomes) == 45
        last = outcomes[-1]
        assert isinstance(last, Failed)
        assert (last.code, last.pair_only) == (131056, True)
        assert isinstance(await found.send(TEMPLATE, to=OTHER), Submitted)

    run(throughput, rate_per_s=0.01)
    monkeypatch.setattr(
        simulator, "PAIR_PER_S", 0.001
    )  # a busy machine may need longer than six seconds for them
    run(pair, pair_limit=True, rate_per_s=1_000.0)


def test_faults_before_and_after_accepting() -> None:
    async def scene(found: World) -> None:
        async def fault(**body: Any) -> None:
            status, content = await found.control("POST", "/faults", body)
            assert status == 200, content

        await fault(next=1, error=131016, retry_after_s=90)
        failed = await found.send(TEMPLATE)
        assert isinstance(failed, Failed)
        assert (failed.failure_class, failed.code, failed.retry_after_s) == ("RETRY", 131016, 90)
        await fault(to=PERSON, error=131026)
        assert isinstance(await found.send(TEMPLATE, to=OTHER), Submitted)
        assert isinstance(await found.send(TEMPLATE), Failed)
        assert isinstance(await found.send(TEMPLATE), Failed)
        await fault(clear=True)
        await fault(next=1, error={"http": 502})
        assert await found.send(TEMPLATE) == Unclear(502)
        assert len(await found.messages()) == 1
        await fault(next=1, error={"code": 131000, "http": 500}, when="after")
        assert isinstance(await found.send(TEMPLATE), Failed)
        assert len(await found.messages()) == 2
        for drop, accepted in (("before", 2), ("after", 3)):
            await fault(next=1, drop=drop)
            with pytest.raises(aiohttp.ClientError):
                await found.send(TEMPLATE)
            assert len(await found.messages()) == accepted
        await fault(next=1, delay_s=0.2)
        before_s = clock.boot_s()
        assert isinstance(await found.send(TEMPLATE), Submitted)
        assert clock.boot_s() - before_s >= 0.2
        status, content = await found.control("POST", "/faults", {"next": 1, "statuses": ["vanished"]})
        assert (status, "status" in content["error"]) == (422, True)

    run(scene)


def test_statuses_are_chosen_ordered_withheld_and_sent_by_hand() -> None:
    async def scene(found: World) -> None:
        await found.control("PUT", "/statuses", {"report": ["read", "sent"]})
        await found.send(TEMPLATE)
        await found.until(lambda: statuses(found) == ["read", "sent"])
        await found.control("PUT", "/statuses", {"report": []})
        submitted = await found.send(TEMPLATE)
        assert isinstance(submitted, Submitted)
        assert (await found.control("GET", "/state"))[1]["statuses_waiting"] == 0
        body = {"id": submitted.provider_id, "status": "failed", "code": 131049}
        assert (await found.control("POST", "/statuses", body))[0] == 200
        failed = found.values[-1]
        assert isinstance(failed, InboundStatus)
        assert (failed.provider_id, failed.error_code, failed.error_class) == (
            submitted.provider_id,
            131049,
            "UNREACH",
        )
        await found.control(
            "POST", "/faults", {"next": 1, "statuses": [{"status": "failed", "code": 131026}, "sent"]}
        )
        await found.send(TEMPLATE)
        await found.until(lambda: statuses(found)[-2:] == ["failed", "sent"])

    run(scene)


def test_webhooks_are_repeated_until_they_are_taken() -> None:
    async def scene(found: World) -> None:
        found.answers += [503, 500, 404]
        status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "START"})
        assert (status, content["status"]) == (503, 503)
        await found.until(lambda: bool(found.values))
        assert found.webhooks == 4
        found.answers += [503] * 3
        await found.send()
        await found.until(lambda: sorted(statuses(found)) == ["delivered", "read", "sent"])
        counts = (await found.control("GET", "/state"))[1]["webhooks"]
        assert counts["waiting"] == counts["dropped"] == 0
        assert counts["repeated"] >= 4

    run(scene)


def test_a_webhook_that_nobody_answers_is_502() -> None:
    async def scene(found: World) -> None:
        status, content = await found.control("POST", "/inbound", {"from": PERSON, "text": "START"})
        assert (status, content["status"]) == (502, 0)

    run(scene, webhook_url="http://127.0.0.1:9/nobody")


def test_forgetting() -> None:
    async def scene(found: World) -> None:
        await found.write(text="START")
        await found.send()
        await found.control("POST", "/faults", {"to": PERSON, "error": 131026})
        assert (await found.control("DELETE", ""))[0] == 204
        assert await found.messages() == []
        assert isinstance(await found.send(), Submitted), "the person still wrote"
        await found.control("DELETE", "?windows=close")
        assert isinstance(await found.send(), Failed)

    run(scene)


def test_five_thousand_messages_are_reported_cheaply(caplog: pytest.LogCaptureFixture) -> None:
    """Each status of each message, in order per message, in far fewer webhooks than statuses; nothing of it in the log."""
    caplog.set_level(logging.DEBUG)
    count, lanes = 5_000, 50

    async def scene(found: World) -> None:
        async def lane(n: int) -> None:
            for m in range(count // lanes):
                assert isinstance(await found.send(TEMPLATE, to=f"4915{n:04d}{m:04d}"), Submitted)

        await asyncio.gather(*(lane(n) for n in range(lanes)))
        await found.until(lambda: len(found.values) == count * 3)
        assert found.webhooks < count
        by_message: dict[str, list[str]] = {}
        for value in found.values:
            assert isinstance(value, InboundStatus)
            by_message.setdefault(value.provider_id, []).append(value.status)
        assert len(by_message) == count
        assert {tuple(order) for order in by_message.values()} == {("sent", "delivered", "read")}
        assert len(await found.messages()) == count

    run(scene, rate_per_s=1e9)
    shown = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith("asyncio")
    )
    assert "4915" not in shown
    assert "wamid" not in shown


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Host": "localhost:15000"}, 200),
        ({"Host": "rebound.example"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_no_web_site_asks_the_control_side(headers: dict[str, str], status: int) -> None:
    """A browser on this machine, led to this port by a foreign page or by a name rebound to it, gets nothing to read."""

    async def scene(found: World) -> None:
        async with found.session.get(f"{found.base}/control/messages", headers=headers) as answer:
            assert answer.status == status
            assert ("messages" in await answer.text()) == (status == 200)

    run(scene)
