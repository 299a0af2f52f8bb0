"""Where a subject is reached. Personal data: an address stands only inside sealed blocks and in the vault.

Nothing assumes a phone number: an address is (channel, kind, value). What is an address of a channel the channel says; the
reading of phone numbers, which several share, is here.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

AddressKind = Literal["phone", "bsuid", "psid", "chat", "opaque", "igsid"]
ONE_PER_PERSON: frozenset[AddressKind] = frozenset(("bsuid",))
"""Kinds of which a person has one at a time and which nobody gets after her; a phone number is given to somebody else."""

_SEPARATORS = re.compile(r"[\s\-\u2010-\u2015\u2212./]")
_GROUPS = re.compile(r"(?:[+0-9]|\(\+?[0-9]+\))+")
_E164 = re.compile(r"[1-9][0-9]{3,14}")
_SHORT_CODE = r"(?:1|7|20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58])"
"""Country codes of one and two digits (ITU-T E.164); all others have three."""
_OPTIONAL_ZERO = re.compile(
    rf"\(?(?:\+|00)?\(?({_SHORT_CODE}|(?!{_SHORT_CODE})[1-9][0-9]{{2}})\)?\(0\)([0-9()]+)"
)
_ZERO_BELONGS = frozenset(("39", "378", "379"))
"""Italy, San Marino, Vatican: there `(0)` is an old spelling of a zero that is dialled from abroad too."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address; `repr` masks the value so that no log or traceback shows it."""

    channel: str
    kind: AddressKind
    value: str

    def __repr__(self) -> str:
        return f"Address({self.channel}, {self.kind}, …)"


def international_number(text: str) -> str | None:
    """Digits of a phone number in international form, from the spellings people use: `+49 (0)170/123-456`, `0049 170…`,
    `(+49) 170…`, `49170…`. None for what is not unambiguous: a national number, or a zero in brackets that may belong to it."""
    if _E164.fullmatch(text):
        return text  # as providers write it; also on the way of every webhook
    shown = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    compact = _SEPARATORS.sub("", shown)
    if not _GROUPS.fullmatch(compact):
        return None
    optional_zero = _OPTIONAL_ZERO.fullmatch(compact)
    if optional_zero:
        code, rest = optional_zero.groups()
        if code in _ZERO_BELONGS:
            return None
        compact = code + rest
    digits = re.sub(r"[()]", "", compact)
    if "(0)" in compact or "+" in digits[1:]:
        return None
    if digits.startswith("00"):
        digits = digits[2:]
        if digits.startswith(("10", "11")):
            # `0011…` is how Australia dials abroad: no number of country code 1 goes on with 0 or 1.
            return None
    digits = digits.removeprefix("+")
    return digits if _E164.fullmatch(digits) else None
