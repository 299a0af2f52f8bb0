"""Whether an account reaches a person: the newest message, a block, how far the provider says that ours came (protocols §5).

All times only grow (vault/sql/022): an account is blocked while the block is not older than every message and every sign that
the person lets it write again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas.clock import MS_PER_S
from streams.step.contract import Cursor
from vault.base import VaultBase, as_json
from vault.claims import ClaimInfo
from vault.person import Person

Receipt = Literal["delivered", "read"]
_COVERED = """
with newest as materialized (
    select distinct on (c.day, c.message, c.part) c.* from vault.claims c
    where c.subject = %(subject)s and c.tenant = %(tenant)s and c.account = %(account)s
    order by c.day, c.message, c.part, c.attempt desc
)
select c.at_ms, c.message, c.part, c.tenant, c.subject, c.account, c.purpose, c.attempt, o.class is not null
from newest c
left join lateral vault.outcome_of(c.day, c.message, c.part) o on true
where c.refusal is null and c.at_ms <= %(upto)s
    and c.at_ms > coalesce((
        select {status}_upto_ms from vault.reach
        where subject = %(subject)s and tenant = %(tenant)s and account = %(account)s
    ), 0)
    and (o.class = 'submitted' or (o.class is null and c.at_ms > vault.now_ms() - %(calling)s))
order by c.at_ms, c.message, c.part
"""
_NOTE = """
insert into vault.reach as r (subject, tenant, account, channel, {status}_upto_ms)
values (%(subject)s, %(tenant)s, %(account)s, %(channel)s, %(upto)s)
on conflict (subject, tenant, account) do update
set {status}_upto_ms = greatest(r.{status}_upto_ms, excluded.{status}_upto_ms)
"""
_STATEMENTS: dict[Receipt, tuple[str, str]] = {
    "delivered": (_COVERED.format(status="delivered"), _NOTE.format(status="delivered")),
    "read": (_COVERED.format(status="read"), _NOTE.format(status="read")),
}


@dataclass(frozen=True, slots=True)
class Covered:
    """What a watermark says something new about: `sent`, oldest first. `calling`: other messages of before it are being sent just
    now, so whether it means them is not known yet."""

    sent: tuple[ClaimInfo, ...] = ()
    calling: bool = False


class Block(NamedTuple):
    """Whether an account is blocked: before something was noted, and now."""

    before: bool
    now: bool

    @property
    def changed(self) -> bool:
        """What was noted is news."""
        return self.before != self.now


class ReachPart(VaultBase):
    """Blocks and watermarks; messages raise the reach in `resolve_senders`."""

    def note_block(
        self,
        cursor: Cursor,
        tenant: str,
        subject: str,
        channel: str,
        account: str,
        acted_ms: int,
        *,
        blocked: bool,
    ) -> Block:
        """An account does not reach a person whom the caller holds, because she blocked it or because the provider says so (the
        gate refuses from now on: `unreachable`), or she lets it write again. `acted_ms`: when that was so."""
        place = [subject, tenant, account]
        cursor.execute(
            """insert into vault.reach (subject, tenant, account, channel) values (%s, %s, %s, %s)
               on conflict do nothing""",
            [*place, channel],
        )
        cursor.execute(
            """select vault.is_blocked(blocked_ms, last_inbound_ms, resumed_ms) from vault.reach
               where subject = %s and tenant = %s and account = %s for update""",
            place,
        )
        before = _blocked(cursor)
        cursor.execute(
            """update vault.reach
               set blocked_ms = greatest(blocked_ms, %s), resumed_ms = greatest(resumed_ms, %s)
               where subject = %s and tenant = %s and account = %s
               returning vault.is_blocked(blocked_ms, last_inbound_ms, resumed_ms)""",
            [acted_ms if blocked else None, None if blocked else acted_ms, *place],
        )
        return Block(before, _blocked(cursor))

    def reached_again(self, cursor: Cursor, reached: Sequence[tuple[str, str, str, int]]) -> list[int]:
        """Places of those (tenant, subject, account, ms) that end a block: the account reached the person after it."""
        rows = [
            {"n": n, "tenant": tenant, "subject": subject, "account": account, "at": at_ms}
            for n, (tenant, subject, account, at_ms) in enumerate(reached)
        ]
        cursor.execute(
            """select g.n from json_to_recordset(%s::json)
                   as g(n integer, tenant text, subject uuid, account text, at bigint)
               cross join lateral (
                   select r.blocked_ms, r.last_inbound_ms, r.resumed_ms from vault.reach r
                   where r.subject = g.subject and r.tenant = g.tenant and r.account = g.account limit 1
               ) r
               where r.blocked_ms < g.at and vault.is_blocked(r.blocked_ms, r.last_inbound_ms, r.resumed_ms)""",
            [as_json(rows)],
        )
        return [n for (n,) in cursor.fetchall()]

    def covered(
        self,
        cursor: Cursor,
        tenant: str,
        subject: str,
        channel: str,
        account: str,
        status: Receipt,
        upto_ms: int,
    ) -> Covered:
        """The messages of an account to a person whom the caller holds that went out by `upto_ms` (the provider's clock) and that
        no watermark of this status was about before. A message went out, at the earliest, when its permit was given; what is
        older than the claims are kept is not known any more."""
        place = {"subject": subject, "tenant": tenant, "account": account, "channel": channel}
        ask, note = _STATEMENTS[status]
        calling_ms = round(self.times.takeover_s * MS_PER_S)
        cursor.execute(ask, {**place, "upto": upto_ms, "calling": calling_ms})
        sent: list[ClaimInfo] = []
        noted_ms = upto_ms
        for at_ms, message, part, owner, whose, *rest in cursor.fetchall():
            claim = ClaimInfo(message.hex, part, owner, whose.hex, *rest)
            if claim.has_outcome:
                sent.append(claim)
            else:
                # Its outcome is still to come: everything since it is looked at again.
                noted_ms = min(noted_ms, at_ms - 1)
        cursor.execute(note, {**place, "upto": noted_ms})
        return Covered(tuple(sent), calling=noted_ms < upto_ms)


def _blocked(cursor: Cursor) -> bool:
    row = cursor.fetchone()
    assert row is not None
    return bool(row[0])


def raise_reach(cursor: Cursor, people: list[Person]) -> None:
    """Note the newest message of each person on each account; it only grows. Sets `reachable_again`.

    Whoever else notes a block may do so in the same moment, so it is read from the row once that is locked. What she wrote before
    is read without a lock: only the owner of her partition, the caller, raises it.
    """
    newest: dict[tuple[str, str, str, str], Person] = {}
    for person in people:
        if person.sender.opens_window:
            key = (*person.key, person.sender.account, person.sender.channel)
            known = newest.get(key)
            if known is None or person.acted_ms > known.acted_ms:
                newest[key] = person
    if not newest:
        return
    rows = [
        {
            "n": n,
            "subject": s,
            "tenant": t,
            "account": account,
            "channel": channel,
            "at": newest[s, t, account, channel].acted_ms,
        }
        for n, (s, t, account, channel) in enumerate(sorted(newest))
    ]
    cursor.execute(
        """with given as materialized (
               select * from json_to_recordset(%s::json)
                   as a(n integer, subject uuid, tenant text, account text, channel text, at bigint)
           ), before as materialized (
               select g.n, r.last_inbound_ms from given g left join lateral (
                   select r.last_inbound_ms from vault.reach r
                   where r.subject = g.subject and r.tenant = g.tenant and r.account = g.account limit 1
               ) r on true
           ), raised as (
               insert into vault.reach (subject, tenant, account, channel, last_inbound_ms)
               select subject, tenant, account, channel, at from given order by n
               on conflict (subject, tenant, account)
               do update set last_inbound_ms = greatest(reach.last_inbound_ms, excluded.last_inbound_ms)
               returning subject, tenant, account, blocked_ms, resumed_ms
           )
           select g.n from given g
           join before b on b.n = g.n
           join raised r on r.subject = g.subject and r.tenant = g.tenant and r.account = g.account
           where r.blocked_ms < g.at and vault.is_blocked(r.blocked_ms, b.last_inbound_ms, r.resumed_ms)""",
        [as_json(rows)],
    )
    places = sorted(newest)
    for (n,) in cursor.fetchall():
        newest[places[n]].reachable_again = True
