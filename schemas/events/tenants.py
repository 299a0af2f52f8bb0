"""Events of `sealpost.tenants`: the settings of businesses. Read whole by every process; no person in them."""

from typing import ClassVar, Literal

from schemas.envelope import EventData
from schemas.texts import Language


class TenantRegistered(EventData):
    """A business uses Sealpost; without a DPA it may not operate."""

    TYPE: ClassVar[str] = "sealpost.tenant.registered.v1"
    name: str
    default_language: Language


class DpaSigned(EventData):
    """The data-processing agreement is on record."""

    TYPE: ClassVar[str] = "sealpost.tenant.dpa_signed.v1"
    version: str
    signed_at: str


class DpaEnded(EventData):
    """The data-processing agreement has ended; from now on nothing is received or sent for this tenant."""

    TYPE: ClassVar[str] = "sealpost.tenant.dpa_ended.v1"
    ended_at: str


class PurposeDefined(EventData):
    """What messages may be for, and whether a consent must stand behind each. `names`: what people read, by language."""

    TYPE: ClassVar[str] = "sealpost.tenant.purpose_defined.v1"
    purpose: str
    legal_basis: Literal["consent", "contract", "legitimate_interest"]
    names: dict[Language, str] | None = None


class NoticePublished(EventData):
    """A version of the privacy notice. `body` is its text where Sealpost keeps it, `hash` that text's SHA-256 (hex). A draft is
    shown to nobody until it is approved."""

    TYPE: ClassVar[str] = "sealpost.tenant.notice_published.v1"
    notice: str
    version: int
    language: Language
    url: str
    body: str | None = None
    hash: str | None = None
    draft: bool | None = None


class ChannelApproved(EventData):
    """An account of the tenant on a channel may be used; credentials lie in the vault. `handle` is what people see and links
    are made of: the business's number, page or bot name."""

    TYPE: ClassVar[str] = "sealpost.tenant.channel_approved.v1"
    connection: str
    account: str
    handle: str | None = None


class TemplateStatusChanged(EventData):
    """The provider decided about a template. `status` and `reason` are its words, in small letters, or `other`."""

    TYPE: ClassVar[str] = "sealpost.tenant.template_status_changed.v1"
    account: str
    template: str
    language: str
    status: str
    reason: str | None = None


class AccountNews(EventData):
    """The provider's news about an account: quality, limits, restrictions. Words of fixed lists, or `other`."""

    TYPE: ClassVar[str] = "sealpost.tenant.account_news.v1"
    account: str
    field: str
    event: str


class ConsentTextPublished(EventData):
    """A version of a text by which people are asked. `body` holds `{business}` and `{purpose}`; `hash` is its SHA-256 (hex). A
    draft is shown on no page until it is approved."""

    TYPE: ClassVar[str] = "sealpost.tenant.consent_text_published.v1"
    text: str
    version: int
    language: Language
    body: str
    hash: str
    draft: bool = False


class WordingApproved(EventData):
    """An officer approves a version of a notice or a consent text, as it reads: `hash` is that of the words approved."""

    TYPE: ClassVar[str] = "sealpost.tenant.wording_approved.v1"
    kind: Literal["notice", "text"]
    id: str
    version: int
    language: Language
    hash: str


class FormPublished(EventData):
    """A sign-up form, or what it is from now on. `origins` are the sites that may embed it (`https://…`); `active` false ends
    it."""

    TYPE: ClassVar[str] = "sealpost.tenant.form_published.v1"
    form: str
    purposes: list[str]
    accounts: list[str]
    origins: list[str]
    campaign: str | None = None
    active: bool = True


class LinkPublished(EventData):
    """A click-to-chat link of a campaign on an account, or that it has ended (`active` false). Who follows it is asked in the
    chat."""

    TYPE: ClassVar[str] = "sealpost.tenant.link_published.v1"
    link: str
    account: str
    campaign: str
    purpose: str
    active: bool = True
