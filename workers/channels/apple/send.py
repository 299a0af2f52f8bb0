"""Sending through Apple's gateway: one call a part, `POST {base}/message`, proved by a token that we sign.

The id that a message has is ours. Sources: https://register.apple.com/resources/messages/msp-rest-api/messages-sent,
…/type-interactive and …/type-richlink; links …/entry-points (channel-apis §5.3, §5.6).
"""

import re
from typing import Any
from urllib.parse import urlsplit

import orjson

from schemas.addresses import Address
from schemas.content import ButtonsContent, Content, ListContent, ListSection, MediaContent, TextContent
from workers.channel import (
    AccountAccess,
    DeliverySteps,
    Failed,
    InvalidLink,
    Outcome,
    ProviderRequest,
    ProviderResponse,
    Submitted,
    Unclear,
    UnsupportedContent,
)
from workers.channels.apple import errors, wire
from workers.http_answers import SERVICE_UNAVAILABLE
from workers.inbound_values import JsonObject
from workers.links import check_token

API_BASE_URL = "https://mspgw.push.apple.com/v1"
LINK_BASE = "https://bcrw.apple.com/urn:biz:"
TEXT_MAX_CHARACTERS = 4_096
"""Our own bound: Apple names none."""
CAPTION_MAX_CHARACTERS = 500
"""The title of a rich link, which is shown beside a small picture; our own bound."""
BUTTONS_MIN, BUTTONS_MAX = 2, 5
BUTTON_TITLE_MAX_CHARACTERS = 24
BUBBLE_TITLE_MAX_CHARACTERS, BUBBLE_SUBTITLE_MAX_CHARACTERS = 85, 400
"""Of the bubble that opens a list; more is cut on the device. From LivePerson's documentation of the same API, 2026-11-25."""
LIST_ROWS_MAX = 100
RATE_PER_S = 40.0
"""Apple publishes no limit; what it does not take is answered 429 and sent again."""
_BUSINESS_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mO4AAAA0gDRdlF0OgAAAABJRU5ErkJggg=="
"""A grey square: a rich link must bring a picture, and to make one of the file it would have to be fetched."""


def deliver(
    content: Content, address: Address, account: AccountAccess, echo: str, at_s: int
) -> DeliverySteps:
    """Send one part to one person. `at_s`: the present second since the epoch, which the token states. Without an MSP id and a
    secret in the account's token (`id:secret`) nothing is called: AUTH.
    """
    if (address.channel, address.kind) != ("apple", "opaque"):
        raise UnsupportedContent("only an opaque id of apple can be sent to")
    message_id = wire.message_id(echo)
    said = message_of(content, message_id)
    issuer, _, secret = account.access_token.partition(":")
    key = wire.key_of(secret)
    if key is None or not issuer:
        return Failed("AUTH", None, None, alarm=True)
    business = account.provider_account_id
    body = {"v": 1, "id": message_id, wire.SOURCE: business, wire.DESTINATION: address.value, **said}
    response = yield ProviderRequest(
        method="POST",
        url=f"{account.api_base_url.rstrip('/')}/message",
        headers={
            "Authorization": f"Bearer {wire.made_token({'iss': issuer, 'iat': at_s}, key)}",
            "Content-Type": "application/json",
            "id": message_id,
            "source-id": business,
            "destination-id": address.value,
            "auto-reply": "true",
        },
        body=orjson.dumps(body),
    )
    return outcome_of(response, message_id)


def outcome_of(response: ProviderResponse, message_id: str) -> Outcome:
    """Submitted, Failed, or Unclear where the answer does not tell whether the message was taken: what is said beside success is
    nothing, and a 5xx, except 503, can come after it was taken.
    """
    if 200 <= response.status < 300:
        return Unclear(response.status) if response.body.strip() else Submitted(message_id)
    if response.status >= 500 and response.status != SERVICE_UNAVAILABLE:
        return Unclear(response.status)
    return Failed.of(errors.classify(response))


# ---- what is said -------------------------------------------------------------------------------------------------


def message_of(content: Content, message_id: str) -> JsonObject:
    """The kind of a message and what it says, as Apple documents it; UnsupportedContent for what it has no form for. A message
    is its own session, so that an answer names it."""
    if getattr(content, "in_reply_to", None) is not None:
        raise UnsupportedContent("Apple Messages cannot show which message is answered")
    match content:
        case TextContent():
            _check("text", len(content.text), TEXT_MAX_CHARACTERS)
            return {"type": "text", "body": content.text}
        case MediaContent():
            return _rich_link(content)
        case ButtonsContent():
            return _buttons(content, message_id)
        case ListContent():
            return _list(content, message_id)
    raise UnsupportedContent("Apple Messages has no templates and no read marks")


def _check(what: str, given: int, most: int) -> None:
    if given > most:
        raise UnsupportedContent(f"{what}: at most {most} of Apple Messages, not {given}")


def _rich_link(content: MediaContent) -> JsonObject:
    _check("caption", len(content.caption or ""), CAPTION_MAX_CHARACTERS)
    assets: JsonObject = {"image": {"data": _PICTURE, "mimeType": "image/png"}}
    if content.kind == "video":
        quicktime = urlsplit(content.url).path.lower().endswith(".mov")
        mime_type = "video/quicktime" if quicktime else "video/mp4"
        assets["video"] = {"url": content.url, "mimeType": mime_type}
    title = content.caption or content.filename or urlsplit(content.url).hostname or content.url
    return {"type": "richLink", "richLinkData": {"url": content.url, "title": title, "assets": assets}}


def _buttons(content: ButtonsContent, message_id: str) -> JsonObject:
    """A quick reply; it needs two buttons, so a single one is a list of one."""
    buttons = content.buttons
    _check("text", len(content.text), TEXT_MAX_CHARACTERS)
    _check("buttons", len(buttons), BUTTONS_MAX)
    _check("title of a button", max(len(one.title) for one in buttons), BUTTON_TITLE_MAX_CHARACTERS)
    items = [{"identifier": one.id, "title": one.title} for one in buttons]
    if len(buttons) < BUTTONS_MIN:
        return _picker(content.text, items[0]["title"], [{"title": "", "items": items}], message_id)
    part = {"summaryText": content.text, "items": items}
    return _interactive({"quick-reply": part}, message_id)


def _list(content: ListContent, message_id: str) -> JsonObject:
    rows = [row for section in content.sections for row in section.rows]
    _check("text", len(content.text), BUBBLE_SUBTITLE_MAX_CHARACTERS)
    _check("words that open a list", len(content.button), BUBBLE_TITLE_MAX_CHARACTERS)
    _check("rows", len(rows), LIST_ROWS_MAX)
    _check("title of a row", max(len(row.title) for row in rows), BUBBLE_TITLE_MAX_CHARACTERS)
    _check(
        "description of a row",
        max(len(row.description or "") for row in rows),
        BUBBLE_SUBTITLE_MAX_CHARACTERS,
    )
    sections = [{"title": section.title or "", "items": _items(section)} for section in content.sections]
    return _picker(content.text, content.button, sections, message_id)


def _items(section: ListSection) -> list[JsonObject]:
    return [
        {"identifier": row.id, "title": row.title}
        | ({"subtitle": row.description} if row.description else {})
        for row in section.rows
    ]


def _picker(text: str, opener: str, sections: list[JsonObject], message_id: str) -> JsonObject:
    """A list picker. The bubble has a short title and a longer line below: a text that is too long for the first takes the
    second, and what opens the list the first."""
    ordered = [
        {**section, "order": place, "multipleSelection": False, "items": _ordered(section["items"])}
        for place, section in enumerate(sections)
    ]
    title, subtitle = (text, opener) if len(text) <= BUBBLE_TITLE_MAX_CHARACTERS else (opener, text)
    bubbles = {
        "receivedMessage": {"title": title, "subtitle": subtitle, "style": "icon"},
        "replyMessage": {"title": opener, "style": "icon"},
    }
    return _interactive({"listPicker": {"sections": ordered}}, message_id, **bubbles)


def _ordered(items: list[JsonObject]) -> list[JsonObject]:
    return [{**item, "order": place, "style": "icon"} for place, item in enumerate(items)]


def _interactive(part: JsonObject, message_id: str, **bubbles: Any) -> JsonObject:
    data = {"version": "1.0", "requestIdentifier": message_id, **part}
    shown = {"bid": wire.BUSINESS_BID, "data": data, "sessionIdentifier": message_id, **bubbles}
    return {"type": "interactive", "interactiveData": shown}


# ---- links --------------------------------------------------------------------------------------------------------


def chat_link(account_number: str, token: str) -> str:
    """`https://bcrw.apple.com/urn:biz:<business id>?biz-intent-id=<token>`: the token comes with the first message, beside its
    words. `account_number` is the business id, with or without `urn:biz:`; InvalidLink when it is none or the token cannot ride.
    """
    business = account_number.strip().removeprefix("urn:biz:")
    if not _BUSINESS_ID.fullmatch(business):
        raise InvalidLink("the account's number is not the id of a business at Apple")
    check_token(token)
    return f"{LINK_BASE}{business}?biz-intent-id={token}"
