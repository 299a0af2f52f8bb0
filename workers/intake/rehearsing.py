"""What a channel itself says of a content: its own first step of sending, taken with nobody's address and nobody's account.

`limits.misfit` knows what all channels have in common; each has rules of its own beside it, which only its renderer
knows. What that refuses would fail at the sending, when the producer has long been told that the message was accepted.
"""

from dataclasses import dataclass, field

from schemas.addresses import Address
from schemas.content import Content, ReadMarkContent
from workers.channel import Channel, UnsupportedContent, echo_of

ECHO = echo_of("0" * 32, 0)
SAMPLES = ("491700000000", "sample", "@sample:example.org", "sample@example.org")
"""Forms that addresses of channels have: a number, a word, and two with the host they belong to."""
API_BASE_URL = "https://example.invalid"


@dataclass(frozen=True, slots=True)
class _Nobody:
    """An account that no provider knows, with a token in the form of those that sign (`id:secret in base64`)."""

    api_base_url: str
    provider_account_id: str = "1"
    access_token: str = field(default="1:c2VjcmV0IG9mIG5vYm9keQ==", repr=False)


def objection(channel: Channel, content: Content, address: Address | None = None) -> str | None:
    """The channel's words about what it does not take, which hold no values; None when it takes it. Pure: nothing is called.

    `address`: where it is to go, if that is known. Which message is answered, or was read, is left out: that is a question
    of the chat it stands in. A channel of which no sample is an address is not asked; it refuses when it sends.
    """
    if isinstance(content, ReadMarkContent):
        return None
    if getattr(content, "in_reply_to", None) is not None:
        content = content.model_copy(update={"in_reply_to": None})
    kinds = channel.capabilities.address_kinds
    found = address if address is not None and address.kind in kinds else _sample(channel)
    if found is None:
        return None
    account = _Nobody(channel.capabilities.api_base_url or API_BASE_URL)
    steps = channel.deliver(content, found, account, ECHO)
    try:
        next(steps, None)
    except UnsupportedContent as error:
        return str(error)
    finally:
        steps.close()
    return None


def _sample(channel: Channel) -> Address | None:
    for text in SAMPLES:
        found = channel.read_address(text)
        if found is not None and found.kind in channel.capabilities.address_kinds:
            return found
    return None
