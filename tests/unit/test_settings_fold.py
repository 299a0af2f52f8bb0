"""Settings folded from the topic: repeats change nothing, notices do not go back."""

from schemas.default_wording import wording_hash
from schemas.envelope import Event, EventData
from schemas.events import registry
from schemas.events.tenants import (
    ConsentTextPublished,
    DpaEnded,
    DpaSigned,
    NoticePublished,
    PurposeDefined,
    TemplateStatusChanged,
    TenantRegistered,
    WordingApproved,
)
from schemas.ids import random_id
from schemas.settings import SettingsFold, TenantSettings

TENANT = "shop"
SIGNED_AT = "2026-01-01T00:00:00.000Z"


def event(data: EventData, at_ms: int = 0) -> Event:
    return registry.build(data, id=random_id(), role="test", tenant=TENANT, subject=TENANT, at_ms=at_ms)


def folded(*events: Event) -> TenantSettings:
    """The tenant's settings once these stand in the topic, from offset 0 on."""
    fold = SettingsFold()
    for offset, one in enumerate(events):
        fold.apply(one, offset)
    return fold.snapshot()[TENANT]


def registered() -> Event:
    return event(TenantRegistered(name="Shop", default_language="de"))


def notice(version: int, language: str = "de", name: str = "privacy") -> Event:
    url = f"https://shop.example/{name}/{version}"
    data = {"notice": name, "version": version, "language": language, "url": url}
    return event(NoticePublished.model_validate(data))


def test_a_repeated_end_does_not_end_the_agreement_that_followed() -> None:
    """Role clock produces a command again whose acknowledgement came late: an agreement signed since is in force."""
    signed, ended = (
        (event(DpaSigned(version="1", signed_at=SIGNED_AT), at) for at in (1, 3)),
        event(DpaEnded(ended_at=SIGNED_AT), 2),
    )
    first, second = signed
    assert folded(registered(), first, ended, second, ended).dpa is True
    assert folded(registered(), first, ended, second, ended, first).dpa is True
    assert folded(registered(), first, ended, first).dpa is False


def test_a_repeated_purpose_does_not_bring_the_old_basis_back() -> None:
    old = event(PurposeDefined(purpose="weather", legal_basis="contract"))
    new = event(PurposeDefined(purpose="weather", legal_basis="consent"))
    assert folded(registered(), old, new, old).needs_consent("weather")


def test_a_repeat_moves_no_offset() -> None:
    """What depends on settings names the offset it saw, and role vault applies an event once: nobody waits for a repeat."""
    first = registered()
    assert folded(first, first, first).offset == 0


def test_of_a_notice_the_greatest_version_is_shown() -> None:
    """Whatever is published again or late; every version stays findable."""
    shop = folded(notice(1), notice(2), notice(1), notice(5, "en"), notice(4, "en"))
    assert {language: shown.version for language, shown in shop.notices.items()} == {"de": 2, "en": 5}
    assert set(shop.notice_history) == {"privacy/1/de", "privacy/2/de", "privacy/5/en", "privacy/4/en"}
    assert folded(notice(7), notice(1, name="terms")).notices["de"].notice == "terms"


def test_the_last_word_about_a_template_counts() -> None:
    """Of each language; a repeat of an earlier word brings it not back."""

    def said(status: str, language: str = "de") -> Event:
        return event(TemplateStatusChanged(account="", template="offer", language=language, status=status))

    approved, paused, english = said("approved"), said("paused"), said("rejected", "en")
    found = folded(registered(), approved, english, paused, approved).templates
    assert found == {"offer/de": "paused", "offer/en": "rejected"}


def text(body: str, *, draft: bool = False) -> Event:
    data = {"text": "signup", "version": 2, "language": "de", "body": body, "hash": wording_hash(body)}
    return event(ConsentTextPublished.model_validate({**data, "draft": draft}))


def notice_at(url: str, body: str | None = None, *, draft: bool = False) -> Event:
    hashed = None if body is None else wording_hash(body)
    data = {"notice": "privacy", "version": 1, "language": "de", "url": url, "body": body, "hash": hashed}
    return event(NoticePublished.model_validate({**data, "draft": draft}))


def approval(kind: str, name: str, version: int, body: str) -> Event:
    data = {"kind": kind, "id": name, "version": version, "language": "de", "hash": wording_hash(body)}
    return event(WordingApproved.model_validate(data))


def test_the_first_words_of_a_reference_stay() -> None:
    """Proofs of earlier consents name the reference: other words or another address under it change nothing."""
    first = folded(text("a"), notice_at("https://a.example/", "a"))
    later = folded(
        text("a"), notice_at("https://a.example/", "a"), text("b"), notice_at("https://b.example/", "a"),
        notice_at("https://a.example/", "b"), text("c", draft=True), approval("text", "signup", 2, "c"),
    )  # fmt: skip
    assert later.consent_texts == first.consent_texts
    assert (later.notice_history, later.notices) == (first.notice_history, first.notices)
    assert not later.drafts


def test_an_approved_draft_stays_when_the_same_version_is_published_later() -> None:
    draft = notice_at("https://own.example/", "the draft", draft=True)
    approved = approval("notice", "privacy", 1, "the draft")
    found = folded(draft, approved, notice_at("https://b.example/"))
    assert found.notices["de"].url == found.notice_history["privacy/1/de"].url == "https://own.example/"


def test_what_is_published_is_no_draft_any_more() -> None:
    """A draft nobody approved gives way to what is published under its reference, and cannot be approved later."""
    drafts = notice_at("https://own.example/", "n", draft=True), text("t", draft=True)
    assert set(folded(*drafts).drafts) == {"notice:privacy/1/de", "text:signup/2/de"}
    found = folded(*drafts, notice_at("https://b.example/"), text("b"), approval("notice", "privacy", 1, "n"))
    assert not found.drafts
    assert found.notices["de"].url == "https://b.example/"
