"""Events of `sealpost.consents`: the double opt-in and its end, each with the time of the person's own act (`acted_at`).

Sealed evidence: `{"text", "sender", "kind", "provider_time", "name", "provider_id"}`, sealed by inbound for the message
that held the act and copied, never re-sealed, by the processor (`sealed_in`, `type`).
"""

from typing import ClassVar, Literal

from schemas.content import TextReference
from schemas.envelope import EventData

Method = Literal["keyword", "button", "provider_preference", "api", "page", "first_message"]
"""`page`: on the preference page; `first_message`: by writing the message that a sign-up page had prepared, with its token."""


class OptInRequested(EventData):
    """Somebody asked to be signed up: in the chat, or on a page.

    On a page nobody is known yet: the envelope's subject is the opt-in's own random id, `account` is empty, and nothing in it
    is personal. When the person then writes with the page's token, the same request is written once more under that person, with
    the page's time in `acted_at`. `text`, `notice` and their hashes (SHA-256, hex) are what the page showed; `form`, `link` and
    `campaign` are how she came.
    """

    TYPE: ClassVar[str] = "sealpost.optin.requested.v1"
    optin: str
    purpose: str
    account: str
    entry_point: str
    language: str
    acted_at: str
    text: TextReference | None = None
    text_hash: str | None = None
    notice: str | None = None
    notice_hash: str | None = None
    form: str | None = None
    link: str | None = None
    campaign: str | None = None


class ConsentRequested(EventData):
    """The question is asked for: which wording and which privacy notice, in which message."""

    TYPE: ClassVar[str] = "sealpost.consent.requested.v1"
    optin: str
    purpose: str
    account: str
    text: TextReference
    notice: str
    message: str


class ConfirmationSent(EventData):
    """The provider took the question. Sealed content: `{"provider_id"}`."""

    TYPE: ClassVar[str] = "sealpost.confirmation.sent.v1"
    optin: str
    purpose: str
    message: str


class OptInConfirmed(EventData):
    """The person answered yes, on the channel itself, to the question that `optin` names."""

    TYPE: ClassVar[str] = "sealpost.optin.confirmed.v1"
    optin: str
    purpose: str
    account: str
    text: TextReference
    notice: str
    method: Method
    acted_at: str
    requested_at: str | None = None
    text_hash: str | None = None
    notice_hash: str | None = None
    entry_point: str | None = None
    form: str | None = None
    link: str | None = None
    campaign: str | None = None


class ConsentGiven(EventData):
    """Consent to one purpose on one channel; counts only for the opt-in it names. Its event id is what `basis` names."""

    TYPE: ClassVar[str] = "sealpost.consent.given.v1"
    optin: str
    purpose: str
    account: str
    text: TextReference
    notice: str
    legal_basis: Literal["consent"] = "consent"
    method: Method
    language: str
    acted_at: str
    requested_at: str | None = None
    text_hash: str | None = None
    notice_hash: str | None = None
    entry_point: str | None = None
    form: str | None = None
    link: str | None = None
    campaign: str | None = None


class ConsentRefused(EventData):
    """The person answered no."""

    TYPE: ClassVar[str] = "sealpost.consent.refused.v1"
    optin: str
    purpose: str
    acted_at: str


class ConsentWithdrawn(EventData):
    """Consent to a purpose on this channel is over. Written by whoever recognises the withdrawal, first."""

    TYPE: ClassVar[str] = "sealpost.consent.withdrawn.v1"
    purpose: str
    method: Method
    language: str | None = None
    acted_at: str


class ConsentExpired(EventData):
    """The question was not answered in time; the opt-in is dead."""

    TYPE: ClassVar[str] = "sealpost.consent.expired.v1"
    optin: str
    purpose: str
    acted_at: str
