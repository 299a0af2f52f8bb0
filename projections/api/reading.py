"""SQL of the query API: rows of the read models of one subject, as dictionaries. Times are aware datetimes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, Self

import psycopg
from psycopg.rows import dict_row

from schemas.clock import boot_s, sleep_s
from streams.step.connections import PROMPT, Connections

READ_POOL_CONNECTIONS = 4
ARRIVAL_S = 1.0
"""How long a row that is not in the projection yet is looked for."""
ARRIVAL_POLL_S = 0.05
Row = dict[str, Any]
OFFSET_MAX = 2**63 - 1
"""Stands for the offset of a message whose own record was not read: behind those of the same millisecond."""


_TAKEN_BACK = """(
    select min(r.revoked_at) from projections.message r where r.message = m.message and r.tenant = m.tenant
) as taken_back_at"""


class Place(NamedTuple):
    """Where a message stands in the log: the broker's time, then the offset, of its own record; then its id."""

    at: datetime
    offset: int
    message: str

    @classmethod
    def of(cls, row: Row) -> Self:
        """The place of a row."""
        return cls(row["place_at"], row["place_offset"], row["message"])


def arriving(look: Callable[[], Row | None]) -> Row | None:
    """A row that may be on its way through the log: accepted before it could be read, it is looked for a little longer."""
    deadline = boot_s() + ARRIVAL_S
    while (row := look()) is None and boot_s() < deadline:
        sleep_s(ARRIVAL_POLL_S)
    return row


def open_pool(dsn: str, *, connections: int = READ_POOL_CONNECTIONS) -> Connections:
    """Read-only connections to the projections database, opened as they are needed; the caller closes the pool."""
    return Connections(
        dsn, application_name="sealpost-queries", size=connections, limits=PROMPT, read_only=True
    )


class Reader:
    """Questions to the read models; every method is one consistent look."""

    def __init__(self, pool: Connections) -> None:
        self._pool = pool

    @contextmanager
    def _look(self) -> Iterator[psycopg.Cursor[Row]]:
        with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            yield cursor

    def fence(self, tenant: str, subject: str) -> datetime | None:
        """When the subject was erased, as far as this projection knows."""
        with self._look() as cursor:
            row = cursor.execute(
                "select erased_at from projections.fence where tenant = %s and subject = %s",
                (tenant, subject),
            ).fetchone()
            return row["erased_at"] if row else None

    def subject(self, tenant: str, subject: str) -> Row | None:
        """The subject's own row."""
        with self._look() as cursor:
            return cursor.execute(
                "select * from projections.subject where tenant = %s and subject = %s", (tenant, subject)
            ).fetchone()

    def addresses(self, tenant: str, subject: str) -> list[Row]:
        """What was bound and unbound, in the order of the log; rows of before the log's place was kept come first."""
        return self._rows_of("address", "log_offset nulls first, bound_at, event", tenant, subject)

    def blocks(self, tenant: str, subject: str) -> list[Row]:
        """Accounts that do not reach the person: blocked, or unable to by what the provider says."""
        rows = self._rows_of("reach", "changed_at, channel, account", tenant, subject)
        return [row for row in rows if not row["reachable"]]

    def subscriptions(self, tenant: str, subject: str) -> list[Row]:
        """Memberships, oldest first."""
        return self._rows_of("subscription", "activated_at, subscription", tenant, subject)

    def permissions(self, tenant: str, subject: str) -> list[Row]:
        """Permissions by channel and purpose."""
        return self._rows_of("permission", "channel, purpose", tenant, subject)

    def consents(self, tenant: str, subject: str) -> list[Row]:
        """The consent history in the order of the log."""
        return self._rows_of("consent", "log_offset", tenant, subject)

    def _rows_of(self, table: str, order: str, tenant: str, subject: str) -> list[Row]:
        with self._look() as cursor:
            return cursor.execute(
                f"select * from projections.{table} where tenant = %s and subject = %s order by {order}",  # noqa: S608 - constants
                (tenant, subject),
            ).fetchall()

    def messages(self, tenant: str, subject: str, after: Place | None, limit: int) -> list[Row]:
        """Messages in the order of the log, oldest first, behind `after`. `taken_back_at`: also where the person was known under
        another subject when she wrote it."""
        behind = "" if after is None else " and (place_at, place_offset, message) > (%s, %s, %s)"
        with self._look() as cursor:
            return cursor.execute(
                f"select m.*, {_TAKEN_BACK} from projections.message m where tenant = %s and subject = %s{behind}"  # noqa: S608 - constants
                " order by place_at, place_offset, message limit %s",
                (tenant, subject, *(after or ()), limit),
            ).fetchall()

    def message(self, tenant: str, message: str) -> Row | None:
        """One message of this tenant."""
        with self._look() as cursor:
            return cursor.execute(
                "select * from projections.message where message = %s and tenant = %s", (message, tenant)
            ).fetchone()

    def newest_messages(self, tenant: str, subject: str, limit: int) -> list[Row]:
        """The last messages in the order of the log, newest first."""
        with self._look() as cursor:
            return cursor.execute(
                "select * from projections.message where tenant = %s and subject = %s"
                " order by place_at desc, place_offset desc, message desc limit %s",
                (tenant, subject, limit),
            ).fetchall()

    def erasures_of(self, tenant: str, subject: str) -> list[Row]:
        """All erasures of a subject, oldest first."""
        with self._look() as cursor:
            return cursor.execute(
                "select * from projections.erasure where tenant = %s and subject = %s order by t0, erasure",
                (tenant, subject),
            ).fetchall()

    def erasure(self, tenant: str, erasure: str) -> Row | None:
        """One erasure of this tenant."""
        with self._look() as cursor:
            return cursor.execute(
                "select * from projections.erasure where tenant = %s and erasure = %s", (tenant, erasure)
            ).fetchone()

    def receipts(self, tenant: str, erasure: str) -> list[Row]:
        """Purge receipts by store."""
        with self._look() as cursor:
            return cursor.execute(
                "select store, purged_at from projections.receipt where tenant = %s and erasure = %s order by store",
                (tenant, erasure),
            ).fetchall()
