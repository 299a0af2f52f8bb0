"""The provider's side as all simulators have it: its record, faults and webhooks, the control side, and how it is served.

What differs is in `workers/channels/<name>/simulator.py`: validation, limits, and the provider's own JSON. The control side is
described in `workers/channels/whatsapp/README.md`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Any

import orjson
from aiohttp import web
from yarl import URL

from workers.channel import ChannelError
from workers.inbound_values import JsonObject
from workers.simulation import Fault, Faults, InvalidControl, MessageRecord, RateLimit, Webhooks
from workers.simulator import SimulatorSettings

REQUEST_MAX_BYTES = 1024 * 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ProviderError(ChannelError):
    """The simulated API answers with an error body of its provider's form."""

    def response(self, retry_after_s: float | None = None) -> web.Response:
        """The answer; with the provider's way to name a wait."""
        raise NotImplementedError


# ---- the provider -------------------------------------------------------------------------------------------------


class SimulatedProvider:
    """The provider's side of one connection, and what every control side can do."""

    def __init__(self, settings: SimulatorSettings, sign: Callable[[bytes], Mapping[str, str]]) -> None:
        """`sign`: the headers that prove a webhook."""
        self.settings = settings
        self.accounts = {account.provider_account_id: account for account in settings.accounts}
        self.record = MessageRecord(settings.kept_messages)
        self.faults = Faults()
        self.rate = RateLimit(settings.rate_per_s, settings.rate_per_s)
        self.webhooks = Webhooks(
            settings.webhook_url, sign, first_s=settings.retry_first_s, max_s=settings.retry_max_s
        )

    # What differs

    def recipient_key(self, text: str) -> str | None:
        """How the record names a recipient that a control request gives; None when it is none."""
        raise NotImplementedError

    def check_status(self, status: Any) -> None:
        """InvalidControl for what is no status that could be reported."""
        raise NotImplementedError

    def error_of(self, code: int, details: str, *, http: int | None, subcode: int | None) -> ProviderError:
        """The error that a fault asks for."""
        raise NotImplementedError

    def counts(self) -> JsonObject:
        """What `state` counts besides messages and webhooks."""
        return {}

    def clear(self, query: Mapping[str, str]) -> None:
        """Forget what `forget` means besides messages, faults, webhooks and rates."""

    # What does not

    def account_of(self, body: JsonObject) -> str:
        """The account that a control request is for; the first one when it names none."""
        own = str(body.get("account", next(iter(self.accounts), "")))
        if own not in self.accounts:
            raise InvalidControl("account: the simulator has none of this id")
        return own

    def fault_error(self, fault: Fault) -> web.Response:
        """The answer that a fault asks for."""
        error = fault.error or {}
        if "code" not in error:
            return web.Response(status=error["http"])
        details = error.get("details", "A fault asked for by a test.")
        asked = self.error_of(error["code"], details, http=error.get("http"), subcode=error.get("subcode"))
        return asked.response(fault.retry_after_s)

    async def list_messages(self, request: web.Request) -> web.StreamResponse:
        """What was accepted, in order; `?to=` one recipient, `?after=` without the first n."""
        to = request.query.get("to")
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit()):
            raise InvalidControl("after: how many to leave out")
        found = self.record.messages(None if to is None else self.recipient_key(to) or to)
        return json_answer({"messages": found[int(after[:9]) :], "count": len(found)})

    async def add_fault(self, request: web.Request) -> web.StreamResponse:
        """Something shall go wrong from now on; `{"clear": true}`: nothing any more."""
        body = await control_body(request)
        return json_answer({"active": self.faults.apply(body, self.recipient_key, self.check_status)})

    async def state(self, _: web.Request) -> web.StreamResponse:
        """Counts, nothing personal."""
        counts = {"messages": len(self.record.messages()), "faults": len(self.faults)} | self.counts()
        return json_answer(counts | {"webhooks": self.webhooks.counts()})

    async def forget(self, request: web.Request) -> web.StreamResponse:
        """Forget messages, faults, reports and repeats; what more, the query says."""
        self.record.clear()
        self.faults.clear()
        self.webhooks.clear()
        self.rate.clear()
        self.clear(request.query)
        return web.Response(status=204)

    def routes(self) -> list[web.RouteDef]:
        """The control side's."""
        return [
            web.get("/control/messages", self.list_messages),
            web.post("/control/faults", self.add_fault),
            web.get("/control/state", self.state),
            web.delete("/control", self.forget),
        ]

    async def report_statuses(self) -> None:
        """What goes on in the background until it is cancelled: nothing, where a provider reports no statuses."""


class ReportingProvider(SimulatedProvider):
    """A provider that reports statuses of what it accepted."""

    def __init__(self, settings: SimulatorSettings, sign: Callable[[bytes], Mapping[str, str]]) -> None:
        super().__init__(settings, sign)
        self.report: tuple[Any, ...] = settings.statuses
        self._statuses: deque[tuple[str, Any]] = deque(maxlen=settings.kept_messages * 3)
        self._wanted = asyncio.Event()

    # What differs

    def status_of(self, message: JsonObject, wanted: Any) -> Any:
        """A status of an accepted message as it waits to be reported."""
        raise NotImplementedError

    def wanted_of(self, body: JsonObject) -> Any:
        """The status that a control request wants reported."""
        return body.get("status")

    async def post_statuses(self, statuses: Mapping[str, list[Any]]) -> int:
        """Report statuses by account; the HTTP status of the last webhook."""
        raise NotImplementedError

    # What does not

    def accept(self, message: JsonObject, fault: Fault | None) -> None:
        """Take a message (`account`, `id`, …), and report of it what is to be reported."""
        self.record.add(message)
        for wanted in self.report if fault is None or fault.statuses is None else fault.statuses:
            self._statuses.append((message["account"], self.status_of(message, wanted)))
        self._wanted.set()

    async def report_statuses(self) -> None:
        """Post what there is to report, in order, several in one webhook; runs until cancelled."""
        while True:
            if not self._statuses:
                self._wanted.clear()
                await self._wanted.wait()
            await self.webhooks.calm()
            batch: dict[str, list[Any]] = {}
            for _ in range(min(self.settings.status_batch, len(self._statuses))):
                own, status = self._statuses.popleft()
                batch.setdefault(own, []).append(status)
            if batch:
                await self.post_statuses(batch)

    async def set_report(self, request: web.Request) -> web.StreamResponse:
        """Which statuses are reported from now on, in which order; [] withholds them."""
        wanted = (await control_body(request)).get("report")
        if not isinstance(wanted, list):
            raise InvalidControl("report: a list of statuses")
        for status in wanted:
            self.check_status(status)
        self.report = tuple(wanted)
        return json_answer({"report": wanted})

    async def send_status(self, request: web.Request) -> web.StreamResponse:
        """Report one status of one accepted message now; answers with the webhook's HTTP status."""
        body = await control_body(request)
        found = next((m for m in self.record.messages() if m["id"] == body.get("id")), None)
        if found is None:
            raise InvalidControl("id: no message of this id was accepted")
        wanted = self.wanted_of(body)
        self.check_status(wanted)
        return reported(await self.post_statuses({found["account"]: [self.status_of(found, wanted)]}))

    def counts(self) -> JsonObject:
        """How many statuses wait."""
        return {"statuses_waiting": len(self._statuses)}

    def clear(self, query: Mapping[str, str]) -> None:
        """Statuses that wait, and what was asked for to be reported."""
        self._statuses.clear()
        self.report = self.settings.statuses

    def routes(self) -> list[web.RouteDef]:
        """The control side's."""
        return [
            *super().routes(),
            web.put("/control/statuses", self.set_report),
            web.post("/control/statuses", self.send_status),
        ]


# ---- HTTP ---------------------------------------------------------------------------------------------------------


async def control_body(request: web.Request) -> JsonObject:
    """The JSON object of a control request; InvalidControl when it is none."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise InvalidControl("the body is no JSON") from None
    if not isinstance(body, dict):
        raise InvalidControl("the body is no JSON object")
    return body


def control_choice(body: JsonObject, name: str) -> JsonObject:
    """What a person pressed, `{"id", "title"}`; InvalidControl when one of them is missing."""
    choice = body.get(name)
    if not isinstance(choice, dict) or not all(isinstance(choice.get(part), str) for part in ("id", "title")):
        raise InvalidControl(f"{name}: id and title are needed")
    return {"id": choice["id"], "title": choice["title"]}


def json_answer(body: Any, status: int = 200) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def reported(status: int, **more: Any) -> web.Response:
    """What became of a webhook, as the control side answers it."""
    return json_answer({**more, "status": status}, status if 200 <= status < 600 else 502)


@web.middleware
async def _control_from_here(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The control side tells what people were sent. No web site that is open in a browser of this machine may ask it: neither by
    its own address, nor by a name that was rebound to this one (a request by address or as localhost cannot be that).
    """
    if request.path.startswith("/control"):
        host = URL(f"//{request.headers.get('Host', '')}").host or ""
        try:
            ip_address(host)
        except ValueError:
            if host != "localhost":
                return json_answer({"error": "ask by address or as localhost"}, 421)
        if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
            return json_answer({"error": "no web site may ask this"}, 403)
    return await handler(request)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ProviderError as error:
        return error.response()
    except InvalidControl as error:
        return json_answer({"error": str(error)}, 422)


async def serve_provider(provider: SimulatedProvider, routes: list[web.RouteDef]) -> None:
    """Listen and serve until cancelled: the provider's own routes and those of its control side. `settings.ready` gets the base
    URL.
    """
    settings = provider.settings

    async def background(_: web.Application) -> AsyncIterator[None]:
        provider.webhooks.start()
        reporter = asyncio.create_task(provider.report_statuses())
        yield
        reporter.cancel()
        await asyncio.gather(reporter, return_exceptions=True)
        await provider.webhooks.stop()

    app = web.Application(middlewares=[_control_from_here, _answer_errors], client_max_size=REQUEST_MAX_BYTES)
    app.cleanup_ctx.append(background)
    app.add_routes([*routes, *provider.routes()])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
        port = runner.addresses[0][1]
        if settings.ready is not None:
            settings.ready(f"http://{settings.host}:{port}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
