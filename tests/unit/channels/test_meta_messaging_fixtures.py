"""Every real payload of Messenger and Instagram in ../shared/fixtures against what its author says a correct parser finds."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.channel_commands import classify_line, parse_lines
from tests.unit.channels.connection import Secrets
from tests.unit.channels.meta_payloads import BOTH, FIXTURES, NO_FIXTURES
from workers.channel import Accepted, Channel, Denied, WebhookRequest

PATHS = sorted(path for channel in BOTH for path in FIXTURES.glob(f"{channel.name}-*.json"))
CLASSES = {
    "retryable": "RETRY", "recipient-unreachable": "UNREACH", "permanent (app not live)": "PERM", "permanent": "PERM",
}  # fmt: skip
"""The fixtures' words for a class → ours."""
KINDS = {
    "instagram-inbound-03": ("message", True, None),
    "instagram-inbound-06": ("unsupported", False, None),
    "instagram-inbound-09": ("ignored", False, "another account"),
    "instagram-optin-01": ("ignored", False, "another account"),
    "instagram-status-01": ("ignored", False, "another account"),
    "messenger-inbound-02": ("message", True, None),
    "messenger-inbound-05": ("message", False, None),
    "messenger-inbound-08": ("ignored", False, "another account"),
    "messenger-inbound-11": ("rejected", False, "malformed"),
    "messenger-inbound-14": ("unsupported", False, "reaction"),
    "messenger-optin-03": ("entry", True, None),
    "messenger-optin-06": ("unsupported", False, "optin"),
    "messenger-status-01": ("status", True, None),
}
"""Fixture → kind, whether it is supported, and why not, as `sealpost parse <channel>` prints them."""
pytestmark = pytest.mark.skipif(not PATHS, reason=NO_FIXTURES)


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(path.read_bytes())
    return content


def channel_of(path: Path) -> str:
    return path.stem.partition("-")[0]


def is_error(path: Path) -> bool:
    return "-error-" in path.name


@pytest.mark.parametrize("path", [p for p in PATHS if not is_error(p)], ids=lambda p: p.stem)
def test_the_facts_expected_are_found(path: Path) -> None:
    """As the command line prints them, for whole webhooks and for elements alone."""
    fixture = load(path)
    (line,) = parse_lines(channel_of(path), orjson.dumps(fixture["payload"]))
    value = orjson.loads(line)
    expected = {name: fact for name, fact in fixture["expect"].items() if name != "note"}
    assert {name: value.get(name, "(missing)") for name in expected} == expected
    assert (value["kind"], value["supported"], value.get("why")) == KINDS[path.stem]


@pytest.mark.parametrize("path", [p for p in PATHS if is_error(p)], ids=lambda p: p.stem)
@pytest.mark.parametrize("http", [200, 400, 500])
def test_the_class_expected_is_given(path: Path, http: int) -> None:
    fixture = load(path)
    expect = fixture["expect"]
    found = orjson.loads(classify_line(channel_of(path), http, orjson.dumps(fixture["payload"])))
    assert (found["class"], found["code"]) == (CLASSES[expect["class"]], expect["code"])


def vectors() -> list[tuple[Channel, dict[str, Any]]]:
    found: list[dict[str, Any]] = load(FIXTURES / "signatures.json")["vectors"] if PATHS else []
    return [(channel, vector) for channel in BOTH for vector in found if channel.name in vector["channels"]]


@pytest.mark.parametrize(
    ("channel", "vector"), vectors(), ids=lambda v: v["name"] if isinstance(v, dict) else v.name
)
def test_signature_vectors(channel: Channel, vector: dict[str, Any]) -> None:
    secrets = Secrets()
    secrets.app_secret = vector["secret"]
    headers = {"x-hub-signature-256": vector["header"]} if vector["header"] else {}
    verdict = channel.authenticate(WebhookRequest("POST", {}, headers, vector["body"].encode()), secrets)
    assert isinstance(verdict, Accepted if vector["expect"].startswith("accept") else Denied)
