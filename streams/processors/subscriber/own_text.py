"""Asking for one of Sealpost's own texts: MessageRequested and, behind it, the send command (protocols §4).

The words are rendered by outbound; the events name text, version, language and notice.
"""

from dataclasses import dataclass
from typing import Literal

from schemas.clock import MS_PER_S, day_of_ms, to_text
from schemas.constants import Times
from schemas.content import TextReference
from schemas.default_wording import wording_hash
from schemas.events.messages import MessageRequested, SendCommand
from schemas.settings import TenantSettings
from schemas.texts import LATEST, TEXTS
from streams.processors.contract import Ids, NewEvent

PARTS = 1
"""Sealpost's own texts are far below every channel's limit."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What to say, where, and on what ground. `about` is the purpose that the text speaks of; `purpose` is what the message
    itself is for: the question about a newsletter is a service message."""

    text: Literal[
        "consent_question",
        "welcome",
        "welcome_first",
        "preferences",
        "already",
        "refused",
        "stopped",
    ]
    language: str
    channel: str
    account: str
    purpose: str
    about: str | None = None
    basis: str | None = None
    notice: str | None = None
    optin: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """The message asked for, and the two events that ask for it, in order."""

    message: str
    reference: TextReference
    events: tuple[NewEvent, NewEvent]


def reference_to(text: str, language: str) -> TextReference:
    """The current wording of a text."""
    return TextReference(id=text, version=LATEST[text], language=language)


def own_text_hash(text: TextReference) -> str | None:
    """SHA-256 (hex) of the words as they stand in the catalogue, before anything is filled in; None for one that is not known."""
    words = TEXTS.get(text.id, {}).get(text.version, {}).get(text.language)
    return None if words is None else wording_hash(words)


def ask_for(
    settings: TenantSettings, times: Times, ids: Ids, now_ms: int, ask: Ask, cause: str, correlation: str
) -> Asked:
    """Ask for a text; `now_ms` gives the message its day and its end. The question reports its submission as ConfirmationSent."""
    message = ids.message(day_of_ms(now_ms), ask.text)
    reference = reference_to(ask.text, ask.language)
    expires = to_text(now_ms + round(times.ttl_default_s * MS_PER_S))
    requested = MessageRequested(
        message=message,
        account=ask.account,
        purpose=ask.purpose,
        kind="own_text",
        text=reference,
        notice=ask.notice,
        language=ask.language,
        about=ask.about,
        delivery="at_least_once",
        expires=expires,
        basis=ask.basis,
        settings=settings.offset,
    )
    command = SendCommand(
        **requested.model_dump(exclude={"sealed"}),
        part=0,
        parts=PARTS,
        requested_at=to_text(now_ms),
        on_submitted="confirmation_sent" if ask.text == "consent_question" else None,
        optin=ask.optin,
    )
    return Asked(
        message,
        reference,
        (
            NewEvent(ids.event(f"{ask.text}.requested"), requested, ask.channel, cause, correlation),
            NewEvent(ids.event(f"{ask.text}.command"), command, ask.channel, cause, correlation),
        ),
    )
