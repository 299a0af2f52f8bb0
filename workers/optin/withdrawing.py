"""Withdrawals that do not come by the chat: from the preference page and from the API.

Recorded with the event in one transaction, so that what the vault has lowered is also said (role clock produces what stays);
while the vault's database is away they need Kafka only (protocols §3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from schemas import topics
from schemas.clock import now_ms, to_text
from schemas.events.consents import ConsentWithdrawn, Method
from schemas.events.registry import build
from schemas.ids import event_id, is_id, random_id
from streams.step.contract import Output
from streams.step.postgres import is_away
from vault.permissions import Lower
from vault.tenants import IdKeyMemory
from vault.vault import Vault
from workers.intake.producing import PRODUCE_LIMIT_S, Sends

ROLE = "api"
SOURCE = "withdrawal"
"""Of these commands in the vault's table of requests."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """One purpose on one channel."""

    channel: str
    purpose: str
    method: Method
    language: str | None = None


@dataclass(frozen=True, slots=True)
class _Written:
    """Events to be produced before the withdrawal is said, and the row that stands for them until they are."""

    tenant: str
    request: str
    outputs: tuple[Output, ...]


class Withdrawals:
    """Takes withdrawals of one installation."""

    def __init__(self, vault: Vault, producer: Sends) -> None:
        self._vault, self._producer = vault, producer
        self._id_keys = IdKeyMemory(vault.tenant_ids)

    async def withdraw(self, tenant: str, subject: str, wanted: Sequence[Withdrawal]) -> bool:
        """Lower the permissions at once where the vault can, all or none, and return when the events are in Kafka: they hold from
        then on. False when the tenant has no such subject."""
        written = await run_in_threadpool(self._record, tenant, subject, wanted)
        if written is None:
            return False
        await self._producer.send_all(written.outputs, PRODUCE_LIMIT_S)
        await run_in_threadpool(self._mark, written)
        return True

    def _record(self, tenant: str, subject: str, wanted: Sequence[Withdrawal]) -> _Written | None:
        if not is_id(subject):
            return None
        at_ms = now_ms()
        # Made first: when a commit gets no answer, the same events are produced, by us and perhaps by role clock.
        ids = self._id_keys.key(tenant)
        outputs = tuple(_withdrawn(ids, tenant, subject, one, at_ms) for one in wanted)
        written = _Written(tenant, random_id(), outputs)
        try:
            with self._vault.transaction() as cursor:
                state = self._vault.hold_active(cursor, tenant, subject)
                if state is None or state.state in ("erased", "lost"):
                    return None
                lowers = [Lower(tenant, subject, one.channel, one.purpose, at_ms) for one in wanted]
                self._vault.lower_permissions(cursor, lowers)
                self._vault.record_request(
                    cursor, tenant, SOURCE, written.request, b"", b"", outputs, subject=subject
                )
        except Exception as error:
            if not is_away(error):
                raise
        return written

    def _mark(self, written: _Written) -> None:
        try:
            self._vault.mark_produced(written.tenant, SOURCE, written.request)
        except Exception as error:
            # It holds; role clock produces the same events once more, which changes nothing.
            if not is_away(error):
                raise


def _withdrawn(ids: bytes, tenant: str, subject: str, wanted: Withdrawal, at_ms: int) -> Output:
    data = ConsentWithdrawn(
        purpose=wanted.purpose, method=wanted.method, language=wanted.language, acted_at=to_text(at_ms)
    )
    event = build(
        data,
        id=event_id(ids, random_id(), ROLE, "consent_withdrawn"),
        role=ROLE,
        tenant=tenant,
        subject=subject,
        at_ms=at_ms,
        channel=wanted.channel,
    )
    return Output(topics.CONSENTS, event.key(), event.to_bytes())
