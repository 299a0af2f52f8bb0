"""The test of our own receiver proves its request in the form that the channel itself accepts."""

from base64 import b64encode

import pytest

from schemas.clock import now_ms
from tests.unit.channels.connection import Secrets
from vault.connections import Connection
from workers import proofs, registry
from workers.channel import Accepted, Denied, Handshake
from workers.receiver.webhooks import prove

SECRET = b64encode(b"a secret of 24 letters..").decode()
"""In a form that every channel takes."""

TOKEN = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."
    "eyJhdWQiOiJhcHAtMSIsImlhdCI6MTc2MzkwMDAwMH0."
    "oStXJ9D0zmzZE1BAdVIhjnnn6PViLbLzJAUnai_ft2U"
)


@pytest.mark.parametrize("name", registry.channel_names())
def test_every_channel_can_be_asked(name: str) -> None:
    """What is made with the secret is accepted, with another secret it is not; a handshake gives its challenge back."""
    channel, connection = registry.channel(name), Secrets(SECRET, "verify", "app-1")
    request = proofs.proved(channel, connection, b"", now_ms())
    assert request is not None
    assert isinstance(channel.authenticate(request, connection), Accepted)
    other = Secrets(SECRET[::-1], "verify", "app-1")
    assert isinstance(channel.authenticate(request, other), Denied)
    assert not any(SECRET in value for value in request.headers.values()) or name == "telegram"
    asked = proofs.handshake(channel, connection)
    if asked is not None:
        assert channel.authenticate(asked, connection) == Handshake(proofs.CHALLENGE.encode())


@pytest.mark.parametrize("name", registry.channel_names())
def test_every_channel_takes_the_secret_before_until_its_time(name: str) -> None:
    """The channel is asked twice and knows nothing of it; a secret that is neither is refused all the time."""
    channel, now = registry.channel(name), now_ms()
    new, strange = (b64encode(24 * word).decode() for word in (b"n", b"s"))
    connection = Connection(
        "c", "t", name, new, "v", b"r" * 32, {}, "app-1", previous_secret=SECRET, previous_until_ms=now + 1
    )

    def taken(secret: str, at_ms: int) -> bool:
        request = proofs.proved(channel, Secrets(secret, "v", "app-1"), b"", now)
        assert request is not None
        return isinstance(prove(channel, connection, request, at_ms), Accepted)

    assert [taken(secret, now) for secret in (new, SECRET, strange)] == [True, True, False]
    assert [taken(secret, now + 1) for secret in (new, SECRET, strange)] == [True, False, False]


def test_a_token_is_made_as_rfc_7515_makes_it() -> None:
    """Signature and encoding of a JSON Web Token, computed by hand with openssl."""
    token = proofs._token(b"key", {"aud": "app-1", "iat": 1763900000})
    assert token == TOKEN


def test_what_no_form_proves_is_said() -> None:
    """A channel without a secret accepts nothing."""
    assert proofs.proved(registry.channel("whatsapp"), Secrets(""), b"", now_ms()) is None
