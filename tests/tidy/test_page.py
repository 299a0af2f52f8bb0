"""The sandbox page's own habits: what no linter for Python sees."""

import re

from deploy.sandbox.server import page_files
from tests.pictures import state_of_page
from tests.tidy.source_tree import ROOT
from tests.tidy.test_tidy import FILE_MAX_LINES, FUNCTION_MAX_LINES

LINE_MAX = 130
DANGEROUS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setTimeout\(['\"`]|javascript:|console\."
)
ELSEWHERE = re.compile(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.IGNORECASE)
INLINE = re.compile(r"\son[a-z]+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", re.IGNORECASE)
FUNCTION = re.compile(r"^(?:export )?(?:async )?function |^  (?:async )?#?\w+\(.*\) \{$")
NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'


def texts() -> dict[str, str]:
    """Path → text of every file of the page."""
    return {path: content.decode() for path, (content, _) in page_files().items()}


def test_text_never_becomes_markup_and_nothing_is_fetched_from_elsewhere() -> None:
    """The policy of the server forbids it; the page does not try."""
    for path, text in texts().items():
        assert not DANGEROUS.findall(text), path
        assert not ELSEWHERE.findall(text.replace(NAMESPACE, "")), path
    assert not INLINE.findall(texts()["/"])


def test_files_functions_and_lines_are_short() -> None:
    """As everywhere."""
    for path, text in texts().items():
        lines = text.splitlines()
        assert len(lines) <= FILE_MAX_LINES, path
        assert not [
            line for line in lines if len(line) > LINE_MAX and "script-src" not in line and '": "' not in line
        ], path
        begins = (
            [number for number, line in enumerate(lines) if FUNCTION.match(line)]
            if path.endswith(".js")
            else []
        )
        for begin in begins:
            indent = len(lines[begin]) - len(lines[begin].lstrip())
            end = next(n for n in range(begin, len(lines)) if lines[n] == " " * indent + "}")
            assert end - begin < FUNCTION_MAX_LINES, f"{path}:{begin + 1}"


def test_every_script_begins_with_what_it_is() -> None:
    """Its first lines are a comment."""
    assert not [
        path for path, text in texts().items() if path.endswith(".js") and not text.startswith("/**\n * ")
    ]


def test_the_pictures_of_the_readme_show_the_page_as_it_is() -> None:
    """Made by `make pictures` from this state of the page."""
    pictures = ROOT / "docs" / "pictures"
    assert (pictures / "page.sha256").read_text().strip() == state_of_page(), "run make pictures"
    shown = re.findall(r"docs/pictures/([\w-]+\.png)", (ROOT / "README.md").read_text())
    assert shown
    assert all((pictures / name).is_file() for name in shown)
