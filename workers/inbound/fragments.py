"""From a raw record to a typed value: opened with the tenant's day key, parsed by its channel, given its id."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from hashlib import sha256

import orjson

from schemas import ids
from schemas.envelope import Event, InvalidEvent
from schemas.errors import SealpostError
from schemas.events import registry
from schemas.events.inbound import FragmentReceived
from schemas.metrics import counter
from streams.step.contract import Record
from vault.errors import CorruptFragment, KeyRefused, UnknownTenant
from vault.ingress import INGRESS_ALGORITHM
from vault.vault import Vault
from workers.channel import Channel, ChannelError, UnparseableFragment
from workers.inbound_values import (
    Inbound,
    InboundAccountError,
    InboundAccountNews,
    InboundAddressChange,
    InboundEcho,
    InboundEdit,
    InboundEntry,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundTemplateStatus,
    InboundUnsupported,
    InboundWatermark,
    JsonObject,
)

_OF_A_PERSON = (
    InboundMessage, InboundOptOut, InboundEdit, InboundRevoke, InboundReaction, InboundEntry, InboundAddressChange, InboundEcho,
    InboundWatermark,
)  # fmt: skip
"""What is about one person on one account; it means nothing where no account is named."""
_WITHOUT_TIME = (InboundAccountError, InboundUnsupported)
MESSAGE = "message"
ENTRY = "entry"
_KINDS: dict[type, str] = {
    InboundEdit: "edit",
    InboundRevoke: "revoke",
    InboundReaction: "reaction",
    InboundEntry: ENTRY,
    InboundAddressChange: "address_change",
    InboundEcho: "echo",
    InboundTemplateStatus: "template_status",
    InboundAccountNews: "account_news",
}
_SWITCHES = {"marketing": "preference", "all": "block"}


class DayKeyDestroyed(SealpostError):
    """The day key that sealed a raw fragment is gone: the record is older than the vault keeps day keys. Inbound was behind for
    days; look at its lag."""


class StrangeFragment(SealpostError):
    """A raw record opens, but does not hold what a receiver writes, or more than one value, or names no account. Compare the
    versions of receiver and inbound, and the channel's `split`."""


UNREADABLE = (InvalidEvent, ChannelError, UnknownTenant, CorruptFragment, DayKeyDestroyed, StrangeFragment)
"""What `FragmentReader.read` raises for a record that can never be read. It raises KeyRefused for one that can be read once the
tenant's row in the vault is repaired; everything else says something about the process."""


@dataclass(frozen=True, slots=True)
class Received:
    """One fragment, read. `id` is what repeats are dropped by; `at_ms` the broker's time of the raw record: the time of the
    person's act and of every event that comes of it. `value` is None when the fragment means nothing."""

    id: str
    tenant: str
    channel: str
    account: str
    at_ms: int
    id_key: bytes | ids.HashKey = field(repr=False)
    value: Inbound | None = field(repr=False)
    record: Record = field(repr=False)
    id_space: str = field(default="", repr=False)
    """What the provider's ids are counted for: "" for all that the channel does, else one account."""

    def message_of(self, provider_id: str) -> str:
        """Id of the MessageReceived of a message that the person wrote, known yet or not."""
        return ids.received_id(self.id_key, self.tenant, self.channel, self.id_space + provider_id, MESSAGE)

    def event_id(self, slot: str) -> str:
        """Id of an event that comes of this fragment; `slot` is a constant name."""
        return ids.event_id(self.id_key, self.id, "inbound", slot)


class BatchKeys:
    """The keys that one batch needs, each leased once; to be thrown away with the batch. `opened` counts what they opened."""

    def __init__(self, vault: Vault) -> None:
        self.ids = cache(lambda tenant: ids.HashKey(vault.tenant_ids(tenant)))
        self.opener = cache(vault.day_opener)
        self.opened = 0


class FragmentReader:
    """Reads records of the inbound topics; asks the vault for day keys and id keys, which it leases."""

    def __init__(self, vault: Vault, channel: Callable[[str], Channel]) -> None:
        self._vault = vault
        self._channel = channel
        opened = counter("sealpost_opens_total")
        self._plain, self._erased, self._corrupt = map(opened.labels, ("plain", "erased", "corrupt"))

    @contextmanager
    def keys(self) -> Iterator[BatchKeys]:
        """For the records of one batch."""
        keys = BatchKeys(self._vault)
        try:
            yield keys
        finally:
            self._plain.inc(keys.opened)

    def read(self, record: Record, keys: BatchKeys) -> Received:
        """What a record holds; one of UNREADABLE when it never tells, KeyRefused when a key of its tenant is damaged (that the
        master key is the right one was seen at the start); and what the database raises while it is away."""
        event = Event.from_bytes(record.value)
        data = registry.read(event)
        if not isinstance(data, FragmentReceived) or event.channel is None:
            raise InvalidEvent("not a raw fragment")
        channel = self._channel(event.channel)
        try:
            id_key = keys.ids(event.tenant)
            plaintext = self._open(event.tenant, data, keys)
        except KeyRefused:
            self._corrupt.inc()
            raise
        try:
            raw = orjson.loads(plaintext)["fragment"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise StrangeFragment("no fragment inside") from None
        values = _values(channel, data.account, raw)
        if len(values) > 1:
            raise StrangeFragment("more than one value")
        value = _timed(values[0], record.time_ms) if values else None
        if isinstance(value, _OF_A_PERSON) and not data.account:
            raise StrangeFragment("a person's act on no account")
        provider_id, kind = identity(value, plaintext)
        # Where webhooks name no account, each counts anew: the same id may stand for something else on another one.
        space = "" if channel.capabilities.names_account else f"{data.account}/"
        received = ids.received_id(id_key, event.tenant, event.channel, space + provider_id, kind)
        if isinstance(value, InboundEntry):
            value = _as_message(value)
        return Received(
            received, event.tenant, event.channel, data.account, record.time_ms, id_key, value, record, space
        )

    def _open(self, tenant: str, data: FragmentReceived, keys: BatchKeys) -> bytes:
        try:
            day = date.fromisoformat(data.day)
            sealed = b64decode(data.ct, validate=True)
        except (Base64Error, ValueError):
            raise InvalidEvent("a raw fragment names no day or holds no base64") from None
        if data.alg != INGRESS_ALGORITHM:
            raise InvalidEvent("a raw fragment is sealed with an unknown algorithm")
        opener = keys.opener(tenant, day)
        if opener is None:
            self._erased.inc()
            raise DayKeyDestroyed(f"the key of {day.isoformat()} is gone")
        try:
            plaintext = opener.open((tenant, data.connection, data.account, data.day), sealed)
        except CorruptFragment:
            self._corrupt.inc()
            raise
        keys.opened += 1
        return plaintext


def _values(channel: Channel, account: str, raw: JsonObject) -> list[Inbound]:
    """What the channel reads. What is as documented, but names nobody who could be reached, is nobody's: kept as long as raw
    fragments are, and counted."""
    try:
        return channel.parse(raw)
    except UnparseableFragment as error:
        if error.why != "no_address":
            raise
        return [InboundUnsupported(account, "unattributed", error.why, None, raw)]


def _timed(value: Inbound, received_ms: int) -> Inbound:
    """The value with the time of receipt where the provider names none."""
    if isinstance(value, _WITHOUT_TIME) or value.provider_time_ms:
        return value
    return replace(value, provider_time_ms=received_ms)


def _as_message(entry: InboundEntry) -> InboundMessage:
    """Who comes by a link has begun to talk: a message without words, whose token is read as that of one with words."""
    return InboundMessage(
        entry.account_ref,
        entry.provider_id,
        entry.provider_time_ms,
        entry.addresses,
        entry.name,
        kind="unsupported",
        provider_kind=ENTRY,
        token=entry.token,
    )


def identity(value: Inbound | None, plaintext: bytes) -> tuple[str, str]:
    """(provider's id, kind) that make the id of a value: the same report has the same one, however often it comes.

    Where the provider gives no id, the report's own bytes stand for it.
    """
    match value:
        case InboundMessage():
            return value.provider_id, MESSAGE
        case InboundStatus():
            return value.provider_id, f"status:{value.status}"
        case InboundOptOut():
            return value.provider_id, f"{_SWITCHES[value.scope]}:{value.value}"
        case InboundWatermark():
            address = value.recipient
            facts = f"{value.account_ref}/{address.kind}/{address.value}/{value.watermark_ms}"
            return facts, f"watermark:{value.status}"
        case (
            InboundEdit()
            | InboundRevoke()
            | InboundReaction()
            | InboundEntry()
            | InboundAddressChange()
            | InboundEcho()
            | InboundTemplateStatus()
            | InboundAccountNews()
        ):
            return value.provider_id, _KINDS[type(value)]
        case InboundAccountError():
            return sha256(plaintext).hexdigest(), "account_error"
        case InboundUnsupported():
            return value.provider_id or sha256(
                plaintext
            ).hexdigest(), f"unsupported:{value.field}:{value.provider_kind}"
    return sha256(plaintext).hexdigest(), "nothing"


def kind_word(value: Inbound | None) -> str:
    """What a value is, as a metric label: words of fixed lists only."""
    match value:
        case InboundMessage():
            return value.provider_kind
        case InboundStatus():
            return f"status.{value.status}"
        case InboundOptOut():
            return f"{_SWITCHES[value.scope]}.{value.value}"
        case InboundWatermark():
            return f"watermark.{value.status}"
        case InboundAccountError():
            return "account_error"
        case InboundUnsupported():
            return f"other.{value.field}.{value.provider_kind}"
        case None:
            return "nothing"
    return _KINDS[type(value)]
