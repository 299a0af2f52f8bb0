"""Route of the event feed."""

import logging
import re
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from projections.log.feed import FeedResponse, Feeds, TooManyFeeds, Wanted
from schemas import topics
from schemas.clock import to_ms
from schemas.field_errors import FieldError
from schemas.http import Access, Caller, Gate, Refusal, described
from streams.kafka.admin import KafkaAway, TopicMismatch
from streams.kafka.consumer import ReadFailed
from streams.kafka.tail import Start

LIMIT_MAX = 100_000
REASON = re.compile(r"[A-Za-z]{1,10}-[0-9]{1,6}")
"""A ticket, never words: it stands in the log of the process, where no name and no number of a person may be."""
OPENERS = ("agent", "officer")
PREFIX = "sealpost."
log = logging.getLogger(__name__)


class FeedQuery(BaseModel):
    """What a reader asks for."""

    model_config = ConfigDict(extra="forbid")
    topic: list[str] = Field(default=[], description="With or without `sealpost.`; all of them without any.")
    subject: str = Field(default="", max_length=64)
    type: str = Field(
        default="",
        max_length=80,
        description="`consent.given.v1`, or its first parts: `consent`, `consent.given`.",
    )
    begin: str = Field(
        default="", alias="from", max_length=40, description="`start`, or a time; without it from now on."
    )
    limit: int | None = Field(default=None, ge=1, le=LIMIT_MAX)
    follow: bool = True
    open: bool = Field(default=False, description="Open sealed blocks; role agent or officer, with `reason`.")
    reason: str = Field(default="", max_length=40, description="A ticket, `T-4711`; it is logged.")


def create_router(feeds: Feeds, check: Callable[[str], Caller | None]) -> APIRouter:
    """`check`: whose token it is."""
    gate = Gate(check)
    router = APIRouter(
        prefix="/v1", tags=["log"], responses=described("unauthorized", "forbidden", "invalid", "unavailable")
    )
    reads = Depends(gate.of_anybody(*OPENERS, "analyst"))

    @router.get(
        "/events", summary="Events as they land, as server-sent events", response_class=StreamingResponse
    )
    async def events(
        access: Annotated[Access, reads], asked: Annotated[FeedQuery, Query()], request: Request
    ) -> StreamingResponse:
        """One `data:` line of JSON an event: place, time, clear fields, and of each sealed block key class and size. `admin` sees
        all tenants' events; others their own. Who follows from now on and is too slow goes on at the end and is told so by
        `event: dropped` (to `admin` with a count); with `from` everything comes, however late. `event: reached` tells a follower
        from time to time that everything that had landed at `at` has come: whoever is cut off goes on from there."""
        wanted = Wanted(
            topics=_topics(asked.topic),
            tenant=access.tenant,
            subject=asked.subject,
            type=asked.type.removeprefix(PREFIX),
            start=_start(asked.begin, follow=asked.follow),
            limit=asked.limit,
            follow=asked.follow,
            reason=_reason(access, asked.reason) if asked.open else "",
        )
        token = request.headers["authorization"].partition(" ")[2].strip()

        def is_good() -> bool:
            """A database that is away ends the feed too; its reader asks again."""
            try:
                caller = check(token)
            except Exception:  # noqa: BLE001 - whatever it is, nobody says that the token is good
                return False
            return caller is not None and (caller.tenant or "", caller.role) == (access.tenant, access.role)

        if wanted.reason:
            log.info("blocks are opened by role %s of %s for %s", access.role, access.tenant, wanted.reason)
        try:
            stream = await feeds.begin(wanted, is_good)
        except TooManyFeeds:
            raise Refusal("unavailable", "Too many feeds are open; end one.") from None
        except (KafkaAway, ReadFailed, TopicMismatch):
            raise Refusal("unavailable", "The log cannot be read now.") from None
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return FeedResponse(stream, media_type="text/event-stream", headers=headers)

    return router


def _topics(names: list[str]) -> tuple[str, ...]:
    known = [topic.name for topic in topics.catalogue()]
    if not names:
        return tuple(known)
    found = []
    for name in names:
        full = name if name.startswith(PREFIX) else PREFIX + name
        if full not in known:
            raise Refusal("invalid", "", [FieldError("topic", "is not a topic of this installation")])
        found.append(full)
    return tuple(dict.fromkeys(found))


def _start(text: str, *, follow: bool) -> Start:
    if not text:
        # Who does not follow wants what is there.
        return None if follow else 0
    if text == "start":
        return 0
    try:
        return to_ms(text)
    except ValueError:
        raise Refusal(
            "invalid", "", [FieldError("from", "is neither start nor an RFC 3339 time with a zone")]
        ) from None


def _reason(access: Access, reason: str) -> str:
    if access.role not in OPENERS:
        raise Refusal("forbidden", f"Opening needs the role {' or '.join(OPENERS)}.")
    if not REASON.fullmatch(reason):
        raise Refusal("invalid", "", [FieldError("reason", "must be a ticket such as T-4711")])
    return reason
