"""Calls to providers: drives a channel's `deliver` generator over HTTP and says for each way it can end what is known.

Three kinds of knowledge: the provider answered; no connection came about, so nothing of the request was written (surely not
sent); something may have been written and no answer came (nobody knows). Why this client: docs/decisions/060-http-client.md.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Literal

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from schemas.addresses import Address
from schemas.content import TemplateContent, TextContent
from schemas.metrics import gauge, histogram
from workers.channel import (
    AccountAccess,
    Channel,
    DeliverySteps,
    Outcome,
    ProviderRequest,
    ProviderResponse,
    UnsupportedContent,
)
from workers.outbound.waits import Clock

ANSWER_MAX_BYTES = 1024 * 1024
"""Largest answer that is read; a longer one is cut and then tells nothing."""
KEEP_ALIVE_S = 10.0
"""Idle connections are closed before providers close them: a request written into a closing connection has an unknown outcome."""
CONNECT_SHARE = 0.9
"""Part of the time of a call in which the connection must stand. Below 1, so that a provider that cannot be reached is told from
one that does not answer."""
NOT_CONNECTED = "client error (Connect)"
"""How hyper, the client underneath, names that no connection came about (held by tests/integration/test_provider_calls.py).
Exception classes do not tell: a connection that breaks behind the request is a ConnectError too."""

logger = logging.getLogger(__name__)

NotSentWhy = Literal["refused", "lapsed", "unsupported", "no_account", "corrupt", "channel_error"]


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing of the message left this process. `lapsed`: the lease on the keys had run out before the call."""

    why: NotSentWhy


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The request was written, wholly or in part, and no answer came in time."""


Attempted = Outcome | NotSent | NoAnswer


def client(http_s: float) -> Client:
    """The one HTTP client of the role: never repeats a request that was begun, follows no redirect, asks no proxy."""
    return (
        ClientBuilder()
        .timeout(timedelta(seconds=http_s))
        .connect_timeout(timedelta(seconds=http_s * CONNECT_SHARE))
        .pool_idle_timeout(timedelta(seconds=KEEP_ALIVE_S))
        .follow_redirects(False)
        .referer(False)
        .no_proxy()
        .build()
    )


class ProviderCalls:
    """One HTTP client for all accounts; close it at the end."""

    def __init__(self, http_s: float, clock: Clock) -> None:
        self._clock = clock
        self._client = client(http_s)
        self._in_flight = gauge("sealpost_sends_in_flight")
        self._seconds = histogram("sealpost_provider_request_seconds")
        self._measures = cache(
            lambda channel: (self._in_flight.labels(channel), self._seconds.labels(channel))
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def deliver(
        self,
        channel: Channel,
        content: TextContent | TemplateContent,
        address: Address,
        access: AccountAccess,
        *,
        echo: str,
        deadline_s: float,
    ) -> Attempted:
        """Send one part and say what is known of it; never raises.

        `deadline_s`: the boot second until which a call may begin; looked at before each provider request.
        """
        steps = channel.deliver(content, address, access, echo)
        response: ProviderResponse | None = None
        while True:
            step = _advance(steps, response)
            if not isinstance(step, ProviderRequest):
                return step
            if self._clock() >= deadline_s:
                steps.close()
                return NotSent("lapsed")
            answer = await self._call(channel.name, step)
            if not isinstance(answer, ProviderResponse):
                steps.close()
                return answer
            response = answer

    async def _call(self, channel: str, request: ProviderRequest) -> ProviderResponse | NotSent | NoAnswer:
        try:
            asked = self._client.request(request.method, request.url).headers(request.headers)
            exchange = asked.body_bytes(request.body).build_streamed()
        except ValueError:
            logger.error("a request to provider %s cannot be built", channel)
            return NotSent("refused")
        started_s = self._clock()
        in_flight, seconds = self._measures(channel)
        in_flight.inc()
        try:
            async with exchange as response:
                body = await response.body_reader.read(ANSWER_MAX_BYTES)
                return ProviderResponse(response.status, dict(response.headers.items()), bytes(body or b""))
        except RequestError as error:
            logger.info("no answer of provider %s: %s", channel, type(error).__name__)
            return NotSent("refused") if not_connected(error) else NoAnswer()
        finally:
            in_flight.dec()
            seconds.observe(self._clock() - started_s)


def not_connected(error: RequestError) -> bool:
    """True when no connection came about, so that surely nothing was written."""
    return any(cause["message"] == NOT_CONNECTED for cause in error.details["causes"] or ())


def _advance(
    steps: DeliverySteps, response: ProviderResponse | None
) -> ProviderRequest | Outcome | NotSent | NoAnswer:
    """One step of a channel's generator; a channel that raises ends the message, it never ends the worker."""
    try:
        return next(steps) if response is None else steps.send(response)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    except UnsupportedContent:
        return NotSent("unsupported")
    except Exception as error:  # noqa: BLE001  # third-party channels: whatever they raise is theirs, the lane must go on
        logger.error("the channel raised: %s", type(error).__name__)
        return NotSent("channel_error") if response is None else NoAnswer()
