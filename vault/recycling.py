"""A number that was given to somebody else: it leaves whom it reached, with no consent and no link (decision 097).

A person has one id of the kinds in ONE_PER_PERSON. Who brings another such id with a number is another person than the one whom
the number reached, unless the provider told of a change of address.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schemas.addresses import ONE_PER_PERSON, Address
from streams.step.contract import Cursor
from vault.person import Entry, Key, Person


class Separated(NamedTuple):
    """Known people whose hits are theirs, people whom nobody knows any more, and those who must be looked up again."""

    known: list[Person]
    strangers: list[Person]
    again: list[Person]


class _Row(NamedTuple):
    """Whom an address reaches, and since which act (milliseconds); `moved`: that was news of a change of address."""

    subject: str
    bound_ms: int
    moved: bool


def runs(people: Iterable[Person]) -> Iterator[list[Person]]:
    """Cut a batch before whoever brings a number that another person of the same run has brought: each stands in its place."""
    run: list[Person] = []
    owner: dict[tuple[str, Address], Address] = {}
    for person in people:
        own = [address for address in person.entries if address.kind in ONE_PER_PERSON]
        if own:
            shared = [(person.tenant, address) for address in person.entries if address not in own]
            if any(owner.get(one, own[0]) != own[0] for one in shared):
                yield run
                run, owner = [], {}
            owner.update(dict.fromkeys(shared, own[0]))
        run.append(person)
    yield run


def separate(cursor: Cursor, people: list[Person]) -> Separated:
    """Take numbers from subjects that are somebody else; the caller holds the subjects. Rows in doubt are locked in key order, so
    that of two who bring an id to the same number the second sees what the first has bound. An act from before the number
    was bound takes nothing: it is told by its own id alone."""
    rows = _lock(
        cursor, {(p.tenant, e) for p in people for address in _doubted(p) for e in p.entries[address]}
    )
    if not rows:
        return Separated(people, [], [])
    ids = {
        key: _ids(cursor, key) for key in sorted({(row.subject, tenant) for (tenant, _), row in rows.items()})
    }
    made = Separated([], [], [])
    taken: set[Entry] = set()
    for person in people:
        if not taken.isdisjoint(person.all_entries) or not _stand(person, rows):
            made.again.append(person)
            continue
        for address in _doubted(person):
            held = [row for e in person.entries[address] if (row := rows.get((person.tenant, e))) is not None]
            if _is_another(person, held, ids[person.hits[address], person.tenant]):
                _let_go(cursor, person, address, rows, taken)
        person.subject = next(iter(person.hits.values()), "")
        (made.known if person.subject else made.strangers).append(person)
    return made


def confirm(cursor: Cursor, people: list[Person]) -> None:
    """A number that news had moved has come with the id of its person: from now on another id is another person's."""
    come = {
        (entry, tenant, person.subject)
        for person in people
        if any(address.kind in ONE_PER_PERSON for address in person.entries)
        for tenant, entry in person.moved.intersection(person.all_entries)
    }
    for each in sorted(come):
        cursor.execute(
            "update vault.addresses set moved = false where entry = %s and tenant = %s and subject = %s", each
        )


def _doubted(person: Person) -> list[Address]:
    """Addresses that reach another subject than the person's own id does, or than nobody whom it reaches yet."""
    own = [address for address in person.entries if address.kind in ONE_PER_PERSON]
    mine = {person.hits[address] for address in own if address in person.hits}
    return [a for a, subject in person.hits.items() if own and a not in own and subject not in mine]


def _lock(cursor: Cursor, entries: set[Entry]) -> dict[Entry, _Row]:
    """One look-up an entry, by its primary key: the planner knows nothing of entries (vault/sql/008)."""
    found: dict[Entry, _Row] = {}
    for tenant, entry in sorted(entries, key=lambda one: (one[1], one[0])):
        cursor.execute(
            "select subject, bound_ms, moved from vault.addresses where entry = %s and tenant = %s for update",
            [entry, tenant],
        )
        row = cursor.fetchone()
        if row is not None:
            found[tenant, entry] = _Row(row[0].hex, row[1], row[2])
    return found


def _ids(cursor: Cursor, key: Key) -> dict[bytes, int]:
    """The subject's ids of which a person has one: blind index → when it was bound (milliseconds)."""
    cursor.execute(
        "select entry, bound_ms from vault.addresses where subject = %s and tenant = %s and kind = any(%s)",
        [*key, sorted(ONE_PER_PERSON)],
    )
    return dict(cursor.fetchall())


def _stand(person: Person, rows: dict[Entry, _Row]) -> bool:
    """Whether what was looked up still held when it was locked."""
    return all(
        any(
            (row := rows.get((person.tenant, entry))) is not None and row.subject == person.hits[address]
            for entry in person.entries[address]
        )
        for address in _doubted(person)
    )


def _is_another(person: Person, held: list[_Row], ids: dict[bytes, int]) -> bool:
    """A new number brings a new id: ids of before the provider moved the number to the subject are not held against anybody."""
    moved_ms = max((row.bound_ms for row in held if row.moved), default=-1)
    since = {entry for entry, bound_ms in ids.items() if bound_ms >= moved_ms}
    return bool(since) and since.isdisjoint(entry for _, entry in person.all_entries)


def _let_go(
    cursor: Cursor, person: Person, address: Address, rows: dict[Entry, _Row], taken: set[Entry]
) -> None:
    """The number leaves the other subject, or this act, when that is older."""
    held = [entry for entry in person.entries[address] if (person.tenant, entry) in rows]
    subject = person.hits.pop(address)
    if not person.sender.creates or any(rows[person.tenant, e].bound_ms > person.acted_ms for e in held):
        gone = {(person.tenant, entry) for entry in person.entries.pop(address)}
        person.all_entries = tuple(entry for entry in person.all_entries if entry not in gone)
        return
    for entry in held:
        cursor.execute("delete from vault.addresses where entry = %s and tenant = %s", [entry, person.tenant])
        taken.add((person.tenant, entry))
    person.unbound.append((subject, address))
