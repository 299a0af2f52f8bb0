"""Routes of the command API."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import psycopg
from fastapi import APIRouter, Depends, Header, Response
from starlette.concurrency import run_in_threadpool

from schemas.clock import to_ms
from schemas.constants import Times
from schemas.field_errors import FieldError
from schemas.http import Access, Caller, Gate, Refusal, described
from streams.kafka.admin import KafkaAway
from streams.kafka.producer import ProduceFailed
from streams.kafka.settings_follower import SettingsUnread
from streams.step.errors import DatabaseAway
from streams.step.postgres import THROWN_OUT
from vault.vault import Vault
from workers.intake import models
from workers.intake.commands import Commands, FindWritten, SettingsSource, nothing_written
from workers.intake.producing import PRODUCE_LIMIT_S, Counted, FromThread, Sends
from workers.intake.tenants import Registrar, TenantDiffers, UnknownTenantId

UNAVAILABLE: tuple[type[Exception], ...] = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    *THROWN_OUT,
    DatabaseAway,
    ProduceFailed,
    KafkaAway,
    SettingsUnread,
)
"""Errors that mean that a part is away: the API answers 503, and the caller repeats."""
DPA_APPLIED_S = 5.0
"""How long a request waits for the role `vault` to apply an agreement, so that a send after the answer sees it."""
SETTINGS_S = 5.0


@dataclass(frozen=True, slots=True)
class CommandParts:
    """What the commands need. `check`: whose token it is (`vault.check_token`), `check_or_recall`: the same also while the
    vault's database is away; `producer` serves the API's event loop. `public_url`: where people reach the API's pages.
    `find_written`: what the provider calls a message that a person wrote, and where it came."""

    vault: Vault
    producer: Sends
    settings: SettingsSource
    check: Callable[[str], Caller | None]
    check_or_recall: Callable[[str], Caller | None]
    times: Times
    public_url: str = ""
    find_written: FindWritten = nothing_written


def create_router(parts: CommandParts) -> APIRouter:
    """All command routes."""
    gate = Gate(parts.check)
    router = APIRouter(
        prefix="/v1",
        tags=["commands"],
        responses=described("unauthorized", "forbidden", "invalid", "unavailable"),
    )
    _add_messages(router, parts, gate)
    _add_tenants(router, parts, gate)
    _add_agreements(router, parts, gate)
    return router


def _add_messages(router: APIRouter, parts: CommandParts, gate: Gate) -> None:
    commands = Commands(parts.vault, parts.settings, parts.times, find_written=parts.find_written)
    producer = Counted(parts.producer)
    asks = Depends(gate.of_tenant("producer", "agent"))
    erases = Depends(Gate(parts.check_or_recall).of_tenant("officer"))

    @router.post(
        "/messages",
        status_code=202,
        response_model=models.Accepted,
        responses=described(
            "no_dpa",
            "idempotency_conflict",
            "unknown_recipient",
            "invalid",
            "too_large",
            "unavailable",
            "clock",
        ),
        summary="Ask for a message",
    )
    async def send_message(
        body: models.SendRequest,
        access: Annotated[Access, asks],
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> Response:
        """202 once the request is recorded and in Kafka. The same idempotency key and body give the same answer and one
        message, for 9 days. Whether it is sent is decided at the last moment; the subject's messages show it."""
        key = body.idempotency_key or idempotency_key
        if idempotency_key is not None and key != idempotency_key:
            raise Refusal(
                "invalid", "", [FieldError("/idempotency_key", "differs from the header Idempotency-Key")]
            )
        command = await run_in_threadpool(commands.send, access.tenant, body, key)
        if command.outputs:
            await producer.send_all(command.outputs, PRODUCE_LIMIT_S)
            await run_in_threadpool(commands.mark_produced, command)
        return Response(command.answer, 202, media_type="application/json")

    @router.post(
        "/subjects/{subject}/erasure",
        status_code=202,
        responses=described("not_found"),
        summary="Erase a person by destroying their keys",
    )
    async def erase(subject: str, access: Annotated[Access, erases]) -> models.ErasureAccepted:
        """202 once the request is in Kafka: T0. The same id however often it is asked for. Needs nothing but Kafka from a caller
        that was here within the last quarter of an hour; whether there is such a subject is then said by the erasure."""
        erasure, outputs = await run_in_threadpool(commands.request_erasure, access.tenant, subject)
        await producer.send_all(outputs, PRODUCE_LIMIT_S)
        return models.ErasureAccepted(erasure_id=erasure)


def _add_tenants(router: APIRouter, parts: CommandParts, gate: Gate) -> None:
    producer = FromThread(Counted(parts.producer))
    registrar = Registrar(parts.vault, producer, parts.public_url)
    administers = [Depends(gate.of_installation())]

    def register_now(body: models.TenantRequest) -> models.TenantAnswer:
        try:
            registrar.register(body.id, body.name, body.default_language)
        except TenantDiffers:
            raise Refusal(
                "conflict", "A tenant of this id is registered with another name or language."
            ) from None
        parts.settings.refresh(SETTINGS_S)
        return models.TenantAnswer(tenant=body.id, tokens=registrar.first_tokens(body.id) or None)

    def issue_now(tenant: str, body: models.TokenRequest) -> models.TokenAnswer:
        with _registered():
            token = registrar.issue_token(tenant, body.role, replace=body.replace)
        return models.TokenAnswer(tenant=tenant, role=body.role, token=token)

    @router.post(
        "/tenants",
        status_code=201,
        response_model_exclude_none=True,
        responses={
            **described("conflict"),
            200: {"model": models.TenantAnswer, "description": "It was registered before."},
        },
        dependencies=administers,
        summary="Register a business",
    )
    async def register(body: models.TenantRequest, response: Response) -> models.TenantAnswer:
        """Keys, default purposes, first day keys; the answer holds the tenant's tokens. Without an agreement (`dpa`) the
        tenant may not operate. The same again changes nothing and gives no tokens."""
        producer.bind()
        answer = await run_in_threadpool(register_now, body)
        response.status_code = 200 if answer.tokens is None else 201
        return answer

    @router.post(
        "/tenants/{tenant}/tokens",
        status_code=201,
        responses=described("not_found"),
        dependencies=administers,
        summary="Issue a further token",
    )
    async def issue_token(tenant: str, body: models.TokenRequest) -> models.TokenAnswer:
        """For a token that was lost or is to be exchanged; with `replace` the earlier ones of the role end at once."""
        return await run_in_threadpool(issue_now, tenant, body)


@contextmanager
def _registered() -> Iterator[None]:
    """Who asks for a tenant that there is not is told so."""
    try:
        yield
    except UnknownTenantId:
        raise Refusal("not_found") from None


def _add_agreements(router: APIRouter, parts: CommandParts, gate: Gate) -> None:
    producer = FromThread(Counted(parts.producer))
    registrar = Registrar(parts.vault, producer, parts.public_url)
    administers = [Depends(gate.of_installation())]

    def sign_now(tenant: str, body: models.DpaRequest) -> models.DpaAnswer:
        with _registered():
            registrar.sign_dpa(tenant, body.version, body.signed_at)
        if not registrar.await_dpa(tenant, signed=True, limit_s=DPA_APPLIED_S):
            raise Refusal("unavailable", "The agreement is on record; the vault has not applied it yet.")
        return models.DpaAnswer(tenant=tenant, dpa="signed")

    def end_now(tenant: str) -> models.DpaAnswer:
        with _registered():
            registrar.end_dpa(tenant)
        return models.DpaAnswer(tenant=tenant, dpa="ended")

    @router.post(
        "/tenants/{tenant}/dpa",
        status_code=202,
        responses=described("not_found"),
        dependencies=administers,
        summary="Put a data-processing agreement on record",
    )
    async def sign_dpa(tenant: str, body: models.DpaRequest) -> models.DpaAnswer:
        """Answers once the agreement holds: a message asked for after it is not refused for want of one."""
        if body.signed_at is not None and not _is_time(body.signed_at):
            raise Refusal("invalid", "", [FieldError("/signed_at", "is not an RFC 3339 time with a zone")])
        producer.bind()
        return await run_in_threadpool(sign_now, tenant, body)

    @router.delete(
        "/tenants/{tenant}/dpa",
        status_code=202,
        responses=described("not_found"),
        dependencies=administers,
        summary="End a data-processing agreement",
    )
    async def end_dpa(tenant: str) -> models.DpaAnswer:
        """From the answer on nothing is sent for this tenant."""
        producer.bind()
        return await run_in_threadpool(end_now, tenant)


def _is_time(text: str) -> bool:
    try:
        to_ms(text)
    except ValueError:
        return False
    return True
