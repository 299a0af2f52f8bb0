"""Unambiguous byte strings for associated data: every part is preceded by its length."""

from collections.abc import Iterable

LENGTH_BYTES = 4


def length_prefixed(parts: Iterable[bytes]) -> bytes:
    """Join parts, each behind its length (4 bytes, big endian); no two lists of parts give the same bytes."""
    return b"".join([len(part).to_bytes(LENGTH_BYTES, "big") + part for part in parts])


def packed(words: Iterable[str]) -> bytes:
    """`length_prefixed` of words in UTF-8."""
    return length_prefixed([word.encode() for word in words])
