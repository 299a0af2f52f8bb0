"""The conformance kit for channels, for test suites: it needs pytest and hypothesis (`pip install sealpost[conformance]`).

A test module with a fixture `under_test` that returns a `ChannelUnderTest`, and the line `TestConformance = Conformance`, runs
every case. ADDING_CHANNELS.md tells how.
"""

import pytest

pytest.register_assert_rewrite("workers.conformance")

from workers.conformance.cases import SKIPPABLE, Conformance  # noqa: E402 - the rewriting must be asked for first
from workers.conformance.under_test import (  # noqa: E402 - as above
    TOO_FAST_WAIT_S,
    UNKNOWN_WORD,
    ChannelUnderTest,
    Greeting,
    Secrets,
)

__all__ = [
    "SKIPPABLE",
    "TOO_FAST_WAIT_S",
    "UNKNOWN_WORD",
    "ChannelUnderTest",
    "Conformance",
    "Greeting",
    "Secrets",
]
