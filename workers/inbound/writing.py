"""Seals what was decided and hands it to the engine, for a whole batch at once: one question to the vault for all keys."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas import clock
from schemas.envelope import KeyClass, SealedBlock
from schemas.events import registry
from streams.step.contract import Cursor, Effects, Output
from vault.keys import KeyNeed
from vault.outcomes import Erased
from vault.sealing import IDENTITY_GENERATION, SealContext, seal
from vault.vault import Vault
from workers.inbound.decisions import Decision, Draft
from workers.inbound.fragments import Received

ROLE = "inbound"
_EVIDENCE_SLOT = "evidence"


@dataclass(frozen=True, slots=True)
class Work:
    """A decision with the fragment it was made for; `partition` is the one of the input."""

    partition: int
    received: Received
    decision: Decision


@dataclass(frozen=True, slots=True)
class Written:
    """The records of one decision; `why` says why there are none."""

    outputs: tuple[Output, ...] = ()
    why: str | None = None


Keys = dict[KeyNeed, bytes | Erased]


def write(vault: Vault, cursor: Cursor, works: Sequence[Work], effects: Effects) -> list[Written]:
    """Seal and emit, in order; one answer a work. A work whose key is destroyed or whose subject is erased writes nothing."""
    written = seal_all(vault, cursor, works)
    for work, one in zip(works, written, strict=True):
        emit(work, one, effects)
    return written


def emit(work: Work, written: Written, effects: Effects) -> None:
    """Hand the records of a work to the engine."""
    for output in written.outputs:
        effects.emit(work.partition, output.topic, output.key, output.value)


def seal_all(vault: Vault, cursor: Cursor, works: Sequence[Work]) -> list[Written]:
    """The records of each work, sealed; nothing is emitted."""
    needs = dict.fromkeys(need for work in works for need in _needs(work))
    keys: Keys = vault.sealing_keys(cursor, list(needs)) if needs else {}
    return [_sealed(work, keys) for work in works]


def _needs(work: Work) -> Iterator[KeyNeed]:
    for draft in work.decision.drafts:
        for key_class, _ in _plaintexts(draft):
            yield _need(work.received, draft, key_class)


def _plaintexts(draft: Draft) -> Iterator[tuple[KeyClass, bytes]]:
    if draft.identity is not None:
        yield "identity", draft.identity
    if draft.content is not None:
        yield "content", draft.content
    if draft.evidence is not None:
        yield "evidence", draft.evidence


def _need(received: Received, draft: Draft, key_class: KeyClass) -> KeyNeed:
    if key_class == "content":
        generation = clock.month_of_ms(received.at_ms)
    elif key_class == "evidence":
        generation = received.event_id(_EVIDENCE_SLOT)
    else:
        generation = IDENTITY_GENERATION
    return KeyNeed(received.tenant, draft.subject, key_class, generation)


def _sealed(work: Work, keys: Keys) -> Written:
    received, drafts = work.received, work.decision.drafts
    if not drafts:
        return Written(why=work.decision.why)
    blocks: dict[str, dict[KeyClass, SealedBlock]] = {draft.id: {} for draft in drafts}
    types = {draft.id: registry.type_name(type(draft.data)) for draft in drafts}
    for draft in drafts:
        for key_class, plaintext in _plaintexts(draft):
            need = _need(received, draft, key_class)
            key = keys[need]
            if isinstance(key, Erased):
                return Written(why="erased")
            context = SealContext(
                received.tenant, draft.subject, draft.id, types[draft.id], key_class, need.gen
            )
            blocks[draft.id][key_class] = seal(key, context, plaintext)
    for draft in drafts:
        if draft.evidence_of is not None:
            origin = blocks[draft.evidence_of]["evidence"]
            copied = origin.model_copy(
                update={"sealed_in": draft.evidence_of, "type": types[draft.evidence_of]}
            )
            blocks[draft.id]["evidence"] = copied
    return Written(tuple(_output(received, draft, blocks[draft.id]) for draft in drafts))


def _output(received: Received, draft: Draft, blocks: dict[KeyClass, SealedBlock]) -> Output:
    value = registry.encode(
        draft.data,
        id=draft.id,
        role=ROLE,
        tenant=received.tenant,
        subject=draft.subject,
        at_ms=received.at_ms,
        channel=received.channel,
        cause=received.id if received.id != draft.id else None,
        blocks=blocks,
    )
    return Output(registry.TOPIC_OF[type(draft.data)], draft.subject.encode(), value)
