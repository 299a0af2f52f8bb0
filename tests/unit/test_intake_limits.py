"""What a channel declares, against what a message says: the field is named, and never what stands in it."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from schemas.content import Content
from workers import registry
from workers.intake.limits import misfit

CONTENT: TypeAdapter[Content] = TypeAdapter(Content)
LIMITS = replace(
    registry.channel("whatsapp").capabilities,
    content_kinds=frozenset(("text", "media", "buttons", "list", "read_mark")),
    media_kinds=frozenset(("image",)),
    caption_max_characters=10,
    buttons_max=2,
    button_title_max_characters=5,
    list_rows_max=3,
    row_title_max_characters=5,
    row_description_max_characters=0,
    text_max_characters=20,
    replies=False,
)
PICTURE = {"type": "media", "kind": "image", "url": "https://example.org/pear.png"}
BUTTONS = {"type": "buttons", "text": "Birnen?", "buttons": [{"id": "y", "title": "Ja"}]}
LIST = {
    "type": "list",
    "text": "Was?",
    "button": "Obst",
    "sections": [{"rows": [{"id": "1", "title": "Birne"}]}],
}


def wrong(content: dict[str, Any]) -> str | None:
    """Pointer of the first field that does not fit."""
    found = misfit(LIMITS, CONTENT.validate_python(content))
    return found.pointer if found is not None else None


@pytest.mark.parametrize(
    "content", [PICTURE, BUTTONS, LIST, {"type": "read_mark"}, {"type": "text", "text": "x" * 99}]
)
def test_what_fits_fits(content: dict[str, Any]) -> None:
    """A text that is too long is cut elsewhere."""
    assert wrong(content) is None


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ({"type": "template", "name": "offer", "language": "de"}, "/content/type"),
        (PICTURE | {"kind": "video"}, "/content/kind"),
        (PICTURE | {"caption": "x" * 11}, "/content/caption"),
        (BUTTONS | {"text": "x" * 21}, "/content/text"),
        (BUTTONS | {"buttons": [{"id": str(n), "title": "Ja"} for n in range(3)]}, "/content/buttons"),
        (BUTTONS | {"buttons": [{"id": "y", "title": "Vielleicht"}]}, "/content/buttons/0/title"),
        (BUTTONS | {"buttons": [{"id": "y", "title": "Ja"}, {"id": "y", "title": "Nein"}]}, "/content/buttons"),
        (LIST | {"sections": [{"rows": [{"id": str(n), "title": "x"} for n in range(4)]}]}, "/content/sections"),
        (LIST | {"sections": [{"rows": [{"id": "1", "title": "Birnen"}]}]}, "/content/sections/0/rows/0/title"),
        (
            LIST | {"sections": [{"rows": [{"id": "1", "title": "x", "description": "y"}]}]},
            "/content/sections/0/rows/0/description",
        ),
        (
            LIST | {"sections": [{"title": "a", "rows": [{"id": "1", "title": "x"}]}, {"rows": [{"id": "2", "title": "x"}]}]},
            "/content/sections/1/title",
        ),
        ({"type": "text", "text": "x", "in_reply_to": "wamid.1"}, "/reply_to"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_by_its_field(content: dict[str, Any], pointer: str) -> None:
    assert wrong(content) == pointer


@pytest.mark.parametrize(
    "url", ["http://example.org/x", "https://user:secret@example.org/x", "file:///etc/passwd", "https://"]
)
def test_a_file_is_fetched_by_https_and_nothing_else(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        CONTENT.validate_python(PICTURE | {"url": url})
