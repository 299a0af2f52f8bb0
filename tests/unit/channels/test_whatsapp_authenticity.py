"""Proof and handshake of WhatsApp webhooks."""

import hmac
from hashlib import sha256

import pytest

from tests.unit.channels.connection import Secrets
from workers.channel import Accepted, Denied, Handshake, WebhookRequest
from workers.channels.whatsapp.channel import CHANNEL

BODY = b'{"object":"whatsapp_business_account","entry":[]}'


def sign(body: bytes, key: str = "app secret") -> str:
    return "sha256=" + hmac.new(key.encode(), body, sha256).hexdigest()


def post(body: bytes, header: str | None) -> WebhookRequest:
    return WebhookRequest("POST", {}, {} if header is None else {"x-hub-signature-256": header}, body)


def test_a_right_signature_over_the_raw_bytes() -> None:
    assert CHANNEL.authenticate(post(BODY, sign(BODY)), Secrets()) == Accepted()
    assert CHANNEL.authenticate(post(b"\xff\xfe", sign(b"\xff\xfe")), Secrets()) == Accepted()


def test_raw_non_ascii_bytes_signed_in_their_escaped_form() -> None:
    body = '{"text":"äöå 😮"}'.encode()
    escaped = b'{"text":"\\u00e4\\u00f6\\u00e5 \\ud83d\\ude2e"}'
    assert CHANNEL.authenticate(post(body, sign(escaped)), Secrets()) == Accepted()
    assert CHANNEL.authenticate(post(escaped, sign(body)), Secrets()) == Denied(401, "mismatch")


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "missing"),
        ("", "missing"),
        ("sha1=" + "0" * 64, "malformed"),
        (sign(BODY)[:-2], "malformed"),
        (sign(BODY) + "0", "malformed"),
        (sign(BODY).upper(), "malformed"),
        (sign(BODY, "another"), "mismatch"),
        ("sha256=" + "ä" * 64, "mismatch"),
    ],
)
def test_a_wrong_proof_is_denied(header: str | None, why: str) -> None:
    assert CHANNEL.authenticate(post(BODY, header), Secrets()) == Denied(401, why)  # type: ignore[arg-type]  # a table


def test_without_a_secret_nothing_is_authentic() -> None:
    assert CHANNEL.authenticate(post(BODY, sign(BODY, "")), Secrets(app_secret="")) == Denied(
        401, "no_secret"
    )


def test_handshake() -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": "verify token", "hub.challenge": "1158201444"}
    assert CHANNEL.authenticate(WebhookRequest("GET", query, {}, b""), Secrets()) == Handshake(b"1158201444")
    for wrong in ({**query, "hub.verify_token": "no"}, {**query, "hub.mode": "unsubscribe"}, {}):
        assert CHANNEL.authenticate(WebhookRequest("GET", wrong, {}, b""), Secrets()) == Denied(
            403, "handshake"
        )
    empty = {**query, "hub.verify_token": ""}
    assert CHANNEL.authenticate(WebhookRequest("GET", empty, {}, b""), Secrets(verify_token="")) == Denied(
        403, "handshake"
    )
    assert CHANNEL.authenticate(WebhookRequest("PUT", query, {}, b""), Secrets()) == Denied(405, "method")


def test_nothing_secret_or_personal_in_a_repr() -> None:
    request = WebhookRequest(
        "POST", {"hub.verify_token": "verify token"}, {"x-a": "app secret"}, b"Ada 49151"
    )
    assert not any(secret in repr(request) for secret in ("verify token", "app secret", "Ada", "49151"))
