"""Every registered channel runs the conformance kit."""

from importlib import import_module
from pathlib import Path

import pytest

from sealpost.conformance import ChannelUnderTest, Conformance
from workers import registry

SAMPLES = Path(__file__).parent


@pytest.fixture(params=registry.channel_names(), scope="module")
def under_test(request: pytest.FixtureRequest) -> ChannelUnderTest:
    """The samples of one registered channel: tests/conformance/<name>.py."""
    assert (SAMPLES / f"{request.param}.py").exists(), (
        f"{request.param} is registered, and has no samples for the kit"
    )
    found = import_module(f"tests.conformance.{request.param}").UNDER_TEST
    assert isinstance(found, ChannelUnderTest)
    assert found.channel is registry.channel(request.param)
    assert found.simulator is registry.simulator(request.param)
    return found


TestConformance = Conformance
