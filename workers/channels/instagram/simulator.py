"""The Send API of Instagram for sandbox, tests and benchmarks: shared, `workers/meta_messaging/simulator.py`."""

from workers.channels.instagram.wire import PLATFORM
from workers.meta_messaging import simulator
from workers.simulator import SimulatorSettings


async def serve(settings: SimulatorSettings) -> None:
    """Listen and serve until cancelled; `settings.ready` gets the base URL (`…/v25.0` below it is the API)."""
    await simulator.serve(PLATFORM, settings)
