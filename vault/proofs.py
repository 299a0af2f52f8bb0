"""Which evidence belongs to a consent that was given: only that is kept as its proof (protocols §6).

The start of an opt-in, its confirmation and the consent name the opt-in; a withdrawal belongs to the consent of its purpose
and channel that it ended. Each act is noted when it is applied and joined to the consents known so far, so the order in which
the log is read does not matter. Evidence that belongs to no consent is destroyed after its time, or at T1.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from streams.step.contract import Cursor
from vault.base import as_json


@dataclass(frozen=True, slots=True)
class Proof:
    """An act with its evidence generation: a step of `optin`, or a withdrawal acted at `withdrawn_ms`."""

    tenant: str
    subject: str
    gen: str
    channel: str
    purpose: str
    optin: str | None = None
    withdrawn_ms: int | None = None


def tie_evidence(cursor: Cursor, proofs: Sequence[Proof], consenting: Sequence[tuple[str, str]]) -> None:
    """Note acts, and tie the evidence of these subjects to the consents it belongs to. `consenting`: (subject, tenant) with
    a consent that was just applied, for which the proof may be here already."""
    if proofs:
        cursor.execute(
            """insert into vault.proofs (subject, tenant, gen, channel, purpose, optin, withdrawn_ms)
               select subject, tenant, gen, channel, purpose, optin, withdrawn_ms from json_to_recordset(%s::json) as a(
                   subject uuid, tenant text, gen text, channel text, purpose text, optin text, withdrawn_ms bigint)
               on conflict do nothing""",
            [as_json([asdict(proof) for proof in proofs])],
        )
    concerned = sorted({(proof.subject, proof.tenant) for proof in proofs} | set(consenting))
    if concerned:
        cursor.execute(
            "select vault.tie_evidence(%s::json)",
            [as_json([{"subject": subject, "tenant": tenant} for subject, tenant in concerned])],
        )
