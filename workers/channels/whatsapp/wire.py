"""The provider's JSON as pydantic models: only what Sealpost reads, everything else is ignored and stays in
the fragment. And the words of the provider that may stand in clear.

Source: channel-apis §2.1 to §2.3 (pywa, nyaruka/courier, Meta's reference), August 2026.
"""

import base64
import re
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import AliasChoices, Field, ValidationError

from schemas import ids
from schemas.addresses import Address, international_number
from workers import meta
from workers.inbound_values import FileKind, JsonObject, Media
from workers.webhook_body import Part

_USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")

# ---- words --------------------------------------------------------------------------------------------------------

NEWS: Mapping[str, tuple[str, ...]] = {
    "account_alerts": ("alert_info.alert_type", "alert_type"),
    "account_review_update": ("decision",),
    "account_settings_update": (),
    "account_update": ("ban_info.waba_ban_state", "event"),
    "business_capability_update": (),
    "business_username_updates": ("status",),
    "flows": ("event",),
    "message_template_components_update": (),
    "message_template_quality_update": ("new_quality_score",),
    "phone_number_name_update": ("decision",),
    "phone_number_quality_update": ("event",),
    "security": ("event",),
    "template_category_update": ("new_category", "correct_category"),
}
"""Fields that bring news about our account → where in their value the word stands that says what happened, the most telling
first; none: that it comes says all there is (`changed`)."""

CHANGED = "changed"
NEWS_WORDS = frozenset((
    # accounts
    "account_deleted", "account_offboarded", "account_reconnected", "account_restriction", "account_violation",
    "ad_account_linked", "auth_intl_price_eligibility_update", "business_primary_location_country_update", "disabled_update",
    "mm_lite_terms_signed", "partner_added", "partner_app_installed", "partner_app_uninstalled",
    "partner_client_certification_status_update", "partner_removed", "verified_account", "volume_based_pricing_tier_update",
    "disable", "schedule_for_disable", "reinstate",
    # decisions about names, reviews and user names
    "approved", "rejected", "deferred", "pending", "reserved", "deleted",
    # alerts
    "increased_capabilities_eligibility_deferred", "increased_capabilities_eligibility_failed",
    "increased_capabilities_eligibility_need_more_info", "oba_approved", "oba_rejected", "profile_picture_lost",
    # numbers
    "flagged", "unflagged", "onboarding", "upgrade", "downgrade", "throughput_upgrade",
    "pin_changed", "pin_reset_request", "pin_reset_success",
    # templates
    "green", "yellow", "red", "unknown", "marketing", "utility", "authentication", "service",
    # flows
    "flow_status_change", "client_error_rate", "endpoint_error_rate", "endpoint_latency", "endpoint_availability",
    "flow_version_expiry_warning",
    CHANGED,
))  # fmt: skip
"""What news may say in clear, in small letters; anything else is `other`."""

TEMPLATE_STATUSES = frozenset((
    "approved", "archived", "deleted", "disabled", "flagged", "in_appeal", "limit_exceeded", "locked", "paused", "pending",
    "pending_deletion", "reinstated", "rejected", "unarchived",
))  # fmt: skip
TEMPLATE_REASONS = frozenset((
    "abusive_content", "category_not_available", "incorrect_category", "invalid_format", "promotional", "scam",
    "tag_content_mismatch",
))  # fmt: skip

ECHO_FIELDS = frozenset(("message_echoes", "messages", "smb_message_echoes"))
"""Fields under which copies of what staff wrote are seen."""
FIELDS = frozenset(NEWS) | ECHO_FIELDS | frozenset((
    "messages", "user_preferences", "user_id_update", "smb_app_state_sync", "history",
    "message_template_status_update", "calls", "partner_solutions", "payment_configuration_update",
    "automatic_events", "tracking_events", "standby", "messaging_handovers", "group_lifecycle_update",
    "group_participants_update", "group_settings_update", "group_status_update",
))  # fmt: skip
"""Names of webhook fields that may stand in clear; another one is `other`."""

MESSAGE_TYPES = frozenset((
    "text", "image", "video", "document", "audio", "voice", "sticker", "location", "contacts", "button",
    "interactive", "reaction", "order", "system", "edit", "revoke", "request_welcome", "unsupported",
    "unknown", "errors", "ephemeral",
))  # fmt: skip
"""Message types that may stand in clear; another one is `other`."""

MEDIA_TYPES: Mapping[str, FileKind] = {
    "image": "image", "video": "video", "document": "document", "audio": "audio", "voice": "voice", "sticker": "sticker",
}  # fmt: skip
"""Message types that bring a file; `voice` is an old name of an audio with `voice: true`."""

ABOUT_A_MESSAGE = frozenset(("reaction", "edit", "revoke"))
"""Message types that say nothing themselves: they are about an earlier message."""

INTERACTIVE_TYPES = frozenset((
    "button_reply", "list_reply", "nfm_reply", "call_permission_reply",
))  # fmt: skip

IDENTITY_CHANGED = "customer_identity_changed"
ADDRESS_NEWS = frozenset(("user_changed_number", "customer_changed_number", "user_changed_user_id"))
IDENTITY_NEWS = frozenset((IDENTITY_CHANGED, "user_identity_changed"))
"""Kinds of `system` messages; some were called otherwise in older payloads."""

# ---- what comes in ------------------------------------------------------------------------------------------------


class Profile(Part):
    """What the person shows of herself."""

    name: str | None = None


class Contact(Part):
    """Who wrote. `wa_id` may hold a business-scoped user id; the phone may be missing altogether."""

    wa_id: str | None = None
    user_id: str | None = None
    profile: Profile | None = None


class TextBody(Part):
    """A typed text."""

    body: str


class QuickReply(Part):
    """The button of a template that was pressed."""

    text: str
    payload: str | None = None


class Choice(Part):
    """A reply button or a row of a list."""

    id: str
    title: str


class Interactive(Part):
    """An answer to an interactive message; `nfm_reply` is a filled-in form, whose answers stay in the fragment."""

    type: str
    button_reply: Choice | None = None
    list_reply: Choice | None = None
    nfm_reply: JsonObject | None = None


class Target(Part):
    """The message that a reaction, an edit or a revocation is about; where its id stands differs."""

    id: str = Field(min_length=1, validation_alias=AliasChoices("original_message_id", "message_id"))
    emoji: str | None = None
    message: JsonObject = Field(default_factory=dict)


class System(Part):
    """News about a person. New addresses: `wa_id` (before: `new_wa_id`) and `user_id`; old ones: `customer`, `previous_user_id`,
    or the sender of the message."""

    type: Any = None
    wa_id: Any = None
    new_wa_id: Any = None
    user_id: Any = None
    customer: Any = None
    previous_user_id: Any = None
    body: Any = None

    @property
    def word(self) -> str:
        """What it is, as the provider calls it; "" when that is no word."""
        return self.type if isinstance(self.type, str) else ""


class MessageHead(Part):
    """What every message has, whatever its type; `timestamp` is read by `meta.time_ms`, the part of its type by
    `read`.
    """

    id: str = Field(min_length=1)
    type: str = "unknown"
    timestamp: Any = None
    sender: str | None = Field(default=None, alias="from")
    from_user_id: str | None = None
    group_id: Any = None


class Status(Part):
    """What became of a message we sent."""

    id: str = Field(min_length=1)
    status: str
    timestamp: Any = None
    recipient_id: str | None = None
    recipient_user_id: str | None = None
    recipient_type: str | None = None
    biz_opaque_callback_data: str | None = None
    errors: Any = None

    @property
    def error(self) -> JsonObject | None:
        """The first error reported, which is the one that counts."""
        if self.errors is None:
            return None
        listed = self.errors if isinstance(self.errors, list) else [self.errors]
        return next((one for one in listed if isinstance(one, dict)), None)


class Preference(Part):
    """The person used WhatsApp's own switch for marketing messages; `timestamp` is a number here."""

    wa_id: str | None = None
    user_id: str | None = None
    category: str
    value: str
    timestamp: Any = None


class TemplateNews(Part):
    """The provider decided about a template. Its name is one of ours: nothing else looks like one."""

    event: str
    name: str = Field(alias="message_template_name", pattern=r"^[a-z0-9_]{1,512}$")
    language: str = Field(
        alias="message_template_language", pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*$"
    )
    reason: str | None = None


def word(value: object, words: frozenset[str]) -> str:
    """A word that the provider shouts, in small letters, if it may stand in clear; else `other`."""
    return meta.known(value.lower() if isinstance(value, str) else value, words)


def media_of(type_: str, part: object) -> Media | None:
    """The file of a message; None when it says neither an id nor where the file lies."""
    inner = meta.mapping(part)
    ref, url = _text(inner.get("id")), _text(inner.get("url")) or _text(inner.get("link"))
    if not ref and not url:
        return None
    kind = MEDIA_TYPES[type_]
    return Media(
        kind="voice" if kind == "audio" and inner.get("voice") is True else kind,
        mime_type=_text(inner.get("mime_type")),
        ref=ref,
        url=url,
        name=_text(inner.get("filename")),
    )


def shown_text(type_: object, item: Mapping[str, Any]) -> str | None:
    """What a message says in words: the typed text, or the caption of a file; None when it is neither."""
    if not isinstance(type_, str):
        return None
    part = meta.mapping(item.get(type_))
    if type_ == "text":
        return _text(part.get("body"))
    return _text(part.get("caption")) if type_ in MEDIA_TYPES else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def read_contact(raw: object) -> Contact | None:
    """The contact, or None when there is none or it is malformed: a bad profile must not lose the message."""
    try:
        return Contact.model_validate(raw)
    except ValidationError:
        return None


def address(text: object) -> Address | None:
    """A phone or a business-scoped user id by its form, never by the field it stood in; None when it is
    neither.

    Parent ids (`CC.ENT.…`) are none either: nothing is sent to them, and they join a person over several
    businesses.
    """
    found = recipient(text) if isinstance(text, str) else None
    return None if found is None or ".ENT." in found.value else found


def recipient(text: str) -> Address | None:
    """A phone or a user id `CC.…` as somebody wrote it, normalised; None when it is neither."""
    text = text.strip()
    if _USER_ID.fullmatch(text):
        return Address("whatsapp", "bsuid", text)
    number = international_number(text)
    return None if number is None else Address("whatsapp", "phone", number)


def sender_addresses(sender: str | None, user_id: str | None, contact: Contact | None) -> tuple[Address, ...]:
    """All addresses of one sender: at most one user id and one phone, the user id first. What the message
    itself says goes before what the contact says.
    """
    texts = (
        user_id,
        sender,
        contact.user_id if contact else None,
        contact.wa_id if contact else None,
    )
    found: dict[str, Address] = {}
    for candidate in map(address, dict.fromkeys(texts)):
        if candidate is not None:
            found.setdefault(candidate.kind, candidate)
    return tuple(found[kind] for kind in ("bsuid", "phone") if kind in found)


# ---- as the provider writes it (for the simulator) ----------------------------------------------------------------

OBJECT = "whatsapp_business_account"
BUSINESS_ACCOUNT_ID = "100000000000001"
_OUTGOING, _INCOMING = 0x11, 0x12
_ID_TOKEN_CHARACTERS = 18


def message_id(person: str, *, outgoing: bool) -> str:
    """A `wamid.…` like the provider's: base64 that holds the person's number in clear."""
    who = person.encode()
    token = ids.random_id()[:_ID_TOKEN_CHARACTERS].upper().encode()
    direction = _OUTGOING if outgoing else _INCOMING
    head = b"\x1c\x18" + bytes([len(who)]) + who + b"\x15\x02\x00"
    raw = head + bytes([direction, 0x18, len(token)]) + token + b"\x00"
    return "wamid." + base64.b64encode(raw).decode()


def status_json(message: JsonObject, word: str, at_s: int, error: JsonObject | None) -> JsonObject:
    """One status object of an accepted message (`id`, `to`, `type`, `biz_opaque_callback_data`?)."""
    status: JsonObject = {"id": message["id"], "status": word, "timestamp": str(at_s)}
    status["recipient_id" if message["to"].isdigit() else "recipient_user_id"] = message["to"]
    if "biz_opaque_callback_data" in message:
        status["biz_opaque_callback_data"] = message["biz_opaque_callback_data"]
    if error is not None:
        return status | {"errors": [error]}
    template = message["type"] == "template"
    pricing = {"billable": template, "pricing_model": "PMP", "category": "utility" if template else "service"}
    return status | {"pricing": pricing}


def webhook_json(changes: list[JsonObject], at_s: int | None = None) -> bytes:
    """A whole webhook body with these changes; `at_s`: the time of the entry, which news has."""
    time = {} if at_s is None else {"time": at_s}
    entry = {"id": BUSINESS_ACCOUNT_ID, **time, "changes": changes}
    return orjson.dumps({"object": OBJECT, "entry": [entry]})
