"""Day keys: X25519 pairs a tenant and UTC day, made ahead, destroyed 9 days after the day's end (protocols §6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from streams.step.contract import Cursor
from vault.base import VaultBase, as_json
from vault.ingress import DayKeyPair, DayOpener
from vault.keyring import check_value, unwrap_checked, wrap
from vault.leases import LeaseCache

DAYS_AHEAD = 3


@dataclass(frozen=True, slots=True)
class PublicDayKey:
    """What is published: raw X25519 public key (32 bytes) of a tenant's UTC day."""

    tenant: str
    day: date
    public: bytes


class DayKeysPart(VaultBase):
    """Keys of the raw webhooks."""

    def _start_parts(self) -> None:
        super()._start_parts()
        self._day_cache: LeaseCache[tuple[str, date], DayOpener] = LeaseCache(self.times.lease_s)

    def create_day_keys(self, cursor: Cursor, tenant: str, days: Sequence[date]) -> list[PublicDayKey]:
        """Make missing pairs in the caller's transaction; returns the public halves of all days asked for, made now or
        before, in order of the days: publishing one twice is harmless. Days whose key is destroyed are left out."""
        secrets = self._secrets([tenant], cursor)[tenant]
        for day in sorted(set(days)):
            pair, place = DayKeyPair.make(), _place(tenant, day)
            cursor.execute(
                """insert into vault.day_keys (tenant, day, public, wrapped, kcv) values (%s, %s, %s, %s, %s)
                   on conflict do nothing""",
                [
                    tenant,
                    day,
                    pair.public,
                    wrap(secrets.key, place, pair.private),
                    check_value(pair.private, place),
                ],
            )
        cursor.execute(
            "select day, public from vault.day_keys where tenant = %s and wrapped is not null and day = any(%s) order by day",
            [tenant, list(days)],
        )
        return [PublicDayKey(tenant, day, public) for day, public in cursor.fetchall()]

    def day_opener(self, tenant: str, day: date) -> DayOpener | None:
        """Opens what was sealed to a day key; leased with all it keeps, so do not hold it. None when the key never was or is
        destroyed. KeyRefused when it was exchanged."""
        return self._day_cache.get_many([(tenant, day)], self._fetch_day_keys).get((tenant, day))

    def destroy_day_keys(self, before: date) -> int:
        """Destroy the private keys of all days before this one, committed; how many."""
        with self._statement() as cursor:
            cursor.execute(
                "update vault.day_keys set wrapped = null where day < %s and wrapped is not null", [before]
            )
            return cursor.rowcount

    def day_keys_to_make(self, today: date) -> dict[str, list[date]]:
        """Days from today to three days ahead that lack a pair or whose public half is not known to be published, by tenant:
        make them, produce them, then call `day_keys_published`."""
        days = [today + timedelta(days=n) for n in range(DAYS_AHEAD + 1)]
        missing: dict[str, list[date]] = {}
        with self._statement() as cursor:
            cursor.execute(
                """select t.tenant, d.day from vault.tenants t cross join unnest(%s::date[]) as d(day)
                   where not exists (
                       select from vault.day_keys k where k.tenant = t.tenant and k.day = d.day and k.published)
                   order by t.tenant, d.day""",
                [days],
            )
            for tenant, day in cursor.fetchall():
                missing.setdefault(tenant, []).append(day)
        return missing

    def day_keys_published(self, keys: Sequence[PublicDayKey]) -> None:
        """These public halves are acked by Kafka; committed."""
        rows = [{"tenant": key.tenant, "day": key.day.isoformat()} for key in keys]
        with self._statement() as cursor:
            cursor.execute(
                """update vault.day_keys k set published = true
                   from json_to_recordset(%s::json) as a(tenant text, day date) where k.tenant = a.tenant and k.day = a.day""",
                [as_json(rows)],
            )

    def _fetch_day_keys(self, keys: list[tuple[str, date]]) -> dict[tuple[str, date], DayOpener]:
        found: dict[tuple[str, date], DayOpener] = {}
        for tenant, day in keys:
            with self._lease_statement() as cursor:
                cursor.execute(
                    "select wrapped, kcv from vault.day_keys where tenant = %s and day = %s and wrapped is not null",
                    [tenant, day],
                )
                row = cursor.fetchone()
            if row is not None:
                tenant_key = self._secrets([tenant])[tenant].key
                found[tenant, day] = DayOpener(unwrap_checked(tenant_key, _place(tenant, day), *row))
        return found


def _place(tenant: str, day: date) -> tuple[str, ...]:
    return ("day key", tenant, day.isoformat())
