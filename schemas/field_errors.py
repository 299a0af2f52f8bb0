"""What is wrong with a request, in our words: the field as a JSON pointer (RFC 6901), and never its value.

pydantic tells where an error is by names that lead there, among them names of union members, which no body has. The value it
complains about is the very object in the body: that tells which of the names count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ERRORS_MAX = 50
"""Of one answer: a body may hold thousands of unknown fields."""
NAME_MAX_CHARACTERS = 64
"""A longer name is the caller's own and no field of ours: the pointer ends before it."""

_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not a known field",
    "json_invalid": "is not JSON",
    "model_type": "is not an object",
    "model_attributes_type": "is not an object",
    "string_pattern_mismatch": "does not have the expected form",
    "string_too_short": "is too short",
    "string_too_long": "is too long",
    "string_unicode": "is not valid Unicode",
    "union_tag_invalid": "is none of the known kinds",
    "union_tag_not_found": "is missing",
    "too_long": "has too many elements",
}
_SAFE_WORDS = ("literal_error", "enum", "greater_than", "greater_than_equal", "less_than", "less_than_equal")
"""Kinds of errors whose own words speak of the rule only."""

Part = str | int


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: a JSON pointer into the body, or a parameter's name; never its value."""

    pointer: str
    detail: str


UNREADABLE = FieldError("", "cannot be read as JSON")


def field_errors(errors: Sequence[Any], body: Any) -> list[FieldError]:
    """pydantic's errors in our words, each once."""
    if isinstance(body, bytes):
        return [FieldError("", "is not sent as JSON (Content-Type: application/json)")]
    return list(dict.fromkeys(field_error(error, body) for error in errors[:ERRORS_MAX]))


def field_error(error: Mapping[str, Any], body: Any) -> FieldError:
    """One of pydantic's errors in our words."""
    kind, where = str(error["type"]), tuple(error["loc"])
    if kind in _WORDS:
        words = _WORDS[kind]
    elif kind in _SAFE_WORDS or kind.endswith("_type"):
        words = str(error["msg"])
    elif kind == "value_error":
        words = str(error["msg"]).removeprefix("Value error, ")
    else:
        words = "is not valid"
    if where[:1] != ("body",):
        return FieldError(str(where[-1]) if where else "", words)
    if kind == "json_invalid":
        return FieldError("", words)
    return FieldError(_pointer(kind, where[1:], error, body), words)


def _pointer(kind: str, where: tuple[Part, ...], error: Mapping[str, Any], body: Any) -> str:
    behind: tuple[Part, ...] = ()
    if kind == "missing":
        where, behind = where[:-1], where[-1:]
    elif kind.startswith("union_tag_"):
        name = str(error.get("ctx", {}).get("discriminator", ""))
        behind = (name[1:-1],) if name.startswith("'") else ()
    wrong = error.get("input")
    places = sorted(_places(body, where, ()), key=lambda place: -len(place[0]))
    exact = (parts for parts, value in places if value is wrong or _has_name(value, wrong))
    parts = (*next(exact, places[0][0]), *behind)
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in _sayable(parts))


def _has_name(value: Any, wrong: Any) -> bool:
    """pydantic complains about a name in this object."""
    return isinstance(value, dict) and isinstance(wrong, str) and wrong in value


def _places(
    value: Any, names: tuple[Part, ...], parts: tuple[Part, ...]
) -> Iterator[tuple[tuple[Part, ...], Any]]:
    """Every place that these names can lead to when some of them are left out, with what stands there."""
    if not names:
        yield parts, value
        return
    first, rest = names[0], names[1:]
    is_field = isinstance(value, dict) and first in value
    if is_field or (isinstance(value, list) and isinstance(first, int) and first < len(value)):
        yield from _places(value[first], rest, (*parts, first))
    yield from _places(value, rest, parts)


def _sayable(parts: tuple[Part, ...]) -> Iterator[str]:
    for part in map(str, parts):
        if len(part) > NAME_MAX_CHARACTERS or any("\ud800" <= character <= "\udfff" for character in part):
            return
        yield part
