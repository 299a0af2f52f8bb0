"""Reads webhook bodies: their JSON, so that it can be written again, and their parts as models."""

import json
from typing import Any, ClassVar, NoReturn, Self

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from workers.channel import UnparseableBody, UnparseableFragment

PARTS_MAX = 250_000
"""Objects and lists of one body. The largest real one, 3 MB of statuses, has some 100,000; what has more was made to cost time:
three million empty lists fit into a body, and are a second's work to build."""
NESTED_MAX = 254
"""Levels that orjson writes; it reads 1,024."""
NESTED_SPARE = 24
"""Levels that are put around an element on its way: fragment, record, sealed content."""


def load_body(body: bytes) -> Any:
    """JSON that can be written again; a lone surrogate (half an emoji in a name that was cut) becomes `?`
    instead of losing the whole body. UnparseableBody when it is none, or nested deeper than any provider nests.
    """
    opened = body.count(b"[") + body.count(b"{")
    if opened > PARTS_MAX:
        raise UnparseableBody("an authentic body has more parts than any provider sends")
    found = _loads(body)
    if opened > NESTED_MAX - NESTED_SPARE:
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


class Part(BaseModel):
    """A part of a webhook as the provider documents it; what it has besides is left out. `ID_FIELDS`: those without which
    nothing can be handled.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)
    ID_FIELDS: ClassVar[tuple[str, ...]] = ("id",)

    @classmethod
    def read(cls, raw: object) -> Self:
        """UnparseableFragment without its values when it is not what the provider documents: `no_id` where an id is the fault."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            faults = {problem["loc"] for problem in error.errors(include_input=False, include_url=False)}
            no_id = any((name,) in faults for name in cls.ID_FIELDS)
            raise UnparseableFragment("no_id" if no_id else "malformed") from None
