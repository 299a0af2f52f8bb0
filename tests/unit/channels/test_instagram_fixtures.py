"""Every real Instagram payload of ../shared/fixtures against what its author says a correct parser finds."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.channel_commands import classify_line, parse_lines
from tests.unit.channels.connection import Secrets
from tests.unit.channels.meta_payloads import FIXTURES, NO_FIXTURES
from workers.channel import Accepted, Denied, WebhookRequest
from workers.channels.instagram.channel import CHANNEL

PATHS = sorted(FIXTURES.glob("instagram-*.json"))
CLASSES = {"permanent": "PERM"}
"""The fixtures' words for a class → ours."""
KINDS = {
    "inbound-03": ("message", True, None),
    "inbound-06": ("unsupported", False, None),
    "inbound-09": ("ignored", False, "another account"),
    "optin-01": ("ignored", False, "another account"),
    "status-01": ("ignored", False, "another account"),
}
"""Fixture → kind, whether it is supported, and why not, as `sealpost parse instagram` prints them."""
pytestmark = pytest.mark.skipif(not PATHS, reason=NO_FIXTURES)


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(path.read_bytes())
    return content


def is_error(path: Path) -> bool:
    return "-error-" in path.name


@pytest.mark.parametrize("path", [p for p in PATHS if not is_error(p)], ids=lambda p: p.stem)
def test_the_facts_expected_are_found(path: Path) -> None:
    """As the command line prints them, for whole webhooks and for elements alone."""
    fixture = load(path)
    (line,) = parse_lines("instagram", orjson.dumps(fixture["payload"]))
    value = orjson.loads(line)
    expected = {name: fact for name, fact in fixture["expect"].items() if name != "note"}
    assert {name: value.get(name, "(missing)") for name in expected} == expected
    kind = path.stem.removeprefix("instagram-")
    assert (value["kind"], value["supported"], value.get("why")) == KINDS[kind]


@pytest.mark.parametrize("path", [p for p in PATHS if is_error(p)], ids=lambda p: p.stem)
@pytest.mark.parametrize("http", [200, 400, 500])
def test_the_class_expected_is_given(path: Path, http: int) -> None:
    fixture = load(path)
    expect = fixture["expect"]
    found = orjson.loads(classify_line("instagram", http, orjson.dumps(fixture["payload"])))
    assert (found["class"], found["code"]) == (CLASSES[expect["class"]], expect["code"])


def vectors() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load(FIXTURES / "signatures.json")["vectors"] if PATHS else []
    return [vector for vector in found if "instagram" in vector["channels"]]


@pytest.mark.parametrize("vector", vectors(), ids=lambda v: v["name"])
def test_signature_vectors(vector: dict[str, Any]) -> None:
    secrets = Secrets()
    secrets.app_secret = vector["secret"]
    headers = {"x-hub-signature-256": vector["header"]} if vector["header"] else {}
    verdict = CHANNEL.authenticate(WebhookRequest("POST", {}, headers, vector["body"].encode()), secrets)
    assert isinstance(verdict, Accepted if vector["expect"].startswith("accept") else Denied)
