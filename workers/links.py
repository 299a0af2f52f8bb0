"""What the click-to-chat links of all channels have in common."""

import re

from workers.channel import InvalidLink

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def check_token(token: str) -> None:
    """InvalidLink for a token that would not survive every kind of link."""
    if not _TOKEN.fullmatch(token):
        raise InvalidLink("a token has 1 to 64 characters of A-Z a-z 0-9 _ -")
