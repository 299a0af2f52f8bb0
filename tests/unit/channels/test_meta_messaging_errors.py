"""Codes of the Send API and what they mean on both platforms: the whole table of channel-apis §3.5, written a second time."""

from typing import Any

import orjson
import pytest

from tests.unit.channels.meta_payloads import BOTH, MESSENGER
from workers.channel import Classified, ProviderResponse
from workers.meta_messaging import errors

TABLE: dict[str, list[tuple[int, int | None]]] = {
    "RETRY": [(1, None), (2, None), (1200, None)],
    "RATE": [
        (4, None), (4, 2018022), (9, None), (17, None), (32, None), (613, None), (100, 2018109), (80006, None),
    ],
    "WINDOW": [(10, 2018278), (10, 2018065), (10, 2534022)],
    "UNREACH": [(551, None), (551, 1545041), (200, 1545041), (100, 2018001), (100, 2534014), (10, 2018108)],
    "PERM": [(100, None), (100, 33), (36000, None), (10900, None), (10903, None), (200, 2018028)],
    "AUTH": [
        (190, None), (190, 463), (10, None), (10, 7), (200, None), (200, 2018027), (200, 2018021), (299, None),
        (230, None), (10303, None),
    ],
    "ACCOUNT": [(368, None)],
}  # fmt: skip
CODES = [(failure_class, *code) for failure_class, codes in TABLE.items() for code in codes]


def classify(http: int = 400, headers: dict[str, str] | None = None, **error: Any) -> Classified:
    answer = ProviderResponse(http, headers or {}, orjson.dumps({"error": error}))
    found, other = (channel.classify(answer) for channel in BOTH)
    assert found == other
    return found


@pytest.mark.parametrize(("failure_class", "code", "subcode"), CODES)
@pytest.mark.parametrize("http", [200, 400, 403, 500])
def test_subcode_and_code_decide_before_the_http_status(
    failure_class: str, code: int, subcode: int | None, http: int
) -> None:
    error: dict[str, Any] = {"code": code} if subcode is None else {"code": code, "error_subcode": subcode}
    found = classify(http, **error)
    assert (found.failure_class, found.code) == (failure_class, code)
    assert found.alarm >= (failure_class in ("AUTH", "ACCOUNT"))


def test_the_table_has_no_code_that_this_test_does_not_know() -> None:
    assert set(errors.CODES) <= {code for _, code, subcode in CODES if subcode is None}
    assert set(errors.SUBCODES) <= {(code, subcode) for _, code, subcode in CODES}


@pytest.mark.parametrize(
    ("http", "failure_class"),
    [
        (400, "PERM"),
        (401, "AUTH"),
        (403, "AUTH"),
        (408, "RETRY"),
        (429, "RATE"),
        (500, "RETRY"),
        (503, "RETRY"),
    ],
)
def test_without_a_known_code_the_http_status_decides(http: int, failure_class: str) -> None:
    assert classify(http, code=987654).failure_class == failure_class
    assert MESSENGER.classify(ProviderResponse(http, {}, b"<html>")).failure_class == failure_class


@pytest.mark.parametrize(
    "error",
    [
        {"message": "(#100) Message tag is not supported"}, {"message": "(#100) Invalid tag."},
        {"message": "(#100) MESSAGE_TAG may not be used", "error_subcode": None},
        {"message": "(#100) Invalid parameter", "error_user_msg": "The tag ACCOUNT_UPDATE is gone."},
    ],
)  # fmt: skip
def test_a_removed_tag_is_a_closed_window(error: dict[str, Any]) -> None:
    """However the provider says it; another subcode says something else."""
    assert classify(code=100, **error).failure_class == "WINDOW"
    assert classify(code=100, **{**error, "error_subcode": 2018001}).failure_class == "UNREACH"


def test_what_a_code_says_about_the_person() -> None:
    """No such person is what another page's token is answered, too; no code tells that she said no."""
    said: dict[tuple[int, int | None], Classified] = {}
    for _, code, subcode in CODES:
        more: dict[str, Any] = {} if subcode is None else {"error_subcode": subcode}
        said[code, subcode] = classify(code=code, **more)
    assert [place for place, found in said.items() if found.message_only] == [
        (100, 2018001),
        (100, 2534014),
    ]
    assert not any(found.opted_out for found in said.values())


def test_what_is_special() -> None:
    """An app that is not live fails the message and calls somebody."""
    assert classify(code=200, error_subcode=2018028).alarm
    assert classify(code=2).tries_max == 5
    assert classify(code=100, message="(#100) No recipient of this stage").failure_class == "PERM"
    assert classify(code=613, headers={"Retry-After": "7"}).retry_after_s == 7
    found = classify(code=551, message="Ada is not available")
    assert found.text == "Ada is not available"
    assert "Ada" not in repr(found)
