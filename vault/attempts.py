"""What the gate has answered for one message so far, for whoever explains it. Read only; decides nothing."""

from dataclasses import dataclass
from typing import Any

from schemas import topics
from schemas.clock import MS_PER_S
from schemas.envelope import Event
from schemas.ids import message_day
from streams.step.store import decode_outputs
from vault.base import VaultBase

_ATTEMPTS = """
select c.subject, c.part, c.attempt, c.at_ms, c.refusal, o.class, o.at_ms, o.outputs
from vault.claims c
left join lateral (
    select o.class, o.at_ms, o.outputs from vault.outcomes o
    where o.day = c.day and o.message = c.message and o.part = c.part and o.attempt = c.attempt
    order by o.definite desc limit 1
) o on true
where c.day = %s and c.message = %s and c.tenant = %s
order by c.part, c.attempt
"""
_BEHIND = """select coalesce(not bool_and(incarnation = vault.incarnation()), true),
    coalesce(vault.now_ms() - min(reached_ms) > %s, true) from vault.follower"""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One answer of the gate. `refusal`: why it said never; `outcome`: how the call ended, None while nobody knows; `reason` and
    `code`: those of the status event that followed. Milliseconds of the database's clock."""

    subject: str
    part: int
    attempt: int
    at_ms: int
    refusal: str | None
    outcome: str | None
    outcome_at_ms: int | None
    reason: str | None
    code: int | None


class AttemptsPart(VaultBase):
    """Looks at claims and outcomes."""

    def attempts(self, tenant: str, message: str) -> list[AttemptRecord]:
        """In order; [] for a message that the gate was never asked about, that is over the horizon, or another tenant's."""
        try:
            day = message_day(message)
        except ValueError:
            return []
        with self._statement() as cursor:
            cursor.execute(_ATTEMPTS, [day, message, tenant])
            return [_record(row) for row in cursor.fetchall()]

    def is_behind(self, *, needs_consent: bool) -> bool:
        """True while the gate waits because something may not be applied yet: after a restore for everything, else for what needs
        consent."""
        with self._statement() as cursor:
            row = cursor.execute(_BEHIND, [round(self.times.follower_behind_s * MS_PER_S)]).fetchone()
        restored, behind = row if row is not None else (True, True)
        return bool(restored or (needs_consent and behind))

    def last_inbound_ms(self, tenant: str, subject: str, account: str) -> int | None:
        """When the person last wrote to this account; None when they never did."""
        with self._statement() as cursor:
            row = cursor.execute(
                "select last_inbound_ms from vault.reach where subject = %s and tenant = %s and account = %s",
                [subject, tenant, account],
            ).fetchone()
        return None if row is None else row[0]


def _record(row: tuple[Any, ...]) -> AttemptRecord:
    subject, *rest, outputs = row
    columns: list[Any] = [*rest, *_said(outputs)]
    return AttemptRecord(subject.hex, *columns)


def _said(outputs: bytes | None) -> tuple[str | None, int | None]:
    """Reason and code of the status that an outcome was stored with; a released claim has none."""
    for output in decode_outputs(outputs) if outputs is not None else ():
        if output.topic == topics.STATUSES:
            data = Event.from_bytes(output.value).data
            return data.get("reason"), data.get("code")
    return None, None
