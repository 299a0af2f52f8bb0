"""Reason codes: why a message was refused, failed or waits. Stable words; they stand in events, answers and metrics."""

from typing import Literal

RefusalReason = Literal[
    "erased", "restricted", "no_dpa", "no_consent", "consent_withdrawn", "window_closed", "expired", "cancelled",
    "unreachable", "unknown_purpose", "unknown_account", "unsupported", "clock", "part_failed",
    "template_not_approved",
]  # fmt: skip
WaitReason = Literal["vault_behind", "basis", "settings", "busy", "echo", "vault_fault"]
FailureClass = Literal["RETRY", "RATE", "PERM", "WINDOW", "UNREACH", "AUTH", "ACCOUNT"]
"""What a provider's error means for the broker; see channel-apis.md, first table."""
