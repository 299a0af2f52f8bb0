"""The intake takes nothing that the channel refuses when it sends: its own renderer is asked, for all channels."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from schemas.addresses import Address
from schemas.content import Content
from schemas.field_errors import FieldError
from schemas.http import Refusal
from workers import registry
from workers.channel import AccountAccess, DeliverySteps, UnsupportedContent
from workers.intake.commands import check_limits
from workers.intake.rehearsing import objection

CONTENT: TypeAdapter[Content] = TypeAdapter(Content)
RED = "red-4711"


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def media(kind: str = "image", **more: Any) -> dict[str, Any]:
    return {"type": "media", "kind": kind, "url": f"https://example.org/{RED}.png", **more}


def buttons(words: str = "Birnen?", **button: Any) -> dict[str, Any]:
    listed = [{"id": "y", "title": "Ja", **button}, {"id": "n", "title": "Nein"}]
    return {"type": "buttons", "text": words, "buttons": listed}


def choice(words: str = "Was?", **more: Any) -> dict[str, Any]:
    rows = [{"id": "1", "title": "Birne"}]
    return {
        "type": "list",
        "text": words,
        "button": "Obst",
        "sections": [{"title": "Kern", "rows": rows}],
        **more,
    }


def option(id_: str) -> dict[str, Any]:
    return choice(sections=[{"rows": [{"id": id_, "title": "Birne"}]}])


def refusal(channel: str, content: dict[str, Any]) -> str | None:
    """The pointer of what the intake names; nothing of the content stands beside it."""
    found: tuple[FieldError, ...] = ()
    try:
        check_limits(registry.channel(channel), CONTENT.validate_python(content))
    except Refusal as refused:
        found = refused.errors
    for error in found:
        assert error.detail
        assert RED not in error.detail
    return found[0].pointer if found else None


@pytest.mark.parametrize(
    ("channel", "content"),
    [
        ("whatsapp", buttons("x" * 1_025)),
        ("whatsapp", buttons("x" * 4_096)),
        ("whatsapp", choice("x" * 1_025)),
        ("whatsapp", choice(button="x" * 21)),
        ("whatsapp", choice(sections=[{"title": "x" * 25, "rows": [{"id": "1", "title": "Birne"}]}])),
        ("whatsapp", buttons(title="Nein")),
        ("whatsapp", media(filename=f"{RED}.png")),
        ("whatsapp", media("audio", caption=RED)),
        ("instagram", buttons("ü" * 501)),
        ("instagram", media(filename=f"{RED}.png")),
        ("messenger", media("document", filename=f"{RED}.pdf")),
        ("telegram", buttons(id="ü" * 33)),
        ("telegram", option("x" * 65)),
        ("telegram", media("document", filename=f"{RED}.pdf")),
        ("apple", choice("x" * 401)),
        ("apple", choice(button="x" * 86)),
    ],
)  # fmt: skip
def test_what_the_channel_would_refuse_is_refused_at_once(channel: str, content: dict[str, Any]) -> None:
    assert refusal(channel, content) == "/content"


TAKEN: list[tuple[str, dict[str, Any]]] = [
    *(
        (channel, text(words))
        for channel in registry.channel_names()
        for words in ("Hallo", "Hallo! " * 1_000)
    ),
    ("whatsapp", buttons("x" * 1_024)),
    ("whatsapp", choice("x" * 1_024, button="x" * 20)),
    ("whatsapp", media("document", filename="Rechnung.pdf", caption="Birnen")),
    ("whatsapp", media("audio")),
    ("whatsapp", {"type": "template", "name": "offer", "language": "de"}),
    ("whatsapp", {"type": "read_mark"}),
    ("whatsapp", buttons() | {"in_reply_to": "wamid.1"}),
    ("instagram", buttons("ü" * 500)),
    ("messenger", media("document")),
    ("telegram", option("x" * 64)),
    ("telegram", text("Ja") | {"in_reply_to": "4711:17"}),
    ("apple", choice("x" * 400, button="x" * 85)),
    ("apple", media(filename="Rechnung.pdf")),
]


@pytest.mark.parametrize(("channel", "content"), TAKEN)
def test_what_the_channel_takes_is_taken(channel: str, content: dict[str, Any]) -> None:
    """Also a text that is cut; which chat an answered message stands in is not the content's matter."""
    assert refusal(channel, content) is None


@pytest.mark.parametrize("channel", registry.channel_names())
def test_every_channel_is_asked(channel: str) -> None:
    """Of each there is a sample of an address, so that its renderer speaks; an address nothing can be sent to is not used."""
    found = registry.channel(channel)
    too_long = CONTENT.validate_python(text("x" * 5_000))
    words = objection(found, too_long)
    assert words is not None
    assert "at most" in words
    assert objection(found, too_long, Address(channel, "opaque", RED)) is not None


class Refusing:
    """WhatsApp, if nothing went to one kind of its addresses."""

    def __init__(self, seen: list[Address]) -> None:
        self._seen = seen
        self._channel = registry.channel("whatsapp")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def deliver(self, content: Content, address: Address, account: AccountAccess, echo: str) -> DeliverySteps:
        self._seen.append(address)
        if address.kind == "bsuid":
            raise UnsupportedContent("not this one")
        return (yield from self._channel.deliver(content, address, account, echo))


def test_an_address_that_is_known_is_the_one_asked_with() -> None:
    seen: list[Address] = []
    known = Address("whatsapp", "bsuid", "DE.1234567890")
    channel: Any = Refusing(seen)
    assert objection(channel, CONTENT.validate_python(text("Ja")), known) == "not this one"
    assert seen == [known]
