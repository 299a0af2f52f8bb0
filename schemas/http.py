"""HTTP as all of Sealpost's APIs speak it: problem details (RFC 9457), bearer tokens with roles, a limit for bodies.

Queries and commands live in packages that must not know one another; what both need of FastAPI is here.
"""

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Protocol

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import SealpostError
from schemas.field_errors import UNREADABLE, FieldError, field_errors
from schemas.http_counts import CountedAnswers
from schemas.problems import MEDIA_TYPE, PROBLEM_PREFIX, PROBLEMS

BODY_MAX_BYTES = 256 * 1024
"""Largest request body of the API; a message is a few kilobytes. Without it one caller could fill the memory."""
DRAIN_MAX_BYTES = 8 * 1024 * 1024
DRAIN_S = 5.0
"""What is read of a body over the limit, and for how long."""
READ_S = 10.0
"""Longest a request's body may take to come; then 408. A caller that stalls would hold its socket and its place for ever."""
RETRY_AFTER_S = 1
CHALLENGE = 'Bearer realm="sealpost"'
log = logging.getLogger(__name__)

_BEARER = HTTPBearer(auto_error=False, description="A token of one (tenant, role); role admin has no tenant.")
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "examples": [PROBLEM_PREFIX + "invalid"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "examples": ["/to/address"]},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


class Refusal(SealpostError):
    """A request is refused; `code` is one of schemas.problems. The caller reads the answer; there is nothing to operate."""

    def __init__(self, code: str, detail: str = "", errors: Sequence[FieldError] = ()) -> None:
        super().__init__(code)
        self.code, self.detail, self.errors = code, detail, tuple(errors)


class Caller(Protocol):
    """Who a token stands for (vault.tokens.Principal)."""

    @property
    def tenant(self) -> str | None:
        """None for the installation's admin."""
        ...

    @property
    def role(self) -> str:
        """The access role."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """A caller that may do what it asks for; `tenant` is empty for the installation's admin."""

    tenant: str
    role: str


class Gate:
    """Makes dependencies that let only some roles through: 401 without a valid token, 403 with another role's."""

    def __init__(self, check: Callable[[str], Caller | None]) -> None:
        """`check` says whose token it is; it may block."""
        self._check = check

    def of_tenant(self, *roles: str) -> Callable[..., Access]:
        """Callers of one of these roles, in their own tenant."""

        def depend(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> Access:
            caller = self._caller(credentials)
            if caller.role not in roles or caller.tenant is None:
                raise Refusal("forbidden", f"This needs the role {' or '.join(roles)}.")
            return Access(caller.tenant, caller.role)

        return depend

    def of_anybody(self, *roles: str) -> Callable[..., Access]:
        """The installation's admin, or callers of one of these roles in their own tenant."""

        def depend(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> Access:
            caller = self._caller(credentials)
            if (caller.tenant is None) != (caller.role == "admin") or caller.role not in ("admin", *roles):
                raise Refusal("forbidden", f"This needs the role admin or {' or '.join(roles)}.")
            return Access(caller.tenant or "", caller.role)

        return depend

    def of_installation(self) -> Callable[..., Access]:
        """The installation's admin."""

        def depend(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> Access:
            caller = self._caller(credentials)
            if caller.role != "admin" or caller.tenant is not None:
                raise Refusal("forbidden", "This needs the role admin of the installation.")
            return Access("", caller.role)

        return depend

    def _caller(self, credentials: HTTPAuthorizationCredentials | None) -> Caller:
        caller = self._check(credentials.credentials) if credentials and credentials.credentials else None
        if caller is None:
            raise Refusal("unauthorized")
        return caller


def problem_response(code: str, detail: str = "", errors: Sequence[FieldError] = ()) -> Response:
    """A problem of the catalogue as an answer."""
    problem = PROBLEMS[code]
    headers: dict[str, str] = {}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    body: dict[str, Any] = {"type": PROBLEM_PREFIX + code, "title": problem.title, "status": problem.status}
    if detail:
        body["detail"] = detail
    if errors:
        body["errors"] = [{"pointer": error.pointer, "detail": error.detail} for error in errors]
    return Response(orjson.dumps(body), problem.status, headers, MEDIA_TYPE)


def described(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these problems, for OpenAPI."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        problem = PROBLEMS[code]
        entry = found.setdefault(
            problem.status,
            {"description": problem.title, "content": {MEDIA_TYPE: {"schema": _SCHEMA, "examples": {}}}},
        )
        example = {"type": PROBLEM_PREFIX + code, "title": problem.title, "status": problem.status}
        entry["content"][MEDIA_TYPE]["examples"][code] = {"value": example}
        if problem.title not in entry["description"]:
            entry["description"] += f"; {problem.title}"
    return found


def create_app(
    title: str,
    version: str,
    routers: Iterable[APIRouter],
    *,
    unavailable: Sequence[type[Exception]],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    read_s: float = READ_S,
) -> FastAPI:
    """One API of several routers. `unavailable`: errors that mean that a part is away; they are answered 503. `read_s`: how
    long a body may take to come."""
    # Its page of documentation asks no other host for its scripts.
    app = FastAPIOffline(redoc_url=None, title=title, version=version, lifespan=lifespan)
    for router in routers:
        app.include_router(router)

    def away(_request: Request, error: Exception) -> Response:
        log.warning("a part is away", extra={"error": type(error).__name__})
        return problem_response("unavailable")

    def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return problem_response(error.code, error.detail, error.errors)

    def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response("invalid", "", field_errors(error.errors(), error.body))

    def http_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _http_problem(error)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    for kind in unavailable:
        app.add_exception_handler(kind, away)
    app.add_middleware(_Guard, read_s=read_s)
    app.add_middleware(CountedAnswers)
    return app


_DETAILS = {"too_large": f"A body may have {BODY_MAX_BYTES} bytes."}


def _http_problem(error: HTTPException) -> Response:
    by_status = {
        404: "not_found",
        413: "too_large",
        401: "unauthorized",
        403: "forbidden",
        422: "invalid",
    }
    code = by_status.get(error.status_code)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI's word for a body that its parser gave up on: other bytes than UTF-8, too deep, a number too long.
        return problem_response("invalid", "", [UNREADABLE])
    if code is not None:
        return problem_response(code, _DETAILS.get(code, ""))
    body = {"type": "about:blank", "title": HTTPStatus(error.status_code).phrase, "status": error.status_code}
    return Response(orjson.dumps(body), error.status_code, error.headers, MEDIA_TYPE)


async def _drain(receive: Receive, message: Message) -> None:
    """Read on and throw away, within bounds: a simple client reads the answer only when it has sent all."""
    drained = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            while message.get("more_body") and drained < DRAIN_MAX_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))


class _Guard:
    """Limits bodies and their time, and answers what nobody expected with 500: the log gets the kind of error and the place,
    never its words, which may hold what the caller sent."""

    def __init__(self, app: ASGIApp, read_s: float) -> None:
        self._app, self._read_s = app, read_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0
        started = ended = False
        late_s = asyncio.get_running_loop().time() + self._read_s

        async def limited() -> Message:
            nonlocal received, ended
            # After the body only the end of the socket can come, which an answer that streams awaits for as long as it likes.
            try:
                async with asyncio.timeout_at(None if ended else late_s):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, headers={"Connection": "close"}) from None
            ended = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > BODY_MAX_BYTES:
                await _drain(receive, message)
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, limited, watched)
        except Exception as error:  # noqa: BLE001 - the last line: whatever it is, its words must not reach the log
            frames = traceback.extract_tb(error.__traceback__)
            place = " < ".join(
                f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames[-6:])
            )
            log.error("a request failed: %s at %s", type(error).__name__, place)
            if not started:
                body = {"type": "about:blank", "title": "Internal error", "status": 500}
                await Response(orjson.dumps(body), 500, media_type=MEDIA_TYPE)(scope, receive, send)
