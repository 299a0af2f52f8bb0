"""The sign-up widget in a real browser, embedded by a page of another origin under a strict policy, on a running instance."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Route, expect

from schemas.clock import now_ms, to_ms
from tests.acceptance_instance import RunningInstance, until
from tests.embedding_page import DESKTOP, PHONE, EmbeddingSite, open_page

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
    for language in ("de", "en"):
        body = {"kind": "text", "reference": f"signup/1/{language}"}
        answer = instance.api("POST", "/v1/wordings/approval", "officer", body)
        assert answer.status in (200, 404), answer  # 404: another module of this session has approved it
    site = EmbeddingSite(instance.ready["api_url"])
    yield site
    site.close()


@pytest.fixture(scope="module")
def form(instance: RunningInstance, site: EmbeddingSite) -> str:
    """A form that the site may embed, as the script tag names it."""
    return make_form(instance, [site.origin])


def make_form(instance: RunningInstance, origins: list[str], **more: Any) -> str:
    """A new form of the sandbox: `TENANT/FORM`."""
    body = {"purposes": ["newsletter"], "origins": origins, **more}
    answer = instance.api("POST", "/v1/forms", "officer", body)
    assert answer.status == 201, answer
    return f"{instance.ready['tenant']}/{answer.body['form']}"


def draft_of(link: str) -> str:
    """What the chat shows ready to be sent."""
    return parse_qs(urlsplit(link).query)["text"][0]


def signed_up(browser: Browser, site: EmbeddingSite, form: str) -> str:
    """Tick everything in the widget; the draft of the link."""
    site.language = "de"
    site.embed(form)
    with open_page(browser, f"{site.origin}/", site.api_url) as window:
        return draft_of(window.sign_up())


@pytest.mark.parametrize("seen", SEEN)
def test_the_widget_is_seen_used_and_heard_on_phone_and_desktop(
    browser: Browser, site: EmbeddingSite, form: str, seen: str
) -> None:
    """Every state passes axe under the strict policy; nothing is kept, and nobody else is asked."""
    language, scheme, device = SEEN[seen]
    site.language = language
    site.embed(form)
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
    instance: RunningInstance, browser: Browser, site: EmbeddingSite, form: str
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
        assert (item["entry_point"], item["form"]) == ("form", form.partition("/")[2])
        assert item["text"]["wording"].startswith(
            "Ich möchte Nachrichten zum Thema „Newsletter“ von Sandbox GmbH"
        )
        assert len(item["text_hash"]) == 64
        assert item["notice"] == {"reference": "privacy/1/de", "url": "https://sandbox.example/datenschutz"}
        assert item["purpose"] == "newsletter"
        assert draft in str(item["evidence"]), "the proof holds no word of the person"
    assert given["method"] == "first_message"
    welcome = instance.phone(number)[0]["body"]
    assert welcome.count("https://sandbox.example/datenschutz") == 1
    accepted = instance.send(number, "Birnen sind da", "newsletter")
    instance.item(subject, accepted.body["message_id"], {"sent", "delivered", "read"})
    assert [message["body"] for message in instance.phone(number)] == [welcome, "Birnen sind da"]


def test_a_double_click_signs_up_once(browser: Browser, site: EmbeddingSite, form: str) -> None:
    """While an answer is awaited the button does nothing more, and a screen reader is told to wait."""
    site.language = "en"
    site.embed(form)
    with open_page(browser, f"{site.origin}/", site.api_url) as window:
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        window.page.route("**/signups", hold)
        window.tick_all()
        window.send()
        window.send()
        window.page.keyboard.press("Enter")
        expect(window.page.get_by_role("status")).to_have_text("One moment …")
        assert len(held) == 1
        held[0].continue_()
        window.sees("a[href*='wa.me']")
        assert len([asked for asked in window.requests if asked.startswith("POST")]) == 1
