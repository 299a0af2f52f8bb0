"""What the command API does: checks, one vault transaction, and what has to be produced after it (protocols §3).

Blocking; the router calls it in a thread. Look-ups take connections of their own and therefore come before the transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from unicodedata import category

import orjson
from pydantic import BaseModel

from schemas import topics
from schemas.addresses import Address
from schemas.clock import MS_PER_S, day_of_ms, month_of_ms, now_ms, to_text
from schemas.constants import Times
from schemas.content import Content, ReadMarkContent, TemplateContent, TextContent
from schemas.envelope import Event, Sealed, SealedBlock
from schemas.errors import SealpostError
from schemas.events.deletions import ErasureRequested
from schemas.events.messages import MessageRequested, SendCommand
from schemas.events.registry import build, type_name
from schemas.field_errors import FieldError
from schemas.http import Refusal
from schemas.ids import derived_id, event_id, is_id, keyed_hash, message_id, random_id
from schemas.metrics import counter
from schemas.settings import TenantSettings
from streams.step.contract import Cursor, Output
from streams.step.postgres import is_away
from vault.keys import KeyNeed
from vault.outcomes import Erased
from vault.requests import Recorded
from vault.sealing import SealContext, seal
from vault.tenants import IdKeyMemory
from vault.vault import Vault
from workers import registry
from workers.channel import Channel, UnknownChannel
from workers.inbound_values import made_word
from workers.intake.limits import misfit
from workers.intake.models import SendRequest, ToSubject
from workers.intake.rehearsing import objection
from workers.parts import PARTS_MAX, Span, cut, fits

ROLE = "api"
SOURCE = "http"
DOOR = "http"


class SettingsSource(Protocol):
    """Published settings (streams.kafka.settings_follower)."""

    def tenant(self, tenant: str) -> TenantSettings | None:
        """Settings of one tenant."""
        ...

    def refresh(self, timeout_s: float) -> None:
        """Return once all that is published now is known."""
        ...


class Written(Protocol):
    """A message of a person: what the provider calls it (personal data), and on which account of which channel it came."""

    @property
    def provider_id(self) -> str:
        """The provider's id."""
        ...

    @property
    def channel(self) -> str:
        """The channel."""
        ...

    @property
    def account(self) -> str:
        """The account."""
        ...


FindWritten = Callable[[str, str, str], Written | None]
"""(tenant, subject, message) → that message; None when this person wrote no such one."""


def nothing_written(_tenant: str, _subject: str, _message: str) -> Written | None:
    """The look-up of an installation without read models: no message can be answered by name."""
    return None


@dataclass(frozen=True, slots=True)
class Command:
    """A recorded command: what it answers, and what has to be in Kafka before that is said (nothing when it is already)."""

    tenant: str
    request: str
    answer: bytes
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class _Identity:
    """Who asks for what: `request` identifies the command, `body_hash` what it says; both tell nothing without the key."""

    tenant: str
    ids: bytes
    request: str
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class _Recipient:
    """Whom a message goes to, on which account."""

    subject: str
    channel: str
    account: str


class _Recorded(SealpostError):
    """Somebody else recorded the same identity first: carries the answer out of the transaction, which rolls back."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__("recorded before")
        self.recorded = recorded


class Commands:
    """Takes commands of one installation."""

    def __init__(
        self,
        vault: Vault,
        settings: SettingsSource,
        times: Times,
        find_channel: Callable[[str], Channel] = registry.channel,
        find_written: FindWritten = nothing_written,
    ) -> None:
        """`find_written`: for who answers a message of the person, or marks it as read."""
        self._vault, self._settings, self._times = vault, settings, times
        self._find_channel, self._find_written = find_channel, find_written
        self._id_keys = IdKeyMemory(vault.tenant_ids)
        self._requests = counter("sealpost_requests_total")

    def send(self, tenant: str, body: SendRequest, key: str | None) -> Command:
        """Record a message request; Refusal names what is wrong. `key`: the idempotency key, wherever it stood."""
        self._check_ttl(body)
        identity = self._identity(tenant, body, key)
        if key is not None:
            with self._vault.transaction() as cursor:
                known = self._vault.find_request(cursor, tenant, SOURCE, identity.request, identity.body_hash)
            if known is not None:
                return self._repeated(identity, known)
        address = self._check_content(body)
        self._check_agreement_and_purpose(tenant, body.purpose)
        recipient = self._recipient(tenant, body, address)
        recipient, content = self._answering(tenant, recipient, body)
        channel = self._channel(recipient.channel)
        if channel is not None and (address is None or content is not body.content):
            check_limits(channel, content, address)
        try:
            with self._vault.transaction() as cursor:
                recorded = self._record(cursor, identity, body, recipient, content)
        except _Recorded as earlier:
            return self._repeated(identity, earlier.recorded)
        self._count(tenant, "accepted")
        return Command(tenant, identity.request, recorded.answer, recorded.outputs)

    def request_erasure(self, tenant: str, subject: str) -> tuple[str, tuple[Output, ...]]:
        """The erasure's id and what has to be produced; Refusal `not_found` when the tenant has no such subject.

        It needs Kafka only: while the vault's database is away, whether there is such a subject is for the vault to say
        (ErasureRefused, docs/decisions/011).
        """
        if not is_id(subject) or not self._may_exist(tenant, subject):
            raise Refusal("not_found")
        ids = self._id_keys.key(tenant)
        erasure = derived_id(ids, "erasure", tenant, subject)
        now = now_ms()
        event = build(
            ErasureRequested(erasure=erasure, requested_by="officer", t0=to_text(now)),
            id=event_id(ids, erasure, ROLE, "erasure_requested"),
            role=ROLE,
            tenant=tenant,
            subject=subject,
            at_ms=now,
        )
        return erasure, (Output(topics.DELETIONS, event.key(), event.to_bytes()),)

    def _may_exist(self, tenant: str, subject: str) -> bool:
        try:
            return self._vault.subject_state(tenant, subject) is not None
        except Exception as error:
            if not is_away(error):
                raise
            return True

    def mark_produced(self, command: Command) -> None:
        """The outputs are in Kafka."""
        self._vault.mark_produced(command.tenant, SOURCE, command.request)

    def _identity(self, tenant: str, body: SendRequest, key: str | None) -> _Identity:
        ids = self._id_keys.key(tenant)
        request = random_id() if key is None else derived_id(ids, "request", SOURCE, key)
        said = body.model_dump(mode="json", exclude={"idempotency_key"})
        canonical = orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()
        return _Identity(tenant, ids, request, keyed_hash(ids, "body", canonical))

    def _repeated(self, identity: _Identity, known: Recorded) -> Command:
        if known.kind == "conflict":
            self._count(identity.tenant, "conflict")
            raise Refusal("idempotency_conflict")
        self._count(identity.tenant, "repeat")
        outputs = () if known.produced else known.outputs
        return Command(identity.tenant, identity.request, known.answer, outputs)

    def _check_ttl(self, body: SendRequest) -> None:
        if body.ttl_seconds is not None and body.ttl_seconds > self._times.ttl_max_s:
            raise _invalid(
                "/ttl_seconds", f"is above the longest life of a message, {self._times.ttl_max_s:g} s"
            )

    def _check_content(self, body: SendRequest) -> Address | None:
        """Check the body against what the channel declares; the address read, None for a subject."""
        if isinstance(body.content, TextContent) and not _shows(body.content.text):
            raise _invalid("/content/text", "holds nothing that can be seen")
        if isinstance(body.to, ToSubject):
            return None
        channel = self._channel(body.to.channel)
        if channel is None:
            raise _invalid("/to/channel", "is not a channel of this installation")
        address = channel.read_address(body.to.address)
        if address is None:
            raise _invalid("/to/address", "is not an address of this channel")
        check_limits(channel, body.content, address)
        return address

    def _check_agreement_and_purpose(self, tenant: str, purpose: str) -> None:
        state = self._vault.tenant_state(tenant)
        if state is None or not state.dpa:
            self._count(tenant, "no_dpa")
            raise Refusal("no_dpa")
        published = self._settings.tenant(tenant)
        if purpose not in state.purposes and (published is None or purpose not in published.purposes):
            raise _invalid("/purpose", "is not a purpose of this tenant")

    def _recipient(self, tenant: str, body: SendRequest, address: Address | None) -> _Recipient:
        subject = body.to.subject if isinstance(body.to, ToSubject) else None
        if address is not None:
            subject = self._vault.find_subject(tenant, address)
        reach = None if subject is None else self._vault.newest_reach(tenant, subject)
        wanted = body.to.channel if not isinstance(body.to, ToSubject) else None
        if subject is None or (reach is None and wanted is None):
            raise self._unknown_recipient(tenant)
        if reach is not None and wanted in (None, reach.channel):
            return _Recipient(subject, reach.channel, reach.account)
        return self._by_settings(tenant, subject, wanted or "")

    def _answering(self, tenant: str, recipient: _Recipient, body: SendRequest) -> tuple[_Recipient, Content]:
        """The content with the provider's id of the message it answers, or marks as read, where the request names one. That goes
        out where the message came: no other account knows it."""
        content = body.content
        named = isinstance(content, ReadMarkContent) and content.of is not None
        if body.reply_to is None:
            if isinstance(content, ReadMarkContent) and not named:
                raise _invalid("/reply_to", "must name the message that was read")
            return recipient, content
        if isinstance(content, TemplateContent):
            raise _invalid("/reply_to", "a template answers no message")
        found = self._find_written(tenant, recipient.subject, body.reply_to)
        if found is None:
            raise _invalid("/reply_to", "is no message that this person wrote, or it is not known yet")
        if not isinstance(body.to, ToSubject) and found.channel != body.to.channel:
            raise _invalid("/reply_to", "is a message of another channel than the one this shall go out on")
        if not self._can_answer(found, content):
            raise _invalid(
                "/reply_to",
                "is an act that the provider has no message for, a pressed button or an opened link",
            )
        place = "of" if isinstance(content, ReadMarkContent) else "in_reply_to"
        answering = content.model_copy(update={place: found.provider_id})
        return _Recipient(recipient.subject, found.channel, found.account), answering

    def _can_answer(self, found: Written, content: Content) -> bool:
        """True for a message, and for an act that its channel can answer with one; only a message is marked as read."""
        word = made_word(found.provider_id)
        if word is None or isinstance(content, ReadMarkContent):
            return word is None
        channel = self._channel(found.channel)
        return channel is not None and word in channel.capabilities.answerable_acts

    def _by_settings(self, tenant: str, subject: str, channel: str) -> _Recipient:
        """The person never wrote on this channel, or the vault has forgotten where: the tenant's first account of it."""
        settings = self._settings.tenant(tenant)
        for account in sorted(settings.accounts) if settings else ():
            if settings and settings.accounts[account].channel == channel:
                return _Recipient(subject, channel, account)
        raise self._unknown_recipient(tenant)

    def _unknown_recipient(self, tenant: str) -> Refusal:
        self._count(tenant, "unknown_recipient")
        return Refusal("unknown_recipient")

    def _channel(self, name: str) -> Channel | None:
        try:
            return self._find_channel(name)
        except UnknownChannel:
            return None

    def _record(
        self,
        cursor: Cursor,
        identity: _Identity,
        body: SendRequest,
        recipient: _Recipient,
        content: Content,
    ) -> Recorded:
        """Hold the subject, seal the content, record; leaves by `_Recorded` when the identity is known by now."""
        tenant, subject = identity.tenant, recipient.subject
        state = self._vault.hold_active(cursor, tenant, subject)
        if state is None or state.state not in ("active", "restricted"):
            raise self._unknown_recipient(tenant)
        now = self._time(cursor, tenant)
        message = message_id(day_of_ms(now), identity.ids, identity.request, ROLE, "message")
        requested_id = event_id(identity.ids, message, ROLE, "message_requested")
        block = self._seal(cursor, tenant, subject, requested_id, month_of_ms(now), content)
        requested = self._asked(identity, body, recipient, message, now, block)
        copied = block.model_copy(update={"sealed_in": requested_id, "type": type_name(MessageRequested)})
        commands = _commands(requested, copied, now, _spans(self._channel(recipient.channel), content))

        def event(data: MessageRequested | SendCommand, its_id: str) -> Event:
            return build(
                data, id=its_id, role=ROLE, tenant=tenant, subject=subject, at_ms=now, channel=recipient.channel,
                cause=identity.request,
            )  # fmt: skip

        outputs = (
            _output(topics.MESSAGES, event(requested, requested_id)),
            *(
                _output(
                    topics.outbound(recipient.channel),
                    event(command, event_id(identity.ids, message, ROLE, _slot(command.part))),
                )
                for command in commands
            ),
        )
        answer = orjson.dumps({"message_id": message})
        recorded = self._vault.record_request(
            cursor, tenant, SOURCE, identity.request, identity.body_hash, answer, outputs, subject=subject
        )
        if recorded.kind != "new":
            raise _Recorded(recorded)
        return recorded

    def _asked(
        self,
        identity: _Identity,
        body: SendRequest,
        recipient: _Recipient,
        message: str,
        now: int,
        block: SealedBlock,
    ) -> MessageRequested:
        ttl_s = self._times.ttl_default_s if body.ttl_seconds is None else body.ttl_seconds
        settings = self._settings.tenant(identity.tenant)
        return MessageRequested(
            message=message,
            account=recipient.account,
            purpose=body.purpose,
            kind=body.content.type,
            template=body.content.name if isinstance(body.content, TemplateContent) else None,
            language=body.content.language if isinstance(body.content, TemplateContent) else None,
            delivery=body.delivery,
            expires=to_text(now + round(ttl_s * MS_PER_S)),
            settings=None if settings is None else settings.offset,
            request=identity.request,
            sealed=Sealed(content=block),
        )

    def _time(self, cursor: Cursor, tenant: str) -> int:
        """Now. Expiry, generation and every wait are counted from it: where this host's clock is wrong nothing is recorded."""
        now, skew_ms = now_ms(), round(self._times.clock_skew_s * MS_PER_S)
        if abs(self._vault.clock_ms(cursor) - now) > skew_ms:
            self._count(tenant, "clock")
            raise Refusal("clock")
        return now

    def _seal(
        self, cursor: Cursor, tenant: str, subject: str, event: str, month: str, content: BaseModel
    ) -> SealedBlock:
        need = KeyNeed(tenant, subject, "content", month)
        key = self._vault.sealing_keys(cursor, [need])[need]
        if isinstance(key, Erased):
            raise self._unknown_recipient(tenant)
        context = SealContext(tenant, subject, event, type_name(MessageRequested), "content", month)
        return seal(key, context, content.model_dump_json(exclude_none=True).encode())

    def _count(self, tenant: str, outcome: str) -> None:
        self._requests.labels(DOOR, outcome, tenant).inc()


def _shows(text: str) -> bool:
    """False for text of spaces, control and format characters alone: on a phone it is an empty message."""
    return any(category(character)[0] not in "CZ" for character in text)


def check_limits(channel: Channel, content: Content, address: Address | None = None) -> None:
    """What the channel declares, and what it says itself; Refusal names what it does not take."""
    limits = channel.capabilities
    wrong = misfit(limits, content)
    if wrong is not None:
        raise Refusal("invalid", "", [wrong])
    if isinstance(content, TextContent) and not _goes_in_parts(channel, content):
        most = f"{PARTS_MAX} parts of {limits.text_max_characters} characters"
        raise _invalid("/content/text", f"is longer than this channel takes, {most}")
    said = objection(channel, _first_part(channel, content), address)
    if said is not None:
        raise _invalid("/content", said)


def _goes_in_parts(channel: Channel, content: TextContent) -> bool:
    """True for a text that fits into the parts a message may have, in each of which something can be seen."""
    if len(content.text) > PARTS_MAX * channel.capabilities.text_max_characters:
        return False
    spans = _spans(channel, content)
    return len(spans) <= PARTS_MAX and all(_shows(content.text[start:stop]) for start, stop in spans)


def _first_part(channel: Channel, content: Content) -> Content:
    """What goes out first: of a text that is cut its first part, of all else the whole."""
    spans = _spans(channel, content)
    if not spans or not isinstance(content, TextContent):
        return content
    start, stop = spans[0]
    return content.model_copy(update={"text": content.text[start:stop]})


def _spans(channel: Channel | None, content: Content) -> Sequence[Span]:
    """The parts that a text over the channel's limit is cut into; none where there is nothing to cut."""
    if channel is None or not isinstance(content, TextContent):
        return ()
    limits = channel.capabilities
    if fits(content.text, limits.text_max_characters, limits.text_max_bytes):
        return ()
    return cut(content.text, limits.text_max_characters, limits.text_max_bytes)


def _commands(
    requested: MessageRequested, block: SealedBlock, now: int, spans: Sequence[Span]
) -> Sequence[SendCommand]:
    """A command for each part; all name the one sealed content."""
    asked = requested.model_dump(exclude={"sealed"})
    whole = SendCommand(**asked, requested_at=to_text(now), sealed=Sealed(content=block))
    return [
        whole.model_copy(update={"part": part, "parts": len(spans), "text_from": start, "text_to": stop})
        for part, (start, stop) in enumerate(spans)
    ] or [whole]


def _slot(part: int) -> str:
    """A part's number is its name: the request is cut once, and the commands are recorded with it."""
    return "send_command" if part == 0 else f"send_command.{part}"


def _invalid(pointer: str, detail: str) -> Refusal:
    return Refusal("invalid", "", [FieldError(pointer, detail)])


def _output(topic: str, event: Event) -> Output:
    return Output(topic, event.key(), event.to_bytes())
