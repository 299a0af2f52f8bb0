"""Withdrawals that do not come by the chat: from the preference page and from the API. They need Kafka only (protocols §3)."""

from dataclasses import dataclass

from schemas import topics
from schemas.clock import now_ms, to_text
from schemas.events.consents import ConsentWithdrawn, Method
from schemas.events.registry import build
from schemas.ids import event_id, is_id, random_id
from streams.step.contract import Output
from streams.step.postgres import is_away
from vault.permissions import Lower
from vault.vault import Vault

ROLE = "api"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """One purpose on one channel of one subject."""

    tenant: str
    subject: str
    channel: str
    purpose: str
    method: Method
    language: str | None = None


class Withdrawals:
    """Records withdrawals of one installation; blocking."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._id_keys: dict[str, bytes] = {}

    def record(self, wanted: Withdrawal) -> Output | None:
        """Lower the permission at once where the vault can, and what has to be produced before it is said; None when the tenant
        has no such subject. While the vault's database is away the event alone withdraws."""
        if not is_id(wanted.subject):
            return None
        at_ms = now_ms()
        try:
            self._id_keys[wanted.tenant] = self._vault.tenant_ids(wanted.tenant)
            with self._vault.transaction() as cursor:
                state = self._vault.hold_active(cursor, wanted.tenant, wanted.subject)
                if state is None or state.state in ("erased", "lost"):
                    return None
                lower = Lower(wanted.tenant, wanted.subject, wanted.channel, wanted.purpose, at_ms)
                self._vault.lower_permissions(cursor, [lower])
        except Exception as error:
            if wanted.tenant not in self._id_keys or not is_away(error):
                raise
        data = ConsentWithdrawn(
            purpose=wanted.purpose, method=wanted.method, language=wanted.language, acted_at=to_text(at_ms)
        )
        event = build(
            data,
            id=event_id(self._id_keys[wanted.tenant], random_id(), ROLE, "consent_withdrawn"),
            role=ROLE,
            tenant=wanted.tenant,
            subject=wanted.subject,
            at_ms=at_ms,
            channel=wanted.channel,
        )
        return Output(topics.CONSENTS, event.key(), event.to_bytes())
