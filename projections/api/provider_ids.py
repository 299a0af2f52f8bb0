"""What the provider calls a message that a person wrote, and where she wrote it: for whoever answers it, or marks it as read."""

from collections.abc import Callable
from dataclasses import dataclass, field

from projections.api.opening import Opening
from projections.api.reading import Reader
from schemas.ids import is_id
from vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Written:
    """A message of a person: the provider's id of it, personal data, and on which account of which channel it came."""

    provider_id: str = field(repr=False)
    channel: str
    account: str


FindWritten = Callable[[str, str, str], Written | None]
"""(tenant, subject, message) → what the provider calls it, and where it came; None when that person wrote no such message, or
it does not open."""


def provider_ids(vault: Vault, reader: Reader) -> FindWritten:
    """Looks into the read model of chats; blocking."""

    def find(tenant: str, subject: str, message: str) -> Written | None:
        row = reader.message(tenant, message) if is_id(message) else None
        if row is None or row["direction"] != "in" or row["subject"].replace("-", "") != subject:
            return None
        opening = Opening(vault, tenant, subject)
        opening.want("content", row["content_event"], row["content_type"] or "", "content", row["content"])
        found = opening.open().of("content").get("provider_id")
        return Written(found, row["channel"], row["account"]) if isinstance(found, str) else None

    return find
