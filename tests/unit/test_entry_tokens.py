"""Tokens of forms and links: found anywhere and in any spelling, every slip told, no word taken for one."""

from random import Random
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from schemas.entry_tokens import (
    ALPHABET,
    CHARACTERS,
    DIGITS_MIN,
    PREFIX,
    FoundToken,
    find_token,
    make_token,
    read_token,
    token_hash,
)


def drawn(seed: int) -> str:
    """A token of this seed, so that a failure can be walked again."""
    with patch("schemas.entry_tokens.random_bytes", Random(seed).randbytes):
        return make_token()


TOKENS = st.builds(drawn, st.integers(0, 2**64))
PLACES = st.integers(len(PREFIX), len(PREFIX) + CHARACTERS - 1)
HYPHENS = st.sampled_from("-\u2010\u2011\u2012\u2013\u2014\u2212")
LOOKS_ALIKE = {"1": "1IiLl", "0": "0Oo"}
AROUND = st.text(alphabet=st.characters(exclude_characters="sS", codec="utf-8"), max_size=40)
WORDS = (
    "Newsletter", "Anmeldung", "sp-", "SP-Vorsitzende", "sp-Mitglied", "Sparbuch-Anlage", "ESP-32",
    "sp500", "S&P-500", "SP-500", "sp-2024", "GSP-Antrag", "bitte-anmelden", "sp-cial", "spa-day",
    "SP-offers", "sp-economyclass", "sp-Sonderangebot", "start-up", "B2B-Kunden", "hi-fi", "24-7",
    "SP-A4-Papier", "wasp-nest12345678", "Crisp-2024HERBST99", "sp", "sp-sp-sp-sp",
)  # fmt: skip


@given(TOKENS)
def test_a_token_rides_in_every_link_and_is_read_again(token: str) -> None:
    assert len(token) == len(PREFIX) + CHARACTERS
    assert set(token[len(PREFIX) :]) <= set(ALPHABET)
    assert sum(character.isdigit() for character in token) >= DIGITS_MIN
    assert read_token(token) == token
    assert token not in repr(find_token(token))


@given(TOKENS, PLACES, st.sampled_from(ALPHABET))
def test_every_single_wrong_character_is_told(token: str, place: int, wrong: str) -> None:
    """It is known as one that was edited, and never taken for another."""
    edited = token[:place] + wrong + token[place + 1 :]
    expected = token if edited == token else None
    assert find_token(edited) == FoundToken(expected, "")
    assert read_token(edited) == expected


@given(TOKENS, st.integers(len(PREFIX), len(PREFIX) + CHARACTERS - 2))
def test_every_swap_of_neighbours_is_told(token: str, place: int) -> None:
    swapped = token[:place] + token[place + 1] + token[place] + token[place + 2 :]
    assert find_token(swapped) == FoundToken(token if swapped == token else None, "")


@given(TOKENS, PLACES)
def test_a_lost_or_doubled_character_is_told(token: str, place: int) -> None:
    for edited in (token[:place] + token[place + 1 :], token[:place] + token[place] + token[place:]):
        assert find_token(edited) == FoundToken(None, "")


@given(TOKENS, HYPHENS, st.data())
def test_a_token_is_found_whatever_case_hyphen_and_lookalikes(
    token: str, hyphen: str, data: st.DataObject
) -> None:
    """Phones capitalise and set dashes; people read 0 as O and 1 as l."""
    body = "".join(
        data.draw(st.sampled_from(LOOKS_ALIKE.get(one, one.upper() + one.lower())))
        for one in token[len(PREFIX) :]
    )
    start = data.draw(st.sampled_from(("sp", "Sp", "SP", "sP")))
    assert read_token(start + hyphen + body) == token


@given(TOKENS, AROUND, AROUND)
def test_a_token_is_found_anywhere_in_a_text(token: str, before: str, after: str) -> None:
    """With anything but a letter or digit beside it; the rest is what stands around it."""
    found = find_token(f"{before} ({token}), {after}")
    assert found == FoundToken(token, f"{before} (), {after}".strip())


@given(TOKENS, TOKENS)
def test_the_first_whole_one_counts_though_a_damaged_one_stands_before_it(first: str, second: str) -> None:
    assert find_token(f"{first} {second}") == FoundToken(first, second)
    damaged = first[:-1]
    assert find_token(f"{damaged} {second}") == FoundToken(second, damaged)


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_ordinary_words_hold_no_token(words: list[str]) -> None:
    assert find_token(" ".join(words)) is None


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyzäöüß-ABCDEFGHIJKLMNOPQRSTUVWXYZ ", max_size=80))
def test_letters_alone_are_never_an_edited_token(text: str) -> None:
    found = find_token(text)
    assert found is None or found.token is not None


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = find_token(text)
    assert found is None or found.token is None or read_token(found.token) == found.token


@given(TOKENS, TOKENS)
def test_hashes_tell_tokens_apart(first: str, second: str) -> None:
    assert (token_hash(first) == token_hash(second)) is (first == second)
    assert len(token_hash(first)) == 32
