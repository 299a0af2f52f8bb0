"""The pages as HTML: values in, text out. Every value is escaped; nothing is loaded but the one style sheet beside them."""

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from schemas.clock import to_ms
from schemas.settings import Notice
from workers.channel import Channel
from workers.optin.offers import Offer
from workers.optin.signing_up import ChatLink
from workers.optin.words import words_for

FOLDER = Path(__file__).parent
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    # Not `no-referrer`: browsers then send a page's own form with the origin `null`, as another site's would be.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every page. No cookie, no script, nothing from elsewhere; `no-store`, for some hold keys in their address."""
_TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


def channel_title(channel: Channel) -> str:
    """What people call a channel."""
    return channel.capabilities.title or channel.name.capitalize()


def shown_day(at: str, language: str) -> str:
    """A time of an event as a day that people read: `25.11.2026`, `25 November 2026` (UTC)."""
    year, month, day = at[:10].split("-")
    assert to_ms(at) > 0
    return f"{day}.{month}.{year}" if language == "de" else f"{int(day)} {_MONTHS[int(month) - 1]} {year}"


_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def form_page(
    offer: Offer, problem: str | None = None, ticked: Container[str] = (), *, accepted: bool = False
) -> str:
    """The sign-up form. `problem` is a word of `words`; `ticked`, `accepted`: what the person had ticked when it arose."""
    words = words_for(offer.language, business=offer.business)
    shown = {"offer": offer, "problem": problem, "ticked": ticked, "accepted": accepted}
    return _page("form", offer.language, words["title"], words=words, **shown)


def write_page(
    business: str, language: str, links: Sequence[ChatLink], titles: Mapping[str, str], expires_at: str
) -> str:
    """What comes after the form: the person writes first. `titles`: channel → what people call it."""
    words = words_for(language, business=business)
    shown = [
        {
            "url": link.url,
            "path": link.qr,
            "modules": link.qr_modules,
            "channel": titles[link.channel],
            "open": words["open"].replace("{channel}", titles[link.channel]),
            "qr_label": words["qr"].replace("{channel}", titles[link.channel]),
        }
        for link in links
    ]
    until = words["until"].replace("{until}", shown_day(expires_at, language))
    return _page("write", language, words["write_title"], words=words, links=shown, until=until)


def notice_page(notice: Notice, business: str) -> str:
    """A notice that Sealpost keeps; the first line is its title."""
    first, *paragraphs = (notice.body or "").replace("{business}", business).strip().split("\n\n")
    shown = {"paragraphs": paragraphs, "reference": notice.reference, "hash": notice.hash or ""}
    return _page("notice", notice.language, first, **shown)


def preferences_page(language: str, business: str, **shown: Any) -> str:
    """A person's consents."""
    words = words_for(language, business=business)
    return _page("preferences", language, words["preferences"], words=words, **shown)


def told_page(language: str, business: str, word: str) -> str:
    """One sentence."""
    words = words_for(language, business=business)
    return _page("told", language, words["title"] if business else "Sealpost", told=words[word])


def _page(template: str, language: str, title: str, **values: Any) -> str:
    return _TEMPLATES.get_template(f"{template}.html").render(language=language, title=title, **values)
