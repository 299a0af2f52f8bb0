"""Claims and outcomes: insert-only rows in day partitions, the guard against sending twice (protocols §5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from streams.step.contract import Cursor, Output
from vault.base import VaultBase

OutcomeClass = Literal["submitted", "failed", "retry", "unknown", "rejected", "expired"]
"""`retry` releases the claim: nobody took the message, the next permit is attempt + 1. All others settle it."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one attempt. `provider_index` from `provider_index`; `outputs`: the status events to produce, stored so
    that a redelivery writes the same bytes."""

    tenant: str
    message: str
    part: int
    attempt: int
    outcome: OutcomeClass
    outputs: tuple[Output, ...] = ()
    provider_index: bytes | None = None


@dataclass(frozen=True, slots=True)
class EchoSettlement:
    """A provider's status carried our echo: the provider took (message, part). `outputs`: MessageSubmitted."""

    tenant: str
    message: str
    part: int
    outputs: tuple[Output, ...] = ()
    provider_index: bytes | None = None


@dataclass(frozen=True, slots=True)
class ClaimInfo:
    """Whose message this is. `attempt` is the newest; `has_outcome` False means the call is under way or unknown."""

    message: str
    part: int
    tenant: str
    subject: str
    account: str
    purpose: str
    attempt: int
    has_outcome: bool


MessagePart = tuple[str, int]
ProviderId = tuple[str, str, str]
"""(tenant, channel, provider's message id)."""


class ClaimsPart(VaultBase):
    """What became of permits."""

    def settle(self, settlements: Sequence[Settlement]) -> list[tuple[Output, ...]]:
        """Write outcomes in one round trip, committed; one answer each, in order: what to produce now, which is what was
        stored first (an earlier definite outcome wins over this one). Repeating it changes nothing. Attempt 0 stores nothing."""
        raise NotImplementedError

    def settle_by_echo(self, cursor: Cursor, echoes: Sequence[EchoSettlement]) -> list[bool]:
        """Settle open or unknown claims as submitted, in the caller's transaction; True where this did it (produce the
        outputs), False where the outcome was known or there is no claim."""
        raise NotImplementedError

    def claims_of(self, cursor: Cursor, parts: Sequence[MessagePart]) -> Mapping[MessagePart, ClaimInfo]:
        """Claims by our own echo id; what is not there is foreign or over the horizon."""
        raise NotImplementedError

    def by_provider_id(self, cursor: Cursor, ids: Sequence[ProviderId]) -> Mapping[ProviderId, ClaimInfo]:
        """Claims by the provider's message id, for statuses without echo."""
        raise NotImplementedError

    def provider_index(self, tenant: str, channel: str, provider_id: str) -> bytes:
        """Blind index of a provider's message id (which may contain a phone number)."""
        raise NotImplementedError

    def cancel(self, cursor: Cursor, tenant: str, message: str) -> None:
        """Refuse this message from now on (`cancelled`)."""
        raise NotImplementedError
