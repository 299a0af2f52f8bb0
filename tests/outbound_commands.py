"""Send commands for the tests of role outbound."""

from dataclasses import dataclass
from typing import Any

import orjson

from schemas import clock, ids, topics
from schemas.content import TextReference
from schemas.envelope import Event
from schemas.events import registry
from schemas.events.messages import Delivery, SendCommand
from streams.step.contract import Output, Record
from vault.sealing import SealContext, seal

TENANT = "acme"
ACCOUNT = "wa-main"
CHANNEL = "whatsapp"


@dataclass(frozen=True)
class Person:
    """A subject with the content key that the test knows, and the account it writes to."""

    subject: str
    key: bytes
    gen: str
    tenant: str = TENANT
    account: str = ACCOUNT


def text_command(
    person: Person,
    text: str,
    *,
    delivery: Delivery = "at_least_once",
    ttl_s: float = 3600,
    in_reply_to: str | None = None,
    **changed: Any,
) -> Event:
    """A command whose content is a sealed text."""
    content = {"type": "text", "text": text, "in_reply_to": in_reply_to}
    return _command(person, content, delivery, ttl_s, {"kind": "text", **changed})


def template_command(
    person: Person, name: str, *, delivery: Delivery = "at_least_once", ttl_s: float = 3600, **changed: Any
) -> Event:
    """A command whose content is a sealed template."""
    content = {"type": "template", "name": name, "language": "de", "variables": ["Ada"]}
    changed = {"kind": "template", "template": name, "language": "de", **changed}
    return _command(person, content, delivery, ttl_s, changed)


def own_text_command(
    person: Person, text: str = "consent_question", language: str = "de", ttl_s: float = 3600, **changed: Any
) -> Event:
    """A command that names one of Sealpost's own texts."""
    reference = TextReference(id=text, version=1, language=language)
    fields = {"kind": "own_text", "text": reference, "language": language, **changed}
    return _command(person, None, "at_least_once", ttl_s, fields)


def record_of(event: Event, *, offset: int = 0, bulk: bool = False, partition: int = 0) -> Record:
    """The command as read from its topic."""
    topic = topics.outbound(CHANNEL, bulk=bulk)
    return Record(topic, partition, offset, event.key(), event.to_bytes(), clock.now_ms())


def output_of(event: Event, *, bulk: bool = False) -> Output:
    """The command as it is produced."""
    return Output(topics.outbound(CHANNEL, bulk=bulk), event.key(), event.to_bytes())


def _command(
    person: Person, content: dict[str, Any] | None, delivery: Delivery, ttl_s: float, changed: dict[str, Any]
) -> Event:
    now_ms = clock.now_ms()
    fields: dict[str, Any] = {
        "message": f"{clock.today():%Y%m%d}" + ids.random_id()[:24],
        "account": person.account,
        "purpose": "service",
        "delivery": delivery,
        "requested_at": clock.to_text(now_ms),
        "expires": clock.to_text(now_ms + round(ttl_s * 1000)),
        **changed,
    }
    data = SendCommand(**fields)
    event = registry.build(
        data,
        id=ids.random_id(),
        role="intake",
        tenant=person.tenant,
        subject=person.subject,
        at_ms=now_ms,
        channel=CHANNEL,
    )
    if content is None:
        return event
    asked = ids.random_id()
    kind = "sealpost.message.requested.v1"
    context = SealContext(person.tenant, person.subject, asked, kind, "content", person.gen)
    block = seal(person.key, context, orjson.dumps(content)).model_copy(
        update={"sealed_in": asked, "type": kind}
    )
    sealed = {"content": block.model_dump(mode="json", exclude_none=True)}
    return event.model_copy(update={"data": event.data | {"sealed": sealed}})


def message_of(event: Event) -> str:
    """The message id of a command."""
    return str(event.data["message"])
