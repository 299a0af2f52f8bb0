"""Instagram for the conformance kit."""

from tests.conformance.meta import under_test
from workers.channels.instagram import simulator
from workers.channels.instagram.channel import CHANNEL

UNDER_TEST = under_test(CHANNEL, simulator.serve)
