"""What a channel's simulator is made of: the provider's side on loopback, its faults and webhooks, and its control side."""

from schemas.ids import random_id
from workers.simulated_provider import (
    ProviderError,
    ReportingProvider,
    SimulatedProvider,
    control_body,
    control_choice,
    json_answer,
    reported,
    serve_provider,
)
from workers.simulation import Fault, InvalidControl, RateLimit, Windows, suffer
from workers.simulator import SimulatedAccount, Simulator, SimulatorSettings

__all__ = [
    "Fault",
    "InvalidControl",
    "ProviderError",
    "RateLimit",
    "ReportingProvider",
    "SimulatedAccount",
    "SimulatedProvider",
    "Simulator",
    "SimulatorSettings",
    "Windows",
    "control_body",
    "control_choice",
    "json_answer",
    "random_id",
    "reported",
    "serve_provider",
    "suffer",
]
