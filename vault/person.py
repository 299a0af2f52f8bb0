"""One sender of a batch while it is being resolved, and the locks on subjects; used by the parts that bind addresses only."""

from dataclasses import dataclass, field

from schemas.addresses import Address
from streams.step.contract import Cursor
from vault.base import TenantSecrets, as_json
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
    returning: bool = False
    """An address of hers was an erased person's within the days for which that is known."""
    unknown: bool = False
    reachable_again: bool = False
    state: State = "active"
    bound: list[Address] = field(default_factory=list)
    moved: set[Entry] = field(default_factory=set)
    """Indexes of addresses that news of a change bound, and that no act with an own id has come with since."""
    unbound: list[tuple[str, Address]] = field(default_factory=list)
    """Addresses that were taken from other subjects."""
    name_changed: bool = False
    hits: dict[Address, str] = field(default_factory=dict)
    """Subjects that the addresses reach already."""

    @property
    def key(self) -> Key:
        """The row of the subject found so far."""
        return self.subject, self.tenant


def hold_subjects(cursor: Cursor, keys: set[Key]) -> dict[Key, State]:
    """Hold subjects FOR SHARE, in key order; their states."""
    if not keys:
        return {}
    cursor.execute(
        """select s.subject, s.tenant, s.state
           from json_to_recordset(%s::json) as a(subject uuid, tenant text)
           join vault.subjects s using (subject, tenant) order by s.subject, s.tenant for share of s""",
        [as_json([{"subject": subject, "tenant": tenant} for subject, tenant in sorted(keys)])],
    )
    return {(subject.hex, tenant): state for subject, tenant, state in cursor.fetchall()}
