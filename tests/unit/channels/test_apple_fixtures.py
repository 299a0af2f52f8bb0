"""Every real Apple payload of ../shared/fixtures against what its author says a correct parser finds."""

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.channel_commands import classify_line, parse_lines
from tests.unit.channels.apple_payloads import FIXTURES, NO_FIXTURES
from workers.channels.apple.channel import CHANNEL

PATHS = sorted(FIXTURES.glob("apple-*.json"))
pytestmark = pytest.mark.skipif(not PATHS, reason=NO_FIXTURES)
KINDS = {
    "inbound-01": ("message", True),
    "inbound-02": ("unsupported", False),
    "inbound-03": ("unsupported", False),
    "inbound-04": ("unsupported", False),
    "optin-01": ("unsupported", False),
    "optout-01": ("opt_out", True),
    "optout-02": ("opt_out", True),
    "optout-03": ("opt_out", True),
    "other-01": ("ignored", False),
    "other-02": ("business-initiated invitation", False),
}
"""Fixture → kind and whether it is supported, as `sealpost parse apple` prints them."""


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(path.read_bytes())
    return content


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_the_facts_expected_are_found(path: Path, pack: Any) -> None:
    """Every fact that the fixture names; it can be handled, for real webhooks may look like it."""
    fixture = load(path)
    body = pack(orjson.dumps(fixture["payload"]))
    (line,) = map(orjson.loads, parse_lines("apple", body))
    expected = {name: fact for name, fact in fixture["expect"].items() if name not in ("note", "text_starts")}
    assert {name: line.get(name, "(missing)") for name in expected} == expected
    assert str(line.get("text", "")).startswith(fixture["expect"].get("text_starts", ""))
    assert (line["kind"], line["supported"]) == KINDS[path.stem.removeprefix("apple-")]
    (fragment,) = CHANNEL.split(body)
    assert len(CHANNEL.parse(fragment.raw)) == (0 if line["kind"] == "ignored" else 1)


def test_closings_of_several_people_are_several() -> None:
    """The fixtures share one id, which their source makes at run time."""
    closings = [load(path)["payload"] for path in PATHS if "-optout-0" in path.name]
    found = {getattr(CHANNEL.parse(payload)[0], "provider_id", "") for payload in closings}
    assert len(found) == len({payload["sourceId"] for payload in closings}) == 2


@pytest.mark.parametrize(
    ("status", "meant"), [(410, "UNREACH"), (400, "PERM"), (403, "AUTH"), (500, "RETRY")]
)
def test_an_answer_is_classified(status: int, meant: str) -> None:
    found = orjson.loads(classify_line("apple", status, b""))
    assert found == {"class": meant, "code": status, "retry_after_s": None}
