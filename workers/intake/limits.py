"""What a channel declares, against what a message says: the first thing that does not fit, named by its field. Pure.

The channel refuses the same before any call, and more (`rehearsing`); here the producer is told at once, and which field it is.
"""

from collections.abc import Iterator, Sequence

from schemas.content import ButtonsContent, Content, ListContent, MediaContent, ReadMarkContent
from schemas.field_errors import FieldError
from workers.channel import Capabilities


def misfit(limits: Capabilities, content: Content) -> FieldError | None:
    """The first field that the channel cannot carry; None when all fits. Texts over the limit are the caller's: they are cut."""
    if content.type not in limits.content_kinds:
        return FieldError("/content/type", "is a kind that this channel cannot send")
    return next(_misfits(limits, content), None)


def _misfits(limits: Capabilities, content: Content) -> Iterator[FieldError]:
    if isinstance(content, MediaContent):
        yield from _media(limits, content)
    elif isinstance(content, ButtonsContent):
        yield from _long("/content/text", content.text, limits.text_max_characters)
        yield from _many("/content/buttons", content.buttons, limits.buttons_max)
        for place, button in enumerate(content.buttons):
            yield from _long(
                f"/content/buttons/{place}/title", button.title, limits.button_title_max_characters
            )
        yield from _twice("/content/buttons", [button.id for button in content.buttons])
    elif isinstance(content, ListContent):
        yield from _list(limits, content)
    if not isinstance(content, ReadMarkContent) and getattr(content, "in_reply_to", None) is not None:
        yield from _replies(limits)


def _media(limits: Capabilities, content: MediaContent) -> Iterator[FieldError]:
    if content.kind not in limits.media_kinds:
        yield FieldError("/content/kind", "is a kind of file that this channel cannot send")
    if content.caption is not None:
        yield from _long("/content/caption", content.caption, limits.caption_max_characters)


def _list(limits: Capabilities, content: ListContent) -> Iterator[FieldError]:
    yield from _long("/content/text", content.text, limits.text_max_characters)
    rows = [row for section in content.sections for row in section.rows]
    yield from _many("/content/sections", rows, limits.list_rows_max)
    for place, section in enumerate(content.sections):
        if section.title is None and len(content.sections) > 1:
            yield FieldError(f"/content/sections/{place}/title", "is needed where there are several sections")
        for number, row in enumerate(section.rows):
            where = f"/content/sections/{place}/rows/{number}"
            yield from _long(f"{where}/title", row.title, limits.row_title_max_characters)
            if row.description is not None:
                most = limits.row_description_max_characters
                yield from _long(f"{where}/description", row.description, most)
    yield from _twice("/content/sections", [row.id for row in rows])


def _replies(limits: Capabilities) -> Iterator[FieldError]:
    if not limits.replies:
        yield FieldError("/reply_to", "this channel cannot show which message is answered")


def _long(pointer: str, text: str, most: int) -> Iterator[FieldError]:
    if not most:
        yield FieldError(pointer, "is nothing that this channel can show")
    elif len(text) > most:
        yield FieldError(pointer, f"is longer than this channel's {most} characters")


def _many(pointer: str, items: Sequence[object], most: int) -> Iterator[FieldError]:
    if len(items) > most:
        yield FieldError(pointer, f"holds more than the {most} that this channel shows")


def _twice(pointer: str, ids: Sequence[str]) -> Iterator[FieldError]:
    if len(set(ids)) < len(ids):
        yield FieldError(pointer, "holds an id twice: the answer would not tell which was meant")
