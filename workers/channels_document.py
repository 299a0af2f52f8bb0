"""Writes the tables of what the installed channels can do into a page: `python -m workers.channels_document ADDING_CHANNELS.md`.

They stand between two comments, `BEGIN` and `END`; everything else of the page is left as it is.
"""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from workers import registry
from workers.channel import Capabilities, Channel, SkipsCases

BEGIN = "<!-- channels: written by python -m workers.channels_document -->"
END = "<!-- end of channels -->"
S_PER_HOUR = 3600
_BETWEEN = re.compile(re.escape(BEGIN) + r".*" + re.escape(END), re.DOTALL)


def _words(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "–"


def _number(value: float) -> str:
    return f"{value:g}" if value else "–"


def _window(of: Capabilities) -> str:
    return "always open" if of.window_s is None else f"{of.window_s / S_PER_HOUR:g} h"


def _pair(of: Capabilities) -> str:
    return "–" if of.pair_interval_s is None else f"one in {of.pair_interval_s:g} s after {of.pair_burst}"


def _text(of: Capabilities) -> str:
    return f"{of.text_max_characters} characters" + (
        f", {of.text_max_bytes} bytes" if of.text_max_bytes else ""
    )


_ROWS: Sequence[tuple[str, Callable[[Capabilities], str]]] = (
    ("sends", lambda of: _words(of.content_kinds)),
    ("text, then cut into parts", _text),
    ("files", lambda of: _words(of.media_kinds)),
    ("caption, characters", lambda of: _number(of.caption_max_characters)),
    ("buttons", lambda of: _number(of.buttons_max)),
    ("their titles, characters", lambda of: _number(of.button_title_max_characters)),
    ("rows of a list", lambda of: _number(of.list_rows_max)),
    ("their titles, characters", lambda of: _number(of.row_title_max_characters)),
    ("their descriptions, characters", lambda of: _number(of.row_description_max_characters)),
    ("shows what a message answers", lambda of: "yes" if of.replies else "–"),
    ("acts it answers beside messages", lambda of: _words(of.answerable_acts)),
    ("addresses", lambda of: _words(of.address_kinds)),
    ("service window", _window),
    ("to somebody who never wrote", lambda of: of.first_contact),
    ("receipts", lambda of: _words(of.receipts)),
    ("messages a second", lambda of: _number(of.rate_per_s)),
    ("to one person", _pair),
    ("a link's token comes back in", lambda of: of.token_carrier.replace("_", " ")),
    ("statuses carry our id", lambda of: "yes" if of.echoes_our_id else "–"),
    ("webhooks name the account", lambda of: "yes" if of.names_account else "–"),
)  # fmt: skip


def tables(channels: Sequence[Channel]) -> str:
    """What each can do, and what the conformance kit excuses each from, as Markdown."""
    lines = [f"| | {' | '.join(one.name for one in channels)} |", f"| --- |{' --- |' * len(channels)}"]
    lines += [f"| {row} | {' | '.join(cell(one.capabilities) for one in channels)} |" for row, cell in _ROWS]
    lines += ["", "| channel | case that does not hold | why |", "| --- | --- | --- |"]
    for one in channels:
        skipped = one.skipped_cases if isinstance(one, SkipsCases) else {}
        lines += [f"| {one.name} | `{case}` | {why} |" for case, why in sorted(skipped.items())]
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """The page with the tables of all installed channels in their place."""
    written = f"{BEGIN}\n{tables([registry.channel(name) for name in registry.channel_names()])}\n{END}"
    return _BETWEEN.sub(lambda _: written, page)


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(with_tables(document.read_text()))
