"""The pages of signing up in a real browser: the form without a script, the way into the chat, notices, what was agreed to."""

import re

import pytest
from playwright.sync_api import Browser, expect

from schemas.entry_tokens import find_token
from tests.acceptance_instance import RunningInstance, call, until
from tests.embedding_page import DESKTOP, PHONE, EmbeddingPage, open_page
from tests.signup_world import SignUpForm, approve_texts, draft_of

SEEN = {
    "phone-de-light": ("de-DE", "light", PHONE),
    "phone-en-dark": ("en-GB", "dark", PHONE),
    "desktop-de-dark": ("de-DE", "dark", DESKTOP),
    "desktop-en-light": ("en-GB", "light", DESKTOP),
}


@pytest.fixture(scope="module")
def form(instance: RunningInstance) -> SignUpForm:
    """A form of the sandbox."""
    approve_texts(instance)
    return SignUpForm.make(instance)


def fits(window: EmbeddingPage) -> None:
    """Axe has nothing to say, and nothing is wider than the screen."""
    window.is_accessible()
    assert window.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is too wide"


@pytest.mark.parametrize("seen", SEEN)
def test_the_plain_form_works_without_a_script(browser: Browser, form: SignUpForm, seen: str) -> None:
    """Tick, accept, the way into the chat; no cookie, nothing from elsewhere, no script at all."""
    locale, scheme, device = SEEN[seen]
    with open_page(browser, form.url, locale=locale, color_scheme=scheme, **device) as window:
        assert window.page.locator("script").count() == 0
        assert window.page.locator("input:checked").count() == 0
        expect(window.page.locator("html")).to_have_attribute("lang", locale[:2])
        fits(window)
        window.picture(f"form-{seen}")
        assert window.sign_up().startswith("https://wa.me/")
        assert window.page.locator("svg[role=img]").count() == 1
        fits(window)
        window.picture(f"write-{seen}")
        window.keeps_nothing()


def test_the_plain_form_works_where_scripts_are_off(browser: Browser, form: SignUpForm) -> None:
    with open_page(browser, form.url, java_script_enabled=False) as window:
        assert find_token(draft_of(window.sign_up())) is not None


def test_the_plain_form_says_what_is_missing_and_keeps_what_is_ticked(
    browser: Browser, form: SignUpForm
) -> None:
    """No topic: the sentence is in focus, and the notice stays accepted."""
    with open_page(browser, form.url, locale="en-GB") as window:
        window.page.get_by_label("I have read the privacy notice").check()
        window.send()
        expect(window.page.get_by_role("alert")).to_be_focused()
        expect(window.page.get_by_label("I have read the privacy notice")).to_be_checked()
        fits(window)
        window.picture("form-problem")
        window.page.get_by_label(re.compile("I would like")).check()
        window.send()
        window.sees("a[href*='wa.me']")
        window.forgive("422")


def test_pages_that_are_not_there_say_so_in_words(
    instance: RunningInstance, browser: Browser, form: SignUpForm
) -> None:
    """Unknown form, unknown notice, a draft, a key that was made up: one sentence in the reader's language."""
    optin = f"{instance.ready['api_url']}/optin"
    told = {
        f"{optin}/forms/{form.tenant}/{'0' * 32}": "This form is not available",
        f"{optin}/forms/nobody/{form.form}": "Dieses Formular ist zurzeit nicht",
        f"{optin}/notices/{form.tenant}/privacy/9/en": "There is no such page",
        f"{optin}/preferences/{form.tenant}/{'A' * 51}": "This link works no more",
    }
    for url, sentence in told.items():
        locale = "de-DE" if sentence.startswith("Dieses") else "en-GB"
        with open_page(browser, url, locale=locale) as window:
            expect(window.page.get_by_role("status")).to_contain_text(sentence)
            fits(window)
            window.forgive("404")


@pytest.mark.parametrize("seen", SEEN)
def test_the_preference_page_shows_and_withdraws(
    instance: RunningInstance, browser: Browser, form: SignUpForm, seen: str
) -> None:
    """The link comes by the chat; one consent is withdrawn, and a newsletter is refused; signing up leads to the chat again."""
    locale, scheme, device = SEEN[seen]
    number = instance.new_number()
    instance.write(number, form.tick())
    subject = instance.subject_of(number)
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(subject))
    instance.write(number, "EINSTELLUNGEN" if locale == "de-DE" else "preferences")
    url = until("the link", lambda: preferences_link(instance, number))
    with open_page(browser, url, locale=locale, color_scheme=scheme, **device) as window:
        fits(window)
        window.picture(f"preferences-{seen}")
        window.page.locator("button[value=withdraw]").click()
        expect(window.page.get_by_role("status")).to_be_focused()
        fits(window)
        window.picture(f"preferences-withdrawn-{seen}")
        refused = instance.send(number, "Noch eins", "newsletter")
        found = instance.item(subject, refused.body["message_id"], {"rejected"})
        assert found["reason"] == "consent_withdrawn"
        until("the withdrawal", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
        window.page.locator("input[name=ticked]").check()
        window.page.locator("input[name=accepted]").check()
        window.page.locator("button[value=give]").click()
        link = window.sees("a[href*='wa.me']").get_attribute("href") or ""
        fits(window)
        window.keeps_nothing()
    instance.write(number, draft_of(link))
    until("the consent again", lambda: instance.consent_types(subject).count("ConsentGiven") == 2)


def preferences_link(instance: RunningInstance, number: str) -> str:
    """The link in the newest message that has one; "" while there is none."""
    for message in reversed(instance.phone(number)):
        found = re.search(r"http://\S+/optin/preferences/\S+", message["body"])
        if found:
            return found[0]
    return ""


def test_looking_at_the_preference_page_changes_nothing(
    instance: RunningInstance, browser: Browser, form: SignUpForm
) -> None:
    """Messengers fetch links to show what is behind them."""
    number = instance.new_number()
    instance.write(number, form.tick())
    subject = instance.subject_of(number)
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(subject))
    url = instance.api("POST", f"/v1/subjects/{subject}/preferences-link").body["url"]
    for _ in range(3):
        with open_page(browser, url, locale="de-DE") as window:
            expect(window.page.locator("button[value=withdraw]")).to_have_count(1)
    accepted = instance.send(number, "Birnen", "newsletter")
    instance.item(subject, accepted.body["message_id"], {"sent", "delivered", "read"})


def test_a_notice_that_sealpost_keeps_is_shown_as_it_was_published(
    instance: RunningInstance, browser: Browser
) -> None:
    """A tenant of its own, so that the sandbox's notices stay: title, paragraphs, version and hash; markup stays text."""
    registered = instance.api(
        "POST", "/v1/tenants", "admin", {"id": "kelterei", "name": "Kelterei <b>Most</b>"}
    )
    assert registered.status == 201, registered
    place = f"{instance.ready['api_url']}/optin/notices/kelterei/privacy/1/de"
    with open_page(browser, place) as window:
        expect(window.page.get_by_role("status")).to_have_text("Diese Seite gibt es nicht.")
        window.forgive("404")
    approve(instance, registered.body["tokens"]["officer"])
    for seen, (_, scheme, device) in SEEN.items():
        with open_page(browser, place, color_scheme=scheme, **device) as window:
            expect(window.page.locator("h1")).to_have_text(
                "Datenschutzhinweise für Nachrichten von Kelterei <b>Most</b>"
            )
            expect(window.page.locator("body")).to_contain_text("privacy/1/de · SHA-256")
            fits(window)
            window.picture(f"notice-{seen}")


def approve(instance: RunningInstance, officer: str) -> None:
    """The draft notice of the tenant whose officer it is."""
    body = {"kind": "notice", "reference": "privacy/1/de"}
    answer = call("POST", f"{instance.ready['api_url']}/v1/wordings/approval", token=officer, body=body)
    assert answer.status == 200, answer
