"""Send commands as the lanes hold them: one record of an outbound topic, decoded and checked."""

from dataclasses import dataclass, field

from schemas import clock, ids
from schemas.envelope import Event, InvalidEvent, SealedBlock
from schemas.events import registry
from schemas.events.messages import SendCommand
from streams.step.contract import Record

LaneKey = tuple[str, str, bool]
"""(account, subject, bulk). Replies may overtake bulk: they come from another topic and have no order with it."""

BULK_SUFFIX = ".bulk"


@dataclass(frozen=True, slots=True)
class Message:
    """One (message, part) to send. Times in milliseconds since the epoch; `record.time_ms` is the broker's."""

    record: Record = field(repr=False)
    event: Event = field(repr=False)
    command: SendCommand = field(repr=False)
    channel: str
    requested_ms: int
    expires_ms: int
    block: SealedBlock | None = field(repr=False)
    """The sealed content; None when the command names one of Sealpost's own texts."""

    @property
    def asked_ms(self) -> int:
        """When it was asked for, never later than the broker had it."""
        return min(self.requested_ms, self.record.time_ms)

    @property
    def ahead_s(self) -> float:
        """How far its writer's clock was ahead of the broker's at least. That it was behind cannot be told from a writer that
        had waited."""
        return (self.requested_ms - self.record.time_ms) / clock.MS_PER_S

    @property
    def bulk(self) -> bool:
        """True when the command came through a bulk topic."""
        return self.record.topic.endswith(BULK_SUFFIX)

    @property
    def lane(self) -> LaneKey:
        """Whom it must keep its order with."""
        return (self.command.account, self.event.subject, self.bulk)


def decode(record: Record) -> Message:
    """Read one record of an outbound topic; InvalidEvent (naming a field, never a value) when it is no send command."""
    event = Event.from_bytes(record.value)
    command = registry.read(event)
    if not isinstance(command, SendCommand):
        raise InvalidEvent("not a send command")
    if event.channel is None:
        raise InvalidEvent("a send command without a channel")
    block = event.block("content") if command.kind != "own_text" else None
    if (command.kind == "own_text") != (command.text is not None) or (command.text is None and block is None):
        raise InvalidEvent(f"{event.type}: content and kind do not go together")
    if not _is_part(command):
        raise InvalidEvent(f"{event.type}: part, parts, text_from and text_to do not go together")
    try:
        ids.message_day(command.message)
        requested_ms, expires_ms = clock.to_ms(command.requested_at), clock.to_ms(command.expires)
    except ValueError:
        raise InvalidEvent(f"{event.type}: message, requested_at or expires is not valid") from None
    return Message(record, event, command, event.channel, requested_ms, expires_ms, block)


def _is_part(command: SendCommand) -> bool:
    """True where part and span can be: only a text has more than one part, each with its span."""
    start, stop = command.text_from, command.text_to
    if not 0 <= command.part < command.parts:
        return False
    if start is None or stop is None:
        return start is stop and command.parts == 1
    return command.kind == "text" and 0 <= start < stop
