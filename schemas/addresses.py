"""Where a subject is reached. Personal data: an address stands only inside sealed blocks and in the vault.

Nothing assumes a phone number: an address is (channel, kind, value).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

AddressKind = Literal["phone", "bsuid"]

_PHONE = re.compile(r"^[1-9][0-9]{3,14}$")
_BSUID = re.compile(r"^[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}$")


@dataclass(frozen=True, slots=True)
class Address:
    """One address; `repr` masks the value so that no log or traceback shows it."""

    channel: str
    kind: AddressKind
    value: str

    def __repr__(self) -> str:
        return f"Address({self.channel}, {self.kind}, …)"


def whatsapp_address(text: str) -> Address | None:
    """Read a WhatsApp sender or recipient: international digits (a leading + and separators are allowed) or a
    business-scoped user id `CC.…`; None when it is neither. Source: channel-apis §2.1."""
    compact = (
        re.sub(r"[\s()\-./]", "", text)
        if text.lstrip().startswith(("+", "0")) or text[:1].isdigit()
        else text
    )
    digits = compact.removeprefix("+")
    if _PHONE.match(digits):
        return Address("whatsapp", "phone", digits)
    if _BSUID.match(text):
        return Address("whatsapp", "bsuid", text)
    return None


READERS: Mapping[str, Callable[[str], Address | None]] = {"whatsapp": whatsapp_address}
"""Channel → how an address of it is read."""


def read_address(channel: str, text: str) -> Address | None:
    """An address as an API caller wrote it, normalised; None when it is none of this channel, or the channel is unknown."""
    reader = READERS.get(channel)
    return reader(text) if reader else None
