"""Routes that manage signing up: forms, links, wordings, opt-ins of a business's own form, withdrawals, preference links."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool

from schemas.clock import MS_PER_S, now_ms, to_ms
from schemas.constants import DAY_S, Times
from schemas.default_wording import NOTICE, SIGNUP, wording_hash
from schemas.entry_tokens import make_token
from schemas.field_errors import FieldError
from schemas.http import Access, Caller, Gate, Refusal, described
from schemas.ids import random_id
from schemas.settings import ConsentText, Form, Link, Notice, TenantSettings, draft_key
from vault.vault import Vault
from workers.channel import Channel, UnknownChannel
from workers.intake.commands import SettingsSource
from workers.intake.producing import PRODUCE_LIMIT_S, Counted, FromThread, Sends
from workers.intake.tenants import Registrar, UnknownTenantId, own_notice_url
from workers.optin import models
from workers.optin.offers import WHY, Offer, draft_words, offer_of
from workers.optin.qr import qr_svg
from workers.optin.signing_up import SignUps, Ticked
from workers.optin.withdrawing import Withdrawal, Withdrawals
from workers.optin.words import words_for

SETTINGS_S = 5.0
PUBLISHED_BEFORE = (
    "This version is published with other words or another address, and stays: count the version up."
)


@dataclass(frozen=True, slots=True)
class OptInParts:
    """What the routes need. `public_url`: where people reach the pages, without a slash at the end ("" when nobody said it)."""

    vault: Vault
    producer: Sends
    settings: SettingsSource
    check: Callable[[str], Caller | None]
    times: Times
    channel: Callable[[str], Channel]
    public_url: str


def create_router(parts: OptInParts) -> APIRouter:
    """All of them."""
    router = APIRouter(
        prefix="/v1",
        tags=["signing up"],
        responses=described("unauthorized", "forbidden", "invalid", "unavailable"),
    )
    desk = _Desk(parts)
    _add_forms(router, parts, desk)
    _add_links(router, parts, desk)
    _add_wordings(router, parts, desk)
    _add_people(router, parts, desk)
    return router


class _Desk:
    """What the routes do, blocking; the router calls it in a thread."""

    def __init__(self, parts: OptInParts) -> None:
        self.parts = parts
        counted = Counted(parts.producer)
        self.producer = FromThread(counted)
        self.registrar = Registrar(parts.vault, self.producer, parts.public_url)
        self.sign_ups = SignUps(parts.vault, parts.times, parts.channel)
        self.withdrawals = Withdrawals(parts.vault, counted)

    def settings(self, tenant: str) -> TenantSettings:
        """Settings of a tenant, as they are now."""
        found = self.parts.settings.tenant(tenant)
        if found is None:
            raise Refusal("not_found")
        return found

    def define_purpose(self, tenant: str, body: models.PurposeRequest) -> models.PurposesAnswer:
        """Define a purpose, or what it is from now on."""
        names = {str(language): name for language, name in body.names.items()}
        self._published(lambda: self.registrar.define_purpose(tenant, body.purpose, body.legal_basis, names))
        return models.PurposesAnswer(purposes=dict(self.settings(tenant).purposes))

    def publish_form(self, tenant: str, body: models.FormRequest) -> models.FormAnswer:
        """Publish a new form."""
        settings = self.settings(tenant)
        _check_known("/accounts", body.accounts, settings.accounts)
        _check_known("/purposes", body.purposes, settings.consent_purposes())
        form = Form(
            random_id(), tuple(body.purposes), tuple(body.accounts), tuple(body.origins), body.campaign
        )
        self._published(lambda: self.registrar.publish_form(tenant, form))
        return self.form_answer(self.settings(tenant), form)

    def form_answer(self, settings: TenantSettings, form: Form) -> models.FormAnswer:
        """What a form is for whoever embeds it."""
        shown = offer_of(settings, form, None, self.parts.channel)
        place = f"{self.parts.public_url}/optin/forms/{settings.tenant}/{form.form}"
        widget = f"{self.parts.public_url}/optin/assets/widget.js"
        script = f'<script src="{widget}" data-form="{settings.tenant}/{form.form}" async></script>'
        missing = None if isinstance(shown, Offer) else WHY[shown]
        return models.FormAnswer(form=form.form, page=place, script=script, missing=missing)

    def end_form(self, tenant: str, form: str) -> None:
        """End a form; Refusal `not_found`."""
        found = self.settings(tenant).forms.get(form)
        if found is None:
            raise Refusal("not_found")
        self._published(lambda: self.registrar.publish_form(tenant, found, active=False))

    def publish_link(self, tenant: str, body: models.LinkRequest) -> models.LinkAnswer:
        """Make a link of a campaign."""
        settings = self.settings(tenant)
        _check_known("/account", [body.account], settings.accounts)
        purposes = settings.consent_purposes()
        _check_known("/purpose", [body.purpose] if body.purpose else [], purposes)
        if not purposes:
            raise _invalid("/purpose", "no purpose of this tenant needs a consent")
        preferred = "newsletter" if "newsletter" in purposes else purposes[0]
        link = Link(random_id(), body.account, body.campaign, body.purpose or preferred)
        token, words = make_token(), words_for(settings.default_language, business=settings.name)
        made = self.sign_ups.links([settings.accounts[body.account]], token, words["draft_link"])
        if not made:
            raise _invalid("/account", "has no number or name recorded that a link can be made of")
        days = body.expires_in_days
        expires_ms = None if days is None else now_ms() + days * DAY_S * MS_PER_S
        self._published(
            lambda: self.registrar.publish_link(tenant, link, token, expires_ms, words["draft_link"])
        )
        return models.LinkAnswer(link=link.link, url=made[0].url, qr_svg=qr_svg(made[0].url))

    def end_link(self, tenant: str, link: str) -> None:
        """End a link; Refusal `not_found`."""
        found = self.settings(tenant).links.get(link)
        if found is None:
            raise Refusal("not_found")
        self._published(lambda: self.registrar.publish_link(tenant, found, None))

    def wordings(self, tenant: str) -> models.WordingsAnswer:
        """Every notice and text, approved or not."""
        settings = self.settings(tenant)
        known: list[tuple[Notice | ConsentText, bool]] = [
            *((one, True) for one in settings.notice_history.values()),
            *((one, True) for one in settings.consent_texts.values()),
            *((one, False) for one in settings.drafts.values()),
        ]
        return models.WordingsAnswer(wordings=[_wording(one, approved) for one, approved in known])

    def approve(self, tenant: str, body: models.ApprovalRequest) -> models.WordingAnswer:
        """Approve a draft; Refusal `not_found` when there is none of this reference."""
        draft = self.settings(tenant).drafts.get(draft_key(body.kind, body.reference))
        if draft is None:
            raise Refusal("not_found")
        if isinstance(draft, Notice) and not draft.url:
            raise _invalid("/reference", "has no address that people can read it at: publish it with one")
        self._published(lambda: self.registrar.approve(tenant, body.kind, draft))
        return _wording(draft, approved=True)

    def publish_wording(self, tenant: str, body: models.WordingRequest) -> models.WordingAnswer:
        """Publish the business's own words; whoever may do that approves them by it. Refusal `conflict` when the version says
        something else already."""
        if body.kind == "text":
            if "{business}" not in body.body or "{purpose}" not in body.body:
                raise _invalid("/body", "must hold {business} and {purpose}")
            reference, url = f"{SIGNUP}/{body.version}/{body.language}", None
        else:
            reference = f"{NOTICE}/{body.version}/{body.language}"
            url = body.url or own_notice_url(
                self.parts.public_url, tenant, NOTICE, body.version, body.language
            )
            if not url:
                raise _invalid("/url", "is needed: this installation does not know its own address")
        self.parts.settings.refresh(SETTINGS_S)
        wanted = self.settings(tenant).published(body.kind, reference)
        if wanted is None:
            self._published(lambda: self._publish_wording(tenant, body, url))
            wanted = self.settings(tenant).published(body.kind, reference)
        if wanted is None:
            raise Refusal("unavailable")
        if not wanted.says(wording_hash(body.body), url):
            # Published before, or by two at once: what people were shown under this version stays.
            raise Refusal("conflict", PUBLISHED_BEFORE)
        return _wording(wanted, approved=True)

    def _publish_wording(self, tenant: str, body: models.WordingRequest, url: str | None) -> None:
        if url is None:
            self.registrar.publish_text(tenant, SIGNUP, body.language, body.body, body.version)
        else:
            self.registrar.publish_notice(tenant, body.language, url, version=body.version, body=body.body)

    def ticked(self, tenant: str, body: models.OptInRequest) -> tuple[Ticked, Offer]:
        """What was ticked on the business's own form, checked against what may be shown."""
        settings = self.settings(tenant)
        _check_known("/purposes", body.purposes, settings.consent_purposes())
        _check_known("/accounts", body.accounts, settings.accounts)
        form = Form(random_id(), tuple(body.purposes), tuple(body.accounts), (), body.campaign)
        offered = offer_of(settings, form, body.language, self.parts.channel)
        if not isinstance(offered, Offer):
            raise Refusal("no_dpa" if offered == "no_dpa" else "conflict", WHY[offered])
        reference = f"{body.text.id}/{body.text.version}/{body.text.language}"
        text, notice = settings.consent_texts.get(reference), settings.notice_history.get(body.notice)
        if text is None:
            raise _invalid("/text", "is no approved text of this tenant")
        if notice is None:
            raise _invalid("/notice", "is no published notice of this tenant")
        shown_ms = self._shown_at(body.shown_at)
        ticked = Ticked(
            tenant, "api", form.form, tuple(sorted(set(body.purposes))), body.text, text.hash, notice.reference,
            notice.hash, body.language, shown_ms, body.campaign,
        )  # fmt: skip
        return ticked, offered

    def check_place(self, tenant: str, channel: str, purpose: str) -> None:
        """Refusal `invalid` for a channel or purpose that there is none of: both stand in clear in the log, for good."""
        try:
            self.parts.channel(channel)
        except UnknownChannel:
            raise _invalid("/channel", "is no channel of this installation") from None
        if purpose not in self.settings(tenant).purposes:
            raise _invalid("/purpose", "is none of this tenant's")

    def _shown_at(self, text: str) -> int:
        try:
            shown_ms = to_ms(text)
        except ValueError:
            raise _invalid("/shown_at", "is not an RFC 3339 time with a zone") from None
        times, now = self.parts.times, now_ms()
        if shown_ms > now + round(times.clock_skew_s * MS_PER_S):
            raise _invalid("/shown_at", "lies ahead")
        if shown_ms <= now - round(times.optin_s * MS_PER_S):
            raise _invalid("/shown_at", "is so long ago that the opt-in is dead")
        return min(shown_ms, now)

    def _published(self, publish: Callable[[], None]) -> None:
        try:
            publish()
        except UnknownTenantId:
            raise Refusal("not_found") from None
        self.parts.settings.refresh(SETTINGS_S)


def _add_forms(router: APIRouter, parts: OptInParts, desk: _Desk) -> None:
    gate = Gate(parts.check)
    officer, reads = Depends(gate.of_tenant("officer")), Depends(gate.of_tenant("officer", "producer"))

    @router.post("/forms", status_code=201, summary="Make a sign-up form")
    async def make_form(body: models.FormRequest, access: Annotated[Access, officer]) -> models.FormAnswer:
        """The form's page and the one script tag that embeds it. `missing` says why it shows nothing yet."""
        desk.producer.bind()
        return await run_in_threadpool(desk.publish_form, access.tenant, body)

    @router.get("/forms", summary="The sign-up forms")
    async def forms(access: Annotated[Access, reads]) -> list[models.FormAnswer]:
        """All that are live."""
        settings = desk.settings(access.tenant)
        return [desk.form_answer(settings, form) for form in settings.forms.values()]

    @router.delete("/forms/{form}", status_code=204, responses=described("not_found"), summary="End a form")
    async def end_form(form: str, access: Annotated[Access, officer]) -> None:
        """From now on it shows nothing, and tokens it gave out lead to the question in the chat."""
        desk.producer.bind()
        await run_in_threadpool(desk.end_form, access.tenant, form)


def _add_links(router: APIRouter, parts: OptInParts, desk: _Desk) -> None:
    access_of = Depends(Gate(parts.check).of_tenant("officer", "producer"))

    @router.post("/links", status_code=201, summary="Make a click-to-chat link of a campaign")
    async def make_link(body: models.LinkRequest, access: Annotated[Access, access_of]) -> models.LinkAnswer:
        """Who follows it is asked for consent in the chat; the events name link and campaign."""
        desk.producer.bind()
        return await run_in_threadpool(desk.publish_link, access.tenant, body)

    @router.delete("/links/{link}", status_code=204, responses=described("not_found"), summary="End a link")
    async def end_link(link: str, access: Annotated[Access, access_of]) -> None:
        """Who follows it later is treated as anybody who writes START."""
        desk.producer.bind()
        await run_in_threadpool(desk.end_link, access.tenant, link)


def _add_wordings(router: APIRouter, parts: OptInParts, desk: _Desk) -> None:
    officer = Depends(Gate(parts.check).of_tenant("officer"))

    @router.post("/purposes", status_code=201, summary="Define what messages may be for")
    async def define(
        body: models.PurposeRequest, access: Annotated[Access, officer]
    ) -> models.PurposesAnswer:
        """With the legal basis. What needs a consent is asked for by forms and in the chat, each purpose by itself."""
        desk.producer.bind()
        return await run_in_threadpool(desk.define_purpose, access.tenant, body)

    @router.get("/wordings", summary="Privacy notices and consent texts, with drafts")
    async def wordings(access: Annotated[Access, officer]) -> models.WordingsAnswer:
        """Every version there ever was; drafts are shown to nobody."""
        return desk.wordings(access.tenant)

    @router.post(
        "/wordings/approval", responses=described("not_found"), summary="Approve a draft as it reads"
    )
    async def approve(
        body: models.ApprovalRequest, access: Annotated[Access, officer]
    ) -> models.WordingAnswer:
        """From now on people are shown it."""
        desk.producer.bind()
        return await run_in_threadpool(desk.approve, access.tenant, body)

    @router.post(
        "/wordings",
        status_code=201,
        responses=described("conflict"),
        summary="Publish a notice or text of one's own",
    )
    async def publish(
        body: models.WordingRequest, access: Annotated[Access, officer]
    ) -> models.WordingAnswer:
        """Approved by whoever publishes it. What people agreed to before stays as it was."""
        desk.producer.bind()
        return await run_in_threadpool(desk.publish_wording, access.tenant, body)


def _add_people(router: APIRouter, parts: OptInParts, desk: _Desk) -> None:
    gate, producer = Gate(parts.check), Counted(parts.producer)
    asks = Depends(gate.of_tenant("producer"))
    serves = Depends(gate.of_tenant("officer", "agent", "producer"))

    @router.post(
        "/optins",
        status_code=201,
        responses=described("no_dpa", "conflict"),
        summary="Sign up by one's own form",
    )
    async def opt_in(body: models.OptInRequest, access: Annotated[Access, asks]) -> models.OptInAnswer:
        """Nothing is given by it: the person must write first, by one of the links, within seven days."""
        ticked, offered = await run_in_threadpool(desk.ticked, access.tenant, body)
        done, outputs = await run_in_threadpool(
            desk.sign_ups.record, ticked, offered.accounts, draft_words(offered, ticked.purposes)
        )
        await producer.send_all(outputs, PRODUCE_LIMIT_S)
        links = [
            models.ChatLinkAnswer(
                channel=one.channel, account=one.account, url=one.url, qr_svg=qr_svg(one.url)
            )
            for one in done.links
        ]
        return models.OptInAnswer(optins=list(done.optins), links=links, expires_at=done.expires_at)

    @router.post(
        "/subjects/{subject}/withdrawals",
        status_code=202,
        responses=described("not_found"),
        summary="Withdraw a consent for a person",
    )
    async def withdraw(
        subject: str, body: models.WithdrawalRequest, access: Annotated[Access, serves]
    ) -> models.WithdrawalAnswer:
        """Holds from the answer on. Needs nothing but Kafka from a process that knows the tenant."""
        desk.check_place(access.tenant, body.channel, body.purpose)
        wanted = Withdrawal(body.channel, body.purpose, "api")
        if not await desk.withdrawals.withdraw(access.tenant, subject, [wanted]):
            raise Refusal("not_found")
        return models.WithdrawalAnswer(subject=subject, channel=body.channel, purpose=body.purpose)

    @router.post(
        "/subjects/{subject}/preferences-link",
        responses=described("not_found"),
        summary="A link to a person's preference page",
    )
    async def preferences_link(
        subject: str, access: Annotated[Access, serves]
    ) -> models.PreferencesLinkAnswer:
        """Good for a day. It opens what that person has agreed to: send it to her, and to nobody else."""
        state = await run_in_threadpool(parts.vault.subject_state, access.tenant, subject)
        if state is None or state.state not in ("active", "restricted"):
            raise Refusal("not_found")
        key = await run_in_threadpool(parts.vault.preference_key, access.tenant, subject)
        return models.PreferencesLinkAnswer(url=f"{parts.public_url}/optin/preferences/{access.tenant}/{key}")


def _wording(one: Notice | ConsentText, approved: bool) -> models.WordingAnswer:
    is_notice = isinstance(one, Notice)
    return models.WordingAnswer(
        kind="notice" if is_notice else "text", reference=one.reference, language=one.language, approved=approved,
        url=one.url or None if isinstance(one, Notice) else None, body=one.body, hash=one.hash,
    )  # fmt: skip


def _check_known(pointer: str, named: Sequence[str], known: Container[str]) -> None:
    for place, name in enumerate(named):
        if name not in known:
            raise _invalid(f"{pointer}/{place}", "is none of this tenant's")


def _invalid(pointer: str, detail: str) -> Refusal:
    return Refusal("invalid", "", [FieldError(pointer, detail)])
