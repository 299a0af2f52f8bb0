"""The sign-up widget in a real browser, embedded by a page of another origin under a strict policy, on a running instance."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from schemas.clock import now_ms, to_ms
from tests.acceptance_instance import RunningInstance, until
from tests.embedding_page import DESKTOP, PHONE, EmbeddingPage, EmbeddingSite, open_page
from tests.signup_world import NOTICE_URL, SignUpForm, approve_texts, draft_of

GIVEN = ["OptInRequested", "OptInConfirmed", "ConsentGiven"]
SEEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "phone-de-light": ("de", "light", PHONE),
    "phone-en-dark": ("en", "dark", PHONE),
    "desktop-de-dark": ("de", "dark", DESKTOP),
    "desktop-en-light": ("en", "light", DESKTOP),
}


@pytest.fixture(scope="module")
def site(instance: RunningInstance) -> Iterator[EmbeddingSite]:
    """A business's site; the texts of the sandbox are approved."""
    approve_texts(instance)
    site = EmbeddingSite(instance.ready["api_url"])
    yield site
    site.close()


@pytest.fixture(scope="module")
def form(instance: RunningInstance, site: EmbeddingSite) -> SignUpForm:
    """A form that the site may embed."""
    return SignUpForm.make(instance, (site.origin,), accounts=[instance.whatsapp["account"]])


def signed_up(browser: Browser, site: EmbeddingSite, form: SignUpForm) -> str:
    """Tick everything in the widget; the draft of the link."""
    site.language = "de"
    site.embed(form.tag)
    with open_page(browser, f"{site.origin}/", site.api_url) as window:
        return draft_of(window.sign_up())


@pytest.mark.parametrize("seen", SEEN)
def test_the_widget_is_seen_used_and_heard_on_phone_and_desktop(
    browser: Browser, site: EmbeddingSite, form: SignUpForm, seen: str
) -> None:
    """Every state passes axe under the strict policy; nothing is kept, and nobody else is asked."""
    language, scheme, device = SEEN[seen]
    site.language = language
    site.embed(form.tag)
    with open_page(browser, f"{site.origin}/", site.api_url, color_scheme=scheme, **device) as window:
        boxes = window.sees("input[type=checkbox]", 2)
        assert not any(box.is_checked() for box in boxes.all()), "a box is ticked before anybody ticked it"
        expect(window.page.locator(".card")).to_have_attribute("lang", language)
        window.is_accessible()
        window.picture(f"widget-{seen}-form")
        window.send()
        expect(window.page.get_by_role("alert")).not_to_be_empty()
        window.is_accessible()
        assert window.sign_up().startswith("https://wa.me/")
        expect(window.page.locator("h2")).to_be_focused()
        expect(window.page.get_by_role("img")).to_have_count(1)
        window.is_accessible()
        window.picture(f"widget-{seen}-write")
        window.keeps_nothing()
        assert window.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is too wide"


def test_the_whole_double_opt_in(
    instance: RunningInstance, browser: Browser, site: EmbeddingSite, form: SignUpForm
) -> None:
    """Tick, accept, write: the consent is proven with every step; the welcome shows the notice once; a newsletter arrives."""
    before = now_ms()
    draft = signed_up(browser, site, form)
    after, number = now_ms(), instance.new_number()
    instance.write(number, draft)
    subject = instance.subject_of(number)
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(subject))
    until("the welcome", lambda: instance.phone(number))
    items = instance.api("GET", f"/v1/subjects/{subject}/consents").body["items"]
    assert [item["type"] for item in items] == GIVEN
    requested, confirmed, given = items
    assert before <= to_ms(requested["acted_at"]) <= after, "the page's time is not that of the tick"
    assert given["requested_at"] == confirmed["requested_at"] == requested["acted_at"]
    assert to_ms(confirmed["acted_at"]) >= to_ms(requested["acted_at"])
    assert confirmed["acted_at"] == given["acted_at"]
    for item in items:
        assert (item["entry_point"], item["form"]) == ("form", form.form)
        assert item["text"]["wording"].startswith(
            "Ich möchte Nachrichten zum Thema „Newsletter“ von Sandbox GmbH"
        )
        assert len(item["text_hash"]) == 64
        assert item["notice"] == {"reference": "privacy/1/de", "url": NOTICE_URL}
        assert item["purpose"] == "newsletter"
        assert draft in str(item["evidence"]), "the proof holds no word of the person"
    assert given["method"] == "first_message"
    welcome = instance.phone(number)[0]["body"]
    assert welcome.count(NOTICE_URL) == 1
    accepted = instance.send(number, "Birnen sind da", "newsletter")
    instance.item(subject, accepted.body["message_id"], {"sent", "delivered", "read"})
    assert [message["body"] for message in instance.phone(number)] == [welcome, "Birnen sind da"]


def test_a_double_click_signs_up_once(browser: Browser, site: EmbeddingSite, form: SignUpForm) -> None:
    """While an answer is awaited the button does nothing more, and a screen reader is told to wait."""
    site.language = "en"
    site.embed(form.tag)
    with open_page(browser, f"{site.origin}/", site.api_url) as window:
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        window.page.route("**/signups", hold)
        window.tick_all()
        window.page.locator("button[type=submit]").dblclick()
        window.page.keyboard.press("Enter")
        expect(window.page.get_by_role("status")).to_have_text("One moment …")
        assert len(held) == 1
        held[0].continue_()
        window.sees("a[href*='wa.me']")
        assert len([asked for asked in window.requests if asked.startswith("POST")]) == 1


def test_the_keyboard_is_enough(browser: Browser, site: EmbeddingSite, form: SignUpForm) -> None:
    """Tab, space and Enter; every stop shows where one is; the heading of the next step is reached by itself."""
    site.language = "de"
    site.embed(form.tag)
    with open_page(browser, f"{site.origin}/", site.api_url, reduced_motion="reduce") as window:
        page = window.page
        window.sees("input[type=checkbox]", 2)
        outline = "() => { let at = document.activeElement; at = at.shadowRoot?.activeElement ?? at;"
        outline += " return getComputedStyle(at).outlineStyle; }"
        for key in ("Tab", "Space", "Tab", "Tab", "Space", "Tab"):
            page.keyboard.press(key)
            assert page.evaluate(outline) == "solid", f"after {key} nobody sees where one is"
        button = page.get_by_role("button", name="Weiter")
        expect(button).to_be_focused()
        assert button.evaluate("(one) => getComputedStyle(one).transitionDuration") in ("0s", "1e-05s")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Jetzt schreiben Sie uns")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="WhatsApp öffnen")).to_be_focused()


def test_what_is_missing_is_marked_and_reached(
    browser: Browser, site: EmbeddingSite, form: SignUpForm
) -> None:
    """Without a topic and without the notice nothing is sent; the alert says it and the box is in focus."""
    site.language = "en"
    site.embed(form.tag)
    with open_page(browser, f"{site.origin}/", site.api_url) as window:
        topic, notice = window.sees("input[type=checkbox]", 2).all()
        for ticked, wanted in ((notice, topic), (topic, notice)):
            ticked.check()
            window.send()
            expect(window.page.get_by_role("alert")).to_contain_text("Please tick")
            expect(wanted).to_be_focused()
            expect(wanted).to_have_attribute("aria-invalid", "true")
            expect(ticked).not_to_have_attribute("aria-invalid", "true")
            ticked.uncheck()
        assert not [asked for asked in window.requests if asked.startswith("POST")]
        assert (window.page.get_by_role("link").first.get_attribute("href") or "").startswith("https://")


def test_two_widgets_of_a_page_know_nothing_of_each_other(
    instance: RunningInstance, browser: Browser, site: EmbeddingSite, form: SignUpForm
) -> None:
    """Each has its form, its boxes and its answer."""
    site.language = "de"
    other = SignUpForm.make(instance, (site.origin,))
    site.embed(form.tag, other.tag)
    with open_page(browser, f"{site.origin}/", site.api_url) as window:
        window.sees("input[type=checkbox]", 4)
        window.is_accessible()
        second = window.page.locator("sealpost-signup").nth(1)
        for box in second.locator("input[type=checkbox]").all():
            box.check()
        second.locator("button[type=submit]").click()
        window.sees("a[href*='wa.me']", 1)
        window.sees("input[type=checkbox]", 2)
        assert window.page.locator("input:checked").count() == 0
        posted = [asked for asked in window.requests if asked.startswith("POST")]
        assert len(posted) == 1
        expect(second.locator("a[href*='wa.me']")).to_be_visible()
        window.is_accessible()


@pytest.mark.parametrize(
    ("page_language", "data", "locale", "spoken"),
    [("en", {}, "de-DE", "en"), ("en", {"language": "de"}, "en-GB", "de"), ("fr", {}, "en-GB", "en")],
)
def test_whose_language_is_spoken(
    browser: Browser, site: EmbeddingSite, form: SignUpForm, page_language: str, data: dict[str, str], locale: str, spoken: str
) -> None:  # fmt: skip
    """The tag's, else the page's, else the browser's, as far as Sealpost speaks it."""
    site.language = page_language
    site.embed(form.tag, **data)
    with open_page(browser, f"{site.origin}/", site.api_url, locale=locale) as window:
        expect(window.sees(".card")).to_have_attribute("lang", spoken)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_theme_of_the_tag_counts_more_than_the_device(
    browser: Browser, site: EmbeddingSite, form: SignUpForm, theme: str
) -> None:
    site.language = "de"
    site.embed(form.tag, theme=theme)
    other = "dark" if theme == "light" else "light"
    with open_page(browser, f"{site.origin}/", site.api_url, color_scheme=other) as window:
        colour = window.sees(".card").evaluate("(card) => getComputedStyle(card).backgroundColor")
        assert (colour == "rgb(255, 255, 255)") is (theme == "light")
        window.is_accessible()


def test_a_form_that_offers_nothing_shows_nothing_and_says_why(
    instance: RunningInstance, browser: Browser, site: EmbeddingSite, form: SignUpForm
) -> None:
    """The console tells the owner; visitors see an empty place: an unknown form, and a site that the form does not know."""
    site.language = "de"
    elsewhere = SignUpForm.make(instance, ("https://www.example.org",))
    told = {f"{form.tenant}/{'0' * 32}": "There is no such form", elsewhere.tag: "none of the form's origins"}
    for tag, why in told.items():
        site.embed(tag)
        with open_page(browser, f"{site.origin}/", site.api_url) as window:
            until("the sentence", partial(_is_told, window, why))
            assert window.page.locator("main").inner_text() == "Obsthof"
            assert window.page.locator("sealpost-signup .card").count() == 0
            window.forgive(why, "Failed to load resource")


def _is_told(window: EmbeddingPage, why: str) -> bool:
    window.page.wait_for_timeout(50)  # lets the console's messages come
    return any(why in said for said in window.complaints)


def test_nobody_answers_and_then_somebody_does(
    browser: Browser, site: EmbeddingSite, form: SignUpForm
) -> None:
    """Away and busy are said in words, with a way to try again, before the form and after it."""
    site.language = "en"
    site.embed(form.tag)
    with open_page(browser, "about:blank", site.origin, site.api_url) as window:
        page = window.page
        page.route("**/offer*", lambda route: route.abort())
        page.goto(f"{site.origin}/")
        expect(page.get_by_role("alert")).to_contain_text("does not work right now")
        window.is_accessible()
        page.unroute("**/offer*")
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("heading", name="Messages from Sandbox GmbH")).to_be_focused()
        window.tick_all()
        page.route("**/signups", lambda route: route.fulfill(status=429, json={"word": "busy"}))
        window.send()
        expect(page.get_by_role("alert")).to_contain_text("Too many attempts")
        page.unroute("**/signups")
        page.route("**/signups", lambda route: route.fulfill(status=503, body="<h1>away</h1>"))
        window.send()
        expect(page.get_by_role("alert")).to_contain_text("does not work right now")
        assert page.locator("input:checked").count() == 2, "what was ticked is lost"
        page.unroute("**/signups")
        window.send()
        window.sees("a[href*='wa.me']")
        window.forgive("Failed to load resource")


def test_a_form_that_changed_meanwhile_is_read_again(
    browser: Browser, site: EmbeddingSite, form: SignUpForm
) -> None:
    """What was ticked was about other words: it is shown anew, unticked, and says so."""
    site.language = "de"
    site.embed(form.tag)
    with open_page(browser, f"{site.origin}/", site.api_url) as window:
        window.tick_all()

        def with_another_notice(route: Route) -> None:
            body = (route.request.post_data or "").replace("privacy/1/de", "privacy/0/de")
            route.continue_(post_data=body)

        window.page.route("**/signups", with_another_notice)
        window.send()
        expect(window.page.get_by_role("alert")).to_contain_text("hat sich geändert")
        assert window.page.locator("input:checked").count() == 0
        window.page.unroute("**/signups")
        window.sign_up()
        window.forgive("Failed to load resource")
