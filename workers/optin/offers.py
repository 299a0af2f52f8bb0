"""What a sign-up form shows a person, or why it shows nothing: pure."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.content import TextReference
from schemas.default_wording import SIGNUP
from schemas.settings import Account, ConsentText, Form, Notice, TenantSettings
from schemas.texts import LANGUAGES
from schemas.wording import signup_wording
from workers.channel import Channel, UnknownChannel
from workers.optin.words import words_for

Missing = Literal["unknown_form", "no_dpa", "no_notice", "no_text", "no_purpose", "no_channel"]

CARRIERS = frozenset(("message_text", "payload"))
"""Channels that bring a link's token back."""
WHY: dict[Missing, str] = {
    "unknown_form": "There is no such form, or it has ended.",
    "no_dpa": "The business has no data-processing agreement on record: sealpost tenant dpa TENANT --version VERSION.",
    "no_notice": "No privacy notice is published: an officer approves the draft (sealpost wording approve notice REFERENCE) or"
    " publishes one (sealpost wording publish notice).",
    "no_text": "The sign-up text is a draft: an officer approves it (sealpost wording approve text REFERENCE).",
    "no_purpose": "None of the form's purposes needs a consent of this business.",
    "no_channel": "None of the form's accounts can be written to by a link: it is not approved, or its number or name is not"
    " recorded (sealpost connections add --handle).",
}
"""For whoever runs the form; nothing of it is shown to visitors."""


@dataclass(frozen=True, slots=True)
class Box:
    """One purpose with what stands beside its box."""

    purpose: str
    name: str
    label: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A form as a person is shown it, in one language."""

    tenant: str
    form: Form
    business: str
    language: str
    notice: Notice
    text: ConsentText
    boxes: tuple[Box, ...]
    accounts: tuple[Account, ...]

    @property
    def text_reference(self) -> TextReference:
        """How events name the text."""
        return TextReference(id=self.text.text, version=self.text.version, language=self.text.language)


def draft_words(shown: Offer, purposes: Collection[str]) -> str:
    """What stands before the token in a draft, where the person sees it: her own yes, to be sent or to be changed."""
    named = ", ".join(box.name for box in shown.boxes if box.purpose in purposes)
    return words_for(shown.language, business=shown.business, purposes=named)["draft"]


def language_for(wanted: str | None, settings: TenantSettings) -> str:
    """The language to show: the first wanted one that Sealpost speaks (an `Accept-Language` will do), else the tenant's."""
    for part in (wanted or "").split(","):
        language = part.split(";")[0].strip().lower().split("-")[0]
        if language in LANGUAGES:
            return language
    return settings.default_language


def visitors_language(wanted: str | None) -> str:
    """As `language_for`, for whoever has named nothing of a business yet: which businesses there are is told to nobody."""
    return language_for(wanted, TenantSettings(""))


def offer(
    settings: TenantSettings | None, form: str, language: str | None, channel: Callable[[str], Channel]
) -> Offer | Missing:
    """What the form shows now."""
    found = settings.forms.get(form) if settings is not None else None
    if settings is None or found is None:
        return "unknown_form"
    return offer_of(settings, found, language, channel)


def offer_of(
    settings: TenantSettings, form: Form, language: str | None, channel: Callable[[str], Channel]
) -> Offer | Missing:
    """As `offer`, for a form that may not be published."""
    text = settings.consent_text(SIGNUP, language_for(language, settings))
    # What is agreed to decides the language of all: nobody is asked in one for a text in another.
    spoken = text.language if text is not None else language_for(language, settings)
    notice = settings.notice_for(spoken)
    purposes = [p for p in form.purposes if p in settings.consent_purposes()]
    if not settings.dpa:
        return "no_dpa"
    if notice is None or not notice.url:
        return "no_notice"
    if text is None:
        return "no_text"
    if not purposes:
        return "no_purpose"
    accounts = _linkable(settings, form.accounts, channel)
    if not accounts:
        return "no_channel"
    boxes = tuple(
        Box(p, settings.purpose_name(p, text.language), signup_wording(settings, text, p)) for p in purposes
    )
    return Offer(settings.tenant, form, settings.name, spoken, notice, text, boxes, accounts)


def _linkable(
    settings: TenantSettings, names: Sequence[str], channel: Callable[[str], Channel]
) -> tuple[Account, ...]:
    """The accounts that a link can be made to: the form's, or all of the tenant's when it names none."""
    found: list[Account] = []
    for name in names or sorted(settings.accounts):
        account = settings.accounts.get(name)
        if account is None or account.handle is None:
            continue
        try:
            carries = channel(account.channel).capabilities.token_carrier in CARRIERS
        except UnknownChannel:
            continue
        if carries:
            found.append(account)
    return tuple(found)
