"""What the provider calls a message that a person wrote: for whoever answers it, or marks it as read. Personal data."""

from collections.abc import Callable

from projections.api.opening import Opening
from projections.api.reading import Reader
from schemas.ids import is_id
from vault.vault import Vault

FindProviderId = Callable[[str, str, str], str | None]
"""(tenant, subject, message) → the provider's id; None when that person wrote no such message, or it does not open."""


def provider_ids(vault: Vault, reader: Reader) -> FindProviderId:
    """Looks into the read model of chats; blocking."""

    def find(tenant: str, subject: str, message: str) -> str | None:
        row = reader.message(tenant, message) if is_id(message) else None
        if row is None or row["direction"] != "in" or row["subject"].replace("-", "") != subject:
            return None
        opening = Opening(vault, tenant, subject)
        opening.want("content", row["content_event"], row["content_type"] or "", "content", row["content"])
        found = opening.open().of("content").get("provider_id")
        return found if isinstance(found, str) else None

    return find
