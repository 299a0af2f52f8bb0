"""Reads the JSON of a webhook body so that it can be written again: what every channel's `split` begins with."""

import json
from typing import Any, NoReturn

import orjson

from workers.channel import UnparseableBody

NESTED_MAX = 254
"""Levels that orjson writes; it reads 1,024."""
NESTED_SPARE = 24
"""Levels that are put around an element on its way: fragment, record, sealed content."""


def load_body(body: bytes) -> Any:
    """JSON that can be written again; a lone surrogate (half an emoji in a name that was cut) becomes `?`
    instead of losing the whole body. UnparseableBody when it is none, or nested deeper than any provider nests.
    """
    found = _loads(body)
    if body.count(b"[") + body.count(b"{") > NESTED_MAX - NESTED_SPARE:
        probe = found
        for _ in range(NESTED_SPARE):
            probe = [probe]
        try:
            orjson.dumps(probe)
        except orjson.JSONEncodeError:
            raise UnparseableBody("an authentic body is nested too deeply") from None
    return found


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        text = json.dumps(json.loads(body, parse_constant=_no_constant), ensure_ascii=False)
        return orjson.loads(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise UnparseableBody("an authentic body is no JSON") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
