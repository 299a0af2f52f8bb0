"""Keys for what follows from sending: the permit's while its lease lasts, else asked for in the vault."""

from schemas import clock
from schemas.envelope import Event, SealedBlock
from vault.keys import KeyNeed
from vault.permits import Permit
from vault.vault import Vault
from workers.outbound.rendering import seal_personal
from workers.outbound.statuses import Sealer


def sealer(vault: Vault, block: SealedBlock | None, permit: Permit | None) -> Sealer:
    """Seals under the content key of the command's block, or, where it has none, of the event's month (made where missing).

    None once the person is erased or the generation destroyed. May block: use it in a thread.
    """

    def seal(event: Event, personal: dict[str, str]) -> SealedBlock | None:
        gen = block.gen if block is not None else clock.month_of_ms(clock.to_ms(event.time))
        if permit is not None and permit.content_key is not None and clock.boot_s() < permit.deadline_s:
            return seal_personal(event, gen, permit.content_key, personal)
        need = KeyNeed(event.tenant, event.subject, "content", gen)
        with vault.transaction() as cursor:
            key = vault.sealing_keys(cursor, [need])[need]
            return seal_personal(event, gen, key, personal) if isinstance(key, bytes) else None

    return seal
