"""Tenants and their settings: registration, agreement, notices, channels. Used by the API, the CLI and the first start.

Whatever is registered is an event of `sealpost.tenants`; only secrets lie in the vault.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Literal

from schemas.clock import DAY, boot_s, now_ms, sleep_s, to_text, today
from schemas.default_wording import (
    NOTICE,
    NOTICE_VERSION,
    NOTICES,
    SIGNUP,
    SIGNUP_VERSION,
    SIGNUPS,
    wording_hash,
)
from schemas.entry_tokens import token_hash
from schemas.envelope import Event, EventData
from schemas.errors import SealpostError
from schemas.events import tenants
from schemas.events.inbound import IngressKeyPublished
from schemas.events.registry import build
from schemas.ids import derived_id, event_id, keyed_hash, random_id
from schemas.settings import DEFAULT_PURPOSES, ConsentText, Form, Link, Notice
from schemas.texts import LANGUAGES, Language
from schemas.topics import INGRESS_KEYS, TENANTS
from streams.step.contract import Output
from vault.daykeys import DAYS_AHEAD, PublicDayKey
from vault.tokens import AccessRole, TenantRole
from vault.vault import Vault
from workers.intake.producing import PRODUCE_LIMIT_S, Produces

ROLE = "api"
SOURCE = "registrar"
"""Source of the registrar's own commands in the vault's table of requests."""
TENANT_ROLES: tuple[AccessRole, ...] = ("officer", "agent", "producer", "legal")
POLL_S = 0.02


class UnknownTenantId(SealpostError):
    """No tenant of this id is registered; register it first (`sealpost tenant register`)."""


class TenantDiffers(SealpostError):
    """A tenant of this id is registered with another name or language; choose another id."""


class Registrar:
    """Writes the settings of tenants. Blocks; every method returns when Kafka has acknowledged what it wrote."""

    def __init__(self, vault: Vault, producer: Produces, public_url: str = "") -> None:
        """`public_url`: where people reach the pages of the API (`https://…`, without a slash at the end), "" when nobody has
        said it: the default notice has no address then."""
        self._vault, self._producer, self._public_url = vault, producer, public_url

    def register(self, tenant: str, name: str, default_language: Language) -> None:
        """Make the tenant's keys and publish it with the default purposes and its first day keys.

        The same registration again finishes what a crash left undone; TenantDiffers when it says something else.
        """
        days = [today() + DAY * ahead for ahead in range(DAYS_AHEAD + 1)]
        with self._vault.transaction() as cursor:
            self._vault.register_tenant(cursor, tenant)
            ids = self._vault.tenant_ids_within(cursor, tenant)
            body_hash = keyed_hash(ids, "registration", tenant, name, default_language)
            recorded = self._vault.find_request(cursor, tenant, SOURCE, "registration", body_hash)
            if recorded is None:
                outputs = _registration(ids, tenant, name, default_language, self._public_url)
                outputs += [
                    ingress_key_output(key) for key in self._vault.create_day_keys(cursor, tenant, days)
                ]
                recorded = self._vault.record_request(
                    cursor, tenant, SOURCE, "registration", body_hash, b"", outputs
                )
        if recorded.kind == "conflict":
            raise TenantDiffers(f"tenant {tenant} is registered with another name or language")
        self._finish(tenant, "registration", recorded.outputs, produced=recorded.produced)

    def first_tokens(self, tenant: str) -> dict[str, str]:
        """A token for each role of a tenant that never had one: role → token; {} for a tenant that is registered again."""
        return self._vault.issue_first_tokens(tenant, TENANT_ROLES)

    def issue_token(self, tenant: str, role: TenantRole, *, replace: bool) -> str:
        """A further token; with `replace` all earlier ones of the tenant's role end."""
        self._require(tenant)
        return self._vault.issue_token(tenant, role, replace=replace)

    def sign_dpa(self, tenant: str, version: str, signed_at: str | None = None) -> None:
        """Put the data-processing agreement on record. It holds once the role `vault` has applied it: `await_dpa`."""
        self._require(tenant)
        at_ms = self._vault.signing_time(tenant)
        signed = tenants.DpaSigned(version=version, signed_at=signed_at or to_text(at_ms))
        self._publish(tenant, signed, at_ms=at_ms)

    def end_dpa(self, tenant: str) -> None:
        """End the agreement: the vault refuses from this moment, the event follows."""
        self._require(tenant)
        request = random_id()
        with self._vault.transaction() as cursor:
            at_ms = self._vault.lower_dpa(cursor, tenant)
            ended = tenants.DpaEnded(ended_at=to_text(at_ms))
            outputs = (_output(_event(tenant, ended, request, at_ms=at_ms)),)
            self._vault.record_request(cursor, tenant, SOURCE, request, b"", b"", outputs)
        self._finish(tenant, request, outputs, produced=False)

    def await_dpa(self, tenant: str, *, signed: bool, limit_s: float) -> bool:
        """Wait until the vault says that the agreement is signed (or ended); False when it does not within the limit."""
        deadline = boot_s() + limit_s
        while True:
            state = self._vault.tenant_state(tenant)
            if state is not None and state.dpa is signed:
                return True
            if boot_s() >= deadline:
                return False
            sleep_s(POLL_S)

    def publish_notice(
        self,
        tenant: str,
        language: Language,
        url: str,
        *,
        notice: str = NOTICE,
        version: int = 1,
        body: str | None = None,
    ) -> None:
        """Publish a version of the privacy notice as people are shown it; the same one again changes nothing. `body` is its text,
        kept as proof of what stood there."""
        self._require(tenant)
        hashed = None if body is None else wording_hash(body)
        published = tenants.NoticePublished(
            notice=notice, version=version, language=language, url=url, body=body, hash=hashed
        )
        cause = ["notice", notice, str(version), language, url, *([hashed] if hashed else [])]
        self._publish(tenant, published, event_id=derived_id(self._vault.tenant_ids(tenant), *cause))

    def publish_text(self, tenant: str, text: str, language: Language, body: str, version: int) -> None:
        """Publish a version of a consent text, approved by whoever publishes it; the same one again changes nothing."""
        self._require(tenant)
        hashed = wording_hash(body)
        published = tenants.ConsentTextPublished(
            text=text, version=version, language=language, body=body, hash=hashed
        )
        cause = ("consent text", text, str(version), language, hashed)
        self._publish(tenant, published, event_id=derived_id(self._vault.tenant_ids(tenant), *cause))

    def approve(self, tenant: str, kind: Literal["notice", "text"], draft: Notice | ConsentText) -> None:
        """An officer approves a draft as it reads; the same again changes nothing."""
        self._require(tenant)
        name = draft.notice if isinstance(draft, Notice) else draft.text
        language: Language = "de" if draft.language == "de" else "en"
        approved = tenants.WordingApproved(
            kind=kind, id=name, version=draft.version, language=language, hash=draft.hash or ""
        )
        cause = ("approval", kind, draft.reference, approved.hash)
        self._publish(tenant, approved, event_id=derived_id(self._vault.tenant_ids(tenant), *cause))

    def publish_form(self, tenant: str, form: Form, *, active: bool = True) -> None:
        """Publish a sign-up form, change it, or end it: from then on its tokens open nothing."""
        self._require(tenant)
        published = tenants.FormPublished(
            form=form.form, purposes=list(form.purposes), accounts=list(form.accounts), origins=list(form.origins),
            campaign=form.campaign, active=active,
        )  # fmt: skip
        if not active:
            # Before it is said: after a failure the form is still there, and can be ended again.
            self._end_tokens(tenant, form.form)
        self._publish(tenant, published)
        if not active:
            # Of sign-ups that came in between.
            self._end_tokens(tenant, form.form)

    def publish_link(
        self, tenant: str, link: Link, token: str | None, expires_ms: int | None = None, draft: str = ""
    ) -> None:
        """Publish a click-to-chat link with its token, or end it (`token` None). `draft`: the words before the token."""
        self._require(tenant)
        with self._vault.transaction() as cursor:
            if token is None:
                self._vault.end_entry_tokens(cursor, tenant, link.link, now_ms())
            else:
                facts = {
                    "link": link.link,
                    "campaign": link.campaign,
                    "purposes": [{"purpose": link.purpose, "optin": ""}],
                    "draft": draft,
                }
                self._vault.add_entry_token(
                    cursor, tenant, token_hash(token), "link", link.link, facts, expires_ms
                )
        published = tenants.LinkPublished(
            link=link.link, account=link.account, campaign=link.campaign, purpose=link.purpose, active=token is not None
        )  # fmt: skip
        self._publish(tenant, published)

    def define_purpose(
        self, tenant: str, purpose: str, legal_basis: str, names: Mapping[str, str] | None = None
    ) -> None:
        """Say what messages may be for; `legal_basis` is consent, contract or legitimate_interest, `names` what people read."""
        self._require(tenant)
        told = {"purpose": purpose, "legal_basis": legal_basis, "names": dict(names) if names else None}
        self._publish(tenant, tenants.PurposeDefined.model_validate(told))

    def approve_channel(
        self, tenant: str, channel: str, connection: str, account: str, handle: str | None = None
    ) -> None:
        """Let a tenant use an account; its credentials are put into the vault beside this (`add_connection`, `add_account`).
        `handle`: the number, page or bot name that links are made of."""
        self._require(tenant)
        approved = tenants.ChannelApproved(connection=connection, account=account, handle=handle)
        self._publish(tenant, approved, channel=channel)

    def _end_tokens(self, tenant: str, origin: str) -> None:
        with self._vault.transaction() as cursor:
            self._vault.end_entry_tokens(cursor, tenant, origin, now_ms())

    def _require(self, tenant: str) -> None:
        if self._vault.tenant_state(tenant) is None:
            raise UnknownTenantId(f"tenant {tenant[:80]!r} is not registered")

    def _publish(
        self,
        tenant: str,
        data: EventData,
        *,
        channel: str | None = None,
        event_id: str | None = None,
        at_ms: int | None = None,
    ) -> None:
        event = _event(tenant, data, event_id or random_id(), channel, at_ms)
        self._producer.produce_all((_output(event),), PRODUCE_LIMIT_S)

    def _finish(self, tenant: str, request: str, outputs: Sequence[Output], *, produced: bool) -> None:
        if not produced:
            self._producer.produce_all(outputs, PRODUCE_LIMIT_S)
            self._vault.mark_produced(tenant, SOURCE, request)


def ingress_key_output(key: PublicDayKey) -> Output:
    """The record that publishes a day key's public half; its key is `tenant/day`, so that the topic can be compacted."""
    day = key.day.isoformat()
    event = build(
        IngressKeyPublished(day=day, public=b64encode(key.public).decode()),
        id=derived_id(key.public, "ingress key", key.tenant, day),
        role=ROLE,
        tenant=key.tenant,
        subject=key.tenant,
        at_ms=now_ms(),
    )
    return Output(INGRESS_KEYS, f"{key.tenant}/{day}".encode(), event.to_bytes())


def own_notice_url(public_url: str, tenant: str, notice: str, version: int, language: str) -> str:
    """Where the API shows a notice that Sealpost keeps."""
    return f"{public_url}/optin/notices/{tenant}/{notice}/{version}/{language}" if public_url else ""


def _registration(
    ids: bytes, tenant: str, name: str, default_language: Language, public_url: str
) -> list[Output]:
    cause = derived_id(ids, "registration", tenant)
    registered = tenants.TenantRegistered(name=name, default_language=default_language)
    outputs = [_output(_event(tenant, registered, event_id(ids, cause, ROLE, "tenant_registered")))]
    for purpose, basis in DEFAULT_PURPOSES.items():
        defined = tenants.PurposeDefined.model_validate({"purpose": purpose, "legal_basis": basis})
        outputs.append(_output(_event(tenant, defined, event_id(ids, cause, ROLE, f"purpose {purpose}"))))
    for language in LANGUAGES:
        outputs += _default_wording(ids, cause, tenant, "de" if language == "de" else "en", public_url)
    return outputs


def _default_wording(
    ids: bytes, cause: str, tenant: str, language: Language, public_url: str
) -> list[Output]:
    """Sealpost's own notice and sign-up text, as drafts."""
    words, signup = NOTICES[language], SIGNUPS[language]
    notice = tenants.NoticePublished(
        notice=NOTICE, version=NOTICE_VERSION, language=language, body=words, hash=wording_hash(words), draft=True,
        url=own_notice_url(public_url, tenant, NOTICE, NOTICE_VERSION, language),
    )  # fmt: skip
    text = tenants.ConsentTextPublished(
        text=SIGNUP, version=SIGNUP_VERSION, language=language, body=signup, hash=wording_hash(signup), draft=True
    )  # fmt: skip
    return [
        _output(_event(tenant, notice, event_id(ids, cause, ROLE, f"draft notice {language}"))),
        _output(_event(tenant, text, event_id(ids, cause, ROLE, f"draft sign-up text {language}"))),
    ]


def _event(
    tenant: str, data: EventData, event: str, channel: str | None = None, at_ms: int | None = None
) -> Event:
    at = now_ms() if at_ms is None else at_ms
    return build(data, id=event, role=ROLE, tenant=tenant, subject=tenant, at_ms=at, channel=channel)


def _output(event: Event) -> Output:
    return Output(TENANTS, event.key(), event.to_bytes())
