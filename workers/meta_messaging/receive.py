"""Webhooks of Messenger and Instagram: what are their parts, what does each part say (whether they are authentic:
`workers.meta`).

A fragment is one element, in the provider's own words, with the list it stood in:
`{"entry", "time"?, "messaging" | "standby" | "changes": [one]}`; what has not even that form is
`{"malformed": …}`. A delivery that names several messages becomes one fragment a message.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.addresses import Address
from workers import meta
from workers.channel import Fragment, UnparseableBody, UnparseableFragment, read_echo
from workers.inbound_values import (
    Inbound,
    InboundEcho,
    InboundEdit,
    InboundEntry,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundUnsupported,
    InboundWatermark,
    JsonObject,
    Media,
    MessageKind,
)
from workers.meta_messaging import wire
from workers.meta_messaging.platform import Platform
from workers.webhook_body import load_body

# ---- parts --------------------------------------------------------------------------------------------------------


def split(platform: Platform, body: bytes) -> list[Fragment]:
    """One fragment for every element of every entry, in order; UnparseableBody when the body is none of the platform's. One
    that does not say of which platform it is counts as this one's: whose it is, its entries say. An element by itself is taken
    as well, if it says whose it is.
    """
    found = load_body(body)
    if isinstance(found, dict) and "entry" not in found and wire.kind_of(found) != "other":
        own = wire.account(found)
        if own:
            return list(_of_element({"entry": own}, "messaging", found))
    if (
        not isinstance(found, dict)
        or found.get("object", platform.object) != platform.object
        or not isinstance(found.get("entry"), list)
    ):
        raise UnparseableBody(f"an authentic body is no webhook of {platform.title}")
    fragments: list[Fragment] = []
    for fragment in _fragments(found["entry"]):
        if len(fragments) == meta.FRAGMENTS_MAX:
            raise UnparseableBody(
                f"an authentic body has more parts than a webhook of {platform.title} can have"
            )
        fragments.append(fragment)
    return fragments


def _fragments(entries: Sequence[Any]) -> Iterator[Fragment]:
    for entry in entries:
        names = (
            [name for name in (*wire.LISTS, wire.CHANGES) if name in entry] if isinstance(entry, dict) else []
        )
        if not names and isinstance(entry, dict) and entry.keys() <= {"id", "time"}:
            continue
        if not names:
            yield _malformed(entry)
            continue
        head: JsonObject = {"entry": meta.short_id(entry.get("id"))}
        if isinstance(entry.get("time"), int):
            head["time"] = entry["time"]
        for name in names:
            listed = entry[name]
            for element in listed if isinstance(listed, list) else [listed]:
                if isinstance(element, dict):
                    yield from _of_element(head, name, element)
                else:
                    yield _malformed(element, head["entry"])


def _of_element(head: JsonObject, name: str, element: JsonObject) -> Iterator[Fragment]:
    _, inner = unwrapped(name, element)
    account_ref = head["entry"] or wire.account(inner)
    for one in _one_delivery_each(element) if name != wire.CHANGES else [element]:
        yield Fragment(account_ref, wire.person(inner), {**head, name: [one]})


def _one_delivery_each(element: JsonObject) -> Iterator[JsonObject]:
    """The element once for each message that it says is delivered; as it is when it names none or one."""
    delivery = meta.mapping(element.get("delivery"))
    mids = delivery.get("mids")
    if wire.kind_of(element) != "delivery" or not isinstance(mids, list) or len(mids) < 2:
        yield element
        return
    around = {key: part for key, part in element.items() if key != "delivery"}
    rest = {key: part for key, part in delivery.items() if key != "mids"}
    if not meta.small({**around, **rest}):
        around = {role: {"id": wire.party(element, role)} for role in ("sender", "recipient")}
        around["timestamp"] = element.get("timestamp") if isinstance(element.get("timestamp"), int) else None
        rest = {}
    for mid in mids:
        yield {**around, "delivery": {"mids": [mid], **rest}}


def _malformed(part: Any, account_ref: str = "") -> Fragment:
    return Fragment(account_ref, "", {"malformed": part})


def element_of(raw: Mapping[str, Any]) -> tuple[str, JsonObject]:
    """Name of the list a fragment holds, and its one element; ("", {}) when it holds none."""
    for name in (*wire.LISTS, wire.CHANGES):
        items = raw.get(name)
        if isinstance(items, list) and len(items) == 1 and isinstance(items[0], dict):
            return name, items[0]
    return "", {}


def unwrapped(name: str, element: JsonObject) -> tuple[str, JsonObject]:
    """A change whose value is an element of `messaging` or `standby` as such; anything else as it is."""
    field, value = element.get("field"), element.get("value")
    if name != wire.CHANGES or not isinstance(field, str) or field not in wire.ELEMENT_FIELDS:
        return name, element
    if not isinstance(value, dict) or not {"sender", "recipient"} & value.keys():
        return name, element
    return ("standby" if field == "standby" else "messaging"), value


# ---- values -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Act:
    """One element while it is read. `name` is the list it stood in, `account_ref` the account it is about."""

    platform: Platform
    name: str
    account_ref: str
    element: JsonObject
    raw: JsonObject

    @property
    def standby(self) -> bool:
        """Another app owns the thread."""
        return self.name == "standby"

    @property
    def at_ms(self) -> int:
        """When it was done; UnparseableFragment when that is no time."""
        return wire.time_ms(self.element.get("timestamp"))

    @property
    def recipient(self) -> Address | None:
        """The person it is about, where she has an address."""
        return wire.address(self.platform, wire.person(self.element))

    @property
    def who(self) -> Address:
        """The same; UnparseableFragment when there is none."""
        found = self.recipient
        if found is None:
            raise UnparseableFragment("no_address")
        return found

    def unsupported(self, kind: str, provider_id: str | None = None) -> InboundUnsupported:
        """It is kept and counted."""
        return InboundUnsupported(self.account_ref, self.name, kind, provider_id, self.raw)


def parse(platform: Platform, raw: JsonObject) -> list[Inbound]:
    """Read one fragment; [] for what means nothing (an element of another account). UnparseableFragment for what
    is not as documented.
    """
    raw = dict(meta.mapping(raw))
    name, element = element_of(raw)
    if not name:
        raise UnparseableFragment("malformed")
    entry = meta.short_id(raw.get("entry"))
    if name == wire.CHANGES and not isinstance(element.get("field"), str):
        raise UnparseableFragment("malformed")
    if entry == wire.TEST_ENTRY:
        # The console's own sample: nobody did anything.
        field = name if name != wire.CHANGES else meta.known(element["field"], wire.FIELDS)
        return [InboundUnsupported(entry, field, "test", None, raw)]
    name, element = unwrapped(name, element)
    if name == wire.CHANGES:
        about = meta.short_id(meta.mapping(element.get("value")).get("id")) or None
        return [InboundUnsupported(entry, meta.known(element["field"], wire.FIELDS), "other", about, raw)]
    own = wire.account(element)
    if entry and own and own != entry:
        return []
    kind = wire.kind_of(element)
    act = _Act(platform, name, entry or own, element, raw)
    reader = _READERS.get(kind)
    return [act.unsupported(kind)] if reader is None else reader(act)


def _message(act: _Act) -> list[Inbound]:
    part = act.element["message"]
    message = wire.Message.read(part)
    if wire.is_echo(act.element):
        return [_echo(act, message)]
    if message.is_deleted:
        # The id is that of the message that was deleted, and must not count as a repetition of it.
        gone = f"deleted:{message.mid}"
        return [InboundRevoke(act.account_ref, gone, act.at_ms, (act.who,), message.mid)]
    return [_written(act, _said(part, message), message.mid)]


def _echo(act: _Act, message: wire.Message) -> Inbound:
    """The copy of what the business sent: ours if it carries an id of ours, then it says that the message went out;
    else a colleague's or another app's.
    """
    metadata = message.metadata if isinstance(message.metadata, str) else None
    if message.is_deleted:
        return act.unsupported("deleted", f"deleted:{message.mid}")
    if read_echo(metadata) is not None:
        return InboundStatus(
            act.account_ref, message.mid, "sent", act.at_ms, recipient=act.recipient, echo=metadata
        )
    if act.recipient is None:
        return act.unsupported("echo", message.mid)
    return InboundEcho(act.account_ref, message.mid, act.at_ms, act.recipient, message.text, act.raw)


@dataclass(frozen=True, slots=True)
class _Said:
    """What a person said; fields as in InboundMessage. `more`: something rides along that these fields do not hold."""

    kind: MessageKind
    provider_kind: str
    text: str | None = None
    option_id: str | None = None
    option_title: str | None = None
    in_reply_to: str | None = None
    files: tuple[tuple[str, Media], ...] = ()
    token: str | None = None
    more: bool = False


def _said(part: Mapping[str, Any], message: wire.Message) -> _Said:
    """A pressed quick reply, else files with their caption, else a place, else a text, else what we do not know."""
    answered = meta.mapping(part.get("reply_to"))
    attachments = wire.attachments_of(part)
    files = tuple(wire.media_of(attachments, part.get("sticker_id")))
    said: dict[str, Any] = {
        "text": message.text,
        "in_reply_to": answered["mid"] if isinstance(answered.get("mid"), str) else None,
        "files": files,
        "token": wire.token_of(part.get("referral")),
        "more": bool(attachments or part.get("referral") or answered.get("story")),
    }
    words = [wire.attachment_word(one) for one in attachments]
    if message.quick_reply is not None:
        chosen = {"text": None, "option_id": message.quick_reply.payload, "option_title": message.text}
        return _Said("button_reply", "quick_reply", **said | chosen)
    if files:
        return _Said("media", files[0][0], **said)
    if "location" in words:
        return _Said("location", "location", **said)
    if message.text is not None:
        return _Said("text", "text", **said)
    return _Said("unsupported", next(iter(words), "other"), **said)


def _postback(act: _Act) -> list[Inbound]:
    part = act.element["postback"]
    pressed = wire.Postback.read(part)
    referral = meta.mapping(part).get("referral")
    said = _Said(
        "button_reply",
        "postback",
        option_id=pressed.payload,
        option_title=pressed.title,
        token=wire.token_of(referral),
        more=bool(referral),
    )
    return [_written(act, said, pressed.mid or wire.made_id("postback", act.element))]


def _written(act: _Act, said: _Said, provider_id: str) -> InboundMessage:
    whole = said.more or said.kind not in ("text", "button_reply") or "referral" in act.element
    return InboundMessage(
        account_ref=act.account_ref,
        provider_id=provider_id,
        provider_time_ms=act.at_ms,
        addresses=(act.who,),
        name=None,
        kind=said.kind,
        provider_kind=said.provider_kind,
        text=said.text,
        option_id=said.option_id,
        option_title=said.option_title,
        in_reply_to=said.in_reply_to,
        raw=act.raw if whole else None,
        media=tuple(media for _, media in said.files),
        token=said.token or wire.token_of(act.element.get("referral")),
        standby=act.standby,
    )


def _referral(act: _Act) -> list[Inbound]:
    """A link or an ad was opened in a thread that exists already."""
    if act.standby:
        return [act.unsupported("referral")]
    return [_entry(act, "referral", wire.token_of(act.element["referral"]) or "")]


def _opt_in(act: _Act) -> list[Inbound]:
    """A button on a web site brought the person here. An opt-in to the provider's own marketing messages is no consent of ours,
    and one without the person's id is nobody's yet. That she stops them is her no, in whichever app's thread."""
    given = wire.OptIn.read(act.element["optin"])
    switched = wire.switched(given.notification_messages_status)
    if switched is not None and act.recipient is not None:
        made = wire.made_id("optin", act.element)
        return [InboundOptOut(act.account_ref, made, act.at_ms, (act.who,), "marketing", switched)]
    if act.standby or act.recipient is None or given.type is not None or not given.ref:
        return [act.unsupported("optin")]
    return [_entry(act, "optin", given.ref)]


def _entry(act: _Act, kind: str, token: str) -> InboundEntry:
    made = wire.made_id(kind, act.element)
    return InboundEntry(act.account_ref, made, act.at_ms, (act.who,), None, token)


def _delivery(act: _Act) -> list[Inbound]:
    delivery = wire.Delivery.read(act.element["delivery"])
    if delivery.mids:
        return [
            InboundStatus(act.account_ref, mid, "delivered", act.at_ms, act.recipient)
            for mid in delivery.mids
        ]
    if delivery.watermark is None:
        return [act.unsupported("delivery")]
    return [
        InboundWatermark(act.account_ref, act.at_ms, act.who, "delivered", wire.time_ms(delivery.watermark))
    ]


def _read(act: _Act) -> list[Inbound]:
    read = wire.Read.read(act.element["read"])
    if read.mid is not None:
        return [InboundStatus(act.account_ref, read.mid, "read", act.at_ms, act.recipient)]
    if read.watermark is None:
        return [act.unsupported("read")]
    return [InboundWatermark(act.account_ref, act.at_ms, act.who, "read", wire.time_ms(read.watermark))]


def _reaction(act: _Act) -> list[Inbound]:
    """Its emoji, else the provider's word for it; one that names no message or says nothing is kept."""
    given = wire.Reaction.read(act.element["reaction"])
    emoji = "" if given.action == "unreact" else given.emoji or given.reaction
    if given.mid is None or emoji is None:
        return [act.unsupported("reaction")]
    made = wire.made_id("reaction", act.element)
    return [InboundReaction(act.account_ref, made, act.at_ms, (act.who,), given.mid, emoji)]


def _edit(act: _Act) -> list[Inbound]:
    edit = wire.Edit.read(act.element["message_edit"])
    made = wire.made_id("message_edit", act.element)
    return [InboundEdit(act.account_ref, made, act.at_ms, (act.who,), edit.mid, edit.text, act.raw)]


_READERS: Mapping[str, Callable[[_Act], list[Inbound]]] = {
    "message": _message,
    "postback": _postback,
    "referral": _referral,
    "optin": _opt_in,
    "delivery": _delivery,
    "read": _read,
    "reaction": _reaction,
    "message_edit": _edit,
}
"""Every other kind is kept as it came: who owns a thread, policy, roles, games."""
