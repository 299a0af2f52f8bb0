"""A business's own page that embeds the widget: served from another origin, under the strictest policy a widget can live with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.sandbox_page import PICTURES, WAIT_MS

HOST = "127.0.0.1"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}


class EmbeddingSite:
    """Serves one page whose body is `body`; `origin` is what a form must allow. It sees every request made to it."""

    def __init__(self, api_url: str) -> None:
        self.api_url, self.language, self.body = api_url, "de", ""
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                found = self.path == "/"
                page = site.page().encode() if found else b""
                self.send_response(200 if found else 204)
                for name, value in site.headers().items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: Any) -> None:
                """Nothing is logged."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.origin = f"http://{HOST}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="embedding site", daemon=True)
        self._thread.start()

    def headers(self) -> dict[str, str]:
        """The policy: scripts and calls to Sealpost alone, no style at all, no markup out of text."""
        policy = (
            f"default-src 'none'; script-src {self.api_url}; connect-src {self.api_url}; style-src 'none';"
            " base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
        )
        return {"Content-Security-Policy": policy, "Content-Type": "text/html; charset=utf-8"}

    def page(self) -> str:
        """The page as it is now."""
        title = "Obsthof" if self.language == "de" else "Orchard"
        return (
            f'<!doctype html><html lang="{self.language}"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1"></head>'
            f"<body><main><h1>{title}</h1>{self.body}</main></body></html>"
        )

    def embed(self, *forms: str, **data: str) -> None:
        """Put a script tag for each form (`TENANT/FORM`) into the page; `data` are further `data-` attributes."""
        more = "".join(f' data-{name}="{value}"' for name, value in data.items())
        source = f"{self.api_url}/optin/assets/widget.js"
        self.body = "".join(
            f'<script src="{source}" data-form="{form}"{more} async></script>' for form in forms
        )

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@dataclass
class EmbeddingPage:
    """The page in a window, and everything that it wrote to the console or asked of whom it may not."""

    page: Page
    allowed: frozenset[str]
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(WAIT_MS)
        self.page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.method, request.url))

    def _asked(self, method: str, url: str) -> None:
        asked = urlsplit(url)
        self.requests.append(f"{method} {asked.path}")
        if f"{asked.scheme}://{asked.netloc}" not in self.allowed:
            self.complaints.append(f"asked of somebody else: {url}")

    def sees(self, selector: str, count: int = 1) -> Locator:
        """Wait until so many are there; shadow trees are looked into."""
        found = self.page.locator(selector)
        expect(found).to_have_count(count, timeout=WAIT_MS)
        return found

    def tick_all(self) -> None:
        """Tick every box of the page."""
        self.sees("input[type=checkbox]", 2)
        for box in self.page.locator("input[type=checkbox]").all():
            box.check()

    def send(self) -> None:
        """Press the form's button."""
        self.page.locator("button[type=submit]").click()

    def sign_up(self) -> str:
        """Tick all, send; the first link into the chat."""
        self.tick_all()
        self.send()
        return self.sees("a[href*='wa.me']").get_attribute("href") or ""

    def is_accessible(self) -> None:
        """Axe has nothing to say."""
        found = Axe().run(self.page)
        assert not found.violations_count, found.generate_report()

    def keeps_nothing(self) -> None:
        """No cookie of anybody, nothing in any storage of the page."""
        assert self.page.context.cookies() == []
        assert self.page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]

    def forgive(self, *words: str) -> None:
        """These complaints were expected, each at least once, and nothing else was complained of."""
        others = [said for said in self.complaints if not any(word in said for word in words)]
        assert not others, others
        missing = [word for word in words if not any(word in said for said in self.complaints)]
        assert not missing, f"not complained of: {missing}"
        self.complaints.clear()

    def picture(self, name: str) -> None:
        """Keep what is seen now, the whole page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", animations="disabled", full_page=True)


@contextmanager
def open_page(browser: Browser, url: str, *allowed: str, **context: Any) -> Iterator[EmbeddingPage]:
    """A page in a window of its own; nothing may have been complained of at the end. `allowed`: further origins it may ask."""
    asked = urlsplit(url)
    window = browser.new_context(**{"locale": "de-DE", **DESKTOP, **context})
    try:
        opened = EmbeddingPage(window.new_page(), frozenset((f"{asked.scheme}://{asked.netloc}", *allowed)))
        opened.page.goto(url)
        yield opened
        assert not opened.complaints, opened.complaints
    finally:
        window.close()
