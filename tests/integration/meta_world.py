"""The simulated Send API of Messenger and of Instagram, and all around it."""

from tests.integration.simulator_world import SimulatorWorld
from tests.unit.channels.connection import Secrets
from workers.channels.instagram import simulator as instagram
from workers.channels.instagram.channel import CHANNEL as INSTAGRAM
from workers.channels.messenger import simulator as messenger
from workers.channels.messenger.channel import CHANNEL as MESSENGER
from workers.simulator import SimulatedAccount

PAGE = SimulatedAccount("1234567890", "1234567890", "token")
PROFILE = SimulatedAccount("17841400000000001", "backhaus_berlin", "token")
PERSON, OTHER = "5678901234567890", "5678901234567891"


class Messenger(SimulatorWorld):
    """One page."""

    def __init__(self) -> None:
        super().__init__(MESSENGER, messenger.serve, PAGE, PERSON, Secrets("app secret"), "/v25.0")


class Instagram(SimulatorWorld):
    """One professional account."""

    def __init__(self) -> None:
        super().__init__(INSTAGRAM, instagram.serve, PROFILE, PERSON, Secrets("app secret"), "/v25.0")
