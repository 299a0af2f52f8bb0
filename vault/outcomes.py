"""What opening a sealed block can give: exactly one of `Plain`, `Erased`, `Corrupt`. No repr shows what was opened."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plain(Generic[T]):
    """The block opened; `value` is personal data and never goes into a log."""

    value: T

    def __repr__(self) -> str:
        return "Plain(…)"


@dataclass(frozen=True, slots=True)
class Erased:
    """A fence or a destroyed generation says that nobody can open this again: a normal value, not an error.

    `lost` is True when the key was lost in a restore instead (the subject is younger than the backup).
    """

    lost: bool = False


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Neither readable nor erased: a missing key row, a swapped key or a wrong tag. Alarms; `reason` is a code word."""

    reason: str


Opened = Plain[bytes] | Erased | Corrupt
