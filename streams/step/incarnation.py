"""Which incarnation of a database this is: a restore, a copy or a promotion makes another one (protocols §7)."""

from streams.step.contract import Cursor
from streams.step.errors import IncarnationChanged


def read_incarnation(cursor: Cursor) -> str:
    """The incarnation of the database behind a cursor, which must not be a standby."""
    cursor.execute("select step.this_incarnation()")
    row = cursor.fetchone()
    assert row is not None
    return str(row[0])


def check_incarnation(cursor: Cursor, role: str, *, refuse_new: bool) -> None:
    """Compare with the one this role last ran on, and record it.

    IncarnationChanged when it differs and `refuse_new` is set; then nothing is recorded.
    """
    now = read_incarnation(cursor)
    cursor.execute("select incarnation from step.incarnation where role = %s", (role,))
    row = cursor.fetchone()
    known = None if row is None else str(row[0])
    if known == now:
        return
    if known is not None and refuse_new:
        raise IncarnationChanged(
            f"role {role} last ran on another incarnation of this database: {known}, now {now} (system id, timeline, "
            "database); set its positions with: sealpost recover"
        )
    record_incarnation(cursor, role, now)


def record_incarnation(cursor: Cursor, role: str, now: str) -> None:
    """Accept this incarnation for a role."""
    cursor.execute(
        "insert into step.incarnation (role, incarnation) values (%s, %s) "
        "on conflict (role) do update set incarnation = excluded.incarnation",
        (role, now),
    )
