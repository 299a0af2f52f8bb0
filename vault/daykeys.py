"""Day keys: X25519 pairs a tenant and UTC day, made ahead, destroyed 9 days after the day's end (protocols §6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from streams.step.contract import Cursor
from vault.base import VaultBase

DAYS_AHEAD = 3


@dataclass(frozen=True, slots=True)
class PublicDayKey:
    """What is published: raw X25519 public key (32 bytes) of a tenant's UTC day."""

    tenant: str
    day: date
    public: bytes


class DayKeysPart(VaultBase):
    """Keys of the raw webhooks."""

    def create_day_keys(self, cursor: Cursor, tenant: str, days: Sequence[date]) -> list[PublicDayKey]:
        """Make missing pairs in the caller's transaction; returns the public halves of all days asked for, made now or
        before, in order of the days: publishing one twice is harmless."""
        raise NotImplementedError

    def day_private_key(self, tenant: str, day: date) -> bytes | None:
        """A day's private key, leased; None when it never was or is destroyed."""
        raise NotImplementedError

    def destroy_day_keys(self, before: date) -> int:
        """Destroy the pairs of all days before this one, committed; how many."""
        raise NotImplementedError

    def day_keys_to_make(self, today: date) -> dict[str, list[date]]:
        """Days from today to three days ahead that lack a pair, by tenant."""
        raise NotImplementedError
