"""Credentials of accounts, held for as long as a lease and asked for once by many lanes."""

import asyncio
from dataclasses import dataclass

from vault.connections import AccountCredentials
from vault.vault import Vault
from workers.outbound.gate import VaultGate
from workers.outbound.waits import Clock


@dataclass(frozen=True, slots=True)
class _Held:
    found: AccountCredentials
    until_s: float


class Accounts:
    """A cache for the event loop. Absence is not cached: it ends a message, and the account may just have been added."""

    def __init__(self, vault: Vault, gate: VaultGate, life_s: float, clock: Clock) -> None:
        self._vault = vault
        self._gate = gate
        self._life_s = life_s
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._asking: dict[str, asyncio.Future[AccountCredentials | None]] = {}

    async def credentials(self, account: str) -> AccountCredentials | None:
        """The sender's credentials; None when there are none. Raises one of `gate.AWAY` when the vault is away."""
        held = self._held.get(account)
        if held is not None and self._clock() < held.until_s:
            return held.found
        asking = self._asking.get(account)
        if asking is None:
            asking = self._asking[account] = asyncio.ensure_future(self._ask(account))
            asking.add_done_callback(lambda _: self._asking.pop(account, None))
        return await asyncio.shield(asking)

    def forget(self, account: str) -> None:
        """The provider refused these credentials: ask for them again."""
        self._held.pop(account, None)

    async def _ask(self, account: str) -> AccountCredentials | None:
        until_s = self._clock() + self._life_s
        found = await self._gate.look_up(lambda: self._vault.account(account))
        if found is not None:
            self._held[account] = _Held(found, until_s)
        return found
