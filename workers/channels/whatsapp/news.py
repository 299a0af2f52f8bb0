"""What a webhook of WhatsApp says that is neither message nor status: switches, changed addresses, what staff wrote past us, news
about templates and accounts.

The provider gives most of it no id; one is made of the facts, so that a repetition is known.
Sources: channel-apis §2.1; https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks, August 2026.
"""

import re
from hashlib import sha256
from typing import Any

import orjson

from schemas.addresses import Address
from workers import meta
from workers.channel import UnparseableFragment
from workers.channels.whatsapp import wire
from workers.inbound_values import (
    Inbound,
    InboundAccountNews,
    InboundAddressChange,
    InboundEcho,
    InboundOptOut,
    InboundTemplateStatus,
    InboundUnsupported,
    JsonObject,
)

_MOVED = re.compile(r"changed from (\S+) to \S+$")
"""The end of the sentence in a `system` message. A person chooses what stands before it, her name, and not the end."""


def read(
    account_ref: str, field: str, name: str, item: JsonObject, contact: wire.Contact | None, raw: JsonObject
) -> Inbound:
    """A fragment of a field other than `messages`; `item` is the one element of the list `name`, "" when there is none."""
    if field == name == "user_preferences":
        return _preference(account_ref, item, contact, raw)
    if field == name == "user_id_update":
        return _user_id_update(account_ref, item, raw)
    if field in wire.ECHO_FIELDS and name == "message_echoes":
        return _echo(account_ref, item, contact, raw)
    if field == "message_template_status_update" and not name:
        return _template_status(account_ref, raw)
    if field in wire.NEWS and not name:
        event = wire.word(_event_of(field, raw), wire.NEWS_WORDS)
        return InboundAccountNews(account_ref, _made_id(field, raw), _entry_time_ms(raw), field, event)
    return InboundUnsupported(account_ref, meta.known(field, wire.FIELDS), "other", None, raw)


def echo_recipients(item: JsonObject) -> tuple[Any, ...]:
    """The ids of whom an echo went to, the most stable first; its `from` is our own number."""
    return item.get("to_user_id"), item.get("recipient_user_id"), item.get("to")


# ---- about a person -----------------------------------------------------------------------------------------------


def of_person(
    account_ref: str,
    head: wire.MessageHead,
    at_ms: int,
    item: JsonObject,
    contact: wire.Contact | None,
    raw: JsonObject,
) -> Inbound:
    """A `system` message: a changed number or user id; what else it tells is kept.

    The sender is the old address. Only what is replaced counts as old: an address of a kind that the provider does not renew
    stays hers. Where no old address of a renewed kind is named, those that are named are what she left.
    """
    system = wire.System.read(meta.mapping(item.get("system")))
    kind = wire.IDENTITY_CHANGED if system.word in wire.IDENTITY_NEWS else "system"
    if system.word not in wire.ADDRESS_NEWS:
        return InboundUnsupported(account_ref, "messages", kind, head.id, raw)
    new = _addresses(system.user_id, system.wa_id or system.new_wa_id)
    told = _MOVED.search(system.body) if isinstance(system.body, str) else None
    named = _addresses(
        system.previous_user_id, head.from_user_id, head.sender, system.customer, told and told[1],
        *((contact.user_id, contact.wa_id) if contact else ()),
    )  # fmt: skip
    left = tuple(one for one in named if one not in new)
    renewed = {one.kind for one in new}
    old = tuple(one for one in left if one.kind in renewed) or left
    if not new or not named:
        raise UnparseableFragment("no_address")
    if not old:
        return InboundUnsupported(account_ref, "messages", kind, head.id, raw)
    return InboundAddressChange(account_ref, head.id, at_ms, old, new)


def _addresses(*texts: object) -> tuple[Address, ...]:
    """At most one address a kind, what stands first goes before."""
    found: dict[str, Address] = {}
    for one in map(wire.address, texts):
        if one is not None:
            found.setdefault(one.kind, one)
    return tuple(found.values())


def _preference(
    account_ref: str, item: JsonObject, contact: wire.Contact | None, raw: JsonObject
) -> InboundOptOut | InboundUnsupported:
    preference = wire.Preference.read(item)
    if preference.category != "marketing_messages" or preference.value not in ("stop", "resume"):
        return InboundUnsupported(account_ref, "user_preferences", "other", None, raw)
    at_ms = meta.time_ms(preference.timestamp)
    addresses = wire.sender_addresses(preference.wa_id, preference.user_id, contact)
    if not addresses:
        raise UnparseableFragment("no_address")
    return InboundOptOut(
        account_ref=account_ref,
        provider_id=f"user_preferences:{addresses[0].value}:{preference.value}:{at_ms}",
        provider_time_ms=at_ms,
        addresses=addresses,
        scope="marketing",
        value="stop" if preference.value == "stop" else "resume",
    )


def _user_id_update(account_ref: str, item: JsonObject, raw: JsonObject) -> Inbound:
    """The user id was replaced; her number, which may be named beside it, was not."""
    at_ms = meta.time_ms(item.get("timestamp"))
    ids = meta.mapping(item.get("user_id"))
    old, new = wire.address(ids.get("previous")), wire.address(ids.get("current"))
    if old is None or new is None:
        raise UnparseableFragment("no_address")
    if old == new:
        return InboundUnsupported(account_ref, "user_id_update", "other", None, raw)
    provider_id = f"user_id_update:{old.value}:{new.value}:{at_ms}"
    return InboundAddressChange(account_ref, provider_id, at_ms, (old,), (new,))


def _echo(account_ref: str, item: JsonObject, contact: wire.Contact | None, raw: JsonObject) -> Inbound:
    head = wire.MessageHead.read(item)
    at_ms = meta.time_ms(head.timestamp)
    if head.group_id is not None or item.get("recipient_type") == "group":
        return InboundUnsupported(account_ref, str(raw["field"]), "group", head.id, raw)
    if head.type in wire.ABOUT_A_MESSAGE:
        return InboundUnsupported(account_ref, str(raw["field"]), head.type, head.id, raw)
    found = _addresses(*echo_recipients(item), *((contact.user_id, contact.wa_id) if contact else ()))
    if not found:
        raise UnparseableFragment("no_address")
    return InboundEcho(account_ref, head.id, at_ms, found[0], wire.shown_text(head.type, item), raw)


# ---- about us -----------------------------------------------------------------------------------------------------


def _template_status(account_ref: str, raw: JsonObject) -> Inbound:
    field = "message_template_status_update"
    try:
        told = wire.TemplateNews.read(raw.get("value"))
    except UnparseableFragment:
        return InboundUnsupported(account_ref, field, "other", None, raw)
    none = told.reason is None or told.reason.upper() == "NONE"
    return InboundTemplateStatus(
        account_ref=account_ref,
        provider_id=_made_id(field, raw),
        provider_time_ms=_entry_time_ms(raw),
        template=told.name,
        language=told.language,
        status=wire.word(told.event, wire.TEMPLATE_STATUSES),
        reason=None if none else wire.word(told.reason, wire.TEMPLATE_REASONS),
    )


def _event_of(field: str, raw: JsonObject) -> object:
    """What happened, where a field's value says it."""
    paths = wire.NEWS[field]
    for path in paths:
        found: Any = raw.get("value")
        for step in path.split("."):
            found = meta.mapping(found).get(step)
        if isinstance(found, str):
            return found
    return None if paths else wire.CHANGED


def _entry_time_ms(raw: JsonObject) -> int:
    """The time of the entry, which news has instead of its own; 0 where there is none."""
    try:
        return meta.time_ms(raw.get("time"))
    except UnparseableFragment:
        return 0


def _made_id(field: str, raw: JsonObject) -> str:
    return f"{field}:{sha256(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
