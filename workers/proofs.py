"""Requests as a provider would prove them, for a test of our own receiver: the forms in which providers sign or show a secret.

No channel is named: of all forms the one is taken that the channel itself accepts.
"""

import hmac
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping
from hashlib import sha256

import orjson

from schemas.clock import MS_PER_S
from workers.channel import Accepted, Channel, ConnectionSecrets, Handshake, WebhookRequest

CHALLENGE = "8273645190"
"""What a handshake must give back; any text does."""


def proved(
    channel: Channel, connection: ConnectionSecrets, body: bytes, now_ms: int
) -> WebhookRequest | None:
    """A request with this body that the channel accepts; None when it is proved in no form known here."""
    for headers in _forms(connection, body, now_ms):
        request = WebhookRequest("POST", {}, headers, body)
        if isinstance(channel.authenticate(request, connection), Accepted):
            return request
    return None


def handshake(channel: Channel, connection: ConnectionSecrets) -> WebhookRequest | None:
    """A request that the channel answers with CHALLENGE; None when its provider asks nothing before it calls."""
    query = {
        "hub.mode": "subscribe",
        "hub.verify_token": connection.verify_token,
        "hub.challenge": CHALLENGE,
    }
    request = WebhookRequest("GET", query, {}, b"")
    return request if isinstance(channel.authenticate(request, connection), Handshake) else None


def _forms(connection: ConnectionSecrets, body: bytes, now_ms: int) -> Iterator[Mapping[str, str]]:
    """Headers, one form of proof each: a signature over the body, the secret itself, a signed token with time and receiver."""
    secret = connection.app_secret
    yield {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, sha256).hexdigest()}
    yield {"x-telegram-bot-api-secret-token": secret}
    claims = {"aud": connection.app_id, "iat": now_ms // MS_PER_S}
    try:
        yield {"authorization": f"Bearer {_token(b64decode(secret, validate=True), claims)}"}
    except (Base64Error, ValueError):
        return


def _token(key: bytes, claims: Mapping[str, object]) -> str:
    """A JSON Web Token, HS256 (RFC 7519)."""
    parts = [_base64url(orjson.dumps(part)) for part in ({"typ": "JWT", "alg": "HS256"}, claims)]
    signed = ".".join(parts)
    return f"{signed}.{_base64url(hmac.digest(key, signed.encode(), 'sha256'))}"


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
