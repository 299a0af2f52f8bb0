"""Reason codes: why a message was refused, failed or waits. Stable words; they stand in events, answers and metrics."""

from typing import Literal

from schemas.clock import MS_PER_S

RefusalReason = Literal[
    "erased", "restricted", "no_dpa", "no_consent", "consent_withdrawn", "window_closed", "expired", "cancelled",
    "unreachable", "unknown_purpose", "unknown_account", "unsupported", "clock", "part_failed",
    "template_not_approved",
]  # fmt: skip
WaitReason = Literal["vault_behind", "basis", "settings", "busy", "echo", "vault_fault"]
FailureClass = Literal["RETRY", "RATE", "PERM", "WINDOW", "UNREACH", "AUTH", "ACCOUNT"]
"""What a provider's error means for the broker; see channel-apis.md, first table."""


def ends_reach(failure_class: FailureClass | None, *, message_only: bool) -> bool:
    """True for a failure that says that the account does not reach the person any more, until she writes again (decision 099)."""
    return failure_class == "UNREACH" and not message_only


def reach_ended_ms(failed_ms: int) -> int:
    """Since when the account counts as not reaching the person, by a failure of that time: since before its second.

    Some providers know whole seconds, so her message of the same second may be younger than the failure. Who wrote in that second
    is reached; where that is wrong, the next failure says so.
    """
    return failed_ms // MS_PER_S * MS_PER_S - 1
