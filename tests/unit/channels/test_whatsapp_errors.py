"""Codes of WhatsApp and what they mean for us: the whole table of channel-apis §2.7, written a second time."""

from typing import Any

import orjson
import pytest

from workers.channel import Classified, ProviderResponse
from workers.channels.whatsapp import errors
from workers.channels.whatsapp.channel import CHANNEL
from workers.http_answers import WAIT_MAX_S

TABLE = {
    "RATE": [4, 80007, 613, 130429, 131056, 131048, 131064, 133016, 132069],
    "RETRY": [1, 2, 131000, 131016, 135000, 131057, 131053],
    "WINDOW": [131047],
    "UNREACH": [131026, 131021, 131030, 131050, 131049, 130472],
    "PERM": [
        131062, 137000, 132000, 132001, 132005, 132007, 132008, 132012, 132015, 132016, 132068, 131063, 33, 100, 131008,
        131009, 131051, 131052,
    ],
    "AUTH": [0, 3, 10, 190, 131005, 200, 250, 299],
    "ACCOUNT": [368, 131031, 130497, 131042, 131045, 131037, 133010],
}  # fmt: skip
CODES = [(failure_class, code) for failure_class, codes in TABLE.items() for code in codes]


def classify(http: int = 400, headers: dict[str, str] | None = None, **error: Any) -> Classified:
    return CHANNEL.classify(ProviderResponse(http, headers or {}, orjson.dumps({"error": error})))


@pytest.mark.parametrize(("failure_class", "code"), CODES)
@pytest.mark.parametrize("http", [400, 403, 500])
def test_the_code_decides_before_the_http_status(failure_class: str, code: int, http: int) -> None:
    found = classify(http, code=code)
    assert (found.failure_class, found.code) == (failure_class, code)
    assert found.alarm >= (failure_class in ("AUTH", "ACCOUNT"))


def test_the_table_has_no_code_that_this_test_does_not_know() -> None:
    assert set(errors.CODES) <= {code for _, code in CODES}


@pytest.mark.parametrize(
    ("http", "failure_class"),
    [
        (400, "PERM"),
        (401, "AUTH"),
        (403, "AUTH"),
        (404, "PERM"),
        (408, "RETRY"),
        (429, "RATE"),
        (500, "RETRY"),
        (503, "RETRY"),
    ],
)
def test_without_a_known_code_the_http_status_decides(http: int, failure_class: str) -> None:
    assert classify(http, code=987654).failure_class == failure_class
    assert CHANNEL.classify(ProviderResponse(http, {}, b"<html>")).failure_class == failure_class


def test_wrapped_bare_and_listed_errors_are_the_same() -> None:
    inner = {"code": 131047, "message": "re-engagement"}
    for body in (inner, {"error": inner}, {"errors": [inner]}):
        found = CHANNEL.classify(ProviderResponse(400, {}, orjson.dumps(body)))
        assert (found.failure_class, found.code, found.text) == ("WINDOW", 131047, "re-engagement")
    assert classify(code="131047").code == 131047


def test_what_is_special() -> None:
    assert classify(code=131056).pair_only
    assert not classify(code=130429).pair_only
    assert classify(code=131048).alarm
    assert classify(code=132015).alarm
    assert classify(code=131053).tries_max == errors.FEW_TRIES
    unsupported = classify(code=131053, error_data={"details": "Unsupported media type"})
    assert unsupported.failure_class == "PERM"
    assert classify(code=99, is_transient=True).failure_class == "RETRY"
    assert classify(code=190, error_subcode=463).failure_class == "AUTH"


def test_what_a_code_says_about_the_person() -> None:
    """One of UNREACH is lasting; one is a no, by a switch that other messages pass."""
    said = {code: classify(code=code) for _, code in CODES}
    assert {code for code, found in said.items() if found.opted_out} == {131050}
    message_only = {code for code, found in said.items() if found.message_only}
    assert message_only == {131021, 131030, 131050, 131049, 130472}
    assert set(TABLE["UNREACH"]) - message_only == {131026}


def test_waits() -> None:
    usage = '{"1":[{"type":"messaging","estimated_time_to_regain_access":3},{"estimated_time_to_regain_access":2}]}'
    assert classify(headers={"X-Business-Use-Case-Usage": usage}, code=130429).retry_after_s == 180
    assert (
        classify(headers={"retry-after": "7", "X-Business-Use-Case-Usage": usage}, code=130429).retry_after_s
        == 7
    )
    assert classify(headers={"Retry-After": "99999999"}, code=4).retry_after_s == WAIT_MAX_S
    assert classify(headers={"Retry-After": "7"}, code=131047).retry_after_s is None
    for nonsense in ("", "nan", "inf", "-1", "soon", "{}", "[", "[[[[1]]]]"):
        assert (
            classify(headers={"x-app-usage": nonsense, "Retry-After": nonsense}, code=4).retry_after_s is None
        )


def test_the_provider_s_words_stay_out_of_repr() -> None:
    found = classify(code=131026, message="Ada", error_data={"details": "4915112345678"})
    assert found.text == "Ada: 4915112345678"
    assert "Ada" not in repr(found)
