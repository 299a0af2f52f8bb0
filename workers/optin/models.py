"""Bodies and answers of the routes that manage signing up. Unknown fields are refused; nothing is coerced."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from schemas.content import TextReference
from schemas.texts import Language
from workers.intake.models import PURPOSE_PATTERN, Body

ID_PATTERN = r"^[0-9a-f]{32}$"
CAMPAIGN_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,62}$"
ORIGIN_PATTERN = r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$"
BODY_MAX_CHARACTERS = 60_000
Purpose = Annotated[str, StringConstraints(pattern=PURPOSE_PATTERN)]
Campaign = Annotated[str, StringConstraints(pattern=CAMPAIGN_PATTERN)]
AccountName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Origin = Annotated[str, StringConstraints(pattern=ORIGIN_PATTERN, max_length=300)]


class PurposeRequest(Body):
    """What messages may be for. `names`: what people read on forms and in questions, in German and English."""

    purpose: Purpose
    legal_basis: Literal["consent", "contract", "legitimate_interest"]
    names: dict[Language, Annotated[str, StringConstraints(min_length=1, max_length=80)]]


class PurposesAnswer(BaseModel):
    """Purpose → legal basis."""

    purposes: dict[str, str]


class FormRequest(Body):
    """A sign-up form. `accounts`: empty means all of the tenant's that a link can be made to. `origins`: the sites whose pages
    may embed the widget, as a browser names them (`https://www.example.org`)."""

    purposes: list[Purpose] = Field(min_length=1, max_length=20, examples=[["newsletter"]])
    accounts: list[AccountName] = Field(default_factory=list, max_length=20)
    origins: list[Origin] = Field(default_factory=list, max_length=50)
    campaign: Campaign | None = None


class FormAnswer(BaseModel):
    """The form: its page, the script tag that embeds it, and why it shows nothing yet, if so."""

    form: str
    page: str
    script: str
    missing: str | None = None


class LinkRequest(Body):
    """A click-to-chat link of a campaign. `purpose` null: what START signs up for."""

    account: AccountName
    campaign: Campaign = Field(examples=["herbst"])
    purpose: Purpose | None = None
    expires_in_days: int | None = Field(default=None, ge=1, le=3_650)


class LinkAnswer(BaseModel):
    """The link, told this once, and its QR code as an SVG document."""

    link: str
    url: str
    qr_svg: str


class ApprovalRequest(Body):
    """Approve a draft as it reads; `reference` as `GET /v1/wordings` gives it."""

    kind: Literal["notice", "text"]
    reference: str = Field(max_length=200, examples=["privacy/1/de"])


class WordingRequest(Body):
    """A version of the privacy notice or of the sign-up text in the business's own words. A notice without a `url` is shown by
    Sealpost; a text holds `{business}` and `{purpose}`."""

    kind: Literal["notice", "text"]
    version: int = Field(ge=2, le=1_000_000)
    language: Language
    body: str = Field(min_length=20, max_length=BODY_MAX_CHARACTERS)
    url: str | None = Field(default=None, max_length=500, pattern=r"^https://[^\s/]+(/\S*)?$")


class WordingAnswer(BaseModel):
    """One version of a notice or text. `approved` false: a draft, shown to nobody."""

    kind: Literal["notice", "text"]
    reference: str
    language: str
    approved: bool
    url: str | None = None
    body: str | None = None
    hash: str | None = None


class WordingsAnswer(BaseModel):
    """All there are."""

    wordings: list[WordingAnswer]


class OptInRequest(Body):
    """What a person ticked on the business's own form. It carries which text and which notice were shown, and when; the person
    must still write first, by one of the links in the answer. No address is taken."""

    purposes: list[Purpose] = Field(min_length=1, max_length=20)
    text: TextReference
    notice: str = Field(max_length=200, examples=["privacy/1/de"])
    shown_at: str = Field(max_length=40, examples=["2026-11-25T10:00:00Z"])
    language: Language
    accounts: list[AccountName] = Field(default_factory=list, max_length=20)
    campaign: Campaign | None = None


class ChatLinkAnswer(BaseModel):
    """A link into the chat with the token in its draft, and its QR code as an SVG document."""

    channel: str
    account: str
    url: str
    qr_svg: str


class OptInAnswer(BaseModel):
    """The opt-ins, and the ways to confirm them; until `expires_at` the person may write."""

    optins: list[str]
    links: list[ChatLinkAnswer]
    expires_at: str


class WithdrawalRequest(Body):
    """The person withdrew elsewhere: by letter, at the counter, in another app."""

    channel: str = Field(min_length=1, max_length=40)
    purpose: Purpose


class WithdrawalAnswer(BaseModel):
    """It holds from now on."""

    subject: str
    channel: str
    purpose: str


class PreferencesLinkAnswer(BaseModel):
    """A key to the person's preference page, good for a day. Give it to that person only."""

    url: str
