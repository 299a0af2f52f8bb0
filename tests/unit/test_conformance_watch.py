"""What the conformance kit looks at in every case without being asked: each kind of fault is found, a clean case is none."""

import asyncio
import logging
import socket
from dataclasses import replace
from typing import Any

import pytest

from schemas.content import TextContent
from schemas.metrics import gauge
from sealpost.conformance import Conformance
from tests.conformance.whatsapp import UNDER_TEST
from workers.channel import Channel, Fragment, ProviderRequest, ProviderResponse, UnsupportedContent
from workers.channels.whatsapp.channel import WhatsApp
from workers.conformance.watch import LeftTheMachine, Watch, WatchedChannel
from workers.conformance.world import World, answered
from workers.inbound_values import Inbound, InboundStatus, JsonObject

SECRET = "kit-secret-4711"


@pytest.fixture
def watch() -> Watch:
    return Watch({"the secret": SECRET, "nothing": "", "too short to be told from chance": "kit"})


class Leaky:
    """A channel whose every member shows the secret."""

    name = "leaky"

    def split(self, _: bytes) -> list[Fragment]:
        return [Fragment(SECRET, "", {})]

    def deliver(self, *_: Any) -> Any:
        raise UnsupportedContent(f"no {SECRET}")


def test_a_clean_case_has_no_findings(watch: Watch) -> None:
    logging.getLogger("kit").addHandler(watch)
    logging.getLogger("kit").warning("a kit of %s", "nothing")
    assert watch.findings() == []


def test_a_log_line_is_read_with_its_values_and_its_traceback(watch: Watch) -> None:
    log = logging.getLogger("kit")
    log.addHandler(watch)
    try:
        log.warning("%s", SECRET)
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("it broke")
    finally:
        log.removeHandler(watch)
    assert watch.findings() == ["the secret stands in a log line"]


def test_a_metric_label_is_read(watch: Watch) -> None:
    gauge("sealpost_component_up").labels(SECRET).set(1)
    try:
        assert watch.findings() == ["the secret stands in a metric label"]
    finally:
        gauge("sealpost_component_up").remove(SECRET)


def test_routing_fields_and_errors_are_read(watch: Watch) -> None:
    channel: Any = WatchedChannel(Leaky(), watch)  # type: ignore[arg-type]  # only what is asked for here
    channel.split(b"")
    with pytest.raises(UnsupportedContent):
        next(channel.deliver(None, None, None, ""))
    assert watch.findings() == [
        "the secret stands in an error's text",
        "the secret stands in the repr of a Fragment",
    ]


def test_made_up_input_is_no_fault_of_the_channel(watch: Watch) -> None:
    channel: Any = WatchedChannel(Leaky(), watch, spoiled=True)  # type: ignore[arg-type]  # as above
    channel.split(b"")
    assert watch.findings() == []


def test_no_socket_reaches_another_machine(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.guard(monkeypatch.setattr)
    with socket.socket() as one, pytest.raises(LeftTheMachine):
        one.connect(("192.0.2.1", 80))
    assert watch.findings() == ["a call left the machine"]
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as one:
        one.connect(server.getsockname())
    assert watch.findings() == ["a call left the machine"]


def test_no_request_of_a_channel_is_for_another_machine(watch: Watch) -> None:
    for url in ("http://127.0.0.1:1/a", "http://[::1]:1/a", "http://localhost/a"):
        watch.request(ProviderRequest("GET", url, {}, b""))
    for url in ("http://192.0.2.1/a", "http://localhost.example/a", "/a"):
        with pytest.raises(LeftTheMachine):
            watch.request(ProviderRequest("GET", url, {}, b""))
    assert watch.findings() == ["deliver() calls another address than the account's"]


def test_an_answer_that_nobody_asked_for_is_found(watch: Watch) -> None:
    refused = ProviderResponse(400, {}, b"")
    asyncio.run(answered(UNDER_TEST, watch, TextContent(text="x"), [refused, refused]))
    assert watch.findings() == ["an answer of the provider was not asked for"]


class WithoutEcho(WhatsApp):
    """Loses our id in every status."""

    def parse(self, raw: JsonObject) -> list[Inbound]:
        found = super().parse(raw)
        return [replace(one, echo=None) if isinstance(one, InboundStatus) else one for one in found]


class OfAnotherMessage(WhatsApp):
    """Calls what a status is about by a name of its own."""

    def parse(self, raw: JsonObject) -> list[Inbound]:
        found = super().parse(raw)
        return [replace(one, provider_id="x") if isinstance(one, InboundStatus) else one for one in found]


@pytest.mark.parametrize(
    ("channel", "words"), [(WithoutEcho(), "our id comes back"), (OfAnotherMessage(), "another message")]
)
def test_a_receipt_that_cannot_be_told_whose_it_is_fails_its_case(
    watch: Watch, channel: Channel, words: str
) -> None:
    with pytest.raises(AssertionError, match=words):
        Conformance().test_each_receipt_is_reported(replace(UNDER_TEST, channel=channel), watch)


def test_a_fault_that_nobody_met_is_found(watch: Watch) -> None:
    async def run() -> None:
        async with World(UNDER_TEST, watch) as world:
            await world.fail_next(503)

    asyncio.run(run())
    assert watch.findings() == ["a fault of the simulator was not met by any request"]
