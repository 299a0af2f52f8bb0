"""What an answer means by its status alone."""

import pytest

from workers.channel import Failed, ProviderResponse, Submitted, Unclear
from workers.http_answers import classify_by_status, json_object, outcome_by_status


@pytest.mark.parametrize(
    ("status", "failure_class", "alarm"),
    [
        (400, "PERM", False),
        (401, "AUTH", True),
        (403, "AUTH", True),
        (408, "RETRY", False),
        (418, "PERM", False),
        (429, "RATE", False),
        (500, "RETRY", False),
        (503, "RETRY", False),
    ],
)
def test_a_status_has_a_class(status: int, failure_class: str, alarm: bool) -> None:
    found = classify_by_status(ProviderResponse(status, {}, b""))
    assert (found.failure_class, found.alarm, found.retry_after_s) == (failure_class, alarm, None)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("9e9", 86_400.0),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("Fri, 1 Jan", None),
    ],
)
def test_a_wait_is_believed_up_to_a_day(header: str, wait_s: float | None) -> None:
    assert classify_by_status(ProviderResponse(429, {"Retry-After": header}, b"")).retry_after_s == wait_s
    assert classify_by_status(ProviderResponse(400, {"Retry-After": header}, b"")).retry_after_s is None


def test_only_an_answer_that_says_so_is_a_success_or_a_failure() -> None:
    """A server's failure can come after the message was taken, but for 503."""

    def outcome(status: int, provider_id: object) -> object:
        return type(outcome_by_status(ProviderResponse(status, {}, b""), provider_id, classify_by_status))

    assert outcome(200, "id") is Submitted
    assert [
        outcome(200, None),
        outcome(201, ""),
        outcome(204, 7),
        outcome(500, "id"),
        outcome(502, None),
    ] == [Unclear] * 5
    assert [outcome(503, None), outcome(400, "id"), outcome(302, "id")] == [Failed] * 3


def test_a_body_that_is_no_object_is_empty() -> None:
    assert json_object(b'{"id": 1}') == {"id": 1}
    assert [json_object(body) for body in (b"", b"[1]", b"<html>", b"\xff")] == [{}] * 4
