"""Phone numbers in the spellings people use: one number, or none at all, never another one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import Address, international_number
from workers.registry import address_reader, channel

NUMBER = "491701234567"
SAME = [
    "491701234567",
    "+491701234567",
    "00491701234567",
    "+49 170 1234567",
    "+49-170-1234567",
    "+49 170/123 45-67",
    "0049 170 1234567",
    "0049-170/1234567",
    "49 170 123.45.67",
    " +49 (170) 1234567 ",
    "(+49) 170 1234567",
    "(0049) 170 1234567",
    "+(49) 170 1234567",
    "+49 (0)170 1234567",
    "+49(0)1701234567",
    "0049 (0) 170 1234567",
    "(+49)(0)170 1234567",
    "49 (0)170 1234567",
    "+49\u00a0170\u202f1234567",
    "+49\u2011170\u20131234567",
    "\u202a+49 170 1234567\u202c",
    "\uff0b\uff14\uff19 170 1234567",
]
OTHERS = {
    "+1 (650) 555-1234": "16505551234",
    "001 650 555 1234": "16505551234",
    "+44 (0)7700 900123": "447700900123",
    "+353 (0)85 012 3456": "353850123456",
    "+39 06 1234567": "39061234567",
    "+225 07 12 34 56 78": "2250712345678",
}
NONE = [
    "0170 1234567",
    "(0170) 1234567",
    "01701234567",
    "+0170 1234567",
    "+0049 170 1234567",
    "000491701234567",
    "0011 49 170 1234567",
    "+39 (0)6 1234567",
    "+49 170 (0) 1234567",
    "+491 (0)70 1234567",
    "+49 (0)170 (0)1234567",
    "49+1701234567",
    "++491701234567",
    "+49 170 1234567 ext. 2",
    "+49 170 1234567, +49 170 7654321",
    "+49 170 (1234567",
    "+49 170) 1234567",
    "+49 () 170 1234567",
    "+1 800 FLOWERS",
    "+49",
    "123",
    "+4917012345678901",
    "",
    "   ",
    "Ada",
    "a@b.example",
]


@pytest.mark.parametrize("text", SAME)
def test_one_number_in_all_its_spellings(text: str) -> None:
    assert international_number(text) == NUMBER


@pytest.mark.parametrize("text", OTHERS)
def test_numbers_of_other_countries(text: str) -> None:
    assert international_number(text) == OTHERS[text]


@pytest.mark.parametrize("text", NONE)
def test_what_is_not_unambiguous_is_none(text: str) -> None:
    assert international_number(text) is None


@given(
    st.from_regex(r"[1-9][0-9]{3,14}", fullmatch=True),
    st.sampled_from([" ", "-", "/", ".", "\u00a0"]),
    st.data(),
)
def test_separators_change_nothing(digits: str, separator: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(1, len(digits) - 1))
    spelled = f"+{digits[:place]}{separator}{digits[place:]}"
    assert international_number(spelled) == international_number(digits) == digits


@given(st.text(max_size=40))
def test_whatever_is_read_reads_as_itself(text: str) -> None:
    number = international_number(text)
    assert number is None or international_number(number) == number


def test_a_channel_reads_its_own_addresses() -> None:
    """What is an address is the channel's business; ids are taken as they are, numbers in one form."""
    read = address_reader("whatsapp")
    assert read is not None
    assert {read(text) for text in SAME} == {Address("whatsapp", "phone", NUMBER)}
    assert (
        read(" US.99 ") == channel("whatsapp").read_address("US.99") == Address("whatsapp", "bsuid", "US.99")
    )
    assert [read(text) for text in ("us.99", "US.", "US.9-9", "0170 1234567")] == [None] * 4
    assert address_reader("pigeon") is None
