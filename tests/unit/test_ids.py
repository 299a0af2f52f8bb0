"""Keyed hashes: what they are a hash of, and that a key prepared for many hashes answers as the key itself."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from schemas.encoding import packed
from schemas.ids import HashKey, derived_id, keyed_hash

WORDS = st.lists(st.text(max_size=300), max_size=5)


@given(st.binary(max_size=200), st.binary(max_size=300))
def test_a_prepared_key_is_hmac_sha256(key: bytes, data: bytes) -> None:
    """For keys shorter and longer than a block, and time and again."""
    prepared = HashKey(key)
    wanted = hmac.digest(key, data, "sha256")
    assert [prepared.digest(data), prepared.digest(data)] == [wanted, wanted]


@given(st.binary(min_size=32, max_size=32), WORDS)
def test_ids_do_not_depend_on_how_the_key_is_held(key: bytes, words: list[str]) -> None:
    """Ids stand in the log for ever: whoever derives one must derive the same."""
    assert keyed_hash(HashKey(key), *words) == keyed_hash(key, *words)
    assert derived_id(HashKey(key), *words) == derived_id(key, *words)


@given(WORDS)
def test_words_stand_behind_their_lengths(words: list[str]) -> None:
    """Four bytes, big endian, of the UTF-8 form; also for words longer than one byte can say."""
    raw = packed(words)
    found: list[str] = []
    while raw:
        size = int.from_bytes(raw[:4], "big")
        found.append(raw[4 : 4 + size].decode())
        raw = raw[4 + size :]
    assert found == words


def test_a_key_shows_nothing_of_itself() -> None:
    """Not in a log line, not in a traceback."""
    assert repr(HashKey(b"k" * 32)) == "HashKey(…)"
