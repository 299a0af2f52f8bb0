"""Subjects and their addresses: find, state, reach (protocols §5–7). Find-or-create is in `vault.resolving`."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas.addresses import Address
from schemas.ids import is_id
from streams.step.contract import Cursor
from vault.base import VaultBase, as_json

State = Literal["active", "restricted", "erased", "lost"]


@dataclass(frozen=True, slots=True)
class SubjectState:
    """Where a subject stands; `erased_at_ms` is T1. `lost`: its keys were lost in a restore of the vault."""

    state: State
    erased_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """The account on which a person wrote last, and when (milliseconds)."""

    channel: str
    account: str
    last_inbound_ms: int


@dataclass(frozen=True, slots=True)
class Sender:
    """Who acted: all addresses that one provider value names for one person (at least one), on one account.

    `name` is the profile name, None when the provider said nothing. `acted_at_ms` is the broker's time of the raw record,
    `provider_at_ms` the provider's own time; both in milliseconds. `opens_window` is False for acts that are not a message
    (a preference, for example): they do not raise the reach. `creates` is False for what is no act of the person: it makes nobody
    known.
    """

    tenant: str
    channel: str
    account: str
    addresses: tuple[Address, ...]
    name: str | None
    acted_at_ms: int
    provider_at_ms: int
    opens_window: bool = True
    creates: bool = True

    def __repr__(self) -> str:
        return f"Sender({self.tenant}, {self.channel}, …)"


class ResolvedSender(NamedTuple):
    """Who that is. `created`: the subject is new (write SubjectCreated). `bound`: addresses that reach the subject from now on
    (one AddressBound each). `name_changed`: write ProfileUpdated. `dropped`: an erased person's act from before the erasure;
    nothing may be written, `subject` is empty. `unknown`: nobody has such an address, and the sender creates nobody; `subject` is
    empty too. `state` is `active` or `restricted`. `reachable_again`: the account was blocked, and this message ended it.
    `unbound`: addresses that were another subject's and do not reach it any more, each with that subject (one AddressUnbound
    each)."""

    subject: str
    created: bool = False
    bound: tuple[Address, ...] = ()
    name_changed: bool = False
    dropped: bool = False
    state: State = "active"
    unknown: bool = False
    reachable_again: bool = False
    returning: bool = False
    """Her address was an erased person's until lately: what she did before may be in the log under the erased subject."""
    unbound: tuple[tuple[str, Address], ...] = ()


class SubjectsPart(VaultBase):
    """Who is who."""

    def find_subject(self, tenant: str, address: Address) -> str | None:
        """The subject an address reaches now, or None. UnknownTenant when the tenant has no keys."""
        entries = self._secrets([tenant])[tenant].address_entries(address)
        with self._statement() as cursor:
            cursor.execute(
                """select d.subject from json_array_elements_text(%s::json) as a(entry)
                   cross join lateral (
                       select d.subject from vault.addresses d
                       where d.entry = decode(a.entry, 'hex') and d.tenant = %s limit 1
                   ) d limit 1""",
                [as_json([entry.hex() for entry in entries]), tenant],
            )
            row = cursor.fetchone()
        return row[0].hex if row else None

    def subject_state(self, tenant: str, subject: str) -> SubjectState | None:
        """State of a subject of this tenant; None when there is none (also when `subject` is no id)."""
        with self._statement() as cursor:
            return _state(cursor, tenant, subject, "")

    def hold_active(self, cursor: Cursor, tenant: str, subject: str) -> SubjectState | None:
        """`subject_state`, and the subject is held FOR SHARE until the caller's transaction ends: it cannot be erased before."""
        return _state(cursor, tenant, subject, "for share")

    def newest_reach(self, tenant: str, subject: str) -> Reach | None:
        """Where the person wrote last; None when it never did."""
        if not is_id(subject):
            return None
        with self._statement() as cursor:
            cursor.execute(
                """select channel, account, last_inbound_ms from vault.reach
                   where subject = %s and tenant = %s and last_inbound_ms is not null
                   order by last_inbound_ms desc, account limit 1""",
                [subject, tenant],
            )
            row = cursor.fetchone()
        return Reach(*row) if row else None

    def blocked_subjects(self) -> list[str]:
        """Subjects with a consent or deletion that could not be handled; later ones lie in the dead letters behind it."""
        with self._statement() as cursor:
            cursor.execute("select subject from vault.blocked order by since_ms, subject")
            return [subject.hex for (subject,) in cursor.fetchall()]

    def unblock(self, subject: str) -> None:
        """The operator has repaired the record: lift the restriction, so that the dead letters can be replayed in order."""
        with self.transaction() as cursor:
            cursor.execute("delete from vault.blocked where subject = %s", [subject])
            if cursor.rowcount:
                cursor.execute(
                    "update vault.subjects set state = 'active' where subject = %s and state = 'restricted'",
                    [subject],
                )


def _state(cursor: Cursor, tenant: str, subject: str, lock: Literal["", "for share"]) -> SubjectState | None:
    if not is_id(subject):
        return None
    statement = "select state, t1_ms from vault.subjects where subject = %s and tenant = %s "
    cursor.execute(statement + lock, [subject, tenant])
    row = cursor.fetchone()
    return SubjectState(*row) if row else None
