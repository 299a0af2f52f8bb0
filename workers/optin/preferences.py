"""The preference page: a person sees each consent and changes it. Opened by a key that ends after a day; looking changes nothing,
for messengers fetch links to show what is behind them.

Withdrawing takes effect at once. Signing up leads to the chat as a form does: the person writes first.
"""

import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from schemas.clock import to_text
from schemas.ids import random_id
from schemas.settings import Form, TenantSettings
from vault.errors import UnknownTenant
from vault.permissions import Permission
from workers.channel import UnknownChannel
from workers.intake.producing import PRODUCE_LIMIT_S
from workers.intake.router import UNAVAILABLE
from workers.optin import pages
from workers.optin.limiter import Limit, Limiter
from workers.optin.offers import Offer, draft_words, language_for, offer_of, visitors_language
from workers.optin.signing_up import SignUps, ticked_on
from workers.optin.web import PublicParts, form_fields, html, same_origin
from workers.optin.withdrawing import Withdrawal, Withdrawals
from workers.optin.words import words_for

log = logging.getLogger(__name__)

LOOKS = Limit(burst=60, every_s=1.0)
"""Pages of one source: keys cannot be guessed, and nobody shall try."""


@dataclass(frozen=True, slots=True)
class _Person:
    """Whose page is open: her consents by (channel, purpose), in the language she is shown."""

    settings: TenantSettings
    subject: str
    language: str
    consents: dict[tuple[str, str], Permission | None]


class Preferences:
    """The page of one installation."""

    def __init__(self, parts: PublicParts) -> None:
        self._parts = parts
        self._sign_ups = SignUps(parts.vault, parts.times, parts.channel)
        self._withdrawals = Withdrawals(parts.vault, parts.producer)
        self._limiter = Limiter(LOOKS)

    def add_to(self, router: APIRouter) -> None:
        """Add the routes."""
        router.add_api_route("/preferences/{tenant}/{key}", self.look, methods=["GET"])
        router.add_api_route("/preferences/{tenant}/{key}", self.change, methods=["POST"])

    async def look(self, request: Request, tenant: str, key: str) -> Response:
        """Show every consent."""
        return await self._in_words(request, self._look(request, tenant, key))

    async def change(self, request: Request, tenant: str, key: str) -> Response:
        """Withdraw one or all, or begin to sign up."""
        return await self._in_words(request, self._change(request, tenant, key))

    # ---- inside -----------------------------------------------------------------------------------------------------

    async def _in_words(self, request: Request, answer: Awaitable[Response]) -> Response:
        """What a person reads while a part is away."""
        try:
            return await answer
        except UNAVAILABLE as error:
            log.warning("a preference page cannot be shown: %s", type(error).__name__)
            return _told_stranger(request, "away", 503)

    async def _look(self, request: Request, tenant: str, key: str) -> Response:
        person = await self._person(request, tenant, key)
        return person if isinstance(person, Response) else self._page(person)

    async def _change(self, request: Request, tenant: str, key: str) -> Response:
        fields = {name: values[0] for name, values in (await form_fields(request)).items()}
        person = await self._person(request, tenant, key)
        if isinstance(person, Response):
            return person
        if not same_origin(request):
            return self._page(person, problem="away", status=403)
        wanted = (fields.get("channel", ""), fields.get("purpose", ""))
        if fields.get("act") == "withdraw_all":
            active = [place for place, one in person.consents.items() if one is not None and one.active]
            return await self._withdraw(person, active)
        if fields.get("act") == "withdraw" and wanted in person.consents:
            return await self._withdraw(person, [wanted])
        if fields.get("act") == "give" and wanted in person.consents:
            if (fields.get("ticked"), fields.get("accepted")) != ("yes", "yes"):
                return self._page(person, problem="choose", status=422)
            shown = fields.get("notice", ""), fields.get("text", "")
            return await self._give(person, *wanted, shown)
        return self._page(person, problem="away", status=422)

    async def _person(self, request: Request, tenant: str, key: str) -> _Person | Response:
        settings = self._parts.settings.tenant(tenant)
        if not self._limiter.allows(self._parts.source_of(request)):
            return _told_stranger(request, "busy", 429)
        subject = await run_in_threadpool(self._subject, tenant, key) if settings is not None else None
        if settings is None or subject is None:
            return _told_stranger(request, "over", 404)
        known = await run_in_threadpool(self._parts.vault.permissions, tenant, subject)
        by_place = {(one.channel, one.purpose): one for one in known}
        reached = await run_in_threadpool(self._parts.vault.newest_reach, tenant, subject)
        channels = {one.channel for one in known} | ({reached.channel} if reached else set())
        consents: dict[tuple[str, str], Permission | None] = {
            (channel, purpose): by_place.get((channel, purpose))
            for channel in sorted(channels)
            for purpose in settings.consent_purposes()
        }
        consents |= {place: one for place, one in by_place.items() if one.active}
        language = language_for(request.headers.get("accept-language"), settings)
        return _Person(settings, subject, language, consents)

    def _subject(self, tenant: str, key: str) -> str | None:
        try:
            subject = self._parts.vault.read_preference_key(tenant, key)
        except UnknownTenant:
            return None
        state = self._parts.vault.subject_state(tenant, subject) if subject is not None else None
        return subject if state is not None and state.state in ("active", "restricted") else None

    async def _withdraw(self, person: _Person, places: list[tuple[str, str]]) -> Response:
        wanted = [Withdrawal(channel, purpose, "page", person.language) for channel, purpose in places]
        if wanted:
            await self._withdrawals.withdraw(person.settings.tenant, person.subject, wanted)
        known = await run_in_threadpool(self._parts.vault.permissions, person.settings.tenant, person.subject)
        now = {(one.channel, one.purpose): one for one in known}
        consents = {place: now.get(place, one) for place, one in person.consents.items()}
        return self._page(
            _Person(person.settings, person.subject, person.language, consents), done=bool(places)
        )

    async def _give(self, person: _Person, channel: str, purpose: str, shown: tuple[str, str]) -> Response:
        """`shown`: references of the notice and the text that stood on the page."""
        offered = self._offered(person, channel, purpose)
        if offered is None:
            return self._page(person, problem="unavailable", status=409)
        if shown != (offered.notice.reference, offered.text.reference):
            return self._page(person, problem="changed", status=409)
        done, outputs = await run_in_threadpool(
            self._sign_ups.record,
            ticked_on(offered, [purpose]),
            offered.accounts,
            draft_words(offered, [purpose]),
        )
        await self._parts.producer.send_all(outputs, PRODUCE_LIMIT_S)
        titles = {channel: self._title(channel)}
        return html(
            pages.write_page(person.settings.name, person.language, done.links, titles, done.expires_at)
        )

    def _offered(self, person: _Person, channel: str, purpose: str) -> Offer | None:
        """A form of this page's own: one purpose, on the tenant's accounts of one channel."""
        accounts = tuple(a.account for a in person.settings.accounts.values() if a.channel == channel)
        form = Form(random_id(), (purpose,), accounts, (), "preferences")
        found = offer_of(person.settings, form, person.language, self._parts.channel) if accounts else None
        return found if isinstance(found, Offer) else None

    def _title(self, channel: str) -> str:
        try:
            return pages.channel_title(self._parts.channel(channel))
        except UnknownChannel:
            return channel

    def _page(
        self, person: _Person, *, done: bool = False, problem: str | None = None, status: int = 200
    ) -> Response:
        words = words_for(person.language, business=person.settings.name)
        rows = [self._row(person, words, place, one) for place, one in person.consents.items()]
        shown: dict[str, Any] = {
            "rows": rows,
            "some_active": sum(row["active"] for row in rows) > 1,
            "done": done,
            "problem": problem,
        }
        return html(pages.preferences_page(person.language, person.settings.name, **shown), status)

    def _row(
        self, person: _Person, words: dict[str, str], place: tuple[str, str], one: Permission | None
    ) -> dict[str, Any]:
        channel, purpose = place
        active = one is not None and one.active
        name, title = person.settings.purpose_name(purpose, person.language), self._title(channel)
        since = pages.shown_day(to_text(one.given_at_ms or 0), person.language) if one and active else ""
        offered = None if active else self._offered(person, channel, purpose)
        return {
            "channel": channel,
            "channel_title": title,
            "purpose": purpose,
            "name": name,
            "active": active,
            "state": words["given"].replace("{since}", since) if active else words["not_given"],
            "withdraw_label": words["withdraw_named"].replace("{purpose}", name).replace("{channel}", title),
            "offered": offered,
        }


def _told_stranger(request: Request, word: str, status: int) -> Response:
    """Told to whoever has shown no key: nothing of it depends on the tenant, so that nobody learns which businesses there are."""
    language = visitors_language(request.headers.get("accept-language"))
    return html(pages.told_page(language, "", word), status)
