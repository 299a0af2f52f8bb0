"""Routes of the query API."""

from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from projections.api import models
from projections.api.answers import Answers, SettingsSource
from projections.api.explanations import Explanations
from projections.api.reading import OFFSET_MAX, Place, Reader
from projections.api.timelines import Timelines
from schemas.addresses import Address
from schemas.clock import at_ms, from_ms, to_ms, to_text
from schemas.field_errors import FieldError
from schemas.http import Access, Caller, Gate, Refusal, described
from schemas.ids import is_id
from streams.step.connections import Connections
from vault.vault import Vault

PAGE_DEFAULT = 100
PAGE_MAX = 500
_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class QueryParts:
    """What the queries need. `check`: whose token it is (`vault.check_token`). `address_reader`: how a channel reads an
    address, None for a channel that does not exist."""

    vault: Vault
    pool: Connections
    settings: SettingsSource
    check: Callable[[str], Caller | None]
    address_reader: Callable[[str], Callable[[str], Address | None] | None]


def create_router(parts: QueryParts) -> APIRouter:
    """The routes; every endpoint is synchronous and runs in the thread pool."""
    reader = Reader(parts.pool)
    answers = Answers(parts.vault, reader, parts.settings)
    gate = Gate(parts.check)
    router = APIRouter(
        prefix="/v1",
        tags=["queries"],
        responses=described("unauthorized", "forbidden", "not_found", "invalid", "unavailable"),
    )
    _add_lookup(router, parts, gate)
    sees_people = Depends(gate.of_tenant("agent", "officer"))
    sees_proof = Depends(gate.of_tenant("agent", "officer", "legal"))

    @router.get(
        "/subjects/{subject}",
        response_model_exclude_unset=True,
        summary="State, profile, addresses, subscriptions",
    )
    def show_subject(subject: str, access: Annotated[Access, sees_people]) -> models.SubjectAnswer:
        """An erased subject is answered 200 with `state` and `erased_at` alone."""
        return answers.subject(access.tenant, subject)

    @router.get(
        "/subjects/{subject}/messages",
        response_model_exclude_unset=True,
        summary="Messages in the order of the log",
    )
    def show_messages(
        subject: str,
        access: Annotated[Access, sees_people],
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
        cursor: Annotated[str | None, Query(max_length=200, description="`next` of the page before.")] = None,
    ) -> models.MessagesAnswer:
        """In and out, oldest first in the order in which they came into the log, with what became of each. A cursor is a place
        in that order and stays good while messages change; what becomes known meanwhile may stand before it."""
        after = None if cursor is None else _read_cursor(cursor)
        answer, following = answers.messages(access.tenant, subject, after, limit)
        if following is not None:
            answer.next = _cursor(following)
        return answer

    @router.get(
        "/subjects/{subject}/consents",
        response_model_exclude_unset=True,
        summary="Consent history with evidence",
    )
    def show_consents(subject: str, access: Annotated[Access, sees_proof]) -> models.ConsentsAnswer:
        """Every consent event in order: wording and notice as they were shown, the act, and the person's own words."""
        return answers.consents(access.tenant, subject)

    @router.get("/erasures/{erasure}", response_model_exclude_unset=True, summary="How far an erasure is")
    def show_erasure(
        erasure: str, access: Annotated[Access, Depends(gate.of_tenant("officer", "agent"))]
    ) -> models.ErasureAnswer:
        """T0 to T3, and the receipts of every store."""
        return answers.erasure(access.tenant, erasure)

    _add_certificate_keys(router, parts, gate)
    _add_words(router, parts, gate, reader, answers)
    return router


def _add_words(router: APIRouter, parts: QueryParts, gate: Gate, reader: Reader, answers: Answers) -> None:
    timelines = Timelines(reader, answers)
    explanations = Explanations(parts.vault, reader, parts.settings, answers)
    sees_people = Depends(gate.of_tenant("agent", "officer"))
    sees_fate = Depends(gate.of_tenant("agent", "officer", "producer"))

    @router.get(
        "/subjects/{subject}/timeline",
        response_model_exclude_unset=True,
        summary="What happened, in order, in words",
    )
    def show_timeline(subject: str, access: Annotated[Access, sees_people]) -> models.TimelineAnswer:
        """Sign-up, consents, messages both ways, erasure; no word that was said and no address. An erased subject is answered
        200 with how the erasure went."""
        return timelines.of(access.tenant, subject)

    @router.get(
        "/messages/{message}/explanation",
        response_model_exclude_unset=True,
        summary="What became of a message, in sentences",
    )
    def explain_message(message: str, access: Annotated[Access, sees_fate]) -> models.ExplanationAnswer:
        """Request, permit, provider and statuses with times and delays, and one sentence that says why and what to do. No word
        of the message and no address is in it."""
        return explanations.of(access.tenant, message)


def _add_certificate_keys(router: APIRouter, parts: QueryParts, gate: Gate) -> None:
    sees_keys = Depends(gate.of_tenant("officer", "legal"))

    @router.get(
        "/certificates/keys",
        dependencies=[sees_keys],
        summary="What certificates of erasure are checked with",
    )
    def show_certificate_keys() -> models.CertificateKeysAnswer:
        """Public Ed25519 keys of the installation, oldest first; hand them on to whoever wants to check. What is signed is the
        JSON of `erasure` (the `erasure_id`), `receipts`, `t0`, `t1`, `t2`, `t3` and `tr` as the erasure shows them: members
        sorted by name, receipts by `store`, no white space, UTF-8. `certificate` names the key and holds the signature in
        base64."""
        keys = parts.vault.certificate_keys().items()
        return models.CertificateKeysAnswer(
            keys=[models.CertificateKey(key=key, public=b64encode(public).decode()) for key, public in keys]
        )


def _add_lookup(router: APIRouter, parts: QueryParts, gate: Gate) -> None:
    looks_up = Depends(gate.of_tenant("producer", "agent", "officer"))

    @router.post("/subjects/lookup", summary="Whom an address reaches")
    def lookup(body: models.LookupRequest, access: Annotated[Access, looks_up]) -> models.LookupAnswer:
        """404 when nobody has written from this address, or when that person was erased."""
        read_address = parts.address_reader(body.channel)
        if read_address is None:
            raise Refusal("invalid", "", [FieldError("/channel", "is not a channel of this installation")])
        address = read_address(body.address)
        if address is None:
            raise Refusal("invalid", "", [FieldError("/address", "is not an address of this channel")])
        subject = parts.vault.find_subject(access.tenant, address)
        if subject is None:
            raise Refusal("not_found")
        return models.LookupAnswer(subject=subject)


def _cursor(place: Place) -> str:
    text = _SEPARATOR.join((to_text(at_ms(place.at)), str(place.offset), place.message))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(text: str) -> Place:
    try:
        parts = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split(_SEPARATOR)
        at, offset, message = from_ms(to_ms(parts[0])), int(parts[1]), parts[2]
        if len(parts) != 3 or not is_id(message) or not 0 <= offset <= OFFSET_MAX:
            raise ValueError("not a place")
        return Place(at, offset, message)
    except (ValueError, IndexError, Base64Error):
        raise Refusal("invalid", "", [FieldError("cursor", "is not a cursor of this list")]) from None
