"""The sandbox page when something goes wrong: late answers, cut answers, parts that are gone, windows that are small or many."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.acceptance_instance import RunningInstance, until
from tests.sandbox_page import SandboxPage, open_sandbox

START, YES = 0, 1
SECRET = "Quittengelee"
OPENED = "**/as/agent/v1/events**"


def _until(sandbox: SandboxPage, look: Callable[[], bool]) -> None:
    """Wait while the browser goes on: its events reach a test only while the test is in one of its calls."""

    def turn() -> bool:
        sandbox.page.wait_for_timeout(50)
        return look()

    until("a request of the page", turn)


def test_words_never_come_back_after_an_erasure(instance: RunningInstance, browser: Browser) -> None:
    """An answer that was on its way while the keys were destroyed arrives after it: the bars stay closed."""
    held: list[tuple[Route, str]] = []
    over: list[bool] = []
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        page = sandbox.page
        sandbox.write(f"{SECRET}, please")
        sandbox.sees(".messages .theirs", 1)

        def hold(route: Route) -> None:
            if over:
                route.continue_()
            else:
                held.append((route, route.fetch().text()))

        page.route(OPENED, hold)
        page.click("#log-open")
        _until(sandbox, lambda: any(SECRET in text for _, text in held))
        sandbox.erase()
        over.append(True)
        for route, text in held:
            route.fulfill(content_type="text/event-stream", body=text)
        sandbox.write("Hello again")
        expect(page.locator(".events .bar.open").first).to_be_visible()
        assert page.locator(".events .words", has_text=SECRET).count() == 0
        assert page.locator(".events .bar.destroyed.open").count() == 0


def test_opening_and_phone_go_on_after_answers_that_were_cut(
    instance: RunningInstance, browser: Browser
) -> None:
    """Half an answer, no answer: the next look is not the last."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        page = sandbox.page
        for pattern in (OPENED, "**/control/messages**", "**/subjects/lookup"):
            page.route(pattern, lambda route: route.abort(), times=2)
        page.click("#log-open")
        sandbox.quick(START)
        sandbox.arrived(1)
        expect(page.locator(".events .bar.open").first).to_be_visible()
        expect(page.locator("#open-problem")).to_be_empty()
        sandbox.forgive_cuts()


def test_what_is_sent_twice_arrives_once(instance: RunningInstance, browser: Browser) -> None:
    """A double click; and what is typed while an answer is awaited stays."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        page = sandbox.page
        sandbox.write("Hello")
        sandbox.sees(".messages .theirs", 1)
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/as/producer/v1/messages", hold)
        page.fill("#send-text", "only once")
        page.dblclick("#send button[type=submit]")
        _until(sandbox, lambda: bool(held))
        page.fill("#send-text", "the next one")
        for route in held:
            route.continue_()
        assert sandbox.arrived(1) == "only once"
        expect(page.locator("#send-text")).to_have_value("the next one")
        sandbox.sees(".messages .mine", 1)
        assert len(held) == 1


def test_a_message_that_is_lost_is_marked(instance: RunningInstance, browser: Browser) -> None:
    """The simulator is away: the page says so, marks what did not arrive, and goes on when it is back, with nothing missing."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        sandbox.quick(START)
        sandbox.arrived(1)
        os.kill(instance.process.pid, signal.SIGSTOP)  # nobody starts it anew before it is missed
        try:
            os.kill(instance.ready["services"]["simulator"], signal.SIGKILL)
            sandbox.write("into the void")
            expect(sandbox.page.locator(".chat .lost p")).to_have_text("into the void")
            expect(sandbox.page.locator("#write-problem")).to_contain_text("does not answer now")
        finally:
            os.kill(instance.process.pid, signal.SIGCONT)
        expect(sandbox.page.locator("#write-problem")).to_be_empty()
        sandbox.quick(YES)
        sandbox.arrived(2)
        sandbox.forgive_cuts()


def test_a_page_that_cannot_begin_says_why_and_tries_again(
    instance: RunningInstance, browser: Browser
) -> None:
    """No answer at first; and without the key, words instead of an empty page."""
    address = instance.ready["sandbox_url"]
    with open_sandbox(browser, address) as sandbox:
        page = sandbox.page
        page.route("**/about", lambda route: route.abort())
        page.reload()
        sandbox.sees("#log-state[data-state=away]", 1)
        page.unroute("**/about")
        sandbox.sees("body[data-ready]", 1)
        sandbox.forgive_cuts()
        page.evaluate("sessionStorage.clear()")
        page.reload()
        sandbox.sees("#log-state[data-state=locked]", 1)
        expect(page.locator("#log-state")).to_contain_text("sandbox_url")
        sandbox.forgive_cuts()


def test_one_window_too_many_says_so(instance: RunningInstance, browser: Browser) -> None:
    """It waits for its turn, and gets it when another one is closed."""
    with ExitStack() as windows:
        url = instance.ready["sandbox_url"]
        held = [windows.enter_context(open_sandbox(browser, url)) for _ in range(3)]
        for one in held:
            one.sees("#log-state[data-state=live]", 1)
        late = windows.enter_context(open_sandbox(browser, url))
        late.sees("#log-state[data-state=crowded]", 1)
        held[0].page.close()
        late.sees("#log-state[data-state=live]", 1)
        late.forgive_cuts()


@pytest.mark.parametrize(
    ("width", "height", "text_px"),
    [(1440, 900, 15), (1366, 650, 15), (1280, 720, 15), (1440, 900, 30), (720, 450, 15), (320, 640, 15)],
)
def test_no_control_lies_under_another(
    instance: RunningInstance, browser: Browser, width: int, height: int, text_px: int
) -> None:
    """Five persons, small windows, text twice the size: whoever presses Send does not press Erase; nothing leaves the window."""
    with open_sandbox(
        browser, instance.ready["sandbox_url"], viewport={"width": width, "height": height}
    ) as sandbox:
        page = sandbox.page
        for _ in range(4):
            page.click("#add-person")
        page.evaluate("(size) => { document.documentElement.style.fontSize = size + 'px'; }", text_px)
        covered = page.evaluate(
            """() => [...document.querySelectorAll("main button, main textarea, main input")].filter((one) => {
                one.scrollIntoView({ block: "center" });
                const box = one.getBoundingClientRect();
                const hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
                return hit === null || !(one === hit || one.contains(hit));
            }).map((one) => one.outerHTML)"""
        )
        assert covered == []
        assert (
            page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        )


def test_a_feed_that_is_cut_off_while_catching_up_loses_nothing(
    instance: RunningInstance, browser: Browser
) -> None:
    """Partitions come one after another: what has been seen of one says nothing of the next. Cut after a tenth, all are seen in
    the end, each once."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        page = sandbox.page
        for _ in range(4):
            instance.left_after_a_newsletter(instance.new_number())
        sandbox.sees("#log-state[data-state=live]", 1)
        _until(sandbox, lambda: sandbox.counts()["seen"] > 100)
        whole = sandbox.counts()["seen"]
        cut: list[int] = []

        def a_tenth(route: Route) -> None:
            body = route.fetch(url=route.request.url + "&follow=false").text()
            blocks = body.split("\n\n")
            cut.append(len(blocks) // 10)
            route.fulfill(content_type="text/event-stream", body="\n\n".join(blocks[: cut[0]]) + "\n\n")

        page.route("**/as/admin/v1/events**", a_tenth, times=1)
        page.reload()
        sandbox.sees("#log-state[data-state=live]", 1)
        assert cut
        _until(sandbox, lambda: sandbox.counts()["seen"] >= whole)
        offsets = page.locator(".events [data-offset]").evaluate_all(
            "(lines) => lines.map((line) => line.dataset.offset)"
        )
        assert len(offsets) == len(set(offsets))
