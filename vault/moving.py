"""A person is reached by another address from now on (decision 095): the old one reaches nobody, whoever has it next is another.

The provider's word is about whoever had the old address at that time, so an address that somebody bound later is let be. Nobody
is created: where nobody is known under the old address, nothing happens.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.addresses import Address
from streams.step.contract import Cursor
from vault.base import TenantSecrets, VaultBase
from vault.binding import address_rows, identity_keys, insert_addresses, link_subjects
from vault.errors import SubjectContended
from vault.person import hold_subjects

ROUNDS_MAX = 8
"""Looks at one change before it gives up: each means that somebody else bound or erased one of its subjects."""


@dataclass(frozen=True, slots=True)
class AddressChange:
    """`new` reaches the person whom `old` reached until `acted_at_ms` (milliseconds)."""

    tenant: str
    old: tuple[Address, ...] = field(repr=False)
    new: tuple[Address, ...] = field(repr=False)
    acted_at_ms: int


class Moved(NamedTuple):
    """Who that is; `unbound`: addresses that do not reach this subject any more; `bound`: those that reach `subject` now."""

    subject: str
    unbound: tuple[tuple[str, Address], ...] = ()
    bound: tuple[Address, ...] = ()

    def __repr__(self) -> str:
        return f"Moved({self.subject}, …)"


class _Row(NamedTuple):
    """A row of vault.addresses that one of the change's addresses has."""

    entry: bytes
    subject: str
    bound_ms: int


class MovingPart(VaultBase):
    """Changes of address."""

    def move_addresses(self, cursor: Cursor, change: AddressChange) -> Moved | None:
        """Let the new addresses reach the subject of the old ones, in the caller's transaction, and hold the subjects FOR SHARE
        until its end; None when nobody is known whom the change is about. A new address that reached another subject is taken
        from it, and the two are linked. Repeating it changes nothing. The transaction must be READ COMMITTED."""
        secrets = self._secrets([change.tenant], cursor)[change.tenant]
        rows = _hold(cursor, change, secrets)
        left = {a: rows[a] for a in change.old if a in rows and rows[a].bound_ms <= change.acted_at_ms}
        if not left:
            return None
        subject, *_ = link_subjects(cursor, change.tenant, {row.subject for row in left.values()})
        _delete(cursor, change.tenant, left.values())
        unbound = [(row.subject, address) for address, row in left.items()]
        wanted = [address for address in change.new if address not in change.old]
        if wanted and _erased_since(cursor, change, secrets, wanted):
            wanted = []
        bound = [a for a in wanted if a not in rows or rows[a].subject != subject]
        taken = {a: rows[a] for a in bound if a in rows}
        if taken:
            link_subjects(cursor, change.tenant, {subject, *(row.subject for row in taken.values())})
            _delete(cursor, change.tenant, taken.values())
            unbound += [(row.subject, address) for address, row in taken.items()]
        if bound:
            key = identity_keys(cursor, {(subject, change.tenant): secrets})[subject, change.tenant]
            own = [
                (change.tenant, secrets.address_entries(a)[0], subject, a, key, change.acted_at_ms)
                for a in bound
            ]
            won = insert_addresses(cursor, address_rows(own, moved=True))
            if len(won) < len(bound):
                raise SubjectContended("a new address was bound by somebody else meanwhile")
        return Moved(subject, tuple(unbound), tuple(bound))


def _hold(cursor: Cursor, change: AddressChange, secrets: TenantSecrets) -> Mapping[Address, _Row]:
    """The rows of old and new addresses, locked, their subjects held before: an erasure takes the locks in the same order."""
    wanted = dict.fromkeys((*change.old, *change.new))
    found = _rows(cursor, change.tenant, secrets, wanted, lock=False)
    for _ in range(ROUNDS_MAX):
        states = hold_subjects(cursor, {(row.subject, change.tenant) for row in found.values()})
        again = _rows(cursor, change.tenant, secrets, wanted, lock=True)
        if {row.subject for row in again.values()} <= {subject for subject, _ in states}:
            lost = {subject for (subject, _), state in states.items() if state == "lost"}
            return {address: row for address, row in again.items() if row.subject not in lost}
        found = again
    raise SubjectContended("subjects of a change of address kept changing")


def _rows(
    cursor: Cursor, tenant: str, secrets: TenantSecrets, addresses: Iterable[Address], *, lock: bool
) -> dict[Address, _Row]:
    """One look-up an entry, by its primary key: the planner knows nothing of entries (vault/sql/008)."""
    owner = {entry: address for address in addresses for entry in secrets.address_entries(address)}
    statement = "select subject, bound_ms from vault.addresses where entry = %s and tenant = %s "
    found: dict[Address, _Row] = {}
    for entry in sorted(owner):
        cursor.execute(statement + ("for update" if lock else ""), [entry, tenant])
        row = cursor.fetchone()
        if row is not None:
            found[owner[entry]] = _Row(entry, row[0].hex, row[1])
    return found


def _delete(cursor: Cursor, tenant: str, rows: Iterable[_Row]) -> None:
    for row in rows:
        cursor.execute("delete from vault.addresses where entry = %s and tenant = %s", [row.entry, tenant])


def _erased_since(
    cursor: Cursor, change: AddressChange, secrets: TenantSecrets, addresses: Sequence[Address]
) -> bool:
    """Whether a person of a new address was erased after the change: that was this one, who must not be reached there again."""
    for entry in (entry for address in addresses for entry in secrets.address_entries(address)):
        cursor.execute(
            "select from vault.erased_index where entry = %s and tenant = %s and t1_ms >= %s",
            [entry, change.tenant, change.acted_at_ms],
        )
        if cursor.fetchone() is not None:
            return True
    return False
