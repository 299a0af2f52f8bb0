"""What role `clock` does in the vault: day partitions, horizons, keys whose time is over."""

from dataclasses import dataclass
from datetime import date

from vault.base import VaultBase


@dataclass(frozen=True, slots=True)
class HouseKept:
    """Counts of one round."""

    partitions_made: int
    partitions_dropped: int
    requests_deleted: int
    day_keys_destroyed: int
    evidence_destroyed: int


class HousekeepingPart(VaultBase):
    """Upkeep."""

    def make_partitions(self, today: date, ahead: int = 3) -> int:
        """Make the day partitions of claims and outcomes from the horizon to `ahead` days after today; how many were new.
        Must have run before the first permit: a command whose day has no partition is refused as expired."""
        raise NotImplementedError

    def drop_partitions(self, today: date) -> int:
        """Drop the day partitions older than the horizon; how many."""
        raise NotImplementedError

    def keep_house(self, today: date) -> HouseKept:
        """One round of all upkeep; run it at least once a day, and at start."""
        raise NotImplementedError

    def bind_installation(self, cluster_id: str, partitions: int) -> None:
        """Record the Kafka cluster and the partition count at first use; InstallationMismatch when they are others."""
        raise NotImplementedError
