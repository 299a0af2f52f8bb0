"""Messenger for the conformance kit."""

from tests.conformance.meta import under_test
from workers.channels.messenger import simulator
from workers.channels.messenger.channel import CHANNEL

UNDER_TEST = under_test(CHANNEL, simulator.serve)
