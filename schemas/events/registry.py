"""All event types by name, each with its topic; builds events from data models and checks what was read."""

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from schemas import topics
from schemas.clock import to_text
from schemas.envelope import SOURCE_PREFIX, Event, EventData, InvalidEvent, KeyClass, SealedBlock
from schemas.events import consents, deletions, inbound, messages, statuses, subscriptions, tenants
from schemas.ids import is_id

TOPIC_OF: dict[type[EventData], str] = {
    subscriptions.SubjectCreated: topics.SUBSCRIPTIONS,
    subscriptions.AddressBound: topics.SUBSCRIPTIONS,
    subscriptions.AddressUnbound: topics.SUBSCRIPTIONS,
    subscriptions.ReachChanged: topics.SUBSCRIPTIONS,
    subscriptions.ProfileUpdated: topics.SUBSCRIPTIONS,
    subscriptions.SubscriptionActivated: topics.SUBSCRIPTIONS,
    subscriptions.SubscriptionEnded: topics.SUBSCRIPTIONS,
    consents.OptInRequested: topics.CONSENTS,
    consents.ConsentRequested: topics.CONSENTS,
    consents.ConfirmationSent: topics.CONSENTS,
    consents.OptInConfirmed: topics.CONSENTS,
    consents.ConsentGiven: topics.CONSENTS,
    consents.ConsentRefused: topics.CONSENTS,
    consents.ConsentWithdrawn: topics.CONSENTS,
    consents.ConsentExpired: topics.CONSENTS,
    messages.MessageReceived: topics.MESSAGES,
    messages.MessageEdited: topics.MESSAGES,
    messages.MessageRevoked: topics.MESSAGES,
    messages.MessageReacted: topics.MESSAGES,
    messages.MessageEchoed: topics.MESSAGES,
    messages.MessageRequested: topics.MESSAGES,
    messages.SendCommand: "sealpost.outbound.*",
    statuses.MessageRejected: topics.STATUSES,
    statuses.MessageSubmitted: topics.STATUSES,
    statuses.MessageSent: topics.STATUSES,
    statuses.MessageDelivered: topics.STATUSES,
    statuses.MessageRead: topics.STATUSES,
    statuses.MessageFailed: topics.STATUSES,
    statuses.MessageExpired: topics.STATUSES,
    statuses.MessageUnknown: topics.STATUSES,
    deletions.ErasureRequested: topics.DELETIONS,
    deletions.ErasureRefused: topics.DELETIONS,
    deletions.KeyDestroyed: topics.DELETIONS,
    deletions.StorePurged: topics.DELETIONS,
    deletions.SubjectErased: topics.DELETIONS,
    deletions.ErasureIncomplete: topics.DELETIONS,
    deletions.ErasureSettled: topics.DELETIONS,
    tenants.TenantRegistered: topics.TENANTS,
    tenants.DpaSigned: topics.TENANTS,
    tenants.DpaEnded: topics.TENANTS,
    tenants.PurposeDefined: topics.TENANTS,
    tenants.NoticePublished: topics.TENANTS,
    tenants.ChannelApproved: topics.TENANTS,
    tenants.ConsentTextPublished: topics.TENANTS,
    tenants.WordingApproved: topics.TENANTS,
    tenants.FormPublished: topics.TENANTS,
    tenants.LinkPublished: topics.TENANTS,
    tenants.TemplateStatusChanged: topics.TENANTS,
    tenants.AccountNews: topics.TENANTS,
    inbound.FragmentReceived: "sealpost.inbound.*",
    inbound.IngressKeyPublished: topics.INGRESS_KEYS,
}
"""Event data model → topic; `*` stands for the channel."""

_CLASSES: tuple[KeyClass, ...] = ("identity", "content", "evidence")


def type_name(model: type[EventData]) -> str:
    """The name an event type has for ever; never a class path."""
    name: str = model.TYPE  # type: ignore[attr-defined]  # every registered model declares TYPE
    return name


MODELS: dict[str, type[EventData]] = {type_name(model): model for model in TOPIC_OF}


def build(
    data: EventData,
    *,
    id: str,  # noqa: A002 - the envelope's own word
    role: str,
    tenant: str,
    subject: str,
    at_ms: int,
    channel: str | None = None,
    cause: str | None = None,
    correlation: str | None = None,
) -> Event:
    """Wrap data into its envelope. `cause` is the id of the event that led here, `role` the process that writes."""
    return Event(
        id=id,
        source=SOURCE_PREFIX + role,
        type=type_name(type(data)),
        subject=subject,
        time=to_text(at_ms),
        tenant=tenant,
        channel=channel,
        causationid=cause,
        correlationid=correlation or cause,
        data=data.model_dump(mode="json", exclude_none=True),
    )


def encode(
    data: EventData,
    *,
    id: str,  # noqa: A002 - the envelope's own word
    role: str,
    tenant: str,
    subject: str,
    at_ms: int,
    channel: str | None = None,
    cause: str | None = None,
    correlation: str | None = None,
    blocks: Mapping[KeyClass, SealedBlock] | None = None,
) -> bytes:
    """The record value that `build` would lead to, without the envelope's model: for what writes thousands a second.

    `blocks`: the sealed blocks of the event; `data.sealed` is then not looked at. ValueError when `id` is none.
    """
    if not is_id(id):
        raise ValueError("an event needs an id of 32 hexadecimal digits")
    fields = data.model_dump(mode="json", exclude_none=True)
    if blocks:
        sealed = {key_class: blocks[key_class].fields() for key_class in _CLASSES if key_class in blocks}
        fields = {"sealed": sealed, **fields}
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": id,
        "source": SOURCE_PREFIX + role,
        "type": type_name(type(data)),
        "subject": subject,
        "time": to_text(at_ms),
        "datacontenttype": "application/json",
        "tenant": tenant,
    }
    if channel is not None:
        event["channel"] = channel
    if cause is not None:
        event["causationid"] = cause
    thread = correlation or cause
    if thread is not None:
        event["correlationid"] = thread
    event["data"] = fields
    return orjson.dumps(event)


def read(event: Event) -> EventData:
    """The typed data of an event; InvalidEvent names the field (never the value) that is wrong, or the unknown type."""
    model = MODELS.get(event.type)
    if model is None:
        raise InvalidEvent(f"unknown event type {event.type[:80]!r}")
    try:
        return model.model_validate(event.data)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise InvalidEvent(f"{event.type}: field {where} is not valid") from None


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema of an event type: the envelope with the type's own data."""
    envelope = Event.model_json_schema()
    data = MODELS[name].model_json_schema(ref_template="#/$defs/{model}")
    definitions = data.pop("$defs", {})
    envelope["properties"]["data"] = data
    envelope["properties"]["type"] = {"const": name}
    envelope["title"] = name
    envelope["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    if definitions:
        envelope["$defs"] = definitions
    return envelope
