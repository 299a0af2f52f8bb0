"""What the vault says about the values of a batch before anything is decided: who that is, and whose message is meant.

All ordinary acts of a batch are one question. What changes the answers to those behind it, a change of address or a block, is
asked alone, in its place in the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schemas.entry_tokens import FoundToken, token_hash
from schemas.reasons import ends_reach, reach_ended_ms
from streams.step.contract import Cursor, Item
from vault.claims import ClaimInfo
from vault.entry_tokens import TokenUse
from vault.moving import AddressChange, Moved
from vault.reach import Covered
from vault.subjects import ResolvedSender, Sender
from vault.vault import Vault
from workers.channel import read_echo
from workers.inbound import parking
from workers.inbound.decisions import NOTHING, Came, Decision
from workers.inbound.entries import entry_evidence, entry_of, token_in, words_beside
from workers.inbound.fragments import ENTRY, Received
from workers.inbound_values import (
    InboundAddressChange,
    InboundEcho,
    InboundEdit,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundWatermark,
)

NOBODY_COVERED = Covered()


@dataclass(slots=True)
class Input:
    """One item of a batch while it is handled. `tries`: 0 for a record, 1 and more for a wake of `kind`. `reach_changed`: the
    block (or its end) is news. `covered`: what a watermark says something new about."""

    item: Item
    received: Received
    kind: str | None = None
    tries: int = 0
    who: ResolvedSender | None = None
    came: Came | None = None
    claim: ClaimInfo | None = None
    moved: Moved | None = None
    reach_changed: bool = False
    covered: Covered = NOBODY_COVERED
    decision: Decision = NOTHING


def resolve(vault: Vault, cursor: Cursor, inputs: Sequence[Input]) -> None:
    """Who acted, or is meant."""
    run: list[tuple[Input, Sender]] = []
    for found in inputs:
        received, value = found.received, found.received.value
        if isinstance(value, InboundAddressChange):
            _ask(vault, cursor, run)
            run = []
            acted_ms = min(received.at_ms, value.provider_time_ms)
            change = AddressChange(received.tenant, value.old, value.new, acted_ms)
            found.moved = vault.move_addresses(cursor, change)
        elif (sender := _sender(received)) is not None:
            run.append((found, sender))
            if isinstance(value, InboundOptOut) and value.scope == "all":
                _ask(vault, cursor, run)
                run = []
                _note_block(vault, cursor, found, value)
    _ask(vault, cursor, run)
    for found in inputs:
        if isinstance(found.received.value, InboundWatermark):
            _ask_covered(vault, cursor, found, found.received.value)


def _ask(vault: Vault, cursor: Cursor, run: Sequence[tuple[Input, Sender]]) -> None:
    if run:
        answers = vault.resolve_senders(cursor, [sender for _, sender in run])
        for (found, _), who in zip(run, answers, strict=True):
            found.who = who


def _sender(received: Received) -> Sender | None:
    """Whom a value is about. Whoever acts in the chat becomes known; what somebody of the business did, what a device reported,
    and the end of a prohibition make nobody known."""
    match received.value:
        case InboundMessage() as value:
            return _acting(received, value, name=value.name, opens_window=True)
        case InboundEdit() | InboundRevoke() | InboundReaction() as value:
            return _acting(received, value)
        case InboundOptOut(value="stop") as value:
            return _acting(received, value)
        case InboundOptOut(scope="all") as value:
            return _acting(received, value, creates=False)
        case InboundEcho() | InboundWatermark() as value:
            return Sender(
                received.tenant, received.channel, received.account, (value.recipient,), None, received.at_ms,
                value.provider_time_ms, opens_window=False, creates=False,
            )  # fmt: skip
    return None


def _acting(
    received: Received,
    value: InboundMessage | InboundEdit | InboundRevoke | InboundReaction | InboundOptOut,
    *,
    name: str | None = None,
    opens_window: bool = False,
    creates: bool = True,
) -> Sender:
    return Sender(
        received.tenant,
        received.channel,
        received.account,
        value.addresses,
        name,
        received.at_ms,
        value.provider_time_ms,
        opens_window,
        creates,
    )


def _note_block(vault: Vault, cursor: Cursor, found: Input, value: InboundOptOut) -> None:
    received, who = found.received, found.who
    if who is not None and who.subject:
        acted_ms = min(received.at_ms, value.provider_time_ms)
        found.reach_changed = vault.note_block(
            cursor, received.tenant, who.subject, received.channel, received.account, acted_ms,
            blocked=value.value == "stop",
        ).changed  # fmt: skip


def _ask_covered(vault: Vault, cursor: Cursor, found: Input, value: InboundWatermark) -> None:
    received, who = found.received, found.who
    if who is not None and who.subject:
        found.covered = vault.covered(
            cursor,
            received.tenant,
            who.subject,
            received.channel,
            received.account,
            value.status,
            min(value.watermark_ms, received.at_ms),
        )


def use_tokens(vault: Vault, cursor: Cursor, inputs: Sequence[Input]) -> None:
    """By which way people came: one question for all messages that hold a token."""
    held: list[tuple[Input, FoundToken]] = []
    for one in inputs:
        value = one.received.value
        if isinstance(value, InboundMessage) and one.who is not None and not one.who.dropped:
            found = token_in(value)
            held += [(one, found)] if found is not None else []
    asked = [
        (one, _use(one.received, found.token, look_only=_only_came(one)))
        for one, found in held
        if found.token is not None
    ]
    answers = vault.use_entry_tokens(cursor, [use for _, use in asked]) if asked else []
    used = {one.received.id: answer for (one, _), answer in zip(asked, answers, strict=True)}
    for one, found in held:
        known = used.get(one.received.id)
        entry = entry_of(found, known)
        one.came = Came(entry, entry_evidence(found, entry), words_beside(found, known))


def _only_came(one: Input) -> bool:
    """Whoever opens a link has said nothing yet: a link can be opened unawares, and must sign nobody up."""
    value = one.received.value
    return isinstance(value, InboundMessage) and value.provider_kind == ENTRY


def _use(received: Received, token: str, *, look_only: bool) -> TokenUse:
    return TokenUse(received.tenant, token_hash(token), received.id, received.at_ms, look_only)


def find_claims(vault: Vault, cursor: Cursor, inputs: Sequence[Input]) -> None:
    """Whose message a status is about: by our own echo, else by the provider's id. A reaction to one of ours, and an echo of
    what we sent ourselves, are found by the provider's id too."""
    statuses = [(f, f.received.value) for f in inputs if isinstance(f.received.value, InboundStatus)]
    echoes = {echo: None for found, value in statuses if (echo := read_echo(value.echo)) is not None}
    by_echo = vault.claims_of(cursor, list(echoes)) if echoes else {}
    asked: dict[tuple[str, str, str], list[Input]] = {}
    for found in inputs:
        match found.received.value:
            case InboundStatus() as value:
                echo = read_echo(value.echo)
                claim = by_echo.get(echo) if echo is not None else None
                if claim is not None and claim.tenant == found.received.tenant:
                    found.claim = claim
                    continue
                provider_id = value.provider_id
            case InboundReaction() as reaction:
                provider_id = reaction.target
            case InboundEcho() as echoed:
                provider_id = echoed.provider_id
            case _:
                continue
        asked.setdefault((found.received.tenant, found.received.channel, provider_id), []).append(found)
    if asked:
        by_id = vault.by_provider_id(cursor, list(asked))
        for key, waiting in asked.items():
            for found in waiting:
                found.claim = _claim_for(found.received, by_id.get(key, ()))


class _Reported(NamedTuple):
    """A status of a message that went out on the account that reports it. `at_ms`: the provider's time, at most the webhook's."""

    found: Input
    value: InboundStatus
    claim: ClaimInfo
    at_ms: int


def note_reach(vault: Vault, cursor: Cursor, inputs: Sequence[Input]) -> None:
    """Statuses of messages of ours that say that the account reaches the person no more, or, after that, that it does."""
    reported = [one for found in inputs if (one := _reported(found)) is not None]
    failed = [
        one for one in reported if ends_reach(one.value.error_class, message_only=one.value.message_only)
    ]
    arrived = [one for one in reported if one.value.status in _ARRIVED]
    for one in sorted(failed, key=_place):
        _note(vault, cursor, one, reach_ended_ms(one.at_ms), blocked=True)
    if arrived:
        places = [(one.claim.tenant, one.claim.subject, one.claim.account, one.at_ms) for one in arrived]
        for n in sorted(vault.reached_again(cursor, places), key=lambda n: _place(arrived[n])):
            _note(vault, cursor, arrived[n], arrived[n].at_ms, blocked=False)


_ARRIVED = frozenset(("delivered", "read", "played"))


def _reported(found: Input) -> _Reported | None:
    value, claim = found.received.value, found.claim
    if not isinstance(value, InboundStatus) or claim is None or found.kind == parking.SETTLE:
        return None
    if claim.account != found.received.account:
        return None
    return _Reported(found, value, claim, min(found.received.at_ms, value.provider_time_ms))


def _place(one: _Reported) -> tuple[str, str]:
    """Persons are held in one order."""
    return one.claim.tenant, one.claim.subject


def _note(vault: Vault, cursor: Cursor, one: _Reported, acted_ms: int, *, blocked: bool) -> None:
    claim = one.claim
    state = vault.hold_active(cursor, claim.tenant, claim.subject)
    if state is not None and state.state not in ("erased", "lost"):
        one.found.reach_changed = vault.note_block(
            cursor, claim.tenant, claim.subject, one.found.received.channel, claim.account, acted_ms,
            blocked=blocked,
        ).changed  # fmt: skip


def _claim_for(received: Received, claims: Sequence[ClaimInfo]) -> ClaimInfo | None:
    """Where each account counts anew, the same id on another account is another message."""
    own = [one for one in claims if not received.id_space or one.account == received.account]
    return own[0] if own else None
