"""Sending through the Telegram Bot API: one call a part, `POST {base}/bot{token}/sendMessage`. The token is in the address, so
no address is ever logged. Sources: https://core.telegram.org/bots/api#sendmessage, limits https://core.telegram.org/bots/faq,
links https://core.telegram.org/bots/features#deep-linking (channel-apis §6.2, §6.3, §6.5).
"""

import re
from urllib.parse import quote

import orjson

from schemas.addresses import Address
from schemas.content import Content, TextContent
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
from workers.links import check_token

API_BASE_URL = "https://api.telegram.org"
TEXT_MAX_CHARACTERS = 4_096
RATE_PER_S = 30.0
"""Of one bot over all chats; more is refused with 429."""
PAIR_INTERVAL_S = 1.0
"""Between messages to one chat; short bursts pass."""
PAIR_BURST = 3
SERVICE_UNAVAILABLE = 503
_BOT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{3,31}", re.ASCII)


def deliver(content: Content, address: Address, account: AccountAccess) -> DeliverySteps:
    """Send one part to one private chat, as plain text and without a preview of links."""
    if address.channel != "telegram" or wire.recipient(address.value) != address:
        raise UnsupportedContent("only the id of a private chat of telegram can be sent to")
    if not isinstance(content, TextContent):
        raise UnsupportedContent("Telegram has no templates")
    if len(content.text) > TEXT_MAX_CHARACTERS:
        raise UnsupportedContent(f"a Telegram text has at most {TEXT_MAX_CHARACTERS} characters")
    body = {
        "chat_id": int(address.value),
        "text": content.text,
        "link_preview_options": {"is_disabled": True},
    }
    response = yield ProviderRequest(
        method="POST",
        url=f"{account.api_base_url.rstrip('/')}/bot{quote(account.access_token, safe=':')}/sendMessage",
        headers={"Content-Type": "application/json"},
        body=orjson.dumps(body),
    )
    return outcome_of(response, address.value)


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
    return Failed(
        failure_class=found.failure_class,
        code=found.code,
        retry_after_s=found.retry_after_s,
        text=found.text,
        alarm=found.alarm,
    )


def chat_link(account_number: str, token: str) -> str:
    """`https://t.me/<bot>?start=<token>`: pressing Start sends `/start <token>`. `account_number` is the bot's user name, with
    or without `@`; InvalidLink when it is none or the token cannot ride.
    """
    name = account_number.strip().removeprefix("@")
    if not _BOT_NAME.fullmatch(name):
        raise InvalidLink("the account's number is not the user name of a Telegram bot")
    check_token(token)
    return f"https://t.me/{name}?start={token}"
