"""Tokens that tell by which way a person came: made for a form or a link, found again in the first message.

A token is `sp-` and 13 characters of 31, the last one a check: 59 random bits, short enough to ride in every provider's link
(letters, digits and a hyphen), and readable aloud. A person may edit or forward the text it rides in, so a hit says by which link
the message came, and nothing of who wrote it (channel-apis §0).
"""

import re
from dataclasses import dataclass
from hashlib import sha256

from schemas.ids import random_bytes

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXY"
"""Crockford's base 32 without its Z: I, L, O and U are missing too, which are taken for others. A prime number of characters,
so that the check tells every single wrong one and every swap of neighbours."""
PREFIX = "sp-"
RANDOM_CHARACTERS = 12
CHARACTERS = RANDOM_CHARACTERS + 1
RANDOM_BYTES = 16
"""Far more than the characters hold, so that none is likelier than another."""
DAMAGED_CHARACTERS = range(9, 18)
"""Lengths at which something like a token is one that was edited."""
DAMAGED_DIGITS_MIN = 2
"""What has fewer digits is a word with a hyphen."""
DIGITS_MIN = DAMAGED_DIGITS_MIN + 1
"""A token has so many, so that one which lost a digit is still told from a word. Five in six that are drawn do."""
_LOOKS_ALIKE = str.maketrans("ILO", "110")
_HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2212"
_TOKEN = re.compile(rf"(?<![0-9A-Za-z])sp[{_HYPHENS}]([0-9A-Za-z]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FoundToken:
    """A token in a message. `token` None: it was one, and somebody changed it. `rest` is the message without it."""

    token: str | None
    rest: str

    def __repr__(self) -> str:
        return "FoundToken(…)"


def make_token() -> str:
    """A fresh token."""
    while True:
        number, digits = int.from_bytes(random_bytes(RANDOM_BYTES)), ""
        while len(digits) < RANDOM_CHARACTERS:
            number, digit = divmod(number, len(ALPHABET))
            digits += ALPHABET[digit]
        body = digits + _check(digits)
        if _digits(body) >= DIGITS_MIN:
            return PREFIX + body


def read_token(text: str) -> str | None:
    """The token that a text is, in the one spelling; None when it is none."""
    found = find_token(text)
    return found.token if found is not None and not found.rest else None


def find_token(text: str) -> FoundToken | None:
    """The first token anywhere in a text, whatever its case and however its hyphen is set; None when there is none."""
    damaged: FoundToken | None = None
    for match in _TOKEN.finditer(text):
        body = match[1].upper().translate(_LOOKS_ALIKE)
        rest = (text[: match.start()] + text[match.end() :]).strip()
        if len(body) == CHARACTERS and set(body) <= set(ALPHABET) and _check(body[:-1]) == body[-1]:
            return FoundToken(PREFIX + body, rest)
        if damaged is None and len(body) in DAMAGED_CHARACTERS and _digits(match[1]) >= DAMAGED_DIGITS_MIN:
            damaged = FoundToken(None, rest)
    return damaged


def token_hash(token: str) -> bytes:
    """What is stored of a token (32 bytes)."""
    return sha256(token.encode()).digest()


def _digits(body: str) -> int:
    return sum(character.isdigit() for character in body)


def _check(digits: str) -> str:
    total = sum((place + 1) * ALPHABET.index(digit) for place, digit in enumerate(digits))
    return ALPHABET[total % len(ALPHABET)]
