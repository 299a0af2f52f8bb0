"""Sending to Instagram, which is shared and stands in `workers/meta_messaging/send.py`, and click-to-chat links.

Source: https://developers.facebook.com/docs/messenger-platform/instagram/features/ig-me-links (channel-apis §4).
"""

import re

from schemas.addresses import Address
from schemas.content import Content
from workers.channel import AccountAccess, DeliverySteps, InvalidLink
from workers.channels.instagram.wire import PLATFORM
from workers.links import check_token
from workers.meta_messaging import send

_NAME = re.compile(r"[A-Za-z0-9._]{1,30}", re.ASCII)


def deliver(content: Content, address: Address, account: AccountAccess, echo: str) -> DeliverySteps:
    """Send one part to one person as an answer within the window; `echo` comes back in the message's echo."""
    return send.deliver(PLATFORM, content, address, account, echo)


def chat_link(account_number: str, token: str) -> str:
    """`https://ig.me/m/<user name>?ref=<token>`; `account_number` is the account's user name, with or without `@`; InvalidLink
    when it is none or the token cannot ride.
    """
    name = account_number.strip().removeprefix("@")
    if not _NAME.fullmatch(name):
        raise InvalidLink("the account's number is no user name of Instagram")
    check_token(token)
    return f"https://ig.me/m/{name}?ref={token}"
