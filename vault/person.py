"""One sender of a batch while it is being resolved; used by `vault.resolving` and `vault.binding` only."""

from dataclasses import dataclass, field

from schemas.addresses import Address
from vault.base import TenantSecrets
from vault.subjects import Sender, State

Entry = tuple[str, bytes]
"""(tenant, blind index)."""
Key = tuple[str, str]
"""(subject, tenant): the order in which rows are locked."""


@dataclass(slots=True, eq=False)
class Person:
    """One sender of a batch on its way to a subject; compared by identity."""

    sender: Sender
    tenant: str
    acted_ms: int
    """When the person acted: the earlier of the two times, so that neither clock can hide an act of before an erasure."""
    secrets: TenantSecrets
    entries: dict[Address, list[bytes]]
    all_entries: tuple[Entry, ...]
    """Every blind index under which the person may be known."""
    subject: str = ""
    created: bool = False
    dropped: bool = False
    state: State = "active"
    bound: list[Address] = field(default_factory=list)
    name_changed: bool = False
    hits: dict[Address, str] = field(default_factory=dict)
    """Subjects that the addresses reach already."""

    @property
    def key(self) -> Key:
        """The row of the subject found so far."""
        return self.subject, self.tenant
