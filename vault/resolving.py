"""Find or create the subject of an act, in the caller's transaction (DESIGN §7, protocols §6, §7).

The unique blind index decides who creates: addresses are inserted first, in key order, and whoever loses looks again. Every
subject is held FOR SHARE before it is answered, so it cannot be erased while the caller writes about it. Subjects come first,
then addresses that are in doubt (`vault.recycling`), then what is inserted. An act of before an
erasure, found by the index that the erasure left behind, is dropped.
"""

from collections.abc import Sequence
from typing import Any

from schemas.addresses import Address
from schemas.clock import now_ms
from schemas.ids import random_bytes, random_id
from streams.step.contract import Cursor
from vault.base import TenantSecrets, VaultBase, as_json
from vault.binding import address_rows, bind_new_addresses, insert_addresses, note_names
from vault.errors import SubjectContended
from vault.keyring import check_value, wrap
from vault.keys import key_place
from vault.person import Entry, Person, hold_subjects
from vault.reach import raise_reach
from vault.recycling import confirm, runs, separate
from vault.sealing import IDENTITY_GENERATION, KEY_BYTES
from vault.subjects import ResolvedSender, Sender

ROUNDS_MAX = 8
"""Look-ups of one batch before it gives up: each round means that somebody else created or erased one of its subjects."""


class ResolvingPart(VaultBase):
    """Find or create."""

    def resolve_senders(self, cursor: Cursor, senders: Sequence[Sender]) -> list[ResolvedSender]:
        """Find or create the subjects of a batch, one answer a sender, in order; holds every subject FOR SHARE until the
        caller's transaction ends. Raises reach. Several senders of one batch may be the same person: the first one of a new
        person has `created`, each address is in `bound` once, and who creates nobody is found also where another sender of
        the batch is the one who creates. The transaction must be READ COMMITTED."""
        secrets = self._secrets({sender.tenant for sender in senders}, cursor)
        people = [_person(sender, secrets[sender.tenant]) for sender in senders]
        for run in runs(people):
            _resolve_run(cursor, run)
        living = [person for person in people if person.subject]
        note_names(cursor, living)
        raise_reach(cursor, living)
        return [
            ResolvedSender(
                p.subject,
                p.created,
                tuple(p.bound),
                p.name_changed,
                p.dropped,
                p.state,
                p.unknown,
                p.reachable_again,
                p.returning,
                tuple(p.unbound),
            )
            for p in people
        ]


def _resolve_run(cursor: Cursor, run: list[Person]) -> None:
    open_people = run
    for _ in range(ROUNDS_MAX):
        open_people = _round(cursor, open_people)
        if not open_people:
            break
    else:
        raise SubjectContended("subjects of a batch kept changing")
    if any(person.dropped and person.unbound for person in run):
        # Nothing may be written about this act, so nothing may be left of it either.
        raise SubjectContended("who took a number was erased meanwhile")


def _person(sender: Sender, secrets: TenantSecrets) -> Person:
    if not sender.addresses:
        raise ValueError("a sender without an address")
    entries = {address: secrets.address_entries(address) for address in sender.addresses}
    flat = tuple((sender.tenant, entry) for some in entries.values() for entry in some)
    acted_ms = min(sender.acted_at_ms, sender.provider_at_ms)
    return Person(sender, sender.tenant, acted_ms, secrets, entries, flat)


def _round(cursor: Cursor, people: list[Person]) -> list[Person]:
    """One look-up; creates whom nobody knows. Returns those who must be looked up again."""
    bound = _look_up(cursor, people)
    states = hold_subjects(cursor, {(subject, tenant) for (tenant, _), subject in bound.items()})
    again: list[Person] = []
    strangers: list[Person] = []
    alive: list[Person] = []
    for person in people:
        if person.dropped:
            continue
        found = [states.get((subject, person.tenant), "erased") for subject in person.hits.values()]
        if not found:
            strangers.append(person)
        elif "erased" in found or "lost" in found:
            again.append(person)
        else:
            alive.append(person)
    alive, parted, unsure = separate(cursor, alive)
    strangers += parted
    again += unsure
    for person in alive:
        person.state = states[person.key]
    # Bound before strangers are made: an address that a known person of this batch brings along is no stranger's.
    bind_new_addresses(cursor, alive)
    confirm(cursor, alive)
    if not strangers:
        return again
    brought = {entry for person in alive for entry in person.all_entries}
    makers: list[Person] = []
    others: list[Person] = []
    for person in strangers:
        makes = person.sender.creates and brought.isdisjoint(person.all_entries)
        (makers if makes else others).append(person)
    brought.update(entry for person in makers for entry in person.all_entries)
    for person in others:
        person.unknown = brought.isdisjoint(person.all_entries)
    return again + [person for person in others if not person.unknown] + _create(cursor, makers)


def _look_up(cursor: Cursor, people: list[Person]) -> dict[Entry, str]:
    """Set `subject` or `dropped` of each, from one snapshot of addresses and erased index. One row each is asked for (`limit
    1`), because the planner knows nothing of the entries (vault/sql/008) and would read whole tables."""
    entries = sorted({entry for person in people for entry in person.all_entries})
    cursor.execute(
        """select a.n, d.subject, d.moved, x.t1_ms
           from json_to_recordset(%s::json) as a(n integer, tenant text, entry text)
           left join lateral (
               select d.subject, d.moved from vault.addresses d
               where d.entry = decode(a.entry, 'hex') and d.tenant = a.tenant limit 1
           ) d on true
           left join lateral (
               select x.t1_ms from vault.erased_index x
               where x.entry = decode(a.entry, 'hex') and x.tenant = a.tenant limit 1
           ) x on true
           where d.subject is not null or x.t1_ms is not null""",
        [as_json([{"n": n, "tenant": t, "entry": e.hex()} for n, (t, e) in enumerate(entries)])],
    )
    bound: dict[Entry, str] = {}
    erased: dict[Entry, int] = {}
    moved: set[Entry] = set()
    for n, subject, is_moved, t1_ms in cursor.fetchall():
        if subject is not None:
            bound[entries[n]] = subject.hex
        if is_moved:
            moved.add(entries[n])
        if t1_ms is not None:
            erased[entries[n]] = t1_ms
    for person in people:
        person.hits = {
            address: bound[person.tenant, entry]
            for address, own in person.entries.items()
            for entry in own
            if (person.tenant, entry) in bound
        }
        person.moved = moved.intersection(person.all_entries) if moved else set()
        person.dropped = bool(erased) and any(
            person.acted_ms <= erased.get(entry, -1) for entry in person.all_entries
        )
        person.returning = not person.dropped and any(entry in erased for entry in person.all_entries)
        # The first address that is known decides; a second subject is linked when addresses are bound.
        person.subject = "" if person.dropped else next(iter(person.hits.values()), "")
    return bound


def _create(cursor: Cursor, strangers: list[Person]) -> list[Person]:
    """Create whom nobody knows, one subject a group of shared addresses. Returns those who lost the race for an address, or
    whose act turned out to be from before an erasure: they are looked up again."""
    if not strangers:
        return []
    groups = _groups(strangers)
    keys = {random_id(): random_bytes(KEY_BYTES) for _ in groups}
    addresses: dict[Entry, tuple[str, Address, int]] = {}
    for subject, group in zip(keys, groups, strict=True):
        for person in group:
            for address, entries in person.entries.items():
                known = addresses.get((person.tenant, entries[0]))
                since_ms = person.acted_ms if known is None else min(known[2], person.acted_ms)
                addresses[person.tenant, entries[0]] = (subject, address, since_ms)
    secrets = {person.tenant: person.secrets for person in strangers}
    won = insert_addresses(
        cursor, address_rows((t, e, s, a, keys[s], at) for (t, e), (s, a, at) in addresses.items())
    )
    lost = {subject for entry, (subject, *_) in addresses.items() if entry not in won}
    late = _erased_meanwhile(cursor, strangers)
    again: list[Person] = []
    for subject, group in zip(keys, groups, strict=True):
        if subject in lost or any(entry in late for person in group for entry in person.all_entries):
            lost.add(subject)
            again.extend(group)
    if lost:
        cursor.execute(
            """delete from vault.addresses d
               using json_array_elements_text(%s::json) as a(subject) where d.subject = a.subject::uuid""",
            [as_json(sorted(lost))],
        )
    made = [(subject, group) for subject, group in zip(keys, groups, strict=True) if subject not in lost]
    _insert_subjects(cursor, [(s, g[0].tenant, keys[s], secrets[g[0].tenant]) for s, g in made])
    for subject, group in made:
        _introduce(subject, group)
    return again


def _introduce(subject: str, group: list[Person]) -> None:
    seen: set[Address] = set()
    for place, person in enumerate(group):
        person.subject, person.created = subject, place == 0
        person.bound = [address for address in person.entries if address not in seen]
        seen.update(person.bound)


def _groups(strangers: list[Person]) -> list[list[Person]]:
    """Senders that share an address are one person, also through a third."""
    group_of: dict[Entry, list[Person]] = {}
    for person in strangers:
        touched = {id(g): g for entry in person.all_entries if (g := group_of.get(entry)) is not None}
        merged = [member for group in touched.values() for member in group] + [person]
        for member in merged:
            group_of.update((entry, merged) for entry in member.all_entries)
    groups = {id(group): group for group in group_of.values()}
    place = {id(person): number for number, person in enumerate(strangers)}
    ordered = [sorted(group, key=lambda p: place[id(p)]) for group in groups.values()]
    return sorted(ordered, key=lambda group: place[id(group[0])])


def _erased_meanwhile(cursor: Cursor, people: list[Person]) -> set[Entry]:
    """Entries of people whose act is not younger than an erasure that was committed since the look-up."""
    acted = {entry: person.acted_ms for person in people for entry in person.all_entries}
    cursor.execute(
        """select a.tenant, x.entry from json_to_recordset(%s::json) as a(tenant text, entry text, acted bigint)
           cross join lateral (
               select x.entry, x.t1_ms from vault.erased_index x
               where x.entry = decode(a.entry, 'hex') and x.tenant = a.tenant limit 1
           ) x where x.t1_ms >= a.acted""",
        [as_json([{"tenant": t, "entry": e.hex(), "acted": at} for (t, e), at in sorted(acted.items())])],
    )
    return {(tenant, entry) for tenant, entry in cursor.fetchall()}


def _insert_subjects(cursor: Cursor, made: list[tuple[str, str, bytes, TenantSecrets]]) -> None:
    rows: list[dict[str, Any]] = []
    for subject, tenant, key, secrets in sorted(made, key=lambda row: row[0]):
        place = key_place(tenant, subject, "identity", IDENTITY_GENERATION)
        wrapped, kcv = wrap(secrets.key, place, key), check_value(key, place)
        rows.append(
            {"subject": subject, "tenant": tenant, "wrapped": wrapped.hex(), "kcv": kcv.hex(), "at": now_ms()}
        )
    parameter = as_json(rows)
    cursor.execute(
        """insert into vault.subjects (subject, tenant, created_ms)
           select subject, tenant, at from json_to_recordset(%s::json) as a(subject uuid, tenant text, at bigint)""",
        [parameter],
    )
    cursor.execute(
        """insert into vault.keys (subject, tenant, class, gen, wrapped, kcv, created_ms)
           select subject, tenant, 'identity', %s, decode(wrapped, 'hex'), decode(kcv, 'hex'), at
           from json_to_recordset(%s::json) as a(subject uuid, tenant text, wrapped text, kcv text, at bigint)""",
        [IDENTITY_GENERATION, parameter],
    )
