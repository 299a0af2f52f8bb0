"""The simulated Graph API of WhatsApp, and all around it."""

from tests.integration.simulator_world import SimulatorWorld
from tests.unit.channels.connection import Secrets
from workers.channels.whatsapp import simulator
from workers.channels.whatsapp.channel import CHANNEL
from workers.simulator import SimulatedAccount

PERSON, OTHER = "4915112345678", "4915198765432"


class World(SimulatorWorld):
    """One number."""

    def __init__(self) -> None:
        account = SimulatedAccount("106540352242922", "+1 555 078 3881", "token")
        super().__init__(CHANNEL, simulator.serve, account, PERSON, Secrets("app secret"), "/v25.0")
