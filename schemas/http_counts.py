"""What an API counts of its answers: by the route's template, never by the path that was asked for, which names persons."""

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.clock import boot_s
from schemas.metrics import counter, histogram

OTHER = "other"
"""Label of paths that no route of ours serves, and of methods that none has: strangers choose both, so they are no label."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class AnswerCounts:
    """Counts and times of answers, their children resolved once."""

    def __init__(self) -> None:
        self._requests = counter("sealpost_http_requests_total")
        self._seconds = histogram("sealpost_http_request_seconds")
        self._count_of: dict[tuple[str, str, int], Callable[[], None]] = {}
        self._observe_of: dict[tuple[str, str], Callable[[float], None]] = {}

    def answered(self, route: str, method: str, code: int, seconds: float) -> None:
        """A request to this route was answered with this HTTP status after so long."""
        self._count(route, method, code)
        observe = self._observe_of.get((route, method))
        if observe is None:
            observe = self._observe_of[route, method] = self._seconds.labels(route, method).observe
        observe(seconds)

    def cut_off(self, code: int) -> None:
        """A request whose head never ended was answered with this HTTP status."""
        self._count(OTHER, OTHER, code)

    def _count(self, route: str, method: str, code: int) -> None:
        count = self._count_of.get((route, method, code))
        if count is None:
            count = self._count_of[route, method, code] = self._requests.labels(route, method, str(code)).inc
        count()


class CountedAnswers:
    """ASGI middleware, the outermost. An answer counts when it begins: one that streams may go on for hours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._counts = app, AnswerCounts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = boot_s()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in _METHODS else OTHER
                # The router leaves in the scope which route it took.
                route = getattr(scope.get("route"), "path", OTHER)
                self._counts.answered(route, method, message["status"], boot_s() - began_s)
            await send(message)

        await self._app(scope, receive, counted)
