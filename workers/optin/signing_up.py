"""Takes what was ticked on a form: a token, one opt-in a purpose, and the links that lead to the chat (protocols §4).

Nobody is known yet and nothing personal is kept. What the page showed and what was ticked lies in the vault under the token's
hash, until the person writes first; when nobody does, it dies, and only the count stays.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from schemas import topics
from schemas.clock import MS_PER_S, now_ms, to_text
from schemas.constants import Times
from schemas.content import TextReference
from schemas.entry_tokens import make_token, token_hash
from schemas.events.consents import OptInRequested
from schemas.events.registry import build
from schemas.ids import event_id, random_id
from schemas.metrics import counter
from schemas.settings import Account
from streams.step.contract import Output
from vault.entry_tokens import TokenKind
from vault.vault import Vault
from workers.channel import Channel, InvalidLink
from workers.optin.offers import Offer
from workers.optin.qr import qr_path

log = logging.getLogger(__name__)
ROLE = "api"


@dataclass(frozen=True, slots=True)
class ChatLink:
    """A link into the chat with a token in its draft, and the same as a QR code (`qr`: SVG path in units of one module)."""

    channel: str
    account: str
    url: str
    qr: str
    qr_modules: int

    def __repr__(self) -> str:
        return f"ChatLink({self.channel})"


@dataclass(frozen=True, slots=True)
class Ticked:
    """What somebody asked for on a page, and what the page showed. `requested_ms`: when it was ticked."""

    tenant: str
    kind: TokenKind
    origin: str
    purposes: tuple[str, ...]
    text: TextReference
    text_hash: str
    notice: str
    notice_hash: str | None
    language: str
    requested_ms: int
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class SignUp:
    """What the page needs to lead on. `expires_at`: until when the person may write."""

    optins: tuple[str, ...]
    links: tuple[ChatLink, ...]
    expires_at: str


def ticked_on(offer: Offer, purposes: Sequence[str]) -> Ticked:
    """What was ticked on a form of Sealpost's own, just now."""
    return Ticked(
        offer.tenant, "form", offer.form.form, tuple(purposes), offer.text_reference, offer.text.hash,
        offer.notice.reference, offer.notice.hash, offer.language, now_ms(), offer.form.campaign,
    )  # fmt: skip


class SignUps:
    """Records sign-ups of one installation; blocking."""

    def __init__(self, vault: Vault, times: Times, channel: Callable[[str], Channel]) -> None:
        self._vault, self._times, self._channel = vault, times, channel
        self._steps = counter("sealpost_optin_steps_total")

    def record(
        self, ticked: Ticked, accounts: Sequence[Account], words: str = ""
    ) -> tuple[SignUp, tuple[Output, ...]]:
        """Record what was ticked; what has to be produced before the answer is given. The token is told this once.
        `words` stand before it in drafts."""
        token, optins = make_token(), {purpose: random_id() for purpose in ticked.purposes}
        expires_ms = ticked.requested_ms + round(self._times.optin_s * MS_PER_S)
        facts: dict[str, Any] = {
            "form": ticked.origin if ticked.kind == "form" else None,
            "campaign": ticked.campaign,
            "purposes": [{"purpose": purpose, "optin": optin} for purpose, optin in optins.items()],
            "text": ticked.text.model_dump(),
            "text_hash": ticked.text_hash,
            "notice": ticked.notice,
            "notice_hash": ticked.notice_hash,
            "language": ticked.language,
            "requested_at": to_text(ticked.requested_ms),
            "draft": words or None,
        }
        known = {name: value for name, value in facts.items() if value is not None}
        with self._vault.transaction() as cursor:
            ids = self._vault.tenant_ids_within(cursor, ticked.tenant)
            self._vault.add_entry_token(
                cursor, ticked.tenant, token_hash(token), ticked.kind, ticked.origin, known, expires_ms
            )
        outputs = tuple(_requested(ticked, ids, purpose, optin) for purpose, optin in optins.items())
        self._steps.labels(ticked.kind, "ticked", ticked.tenant).inc(len(optins))
        links = self.links(accounts, token, words)
        return SignUp(tuple(optins.values()), links, to_text(expires_ms)), outputs

    def links(self, accounts: Sequence[Account], token: str, words: str = "") -> tuple[ChatLink, ...]:
        """Links to accounts with a token in their draft, behind words where a person sees them; an account whose number or name
        makes no link is left out."""
        found: list[ChatLink] = []
        for account in accounts:
            try:
                url = self._channel(account.channel).chat_link(account.handle or "", token, words)
            except InvalidLink as error:
                log.warning("account %s: %s", account.account, error)
                continue
            path, modules = qr_path(url)
            found.append(ChatLink(account.channel, account.account, url, path, modules))
        return tuple(found)


def _requested(ticked: Ticked, ids: bytes, purpose: str, optin: str) -> Output:
    data = OptInRequested(
        optin=optin,
        purpose=purpose,
        account="",
        entry_point=ticked.kind,
        language=ticked.language,
        acted_at=to_text(ticked.requested_ms),
        text=ticked.text,
        text_hash=ticked.text_hash,
        notice=ticked.notice,
        notice_hash=ticked.notice_hash,
        form=ticked.origin if ticked.kind == "form" else None,
        campaign=ticked.campaign,
    )
    event = build(
        data,
        id=event_id(ids, optin, ROLE, "optin_requested"),
        role=ROLE,
        tenant=ticked.tenant,
        subject=optin,
        at_ms=now_ms(),
    )
    return Output(topics.CONSENTS, event.key(), event.to_bytes())
