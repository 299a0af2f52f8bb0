"""What an act tells about a person that is found: further addresses, a name (protocols §7).

Two subjects that turn out to be one person are linked, never merged: the older one gets the addresses, so new messages go to
it; a withdrawal counts for both, and an erasure of one is an erasure of both.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.addresses import Address
from schemas.clock import now_ms
from schemas.ids import keyed_hash
from streams.step.contract import Cursor
from vault.base import TenantSecrets, as_json
from vault.errors import KeyRefused
from vault.keyring import unwrap, unwrap_checked, wrap
from vault.keys import key_place
from vault.person import Entry, Key, Person
from vault.sealing import IDENTITY_GENERATION

NAME_HASH_BYTES = 16
AddressRow = dict[str, Any]


def address_place(tenant: str, subject: str, channel: str, kind: str) -> tuple[str, ...]:
    """What a sealed address row is bound to."""
    return ("address", tenant, subject, channel, kind)


def address_rows(
    rows: Iterable[tuple[str, bytes, str, Address, bytes, int]], *, moved: bool = False
) -> list[AddressRow]:
    """Rows of vault.addresses from (tenant, entry, subject, address, identity key, milliseconds of the act that bound it), in key
    order. `moved`: that was the provider's news of a change of address."""
    return [
        {
            "entry": entry.hex(),
            "tenant": tenant,
            "subject": subject,
            "channel": address.channel,
            "kind": address.kind,
            "sealed": wrap(
                key, address_place(tenant, subject, address.channel, address.kind), address.value.encode()
            ).hex(),
            "bound_ms": acted_ms,
            "moved": moved,
        }
        for tenant, entry, subject, address, key, acted_ms in sorted(rows, key=lambda row: (row[1], row[0]))
    ]


def insert_addresses(cursor: Cursor, rows: list[AddressRow]) -> set[Entry]:
    """Insert what is free; which were free."""
    cursor.execute(
        """insert into vault.addresses (entry, tenant, subject, channel, kind, sealed, bound_ms, moved)
           select decode(entry, 'hex'), tenant, subject, channel, kind, decode(sealed, 'hex'), bound_ms, moved
           from json_to_recordset(%s::json) as a(
               entry text, tenant text, subject uuid, channel text, kind text, sealed text, bound_ms bigint,
               moved boolean)
           on conflict do nothing returning tenant, entry""",
        [as_json(rows)],
    )
    return {(tenant, entry) for tenant, entry in cursor.fetchall()}


def identity_keys(cursor: Cursor, subjects: Mapping[Key, TenantSecrets]) -> dict[Key, bytes]:
    """Identity keys of living subjects; KeyRefused when one is missing or exchanged."""
    cursor.execute(
        """select k.subject, k.tenant, k.wrapped, k.kcv
           from json_to_recordset(%s::json) as a(subject uuid, tenant text)
           join vault.keys k using (subject, tenant) where k.class = 'identity' and k.gen = %s""",
        [as_json([{"subject": s, "tenant": t} for s, t in sorted(subjects)]), IDENTITY_GENERATION],
    )
    found: dict[Key, bytes] = {}
    for subject, tenant, wrapped, kcv in cursor.fetchall():
        place = key_place(tenant, subject.hex, "identity", IDENTITY_GENERATION)
        found[subject.hex, tenant] = unwrap_checked(
            subjects[subject.hex, tenant].key, place, wrapped or b"", kcv
        )
    if found.keys() != subjects.keys():
        raise KeyRefused("a living subject has no identity key")
    return found


def bind_new_addresses(cursor: Cursor, people: list[Person]) -> None:
    """Bind addresses that nobody has yet to the person's subject, and link subjects that are one person."""
    _link(cursor, [person for person in people if len(set(person.hits.values())) > 1])
    wanted: dict[Entry, tuple[Person, Address]] = {}
    for person in people:
        if person.hits:
            for address, entries in person.entries.items():
                if address not in person.hits:
                    wanted.setdefault((person.tenant, entries[0]), (person, address))
    if not wanted:
        return
    keys = identity_keys(cursor, {person.key: person.secrets for person, _ in wanted.values()})
    rows = address_rows((t, e, p.subject, a, keys[p.key], p.acted_ms) for (t, e), (p, a) in wanted.items())
    won = insert_addresses(cursor, rows)
    for entry, (person, address) in wanted.items():
        # An address that somebody else has bound meanwhile is found at the person's next act.
        if entry in won:
            person.bound.append(address)


def _link(cursor: Cursor, people: list[Person]) -> None:
    for person in people:
        person.subject, *younger = link_subjects(cursor, person.tenant, set(person.hits.values()))
        for other in younger:
            person.bound += _move_addresses(cursor, person, other)


def link_subjects(cursor: Cursor, tenant: str, subjects: set[str]) -> list[str]:
    """Note that these subjects, which the caller holds, are one person; all of them, oldest first."""
    cursor.execute(
        """select subject from vault.subjects
           where tenant = %s and subject in (select value::uuid from json_array_elements_text(%s::json))
           order by created_ms, subject""",
        [tenant, as_json(sorted(subjects))],
    )
    oldest, *younger = [subject.hex for (subject,) in cursor.fetchall()]
    for other in younger:
        cursor.execute(
            "insert into vault.links (tenant, subject, other, at_ms) values (%s, %s, %s, %s) on conflict do nothing",
            [tenant, oldest, other, now_ms()],
        )
    return [oldest, *younger]


def _move_addresses(cursor: Cursor, person: Person, other: str) -> list[Address]:
    """Let the addresses of `other` reach the person's (older) subject; which were moved."""
    tenant, subject = person.tenant, person.subject
    keys = identity_keys(cursor, {(subject, tenant): person.secrets, (other, tenant): person.secrets})
    cursor.execute(
        """select entry, channel, kind, sealed from vault.addresses where subject = %s and tenant = %s
           order by entry for update""",
        [other, tenant],
    )
    moved: list[Address] = []
    for entry, channel, kind, sealed in cursor.fetchall():
        value = unwrap(keys[other, tenant], address_place(tenant, other, channel, kind), sealed)
        sealed_anew = wrap(keys[subject, tenant], address_place(tenant, subject, channel, kind), value)
        cursor.execute(
            "update vault.addresses set subject = %s, sealed = %s where entry = %s and tenant = %s",
            [subject, sealed_anew, entry, tenant],
        )
        moved.append(Address(channel, kind, value.decode()))
    return moved


def note_names(cursor: Cursor, people: list[Person]) -> None:
    """Set `name_changed` where the profile name differs from the last one; only its keyed hash is kept."""
    newest: dict[Key, tuple[bytes, Person]] = {}
    for person in people:
        if person.sender.name is not None:
            newest[person.key] = (_name_hash(person, person.sender.name), person)
    if not newest:
        return
    cursor.execute(
        """insert into vault.profiles (subject, tenant, name_hash)
           select subject, tenant, decode(hash, 'hex')
           from json_to_recordset(%s::json) as a(subject uuid, tenant text, hash text)
           on conflict (subject, tenant) do update set name_hash = excluded.name_hash
           where profiles.name_hash <> excluded.name_hash
           returning subject, tenant""",
        [
            as_json(
                [
                    {"subject": s, "tenant": t, "hash": h.hex()}
                    for (s, t), (h, _) in sorted(newest.items(), key=_key_of)
                ]
            )
        ],
    )
    for subject, tenant in cursor.fetchall():
        newest[subject.hex, tenant][1].name_changed = True


def _key_of(item: tuple[Key, Any]) -> Key:
    return item[0]


def _name_hash(person: Person, name: str) -> bytes:
    pepper = person.secrets.peppers[max(person.secrets.peppers)]
    return keyed_hash(pepper, "name", person.subject, name)[:NAME_HASH_BYTES]
