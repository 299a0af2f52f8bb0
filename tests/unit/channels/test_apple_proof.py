"""Apple's bearer token: what is signed for us passes, everything else is refused; and gzip stays within its limit."""

import gzip
import hmac
import tracemalloc
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

import orjson
import pytest

from schemas.constants import WEBHOOK_MAX_BYTES
from tests.unit.channels.apple_payloads import (
    BUSINESS,
    FIXTURES,
    KEY,
    MSP_ID,
    NO_FIXTURES,
    PERSON,
    SECRET,
    SIGNED_S,
    connection,
    message,
    request,
    token,
)
from workers.channel import Accepted, Authenticity, Denied, UnparseableBody, WebhookRequest
from workers.channels.apple import wire
from workers.channels.apple.channel import CHANNEL

ACCEPTED = Accepted(SIGNED_S * 1000)


def verdict(bearer: str, **changed: str) -> Authenticity:
    return CHANNEL.authenticate(request(authorization=f"Bearer {bearer}"), connection(**changed))


def encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def made(head: dict[str, Any], claims: bytes, algorithm: Any = sha256) -> str:
    signed = f"{encoded(orjson.dumps(head))}.{encoded(claims)}"
    return f"{signed}.{encoded(hmac.new(KEY, signed.encode(), algorithm).digest())}"


def test_what_apple_signs_is_accepted_with_its_time() -> None:
    assert CHANNEL.authenticate(request(), connection()) == ACCEPTED
    assert CHANNEL.authenticate(request(authorization=f"bearer {token()}"), connection()) == ACCEPTED
    assert verdict(token(aud=["another", MSP_ID])) == ACCEPTED
    assert verdict(token(iat=SIGNED_S + 0.25)) == Accepted(SIGNED_S * 1000 + 250)


def test_a_token_of_another_program_is_read_alike() -> None:
    """Its head has other members, in another order."""
    claims = orjson.dumps({"iat": SIGNED_S, "aud": MSP_ID})
    assert verdict(made({"kid": "1", "typ": "JWT", "alg": "HS256"}, claims)) == ACCEPTED


@pytest.mark.parametrize(
    ("bearer", "why"),
    [
        (token(b"another key"), "mismatch"),
        (token()[:-2] + ("AA" if token()[-2:] != "AA" else "BB"), "mismatch"),
        (token(aud=None), "audience"),
        (token(aud="another MSP"), "audience"),
        (token(aud=[]), "audience"),
        (token(aud={"id": MSP_ID}), "audience"),
        (token(iat=None), "malformed"),
        (token(iat="1763900000"), "malformed"),
        (token(iat=True), "malformed"),
        (token(iat=-1), "malformed"),
        (token(iat=10**11), "malformed"),
        (made({"alg": "none"}, b'{"aud": 1}'), "malformed"),
        (made({"alg": "HS512"}, b"{}", "sha512"), "malformed"),
        (made({"alg": "hs256"}, b"{}"), "malformed"),
        (made({"alg": "HS256", "crit": ["exp"]}, b"{}"), "malformed"),
        (made({"alg": "HS256"}, b"[]"), "malformed"),
        (f"{encoded(b'{}')}.{encoded(b'{}')}.", "malformed"),
        (token() + "=", "malformed"),
        (token() + ".x", "malformed"),
        ("a.b.c", "malformed"),
        ("é.é.é", "malformed"),
        ("", "malformed"),
        (token(more="x" * wire.TOKEN_MAX_CHARACTERS), "malformed"),
    ],
)
def test_every_other_token_is_refused(bearer: str, why: str) -> None:
    assert verdict(bearer) == Denied(403, why)  # type: ignore[arg-type] # a reason of the contract, by its word


def test_without_a_token_or_by_another_scheme() -> None:
    assert CHANNEL.authenticate(request(authorization=""), connection()) == Denied(403, "missing")
    assert CHANNEL.authenticate(request(authorization=f"Basic {token()}"), connection()) == Denied(
        403, "malformed"
    )
    assert CHANNEL.authenticate(request(method="GET"), connection()) == Denied(405, "method")


@pytest.mark.parametrize("changed", [{"app_secret": ""}, {"app_secret": "no base64!"}, {"app_id": ""}])
def test_a_connection_that_proves_nothing_takes_nothing(changed: dict[str, str]) -> None:
    """An audience of nobody is no audience."""
    assert verdict(token(), **changed) == Denied(403, "no_secret")
    assert verdict(token(aud=""), **changed) == Denied(403, "no_secret")


@pytest.mark.parametrize(
    ("header", "own"),
    [("id", message()["id"]), ("source_id", PERSON), ("destination_id", BUSINESS)],
)
def test_headers_and_body_name_the_same_message(header: str, own: str) -> None:
    """The body is not signed; what is packed is compared as well."""
    for body in (orjson.dumps(message()), gzip.compress(orjson.dumps(message()))):
        assert CHANNEL.authenticate(request(body, **{header: own}), connection()) == ACCEPTED
        other = request(body, **{header: own + "x"})
        assert CHANNEL.authenticate(other, connection()) == Denied(403, "mismatch")


@pytest.mark.parametrize("body", [b"", b"[]", b"no json", b"\x1f\x8b\x08broken", b'{"id": 5'])
def test_a_body_that_is_none_is_for_split_to_say(body: bytes) -> None:
    """It is authentic all the same, so it is dead-lettered and not refused."""
    assert CHANNEL.authenticate(request(body, id="x"), connection()) == ACCEPTED
    with pytest.raises(UnparseableBody):
        CHANNEL.split(body)


def test_packed_and_plain_are_one() -> None:
    plain = orjson.dumps(message())
    assert CHANNEL.split(gzip.compress(plain)) == CHANNEL.split(plain)


def test_a_bomb_is_no_body_and_takes_no_memory() -> None:
    """1 GiB of spaces in 1 MB, and a body that is one byte too large."""
    bomb = gzip.compress(b" " * 2**26, 9) * 16
    just_over = gzip.compress(b'"' + b"x" * WEBHOOK_MAX_BYTES + b'"')
    for body in (bomb, just_over):
        tracemalloc.start()
        with pytest.raises(UnparseableBody):
            CHANNEL.split(body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 * WEBHOOK_MAX_BYTES
        assert CHANNEL.authenticate(request(body), connection()) == ACCEPTED


@pytest.mark.parametrize("cut", [slice(None, -9), slice(None, 12)])
def test_half_a_stream_is_no_body(cut: slice) -> None:
    with pytest.raises(UnparseableBody):
        CHANNEL.split(gzip.compress(orjson.dumps(message()))[cut])


def test_something_behind_the_stream_is_no_body() -> None:
    with pytest.raises(UnparseableBody):
        CHANNEL.split(gzip.compress(orjson.dumps(message())) + b"{}")


@pytest.mark.skipif(not FIXTURES.exists(), reason=NO_FIXTURES)
def test_public_vectors_of_the_algorithm() -> None:
    """The signature is right, and the token is still none of Apple's; with one bit changed it is not right."""
    listed = orjson.loads((FIXTURES / "signatures.json").read_bytes())["vectors"]
    vectors = [vector for vector in listed if "apple" in vector["channels"]]
    assert vectors
    for vector in vectors:
        key = urlsafe_b64decode(vector["key_base64url"] + "=" * (-len(vector["key_base64url"]) % 4))
        assert wire.read_token(vector["token"], key) == vector["claims"]
        assert wire.read_token(vector["token"], key[:-1]) == "mismatch"
        secret = b64encode(key).decode()
        assert verdict(vector["token"], app_secret=secret) == Denied(403, "audience")
        assert verdict(vector["token"]) == Denied(403, "mismatch")


def test_no_secret_and_no_body_is_shown() -> None:
    asked = request()
    assert isinstance(asked, WebhookRequest)
    assert not any(word in repr(asked) for word in (token(), "Hallo", PERSON, SECRET))
