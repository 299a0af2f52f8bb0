"""What the query API answers. Fields that an answer does not have are left out; a field that cannot be read is null."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SUBJECT_EXAMPLE = "9f1c2d3e4f5061728394a5b6c7d8e9f0"
TIME_EXAMPLE = "2026-11-23T10:00:00.123Z"


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="forbid")


class LookupRequest(Answer):
    """An address, in the body because no URL may hold one."""

    channel: str = Field(max_length=40, examples=["whatsapp"])
    address: str = Field(min_length=1, max_length=256, examples=["+49 151 23456789"])


class LookupAnswer(Answer):
    """Whom the address reaches now."""

    subject: str = Field(examples=[SUBJECT_EXAMPLE])


class Profile(Answer):
    """What the person calls themselves."""

    name: str | None = Field(examples=["Ada"])


class ShownAddress(Answer):
    """Where the person is reached."""

    channel: str
    kind: str
    address: str | None = Field(examples=["4915123456789"])


class ShownBlock(Answer):
    """An account that the person has blocked, or that the provider says cannot reach them: nothing goes to them from it until
    they write again."""

    channel: str
    account: str
    since: str = Field(examples=[TIME_EXAMPLE])


class ShownSubscription(Answer):
    """Membership in a list; `since` is when the state began."""

    list: str
    purpose: str
    channel: str
    state: Literal["active", "ended"]
    since: str | None = Field(examples=[TIME_EXAMPLE])
    language: str | None = None
    basis: str | None = None
    reason: str | None = None


class ShownPermission(Answer):
    """What the consents of one purpose on one channel come to; given means that the yes is younger than the no."""

    purpose: str
    channel: str
    state: Literal["given", "withdrawn"]
    given_at: str | None = None
    withdrawn_at: str | None = None


class SubjectAnswer(Answer):
    """A subject. Erased (or lost): `subject`, `state` and `erased_at` only."""

    subject: str = Field(examples=[SUBJECT_EXAMPLE])
    state: Literal["active", "restricted", "erased", "lost"]
    erased_at: str | None = None
    profile: Profile | None = None
    addresses: list[ShownAddress] | None = None
    blocked: list[ShownBlock] | None = Field(default=None, description="Left out where there is none.")
    subscriptions: list[ShownSubscription] | None = None
    permissions: list[ShownPermission] | None = None
    language: str | None = None
    created_at: str | None = Field(default=None, examples=[TIME_EXAMPLE])
    stale: bool | None = Field(default=None, description="An event of this subject could not be handled.")
    unreadable: bool | None = Field(
        default=None, description="A sealed block did not open; null fields may be its."
    )


class MessageItem(Answer):
    """One message, in or out. `text` is null where there is none: templates have `template`, unsupported kinds nothing.

    `text` is what the message says now, after the last edit; of one that was taken back nothing is shown but that. Kind
    `reaction`: the person reacted to one of ours. `kind` is null where only an edit or the like of the message is known,
    `direction` where that is a reaction.
    """

    message_id: str
    direction: Literal["in", "out"] | None
    channel: str | None
    purpose: str | None
    kind: str | None
    text: str | None
    template: dict[str, Any] | None = Field(
        default=None, examples=[{"name": "offer", "language": "de", "variables": []}]
    )
    status: str | None = Field(examples=["delivered"])
    reason: str | None = Field(examples=["consent_withdrawn"])
    code: int | None = None
    edited_at: str | None = Field(default=None, examples=[TIME_EXAMPLE])
    revoked_at: str | None = Field(default=None, examples=[TIME_EXAMPLE])
    reaction: str | None = Field(
        default=None, examples=["👍"], description="The person's reaction to this message."
    )
    by: Literal["staff"] | None = Field(
        default=None,
        description="Somebody of the business wrote it past Sealpost, in the provider's own inbox.",
    )
    times: dict[str, str] = Field(examples=[{"requested": TIME_EXAMPLE, "submitted": TIME_EXAMPLE}])
    unreadable: bool | None = None


class MessagesAnswer(Answer):
    """Messages in the order of the log, oldest first; `next` is the cursor of the following page."""

    state: Literal["erased", "lost"] | None = None
    items: list[MessageItem]
    next: str | None = None


class ShownText(Answer):
    """The wording a person was shown, rendered as it was then; null when this version does not know it any more."""

    id: str
    version: int
    language: str
    wording: str | None


class ShownNotice(Answer):
    """The privacy notice a person was shown."""

    reference: str
    url: str | None = None


class ConsentItem(Answer):
    """One event of the consent history. `requested_at`: when it was ticked on a page; `text_hash`, `notice_hash`: SHA-256 of
    what was shown, where Sealpost keeps the words; `form`, `link`, `campaign`: how the person came."""

    event: str
    type: str = Field(examples=["ConsentGiven"])
    purpose: str
    channel: str
    acted_at: str | None
    recorded_at: str
    optin: str | None = None
    account: str | None = None
    language: str | None = None
    legal_basis: str | None = None
    entry_point: str | None = None
    message: str | None = None
    method: str | None = None
    requested_at: str | None = None
    text: ShownText | None = None
    text_hash: str | None = None
    notice: ShownNotice | None = None
    notice_hash: str | None = None
    form: str | None = None
    link: str | None = None
    campaign: str | None = None
    evidence: dict[str, Any] | None = Field(
        default=None,
        description='What the person wrote, opened; {"state": "erased"} when nobody can open it again.',
    )
    unreadable: bool | None = None


class ConsentsAnswer(Answer):
    """The history in the order of the events."""

    state: Literal["erased", "lost"] | None = None
    items: list[ConsentItem]


class Receipt(Answer):
    """A store says that it is clean of the subject."""

    store: str
    purged_at: str


class ErasureAnswer(Answer):
    """How far an erasure is; times that are not known yet are null. T2 is known, and may lie ahead, as soon as T1 is."""

    erasure_id: str
    subject: str
    state: Literal["requested", "keys_destroyed", "incomplete", "erased", "settled", "refused"]
    requested_by: str | None = None
    reason: str | None = None
    evidence: str | None = None
    t0: str | None
    t1: str | None
    t2: str | None
    tr: str | None = Field(description="When the last day key that sealed a raw webhook of the person dies.")
    t3: str | None = Field(description="When the last backup that could hold a key dies.")
    receipts: list[Receipt]
    missing: list[str] | None = None
    certificate: dict[str, Any] | None = None
    settled_at: str | None = None


class CertificateKey(Answer):
    """A key that certificates of erasure are signed with."""

    key: str = Field(description="As `certificate.key` names it.")
    algorithm: Literal["Ed25519"] = "Ed25519"
    public: str = Field(description="32 bytes (RFC 8032) in base64.")


class CertificateKeysAnswer(Answer):
    """All signing keys of the installation, oldest first."""

    keys: list[CertificateKey]


class Step(Answer):
    """Something that happened to a message."""

    at: str = Field(examples=[TIME_EXAMPLE])
    words: str = Field(examples=["The gate let it go. (40 ms later)"])


class Attempt(Answer):
    """One answer of the gate, and how the call to the provider ended."""

    attempt: int
    at: str = Field(examples=[TIME_EXAMPLE])
    refusal: str | None = Field(default=None, examples=["consent_withdrawn"])
    outcome: str | None = Field(
        default=None, description="Absent while nobody knows.", examples=["submitted"]
    )
    outcome_at: str | None = None


class PartFate(Answer):
    """What became of one part of a text over the channel's limit."""

    part: int = Field(description="Counted from 0, as in the status events; sentences count from 1.")
    status: str = Field(examples=["rejected"])
    reason: str | None = Field(default=None, examples=["part_failed"])
    code: int | None = None
    verdict: str
    attempts: list[Attempt]


class ExplanationAnswer(Answer):
    """What became of a message, in sentences."""

    message_id: str
    subject: str | None = None
    direction: Literal["in", "out"] | None = None
    status: str | None = Field(default=None, examples=["rejected"])
    reason: str | None = Field(default=None, examples=["consent_withdrawn"])
    verdict: str = Field(
        examples=[
            "Not sent: consent for newsletter withdrawn on 3 May 2026 14:02:11 UTC by a keyword in the chat."
        ]
    )
    steps: list[Step]
    parts: list[PartFate] | None = Field(
        default=None,
        description="Of a text that went out in parts: each that was tried so far.",
    )


class TimelineItem(Answer):
    """Something that happened to a person or by them."""

    at: str = Field(examples=[TIME_EXAMPLE])
    kind: Literal["subject", "address", "consent", "subscription", "message", "erasure"]
    words: str = Field(examples=["Consent to newsletter is given."])
    name: str | None = Field(default=None, description="Id of the event, message or erasure that tells more.")


class TimelineAnswer(Answer):
    """One person's way, oldest first. Erased: `state`, and only how the erasure went."""

    subject: str = Field(examples=[SUBJECT_EXAMPLE])
    state: Literal["erased", "lost"] | None = None
    earlier: bool | None = Field(default=None, description="There are messages before the first one shown.")
    items: list[TimelineItem]
