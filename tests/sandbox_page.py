"""The sandbox page in a real browser: what a reader sees and does, and what must never happen meanwhile."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 90_000
PICTURES = Path(os.environ.get("SEALPOST_PICTURES", ".artefacts"))
"""Where screenshots go: artefacts of the run, or with `make pictures` the README's."""


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Debian's Chromium, or what else of its kind is installed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, (
        "the sandbox page is tested in a real browser and none is installed: apt-get install chromium"
    )
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own sandbox does not run as root
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@dataclass
class SandboxPage:
    """One open page, and everything that it wrote to the console or asked of anybody else."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(WAIT_MS)
        self.page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        asked = urlsplit(url)
        if f"{asked.scheme}://{asked.netloc}" != self.origin:
            self.complaints.append(f"asked of somebody else: {url}")

    def quick(self, place: int) -> None:
        """Press a quick button: START, JA, NEIN, STOP in the page's language."""
        self.page.locator(".quick button").nth(place).click()

    def write(self, text: str) -> None:
        """Type on the phone, and send."""
        self.page.fill("#write-text", text)
        self.page.click("#write button[type=submit]")

    def send(self, purpose: str, text: str) -> None:
        """Write as the business."""
        self.page.check(f"input[name=purpose][value={purpose}]")
        self.page.fill("#send-text", text)
        self.page.click("#send button[type=submit]")

    def erase(self) -> None:
        """Erase whoever is chosen, up to the certificate."""
        self.page.click("#erase")
        self.page.click("#sure-yes")
        self.sees("[data-step=certificate]", 1)

    def sees(self, selector: str, count: int) -> Locator:
        """Wait until so many are there."""
        found = self.page.locator(selector)
        expect(found).to_have_count(count, timeout=WAIT_MS)
        return found

    def arrived(self, count: int) -> str:
        """Wait until so many messages are on the phone; the last one's text."""
        return self.sees(".chat .theirs", count).last.locator("p").inner_text()

    def counts(self) -> dict[str, int]:
        """How many events the log column has seen, shows, holds back, has let out of its list, and has passed over."""
        found: dict[str, str] = self.page.locator("#log-counts").evaluate(
            "(element) => ({...element.dataset})"
        )
        return {name: int(found[name]) for name in ("seen", "shown", "waiting", "left", "skipped")}

    def is_accessible(self) -> None:
        """Axe has nothing to say: https://github.com/dequelabs/axe-core."""
        found = Axe().run(self.page)
        assert not found.violations_count, found.generate_report()

    def forgive_cuts(self) -> None:
        """The browser says in its console that it was cut off, where a test has done that; and nothing else was complained of."""
        cut = ("Failed to load resource", "net::ERR")
        others = [said for said in self.complaints if not any(words in said for words in cut)]
        assert not others, others
        self.complaints.clear()

    def picture(self, name: str) -> None:
        """Keep what is seen now."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


@contextmanager
def open_sandbox(browser: Browser, url: str, **context: Any) -> Iterator[SandboxPage]:
    """The page of a running instance in a window of its own; nothing may have been complained of at the end."""
    asked = urlsplit(url)
    window = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1440, "height": 900}, **context})
    try:
        sandbox = SandboxPage(window.new_page(), f"{asked.scheme}://{asked.netloc}")
        sandbox.page.goto(url)
        sandbox.sees("body[data-ready]", 1)
        assert sandbox.page.url == f"{sandbox.origin}/", "the key stays in the address line"
        yield sandbox
        assert not sandbox.complaints, sandbox.complaints
    finally:
        window.close()
