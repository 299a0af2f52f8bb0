"""What people, business and provider say to each other through the simulated Graph API, beyond texts."""

from collections.abc import Awaitable, Callable
from typing import Any

from schemas.content import (
    Button,
    ButtonsContent,
    Content,
    ListContent,
    ListRow,
    ListSection,
    MediaContent,
    ReadMarkContent,
    TextContent,
)
from tests.integration import simulator_world
from tests.integration.whatsapp_world import OTHER, PERSON, World
from workers.channel import Failed, Submitted
from workers.inbound_values import (
    InboundAccountNews,
    InboundAddressChange,
    InboundEcho,
    InboundEdit,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
)


def run(scene: Callable[[World], Awaitable[None]], **settings: Any) -> None:
    simulator_world.run(World, scene, **settings)


def statuses(found: World) -> list[str]:
    return [value.status for value in found.values if isinstance(value, InboundStatus)]


def test_what_a_person_does_with_messages_and_addresses() -> None:
    """Reactions, edits, revocations and moves are reported; none of them opens the window."""

    async def scene(found: World) -> None:
        await found.write(reaction={"message_id": "wamid.0", "emoji": "😮"})
        await found.write(reaction={"message_id": "wamid.0"})
        await found.write(edit={"message_id": "wamid.1", "text": "neu"})
        await found.write(edit={"message_id": "wamid.1", "media": {"kind": "image", "caption": "Bild"}})
        await found.write(revoke={"message_id": "wamid.1"})
        await found.write(moves_to=OTHER)
        reacted, unreacted, edited, captioned, revoked, moved = found.values
        assert isinstance(reacted, InboundReaction)
        assert isinstance(unreacted, InboundReaction)
        assert (reacted.target, reacted.emoji, unreacted.emoji) == ("wamid.0", "😮", "")
        assert isinstance(edited, InboundEdit)
        assert isinstance(captioned, InboundEdit)
        assert (edited.target, edited.text, captioned.text) == ("wamid.1", "neu", "Bild")
        assert isinstance(revoked, InboundRevoke)
        assert revoked.target == "wamid.1"
        assert isinstance(moved, InboundAddressChange)
        assert ([a.value for a in moved.old], [a.value for a in moved.new]) == ([PERSON], [OTHER])
        for to in (PERSON, OTHER):
            closed = await found.send(to=to)
            assert isinstance(closed, Failed)
            assert closed.failure_class == "WINDOW"

    run(scene)


def test_a_person_whose_number_is_hidden() -> None:
    """Only her user id is there: in what she writes, in what reaches her, and in what is reported of it."""

    async def scene(found: World) -> None:
        await found.write(text="START", user_id="DE.1", hidden=True)
        (value,) = found.values
        assert isinstance(value, InboundMessage)
        assert [(a.kind, a.value) for a in value.addresses] == [("bsuid", "DE.1")]
        assert isinstance(await found.send(to="DE.1"), Submitted)
        await found.until(lambda: len(statuses(found)) == 3)
        reported = found.values[-1]
        assert isinstance(reported, InboundStatus)
        assert reported.recipient is not None
        assert reported.recipient.value == "DE.1"
        await found.write(moves_to="DE.2", user_id="DE.1", hidden=True)
        moved = found.values[-1]
        assert isinstance(moved, InboundAddressChange)
        assert ([a.value for a in moved.old], [a.value for a in moved.new]) == (["DE.1"], ["DE.2"])

    run(scene)


def test_staff_and_the_provider_speak_too() -> None:
    async def scene(found: World) -> None:
        status, answer = await found.control("POST", "/echo", {"to": PERSON, "text": "Ich rufe an"})
        assert status == 200
        (echoed,) = found.values
        assert isinstance(echoed, InboundEcho)
        assert (echoed.recipient.value, echoed.text, echoed.provider_id) == (
            PERSON, "Ich rufe an", answer["id"],
        )  # fmt: skip
        preference = {
            "wa_id": PERSON, "category": "marketing_messages", "value": "stop", "timestamp": 1731705721,
        }  # fmt: skip
        own = found.account.provider_account_id
        value = {"user_preferences": [preference]}
        await found.control("POST", "/news", {"field": "user_preferences", "value": value, "account": own})
        stopped = found.values[-1]
        assert isinstance(stopped, InboundOptOut)
        assert (stopped.account_ref, stopped.value) == (own, "stop")
        await found.control(
            "POST", "/news", {"field": "security", "value": {"event": "PIN_CHANGED"}, "at": 9}
        )
        told = found.values[-1]
        assert isinstance(told, InboundAccountNews)
        assert (told.account_ref, told.event, told.provider_time_ms) == ("", "pin_changed", 9_000)
        for path, wrong in (("/echo", {"to": "Ada", "text": "x"}), ("/news", {"field": "x", "value": 7})):
            assert (await found.control("POST", path, wrong))[0] == 422

    run(scene)


URL = "https://files.example/a.pdf"
SAID: list[tuple[Content, str, dict[str, Any]]] = [
    (
        MediaContent(type="media", kind="document", url=URL, caption="Preise", filename="a.pdf"),
        "Preise",
        {"media": {"kind": "document", "link": URL, "caption": "Preise", "filename": "a.pdf"}},
    ),
    (
        MediaContent(type="media", kind="audio", url=URL),
        "",
        {"media": {"kind": "audio", "link": URL}},
    ),
    (
        ButtonsContent(type="buttons", text="Wirklich?", buttons=[Button(id="y", title="Ja")]),
        "Wirklich?",
        {"buttons": [{"id": "y", "title": "Ja"}]},
    ),
    (
        ListContent(
            type="list",
            text="Was?",
            button="Wahl",
            sections=[ListSection(rows=[ListRow(id="r", title="A", description="mehr")])],
        ),
        "Was?",
        {
            "list": {
                "button": "Wahl",
                "sections": [{"title": None, "rows": [{"id": "r", "title": "A", "description": "mehr"}]}],
            }
        },
    ),
]


def test_media_buttons_and_lists_arrive() -> None:
    """Within the window, whole, and reported like a text."""

    async def scene(found: World) -> None:
        for content, _, _ in SAID:
            closed = await found.send(content)
            assert isinstance(closed, Failed)
            assert closed.failure_class == "WINDOW"
        await found.write(text="START")
        for content, _, _ in SAID:
            assert isinstance(await found.send(content), Submitted)
        assert [(m["body"], {k: m[k] for k in shown}) for m, (_, _, shown) in zip(
            await found.messages(), SAID, strict=True
        )] == [(body, shown) for _, body, shown in SAID]  # fmt: skip
        await found.until(lambda: len(statuses(found)) == 3 * len(SAID))

    run(scene)


def test_answers_and_read_marks_name_a_message_that_is_known() -> None:
    async def scene(found: World) -> None:
        written = (await found.write(text="Frage"))["id"]
        own = await found.send(TextContent(text="Antwort", in_reply_to=written))
        assert isinstance(own, Submitted)
        assert (await found.messages())[0]["in_reply_to"] == written
        assert isinstance(await found.send(TextContent(text="x", in_reply_to=own.provider_id)), Submitted)
        read = ReadMarkContent(type="read_mark", of=written)
        assert await found.send(read) == Submitted(f"read:{written}")
        _, content = await found.control("GET", "/reads")
        assert ([mark["id"] for mark in content["reads"]], content["count"]) == ([written], 1)
        for unknown in (
            TextContent(text="x", in_reply_to="wamid.unknown"),
            ReadMarkContent(type="read_mark", of="wamid.unknown"),
            ReadMarkContent(type="read_mark", of=own.provider_id),
        ):
            refused = await found.send(unknown)
            assert isinstance(refused, Failed)
            assert (refused.failure_class, refused.code) == ("PERM", 131009)
        assert len(await found.messages()) == 2
        await found.control("POST", "/faults", {"next": 1, "error": 131016})
        failed = await found.send(read)
        assert isinstance(failed, Failed)
        assert failed.failure_class == "RETRY"
        await found.control("DELETE", "")
        assert (await found.control("GET", "/reads"))[1]["count"] == 0

    async def restarted(found: World) -> None:
        assert isinstance(await found.send(TextContent(text="x", in_reply_to="wamid.before")), Submitted)
        assert isinstance(await found.send(ReadMarkContent(type="read_mark", of="wamid.before")), Submitted)

    run(scene)
    run(restarted, unknown_windows_open=True)
