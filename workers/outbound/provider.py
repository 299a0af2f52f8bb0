"""Calls to providers: drives a channel's `deliver` generator over HTTP and says for each way it can end what is known.

Three kinds of knowledge: the provider answered; no connection came about, so nothing of the request was written (surely not
sent); something may have been written and no answer came (nobody knows). Why this client: docs/decisions/062-http-client.md.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Literal

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError

from schemas.addresses import Address
from schemas.content import Content
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
from workers.outbound.faults import where
from workers.outbound.waits import Clock

ANSWER_MAX_BYTES = 1024 * 1024
"""Largest answer that is read; a longer one is cut and then tells nothing."""
KEEP_ALIVE_S = 10.0
"""Idle connections are closed before providers close them: a request written into a closing connection has an unknown outcome."""
CONNECT_SHARE = 0.9
"""Part of the time of a call in which the connection must stand. Below 1, so that a provider that cannot be reached is told from
one that does not answer."""
COURTESY_S = 2.0
"""Longest time of a courtesy: how much later a message goes out when the provider is silent about it."""
NOT_CONNECTED = "client error (Connect)"
"""How hyper, the client underneath, names that no connection came about (tests/integration/outbound/test_provider_calls.py holds
it). Exception classes do not tell: a connection that breaks behind the request is a ConnectError too."""

logger = logging.getLogger(__name__)

NotSentWhy = Literal["refused", "lapsed", "unsupported", "no_account", "corrupt"]


@dataclass(frozen=True, slots=True)
class NotSent:
    """Nothing of the message left this process. `lapsed`: the lease on the keys had run out before the call."""

    why: NotSentWhy


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The request was written, wholly or in part, and no answer came in time."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The channel, or this program, raised or gave what no channel may give. `called`: something had been written by then, so
    nobody knows whether the provider took the message. `fault`: the kind of error, fit for logs and dead letters."""

    called: bool
    fault: str


Attempted = Outcome | NotSent | NoAnswer | Broken


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
        self._http_s = http_s
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
        content: Content,
        address: Address,
        access: AccountAccess,
        *,
        echo: str,
        deadline_s: float,
    ) -> Attempted:
        """Send one part and say what is known of it; never raises.

        `deadline_s`: the boot second until which a call may begin; looked at before each provider request. A courtesy goes
        before its request and not behind it: a message that is out must be settled at once, or a crash would repeat it.
        """
        steps: DeliverySteps | None = None
        answered = False
        try:
            steps = channel.deliver(content, address, access, echo)
            step = next(steps)
            while self._clock() < deadline_s:
                if step.courtesy is not None:
                    await self._call(channel.name, step.courtesy, min(COURTESY_S, self._http_s))
                    step = replace(step, courtesy=None)
                    continue
                answer = await self._call(channel.name, step, self._http_s)
                if not isinstance(answer, ProviderResponse):
                    return answer
                answered = True
                step = steps.send(answer)
            return NotSent("lapsed")
        except StopIteration as end:
            return end.value if isinstance(end.value, Outcome) else _broken(answered, TypeError())
        except UnsupportedContent as error:
            return _broken(answered, error) if answered else NotSent("unsupported")
        except Exception as error:  # noqa: BLE001  # whatever a third party's channel raises is its own, the lane must go on
            return _broken(answered, error)
        finally:
            _close(steps)

    async def _call(
        self, channel: str, request: ProviderRequest, limit_s: float
    ) -> ProviderResponse | NotSent | NoAnswer | Broken:
        started_s = self._clock()
        handed_over = False
        in_flight, seconds = self._measures(channel)
        in_flight.inc()
        try:
            asked = self._client.request(request.method, request.url).headers(request.headers)
            exchange = asked.timeout(timedelta(seconds=limit_s)).body_bytes(request.body).build_streamed()
            handed_over = True
            async with exchange as response:
                body = await response.body_reader.read(ANSWER_MAX_BYTES)
                return ProviderResponse(response.status, dict(response.headers.items()), bytes(body or b""))
        except RequestError as error:
            logger.info("no answer of provider %s: %s", channel, type(error).__name__)
            return NotSent("refused") if not_connected(error) else NoAnswer()
        except Exception as error:  # noqa: BLE001  # what a channel asks for may be anything, the lane must go on
            if isinstance(error, ValueError) and not handed_over:
                logger.error("a request to provider %s cannot be built", channel)
                return NotSent("refused")
            return _broken(handed_over, error)
        finally:
            in_flight.dec()
            seconds.observe(self._clock() - started_s)


def not_connected(error: RequestError) -> bool:
    """True when no connection came about, so that surely nothing was written."""
    return any(cause["message"] == NOT_CONNECTED for cause in error.details["causes"] or ())


def _broken(called: bool, error: Exception) -> Broken:
    logger.error("a delivery broke: %s", where(error))
    return Broken(called, type(error).__name__)


def _close(steps: DeliverySteps | None) -> None:
    """What a channel's generator does when it is ended early is of no consequence any more."""
    with suppress(Exception):
        if steps is not None:
            steps.close()
