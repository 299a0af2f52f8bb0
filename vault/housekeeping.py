"""What role `clock` does in the vault: day partitions, horizons, keys whose time is over."""

from dataclasses import dataclass
from datetime import date, timedelta

from schemas.clock import MS_PER_S, now_ms
from schemas.constants import DAY_S
from streams.step.contract import Cursor
from vault.base import VaultBase


@dataclass(frozen=True, slots=True)
class HouseKept:
    """Counts of one round."""

    partitions_made: int
    partitions_dropped: int
    requests_deleted: int
    day_keys_destroyed: int
    evidence_destroyed: int
    secrets_destroyed: int


class HousekeepingPart(VaultBase):
    """Upkeep."""

    def make_partitions(self, today: date, ahead: int = 3) -> int:
        """Make the day partitions of claims and outcomes from the horizon to `ahead` days after today; how many were new.
        Must have run before the first permit: a command whose day has no partition is refused as expired."""
        first = self._oldest_day(today)
        with self.transaction() as cursor:
            return _count(
                cursor, "select vault.make_claim_days(%s, %s)", first, (today - first).days + ahead + 1
            )

    def drop_partitions(self, today: date) -> int:
        """Drop the day partitions older than the horizon; how many."""
        with self.transaction() as cursor:
            return _count(cursor, "select vault.drop_claim_days(%s)", self._oldest_day(today))

    def keep_house(self, today: date) -> HouseKept:
        """One round of all upkeep; run it at start and at least once a day. Creating and publishing day keys is apart:
        `day_keys_to_make`."""
        made = self.make_partitions(today)
        dropped = self.drop_partitions(today)
        requests = self._forget_old()
        day_keys = self._destroy_old_day_keys(today)
        evidence = self.destroy_evidence(today)
        return HouseKept(made, dropped, requests, day_keys, evidence, self._destroy_previous_secrets())

    def destroy_evidence(self, today: date) -> int:
        """Destroy evidence that belongs to no consent after its time, and retained evidence after its date; how many keys."""
        untied_before = now_ms() - round(self.times.evidence_untied_s * MS_PER_S)
        with self.transaction() as cursor:
            cursor.execute("delete from vault.evidence_index where until < %s", [today])
            cursor.execute(
                """update vault.keys set wrapped = null, destroyed_ms = %s
                   where class = 'evidence' and wrapped is not null
                   and ((consent is null and created_ms < %s) or retained_until < %s)""",
                [now_ms(), untied_before, today],
            )
            destroyed = cursor.rowcount
            if destroyed:
                cursor.execute(
                    """delete from vault.proofs p using vault.keys k
                       where k.subject = p.subject and k.tenant = p.tenant and k.class = 'evidence' and k.gen = p.gen
                       and k.wrapped is null"""
                )
            return destroyed

    def _oldest_day(self, today: date) -> date:
        return today - timedelta(days=round(self.times.horizon_s / DAY_S))

    def _destroy_old_day_keys(self, today: date) -> int:
        before = today - timedelta(days=round(self.times.day_key_s / DAY_S))
        with self._statement() as cursor:
            cursor.execute(
                "update vault.day_keys set wrapped = null where day < %s and wrapped is not null", [before]
            )
            return cursor.rowcount

    def _destroy_previous_secrets(self) -> int:
        """Secrets that were replaced, once they are not valid any more."""
        with self._statement() as cursor:
            cursor.execute(
                """update vault.connections set previous = null, previous_until_ms = null
                   where previous_until_ms <= vault.now_ms()"""
            )
            return cursor.rowcount

    def _forget_old(self) -> int:
        now = now_ms()
        horizon = now - round(self.times.horizon_s * MS_PER_S)
        with self.transaction() as cursor:
            cursor.execute("delete from vault.cancellations where at_ms < %s", [horizon])
            cursor.execute("delete from vault.erased_index where until_ms < %s", [now])
            # What is not in Kafka yet is not forgotten, however old.
            cursor.execute("delete from vault.requests where created_ms < %s and produced", [horizon])
            return cursor.rowcount


def _count(cursor: Cursor, statement: str, *parameters: object) -> int:
    cursor.execute(statement.encode(), parameters)
    row = cursor.fetchone()
    return int(row[0]) if row else 0
