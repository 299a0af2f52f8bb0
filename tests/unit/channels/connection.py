"""A connection's secrets, as a channel is shown them."""

from dataclasses import dataclass


@dataclass
class Secrets:
    """A connection."""

    app_secret: str = "app secret"
    verify_token: str = "verify token"
    app_id: str = ""
