"""The channel contract: what a channel is to the rest of Sealpost (DESIGN §9).

A channel is pure: bytes and typed values in, typed values out. It opens no connection, reads no clock and
keeps no state; receiver, inbound and outbound do all I/O. Whatever names a person or a secret is left out of
every `repr`.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self, runtime_checkable

from schemas.addresses import Address
from schemas.content import Content, ContentKind, MediaKind
from schemas.errors import SealpostError
from schemas.ids import is_id
from schemas.reasons import FailureClass
from workers.inbound_values import Inbound, JsonObject, ReportedStatus

DenialReason = Literal[
    "missing", "malformed", "mismatch", "no_secret", "handshake", "method", "audience", "replayed"
]
RejectionReason = Literal["malformed", "timestamp", "no_id", "no_address", "error_code"]

_ECHO = re.compile(r"([0-9a-f]{32})\.(0|[1-9][0-9]{0,4})", re.ASCII)
_PART_MAX = 99_999


class ChannelError(SealpostError):
    """Something about a channel is wrong; the kind and the message say what. Nothing personal stands in
    either.
    """


class UnknownChannel(ChannelError):
    """No installed package offers a channel of this name; install it, or correct the name the message
    suggests.
    """


class UnparseableBody(ChannelError):
    """An authentic webhook body is not what the provider documents; it is answered 200 and dead-lettered
    sealed.

    Look it up with `sealpost deadletters list`; compare the provider's changelog.
    """


class UnparseableFragment(ChannelError):
    """One part of an authentic webhook cannot be understood; it is dead-lettered, its neighbours are handled.

    `why` is a constant word. Look it up with `sealpost deadletters list`; compare the provider's changelog.
    """

    def __init__(self, why: RejectionReason) -> None:
        super().__init__(f"a webhook fragment was rejected: {why}")
        self.why = why


class UnsupportedContent(ChannelError):
    """The channel does not declare this kind of content or address; change what is sent, nothing was sent."""


class InvalidLink(ChannelError):
    """A click-to-chat link cannot be made: correct the account's number or the token named in the message."""


# ---- what a channel declares --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do, and its limits. What is not declared is refused with a reason, never dropped in
    silence.

    `window_s`: free-form content may go out this long after the person's last message (None: always).
    `first_contact`: what a business may send to somebody who has not written. `rate_per_s`: messages a second
    of one account; `pair_interval_s`: seconds between messages of one account to one person after a burst of
    `pair_burst` (None: no such limit). `token_carrier`: where a click-to-chat token comes back. `api_base_url`: where
    the provider's API is unless an account says otherwise ("": every account must say).

    What content of a declared kind may hold, in characters or counts: `media_kinds`, `caption_max_characters` (0: media
    goes out without words), `buttons_max`, `list_rows_max` and the lengths of their titles. `replies`: a message can show
    which one it answers.
    """

    content_kinds: frozenset[ContentKind]
    address_kinds: frozenset[str]
    text_max_characters: int
    window_s: float | None
    first_contact: Literal["anything", "template", "nothing"]
    receipts: frozenset[ReportedStatus]
    rate_per_s: float
    pair_interval_s: float | None
    pair_burst: int
    token_carrier: Literal["message_text", "payload", "none"]
    echoes_our_id: bool
    """Statuses carry the id we sent along, so that an unknown outcome can be settled later."""
    names_account: bool = True
    """Webhooks name the account they are for. Where they do not, a connection has one account and every fragment is its."""
    api_base_url: str = ""
    title: str = ""
    """What people call the channel, where its name with a capital letter is not it."""
    replies: bool = False
    answerable_acts: frozenset[str] = frozenset()
    """Words that made ids begin with (`workers.inbound_values.made_word`) of acts that a message can answer although the
    provider has no message for them; `deliver` is given the made id as what is answered."""
    media_kinds: frozenset[MediaKind] = frozenset()
    caption_max_characters: int = 0
    buttons_max: int = 0
    button_title_max_characters: int = 0
    list_rows_max: int = 0
    row_title_max_characters: int = 0
    row_description_max_characters: int = 0
    text_max_bytes: int = 0
    """Of a text's UTF-8 form, where the provider counts so (0: it does not). The tighter of both limits holds."""


@dataclass(frozen=True, slots=True)
class Processing:
    """Who receives one kind of personal data through this channel, where it lies, and on which ground it may
    go there.
    """

    data: str
    company: str
    country: str
    region_at_rest: str
    transfer_tool: str
    source: str
    checked: str
    """UTC day (`YYYY-MM-DD`) on which `source` was last read."""


# ---- webhooks in --------------------------------------------------------------------------------------------------


class ConnectionSecrets(Protocol):
    """What `authenticate` needs of a connection."""

    @property
    def app_secret(self) -> str:
        """Key of the provider's signature."""
        ...

    @property
    def verify_token(self) -> str:
        """What the provider must show in its handshake."""
        ...

    @property
    def app_id(self) -> str:
        """The provider's id of our app, where its proof names it; "" elsewhere."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One HTTP request as received: method in upper case, header names in lower case, body raw."""

    method: str
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The proof is right: split the body. `signed_at_ms`: when the provider says it signed; None where it does not."""

    signed_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """Answer `status`, without words to the caller; `why` is for the metric."""

    status: int
    why: DenialReason


@dataclass(frozen=True, slots=True)
class Handshake:
    """Answer 200 with this body as text/plain; nothing else happens."""

    body: bytes = field(repr=False)


Authenticity = Accepted | Denied | Handshake


@dataclass(frozen=True, slots=True)
class Fragment:
    """The smallest part of a webhook that can be handled by itself, with all it needs of what surrounded it.

    `account_ref` is the provider's id of our account, "" where the provider names none (news about the whole
    connection). `sender_ref` is the most stable id of the person, "" where nobody is meant; it routes and is
    never stored in clear.
    """

    account_ref: str
    sender_ref: str = field(repr=False)
    raw: JsonObject = field(repr=False)


# ---- messages out -------------------------------------------------------------------------------------------------


class AccountAccess(Protocol):
    """What `deliver` needs of an account."""

    @property
    def provider_account_id(self) -> str:
        """The provider's id of our sender."""
        ...

    @property
    def access_token(self) -> str:
        """The secret that goes with every call."""
        ...

    @property
    def api_base_url(self) -> str:
        """Where the provider's API is, with its version, without a slash at the end."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One HTTP call the runtime shall make. Redirects must not be followed: the headers hold a secret.

    `courtesy`: a call to make just before this one, of which nothing depends: its answer is not looked at, and where none
    comes this one is made all the same. It must do no harm when it is repeated. Its own `courtesy` is not made.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    courtesy: "ProviderRequest | None" = None


@dataclass(frozen=True, slots=True)
class ProviderResponse:
    """What the provider answered; header names in any case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Classified:
    """What an error means (schemas.reasons.FailureClass) and how long to wait (None: back off).

    `pair_only`: only this person's lane must slow down. `alarm`: an operator must look. `tries_max`: give up
    after so many tries (None: until the message expires). `text`: the provider's words, personal data, for
    the sealed block only.

    What it says about the person (decision 099). `opted_out`: she said no by the provider's own means, so her consents
    to this channel are withdrawn. `message_only`: an UNREACH of this message alone, or one that passes by itself; after
    any other the account does not reach her until she writes again.
    """

    failure_class: FailureClass
    code: int | None
    retry_after_s: float | None = None
    pair_only: bool = False
    alarm: bool = False
    tries_max: int | None = None
    text: str | None = field(default=None, repr=False)
    opted_out: bool = False
    message_only: bool = False


@dataclass(frozen=True, slots=True)
class Submitted:
    """The provider took the message and calls it `provider_id` (personal data)."""

    provider_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider surely did not take the message; fields as in `Classified`."""

    failure_class: FailureClass
    code: int | None
    retry_after_s: float | None
    text: str | None = field(default=None, repr=False)
    pair_only: bool = False
    alarm: bool = False
    tries_max: int | None = None
    opted_out: bool = False
    message_only: bool = False

    @classmethod
    def of(cls, meaning: Classified) -> Self:
        """A call that ended with an error of this meaning."""
        return cls(
            failure_class=meaning.failure_class,
            code=meaning.code,
            retry_after_s=meaning.retry_after_s,
            text=meaning.text,
            pair_only=meaning.pair_only,
            alarm=meaning.alarm,
            tries_max=meaning.tries_max,
            opted_out=meaning.opted_out,
            message_only=meaning.message_only,
        )


@dataclass(frozen=True, slots=True)
class Unclear:
    """There was an answer, but it does not tell whether the message was taken: the same as no answer at
    all.
    """

    status: int


Outcome = Submitted | Failed | Unclear
DeliverySteps = Generator[ProviderRequest, ProviderResponse, Outcome]
"""Yields calls to make, is sent their answers, returns the outcome (the form of httpx's auth flows)."""


class Channel(Protocol):
    """One channel; `workers/channels/<name>/channel.py` makes the object and an entry point of
    `sealpost.channels` names it.
    """

    @property
    def name(self) -> str:
        """Constant lower-case word; part of topic names."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What the channel can do."""
        ...

    @property
    def processing(self) -> Sequence[Processing]:
        """Who receives what, where: one entry a kind of data."""
        ...

    def read_address(self, text: str) -> Address | None:
        """An address of this channel from what an API caller wrote, normalised; None when it is none."""
        ...

    def authenticate(self, request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
        """Check the proof over the raw bytes in constant time, or answer the provider's handshake. Never
        raises.
        """
        ...

    def split(self, body: bytes) -> list[Fragment]:
        """Cut an authentic body into fragments, in order; raises UnparseableBody and nothing else."""
        ...

    def parse(self, raw: JsonObject) -> list[Inbound]:
        """Read one fragment; [] for what means nothing. Raises UnparseableFragment and nothing else."""
        ...

    def deliver(
        self,
        content: Content,
        address: Address,
        account: AccountAccess,
        echo: str,
    ) -> DeliverySteps:
        """Send one part. Raises UnsupportedContent at the first `next`, before any call."""
        ...

    def classify(self, response: ProviderResponse) -> Classified:
        """What an answer that is no success means. Never raises."""
        ...

    def describe(self, raw: JsonObject) -> list[JsonObject]:
        """The facts of one fragment for `sealpost parse`, flat and JSON-able, one object an inbound value.
        Never raises.
        """
        ...

    def chat_link(self, account_number: str, token: str, words: str = "") -> str:
        """The click-to-chat link with `token`; raises InvalidLink. `words` stand before it where it rides in a draft that the
        person reads and sends."""
        ...


@runtime_checkable
class SkipsCases(Protocol):
    """A channel that some cases of the conformance kit do not hold for. A case that holds after all fails as well."""

    @property
    def skipped_cases(self) -> Mapping[str, str]:
        """Name of a case (`workers.conformance.cases.SKIPPABLE`) → why it does not hold, in words."""
        ...


# ---- our id at the provider ---------------------------------------------------------------------------------------


def echo_of(message: str, part: int) -> str:
    """What we send along so that statuses name our message: `<message id>.<part>`; ValueError when it is
    neither.
    """
    if not is_id(message) or not 0 <= part <= _PART_MAX:
        raise ValueError("not a message id and part")
    return f"{message}.{part}"


def read_echo(echo: str | None) -> tuple[str, int] | None:
    """(message id, part) of an echo; None when there is none or it is not ours."""
    match = _ECHO.fullmatch(echo or "")
    return (match[1], int(match[2])) if match else None
