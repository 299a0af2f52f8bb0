"""Sending through the Messenger Platform: one call a part, `POST {base}/{page id}/messages`.

Source: https://developers.facebook.com/docs/messenger-platform/reference/send-api and channel-apis §3.2. The
`metadata` of a message comes back in its echo:
https://developers.facebook.com/docs/messenger-platform/reference/webhook-events/message-echoes
"""

import re
from urllib.parse import quote

import orjson

from schemas.addresses import Address
from schemas.content import Content, TextContent
from workers import meta
from workers.channel import AccountAccess, DeliverySteps, InvalidLink, ProviderRequest, UnsupportedContent
from workers.channels.messenger import errors
from workers.links import check_token

TEXT_MAX_CHARACTERS = 2_000
METADATA_MAX_CHARACTERS = 1_000
_PAGE = re.compile(r"[A-Za-z0-9.]{1,128}", re.ASCII)


def deliver(
    content: Content,
    address: Address,
    account: AccountAccess,
    echo: str,
) -> DeliverySteps:
    """Send one text to one person as an answer within the window; `echo` comes back in the message's echo."""
    if not isinstance(content, TextContent):
        raise UnsupportedContent("Messenger has no templates of this kind")
    if len(content.text) > TEXT_MAX_CHARACTERS:
        raise UnsupportedContent(f"a Messenger text has at most {TEXT_MAX_CHARACTERS} characters")
    if (address.channel, address.kind) != ("messenger", "psid"):
        raise UnsupportedContent(f"an address of channel {address.channel!r} is none of messenger")
    response = yield ProviderRequest(
        method="POST",
        url=f"{account.api_base_url.rstrip('/')}/{quote(account.provider_account_id, safe='')}/messages",
        headers={
            "Authorization": f"Bearer {account.access_token}",
            "Content-Type": "application/json",
        },
        body=orjson.dumps(
            {
                "messaging_type": "RESPONSE",
                "recipient": {"id": address.value},
                "message": {"text": content.text, "metadata": echo},
            }
        ),
    )
    return meta.outcome_of(response, errors.classify, _provider_id)


def chat_link(account_number: str, token: str) -> str:
    """`https://m.me/<page name or id>?ref=<token>`; InvalidLink when the page is none or the token cannot
    ride.
    """
    page = account_number.strip()
    if not _PAGE.fullmatch(page):
        raise InvalidLink("the account is no page name or page id")
    check_token(token)
    return f"https://m.me/{page}?ref={token}"


def _provider_id(body: bytes) -> str | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    provider_id = meta.mapping(found).get("message_id")
    return provider_id if isinstance(provider_id, str) and provider_id else None
