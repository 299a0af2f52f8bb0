"""The events that follow from sending: one status a (message, part), what the answer says about the person before it, and
ConfirmationSent where the command asks for it.

Their ids come from the command and the attempt, so that writing them again writes the same event.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from schemas import clock, ids, topics
from schemas.envelope import Event, EventData, KeyClass, SealedBlock
from schemas.events import registry
from schemas.events.consents import ConfirmationSent, ConsentWithdrawn
from schemas.events.messages import SendCommand
from schemas.events.statuses import (
    MessageExpired,
    MessageFailed,
    MessageRejected,
    MessageSubmitted,
    MessageUnknown,
)
from schemas.events.subscriptions import ReachChanged
from schemas.reasons import reach_ended_ms
from streams.step.contract import Output
from workers.outbound.commands import Message

ROLE = "outbound"
StatusModel = (
    type[MessageSubmitted]
    | type[MessageRejected]
    | type[MessageFailed]
    | type[MessageExpired]
    | type[MessageUnknown]
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a message, before it is an event. `provider_id` and `provider_error` are personal data.

    `opted_out`, `unreached`: what the answer says about the person, as it was when the permit was given (`permitted_ms`, the
    database's clock): what she did since then is newer. `unreached`: the account does not reach her any more.
    """

    model: StatusModel
    reason: str | None = None
    code: int | None = None
    provider_id: str | None = field(default=None, repr=False)
    provider_error: str | None = field(default=None, repr=False)
    opted_out: bool = False
    unreached: bool = False
    permitted_ms: int = 0

    def personal(self) -> dict[str, str]:
        """What goes into the sealed content block; {} for nothing."""
        values = {"provider_id": self.provider_id, "provider_error": self.provider_error}
        return {name: value for name, value in values.items() if value is not None}


Sealer = Callable[[str, str, int, Mapping[str, str]], SealedBlock | None]
"""(id, type and time of an event of ours, what is personal in it): sealed under the person's content key; None when the key is
gone for ever."""


def outputs(
    message: Message,
    verdict: Verdict,
    *,
    purposes: Sequence[str],
    attempt: int,
    at_ms: int,
    id_key: bytes,
    sealer: Sealer,
) -> tuple[Output, ...]:
    """The records to write, in order: withdrawals first, the status last.

    `purposes`: those that need consent, all of which end where the person said no; `attempt`: the permit's, 0 when none was
    given; `at_ms`: when the provider answered or the decision fell.
    """
    command = message.command
    data = verdict.model(
        message=command.message,
        part=command.part,
        account=command.account,
        purpose=command.purpose,
        template=command.template,
        language=command.language,
        reason=verdict.reason,
        code=verdict.code,
        attempt=attempt or None,
        acted_at=clock.to_text(at_ms),
    )
    personal = verdict.personal()
    about = [
        _output(message, told, f"{slot}.{attempt}", at_ms, id_key)
        for slot, told in _about_person(command, verdict, purposes)
    ]
    status = _output(message, data, f"{verdict.model.STATUS}.{attempt}", at_ms, id_key, sealer, personal)
    if (
        verdict.model is not MessageSubmitted
        or command.on_submitted != "confirmation_sent"
        or command.optin is None
    ):
        return (*about, status)
    sent = _confirmation_sent(command, command.optin)
    slot = f"confirmation_sent.{attempt}"
    return (status, _output(message, sent, slot, at_ms, id_key, sealer, personal))


def with_confirmation(message: Message, stored: tuple[Output, ...], id_key: bytes) -> tuple[Output, ...]:
    """What was stored as the outcome, and ConfirmationSent where the command asks for it and it is not among it.

    Inbound settles a claim by the provider's echo when its worker died, and does not know what the command asked for.
    Deterministic: the same stored outcome gives the same bytes.
    """
    command = message.command
    if command.on_submitted != "confirmation_sent" or command.optin is None:
        return stored
    if any(output.topic == topics.CONSENTS for output in stored):
        return stored
    events = [Event.from_bytes(output.value) for output in stored if output.topic == topics.STATUSES]
    submitted = next((event for event in events if event.type == MessageSubmitted.TYPE), None)
    if submitted is None:
        return stored
    sent = _confirmation_sent(command, command.optin)
    slot = f"confirmation_sent.{submitted.data.get('attempt') or 0}"
    return (*stored, _output(message, sent, slot, clock.to_ms(submitted.time), id_key))


def _about_person(
    command: SendCommand, verdict: Verdict, purposes: Sequence[str]
) -> Iterator[tuple[str, EventData]]:
    """What the answer says about the person, each with its slot. Nothing seals a proof: it is the status beside it."""
    at = clock.to_text(verdict.permitted_ms)
    for purpose in purposes if verdict.opted_out else ():
        yield (
            f"consent_withdrawn.{purpose}",
            ConsentWithdrawn(purpose=purpose, method="provider_preference", acted_at=at),
        )
    if verdict.unreached:
        since = clock.to_text(reach_ended_ms(verdict.permitted_ms))
        yield "reach_changed", ReachChanged(account=command.account, reachable=False, acted_at=since)


def _confirmation_sent(command: SendCommand, optin: str) -> ConfirmationSent:
    """The question is a service message about another purpose: the one that consent is asked for."""
    return ConfirmationSent(optin=optin, purpose=command.about or command.purpose, message=command.message)


def _output(
    message: Message,
    data: EventData,
    slot: str,
    at_ms: int,
    id_key: bytes,
    sealer: Sealer | None = None,
    personal: Mapping[str, str] | None = None,
) -> Output:
    cause, model = message.event, type(data)
    event_id = ids.event_id(id_key, cause.id, ROLE, slot)
    blocks: dict[KeyClass, SealedBlock] = {}
    if sealer is not None and personal:
        block = sealer(event_id, registry.type_name(model), at_ms, personal)
        if block is not None:
            blocks["content"] = block
    value = registry.encode(
        data,
        id=event_id,
        role=ROLE,
        tenant=cause.tenant,
        subject=cause.subject,
        at_ms=at_ms,
        channel=message.channel,
        cause=cause.id,
        correlation=cause.correlationid,
        blocks=blocks,
    )
    return Output(registry.TOPIC_OF[model], cause.subject.encode(), value)
