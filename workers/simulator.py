"""What a channel's simulator is told, and what it offers: the provider's API on loopback, with its limits."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SimulatedAccount:
    """One sender that a simulator offers: the provider's id, the number shown, and the token that may send
    with it.
    """

    provider_account_id: str
    number: str
    access_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """How a simulator runs. `port` 0 takes a free one; `ready` is called with the base URL once it listens.

    `statuses` are reported for every message it takes, in this order (() withholds them), each as soon as the
    one before was taken by the webhook. A webhook that is not answered 2xx is repeated after `retry_first_s`,
    doubled up to `retry_max_s`.
    """

    webhook_url: str
    app_secret: str = field(repr=False)
    accounts: tuple[SimulatedAccount, ...]
    host: str = "127.0.0.1"
    port: int = 0
    window_s: float = 24 * 3600.0
    unknown_windows_open: bool = False
    """A simulator that was started again has forgotten who wrote: then people it does not know count as having written."""
    rate_per_s: float = 80.0
    pair_limit: bool = False
    statuses: tuple[str, ...] = ("sent", "delivered", "read")
    status_batch: int = 50
    retry_first_s: float = 0.2
    retry_max_s: float = 5.0
    kept_messages: int = 200_000
    ready: Callable[[str], None] | None = field(default=None, repr=False)


Simulator = Callable[[SimulatorSettings], Coroutine[Any, Any, None]]
"""`serve(settings)`: runs until cancelled. Entry-point group `sealpost.simulators`."""
