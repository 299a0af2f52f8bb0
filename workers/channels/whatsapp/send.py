"""Sending through the WhatsApp Cloud API: one call a part, `POST {base}/{phone number id}/messages`. Source:
channel-apis §2.3.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn
from urllib.parse import quote

import orjson

from schemas.addresses import Address
from schemas.content import (
    ButtonsContent,
    Content,
    ListContent,
    MediaContent,
    MediaKind,
    ReadMarkContent,
    TemplateContent,
    TextContent,
)
from workers import meta
from workers.channel import AccountAccess, DeliverySteps, InvalidLink, ProviderRequest, UnsupportedContent
from workers.channels.whatsapp import errors
from workers.inbound_values import JsonObject
from workers.links import check_token

TEXT_MAX_CHARACTERS = 4_096
CAPTION_MAX_CHARACTERS = 1_024
INTERACTIVE_TEXT_MAX_CHARACTERS = 1_024
"""Of the words above buttons; held for those above a list too, for which no limit was found."""
BUTTONS_MAX = 3
BUTTON_TITLE_MAX_CHARACTERS = 20
LIST_ROWS_MAX = 10
"""In all sections together."""
LIST_BUTTON_MAX_CHARACTERS = 20
SECTION_TITLE_MAX_CHARACTERS = 24
ROW_TITLE_MAX_CHARACTERS = 24
ROW_DESCRIPTION_MAX_CHARACTERS = 72
MEDIA_KINDS: frozenset[MediaKind] = frozenset(("image", "video", "audio", "document"))
WITHOUT_CAPTION: frozenset[MediaKind] = frozenset(("audio",))
NAMED_MEDIA: frozenset[MediaKind] = frozenset(("document",))
"""Kinds of which the person is shown a file name."""
_NUMBER = re.compile(r"[1-9][0-9]{6,14}", re.ASCII)


def deliver(
    content: Content,
    address: Address,
    account: AccountAccess,
    echo: str,
) -> DeliverySteps:
    """Send one part to one address; `echo` comes back in every status of it. A read mark has no statuses, and no id of its own:
    `read:` and the message's stand for it.
    """
    mark = content.of if isinstance(content, ReadMarkContent) else None
    recipient = _recipient(address)
    body = _body(content)
    if mark is None:
        body |= recipient | {"biz_opaque_callback_data": echo}
    response = yield ProviderRequest(
        method="POST",
        url=f"{account.api_base_url.rstrip('/')}/{quote(account.provider_account_id, safe='')}/messages",
        headers={
            "Authorization": f"Bearer {account.access_token}",
            "Content-Type": "application/json",
        },
        body=orjson.dumps({"messaging_product": "whatsapp", **body}),
    )
    if mark is None:
        return meta.outcome_of(response, errors.classify, _provider_id)
    return meta.outcome_of(response, errors.classify, lambda answer: _marked(answer, mark))


def chat_link(account_number: str, token: str, words: str = "") -> str:
    """`https://wa.me/<digits>?text=<words token>`; InvalidLink when the number is not international or the token
    cannot ride.
    """
    digits = re.sub(r"[\s()+\-./]", "", account_number)
    if not _NUMBER.fullmatch(digits):
        raise InvalidLink("the account's number is not an international phone number")
    check_token(token)
    return f"https://wa.me/{digits}?text={quote(f'{words} {token}'.strip(), safe='')}"


def _recipient(address: Address) -> JsonObject:
    if address.channel != "whatsapp":
        raise UnsupportedContent(f"an address of channel {address.channel!r} is none of whatsapp")
    if address.kind == "phone":
        return {"recipient_type": "individual", "to": address.value}
    return {"recipient_type": "individual", "recipient": address.value}


def _body(content: Content) -> JsonObject:
    """What a request says besides whom it is for; UnsupportedContent for what the provider would refuse."""
    match content:
        case TemplateContent():
            return {"type": "template", "template": _template(content)}
        case ReadMarkContent():
            if content.of is None:
                _refuse("a read mark names the message that was read")
            return {"status": "read", "message_id": content.of}
        case _:
            answered = {"context": {"message_id": content.in_reply_to}} if content.in_reply_to else {}
            return _said(content) | answered


def _said(content: TextContent | MediaContent | ButtonsContent | ListContent) -> JsonObject:
    match content:
        case TextContent():
            _limited("text", content.text, TEXT_MAX_CHARACTERS)
            return {"type": "text", "text": {"preview_url": False, "body": content.text}}
        case MediaContent():
            return {"type": content.kind, content.kind: _media(content)}
        case ButtonsContent():
            return {"type": "interactive", "interactive": _buttons(content)}
        case ListContent():
            return {"type": "interactive", "interactive": _list(content)}


def _template(content: TemplateContent) -> JsonObject:
    language = {"policy": "deterministic", "code": content.language.replace("-", "_")}
    template: JsonObject = {"name": content.name, "language": language}
    parameters = _parameters(content.variables)
    return template | ({"components": [{"type": "body", "parameters": parameters}]} if parameters else {})


def _media(content: MediaContent) -> JsonObject:
    found = {"link": content.url}
    if content.caption is not None:
        if content.kind in WITHOUT_CAPTION:
            _refuse(f"a WhatsApp {content.kind} has no caption")
        _limited("caption", content.caption, CAPTION_MAX_CHARACTERS)
        found["caption"] = content.caption
    if content.filename is not None:
        if content.kind not in NAMED_MEDIA:
            _refuse(f"a WhatsApp {content.kind} has no file name")
        found["filename"] = content.filename
    return found


def _buttons(content: ButtonsContent) -> JsonObject:
    _limited("text above buttons", content.text, INTERACTIVE_TEXT_MAX_CHARACTERS)
    if len(content.buttons) > BUTTONS_MAX:
        _refuse(f"a WhatsApp message has at most {BUTTONS_MAX} buttons")
    for button in content.buttons:
        _limited("button's title", button.title, BUTTON_TITLE_MAX_CHARACTERS)
    _distinct("ids of buttons", (button.id for button in content.buttons))
    _distinct("titles of buttons", (button.title for button in content.buttons))
    buttons = [
        {"type": "reply", "reply": {"id": button.id, "title": button.title}} for button in content.buttons
    ]
    return {"type": "button", "body": {"text": content.text}, "action": {"buttons": buttons}}


def _list(content: ListContent) -> JsonObject:
    _limited("text above a list", content.text, INTERACTIVE_TEXT_MAX_CHARACTERS)
    _limited("list's button", content.button, LIST_BUTTON_MAX_CHARACTERS)
    if sum(len(section.rows) for section in content.sections) > LIST_ROWS_MAX:
        _refuse(f"a WhatsApp list has at most {LIST_ROWS_MAX} rows in all")
    _distinct("ids of rows", (row.id for section in content.sections for row in section.rows))
    sections: list[JsonObject] = []
    for section in content.sections:
        if section.title is None and len(content.sections) > 1:
            _refuse("every section of a WhatsApp list of several has a title")
        rows: list[JsonObject] = []
        for row in section.rows:
            _limited("row's title", row.title, ROW_TITLE_MAX_CHARACTERS)
            _limited("row's description", row.description or "", ROW_DESCRIPTION_MAX_CHARACTERS)
            described = {"description": row.description} if row.description is not None else {}
            rows.append({"id": row.id, "title": row.title, **described})
        _limited("section's title", section.title or "", SECTION_TITLE_MAX_CHARACTERS)
        titled = {"title": section.title} if section.title is not None else {}
        sections.append({**titled, "rows": rows})
    action = {"button": content.button, "sections": sections}
    return {"type": "list", "body": {"text": content.text}, "action": action}


def _limited(what: str, text: str, most: int) -> None:
    if len(text) > most:
        _refuse(f"a WhatsApp {what} has at most {most} characters")


def _distinct(what: str, found: Iterable[str]) -> None:
    texts = list(found)
    if len(set(texts)) < len(texts):
        _refuse(f"the {what} of a WhatsApp message differ")


def _refuse(why: str) -> NoReturn:
    raise UnsupportedContent(why)


def _parameters(variables: list[str] | Mapping[str, str]) -> list[dict[str, Any]]:
    if isinstance(variables, list):
        return [{"type": "text", "text": text} for text in variables]
    return [{"type": "text", "parameter_name": name, "text": text} for name, text in variables.items()]


def _provider_id(body: bytes) -> str | None:
    found = _answer(body)
    messages = found.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    provider_id = first.get("id") if isinstance(first, dict) else None
    return provider_id if isinstance(provider_id, str) and provider_id else None


def _marked(body: bytes, message: str) -> str | None:
    return f"read:{message}" if _answer(body).get("success") is True else None


def _answer(body: bytes) -> Mapping[str, Any]:
    try:
        return meta.mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return {}
