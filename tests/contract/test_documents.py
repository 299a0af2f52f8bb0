"""Generated documents are up to date; texts exist in every language."""

from pathlib import Path
from string import Formatter

from schemas.metrics_document import page
from schemas.texts import LANGUAGES, PURPOSE_NAMES, TEXTS
from sealpost.conformance import Conformance
from workers import registry
from workers.channels_document import with_tables

ROOT = Path(__file__).parents[2]


def test_metrics_page_is_generated() -> None:
    """docs/metrics.md equals what the catalogue gives."""
    assert (ROOT / "docs" / "metrics.md").read_text() == page()


def test_the_table_of_channels_is_generated() -> None:
    """ADDING_CHANNELS.md says of every registered channel what its code says."""
    page = (ROOT / "ADDING_CHANNELS.md").read_text()
    assert all(f" {name} |" in page for name in registry.channel_names())
    assert page == with_tables(page)


def test_the_page_about_channels_names_every_case() -> None:
    """A case of the kit that is added is told of."""
    page = (ROOT / "ADDING_CHANNELS.md").read_text()
    cases = {name.removeprefix("test_") for name in dir(Conformance) if name.startswith("test_")}
    assert {case for case in cases if f"`{case}`" not in page} == set()


def test_every_text_has_german_and_english_with_the_same_variables() -> None:
    """The key sets of the languages are equal, for every version, and so are the variables of each text."""
    for text, versions in TEXTS.items():
        for version, words in versions.items():
            assert set(words) == set(LANGUAGES), (text, version)
            variables = [
                {name for _, name, _, _ in Formatter().parse(words[lang]) if name} for lang in LANGUAGES
            ]
            assert all(found == variables[0] for found in variables), (text, version)
    for purpose, names in PURPOSE_NAMES.items():
        assert set(names) == set(LANGUAGES), purpose


def test_the_consent_question_names_the_notice_and_carries_no_advertising() -> None:
    """It links the privacy notice and asks one question; words of advertising do not stand in it."""
    for words in TEXTS["consent_question"][1].values():
        assert "{notice_url}" in words
        assert not any(
            word in words.casefold()
            for word in ("rabatt", "angebot", "discount", "offer", "sale", "gratis", "free")
        )
