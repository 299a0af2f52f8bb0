"""Contents for the kit to send: each as large as a channel declares that it may be, or one larger."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import get_args

from schemas.content import (
    Button,
    ButtonsContent,
    Content,
    ContentKind,
    ListContent,
    ListRow,
    ListSection,
    MediaContent,
    MediaKind,
    ReadMarkContent,
    TemplateContent,
    TextContent,
)
from workers.channel import Capabilities

WORDS = "kit-words-7d21"
"""Stands in what is sent, and may stand nowhere in clear."""
URL = "https://files.example/kit-file-7d21"
MEDIA_KINDS: tuple[MediaKind, ...] = get_args(MediaKind)


@dataclass(frozen=True, slots=True)
class Limited:
    """A field of content with a limit: content that uses it up with `filler`, and content that is one above it."""

    field: str
    filler: str
    at: Content
    above: Content


def of_kind(kind: ContentKind, limits: Capabilities) -> Content:
    """Plain content of a kind, within the limits of a channel that has the kind, small for one that has not."""
    match kind:
        case "text":
            return TextContent(text=WORDS)
        case "template":
            return TemplateContent(name="kit_template", language="de", variables=[WORDS])
        case "media":
            return media(_captioned(limits))
        case "buttons":
            return _two_buttons("Ja")
        case "list":
            return _list("Ja")
        case "read_mark":
            return ReadMarkContent(type="read_mark", of=WORDS)


def media(kind: MediaKind, caption: str | None = None) -> MediaContent:
    """A file."""
    return MediaContent(type="media", kind=kind, url=URL, caption=caption)


def limited(limits: Capabilities) -> Iterator[Limited]:
    """Every field that the channel declares a limit for, of the kinds that it has."""
    kinds = limits.content_kinds
    if "text" in kinds:
        most = min(limits.text_max_characters, limits.text_max_bytes or limits.text_max_characters)
        yield _limited("text", "T", most, lambda text: TextContent(text=text))
    if "media" in kinds and limits.caption_max_characters:
        kind = _captioned(limits)
        yield _limited("caption", "C", limits.caption_max_characters, lambda text: media(kind, text))
    if "buttons" in kinds:
        yield _limited("button title", "B", limits.button_title_max_characters, _two_buttons)
    if "list" in kinds:
        yield _limited("row title", "R", limits.row_title_max_characters, _list)
    if "list" in kinds and limits.row_description_max_characters:
        most = limits.row_description_max_characters
        yield _limited("row description", "D", most, lambda text: _list("Ja", text))


def too_many(limits: Capabilities) -> Iterator[tuple[str, Content]]:
    """Content with more of something than the channel declares, and what it is."""
    kinds = limits.content_kinds
    if "media" in kinds:
        yield from (
            (f"media of kind {kind}", media(kind)) for kind in MEDIA_KINDS if kind not in limits.media_kinds
        )
        if not limits.caption_max_characters:
            yield "a caption", media(_captioned(limits), WORDS)
    if "buttons" in kinds and limits.buttons_max < _most(ButtonsContent, "buttons"):
        yield "buttons", _buttons(*(f"Ja {number}" for number in range(limits.buttons_max + 1)))
    if "list" in kinds and limits.list_rows_max < _most(ListSection, "rows"):
        yield "rows", _rows(limits.list_rows_max + 1)
    if "list" in kinds and not limits.row_description_max_characters:
        yield "a row's description", _list("Ja", "D")


def most_of(limits: Capabilities) -> Iterator[tuple[str, Content]]:
    """Content with as much of everything countable as the channel declares, and what it is."""
    kinds = limits.content_kinds
    if "media" in kinds:
        yield from ((f"media of kind {kind}", media(kind)) for kind in sorted(limits.media_kinds))
    if "buttons" in kinds:
        most = min(limits.buttons_max, _most(ButtonsContent, "buttons"))
        yield f"{most} buttons", _buttons(*(f"Ja {number}" for number in range(most)))
    if "list" in kinds:
        most = min(limits.list_rows_max, _most(ListSection, "rows"))
        yield f"{most} rows", _rows(most)


def _limited(field: str, filler: str, most: int, make: Callable[[str], Content]) -> Limited:
    return Limited(field, filler * most, make(filler * most), make(filler * (most + 1)))


def _buttons(*titles: str) -> ButtonsContent:
    buttons = [Button(id=f"kit-{number}", title=title) for number, title in enumerate(titles)]
    return ButtonsContent(type="buttons", text=WORDS, buttons=buttons)


def _captioned(limits: Capabilities) -> MediaKind:
    """A kind of file that the channel has: a picture if it can, for not every kind has words."""
    return next((kind for kind in MEDIA_KINDS if kind in limits.media_kinds), "image")


def _two_buttons(title: str) -> ButtonsContent:
    """As few as every provider shows."""
    return _buttons(title, "Nein")


def _list(title: str, description: str | None = None) -> ListContent:
    row = ListRow(id="kit-0", title=title, description=description)
    return ListContent(type="list", text=WORDS, button="Ja", sections=[ListSection(rows=[row])])


def _rows(count: int) -> ListContent:
    rows = [ListRow(id=f"kit-{number}", title=f"Ja {number}") for number in range(count)]
    return ListContent(type="list", text=WORDS, button="Ja", sections=[ListSection(rows=rows)])


def _most(model: type[ButtonsContent | ListSection], field: str) -> int:
    """How many the content model itself allows."""
    found = (getattr(one, "max_length", None) for one in model.model_fields[field].metadata)
    return int(next(most for most in found if most is not None))
