"""Opening the sealed blocks of one answer in one call of the vault."""

import logging
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.envelope import KeyClass, SealedBlock
from vault.keys import BlockToOpen
from vault.outcomes import Corrupt, Erased, Plain
from vault.vault import Vault

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fields:
    """What became of one block: the personal fields, or why there are none."""

    values: dict[str, Any] | None = field(default=None, repr=False)
    erased: bool = False
    unreadable: bool = False

    def get(self, name: str) -> Any:
        """A personal field; None when the block could not be opened or does not have it."""
        return (self.values or {}).get(name)


NOTHING = Fields()
"""There was no block."""


@dataclass(slots=True)
class Opening:
    """Blocks collected for one subject and opened together: `want` them, `open` them, then `of` each."""

    vault: Vault
    tenant: str
    subject: str
    _wanted: dict[str, BlockToOpen] = field(default_factory=dict, repr=False)
    _opened: dict[str, Fields] = field(default_factory=dict, repr=False)

    def want(self, name: str, event: str | None, event_type: str, key_class: KeyClass, block: Any) -> None:
        """Ask for a block under a name of the caller's; nothing happens when there is none."""
        if block is None or event is None:
            return
        sealed = SealedBlock.model_validate(block)
        self._wanted[name] = BlockToOpen(self.tenant, self.subject, event, event_type, key_class, sealed)

    def open(self) -> "Opening":
        """Open all that was asked for. The vault counts what it opened, and alarms for what is corrupt."""
        names = list(self._wanted)
        for name, outcome in zip(
            names, self.vault.open_blocks([self._wanted[name] for name in names]), strict=True
        ):
            self._opened[name] = _fields(outcome)
        return self

    def of(self, name: str) -> Fields:
        """What a block held."""
        return self._opened.get(name, NOTHING)

    @property
    def met_erased(self) -> bool:
        """A key was gone: the subject may have been erased while this answer was made."""
        return any(fields.erased for fields in self._opened.values())

    @property
    def met_unreadable(self) -> bool:
        """A block was neither readable nor erased."""
        return any(fields.unreadable for fields in self._opened.values())


def _fields(outcome: Plain[bytes] | Erased | Corrupt) -> Fields:
    if isinstance(outcome, Erased):
        return Fields(erased=True)
    if isinstance(outcome, Plain):
        try:
            values = orjson.loads(outcome.value)
        except orjson.JSONDecodeError:
            values = None
        if isinstance(values, dict):
            return Fields(values)
    log.error("a sealed block of a read model is unreadable")
    return Fields(unreadable=True)
