"""HTTP commands: one row an identity, with what it answered and what it has to produce (protocols §3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from streams.step.contract import Cursor, Output
from vault.base import VaultBase


@dataclass(frozen=True, slots=True)
class Recorded:
    """`new`: recorded now. `repeat`: same identity, same body: give the stored answer, and produce `outputs` again unless
    `produced`. `conflict`: same identity, another body: 409; answer and outputs are empty."""

    kind: Literal["new", "repeat", "conflict"]
    answer: bytes = b""
    outputs: tuple[Output, ...] = ()
    produced: bool = False


@dataclass(frozen=True, slots=True)
class UnproducedRequest:
    """A recorded command whose outputs may not be in Kafka."""

    tenant: str
    source: str
    request_id: str
    outputs: tuple[Output, ...]


class RequestsPart(VaultBase):
    """Commands by HTTP."""

    def find_request(
        self, cursor: Cursor, tenant: str, source: str, request_id: str, body_hash: bytes
    ) -> Recorded | None:
        """Look for the identity before doing the work; None when it is new."""
        raise NotImplementedError

    def record_request(
        self,
        cursor: Cursor,
        tenant: str,
        source: str,
        request_id: str,
        body_hash: bytes,
        answer: bytes,
        outputs: Sequence[Output],
        *,
        subject: str | None = None,
    ) -> Recorded:
        """Record a command in the caller's transaction; two at once: the second waits for the first and is its repeat or
        conflict (its own writes must then be rolled back). `subject`: deleted with that subject's erasure."""
        raise NotImplementedError

    def mark_produced(self, tenant: str, source: str, request_id: str) -> None:
        """All outputs are acked; committed at once."""
        raise NotImplementedError

    def unproduced(self, older_than_s: float, limit: int = 500) -> list[UnproducedRequest]:
        """Commands not marked for this long, oldest first: role clock produces and marks them."""
        raise NotImplementedError
