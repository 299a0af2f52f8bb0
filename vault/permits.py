"""Permits: may this message go now? Address, content key and claim together, or a refusal with its reason (DESIGN §7).

Order of the answers: erased · settled before · refused before · under way elsewhere (busy, echo, unknown) · what the
conditions say. A claim comes before a refusal because a message that went out must not be called rejected afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.addresses import Address
from schemas.events.messages import Delivery
from schemas.reasons import RefusalReason, WaitReason
from streams.step.contract import Output
from vault.base import VaultBase

PERMITS_MAX = 500


@dataclass(frozen=True, slots=True)
class PermitRequest:
    """One (message, part) whose call can start at once.

    `kind` "free_form" needs an open window. `basis`: id of the consent event relied on. `settings`: offset in `tenants` that the
    writer had seen. Times in milliseconds. `token`: a random word per attempt (`schemas.ids.random_token`): asking again with the
    same token gets the same answer while the lease lasts. `content_gen`: generation of the content block to open, None when
    there is none. `partition`: the command's partition number; without it the slowest partition of the follower decides.
    """

    tenant: str
    subject: str
    message: str
    part: int
    account: str
    channel: str
    purpose: str
    kind: Literal["free_form", "template"]
    requested_at_ms: int
    expires_ms: int
    delivery: Delivery
    token: str
    basis: str | None = None
    settings: int | None = None
    content_gen: str | None = None
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Permit:
    """Go. `deadline_s` (boot clock, `schemas.clock.boot_s`): check before each provider request; past it, settle as `retry`
    and ask again with a new token. `address` and `content_key` must not outlive it. `granted_at_ms`: database clock."""

    address: Address
    content_key: bytes | None
    attempt: int
    deadline_s: float
    granted_at_ms: int

    def __repr__(self) -> str:
        return f"Permit(attempt={self.attempt})"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Never. Write the status, after settling it (`rejected` or `expired`) under `attempt`; `erased` has attempt 0 and gets
    neither status nor settlement. Attempt 0 with another reason: the day is over the horizon; settling it stores nothing."""

    reason: RefusalReason
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: ask again in `retry_after_s`, with a new token."""

    reason: WaitReason
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Settled:
    """This (message, part) has its outcome: produce `outputs` again and call nobody."""

    outputs: tuple[Output, ...]

    def __repr__(self) -> str:
        return f"Settled({len(self.outputs)} outputs)"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A call was or may have been made and nobody knows its outcome, and it may not be repeated: settle `unknown` under
    `attempt` with MessageUnknown."""

    attempt: int


Answer = Permit | Refusal | Wait | Settled | Unknown


class PermitsPart(VaultBase):
    """The gate."""

    def permits(self, requests: Sequence[PermitRequest]) -> list[Answer]:
        """Answer up to 500 requests in one round trip, in order; more are cut into batches of 500. Blocking: call it in a thread."""
        raise NotImplementedError
