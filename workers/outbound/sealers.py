"""Keys for what follows from sending: the permit's where the command holds a sealed block, else one asked for when needed."""

from schemas import clock
from schemas.envelope import Event, SealedBlock
from vault.keys import KeyNeed
from vault.vault import Vault
from workers.outbound.rendering import seal_personal
from workers.outbound.statuses import Sealer


def with_permit(gen: str, key: bytes) -> Sealer:
    """Seal under the content key that came with the permit."""

    def sealer(event: Event, personal: dict[str, str]) -> SealedBlock | None:
        return seal_personal(event, gen, key, personal)

    return sealer


def with_vault(vault: Vault) -> Sealer:
    """Seal under the content key of the event's month, made where missing; None once the person is erased.

    For commands without a block (Sealpost's own texts), which have no generation of their own. Blocks: use it in a thread.
    """

    def sealer(event: Event, personal: dict[str, str]) -> SealedBlock | None:
        need = KeyNeed(event.tenant, event.subject, "content", clock.month_of_ms(clock.to_ms(event.time)))
        with vault.transaction() as cursor:
            key = vault.sealing_keys(cursor, [need])[need]
            return seal_personal(event, need.gen, key, personal) if isinstance(key, bytes) else None

    return sealer
