"""Keys for what follows from sending: the permit's while its lease lasts, else asked for in the vault."""

from collections.abc import Mapping

from schemas import clock
from schemas.envelope import SealedBlock
from vault.keys import KeyNeed
from vault.permits import Permit
from vault.vault import Vault
from workers.outbound.commands import Message
from workers.outbound.rendering import seal_personal
from workers.outbound.statuses import Sealer


def sealer(vault: Vault, message: Message, permit: Permit | None) -> Sealer:
    """Seals under the content key of the command's block, or, where it has none, of the event's month (made where missing).

    None once the person is erased or the generation destroyed. May block: use it in a thread.
    """

    def seal(event_id: str, event_type: str, at_ms: int, personal: Mapping[str, str]) -> SealedBlock | None:
        gen = message.block.gen if message.block is not None else clock.month_of_ms(at_ms)
        if permit is not None and permit.content_key is not None and clock.boot_s() < permit.deadline_s:
            return seal_personal(message, event_id, event_type, gen, permit.content_key, personal)
        need = KeyNeed(message.event.tenant, message.event.subject, "content", gen)
        with vault.transaction() as cursor:
            key = vault.sealing_keys(cursor, [need])[need]
            if not isinstance(key, bytes):
                return None
            return seal_personal(message, event_id, event_type, gen, key, personal)

    return seal
