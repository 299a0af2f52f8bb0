"""Long texts are cut where a reader would cut them, and nothing of them is lost."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.parts import cut, fits

FAMILY = "👩‍👩‍👧‍👦"
FLAG = "🇩🇪"
CHARACTERS = ["a", "Z", " ", "\n", ".", "e\u0301", "👍🏽", FLAG, FAMILY, "각", "\r\n", "あ", "。"]
WORDS = st.text(
    st.sampled_from(
        [*"ab.!?…。 \n\t\r\u00a0é", "\u0301", "\u200d", "👩", "🇩", "🇪", "🏽", "ä", "가", "ᄀ", "ᅡ"]
    ),
    max_size=60,
)


def pieces(text: str, characters: int, size: int = 0) -> list[str]:
    return [text[start:end] for start, end in cut(text, characters, size)]


def test_a_text_that_fits_is_left_as_it_is() -> None:
    assert cut("  a b \n", 7) == [(0, 7)]
    assert cut("ää", 2, 4) == [(0, 2)]


@pytest.mark.parametrize(
    ("text", "characters", "found"),
    [
        ("Ein Satz hier. Noch\n\nEin Absatz", 22, ["Ein Satz hier. Noch", "Ein Absatz"]),
        ("Eins zwei. Drei vier fünf", 16, ["Eins zwei.", "Drei vier fünf"]),
        ("Eins „zwei.“ Drei vier", 16, ["Eins „zwei.“", "Drei vier"]),
        ("eins zwei drei", 9, ["eins zwei", "drei"]),
        ("A. bbbbbbbbbbb ccc", 14, ["A. bbbbbbbbbbb", "ccc"]),
        ("eins\u00a0zwei drei", 9, ["eins\u00a0zwei", "drei"]),
        ("あい。うえお", 4, ["あい。", "うえお"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("   \n  eins   zwei   ", 6, ["eins", "zwei"]),
        ("xe\u0301x", 2, ["x", "e\u0301", "x"]),
        (f"xx{FAMILY}y", 8, ["xx", f"{FAMILY}y"]),
        (f"x{FLAG}{FLAG}", 4, [f"x{FLAG}", FLAG]),
        ("👍🏽👍🏽", 3, ["👍🏽", "👍🏽"]),
    ],
)
def test_cuts(text: str, characters: int, found: list[str]) -> None:
    assert pieces(text, characters) == found


def test_bytes_are_counted_where_a_channel_counts_them() -> None:
    assert pieces("äöüß", 100, 5) == ["äö", "üß"]
    assert pieces("ab 👍 cd", 100, 7) == ["ab 👍", "cd"]


def test_a_character_longer_than_a_part_is_cut_after_all() -> None:
    """A letter with a hundred accents must not hold up the text for ever."""
    assert "".join(pieces("e" + "\u0301" * 100, 10)) == "e" + "\u0301" * 100


def test_limits_that_not_every_character_fits_into_are_refused() -> None:
    for limits in ((0, 0), (10, 3)):
        with pytest.raises(ValueError, match="every character"):
            cut("abc", *limits)


@given(WORDS | st.text(max_size=60), st.integers(1, 20), st.just(0) | st.integers(4, 30))
def test_nothing_is_lost_and_every_part_fits(text: str, characters: int, size: int) -> None:
    """Only white space lies outside the parts; they come in order, none is empty, each is within the limits."""
    spans = cut(text, characters, size)
    end = 0
    for start, stop in spans:
        assert start >= end
        assert stop > start or text == ""
        assert not text[end:start].strip()
        assert fits(text[start:stop], characters, size)
        end = stop
    assert not text[end:].strip()


@given(st.lists(st.sampled_from(CHARACTERS), max_size=20), st.integers(7, 20))
def test_a_character_that_fits_is_never_cut(characters: list[str], size: int) -> None:
    """Every part begins and ends where a reader sees one character end and another begin."""
    text = "".join(characters)
    between = {0, *accumulate(map(len, characters))}
    for start, stop in cut(text, size):
        assert {start, stop} <= between
