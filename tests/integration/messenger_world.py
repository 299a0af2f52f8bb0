"""The simulated Send API of Messenger, and all around it."""

from tests.integration.simulator_world import SimulatorWorld
from tests.unit.channels.connection import Secrets
from workers.channels.messenger import simulator
from workers.channels.messenger.channel import CHANNEL
from workers.simulator import SimulatedAccount

PAGE = SimulatedAccount("1234567890", "1234567890", "token")
PERSON, OTHER = "5678901234567890", "5678901234567891"


class World(SimulatorWorld):
    """One page."""

    def __init__(self) -> None:
        super().__init__(CHANNEL, simulator.serve, PAGE, PERSON, Secrets("app secret"), "/v25.0")
