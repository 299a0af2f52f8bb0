"""Ten thousand events and more: the page stays usable, its memory bounded, and what it does not show it counts."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson
from playwright.sync_api import Browser, CDPSession, expect

from tests.acceptance_instance import RunningInstance, until
from tests.acceptance_quiet import behind, log_ends
from tests.sandbox_page import SandboxPage, open_sandbox

PEOPLE = 1_500
"""Strangers who write twice each: seven events for each of them, ten thousand together."""
EVENTS = 10_000
TIMES_USED = 3
SENDERS = 8
LINES_MAX = 300
BURST = 30_000
FROZEN_MS = 60_000
"""A page on which one click takes so long is frozen; the machine is busy with the flood itself."""
STILL_MS = 1_500
"""Nothing new for so long, in the log and on the page: longer than a step takes."""


def test_ten_thousand_events_do_not_freeze_the_page(instance: RunningInstance, browser: Browser) -> None:
    """Real events through the whole installation, while the page is used."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        page = sandbox.page
        measured = page.context.new_cdp_session(page)
        measured.send("Performance.enable")
        begun = _seen_all(sandbox, instance)
        with ThreadPoolExecutor(SENDERS) as pool:
            numbers = [instance.new_number() for _ in range(PEOPLE)]
            written = [pool.submit(_writes_twice, instance, number) for number in numbers]
            until("the list is full", lambda: sandbox.counts()["left"] > LINES_MAX, 600)
            early = _memory(measured)
            used, seen = 0, sandbox.counts()["seen"]
            page.set_default_timeout(FROZEN_MS)
            while not all(one.done() for one in written):
                used += 1
                _use(sandbox, used)
            for one in written:
                one.result()
        assert used >= TIMES_USED, "the flood was over before the page was used"
        assert sandbox.counts()["seen"] > seen, "nothing landed while the page was used"
        ended = _seen_all(sandbox, instance)
        late, counts = _memory(measured), sandbox.counts()
        assert ended.landed - begun.landed >= EVENTS
        assert ended.seen - begun.seen == ended.landed - begun.landed
        assert sum(counts.values()) == 2 * counts["seen"], "an event is in no count, or in two"
        assert page.locator(".events li").count() <= LINES_MAX
        assert late["Nodes"] <= 1.5 * early["Nodes"]
        assert late["JSHeapUsedSize"] <= 1.5 * early["JSHeapUsedSize"]


def _writes_twice(instance: RunningInstance, number: str) -> None:
    for text in ("Hello", "Is anybody there?"):
        instance.write(number, text)


def _use(sandbox: SandboxPage, turn: int) -> None:
    """Type, switch the language, hold the log and let it go."""
    sandbox.page.fill("#write-text", f"typed in turn {turn}")
    sandbox.page.click(f"[data-language={('de', 'en')[turn % 2]}]")
    sandbox.page.click("#log-pause")
    expect(sandbox.page.locator("#log-pause")).to_have_attribute("aria-pressed", "true")
    sandbox.page.click("#log-pause")


class Reached(NamedTuple):
    """How many records the log holds, and how many the page has seen, when both stand still."""

    landed: int
    seen: int


def _seen_all(sandbox: SandboxPage, instance: RunningInstance) -> Reached:
    def look() -> Reached | None:
        if behind(instance, log_ends(instance.ready["kafka"])):
            sandbox.page.wait_for_timeout(STILL_MS / 10)  # lets the page go on meanwhile
            return None
        before = Reached(sum(log_ends(instance.ready["kafka"]).values()), sandbox.counts()["seen"])
        sandbox.page.wait_for_timeout(STILL_MS)
        after = Reached(sum(log_ends(instance.ready["kafka"]).values()), sandbox.counts()["seen"])
        return after if before == after else None

    found = until("log and page stand still", look, 600)
    assert found is not None
    return found


def _memory(session: CDPSession) -> dict[str, float]:
    """What is alive after a collection of garbage: bytes of the heap, nodes of the document."""
    session.send("HeapProfiler.collectGarbage")
    found: dict[str, Any] = session.send("Performance.getMetrics")
    return {one["name"]: one["value"] for one in found["metrics"]}


def test_a_burst_is_passed_over_visibly(instance: RunningInstance, browser: Browser) -> None:
    """Thirty thousand at once, more than can be shown: a line in the log says how many were passed over, and the sum is right."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        page = sandbox.page
        events = b"".join(b"data: " + orjson.dumps(_event(number)) + b"\n\n" for number in range(BURST))
        served: list[str] = []

        def answer(route: Any) -> None:
            served.append(route.request.url)
            route.fulfill(
                content_type="text/event-stream", body=events if len(served) == 1 else b": nothing more\n\n"
            )

        page.route("**/as/admin/v1/events**", answer)
        page.reload()
        sandbox.sees("body[data-ready]", 1)
        until("all are seen", lambda: sandbox.counts()["seen"] == BURST)
        until("none waits", lambda: sandbox.counts()["waiting"] == 0)
        counts = sandbox.counts()
        told = page.locator(".events .mark").evaluate_all(
            "(marks) => marks.map((mark) => Number(mark.dataset.count))"
        )
        assert told
        assert sum(told) <= counts["skipped"]
        assert counts["shown"] + counts["left"] + counts["skipped"] == BURST
        assert page.locator(".events li").count() <= LINES_MAX
        newest = page.locator(".events [data-offset]").last.get_attribute("data-offset")
        assert newest == f"sealpost.messages/0:{BURST - 1}"


def test_whoever_holds_the_list_loses_no_count(instance: RunningInstance, browser: Browser) -> None:
    """Paused, events wait; going on shows them."""
    with open_sandbox(browser, instance.ready["sandbox_url"]) as sandbox:
        _seen_all(sandbox, instance)
        sandbox.page.click("#log-pause")
        lines = sandbox.page.locator(".events li").count()
        instance.sign_up(instance.new_number())
        until("some wait", lambda: sandbox.counts()["waiting"] > 5)
        assert sandbox.page.locator(".events li").count() == lines
        expect(sandbox.page.locator("#log-state")).to_contain_text("Paused")
        sandbox.page.click("#log-pause")
        until("none waits", lambda: sandbox.counts()["waiting"] == 0)


def _event(number: int) -> dict[str, Any]:
    return {
        "topic": "sealpost.messages",
        "partition": 0,
        "offset": number,
        "at": "2026-11-25T12:00:00.000Z",
        "type": "message.received.v1",
        "tenant": "sandbox",
        "subject": f"{number:032x}",
        "id": f"{number:032x}",
        "channel": "whatsapp",
        "data": {"kind": "text"},
        "sealed": [{"class": "content", "bytes": 128, "gen": "1"}],
    }
