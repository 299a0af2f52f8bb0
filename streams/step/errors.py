"""What can end or hold up a step."""

from schemas.errors import SealpostError


class Fenced(SealpostError):
    """Another process owns these partitions now; nothing was written. The role ends and the supervisor starts it anew."""


class PositionInvalid(SealpostError):
    """A stored position does not belong to this log: another cluster, a topic made anew, or records that are gone.

    Nothing was skipped and nothing was written. Find out what happened to the topic, then choose where to go on:
    `sealpost recover`.
    """


class DatabaseAway(SealpostError):
    """PostgreSQL does not answer, or refuses for now. The role waits, keeps its place in its group and tries again.

    Look at the database server and its disk. A handler may raise this when another part it needs is away: the step is
    rolled back and tried again later, nothing is dead-lettered.
    """


class StopPartition(SealpostError):
    """A record must not be passed over and cannot be handled: the role stops in front of it, in words.

    Look at the record named (topic, partition, offset), repair what wrote it, and go on with `sealpost recover`.
    """


class IncarnationChanged(SealpostError):
    """The database was restored or promoted: what was recorded after its backup is missing from it.

    Set the positions first: `sealpost recover`.
    """


class MigrationChanged(SealpostError):
    """A migration that was applied differs from the file now shipped. Never edit an applied file: add a new one."""
