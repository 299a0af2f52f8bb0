"""Events of `sealpost.statuses`: what became of a message.

Status is a lattice: requested < submitted < sent < delivered < read; rejected, failed and expired end it, except that a later
delivered or read wins; unknown gives way to anything. `join` is its only implementation.
Sealed content of all: `{"provider_id"?, "provider_error"?}`.
"""

from typing import ClassVar, Literal

from schemas.envelope import EventData

Status = Literal[
    "requested", "unknown", "submitted", "sent", "rejected", "failed", "expired", "delivered", "read"
]
_RANK: dict[Status, int] = {
    "requested": 0, "unknown": 1, "submitted": 2, "sent": 3, "expired": 4, "failed": 5, "rejected": 6, "delivered": 7, "read": 8,
}  # fmt: skip
_END_OF_LATER_PART: dict[Status, int] = {"expired": 9, "rejected": 10, "failed": 11}
"""Above everything that becomes of the first part: a message of which a part is missing was not delivered."""
PART_FAILED = "part_failed"
"""The reason for which parts behind one that ended are rejected; it is not why the message is incomplete."""
_STATUS_AT: dict[int, Status] = {
    place: status for known in (_RANK, _END_OF_LATER_PART) for status, place in known.items()
}


def rank(status: Status) -> int:
    """Place of a status in the lattice; the larger wins. A total order, so a join never depends on the order of arrival."""
    return _RANK[status]


def rank_in_message(status: Status, part: int, reason: str | None) -> int | None:
    """Place in the lattice of the whole message; None for what says nothing about it.

    The first part speaks for the message as long as no later one ended without being sent.
    """
    if part == 0:
        return rank(status)
    return None if reason == PART_FAILED else _END_OF_LATER_PART.get(status)


def of_rank(place: int | None) -> Status | None:
    """The status at a place in the lattice; None for no place, or one that this release does not know."""
    return None if place is None else _STATUS_AT.get(place)


def join(one: Status, other: Status) -> Status:
    """Least upper bound of two statuses: commutative, associative, idempotent."""
    return one if _RANK[one] >= _RANK[other] else other


class _StatusData(EventData):
    message: str
    part: int = 0
    account: str
    purpose: str | None = None
    template: str | None = None
    language: str | None = None
    reason: str | None = None
    code: int | None = None
    attempt: int | None = None
    acted_at: str
    STATUS: ClassVar[Status]


class MessageRejected(_StatusData):
    """The permit refused; `reason` says why (schemas.reasons)."""

    TYPE: ClassVar[str] = "sealpost.message.rejected.v1"
    STATUS: ClassVar[Status] = "rejected"


class MessageSubmitted(_StatusData):
    """The provider took the message."""

    TYPE: ClassVar[str] = "sealpost.message.submitted.v1"
    STATUS: ClassVar[Status] = "submitted"


class MessageSent(_StatusData):
    """The provider says the message went out."""

    TYPE: ClassVar[str] = "sealpost.message.sent.v1"
    STATUS: ClassVar[Status] = "sent"


class MessageDelivered(_StatusData):
    """The message is on the person's device."""

    TYPE: ClassVar[str] = "sealpost.message.delivered.v1"
    STATUS: ClassVar[Status] = "delivered"


class MessageRead(_StatusData):
    """The person opened the message (or played it)."""

    TYPE: ClassVar[str] = "sealpost.message.read.v1"
    STATUS: ClassVar[Status] = "read"


class MessageFailed(_StatusData):
    """The provider refused, or the message could not be handed to it; `reason` is the failure class, `code` the provider's number
    where it gave one."""

    TYPE: ClassVar[str] = "sealpost.message.failed.v1"
    STATUS: ClassVar[Status] = "failed"


class MessageExpired(_StatusData):
    """The message's time ran out before it could be sent."""

    TYPE: ClassVar[str] = "sealpost.message.expired.v1"
    STATUS: ClassVar[Status] = "expired"


class MessageUnknown(_StatusData):
    """The call was made or may have been made, and nobody knows whether the provider took it; it is not repeated."""

    TYPE: ClassVar[str] = "sealpost.message.unknown.v1"
    STATUS: ClassVar[Status] = "unknown"
