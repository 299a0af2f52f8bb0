"""Seals what was decided and hands it to the engine, for a whole batch at once: one question to the vault for all keys."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

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


class Work(NamedTuple):
    """A decision with the fragment it was made for; `partition` is the one of the input."""

    partition: int
    received: Received
    decision: Decision


class Written(NamedTuple):
    """The records of one decision; `why` says why there are none."""

    outputs: tuple[Output, ...] = ()
    why: str | None = None


class _Part(NamedTuple):
    """One block to be sealed: the draft it belongs to, the key it needs, its plaintext."""

    draft: Draft
    need: KeyNeed
    plaintext: bytes

    def __repr__(self) -> str:
        return "_Part(…)"


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
    parts = [list(_parts(work)) for work in works]
    needs = dict.fromkeys(part.need for some in parts for part in some)
    keys: Keys = vault.sealing_keys(cursor, list(needs)) if needs else {}
    return [_sealed(work, some, keys) for work, some in zip(works, parts, strict=True)]


def _parts(work: Work) -> Iterator[_Part]:
    for draft in work.decision.drafts:
        if draft.identity is not None:
            yield _Part(draft, _need(work.received, draft, "identity"), draft.identity)
        if draft.content is not None:
            yield _Part(draft, _need(work.received, draft, "content"), draft.content)
        if draft.evidence is not None:
            yield _Part(draft, _need(work.received, draft, "evidence"), draft.evidence)


def _need(received: Received, draft: Draft, key_class: KeyClass) -> KeyNeed:
    if key_class == "content":
        generation = clock.month_of_ms(received.at_ms)
    elif key_class == "evidence":
        generation = received.event_id(_EVIDENCE_SLOT)
    else:
        generation = IDENTITY_GENERATION
    return KeyNeed(received.tenant, draft.subject, key_class, generation)


def _sealed(work: Work, parts: Sequence[_Part], keys: Keys) -> Written:
    drafts = work.decision.drafts
    if not drafts:
        return Written(why=work.decision.why)
    blocks: dict[str, dict[KeyClass, SealedBlock]] = {draft.id: {} for draft in drafts}
    for draft, need, plaintext in parts:
        key = keys[need]
        if isinstance(key, Erased):
            return Written(why="erased")
        event_type = registry.type_name(type(draft.data))
        context = SealContext(need.tenant, need.subject, draft.id, event_type, need.key_class, need.gen)
        blocks[draft.id][need.key_class] = seal(key, context, plaintext)
    for draft in drafts:
        if draft.evidence_of is not None:
            origin = next(one for one in drafts if one.id == draft.evidence_of)
            named = {"sealed_in": origin.id, "type": registry.type_name(type(origin.data))}
            blocks[draft.id]["evidence"] = blocks[origin.id]["evidence"].model_copy(update=named)
    return Written(tuple([_output(work.received, draft, blocks[draft.id]) for draft in drafts]))


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
