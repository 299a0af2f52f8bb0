"""Unambiguous byte strings for associated data and keyed hashes: every word is preceded by its length."""

from collections.abc import Iterable

LENGTH_BYTES = 4
_SHORT = tuple(size.to_bytes(LENGTH_BYTES, "big") for size in range(256))
"""The lengths of nearly all words, made once: an event takes some fifty of them."""


def packed(words: Iterable[str]) -> bytes:
    """Join words in UTF-8, each behind its length (4 bytes, big endian); no two lists of words give the same bytes."""
    parts: list[bytes] = []
    for word in words:
        raw = word.encode()
        size = len(raw)
        parts.append(_SHORT[size] if size < len(_SHORT) else size.to_bytes(LENGTH_BYTES, "big"))
        parts.append(raw)
    return b"".join(parts)
