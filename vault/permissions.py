"""Permission rows: `given_ms` and `withdrawn_ms` only grow, so any order, repetition or replay ends the same (protocols §5).

Only the role `vault` raises them (`raise_permissions`); inbound and the API lower them at once. Nothing is written for an
erased subject.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.ids import is_id
from streams.step.contract import Cursor
from vault.base import VaultBase, as_json


@dataclass(frozen=True, slots=True)
class Lower:
    """The person withdrew one purpose on one channel; `acted_at_ms` is the broker's time of the act."""

    tenant: str
    subject: str
    channel: str
    purpose: str
    acted_at_ms: int


@dataclass(frozen=True, slots=True)
class Raise:
    """A consent event says yes to what `optin` asked for; `consent` is its id."""

    tenant: str
    subject: str
    channel: str
    purpose: str
    acted_at_ms: int
    consent: str
    optin: str


@dataclass(frozen=True, slots=True)
class Permission:
    """A permission row; times in milliseconds, None when it never happened. Equal times mean withdrawn."""

    channel: str
    purpose: str
    given_at_ms: int | None
    given_by: str | None
    withdrawn_at_ms: int | None

    @property
    def active(self) -> bool:
        """True when the yes is younger than the no."""
        return self.given_at_ms is not None and self.given_at_ms > (self.withdrawn_at_ms or 0)


class PermissionsPart(VaultBase):
    """What a person allowed."""

    def lower_permissions(self, cursor: Cursor, lowers: Sequence[Lower]) -> None:
        """Record withdrawals at once, in the transaction that records ConsentWithdrawn; linked subjects are lowered too."""
        lower_permissions(cursor, lowers)

    def inbound_read(self, cursor: Cursor, topics: Sequence[str], partitions: Sequence[int]) -> None:
        """Note that these partitions of the raw topics were read to their ends just now: no withdrawal lies unread there, and
        what needs consent may go out (decision 051)."""
        cursor.execute(
            """insert into vault.inbound_read as r (topic, partition, reached_ms)
               select t.value, p.value::integer, vault.now_ms()
               from json_array_elements_text(%s::json) t, json_array_elements_text(%s::json) p order by 1, 2
               on conflict (topic, partition) do update set reached_ms = excluded.reached_ms""",
            [as_json(sorted(topics)), as_json(sorted(partitions))],
        )

    def permissions(self, tenant: str, subject: str) -> list[Permission]:
        """The subject's permission rows by channel and purpose."""
        if not is_id(subject):
            return []
        with self._statement() as cursor:
            cursor.execute(
                """select channel, purpose, given_ms, given_by, withdrawn_ms from vault.permissions
                   where subject = %s and tenant = %s order by channel, purpose""",
                [subject, tenant],
            )
            return [
                Permission(channel, purpose, given, by.hex if by else None, withdrawn)
                for channel, purpose, given, by, withdrawn in cursor
            ]


def lower_permissions(cursor: Cursor, lowers: Sequence[Lower]) -> None:
    """Raise `withdrawn_ms`; the subjects and those linked to them are held FOR SHARE."""
    newest: dict[tuple[str, str, str, str], int] = {}
    for lower in lowers:
        key = (lower.subject, lower.tenant, lower.channel, lower.purpose)
        newest[key] = max(newest.get(key, 0), lower.acted_at_ms)
    if not newest:
        return
    rows = [
        {"subject": s, "tenant": t, "channel": channel, "purpose": purpose, "at": at}
        for (s, t, channel, purpose), at in sorted(newest.items())
    ]
    cursor.execute(
        """with given as materialized (
               select * from json_to_recordset(%s::json)
                   as a(subject uuid, tenant text, channel text, purpose text, at bigint)
           ), meant as (
               select subject, tenant, channel, purpose, at from given
               union all
               select l.other, g.tenant, channel, purpose, at from given g
                   join vault.links l on l.tenant = g.tenant and l.subject = g.subject
               union all
               select l.subject, g.tenant, channel, purpose, at from given g
                   join vault.links l on l.tenant = g.tenant and l.other = g.subject
           ), folded as materialized (
               select subject, tenant, channel, purpose, max(at) as at from meant
               group by subject, tenant, channel, purpose
           ), fenced as materialized (
               select s.subject, s.tenant, s.state from vault.subjects s
               where (s.subject, s.tenant) in (select subject, tenant from folded)
               order by s.subject, s.tenant for share of s
           )
           insert into vault.permissions as p (subject, tenant, channel, purpose, withdrawn_ms)
           select f.subject, f.tenant, f.channel, f.purpose, f.at from folded f left join fenced e using (subject, tenant)
           where coalesce(e.state, 'active') not in ('erased', 'lost') order by 1, 2, 3, 4
           on conflict (subject, tenant, channel, purpose)
           do update set withdrawn_ms = greatest(p.withdrawn_ms, excluded.withdrawn_ms)""",
        [as_json(rows)],
    )


def raise_permissions(cursor: Cursor, raises: Sequence[Raise]) -> None:
    """Only for the role `vault`, which holds the subjects: raise `given_ms`, and note each consent as applied, which is what
    a message's `basis` is looked up in."""
    newest: dict[tuple[str, str, str, str], tuple[int, str]] = {}
    for each in raises:
        key = (each.subject, each.tenant, each.channel, each.purpose)
        newest[key] = max(newest.get(key, (0, "")), (each.acted_at_ms, each.consent))
    if not newest:
        return
    rows = [
        {"subject": s, "tenant": t, "channel": channel, "purpose": purpose, "at": at, "consent": consent}
        for (s, t, channel, purpose), (at, consent) in sorted(newest.items())
    ]
    cursor.execute(
        """insert into vault.permissions as p (subject, tenant, channel, purpose, given_ms, given_by)
           select subject, tenant, channel, purpose, at, consent from json_to_recordset(%s::json)
               as a(subject uuid, tenant text, channel text, purpose text, at bigint, consent uuid)
           on conflict (subject, tenant, channel, purpose) do update
           set given_ms = greatest(p.given_ms, excluded.given_ms),
               given_by = case
                   when p.given_ms is null or (excluded.given_ms, excluded.given_by) > (p.given_ms, p.given_by)
                   then excluded.given_by else p.given_by end""",
        [as_json(rows)],
    )
    applied = [
        {
            "consent": e.consent, "tenant": e.tenant, "subject": e.subject, "channel": e.channel, "purpose": e.purpose,
            "optin": e.optin, "given": e.acted_at_ms,
        }
        for e in sorted(raises, key=lambda each: each.consent)
    ]  # fmt: skip
    cursor.execute(
        """insert into vault.consents (consent, tenant, subject, channel, purpose, optin, given_ms)
           select distinct on (consent, tenant) consent, tenant, subject, channel, purpose, optin, given
           from json_to_recordset(%s::json) as a(
               consent uuid, tenant text, subject uuid, channel text, purpose text, optin text, given bigint)
           on conflict (consent, tenant) do update set optin = excluded.optin, given_ms = excluded.given_ms
           where vault.consents.given_ms is null""",
        [as_json(applied)],
    )
