"""Claims and outcomes: insert-only rows in day partitions, the guard against sending twice (protocols §5)."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from schemas.clock import now_ms
from schemas.ids import is_id, message_day
from streams.step.contract import Cursor, Output
from streams.step.store import decode_outputs, encode_outputs
from vault.base import VaultBase, as_json

OutcomeClass = Literal["submitted", "failed", "retry", "unknown", "rejected", "expired"]
"""`retry` releases the claim: nobody took the message, the next permit is attempt + 1. All others settle it."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one attempt. `provider_index` from `Vault.provider_index`; `outputs`: the status events to produce, stored
    so that a redelivery writes the same bytes."""

    tenant: str
    message: str
    part: int
    attempt: int
    outcome: OutcomeClass
    outputs: tuple[Output, ...] = ()
    provider_index: bytes | None = None


@dataclass(frozen=True, slots=True)
class EchoSettlement:
    """A provider's status carried our echo: the provider took (message, part). `outputs`: MessageSubmitted."""

    tenant: str
    message: str
    part: int
    outputs: tuple[Output, ...] = ()
    provider_index: bytes | None = None


@dataclass(frozen=True, slots=True)
class ClaimInfo:
    """Whose message this is. `attempt` is the newest; `has_outcome` False means the call is under way or unknown."""

    message: str
    part: int
    tenant: str
    subject: str
    account: str
    purpose: str
    attempt: int
    has_outcome: bool


MessagePart = tuple[str, int]
ProviderId = tuple[str, str, str]
"""(tenant, channel, provider's message id)."""


class ClaimsPart(VaultBase):
    """What became of permits."""

    def settle(self, settlements: Sequence[Settlement]) -> list[tuple[Output, ...]]:
        """Write outcomes in one round trip, committed; one answer each, in order: what to produce now, which is the
        outcome that counts: what the provider took before every failure, else what was stored first (`vault.outcome_of`).
        Repeating it changes nothing. Attempt 0 stores nothing."""
        answers = [settlement.outputs for settlement in settlements]
        rows = [
            row for n, settlement in enumerate(settlements) if (row := _as_row(n, settlement)) is not None
        ]
        if rows:
            with self._statement() as cursor:
                cursor.execute("select n, outputs from vault.settle(%s::json)", [as_json(rows)], binary=True)
                for n, stored in cursor.fetchall():
                    answers[n] = tuple(decode_outputs(stored))
        return answers

    def settle_by_echo(self, cursor: Cursor, echoes: Sequence[EchoSettlement]) -> list[bool]:
        """Settle open or unknown claims as submitted, in the caller's transaction; True where this did it (produce the
        outputs), False where the outcome was known or there is no claim of this tenant."""
        rows = [row for n, echo in enumerate(echoes) if (row := _echo_row(n, echo)) is not None]
        done = [False] * len(echoes)
        if not rows:
            return done
        cursor.execute("select n from vault.settle_by_echo(%s::json)", [as_json(rows)])
        for (n,) in cursor.fetchall():
            done[n] = True
        return done

    def claims_of(self, cursor: Cursor, parts: Sequence[MessagePart]) -> Mapping[MessagePart, ClaimInfo]:
        """Claims by our own echo id; what is not there is foreign or over the horizon."""
        rows = [
            {"message": message, "part": part, "day": day}
            for message, part in dict.fromkeys(parts)
            if 0 <= part < 2**15 and (day := _day(message)) is not None
        ]
        if not rows:
            return {}
        cursor.execute(_INFO, [as_json(rows)])
        return {(info.message, info.part): info for info in map(_info, cursor.fetchall())}

    def part_ended(self, message: str, below: int) -> bool:
        """True when a part of the message before the part `below` is known not to have been sent, and will not be."""
        if not below or (day := _day(message)) is None:
            return False
        with self._statement() as cursor:
            cursor.execute(_PART_ENDED, {"day": day, "message": message, "below": below})
            return cursor.fetchone() is not None

    def by_provider_id(
        self, cursor: Cursor, ids: Sequence[ProviderId]
    ) -> Mapping[ProviderId, list[ClaimInfo]]:
        """Claims by the provider's message id, for statuses without echo. Several where each account of a channel counts anew."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        secrets = self._secrets({tenant for tenant, _, _ in wanted}, cursor)
        asked = {
            entry: each for each in wanted for entry in secrets[each[0]].entries("provider", each[1], each[2])
        }
        cursor.execute(
            """select o.provider_index, o.message, o.part
               from json_array_elements_text(%s::json) as a(entry)
               join vault.outcomes o on o.provider_index = decode(a.entry, 'hex')""",
            [as_json([entry.hex() for entry in asked])],
        )
        hits = [(asked[entry], message.hex, part) for entry, message, part in cursor.fetchall()]
        infos = self.claims_of(cursor, [(message, part) for _, message, part in hits])
        found: dict[ProviderId, list[ClaimInfo]] = {}
        for each, message, part in hits:
            info = infos.get((message, part))
            if info is not None and info.tenant == each[0]:
                found.setdefault(each, []).append(info)
        return found

    def provider_index(self, tenant: str, channel: str, provider_id: str) -> bytes:
        """Blind index of a provider's message id (which may contain a phone number)."""
        return self._secrets([tenant])[tenant].entries("provider", channel, provider_id)[0]

    def cancel(self, cursor: Cursor, tenant: str, message: str) -> None:
        """Refuse this message from now on (`cancelled`)."""
        if is_id(message):
            cursor.execute(
                "insert into vault.cancellations (message, tenant, at_ms) values (%s, %s, %s) on conflict do nothing",
                [message, tenant, now_ms()],
            )


_PART_ENDED = """select from generate_series(0, %(below)s - 1) as p(part)
cross join lateral vault.outcome_of(%(day)s, %(message)s, p.part::smallint) o
where o.class in ('failed', 'rejected', 'expired') limit 1"""
_INFO = """
select a.message, a.part, c.tenant, c.subject, c.account, c.purpose, c.attempt, exists (
    select from vault.outcomes o
    where o.day = a.day and o.message = a.message and o.part = a.part and o.class not in ('retry', 'unknown')
)
from json_to_recordset(%s::json) as a(day date, message uuid, part smallint)
cross join lateral (
    select * from vault.claims c where c.day = a.day and c.message = a.message and c.part = a.part
    order by c.attempt desc limit 1
) c
"""


def _info(row: tuple[Any, ...]) -> ClaimInfo:
    message, part, tenant, subject, account, purpose, attempt, has_outcome = row
    return ClaimInfo(message.hex, part, tenant, subject.hex, account, purpose, attempt, has_outcome)


def _day(message: str) -> str | None:
    try:
        return message_day(message).isoformat()
    except ValueError:
        return None


def _base64(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _as_row(n: int, settlement: Settlement) -> dict[str, Any] | None:
    day = _day(settlement.message)
    if day is None or settlement.attempt <= 0:
        return None
    return {
        "n": n,
        "day": day,
        "message": settlement.message,
        "part": settlement.part,
        "attempt": settlement.attempt,
        "class": settlement.outcome,
        "provider_index": _base64(settlement.provider_index),
        "outputs": _base64(encode_outputs(settlement.outputs)),
    }


def _echo_row(n: int, echo: EchoSettlement) -> dict[str, Any] | None:
    day = _day(echo.message)
    if day is None:
        return None
    return {
        "n": n,
        "tenant": echo.tenant,
        "day": day,
        "message": echo.message,
        "part": echo.part,
        "provider_index": _base64(echo.provider_index),
        "outputs": _base64(encode_outputs(echo.outputs)),
    }
