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

    def erase(self, cursor: Cursor, tenant: str, subject: str, not_before_ms: int) -> Fence | None:
        """Only for the role `vault`: erase a subject in the caller's transaction; None when the tenant has none of this id.
        Repeating it changes nothing and gives the same fence. T1 is never before `not_before_ms`."""
        # Whoever binds an address holds the subject: what is read behind this lock is what will be moved.
        cursor.execute(
            "select from vault.subjects where subject = %s and tenant = %s for update", [subject, tenant]
        )
        cursor.execute(
            "select entry from vault.addresses where subject = %s and tenant = %s order by entry",
            [subject, tenant],
        )
        found = [bytes(entry) for (entry,) in cursor.fetchall()]
        entries = [_evidence_entry(self._secrets([tenant], cursor)[tenant], entry) for entry in found]
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

    def linked_subjects(self, cursor: Cursor, tenant: str, subject: str) -> list[str]:
        """Living subjects that are the same person, in order."""
        cursor.execute(
            """select s.subject from vault.links l
               join vault.subjects s on s.tenant = l.tenant and s.subject in (l.subject, l.other) and s.subject <> %s
               where l.tenant = %s and %s in (l.subject, l.other) and s.state in ('active', 'restricted') order by 1""",
            [subject, tenant, subject],
        )
        return [other.hex for (other,) in cursor.fetchall()]

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


def _evidence_entry(secrets: TenantSecrets, entry: bytes) -> bytes:
    """The index that retained evidence is found by: another keyed hash, so that it is no use as an address index."""
    version = entry[0]
    return bytes([version]) + keyed_hash(secrets.peppers[version], "evidence", entry.hex())[:ENTRY_BYTES]


def _evidence_until(erased_ms: int) -> date:
    return date(day_of_ms(erased_ms).year + EVIDENCE_YEARS, 12, 31)
