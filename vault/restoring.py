"""What a restored vault learns from the ledger, and whose keys it has lost (protocols §7, decision 077)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.clock import MS_PER_S, now_ms, to_ms
from schemas.envelope import Event
from schemas.events import deletions
from streams.step.contract import Cursor, Item, Wake
from vault.base import VaultBase, as_json

DEFERRED = "erasure"
"""Kind of the wake that holds an ErasureRequested of a subject that this vault does not know yet."""
LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class LostSubject:
    """A subject whose keys were younger than the backup the vault was restored from."""

    tenant: str
    subject: str
    noticed_ms: int


class RestoringPart(VaultBase):
    """After a restore."""

    def lost_subjects(self) -> list[LostSubject]:
        """Those that are lost and not closed, in order."""
        with self._statement() as cursor:
            cursor.execute(
                "select tenant, subject, created_ms from vault.subjects where state = 'lost' order by tenant, subject"
            )
            return [
                LostSubject(tenant, subject.hex, noticed) for tenant, subject, noticed in cursor.fetchall()
            ]


def fence_destroyed(cursor: Cursor, destroyed: Sequence[tuple[Event, deletions.KeyDestroyed]]) -> None:
    """The ledger says that these are erased: where the vault has forgotten the subject it gets its fence back. A subject that it
    has was or will be erased by the request that stands before."""
    rows = [
        {
            "subject": event.subject,
            "tenant": event.tenant,
            "t1": to_ms(data.t1),
            "until": to_ms(data.day_keys_until),
            "evidence": data.evidence,
        }
        for event, data in destroyed
    ]
    if rows:
        cursor.execute(
            """insert into vault.subjects (subject, tenant, state, created_ms, t1_ms, day_keys_until_ms, evidence)
               select distinct on (subject, tenant) subject, tenant, 'erased', t1, t1, until, evidence
               from json_to_recordset(%s::json)
                   as a(subject uuid, tenant text, t1 bigint, until bigint, evidence text)
               order by subject, tenant, t1 on conflict do nothing""",
            [as_json(rows)],
        )


def too_early(cursor: Cursor, item: Item, event: Event) -> bool:
    """True while nobody can say whether the subject of a request exists: the vault does not have it, and this incarnation of it
    has not yet read the log to the end it had."""
    cursor.execute(
        """select not exists (select from vault.subjects where subject = %s and tenant = %s)
               and not exists (
                   select from vault.follower where partition = %s and incarnation = vault.incarnation())""",
        [event.subject, event.tenant, item.partition],
    )
    row = cursor.fetchone()
    return bool(row and row[0])


def deferred(event: Event) -> Wake:
    """Hand the request back a little later."""
    body: dict[str, Any] = {"event": event.model_dump(exclude_none=True)}
    return Wake(now_ms() + round(LOOK_AGAIN_S * MS_PER_S), event.subject, DEFERRED, body)
