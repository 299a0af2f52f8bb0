"""Which incarnation of a database this is: a restore elsewhere or a promotion makes another one (protocols §7)."""

from dataclasses import dataclass

from streams.step.contract import Cursor
from streams.step.errors import IncarnationChanged


@dataclass(frozen=True, slots=True)
class Incarnation:
    """`system_identifier` is made with the cluster of databases; `timeline` goes up at each promotion or recovery."""

    system_identifier: str
    timeline: int


def read_incarnation(cursor: Cursor) -> Incarnation:
    """The incarnation of the database behind a cursor, which must not be a standby."""
    # The name of the segment now written begins with the timeline; pg_control_checkpoint() lags behind a promotion.
    cursor.execute(
        "select system_identifier::text, ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer "
        "from pg_control_system()"
    )
    row = cursor.fetchone()
    assert row is not None
    return Incarnation(str(row[0]), int(row[1]))


def check_incarnation(cursor: Cursor, role: str, *, refuse_new: bool) -> Incarnation:
    """Compare with the one this role last ran on, and record it.

    IncarnationChanged when it differs and `refuse_new` is set; then nothing is recorded.
    """
    now = read_incarnation(cursor)
    cursor.execute("select system_identifier, timeline from step.incarnation where role = %s", (role,))
    row = cursor.fetchone()
    known = None if row is None else Incarnation(str(row[0]), int(row[1]))
    if known == now:
        return now
    if known is not None and refuse_new:
        raise IncarnationChanged(
            f"role {role} last ran on timeline {known.timeline} of another incarnation of this database "
            f"(now timeline {now.timeline}); set its positions with: sealpost recover"
        )
    record_incarnation(cursor, role, now)
    return now


def record_incarnation(cursor: Cursor, role: str, now: Incarnation) -> None:
    """Accept this incarnation for a role."""
    cursor.execute(
        "insert into step.incarnation (role, system_identifier, timeline) values (%s, %s, %s) "
        "on conflict (role) do update set system_identifier = excluded.system_identifier, timeline = excluded.timeline",
        (role, now.system_identifier, now.timeline),
    )
