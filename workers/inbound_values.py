"""What a webhook says, as typed values: what channels give and role inbound takes (DESIGN §9).

`account_ref` is the provider's id of our account ("" where it names none), `provider_id` its id of the thing reported, by
which a repetition is known; where the provider gives none a channel makes one of the facts (`made_word`). `addresses` is never
empty: all of them reach the same person. `provider_time_ms` 0: the provider names no time, that of receipt stands for it.
Whatever names a person is left out of every `repr`.
"""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.addresses import Address
from schemas.reasons import FailureClass

JsonObject = dict[str, Any]
_MADE = re.compile(r"([a-z_]+):", re.ASCII)
MessageKind = Literal[
    "text",
    "button_reply",
    "list_reply",
    "form_reply",
    "media",
    "location",
    "contacts",
    "order",
    "unsupported",
]
FileKind = Literal["image", "video", "audio", "voice", "document", "sticker"]
ReportedStatus = Literal["sent", "delivered", "read", "played", "failed"]


def made_word(provider_id: str) -> str | None:
    """The lower-case word that an id begins with, before a colon (`postback:…`), where the channel made it: no provider begins
    its own so, and no message has it. None for the provider's own. What has such an id can be answered only where the channel
    declares its word."""
    made = _MADE.match(provider_id)
    return None if made is None else made[1]


@dataclass(frozen=True, slots=True)
class Media:
    """A file that a person sent. `ref` is the provider's id of it, `url` where it lies; without either it cannot be had."""

    kind: FileKind
    mime_type: str | None = None
    ref: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """A person wrote.

    `text` is what was typed (kind `text`) or the caption of what was sent; replies by button or list have `option_id` and
    `option_title`. Every kind but those three keeps the provider's fragment whole in `raw`; `contacts` are content: they name
    other people, of whom nothing is looked up or made. `provider_kind` is a word of a fixed list, so it may stand in clear.
    `forwarded`: the words are another's, passed on; they are shown, and ask for nothing. `token`: what an entry link carried
    beside the words; it says by which way somebody came, never who it is. `standby`: another app has the conversation, so this
    is read and acts where it withdraws, and is never answered.
    """

    account_ref: str
    provider_id: str = field(repr=False)
    provider_time_ms: int
    addresses: tuple[Address, ...] = field(repr=False)
    name: str | None = field(repr=False)
    kind: MessageKind
    provider_kind: str
    text: str | None = field(default=None, repr=False)
    option_id: str | None = field(default=None, repr=False)
    option_title: str | None = field(default=None, repr=False)
    in_reply_to: str | None = field(default=None, repr=False)
    raw: JsonObject | None = field(default=None, repr=False)
    forwarded: bool = False
    media: tuple[Media, ...] = field(default=(), repr=False)
    token: str | None = field(default=None, repr=False)
    standby: bool = False

    @property
    def words(self) -> str:
        """What the person said of herself, typed or chosen; "" when nothing can be read."""
        return "" if self.forwarded else self.text or self.option_title or ""


@dataclass(frozen=True, slots=True)
class InboundStatus:
    """The provider reports what became of a message of ours. `echo` is the id we sent along, where it came
    back.

    `error_code` and `error_class` are set for `failed`, and `opted_out` and `message_only` say what it tells about the
    person, as in `workers.channel.Classified`; `raw_error` is the provider's error object, personal data.
    """

    account_ref: str
    provider_id: str = field(repr=False)
    status: ReportedStatus
    provider_time_ms: int
    recipient: Address | None = field(default=None, repr=False)
    echo: str | None = field(default=None, repr=False)
    error_code: int | None = None
    error_class: FailureClass | None = None
    raw_error: JsonObject | None = field(default=None, repr=False)
    opted_out: bool = False
    message_only: bool = False


@dataclass(frozen=True, slots=True)
class InboundOptOut:
    """A person used the provider's own switch for messages of a scope: `stop` forbids, `resume` lifts that (it is no consent).

    Scope `all`: she blocked us or closed the chat, so that nothing reaches her until she lets it or writes again.
    """

    account_ref: str
    provider_id: str = field(repr=False)
    provider_time_ms: int
    addresses: tuple[Address, ...] = field(repr=False)
    scope: Literal["marketing", "all"]
    value: Literal["stop", "resume"]


@dataclass(frozen=True, slots=True)
class InboundEdit:
    """A person changed what she wrote. `target` is the provider's id of the message; `text` None: what it says now is no text."""

    account_ref: str
    provider_id: str = field(repr=False)
    provider_time_ms: int
    addresses: tuple[Address, ...] = field(repr=False)
    target: str = field(repr=False)
    text: str | None = field(repr=False)
    raw: JsonObject = field(repr=False)


@dataclass(frozen=True, slots=True)
class InboundRevoke:
    """A person took back what she wrote; `target` is the provider's id of the message."""

    account_ref: str
    provider_id: str = field(repr=False)
    provider_time_ms: int
    addresses: tuple[Address, ...] = field(repr=False)
    target: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class InboundReaction:
    """A person reacted to a message, hers or ours; `emoji` "": the reaction is taken away."""

    account_ref: str
    provider_id: str = field(repr=False)
    provider_time_ms: int
    addresses: tuple[Address, ...] = field(repr=False)
    target: str = field(repr=False)
    emoji: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class InboundEntry:
    """A person opened the chat by a link and has not written (yet). It opens the service window where the channel says so.
    `token` "": the link carried none, as that of an advertisement.
    """

    account_ref: str
    provider_id: str = field(repr=False)
    provider_time_ms: int
    addresses: tuple[Address, ...] = field(repr=False)
    name: str | None = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class InboundAddressChange:
    """The provider says that a person whom `old` reached is reached by `new` from now on. Whoever has `old` later is another."""

    account_ref: str
    provider_id: str = field(repr=False)
    provider_time_ms: int
    old: tuple[Address, ...] = field(repr=False)
    new: tuple[Address, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class InboundEcho:
    """Somebody of the business wrote to the person without Sealpost: staff in the provider's inbox, or another app."""

    account_ref: str
    provider_id: str = field(repr=False)
    provider_time_ms: int
    recipient: Address = field(repr=False)
    text: str | None = field(repr=False)
    raw: JsonObject = field(repr=False)


@dataclass(frozen=True, slots=True)
class InboundWatermark:
    """All that was sent to the person up to `watermark_ms` is delivered, or read."""

    account_ref: str
    provider_time_ms: int
    recipient: Address = field(repr=False)
    status: Literal["delivered", "read"]
    watermark_ms: int


@dataclass(frozen=True, slots=True)
class InboundTemplateStatus:
    """The provider decided about a template. `status` and `reason` are words of the provider's fixed lists, else `other`."""

    account_ref: str
    provider_id: str = field(repr=False)
    provider_time_ms: int
    template: str
    language: str
    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class InboundAccountNews:
    """News about our account (quality, limits, restrictions); `field` and `event` are words of fixed lists, else `other`."""

    account_ref: str
    provider_id: str = dataclasses.field(repr=False)
    provider_time_ms: int
    field: str
    event: str


@dataclass(frozen=True, slots=True)
class InboundAccountError:
    """The provider says that something is wrong with our account; nobody is meant."""

    account_ref: str
    code: int
    error_class: FailureClass


@dataclass(frozen=True, slots=True)
class InboundUnsupported:
    """Something Sealpost does not handle yet and that is no message of one person to us: kept whole and
    counted.

    `field` and `provider_kind` are words of fixed lists (else `other`), so they may be labels. `group` is a
    message in a group.
    """

    account_ref: str
    field: str
    provider_kind: str
    provider_id: str | None = dataclasses.field(repr=False)
    raw: JsonObject = dataclasses.field(repr=False)


Inbound = (
    InboundMessage
    | InboundStatus
    | InboundOptOut
    | InboundEdit
    | InboundRevoke
    | InboundReaction
    | InboundEntry
    | InboundAddressChange
    | InboundEcho
    | InboundWatermark
    | InboundTemplateStatus
    | InboundAccountNews
    | InboundAccountError
    | InboundUnsupported
)
