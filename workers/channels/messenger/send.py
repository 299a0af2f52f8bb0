"""Sending to Messenger, which is shared and stands in `workers/meta_messaging/send.py`, and click-to-chat links.

Source: https://developers.facebook.com/docs/messenger-platform/discovery/m-me-links (channel-apis §3.6).
"""

import re

from schemas.addresses import Address
from schemas.content import Content
from workers.channel import AccountAccess, DeliverySteps, InvalidLink
from workers.channels.messenger.wire import PLATFORM
from workers.links import check_token
from workers.meta_messaging import send

_PAGE = re.compile(r"[A-Za-z0-9.]{1,128}", re.ASCII)


def deliver(content: Content, address: Address, account: AccountAccess, echo: str) -> DeliverySteps:
    """Send one part to one person as an answer within the window; `echo` comes back in the message's echo."""
    return send.deliver(PLATFORM, content, address, account, echo)


def chat_link(account_number: str, token: str) -> str:
    """`https://m.me/<page name or id>?ref=<token>`; InvalidLink when the page is none or the token cannot
    ride.
    """
    page = account_number.strip()
    if not _PAGE.fullmatch(page):
        raise InvalidLink("the account is no page name or page id")
    check_token(token)
    return f"https://m.me/{page}?ref={token}"
