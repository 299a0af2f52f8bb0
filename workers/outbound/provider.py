"""Calls to providers: drives a channel's `deliver` generator over HTTP and says for each way it can end what is known.

Three kinds of knowledge: the provider answered; nothing of the request was written (surely not sent); something was written and
no answer came (nobody knows). aiohttp tells through its tracing signals when it begins to write.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import aiohttp

from schemas.addresses import Address
from schemas.content import TemplateContent, TextContent
from schemas.errors import SealpostError
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


class _TooLate(SealpostError):
    """A connection came so late that another worker may soon take the claim over; nothing was written. No action needed."""


class ProviderCalls:
    """One aiohttp session for all accounts; open it inside the event loop, close it at the end."""

    def __init__(self, http_s: float, connections: int, clock: Clock) -> None:
        self._http_s = http_s
        self._clock = clock
        self._in_flight = gauge("sealpost_sends_in_flight")
        self._seconds = histogram("sealpost_provider_request_seconds")
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(self._writing)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[trace],
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

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
        steps: DeliverySteps | None = None
        answered = False
        try:
            steps = channel.deliver(content, address, access, echo)
            step = next(steps)
            while self._clock() < deadline_s:
                answer = await self._call(channel.name, step)
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
        self, channel: str, request: ProviderRequest
    ) -> ProviderResponse | NotSent | NoAnswer | Broken:
        started_s = self._clock()
        seen = SimpleNamespace(written=False, end_s=started_s + self._http_s)
        in_flight = self._in_flight.labels(channel)
        in_flight.inc()
        try:
            async with asyncio.timeout(self._http_s):
                return await self._exchange(request, seen)
        except (aiohttp.ClientError, OSError, TimeoutError, _TooLate, ValueError) as error:
            logger.info("no answer of provider %s: %s", channel, type(error).__name__)
            return NoAnswer() if seen.written else NotSent("refused")
        except Exception as error:  # noqa: BLE001  # what a channel asks for may be anything, the lane must go on
            return _broken(seen.written, error)
        finally:
            in_flight.dec()
            self._seconds.labels(channel).observe(self._clock() - started_s)

    async def _exchange(self, request: ProviderRequest, seen: SimpleNamespace) -> ProviderResponse:
        async with self._session.request(
            request.method,
            request.url,
            data=request.body,
            headers=request.headers,
            allow_redirects=False,
            trace_request_ctx=seen,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                body += chunk
                if len(body) > ANSWER_MAX_BYTES:
                    break
            return ProviderResponse(response.status, dict(response.headers), bytes(body[:ANSWER_MAX_BYTES]))

    async def _writing(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, params: object
    ) -> None:
        """The last moment before the first byte: a process that was frozen meanwhile must not write any more."""
        seen = context.trace_request_ctx
        if self._clock() >= seen.end_s:
            raise _TooLate("the connection came after the end of the call")
        seen.written = True


def _broken(called: bool, error: Exception) -> Broken:
    logger.error("a delivery broke: %s", where(error))
    return Broken(called, type(error).__name__)


def _close(steps: DeliverySteps | None) -> None:
    """What a channel's generator does when it is ended early is of no consequence any more."""
    with suppress(Exception):
        if steps is not None:
            steps.close()
