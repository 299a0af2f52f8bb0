"""Settings of tenants as an immutable snapshot: the fold of `sealpost.tenants`.

Every process reads the topic whole before it is ready and follows it; a snapshot names the offset it was made at, and an
event that depends on settings carries that offset.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from schemas.envelope import Event, EventData
from schemas.events import registry, tenants
from schemas.texts import Language, purpose_name

DEFAULT_PURPOSES: Mapping[str, str] = {"service": "contract", "newsletter": "consent"}
"""What every tenant starts with: purpose → legal basis."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A published privacy notice."""

    notice: str
    version: int
    language: str
    url: str
    body: str | None = None
    hash: str | None = None
    """SHA-256 (hex) of the words, where Sealpost keeps them."""

    @property
    def reference(self) -> str:
        """How events name it: `<id>/<version>/<language>`."""
        return f"{self.notice}/{self.version}/{self.language}"

    def says(self, words_hash: str | None, url: str | None) -> bool:
        """True when these are its words (None: Sealpost keeps none) and its address."""
        return (self.hash, self.url) == (words_hash, url)


@dataclass(frozen=True, slots=True)
class Account:
    """A sender of a tenant: opaque account id, its channel and connection, and what people see of it (number, name; None: not
    told, so no link can be made)."""

    account: str
    channel: str
    connection: str
    handle: str | None = None


@dataclass(frozen=True, slots=True)
class ConsentText:
    """A version of a text by which people are asked."""

    text: str
    version: int
    language: str
    body: str
    hash: str

    @property
    def reference(self) -> str:
        """`<id>/<version>/<language>`."""
        return f"{self.text}/{self.version}/{self.language}"

    def says(self, words_hash: str | None, url: str | None) -> bool:
        """True when these are its words; a text has no address."""
        return (self.hash, None) == (words_hash, url)


@dataclass(frozen=True, slots=True)
class Form:
    """A sign-up form: for which purposes, on which accounts, embedded on which sites."""

    form: str
    purposes: tuple[str, ...]
    accounts: tuple[str, ...]
    origins: tuple[str, ...]
    campaign: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """A click-to-chat link of a campaign: who follows it is asked for consent to `purpose` in the chat."""

    link: str
    account: str
    campaign: str
    purpose: str


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
    purpose_names: Mapping[str, Mapping[Language, str]] = field(default_factory=dict)
    """What people read for a purpose, by language, where the business has said it."""
    notices: Mapping[str, Notice] = field(default_factory=dict)
    """What is shown, by language: of one notice the greatest version ever published."""
    notice_history: Mapping[str, Notice] = field(default_factory=dict)
    """Every version ever published, by its reference, in its first words: what a person was shown must stay findable."""
    accounts: Mapping[str, Account] = field(default_factory=dict)
    consent_texts: Mapping[str, ConsentText] = field(default_factory=dict)
    """Approved ones, by reference; the first words of a reference stay."""
    drafts: Mapping[str, Notice | ConsentText] = field(default_factory=dict)
    """What no officer has approved yet, by kind and reference: `notice:privacy/1/de`."""
    forms: Mapping[str, Form] = field(default_factory=dict)
    links: Mapping[str, Link] = field(default_factory=dict)
    templates: Mapping[str, str] = field(default_factory=dict)
    """The provider's last word about each template, by `<name>/<language>`; one it said nothing of is not there."""
    offset: int = -1

    def published(self, kind: str, reference: str) -> Notice | ConsentText | None:
        """The notice or text (`kind`) that a reference names for good, once it is approved."""
        return (self.notice_history if kind == "notice" else self.consent_texts).get(reference)

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

    def purpose_name(self, purpose: str, language: str) -> str:
        """How a purpose is called in a sentence."""
        named = {str(spoken): name for spoken, name in self.purpose_names.get(purpose, {}).items()}
        return named.get(language) or purpose_name(purpose, language)

    def notice_for(self, language: str) -> Notice | None:
        """The privacy notice to show in a language: that language's, else the default language's, else any."""
        by_language = {notice.language: notice for notice in self.notices.values()}
        return (
            by_language.get(language)
            or by_language.get(self.default_language)
            or next(iter(by_language.values()), None)
        )

    def consent_text(self, text: str, language: str) -> ConsentText | None:
        """The newest approved version of a consent text: in a language, else in the default language."""
        for wanted in (language, self.default_language):
            found = [one for one in self.consent_texts.values() if (one.text, one.language) == (text, wanted)]
            if found:
                return max(found, key=lambda one: one.version)
        return None


Settings = Mapping[str, TenantSettings]


def draft_key(kind: str, reference: str) -> str:
    """Key of `TenantSettings.drafts`."""
    return f"{kind}:{reference}"


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
            names = {**now.purpose_names, data.purpose: data.names} if data.names else now.purpose_names
            return replace(
                now, purposes={**now.purposes, data.purpose: data.legal_basis}, purpose_names=names
            )
        case tenants.ChannelApproved():
            known = now.accounts.get(data.account)
            handle = data.handle or (known.handle if known is not None else None)
            account = Account(data.account, event.channel or "", data.connection, handle)
            return replace(now, accounts={**now.accounts, data.account: account})
        case tenants.TemplateStatusChanged():
            return replace(now, templates={**now.templates, f"{data.template}/{data.language}": data.status})
        case tenants.FormPublished():
            return _with_form(now, data)
        case tenants.LinkPublished():
            return _with_link(now, data)
    return _with_wording(now, data)


def _with_form(now: TenantSettings, data: tenants.FormPublished) -> TenantSettings:
    forms = {name: form for name, form in now.forms.items() if name != data.form}
    if data.active:
        told = tuple(data.purposes), tuple(data.accounts), tuple(data.origins)
        forms[data.form] = Form(data.form, *told, data.campaign)
    return replace(now, forms=forms)


def _with_link(now: TenantSettings, data: tenants.LinkPublished) -> TenantSettings:
    links = {name: link for name, link in now.links.items() if name != data.link}
    if data.active:
        links[data.link] = Link(data.link, data.account, data.campaign, data.purpose)
    return replace(now, links=links)


def _with_wording(now: TenantSettings, data: EventData) -> TenantSettings:
    match data:
        case tenants.NoticePublished():
            notice = Notice(data.notice, data.version, data.language, data.url, data.body, data.hash)
            return _with_draft(now, "notice", notice) if data.draft else _with_notice(now, notice)
        case tenants.ConsentTextPublished():
            text = ConsentText(data.text, data.version, data.language, data.body, data.hash)
            return _with_draft(now, "text", text) if data.draft else _with_text(now, text)
        case tenants.WordingApproved():
            return _approved(now, data)
    return now


def _with_notice(now: TenantSettings, notice: Notice) -> TenantSettings:
    """What a reference said first, it says for good: proofs name the reference, and must show what people were shown."""
    if notice.reference in now.notice_history:
        return now
    now = _without_draft(now, "notice", notice)
    now = replace(now, notice_history={**now.notice_history, notice.reference: notice})
    shown = now.notices.get(notice.language)
    if shown is not None and shown.notice == notice.notice and shown.version > notice.version:
        return now
    return replace(now, notices={**now.notices, notice.language: notice})


def _with_text(now: TenantSettings, text: ConsentText) -> TenantSettings:
    """As of a notice, the first words stay."""
    if text.reference in now.consent_texts:
        return now
    now = _without_draft(now, "text", text)
    return replace(now, consent_texts={**now.consent_texts, text.reference: text})


def _without_draft(now: TenantSettings, kind: str, published: Notice | ConsentText) -> TenantSettings:
    key = draft_key(kind, published.reference)
    return replace(now, drafts={name: one for name, one in now.drafts.items() if name != key})


def _with_draft(now: TenantSettings, kind: str, draft: Notice | ConsentText) -> TenantSettings:
    """What is approved is no draft any more, whatever is published of it later."""
    if now.published(kind, draft.reference) is not None:
        return now
    return replace(now, drafts={**now.drafts, draft_key(kind, draft.reference): draft})


def _approved(now: TenantSettings, data: tenants.WordingApproved) -> TenantSettings:
    """Counts only for the very words that were approved."""
    key = draft_key(data.kind, f"{data.id}/{data.version}/{data.language}")
    draft = now.drafts.get(key)
    if draft is None or draft.hash != data.hash:
        return now
    return _with_notice(now, draft) if isinstance(draft, Notice) else _with_text(now, draft)


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
