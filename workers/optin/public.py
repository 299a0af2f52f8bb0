"""Routes that anybody may call: the form as a page and for the widget, notices, the preference page.

No cookie and no address of a person; how often one source may ask is limited. What is refused is told to the reader in her
language, and to whoever runs the form in the answer's `why`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from schemas.http import Refusal
from workers.intake.producing import PRODUCE_LIMIT_S
from workers.intake.router import UNAVAILABLE
from workers.optin import pages
from workers.optin.limiter import Limit, Limiter
from workers.optin.offers import WHY, Offer, draft_words, language_for, offer, visitors_language
from workers.optin.preferences import Preferences
from workers.optin.signing_up import SignUp, SignUps, ticked_on
from workers.optin.web import PublicParts, form_fields, html, same_origin
from workers.optin.words import WORDS, words_for

log = logging.getLogger(__name__)

SIGN_UPS = Limit(burst=30, every_s=6.0)
"""Sign-ups of one source: a shop's guests or a class behind one address get through, a script does not."""
FORM_SIGN_UPS = Limit(burst=600, every_s=0.1)
"""Sign-ups of one form, from wherever they come: a campaign's rush gets through, a flood from many sources does not fill vault
and log, where each leaves something."""
READS = Limit(burst=120, every_s=0.5)
"""Pages and offers of one source."""
ASSETS: Mapping[str, str] = {
    "widget.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
}
ASSET_AGE_S = 300
SAID = (
    "title", "intro", "notice_accept", "notice", "notice_opens", "next", "wait", "choose", "away", "busy", "changed",
    "unavailable",
)  # fmt: skip
"""Words that the widget says itself; what comes after a sign-up, the answer to it brings."""
FOREIGN = "This site is none of the form's origins: sealpost forms create --origin."


class SignUpBody(BaseModel):
    """What the widget sends: what was ticked, and what was shown."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    language: str = Field(max_length=20)
    purposes: list[str] = Field(min_length=1, max_length=20)
    accepted: bool
    notice: str = Field(max_length=200)
    text: str = Field(max_length=200)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What was ticked, as the plain page or the widget says; nothing of it is checked yet."""

    purposes: frozenset[str]
    accepted: bool
    notice: str
    text: str


@dataclass(frozen=True, slots=True)
class _Away:
    """Why a form takes nothing now: a word of `words`, the HTTP status, and what the widget's owner is told."""

    word: str
    status: int
    why: str = ""


def create_public_router(parts: PublicParts) -> APIRouter:
    """All public routes."""
    router = APIRouter(prefix="/optin", include_in_schema=False)
    _add_assets(router)
    _Forms(parts).add_to(router)
    Preferences(parts).add_to(router)
    return router


def _add_assets(router: APIRouter) -> None:
    folder = pages.FOLDER / "assets"

    @router.get("/assets/{name}")
    async def asset(name: str) -> Response:
        media_type = ASSETS.get(name)
        if media_type is None:
            raise Refusal("not_found")
        body = (folder / Path(name).name).read_bytes()
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": f"public, max-age={ASSET_AGE_S}",
            # A page of another site loads the widget; that it may is the point.
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        return Response(body, 200, headers, media_type)


class _Forms:
    """The form, as a page and for the widget."""

    def __init__(self, parts: PublicParts) -> None:
        self._parts = parts
        self._sign_ups = SignUps(parts.vault, parts.times, parts.channel)
        self._few, self._many = Limiter(SIGN_UPS), Limiter(READS)
        self._of_form = Limiter(FORM_SIGN_UPS)

    def add_to(self, router: APIRouter) -> None:
        """Add the routes."""
        place = "/forms/{tenant}/{form}"
        router.add_api_route(place, self.page, methods=["GET"])
        router.add_api_route(place, self.send, methods=["POST"])
        router.add_api_route(place + "/offer", self.offered, methods=["GET"])
        router.add_api_route(place + "/signups", self.sign_up, methods=["POST"])
        router.add_api_route(place + "/signups", self.preflight, methods=["OPTIONS"])
        router.add_api_route("/notices/{tenant}/{notice}/{version}/{language}", self.notice, methods=["GET"])

    async def page(self, request: Request, tenant: str, form: str) -> Response:
        """The form as a plain page, without a script."""
        shown = self._offer(request, tenant, form, request.query_params.get("language"))
        if isinstance(shown, _Away):
            return self._told(request, tenant, form, shown)
        return html(pages.form_page(shown))

    async def send(self, request: Request, tenant: str, form: str) -> Response:
        """What was ticked on the plain page; answers with the way into the chat."""
        fields = await form_fields(request)
        shown = self._offer(request, tenant, form, fields.get("language", [""])[0])
        if isinstance(shown, _Away):
            return self._told(request, tenant, form, shown)
        if not same_origin(request):
            return self._told(request, tenant, form, _Away("unavailable", 403))
        sent = _Sent(
            frozenset(fields.get("purpose", ())), fields.get("accepted") == ["yes"],
            fields.get("notice", [""])[0], fields.get("text", [""])[0],
        )  # fmt: skip
        done = await self._sign(request, shown, sent)
        if isinstance(done, _Away):
            # What has changed is to be read and ticked anew.
            kept = (sent.purposes, sent.accepted) if done.word != "changed" else ((), False)
            return html(pages.form_page(shown, done.word, kept[0], accepted=kept[1]), done.status)
        titles = {a.channel: pages.channel_title(self._parts.channel(a.channel)) for a in shown.accounts}
        return html(pages.write_page(shown.business, shown.language, done.links, titles, done.expires_at))

    async def offered(self, request: Request, tenant: str, form: str) -> Response:
        """The form for the widget, as JSON with all its words."""
        shown = self._offer(request, tenant, form, request.query_params.get("language"))
        if isinstance(shown, _Away):
            return self._json(request, None, {"why": shown.why or shown.word}, shown.status)
        if not self._may_embed(request, shown):
            return self._json(request, None, {"why": FOREIGN}, 403)
        words = words_for(shown.language, business=shown.business)
        answer = {
            "language": shown.language,
            "words": {name: words[name] for name in SAID},
            "boxes": [{"purpose": box.purpose, "label": box.label} for box in shown.boxes],
            "notice": {"reference": shown.notice.reference, "url": shown.notice.url},
            "text": shown.text.reference,
        }
        return self._json(request, shown, answer, 200)

    async def sign_up(self, request: Request, tenant: str, form: str) -> Response:
        """What was ticked in the widget."""
        raw = await request.body()
        try:
            body = SignUpBody.model_validate_json(raw)
        except ValidationError:
            return self._json(request, None, {"why": "the body is not what a widget sends"}, 422)
        shown = self._offer(request, tenant, form, body.language)
        if isinstance(shown, _Away):
            return self._json(request, None, {"why": shown.why or shown.word}, shown.status)
        if not self._may_embed(request, shown):
            return self._json(request, None, {"why": FOREIGN}, 403)
        sent = _Sent(frozenset(body.purposes), body.accepted, body.notice, body.text)
        done = await self._sign(request, shown, sent)
        if isinstance(done, _Away):
            return self._json(request, shown, {"word": done.word}, done.status)
        return self._json(request, shown, self._way_on(shown, done), 200)

    async def preflight(self, request: Request, tenant: str, form: str) -> Response:
        """A browser asks whether another site's page may send JSON."""
        shown = self._offer(request, tenant, form, None)
        if isinstance(shown, _Away) or not self._may_embed(request, shown):
            return Response(status_code=403)
        headers = {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "content-type",
            "Access-Control-Max-Age": "600",
            **self._allowed(request, shown),
        }
        return Response(None, 204, headers)

    async def notice(
        self, request: Request, tenant: str, notice: str, version: str, language: str
    ) -> Response:
        """A notice that Sealpost keeps, whatever was published since; a draft is shown to nobody."""
        if not self._many.allows(self._parts.source_of(request)):
            return _told_stranger(request, _Away("busy", 429))
        settings = self._parts.settings.tenant(tenant)
        found = settings.notice_history.get(f"{notice}/{version}/{language}") if settings else None
        if settings is None or found is None or found.body is None:
            return _told_stranger(request, _Away("no_page", 404))
        return html(pages.notice_page(found, settings.name))

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _offer(self, request: Request, tenant: str, form: str, language: str | None) -> Offer | _Away:
        if not self._many.allows(self._parts.source_of(request)):
            return _Away("busy", 429)
        wanted = language or request.headers.get("accept-language")
        shown = offer(self._parts.settings.tenant(tenant), form, wanted, self._parts.channel)
        if isinstance(shown, Offer):
            return shown
        return _Away("unavailable", 404 if shown == "unknown_form" else 409, WHY[shown])

    async def _sign(self, request: Request, shown: Offer, sent: _Sent) -> SignUp | _Away:
        """Record a sign-up, or why not."""
        known = {box.purpose for box in shown.boxes}
        if not sent.accepted or not sent.purposes or not sent.purposes <= known:
            return _Away("choose", 422)
        if (sent.notice, sent.text) != (shown.notice.reference, shown.text.reference):
            return _Away("changed", 409)
        # The source first: one that may ask no more takes nothing from the others.
        if not self._few.allows(self._parts.source_of(request)):
            return _Away("busy", 429)
        if not self._of_form.allows(f"{shown.tenant}/{shown.form.form}"):
            return _Away("busy", 429)
        ticked = ticked_on(shown, sorted(sent.purposes))
        try:
            done, outputs = await run_in_threadpool(
                self._sign_ups.record, ticked, shown.accounts, draft_words(shown, ticked.purposes)
            )
            await self._parts.producer.send_all(outputs, PRODUCE_LIMIT_S)
        except UNAVAILABLE as error:
            log.warning("a sign-up could not be recorded: %s", type(error).__name__)
            return _Away("away", 503)
        return done

    def _way_on(self, shown: Offer, done: SignUp) -> dict[str, Any]:
        words = words_for(shown.language, business=shown.business)
        titles = {a.channel: pages.channel_title(self._parts.channel(a.channel)) for a in shown.accounts}
        return {
            "title": words["write_title"],
            "write": words["write"],
            "scan": words["scan"],
            "until": words["until"].replace("{until}", pages.shown_day(done.expires_at, shown.language)),
            "links": [
                {
                    "url": link.url,
                    "channel": titles[link.channel],
                    "open": words["open"].replace("{channel}", titles[link.channel]),
                    "qr": {
                        "path": link.qr,
                        "modules": link.qr_modules,
                        "label": words["qr"].replace("{channel}", titles[link.channel]),
                    },
                }
                for link in done.links
            ],
        }

    def _may_embed(self, request: Request, shown: Offer) -> bool:
        origin = request.headers.get("origin")
        return origin is None or origin in shown.form.origins or same_origin(request)

    def _allowed(self, request: Request, shown: Offer | None) -> dict[str, str]:
        origin = request.headers.get("origin")
        told = {"Vary": "Origin"}
        if origin is not None and (shown is None or origin in shown.form.origins):
            # What is refused may be read by any page: it tells the owner why, and nothing else.
            told["Access-Control-Allow-Origin"] = origin
        return told

    def _json(self, request: Request, shown: Offer | None, body: dict[str, Any], status: int) -> Response:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        headers |= self._allowed(request, shown)
        return Response(orjson.dumps(body), status, headers, "application/json")

    def _told(self, request: Request, tenant: str, form: str, away: _Away) -> Response:
        settings = self._parts.settings.tenant(tenant)
        if settings is None or form not in settings.forms:
            return _told_stranger(request, away)
        language = language_for(request.headers.get("accept-language"), settings)
        assert away.word in WORDS[language]
        return html(pages.told_page(language, settings.name, away.word), away.status)


def _told_stranger(request: Request, away: _Away) -> Response:
    """Told to whoever named no form or notice that there is: nothing of it depends on the tenant, so that nobody learns which
    businesses there are."""
    language = visitors_language(request.headers.get("accept-language"))
    return html(pages.told_page(language, "", away.word), away.status)
