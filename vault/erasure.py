"""T1: fence, keys, addresses and everything else that knows a subject, in one transaction (protocols §7)."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

from schemas.addresses import Address
from schemas.clock import MS_PER_S, day_of_ms
from schemas.ids import keyed_hash
from streams.step.contract import Cursor
from vault.base import ENTRY_BYTES, TenantSecrets, VaultBase, as_json

EVIDENCE_YEARS = 3
"""Evidence of a consent is retained to the end of the third year after the erasure: the limitation period in which somebody
may ask for the proof (BGB §§ 195, 199)."""


@dataclass(frozen=True, slots=True)
class Fence:
    """What stays of an erased subject: T1, Tr (when the last day key that sealed something of the person dies), and whether
    evidence of consent is retained under restriction."""

    t1_ms: int
    day_keys_until_ms: int
    evidence: Literal["retained", "destroyed"]


class ErasurePart(VaultBase):
    """Erasing, and what may still be found afterwards."""

    def erase(
        self, cursor: Cursor, tenant: str, subject: str, not_before_ms: int
    ) -> tuple[Fence, list[str]] | None:
        """Only for the role `vault`: erase a subject and those linked to it, which are the same person, in the caller's
        transaction. The subject's fence and who else was erased; None when the tenant has none of this id. Repeating it
        changes nothing and gives the same fence, and nobody else. T1 is never before `not_before_ms`."""
        # Whoever binds an address holds the subject: what is read behind these locks is what will be moved.
        others = [other for other in _hold_person(cursor, tenant, subject) if other != subject]
        cursor.execute(
            """select d.entry from json_array_elements_text(%s::json) as a(subject)
               join vault.addresses d on d.subject = a.subject::uuid and d.tenant = %s order by 1""",
            [as_json([subject, *others]), tenant],
        )
        found = [bytes(entry) for (entry,) in cursor.fetchall()]
        entries = [_evidence_entry(self._secrets([tenant], cursor)[tenant], entry) for entry in found]
        for other in others:
            self._erase_one(cursor, tenant, other, not_before_ms, entries)
        fence = self._erase_one(cursor, tenant, subject, not_before_ms, entries)
        return None if fence is None else (fence, others)

    def _erase_one(
        self, cursor: Cursor, tenant: str, subject: str, not_before_ms: int, entries: list[bytes]
    ) -> Fence | None:
        cursor.execute(
            "select state, t1_ms, day_keys_until_ms, evidence from vault.erase(%s, %s, %s, %s, %s, %s)",
            [
                tenant,
                subject,
                not_before_ms,
                round(self.times.day_key_s * MS_PER_S),
                _evidence_until(not_before_ms),
                entries,
            ],
        )
        row = cursor.fetchone()
        return None if row is None else Fence(*row[1:])

    def find_retained(self, tenant: str, address: Address) -> list[str]:
        """For role legal only: erased subjects with retained evidence that this address once reached."""
        secrets = self._secrets([tenant])[tenant]
        entries = [_evidence_entry(secrets, entry).hex() for entry in secrets.address_entries(address)]
        with self._statement() as cursor:
            cursor.execute(
                """select distinct e.subject from json_array_elements_text(%s::json) as a(entry)
                   cross join lateral (
                       select e.subject from vault.evidence_index e
                       where e.entry = decode(a.entry, 'hex') and e.tenant = %s offset 0
                   ) e order by 1""",
                [as_json(entries), tenant],
            )
            return [subject.hex for (subject,) in cursor.fetchall()]


def _hold_person(cursor: Cursor, tenant: str, subject: str) -> list[str]:
    """Hold a subject and all that are linked to it FOR UPDATE; those that are not erased yet. A link is made by somebody who
    holds both subjects, so the locks are taken until nobody new is found behind them."""
    held: list[str] | None = None
    while True:
        cursor.execute(
            """with recursive person as (
                   select %s::uuid as subject
                   union
                   select case when l.subject = p.subject then l.other else l.subject end
                   from person p join vault.links l on l.tenant = %s and p.subject in (l.subject, l.other)
               )
               select s.subject from person p join vault.subjects s on s.subject = p.subject and s.tenant = %s
               where s.state <> 'erased' order by s.subject for update of s""",
            [subject, tenant, tenant],
        )
        found = [one.hex for (one,) in cursor.fetchall()]
        if found == held:
            return found
        held = found


def _evidence_entry(secrets: TenantSecrets, entry: bytes) -> bytes:
    """The index that retained evidence is found by: another keyed hash, so that it is no use as an address index."""
    version = entry[0]
    return bytes([version]) + keyed_hash(secrets.peppers[version], "evidence", entry.hex())[:ENTRY_BYTES]


def _evidence_until(erased_ms: int) -> date:
    return date(day_of_ms(erased_ms).year + EVIDENCE_YEARS, 12, 31)
