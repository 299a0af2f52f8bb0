"""State of the erasures of one subject. Times are the texts of the events; they stay readable for ever."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

STATE_VERSION = 1


class Erasure(BaseModel):
    """One erasure by its id: what has been reported of it, and what has been written about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    t0: str | None = None
    t1: str | None = None
    tr: str | None = None
    t3: str | None = None
    """As the certificate states it."""
    receipts: Mapping[str, str] = Field(default_factory=dict)
    """Store → when it was purged; the earliest receipt of a store counts."""
    refused: bool = False
    incomplete: bool = False
    erased: bool = False
    settled: bool = False


class State(BaseModel):
    """All erasures of a subject. One is the rule; a second request under another id is answered as well."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    erasures: Mapping[str, Erasure] = Field(default_factory=dict)

    def erasure(self, erasure: str) -> Erasure:
        """What is known of an erasure."""
        return self.erasures.get(erasure, Erasure())

    def with_erasure(self, erasure: str, now: Erasure) -> "State":
        """This state with another erasure."""
        return State(erasures={**self.erasures, erasure: now})


def load(raw: dict[str, Any] | None) -> State:
    """State of a row, or of a subject without one."""
    return State() if raw is None else State.model_validate(raw)
