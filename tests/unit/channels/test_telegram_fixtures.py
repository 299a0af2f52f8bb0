"""Every real Telegram payload of ../shared/fixtures against what its author says a correct parser finds."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.channel_commands import classify_line, parse_lines
from tests.unit.channels.telegram_payloads import FIXTURES, NO_FIXTURES
from workers.channels.telegram.channel import CHANNEL

PATHS = sorted(FIXTURES.glob("telegram-*.json"))
pytestmark = pytest.mark.skipif(not PATHS, reason=NO_FIXTURES)
KINDS = {
    "inbound-03": [("message", True)],
    "inbound-06": [("message", True)],
    "inbound-09": [("message", True)],
    "inbound-12": [],
    "other-02": [("reaction", True)],
}
"""Fixture → kind and whether it is supported, as `sealpost parse telegram` prints them."""
MEANINGS = {
    "error-01": {"class": "RATE", "code": 429, "retry_after_s": 30.0},
    "error-04": {"class": "UNREACH", "code": 400, "retry_after_s": 421.0},
}


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(path.read_bytes())
    return content


@pytest.mark.parametrize("path", [p for p in PATHS if "-error-" not in p.name], ids=lambda p: p.stem)
def test_the_facts_expected_are_found(path: Path) -> None:
    """Every fact that the fixture names; it can be handled, for real webhooks may look like it."""
    fixture = load(path)
    body = orjson.dumps(fixture["payload"])
    lines = [orjson.loads(line) for line in parse_lines("telegram", body)]
    expected = {name: fact for name, fact in fixture["expect"].items() if name not in ("note", "events")}
    assert len(lines) == fixture["expect"].get("events", 1)
    for line in lines:
        assert {name: line.get(name, "(missing)") for name in expected} == expected
    assert [(line["kind"], line["supported"]) for line in lines] == KINDS[path.stem.removeprefix("telegram-")]
    assert sum(len(CHANNEL.parse(fragment.raw)) for fragment in CHANNEL.split(body)) == len(lines)


@pytest.mark.parametrize("path", [p for p in PATHS if "-error-" in p.name], ids=lambda p: p.stem)
def test_the_class_expected_is_given(path: Path) -> None:
    fixture = load(path)
    status = fixture["expect"].get("http_status", 400)
    found = orjson.loads(classify_line("telegram", status, orjson.dumps(fixture["payload"])))
    assert found == MEANINGS[path.stem.removeprefix("telegram-")]
    if "retry_after" in fixture["expect"]:
        assert found["code"] == fixture["expect"]["error_code"]
        assert found["retry_after_s"] == fixture["expect"]["retry_after"]
