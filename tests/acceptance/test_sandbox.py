"""The sandbox page in a real browser: the whole story in both languages, by keys alone, whatever is typed, whatever dies."""

import os
import re
import signal
from typing import get_args

import pytest
from playwright.sync_api import Browser, expect

from schemas.problems import PROBLEMS
from schemas.reasons import FailureClass, RefusalReason
from tests.acceptance_instance import RunningInstance
from tests.sandbox_page import SandboxPage, open_sandbox

STRANGE = (
    "<img src=x onerror=\"document.title='harmed'\"><script>document.title='harmed'</script>",
    "👩‍👩‍👧‍👦🏳️‍🌈 emoji · \u202egnol eht tfel ot thgir\u202c · שלום עולם · مرحبا بالعالم",
    "&lt;b&gt; ${1+1} {{7*7}} %00 \\u0000 ' \" ` -- ; DROP TABLE",
    "javascript:alert(1) data:text/html,<script>alert(1)</script>",
    "ä" * 4_990 + "the end…",
)
STORY = {
    "de-DE": (
        "light",
        ("Datenschutzhinweise", "bestätigt", "abgemeldet"),
        "Die Einwilligung ist widerrufen.",
    ),
    "en-GB": ("dark", ("privacy notice", "confirmed", "unsubscribed"), "The consent is withdrawn."),
}
TALK = {
    "de-DE": ("Habt ihr Birnen?", "Ja, heute frisch.", "Neu: Williams Christ.", "Noch mehr Birnen."),
    "en-GB": ("Do you have pears?", "Yes, fresh today.", "New: Williams pears.", "Even more pears."),
}
START, YES, STOP = 0, 1, 3


@pytest.mark.parametrize("locale", STORY)
def test_the_whole_story_is_walked(instance: RunningInstance, browser: Browser, locale: str) -> None:
    """Sign-up, chat, newsletter, withdrawal, refusal, erasure: the bars stay, the words go. Seen by axe in every state."""
    scheme, (question, welcome, goodbye), why = STORY[locale]
    asked, answer, news, more_news = TALK[locale]
    with open_sandbox(browser, instance.ready["sandbox_url"], locale=locale, color_scheme=scheme) as sandbox:
        page = sandbox.page
        assert page.locator("html").get_attribute("lang") == locale[:2]
        sandbox.is_accessible()
        sandbox.quick(START)
        assert question in sandbox.arrived(1)
        sandbox.quick(YES)
        assert welcome in sandbox.arrived(2)
        sandbox.sees("#standing-newsletter[data-state=active]", 1)
        sandbox.write(asked)
        sandbox.send("service", answer)
        assert sandbox.arrived(3) == answer
        sandbox.send("newsletter", news)
        sandbox.arrived(4)
        _opens(sandbox)
        sandbox.quick(STOP)
        assert goodbye in sandbox.arrived(5)
        sandbox.send("newsletter", more_news)
        refused = sandbox.sees(".messages [data-status=rejected]", 1)
        expect(refused.locator(".reason")).to_have_text(f"{why} consent_withdrawn")
        for picture in ("light", "dark"):
            page.emulate_media(color_scheme=picture)
            sandbox.is_accessible()
            sandbox.picture(f"sandbox-{locale[:2]}-{picture}")
        _erased(sandbox)
        sandbox.is_accessible()
        sandbox.picture(f"erased-{locale[:2]}-dark")
        assert page.locator(".chat .theirs").count() == 5, "a newsletter reached the phone after STOP"


def _opens(sandbox: SandboxPage) -> None:
    """Sealed blocks are bars; read as agent they have words beside them."""
    consent = sandbox.page.locator(".events [data-type='consent.given.v1'][data-place]")
    expect(consent.locator(".bar .size")).to_have_text(re.compile(r"\d+ B evidence"))
    expect(consent.locator(".words")).to_have_text("")
    sandbox.page.click("#log-open")
    expect(consent.locator(".words")).to_have_text(re.compile("JA|YES"))
    expect(sandbox.page.locator(".events .words", has_text="Williams").first).to_be_visible()


def _erased(sandbox: SandboxPage) -> None:
    bars = sandbox.page.locator(".events [data-place] .bar")
    before = bars.count()
    sandbox.erase()
    steps = [one.get_attribute("data-step") for one in sandbox.page.locator(".steps li").all()]
    assert {"t0", "t1", "t2", "t3", "certificate"} <= set(steps)
    assert {"receipt vault", "receipt projections.v1", "receipt streams.subscriber"} <= set(steps)
    assert steps[:2] == ["t0", "t1"]
    assert bars.count() >= before, "a bar went away"
    expect(sandbox.page.locator(".events .bar.open")).to_have_count(0)
    expect(sandbox.page.locator(".events .words", has_text="Williams")).to_have_count(0)
    assert sandbox.page.locator(".events .bar.destroyed").count() > 5
    expect(sandbox.page.locator(".messages li")).to_have_class("empty")
    expect(sandbox.page.locator("#erase")).to_have_attribute("aria-disabled", "true")


def test_whoever_never_wrote_is_not_written_to(instance: RunningInstance, browser: Browser) -> None:
    """A refusal before anything is sent, with its reason, in the language that is spoken then."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        sandbox.send("service", "Hello?")
        expect(sandbox.page.locator("#send-problem")).to_contain_text("who did not write first")
        sandbox.quick(START)
        sandbox.arrived(1)
        sandbox.send("newsletter", "Pears!")
        refused = sandbox.sees(".messages [data-status=rejected]", 1)
        expect(refused.locator("code")).to_have_text("no_consent")
        sandbox.page.click("[data-language=de]")
        expect(refused.locator(".reason")).to_contain_text("nie zugestimmt")
        expect(sandbox.page.locator("h1")).to_have_text("Sealpost zum Ausprobieren")


def test_two_persons_have_two_phones(instance: RunningInstance, browser: Browser) -> None:
    """What one gets the other does not; one is erased, the other stays."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        page = sandbox.page
        sandbox.quick(START)
        sandbox.arrived(1)
        page.click("#add-person")
        expect(page.locator(".chat .theirs")).to_have_count(0)
        sandbox.write("Guten Tag")
        sandbox.sees(".messages .theirs", 1)
        sandbox.send("service", "for the second")
        assert sandbox.arrived(1) == "for the second"
        sandbox.erase()
        page.locator(".persons button").first.click()
        sandbox.arrived(1)
        expect(page.locator("#erase")).to_have_attribute("aria-disabled", "false")
        expect(page.locator(".steps li")).to_have_count(0)
        assert "for the second" not in page.locator(".chat").inner_text()


def test_strange_text_is_shown_as_text(instance: RunningInstance, browser: Browser) -> None:
    """Markup, emoji, right-to-left, 5,000 characters: on the phone, in the log, at the business; nothing of it is obeyed."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        page = sandbox.page
        title = page.title()
        page.click("#log-open")
        for count, text in enumerate(STRANGE, start=1):
            sandbox.write(text)
            assert (
                sandbox.sees(".chat .mine", count).last.locator("p").evaluate("(p) => p.textContent") == text
            )
            seen = sandbox.sees(".messages .theirs", count).last.locator(".text")
            assert seen.evaluate("(p) => p.textContent") == text
        for count, text in enumerate(STRANGE[:-1], start=1):
            sandbox.send("service", text)
            assert (
                sandbox.sees(".chat .theirs", count).last.locator("p").evaluate("(p) => p.textContent")
                == text
            )
        sandbox.send("service", STRANGE[-1] * 10)
        expect(page.locator("#send-problem")).to_contain_text("/content")
        expect(page.locator(".events .words", has_text="onerror").first).to_be_visible()
        assert page.title() == title
        assert page.locator("img:not([src='/icon.svg'])").count() == 0
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert width == 0, "a long text pushes the page out of the window"
        sandbox.is_accessible()


def test_keys_alone_walk_the_story(instance: RunningInstance, browser: Browser) -> None:
    """No pointer, a narrow window: every control is reached by Tab, shows that it has the focus, and keeps it when pressed."""
    with open_sandbox(
        browser, instance.ready["sandbox_url"], viewport={"width": 390, "height": 800}
    ) as sandbox:
        page = sandbox.page
        sandbox.is_accessible()
        assert _reached_by_tab(sandbox) == page.evaluate(CONTROLS)
        _tab_to(sandbox, ".quick button")
        page.keyboard.press("Enter")
        sandbox.arrived(1)
        _tab_to(sandbox, "#write-text")
        page.keyboard.type("YES")
        page.keyboard.press("Enter")
        sandbox.arrived(2)
        sandbox.sees("#standing-newsletter[data-state=active]", 1)
        _tab_to(sandbox, "input[name=purpose]")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Tab")
        page.keyboard.type("by keys")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert sandbox.arrived(3) == "by keys"
        _tab_to(sandbox, "#erase")
        page.keyboard.press("Space")
        sandbox.is_accessible()
        expect(page.locator("#sure-no")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#sure")).not_to_be_visible()
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        sandbox.sees("[data-step=certificate]", 1)
        expect(page.locator("#erase")).to_be_focused()


CONTROLS = """[...document.querySelectorAll("a[href], button, textarea, input:checked, [tabindex='0']")]
    .filter((one) => one.checkVisibility()).length"""


def _reached_by_tab(sandbox: SandboxPage) -> int:
    """Once round: how many different elements got the focus, each with the page's own frame around it."""
    found = sandbox.page.evaluate_handle("() => new Set()")
    for _ in range(80):
        sandbox.page.keyboard.press("Tab")
        shown = sandbox.page.evaluate(
            """(found) => {
                const one = document.activeElement;
                if (one === document.body) return "body";
                found.add(one);
                return getComputedStyle(one).outlineWidth + " " + getComputedStyle(one).outlineStyle;
            }""",
            found,
        )
        assert shown in ("3px solid", "body"), "an element does not show that it has the focus"
    return int(sandbox.page.evaluate("(found) => found.size", found))


def _tab_to(sandbox: SandboxPage, selector: str) -> None:
    for _ in range(80):
        sandbox.page.keyboard.press("Tab")
        if sandbox.page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def test_the_page_outlives_its_parts(instance: RunningInstance, browser: Browser) -> None:
    """The API and the page's server killed with -9: the page says so, and the log goes on where it broke off, nothing twice."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        sandbox.quick(START)
        sandbox.arrived(1)
        for name in ("api", "sandbox"):
            ready = instance.ready
            pid = ready["roles"][name]["pid"] if name in ready["roles"] else ready["services"][name]
            os.kill(pid, signal.SIGKILL)
            sandbox.sees("#log-state[data-state=away]", 1)
            number = instance.new_number()
            instance.write(number, "meanwhile")
            sandbox.sees("#log-state[data-state=live]", 1)
            subject = instance.subject_of(number)
            sandbox.sees(f".events [data-subject='{subject}'][data-type='message.received.v1']", 1)
        sandbox.quick(YES)
        sandbox.arrived(2)
        lines = sandbox.page.locator(".events [data-offset]")
        offsets = lines.evaluate_all("(lines) => lines.map((line) => line.dataset.offset)")
        assert len(offsets) == len(set(offsets)), "an event is shown twice"
        sandbox.forgive_cuts()


def test_every_code_has_words_in_both_languages(instance: RunningInstance, browser: Browser) -> None:
    """The page's two languages have the same keys and fillings, and words for every reason and problem there is."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        words = sandbox.page.evaluate("async () => (await import('/words.js')).WORDS")
    german, english = words["de"], words["en"]
    assert set(german) == set(english)
    filled = re.compile(r"\{\w+\}")
    assert all(sorted(filled.findall(german[key])) == sorted(filled.findall(english[key])) for key in german)
    codes = [f"reason.{code}" for code in (*get_args(RefusalReason), *get_args(FailureClass))]
    codes += [f"problem.{code}" for code in PROBLEMS]
    assert not [code for code in codes if code not in german]
