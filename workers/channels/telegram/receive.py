"""Webhooks of Telegram: is it authentic, what are its parts, what does each part say.

A fragment is one update in the provider's own words, with the one member that says what happened:
`{"update_id"?, "message" | "callback_query" | …: {…}}`. Source: https://core.telegram.org/bots/api#update (channel-apis §6.1).
"""

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

from workers.channel import (
    Accepted,
    Authenticity,
    ConnectionSecrets,
    Denied,
    Fragment,
    UnparseableBody,
    UnparseableFragment,
    WebhookRequest,
)
from workers.channels.telegram import wire
from workers.inbound_values import (
    Inbound,
    InboundEdit,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundUnsupported,
    JsonObject,
    MessageKind,
)
from workers.webhook_body import load_body

SECRET_HEADER = "x-telegram-bot-api-secret-token"  # noqa: S105 - the name of a header
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
FRAGMENTS_MAX = 100
"""Parts of one update: it has one; more than there are kinds is an attempt to flood."""


# ---- authentic? ---------------------------------------------------------------------------------------------------


def authenticate(request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
    """Compare the secret that was given to `setWebhook` with the header, in constant time; never raises. The body is not signed
    and there is no handshake. The secret is the connection's `app_secret`. https://core.telegram.org/bots/api#setwebhook
    """
    if request.method != "POST":
        return Denied(405, "method")
    if not connection.app_secret:
        return Denied(401, "no_secret")
    given = request.headers.get(SECRET_HEADER, "")
    if not given:
        return Denied(401, "missing")
    if not _SECRET.fullmatch(given):
        return Denied(401, "malformed")
    same = hmac.compare_digest(given.encode(), connection.app_secret.encode("utf-8", "replace"))
    return Accepted() if same else Denied(401, "mismatch")


# ---- parts --------------------------------------------------------------------------------------------------------


def split(body: bytes) -> list[Fragment]:
    """One fragment for what the update says, none for one that says nothing; UnparseableBody when the body is no update.

    An inner element by itself (a message, a pressed button, …) is taken as well, by its form.
    """
    found = load_body(body)
    if not isinstance(found, dict):
        raise UnparseableBody("an authentic body is no Telegram update")
    update_id = found.get("update_id")
    if "update_id" not in found:
        return [_fragment(_form(found), found, {})]
    if not isinstance(update_id, int) or isinstance(update_id, bool) or len(found) > FRAGMENTS_MAX:
        raise UnparseableBody("an authentic body is no Telegram update")
    head = {"update_id": update_id}
    return [_fragment(kind, item, head) for kind, item in found.items() if kind != "update_id"]


_FORMS = {
    "new_reaction": "message_reaction", "new_chat_member": "my_chat_member", "message_ids": "deleted_business_messages",
    "result_id": "chosen_inline_result", "query": "inline_query", "poll_id": "poll_answer", "question": "poll",
}  # fmt: skip
"""Member that tells what an element is → kind of update."""


def _form(item: Mapping[str, Any]) -> str:
    """What kind of update an element without its update would be."""
    for member, kind in _FORMS.items():
        if member in item:
            return kind
    if "chat_instance" in item or ("data" in item and "from" in item):
        return "callback_query"
    if "message_id" in item and "chat" in item:
        kind = "business_message" if item.get("business_connection_id") is not None else "message"
        return f"edited_{kind}" if item.get("edit_date") is not None else kind
    raise UnparseableBody("an authentic body is no Telegram update")


def _fragment(kind: str, item: Any, head: JsonObject) -> Fragment:
    return Fragment("", _sender_ref(wire.mapping(item)), {**head, kind: item})


def _sender_ref(item: Mapping[str, Any]) -> str:
    """Who did it, else the chat it happened in: what belongs together keeps its order."""
    for name in ("from", "user", "chat"):
        number = wire.mapping(item.get(name)).get("id")
        if isinstance(number, int) and not isinstance(number, bool):
            return str(number)
    return ""


# ---- values -------------------------------------------------------------------------------------------------------


def parse(raw: JsonObject) -> list[Inbound]:
    """Read one fragment. UnparseableFragment for what is not as documented."""
    kind, item = item_of(raw)
    if not kind or (kind not in wire.UPDATES and "update_id" not in raw):
        raise UnparseableFragment("malformed")
    reader = _READERS.get(kind)
    if reader is not None:
        return [reader(item, dict(raw))]
    return [_unsupported(kind, "other", dict(raw))]


def item_of(raw: object) -> tuple[str, JsonObject]:
    """The name of what an update holds, and that; ("", {}) when it holds nothing."""
    for name, item in wire.mapping(raw).items():
        if name != "update_id":
            return name, item if isinstance(item, dict) else {}
    return "", {}


def _unsupported(kind: str, provider_kind: str, raw: JsonObject) -> InboundUnsupported:
    return InboundUnsupported("", wire.known(kind, wire.UPDATES), provider_kind, _update(raw), raw)


def _update(raw: Mapping[str, Any]) -> str | None:
    """What the update is called; None when it came without its number."""
    number = raw.get("update_id")
    return f"update:{number}" if isinstance(number, int) else None


def _elsewhere(kind: str, chat: wire.Chat, raw: JsonObject) -> InboundUnsupported | None:
    """Everything but a private chat is no conversation with one person."""
    if chat.type == "private":
        return None
    return _unsupported(kind, "group" if chat.type in wire.GROUPS else "other", raw)


def _message(item: JsonObject, raw: JsonObject) -> Inbound:
    head = wire.Message.read(item)
    elsewhere = _elsewhere("message", head.chat, raw)
    if elsewhere is not None:
        return elsewhere
    if head.sender is not None and head.sender.is_bot:
        return _unsupported("message", "bot", raw)
    word, text = wire.message_kind(item), wire.words_of(item)
    kind = _kind(word)
    if kind == "text" and text is None:
        raise UnparseableFragment("malformed")
    answered = wire.mapping(item.get("reply_to_message")).get("message_id")
    forwarded = wire.is_forwarded(item)
    return InboundMessage(
        account_ref="",
        provider_id=wire.message_ref(head.chat.id, head.message_id),
        provider_time_ms=wire.time_ms(head.date),
        addresses=(wire.address(head.chat.id),),
        name=head.sender.name if head.sender is not None else None,
        kind=kind,
        provider_kind=word,
        text=text,
        in_reply_to=wire.message_ref(head.chat.id, answered) if isinstance(answered, int) else None,
        raw=None if kind == "text" else raw,
        forwarded=forwarded,
        media=wire.file_of(word, item),
        token=None if forwarded else wire.start_token(text),
    )


def _kind(word: str) -> MessageKind:
    """What a message is to us; a contact card is content, it names somebody else."""
    if word == "text":
        return "text"
    if word in wire.FILES:
        return "media"
    if word in wire.PLACES:
        return "location"
    return "contacts" if word == "contact" else "unsupported"


def _edited(item: JsonObject, raw: JsonObject) -> Inbound:
    """The whole message as it is now; what was passed on stays another's words."""
    head = wire.Message.read(item)
    elsewhere = _elsewhere("edited_message", head.chat, raw)
    if elsewhere is not None:
        return elsewhere
    if head.sender is not None and head.sender.is_bot:
        return _unsupported("edited_message", "bot", raw)
    edited_ms = wire.time_ms(head.date if head.edit_date is None else head.edit_date)
    ref = wire.message_ref(head.chat.id, head.message_id)
    return InboundEdit(
        account_ref="",
        provider_id=f"{ref}:edit:{_update(raw) or edited_ms}",
        provider_time_ms=edited_ms,
        addresses=(wire.address(head.chat.id),),
        target=ref,
        text=None if wire.is_forwarded(item) else wire.words_of(item),
        raw=raw,
    )


def _callback(item: JsonObject, raw: JsonObject) -> Inbound:
    pressed = wire.Callback.read(item)
    if pressed.inline_message_id is not None:
        return _unsupported("callback_query", "inline", raw)
    if pressed.message is not None:
        elsewhere = _elsewhere("callback_query", pressed.message.chat, raw)
        if elsewhere is not None:
            return elsewhere
    message, game = pressed.message, pressed.data is None
    return InboundMessage(
        account_ref="",
        provider_id=wire.press_ref(pressed.id),
        provider_time_ms=0,
        addresses=(wire.address(pressed.sender.id),),
        name=pressed.sender.name,
        kind="unsupported" if game else "button_reply",
        provider_kind="callback_query",
        option_id=pressed.data,
        option_title=None if pressed.data is None else wire.button_title(item, pressed.data),
        in_reply_to=None if message is None else wire.message_ref(message.chat.id, message.message_id),
        raw=raw if game else None,
    )


def _membership(item: JsonObject, raw: JsonObject) -> Inbound:
    """`kicked`: the person blocked the bot, which forbids; `member`: she lets it write again, which is no consent."""
    change = wire.Membership.read(item)
    elsewhere = _elsewhere("my_chat_member", change.chat, raw)
    if elsewhere is not None:
        return elsewhere
    status = change.new_chat_member.status
    if status not in ("kicked", "member"):
        return _unsupported("my_chat_member", wire.known(status, wire.MEMBER_STATUSES), raw)
    at_ms = wire.time_ms(change.date)
    return InboundOptOut(
        account_ref="",
        provider_id=f"my_chat_member:{change.chat.id}:{status}:{_update(raw) or at_ms}",
        provider_time_ms=at_ms,
        addresses=(wire.address(change.chat.id),),
        scope="all",
        value="stop" if status == "kicked" else "resume",
    )


def _reaction(item: JsonObject, raw: JsonObject) -> Inbound:
    change = wire.Reaction.read(item)
    elsewhere = _elsewhere("message_reaction", change.chat, raw)
    if elsewhere is not None:
        return elsewhere
    if change.emoji is None:
        return _unsupported("message_reaction", "custom_emoji", raw)
    at_ms = wire.time_ms(change.date)
    ref = wire.message_ref(change.chat.id, change.message_id)
    return InboundReaction(
        account_ref="",
        provider_id=f"{ref}:reaction:{_update(raw) or at_ms}",
        provider_time_ms=at_ms,
        addresses=(wire.address(change.chat.id),),
        target=ref,
        emoji=change.emoji,
    )


_READERS: Mapping[str, Callable[[JsonObject, JsonObject], Inbound]] = {
    "message": _message,
    "edited_message": _edited,
    "callback_query": _callback,
    "my_chat_member": _membership,
    "message_reaction": _reaction,
}
"""Every other kind of update is kept as it came: it is of groups and channels, of a person's own business account, or of
functions Sealpost does not use."""


# ---- facts, for the command line ----------------------------------------------------------------------------------

_SWITCHED = {"stop": "opt_out", "resume": "resume"}
"""`resume` lifts an opt-out and is no consent, so it is neither an opt-out nor an opt-in."""


def describe(raw: JsonObject) -> list[JsonObject]:
    """The facts of one fragment: one object for an inbound value, with `kind` and `supported`; `reject` when it is none, `why`
    when it is none or not supported.
    """
    kind, item = item_of(raw)
    found = wire.facts(kind, item, wire.mapping(raw).get("update_id"))
    try:
        (one,) = parse(raw)
    except UnparseableFragment as error:
        return [_line("rejected", False, {"reject": True, "why": error.why}, found)]
    if isinstance(one, InboundOptOut):
        return [_line(_SWITCHED[one.value], True, {}, found)]
    if isinstance(one, InboundEdit | InboundReaction):
        return [_line("edit" if isinstance(one, InboundEdit) else "reaction", True, {}, found)]
    if isinstance(one, InboundMessage):
        token = {} if one.token is None else {"token": one.token}
        return [_line("message", one.kind != "unsupported", token, found)]
    why = getattr(one, "provider_kind", "other")
    return [_line("unsupported", False, {} if why == "other" else {"why": why}, found)]


def _line(kind: str, supported: bool, more: JsonObject, found: JsonObject) -> JsonObject:
    """Our words first, and never replaced by a provider's field of the same name."""
    ours = {"kind": kind, "supported": supported, **more}
    return {**ours, **found, **ours}
