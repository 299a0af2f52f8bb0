"""Sending through the Telegram Bot API: one call a part, `POST {base}/bot{token}/{method}`. The token is in the address, so
no address is ever logged. Sources: https://core.telegram.org/bots/api#sendmessage, #sendphoto and its like,
#inlinekeyboardbutton, #replyparameters, #answercallbackquery; limits https://core.telegram.org/bots/faq, links
https://core.telegram.org/bots/features#deep-linking (channel-apis §6.2, §6.3, §6.5).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

import orjson

from schemas.addresses import Address
from schemas.content import (
    Button,
    ButtonsContent,
    Content,
    ListContent,
    ListRow,
    MediaContent,
    MediaKind,
    ReadMarkContent,
    TemplateContent,
    TextContent,
)
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
from workers.channels.telegram import errors, wire
from workers.http_answers import SERVICE_UNAVAILABLE
from workers.inbound_values import JsonObject
from workers.links import check_token

API_BASE_URL = "https://api.telegram.org"
TEXT_MAX_CHARACTERS = 4_096
CAPTION_MAX_CHARACTERS = 1_024
BUTTONS_MAX = 100
"""Of one keyboard."""
TITLE_MAX_CHARACTERS = 64
"""Telegram names no limit; longer ones are cut on a phone."""
CALLBACK_MAX_BYTES = 64
"""Of what a button tells when it is pressed."""
METHODS: Mapping[MediaKind, tuple[str, str]] = {
    "image": ("sendPhoto", "photo"),
    "video": ("sendVideo", "video"),
    "audio": ("sendAudio", "audio"),
    "document": ("sendDocument", "document"),
}
"""Kind of file → method, and the member that holds its link."""
RATE_PER_S = 30.0
"""Of one bot over all chats; more is refused with 429."""
PAIR_INTERVAL_S = 1.0
"""Between messages to one chat; short bursts pass."""
PAIR_BURST = 3
ANSWER_PRESS = "answerCallbackQuery"
"""Ends the spinner on a pressed button; answered 400 once the query is answered or too old."""
Said = TextContent | MediaContent | ButtonsContent | ListContent
_BOT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{3,31}", re.ASCII)


def deliver(content: Content, address: Address, account: AccountAccess) -> DeliverySteps:
    """Send one part to one private chat, as plain text and without a preview of links."""
    if address.channel != "telegram" or wire.recipient(address.value) != address:
        raise UnsupportedContent("only the id of a private chat of telegram can be sent to")
    if isinstance(content, TemplateContent | ReadMarkContent):
        raise UnsupportedContent(f"Telegram has no {content.type}")
    method, said = call_of(content)
    query = None if content.in_reply_to is None else wire.query_of(content.in_reply_to)
    answered = _answering(content, address.value) if query is None else {}
    request = _request(account, method, {"chat_id": int(address.value), **said, **answered})
    if query is not None:
        request = replace(request, courtesy=_request(account, ANSWER_PRESS, {"callback_query_id": query}))
    response = yield request
    return outcome_of(response, address.value)


def _request(account: AccountAccess, method: str, body: JsonObject) -> ProviderRequest:
    token = quote(account.access_token, safe=":")
    return ProviderRequest(
        method="POST",
        url=f"{account.api_base_url.rstrip('/')}/bot{token}/{method}",
        headers={"Content-Type": "application/json"},
        body=orjson.dumps(body),
    )


def call_of(content: Said) -> tuple[str, JsonObject]:
    """(method, what it is given beside the chat); UnsupportedContent for what Telegram does not take."""
    match content:
        case TextContent():
            return "sendMessage", _text(content.text)
        case ButtonsContent():
            keyboard = _keyboard(content.buttons)
            return "sendMessage", _text(content.text) | keyboard
        case ListContent():
            keyboard = _keyboard([row for section in content.sections for row in section.rows])
            return "sendMessage", _text(list_text(content)) | keyboard
        case MediaContent():
            return _file(content)


def _file(content: MediaContent) -> tuple[str, JsonObject]:
    method, member = METHODS[content.kind]
    if content.filename is not None:
        raise UnsupportedContent("the name of a file that Telegram fetches is that of its link")
    if content.caption is None:
        return method, {member: content.url}
    if len(content.caption) > CAPTION_MAX_CHARACTERS:
        raise UnsupportedContent(f"a caption has at most {CAPTION_MAX_CHARACTERS} characters")
    return method, {member: content.url, "caption": content.caption}


def list_text(content: ListContent) -> str:
    """The words over the keyboard of a list. Buttons hold titles only: where rows have headings, both are said here."""
    if any(row.description is not None for section in content.sections for row in section.rows):
        raise UnsupportedContent("a row of a list has a title only on Telegram")
    if not any(section.title for section in content.sections):
        return content.text
    parts = [content.text]
    for section in content.sections:
        rows = [f"• {row.title}" for row in section.rows]
        parts.append("\n".join([section.title, *rows] if section.title else rows))
    return "\n\n".join(parts)


def _text(text: str) -> JsonObject:
    if len(text) > TEXT_MAX_CHARACTERS:
        raise UnsupportedContent(f"a Telegram text has at most {TEXT_MAX_CHARACTERS} characters")
    return {"text": text, "link_preview_options": {"is_disabled": True}}


def _keyboard(options: Sequence[Button | ListRow]) -> JsonObject:
    """One button a line."""
    if len(options) > BUTTONS_MAX:
        raise UnsupportedContent(f"a message of Telegram has at most {BUTTONS_MAX} buttons")
    for option in options:
        if len(option.id.encode("utf-8", "replace")) > CALLBACK_MAX_BYTES:
            raise UnsupportedContent(f"the id of an option has at most {CALLBACK_MAX_BYTES} bytes")
        if len(option.title) > TITLE_MAX_CHARACTERS:
            raise UnsupportedContent(f"the title of an option has at most {TITLE_MAX_CHARACTERS} characters")
    lines = [[{"text": option.title, "callback_data": option.id}] for option in options]
    return {"reply_markup": {"inline_keyboard": lines}}


def _answering(content: Said, chat: str) -> JsonObject:
    """Which message is answered; one that is gone meanwhile does not hold the answer up."""
    if content.in_reply_to is None:
        return {}
    number = wire.message_number(chat, content.in_reply_to)
    if number is None:
        raise UnsupportedContent("what is answered is no message of this chat")
    return {"reply_parameters": {"message_id": number, "allow_sending_without_reply": True}}


def outcome_of(response: ProviderResponse, chat: str) -> Outcome:
    """Submitted, Failed, or Unclear where the answer does not tell whether the message was taken.

    A 5xx can come after Telegram took the message, also in the API's own form: its gateway speaks JSON as well. Only 503,
    which says that nothing was tried, counts as a failure.
    """
    found = errors.classify(response)
    code = response.status if found.code is None else found.code
    if max(code, response.status) >= 500 and code != SERVICE_UNAVAILABLE:
        return Unclear(response.status)
    if found.code is None and 200 <= response.status < 300:
        message = wire.sent_message(response.body)
        return Unclear(response.status) if message is None else Submitted(wire.message_ref(chat, message))
    return Failed.of(found)


def chat_link(account_number: str, token: str) -> str:
    """`https://t.me/<bot>?start=<token>`: pressing Start sends `/start <token>`. `account_number` is the bot's user name, with
    or without `@`; InvalidLink when it is none or the token cannot ride.
    """
    name = account_number.strip().removeprefix("@")
    if not _BOT_NAME.fullmatch(name):
        raise InvalidLink("the account's number is not the user name of a Telegram bot")
    check_token(token)
    return f"https://t.me/{name}?start={token}"
