"""The role `vault`: applies consents, subscriptions, deletions and tenants to the vault; it alone raises permissions and
writes fences (DESIGN §7, protocols §5–7)."""

from collections.abc import Sequence

from schemas.topics import CONSENTS, DELETIONS, SUBSCRIPTIONS, TENANTS
from streams.step.contract import Cursor, Effects, Item, Poison, Record
from vault.vault import Vault


class VaultHandler:
    """Handler of the step engine; its database is the vault."""

    role = "vault"
    topics: tuple[str, ...] = (DELETIONS, CONSENTS, SUBSCRIPTIONS, TENANTS)
    priority_topic: str | None = DELETIONS

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        """Decode and validate."""
        raise NotImplementedError

    def apply(self, cursor: Cursor, items: Sequence[Item], effects: Effects) -> None:
        """Apply events to the vault."""
        raise NotImplementedError

    def poisoned(self, cursor: Cursor, poison: Poison, effects: Effects) -> None:
        """Restrict the subject; UnreadableLedger when nobody knows whom the record concerns."""
        raise NotImplementedError

    def caught_up(self, cursor: Cursor, partitions: Sequence[int]) -> None:
        """Note that these partitions were read to their ends just now, by this incarnation of the database."""
        raise NotImplementedError
