"""Every real WhatsApp payload of ../shared/fixtures against what its author says a correct parser finds."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.channel_commands import parse_lines
from tests.unit.channels.connection import Secrets
from tests.unit.channels.whatsapp_payloads import FIXTURES, NO_FIXTURES
from workers.channel import Accepted, Denied, ProviderResponse, UnparseableFragment, WebhookRequest
from workers.channels.whatsapp.channel import CHANNEL
from workers.inbound_values import (
    InboundAccountNews,
    InboundAddressChange,
    InboundMessage,
    InboundOptOut,
    InboundRevoke,
    InboundTemplateStatus,
    InboundUnsupported,
)

PATHS = sorted(FIXTURES.glob("whatsapp-*.json"))
CLASSES = {"rate-limited": "RATE", "permanent": "PERM", "auth: pause channel, alert": "AUTH"}
"""The fixtures' words for a class → ours."""
pytestmark = pytest.mark.skipif(not PATHS, reason=NO_FIXTURES)


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(path.read_bytes())
    return content


def is_webhook(path: Path) -> bool:
    return "entry" in load(path)["payload"]


@pytest.mark.parametrize("path", [p for p in PATHS if is_webhook(p)], ids=lambda p: p.stem)
def test_the_facts_expected_are_found(path: Path) -> None:
    fixture = load(path)
    fragments = CHANNEL.split(orjson.dumps(fixture["payload"]))
    values = [value for fragment in fragments for value in CHANNEL.describe(fragment.raw)]
    assert len(values) == 1
    expected = {name: fact for name, fact in fixture["expect"].items() if name != "note"}
    assert {name: values[0].get(name, "(missing)") for name in expected} == expected
    orjson.dumps(values)


KINDS = {
    "error-01": ("account_error", True, None),
    "inbound-01": ("message", True, None),
    "inbound-04": ("message", True, None),
    "inbound-07": ("message", True, None),
    "inbound-10": ("message", True, None),
    "inbound-13": ("message", True, None),
    "inbound-16": ("message", True, None),
    "inbound-19": ("reaction", True, None),
    "inbound-22": ("message", True, None),
    "inbound-25": ("message", True, None),
    "inbound-28": ("unsupported", False, "group"),
    "inbound-31": ("message", False, None),
    "inbound-34": ("rejected", False, "timestamp"),
    "inbound-37": ("message", True, None),
    "inbound-40": ("message", False, "no_address"),
    "inbound-43": ("message", False, "no_address"),
    "optin-03": ("resume", True, None),
    "other-02": ("revoke", True, None),
    "other-05": ("address_change", True, None),
    "other-08": ("template_status", True, None),
    "other-11": ("account_news", True, None),
    "status-01": ("status", True, None),
    "status-04": ("status", True, None),
    "status-07": ("unsupported", False, "group"),
    "status-10": ("status", True, None),
    "status-13": ("unsupported", False, "unknown"),
}
"""Fixture → kind, whether it is supported, and why not, as `sealpost parse whatsapp` prints them."""


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_printed_makes_sense(name: str) -> None:
    """A lifted opt-out is no opt-out, and what is not supported or dead-lettered says why."""
    payload = load(FIXTURES / f"whatsapp-{name}.json")["payload"]
    (line,) = parse_lines("whatsapp", orjson.dumps(payload))
    value = orjson.loads(line)
    assert (value["kind"], value["supported"], value.get("why")) == KINDS[name]


@pytest.mark.parametrize("path", [p for p in PATHS if not is_webhook(p)], ids=lambda p: p.stem)
def test_the_class_expected_is_given(path: Path) -> None:
    fixture = load(path)
    expect = fixture["expect"]
    body = orjson.dumps(fixture["payload"])
    found = CHANNEL.classify(ProviderResponse(expect.get("http_status", 401), {}, body))
    assert found.code == expect["code"]
    assert found.failure_class == CLASSES[expect["class"]]


def values_of(name: str) -> list[Any]:
    fixture = load(FIXTURES / f"whatsapp-{name}.json")
    return [v for f in CHANNEL.split(orjson.dumps(fixture["payload"])) for v in CHANNEL.parse(f.raw)]


def test_typed_values_of_the_telling_ones() -> None:
    """A user id in `from` is no phone, a group is nobody's chat, what is not supported shows no text."""
    (bsuid,) = values_of("inbound-04")
    assert isinstance(bsuid, InboundMessage)
    assert [(a.kind, a.value) for a in bsuid.addresses] == [("bsuid", "US.1234")]
    (group,) = values_of("inbound-28")
    assert isinstance(group, InboundUnsupported)
    assert group.provider_kind == "group"
    (strange,) = values_of("inbound-31")
    assert isinstance(strange, InboundMessage)
    assert (strange.kind, strange.text) == ("unsupported", None)
    assert strange.raw is not None
    (choice,) = values_of("inbound-16")
    assert (choice.kind, choice.option_id, choice.option_title) == ("list_reply", "callback_data", "title")
    (resumed,) = values_of("optin-03")
    assert isinstance(resumed, InboundOptOut)
    assert resumed.value == "resume"
    assert [a.value for a in resumed.addresses] == ["16505551234"]
    with pytest.raises(UnparseableFragment, match="timestamp"):
        values_of("inbound-34")


def test_typed_values_of_what_is_no_message() -> None:
    """Who revoked, what moved where, and what was decided, in our words."""
    (revoked,) = values_of("other-02")
    assert isinstance(revoked, InboundRevoke)
    assert revoked.target == "<ORIGINAL_WHATSAPP_MESSAGE_ID>"
    assert [a.kind for a in revoked.addresses] == ["bsuid", "phone"]
    (moved,) = values_of("other-05")
    assert isinstance(moved, InboundAddressChange)
    assert [[a.value for a in side] for side in (moved.old, moved.new)] == [
        ["US.13491208655302741918"],
        ["US.98765432100000000001"],
    ]
    (decided,) = values_of("other-08")
    assert isinstance(decided, InboundTemplateStatus)
    assert (decided.template, decided.language, decided.status, decided.reason) == (
        "abandoned_cart", "en", "rejected", "invalid_format",
    )  # fmt: skip
    assert decided.provider_time_ms == 1_751_247_548_000
    (flagged,) = values_of("other-11")
    assert isinstance(flagged, InboundAccountNews)
    assert (flagged.field, flagged.event) == ("phone_number_quality_update", "flagged")


def vectors() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load(FIXTURES / "signatures.json")["vectors"] if PATHS else []
    return [vector for vector in found if "whatsapp" in vector["channels"]]


@pytest.mark.parametrize("vector", vectors(), ids=lambda v: v["name"])
def test_signature_vectors(vector: dict[str, Any]) -> None:
    secrets = Secrets()
    secrets.app_secret = vector["secret"]
    headers = {"x-hub-signature-256": vector["header"]} if vector["header"] else {}
    verdict = CHANNEL.authenticate(WebhookRequest("POST", {}, headers, vector["body"].encode()), secrets)
    assert isinstance(verdict, Accepted if vector["expect"].startswith("accept") else Denied)
