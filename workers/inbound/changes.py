"""What follows from values that are no message, no status and no switch: edits, reactions, moves, echoes, news. Pure.

A message is named by the id that its MessageReceived has or will have, so that what is about it may come first.
"""

from collections.abc import Sequence

import orjson

from schemas import clock, ids, texts
from schemas.events.messages import MessageEchoed, MessageEdited, MessageReacted, MessageRevoked
from schemas.events.statuses import MessageDelivered, MessageRead
from schemas.events.tenants import AccountNews, TemplateStatusChanged
from vault.claims import ClaimInfo
from vault.moving import Moved
from vault.reach import Covered
from vault.subjects import ResolvedSender
from workers.inbound.decisions import (
    RESUMED,
    Decision,
    Draft,
    bound_drafts,
    evidence_of_act,
    introduction,
    lowers_of,
    reach_draft,
    unbound_drafts,
    withdrawals_of,
)
from workers.inbound.entries import without_token
from workers.inbound.fragments import Received
from workers.inbound_values import (
    InboundAccountNews,
    InboundEcho,
    InboundEdit,
    InboundReaction,
    InboundRevoke,
    InboundTemplateStatus,
    InboundWatermark,
)

ERASED = Decision(why="erased")
_RECEIPTS: dict[str, type[MessageDelivered] | type[MessageRead]] = {
    "delivered": MessageDelivered,
    "read": MessageRead,
}


def _about(received: Received, target: str, who: ResolvedSender) -> str:
    """The message that an act is about. Of somebody who was erased it is not named by its id: that may stand in clear under the
    erased subject, and would join the two (docs/privacy/what-remains.md)."""
    return received.event_id("target") if who.returning else received.message_of(target)


def decide_edit(
    received: Received, value: InboundEdit, who: ResolvedSender, purposes: Sequence[str]
) -> Decision:
    """A person changed what she wrote. STOP counts however it is said; other words of an edit are only shown (decision 095)."""
    if who.dropped:
        return ERASED
    at = clock.to_text(received.at_ms)
    data = MessageEdited(
        message=_about(received, value.target, who),
        account=received.account,
        acted_at=at,
        provider_time=clock.to_text(value.provider_time_ms),
    )
    about = {"text": value.text, "target": value.target, "raw": value.raw}
    edit = Draft(received.id, who.subject, data, content=_content(value, **about))
    found = texts.recognise(without_token(value.text)) if value.text else None
    if found is None or found.intent != "stop":
        return Decision((*introduction(received, None, who), edit))
    evidence = evidence_of_act(
        value.addresses, value.provider_time_ms, value.provider_id, "edit", value.text or "", None
    )
    withdrawals = withdrawals_of(
        received, who.subject, purposes, "keyword", found.language, evidence=evidence
    )
    drafts = (*introduction(received, None, who), *withdrawals, edit)
    return Decision(drafts, lowers_of(received, who.subject, purposes))


def decide_revoke(received: Received, value: InboundRevoke, who: ResolvedSender) -> Decision:
    """A person took back what she wrote. A withdrawal that it was stays one."""
    if who.dropped:
        return ERASED
    data = MessageRevoked(
        message=_about(received, value.target, who),
        account=received.account,
        acted_at=clock.to_text(received.at_ms),
    )
    revoke = Draft(received.id, who.subject, data, content=_content(value, target=value.target))
    return Decision((*introduction(received, None, who), revoke))


def decide_reaction(
    received: Received, value: InboundReaction, who: ResolvedSender, ours: ClaimInfo | None
) -> Decision:
    """A person reacted. `ours`: the message is one of ours, which the event does not name in clear."""
    if who.dropped:
        return ERASED
    data = MessageReacted(
        message=None if ours is not None else _about(received, value.target, who),
        account=received.account,
        acted_at=clock.to_text(received.at_ms),
        provider_time=clock.to_text(value.provider_time_ms),
    )
    content = _content(value, emoji=value.emoji, target=value.target)
    return Decision(
        (*introduction(received, None, who), Draft(received.id, who.subject, data, content=content))
    )


def decide_echo(
    received: Received, value: InboundEcho, who: ResolvedSender, ours: ClaimInfo | None
) -> Decision:
    """Somebody of the business wrote to a person whom the vault knows. What Sealpost sent itself is no echo."""
    if who.dropped:
        return ERASED
    if who.unknown:
        return Decision(why="unknown_recipient")
    if ours is not None:
        return Decision(why="own_echo")
    # Named as a message of the person's would be: her reaction to it finds it.
    data = MessageEchoed(
        message=received.message_of(value.provider_id),
        account=received.account,
        acted_at=clock.to_text(received.at_ms),
    )
    content = _content(value, text=value.text, raw=value.raw)
    return Decision((Draft(received.id, who.subject, data, content=content),))


def decide_resumed(received: Received, who: ResolvedSender, *, reach_changed: bool) -> Decision:
    """A person lets an account write again that she had blocked. That is no consent."""
    if who.dropped:
        return ERASED
    if not reach_changed:
        return RESUMED
    return Decision((reach_draft(received, who.subject, reachable=True),))


def decide_address_change(received: Received, moved: Moved) -> Decision:
    """Addresses that do not reach a subject any more, then those that do."""
    gone = unbound_drafts(received, moved.unbound)
    return Decision((*gone, *bound_drafts(received, moved.subject, moved.bound)))


def decide_watermark(
    received: Received, value: InboundWatermark, who: ResolvedSender, covered: Covered
) -> Decision:
    """Each message that the watermark says something new about has the status. Its id comes from the message: however many
    watermarks are about it, it is one fact."""
    if who.dropped:
        return ERASED
    if who.unknown:
        return Decision(why="unknown_recipient")
    model, at = _RECEIPTS[value.status], clock.to_text(received.at_ms)
    return Decision(
        tuple(
            Draft(
                ids.event_id(
                    received.id_key, f"{claim.message}.{claim.part}", "inbound", f"watermark.{value.status}"
                ),
                claim.subject,
                model(
                    message=claim.message,
                    part=claim.part,
                    account=claim.account,
                    purpose=claim.purpose,
                    acted_at=at,
                ),
            )
            for claim in covered.sent
        )
    )


def decide_template_status(received: Received, value: InboundTemplateStatus) -> Decision:
    """News for the tenant's settings; no person in it."""
    data = TemplateStatusChanged(
        account=received.account,
        template=value.template,
        language=value.language,
        status=value.status,
        reason=value.reason,
    )
    return Decision((Draft(received.id, received.tenant, data),))


def decide_account_news(received: Received, value: InboundAccountNews) -> Decision:
    """News for the tenant's settings; no person in it."""
    data = AccountNews(account=received.account, field=value.field, event=value.event)
    return Decision((Draft(received.id, received.tenant, data),))


def _content(value: InboundEdit | InboundRevoke | InboundReaction | InboundEcho, **parts: object) -> bytes:
    content = {
        **parts,
        "provider_id": value.provider_id,
        "provider_time": clock.to_text(value.provider_time_ms),
    }
    return orjson.dumps({name: part for name, part in content.items() if part is not None})
