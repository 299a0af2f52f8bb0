"""Events of `sealpost.messages` (what was said and asked) and the send command of the outbound topics."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.content import TextReference
from schemas.envelope import EventData

Delivery = Literal["at_most_once", "at_least_once"]
ReceivedKind = Literal[
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
ReceivedIntent = Literal["start", "stop", "yes", "no", "signup", "preferences"]
RequestedKind = Literal["text", "template", "own_text", "media", "buttons", "list", "read_mark"]


class AskedPurpose(BaseModel):
    """A purpose that was ticked on a page, and the opt-in it was asked for under."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    purpose: str
    optin: str


class Entry(BaseModel):
    """By which way a message came, told by the token in it; never who wrote.

    `outcome`: `fresh`, or why the token counts no more: `used`, `expired`, `edited` (damaged), `unknown` (nobody's here). What
    follows is there for a known token: the link, or the form (Sealpost's, or the business's own: `api`) and what was asked for on
    its page, when, with which texts.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    kind: Literal["form", "api", "link"] | None = None
    outcome: Literal["fresh", "used", "expired", "edited", "unknown"]
    form: str | None = None
    link: str | None = None
    campaign: str | None = None
    purposes: list[AskedPurpose] = Field(default_factory=list)
    text: TextReference | None = None
    text_hash: str | None = None
    notice: str | None = None
    notice_hash: str | None = None
    language: str | None = None
    requested_at: str | None = None


class MessageReceived(EventData):
    """The person wrote. Sealed content: `{"text"?, "option_title"?, "media"?, "provider_id", "provider_time", "in_reply_to"?,
    "raw"?}`.

    Every kind but text and replies by button or list keeps the provider's JSON whole in `raw`; `provider_kind` is the
    provider's word for it. `intent` "signup" is a fresh token of a form; `entry` says by which way the message came.
    `option` is the id of the button or row chosen, when it is one of Sealpost's own. `intent` is what the words ask for.
    """

    TYPE: ClassVar[str] = "sealpost.message.received.v1"
    message: str
    account: str
    kind: ReceivedKind
    provider_kind: str
    intent: ReceivedIntent | None = None
    language: str | None = None
    acted_at: str
    entry: Entry | None = None


class MessageEdited(EventData):
    """The person changed what she wrote. Sealed content: `{"text"?, "target", "provider_id", "provider_time", "raw"}`.

    `message` is the id of the MessageReceived that was changed. `provider_time` says which of several edits is the last; absent
    in events from before it was written, where `acted_at` says it.
    """

    TYPE: ClassVar[str] = "sealpost.message.edited.v1"
    message: str
    account: str
    acted_at: str
    provider_time: str | None = None


class MessageRevoked(EventData):
    """The person took back what she wrote: `message` is shown no more. Sealed content: `{"target", "provider_id",
    "provider_time"}`.
    """

    TYPE: ClassVar[str] = "sealpost.message.revoked.v1"
    message: str
    account: str
    acted_at: str


class MessageReacted(EventData):
    """The person reacted to a message. Sealed content: `{"emoji", "target", "provider_id", "provider_time"}`; an empty `emoji`
    takes the reaction away. `message` is the id of one of hers, absent when the reaction is to one of ours. `provider_time`
    says which of several is the last, as in MessageEdited.
    """

    TYPE: ClassVar[str] = "sealpost.message.reacted.v1"
    message: str | None = None
    account: str
    acted_at: str
    provider_time: str | None = None


class MessageEchoed(EventData):
    """Somebody of the business wrote to the person past Sealpost (staff in the provider's inbox, another app).

    Sealed content: `{"text"?, "provider_id", "provider_time", "raw"}`.
    """

    TYPE: ClassVar[str] = "sealpost.message.echoed.v1"
    message: str
    account: str
    acted_at: str


class _Asked(EventData):
    """`about` is the purpose that one of our own texts speaks of, where it is another than the message's own `purpose`."""

    message: str
    account: str
    purpose: str
    about: str | None = None
    kind: RequestedKind
    text: TextReference | None = None
    notice: str | None = None
    template: str | None = None
    language: str | None = None
    delivery: Delivery
    expires: str
    basis: str | None = None
    settings: int | None = None
    request: str | None = None


class MessageRequested(_Asked):
    """Somebody asks for a message. Sealed content: the content model's JSON; none when `text` names one of our own texts."""

    TYPE: ClassVar[str] = "sealpost.message.requested.v1"


class SendCommand(_Asked):
    """Send this (message, part). Written in the same step as MessageRequested, after it; lies in an outbound topic.

    Its sealed content is the one of MessageRequested (`sealed_in`). Of a text in several parts each command sends the characters
    from `text_from` up to, without, `text_to`; absent: all. `on_submitted` names what outbound writes beside Submitted once the
    provider took the message.
    """

    TYPE: ClassVar[str] = "sealpost.send.command.v1"
    part: int = 0
    parts: int = 1
    text_from: int | None = None
    text_to: int | None = None
    requested_at: str
    on_submitted: Literal["confirmation_sent"] | None = None
    optin: str | None = None
