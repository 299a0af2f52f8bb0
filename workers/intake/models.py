"""Bodies and answers of the command API. Unknown fields are refused; nothing is coerced."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from schemas.content import Content
from schemas.events.messages import Delivery
from schemas.texts import Language
from vault.tokens import TenantRole

DELIVERY: Delivery = "at_least_once"
"""Of a message whose producer does not say: a reply that gets lost is worse than one that comes twice (DESIGN §9)."""
MESSAGE_EXAMPLE = "202611239f1c2d3e4f5061728394a5b6"
TENANT_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
NAME_PATTERN = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
PURPOSE_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,62}$"


class Body(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ToAddress(Body):
    """A recipient by address: somebody who has written from it before."""

    channel: str = Field(max_length=40, examples=["whatsapp"])
    address: str = Field(min_length=1, max_length=256, repr=False, examples=["+49 151 23456789"])


class ToSubject(Body):
    """A recipient by subject id, on the account on which the person wrote last."""

    subject: str = Field(pattern=r"^[0-9a-f]{32}$", examples=["9f1c2d3e4f5061728394a5b6c7d8e9f0"])


def _recipient_kind(value: Any) -> str:
    has_subject = "subject" in value if isinstance(value, dict) else isinstance(value, ToSubject)
    return "to_subject" if has_subject else "to_address"


Recipient = Annotated[
    Annotated[ToAddress, Tag("to_address")] | Annotated[ToSubject, Tag("to_subject")],
    Discriminator(_recipient_kind),
]


def _or_default(value: Any) -> Any:
    """null is as good as absent, as in the other optional fields."""
    return DELIVERY if value is None else value


class SendRequest(Body):
    """Ask for one message to one person."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "to": {"channel": "whatsapp", "address": "+49 151 23456789"},
                    "purpose": "service",
                    "content": {"type": "text", "text": "Your parcel is here."},
                    "idempotency_key": "order-4711-ready",
                },
                {
                    "to": {"subject": "9f1c2d3e4f5061728394a5b6c7d8e9f0"},
                    "purpose": "newsletter",
                    "content": {
                        "type": "template",
                        "name": "offer",
                        "language": "de",
                        "variables": ["Birnen"],
                    },
                    "delivery": "at_most_once",
                    "ttl_seconds": 3600,
                },
            ]
        }
    )
    to: Recipient
    purpose: str = Field(pattern=PURPOSE_PATTERN, examples=["service"])
    content: Content = Field(repr=False)
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=200, repr=False)
    delivery: Annotated[Delivery, BeforeValidator(_or_default)] = DELIVERY
    ttl_seconds: int | None = Field(default=None, ge=1, description="The message expires unsent after this.")
    reply_to: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{32}$",
        description="A message of the person that this one answers, or marks as read.",
    )


class Accepted(BaseModel):
    """The message is asked for; what becomes of it is shown with the subject's messages."""

    message_id: str = Field(examples=[MESSAGE_EXAMPLE])


class ErasureAccepted(BaseModel):
    """The erasure is asked for; `GET /v1/erasures/{erasure_id}` shows how far it is."""

    erasure_id: str


class TenantRequest(Body):
    """A business that shall use Sealpost."""

    id: str = Field(pattern=TENANT_PATTERN, examples=["obsthof"])
    name: str = Field(max_length=200, pattern=NAME_PATTERN, examples=["Obsthof Birnbaum GmbH"])
    default_language: Language = "de"


class TenantAnswer(BaseModel):
    """The tenant is registered; its tokens are shown this once, and absent where it had been registered before."""

    tenant: str
    tokens: dict[str, str] | None = None


class TokenRequest(Body):
    """A further token of a tenant. `replace`: all earlier ones of the role end."""

    role: TenantRole
    replace: bool = False


class TokenAnswer(BaseModel):
    """The token, shown this once."""

    tenant: str
    role: TenantRole
    token: str


class DpaRequest(Body):
    """A signed data-processing agreement. `signed_at`: RFC 3339 with a zone; now when it is not given."""

    version: str = Field(min_length=1, max_length=100, pattern=r"\S", examples=["2026-01"])
    signed_at: str | None = Field(default=None, max_length=40, examples=["2026-11-23T10:00:00Z"])


class DpaAnswer(BaseModel):
    """What is on record now."""

    tenant: str
    dpa: Literal["signed", "ended"]
