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
    """What messages may be for, and whether a consent must stand behind each."""

    TYPE: ClassVar[str] = "sealpost.tenant.purpose_defined.v1"
    purpose: str
    legal_basis: Literal["consent", "contract", "legitimate_interest"]


class NoticePublished(EventData):
    """A version of the privacy notice, as people are shown it."""

    TYPE: ClassVar[str] = "sealpost.tenant.notice_published.v1"
    notice: str
    version: int
    language: Language
    url: str


class ChannelApproved(EventData):
    """An account of the tenant on a channel may be used; credentials lie in the vault."""

    TYPE: ClassVar[str] = "sealpost.tenant.channel_approved.v1"
    connection: str
    account: str


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
