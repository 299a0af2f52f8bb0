"""Cuts a text that is too long for one message of a channel into parts, each a span of the text.

A cut lies at the end of a paragraph, else of a sentence, else of a word, else between two characters as a reader sees them;
the white space at a cut belongs to no part. What is one character to a reader is cut only where it is longer than a part.
"""

import re
import unicodedata
from collections.abc import Iterator

PARTS_MAX = 10
"""Parts of one message. More is a document, not a message, and would hold the person's lane for minutes on channels with a
pair limit."""
BYTES_OF_A_CHARACTER = 4
"""The most that UTF-8 needs."""
LATE = 0.5
"""A paragraph or sentence ends a part only in the part's later half: no message of three words before one of four thousand."""

Span = tuple[int, int]
"""(from, to): offsets in characters into the whole text, `to` exclusive."""

_NO_BREAK = "\u00a0\u2007\u202f"
_SPACE = re.compile(rf"[^\S{_NO_BREAK}]+")
_PARAGRAPH = re.compile(rf"[^\S\n{_NO_BREAK}]*\n[^\S\n{_NO_BREAK}]*\n")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]]*\Z")
_WIDE_STOPS = "。！？"
_JOINER = "\u200d"
_TAIL_CHARACTERS = 8


def fits(text: str, max_characters: int, max_bytes: int = 0) -> bool:
    """True for a text that goes out as one part. `max_bytes`: of its UTF-8 form, 0 for no such limit."""
    return len(text) <= max_characters and (not max_bytes or len(_utf8(text)) <= max_bytes)


def cut(text: str, max_characters: int, max_bytes: int = 0) -> list[Span]:
    """The spans of the parts, in order, none empty; one, of all the text, where it fits. ValueError for limits that not every
    character fits into.

    Between two spans, before the first and behind the last, lies nothing but white space.
    """
    if max_characters < 1 or (max_bytes and max_bytes < BYTES_OF_A_CHARACTER):
        raise ValueError("a part must hold every character")
    if fits(text, max_characters, max_bytes):
        return [(0, len(text))]
    spans: list[Span] = []
    start, end = _behind_space(text, 0), _before_space(text, len(text))
    while start < end:
        limit = _reach(text, start, end, max_characters, max_bytes)
        stop = end if limit == end else _best_cut(text, start, limit)
        spans.append((start, stop))
        start = _behind_space(text, stop)
    return spans


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _reach(text: str, start: int, end: int, max_characters: int, max_bytes: int) -> int:
    """Where a part that begins at `start` must end at the latest."""
    reach = min(end, start + max_characters)
    if not max_bytes:
        return reach
    left = max_bytes
    for at in range(start, reach):
        left -= len(_utf8(text[at]))
        if left < 0:
            return at
    return reach


def _best_cut(text: str, start: int, limit: int) -> int:
    """Where the part ends, at most at `limit`, behind which there is more."""
    late = start + int((limit - start) * LATE)
    word = sentence = start
    for at in _word_ends(text, start, limit):
        word = max(word, at)
        if at < late:
            continue
        if _PARAGRAPH.match(text, at):
            return at
        if sentence == start and _SENTENCE_END.search(text[max(start, at - _TAIL_CHARACTERS) : at]):
            sentence = at
    wide = _last_wide_stop(text, late, limit)
    return next(
        (at for at in (max(sentence, wide), word) if at > start), _between_characters(text, start, limit)
    )


def _word_ends(text: str, start: int, limit: int) -> Iterator[int]:
    """Offsets at which white space begins, the last first; never `start` itself."""
    at = limit
    while at > start:
        if _is_space(text[at]) and not _is_space(text[at - 1]):
            yield at
        at -= 1


def _last_wide_stop(text: str, late: int, limit: int) -> int:
    """Behind the last full stop of a script that writes no space there; 0 where there is none."""
    return max(text.rfind(stop, late, limit) + 1 for stop in _WIDE_STOPS)


def _between_characters(text: str, start: int, limit: int) -> int:
    at = limit
    while at > start and _are_one(text, start, at):
        at -= 1
    return at if at > start else limit


def _are_one(text: str, start: int, at: int) -> bool:
    """True when the code points around `at` are (mostly after UAX 29) one character to a reader. `start`: where one begins."""
    before, behind = text[at - 1], text[at]
    if _JOINER in (before, behind) or unicodedata.category(behind).startswith("M") or _is_extender(behind):
        return True
    if before == "\r" and behind == "\n":
        return True
    if _is_flag(before) and _is_flag(behind):
        first = at
        while first > start and _is_flag(text[first - 1]):
            first -= 1
        return (at - first) % 2 == 1
    return _is_jamo(before) and _is_jamo(behind)


def _is_extender(character: str) -> bool:
    """Skin tones, the halves of Thai and Lao vowels that are written behind, and the letters of a flag's tag."""
    return (
        "\U0001f3fb" <= character <= "\U0001f3ff"
        or character in "\u0e33\u0eb3\uff9e\uff9f\u200c"
        or "\U000e0020" <= character <= "\U000e007f"
    )


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _is_jamo(character: str) -> bool:
    return "\u1100" <= character <= "\u11ff"


def _is_space(character: str) -> bool:
    return _SPACE.fullmatch(character) is not None


def _behind_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _before_space(text: str, at: int) -> int:
    while at and _is_space(text[at - 1]):
        at -= 1
    return at
