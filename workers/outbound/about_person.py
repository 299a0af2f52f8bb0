"""What an answer to a send says about the person takes effect in the vault before its events are written (decision 099).

It is read from the outcome as it is stored, so that whoever gets a settled command again, after a crash in between, does
the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

from schemas import clock, topics
from schemas.envelope import Event
from schemas.events import registry
from schemas.events.consents import ConsentWithdrawn
from schemas.events.subscriptions import ReachChanged
from streams.step.contract import Output
from vault.permissions import Lower
from vault.vault import Vault

TOPICS = frozenset((topics.CONSENTS, topics.SUBSCRIPTIONS))


class _Told(NamedTuple):
    """A record that is about the person, read."""

    output: Output
    event: Event
    data: ConsentWithdrawn | ReachChanged

    @property
    def acted_ms(self) -> int:
        return clock.to_ms(self.data.acted_at)


def concerns(outputs: Sequence[Output]) -> bool:
    """True when a stored outcome may hold something about the person; by its topics alone, which costs nothing."""
    return any(output.topic in TOPICS for output in outputs)


def heed(vault: Vault, outputs: Sequence[Output]) -> tuple[Output, ...]:
    """Withdraw what is withdrawn and note that an account does not reach the person, committed; what is to be written then.

    All of it, except that of somebody who was erased meanwhile nothing is said but the status, and that nobody is called
    unreachable who has written since: inbound saw no block then, and will not say that it is over. Repeating it changes nothing.
    Raises what PostgreSQL raises.
    """
    told = _told_in(outputs)
    if not told:
        return tuple(outputs)
    event = told[0].event
    with vault.transaction() as cursor:
        state = vault.hold_active(cursor, event.tenant, event.subject)
        if state is None or state.state in ("erased", "lost"):
            unsaid = [one.output for one in told]
        else:
            # The reach before the permissions, as inbound locks them.
            unsaid = [
                one.output
                for one in told
                if isinstance(one.data, ReachChanged)
                and not vault.note_block(
                    cursor, event.tenant, event.subject, event.channel or "", one.data.account, one.acted_ms,
                    blocked=True,
                ).now
            ]  # fmt: skip
            vault.lower_permissions(cursor, _lowers(told))
    return tuple(output for output in outputs if output not in unsaid)


def _told_in(outputs: Sequence[Output]) -> list[_Told]:
    told: list[_Told] = []
    for output in outputs:
        if output.topic in TOPICS:
            event = Event.from_bytes(output.value)
            data = registry.read(event)
            if isinstance(data, ConsentWithdrawn | ReachChanged):
                told.append(_Told(output, event, data))
    return told


def _lowers(told: Sequence[_Told]) -> list[Lower]:
    return [
        Lower(one.event.tenant, one.event.subject, one.event.channel or "", one.data.purpose, one.acted_ms)
        for one in told
        if isinstance(one.data, ConsentWithdrawn)
    ]
