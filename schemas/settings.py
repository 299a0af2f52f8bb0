"""Settings of tenants as an immutable snapshot: the fold of `sealpost.tenants`.

Every process reads the topic whole before it is ready and follows it; a snapshot names the offset it was made at, and an
event that depends on settings carries that offset.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from schemas.envelope import Event
from schemas.events import registry, tenants

DEFAULT_PURPOSES: Mapping[str, str] = {"service": "contract", "newsletter": "consent"}
"""What every tenant starts with: purpose → legal basis."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A published privacy notice."""

    notice: str
    version: int
    language: str
    url: str

    @property
    def reference(self) -> str:
        """How events name it: `<id>/<version>/<language>`."""
        return f"{self.notice}/{self.version}/{self.language}"


@dataclass(frozen=True, slots=True)
class Account:
    """A sender of a tenant: opaque account id, its channel and connection."""

    account: str
    channel: str
    connection: str


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """Everything published about one tenant. `offset` is the last settings event folded in, of any tenant."""

    tenant: str
    name: str = ""
    default_language: str = "de"
    dpa_signed_ms: int = -1
    dpa_ended_ms: int = -1
    """Times of the newest DpaSigned and DpaEnded, on the vault's clock; both only grow. -1: never."""
    purposes: Mapping[str, str] = field(default_factory=dict)
    notices: Mapping[str, Notice] = field(default_factory=dict)
    """What is shown, by language: of one notice the greatest version ever published."""
    notice_history: Mapping[str, Notice] = field(default_factory=dict)
    """Every version ever published, by its reference: what a person was shown must stay findable."""
    accounts: Mapping[str, Account] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    """The provider's last word about each template, by `<name>/<language>`; one it said nothing of is not there."""
    offset: int = -1

    @property
    def dpa(self) -> bool:
        """True while a data-processing agreement is in force; the same rule as in the vault. Equal times mean ended."""
        return self.dpa_signed_ms > self.dpa_ended_ms

    def needs_consent(self, purpose: str) -> bool:
        """True when each message of this purpose must rest on a consent; unknown purposes do."""
        return self.purposes.get(purpose, "consent") == "consent"

    def consent_purposes(self) -> tuple[str, ...]:
        """The purposes that need consent, in order."""
        return tuple(sorted(p for p, basis in self.purposes.items() if basis == "consent"))

    def notice_for(self, language: str) -> Notice | None:
        """The privacy notice to show in a language: that language's, else the default language's, else any."""
        by_language = {notice.language: notice for notice in self.notices.values()}
        return (
            by_language.get(language)
            or by_language.get(self.default_language)
            or next(iter(by_language.values()), None)
        )


Settings = Mapping[str, TenantSettings]


def fold(settings: TenantSettings, event: Event, offset: int) -> TenantSettings:
    """Apply one event of `sealpost.tenants`; types of other tenants must not be given. Unknown types change nothing."""
    if event.type not in registry.MODELS:
        return replace(settings, offset=offset)
    data = registry.read(event)
    now = replace(settings, offset=offset)
    match data:
        case tenants.TenantRegistered():
            purposes = {**DEFAULT_PURPOSES, **now.purposes}
            return replace(now, name=data.name, default_language=data.default_language, purposes=purposes)
        case tenants.DpaSigned():
            return replace(now, dpa_signed_ms=max(now.dpa_signed_ms, event.at_ms()))
        case tenants.DpaEnded():
            return replace(now, dpa_ended_ms=max(now.dpa_ended_ms, event.at_ms()))
        case tenants.PurposeDefined():
            return replace(now, purposes={**now.purposes, data.purpose: data.legal_basis})
        case tenants.NoticePublished():
            notice = Notice(data.notice, data.version, data.language, data.url)
            now = replace(now, notice_history={**now.notice_history, notice.reference: notice})
            shown = now.notices.get(data.language)
            if shown is not None and shown.notice == notice.notice and shown.version > notice.version:
                return now
            return replace(now, notices={**now.notices, data.language: notice})
        case tenants.ChannelApproved():
            account = Account(data.account, event.channel or "", data.connection)
            return replace(now, accounts={**now.accounts, data.account: account})
        case tenants.TemplateStatusChanged():
            return replace(now, templates={**now.templates, f"{data.template}/{data.language}": data.status})
    return now


class SettingsFold:
    """Folds `sealpost.tenants` from its start; not thread-safe.

    A command whose producer got no acknowledgement is produced again, with the same event id: the first one counts, wherever
    in the topic its repeats lie. Ids are kept for good; the topic holds some events a tenant.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._tenants: dict[str, TenantSettings] = {}

    def apply(self, event: Event, offset: int) -> None:
        """Fold the event at an offset; InvalidEvent, and nothing is changed, when it is none of its type."""
        if event.id in self._seen:
            return
        known = self._tenants.get(event.tenant) or TenantSettings(event.tenant)
        self._tenants[event.tenant] = fold(known, event, offset)
        self._seen.add(event.id)

    def snapshot(self) -> Settings:
        """Settings by tenant as they are now."""
        return MappingProxyType(dict(self._tenants))
