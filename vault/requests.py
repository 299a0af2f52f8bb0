"""HTTP commands: one row an identity, with what it answered and what it has to produce (protocols §3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Literal

from schemas.clock import MS_PER_S, now_ms
from streams.step.contract import Cursor, Output
from streams.step.store import decode_outputs, encode_outputs
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
        cursor.execute(
            """select body_hash, answer, outputs, produced from vault.requests
               where tenant = %s and source = %s and request = %s""",
            [tenant, source, request_id],
        )
        row = cursor.fetchone()
        return None if row is None else _recorded(row, body_hash)

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
        cursor.execute(
            """insert into vault.requests (tenant, source, request, body_hash, answer, outputs, subject, created_ms)
               values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing""",
            [tenant, source, request_id, body_hash, answer, encode_outputs(outputs), subject, now_ms()],
        )
        if cursor.rowcount:
            return Recorded("new", answer, tuple(outputs))
        found = self.find_request(cursor, tenant, source, request_id, body_hash)
        # Gone in between: an erasure or the horizon took the row; what was asked then is over.
        return found or Recorded("conflict")

    def mark_produced(self, tenant: str, source: str, request_id: str) -> None:
        """All outputs are acked; committed at once."""
        with self._statement() as cursor:
            cursor.execute(
                "update vault.requests set produced = true where tenant = %s and source = %s and request = %s and not produced",
                [tenant, source, request_id],
            )

    def unproduced(self, older_than_s: float, limit: int = 500) -> list[UnproducedRequest]:
        """Commands not marked for this long, oldest first: role clock produces and marks them."""
        before = now_ms() - round(older_than_s * MS_PER_S)
        with self._statement() as cursor:
            cursor.execute(
                """select tenant, source, request, outputs from vault.requests
                   where not produced and created_ms <= %s order by created_ms limit %s""",
                [before, limit],
            )
            return [
                UnproducedRequest(t, s, r, tuple(decode_outputs(raw))) for t, s, r, raw in cursor.fetchall()
            ]


def _recorded(row: tuple[Any, ...], body_hash: bytes) -> Recorded:
    stored_hash, answer, outputs, produced = row
    if not compare_digest(stored_hash, body_hash):
        return Recorded("conflict")
    return Recorded("repeat", answer, tuple(decode_outputs(outputs)), produced)
