"""Raw webhooks sealed to a day key: golden vector, and what a fragment must not open with."""

from hashlib import sha256
from itertools import permutations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.errors import CorruptFragment
from vault.ingress import DayKeyPair, IngressContext, open_from_day, seal_to_day, seal_with_private

PRIVATE = bytes(range(1, 33))
FRESH = bytes(range(33, 65))
CONTEXT: IngressContext = ("t1", "c1", "a1", "2026-11-23")
GOLDEN_PUBLIC = "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"
GOLDEN_TEXT = b'{"fragment":{}}'
GOLDEN_SEALED = (
    "015869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67bff84d17f9e218213ef4e0ac2e2406b3520eeba36"
    "3995b94ad74b378eda1e27908b944c2ebc9a4a30c21047867d55a6be70db36620e0434d533195040ddc08d38f00ef3da31d98f300e"
    "9e67fa54b35acb"
)
GOLDEN_INFO = (
    b"\0\0\0\x10sealpost ingress"
    b"\0\0\0\x1aX25519-HKDF-SHA256-A256GCM"
    b"\0\0\0\x02t1\0\0\0\x02c1\0\0\0\x02a1\0\0\0\x0a2026-11-23"
)


def test_golden_vector() -> None:
    pair = DayKeyPair.of(PRIVATE)
    assert pair.public.hex() == GOLDEN_PUBLIC
    sealed = seal_with_private(FRESH, pair.public, CONTEXT, GOLDEN_TEXT)
    assert sealed.hex() == GOLDEN_SEALED
    assert open_from_day(PRIVATE, CONTEXT, sealed) == GOLDEN_TEXT


def test_golden_vector_without_our_code() -> None:
    sealed = bytes.fromhex(GOLDEN_SEALED)
    fresh = sealed[1:33]
    shared = X25519PrivateKey.from_private_bytes(PRIVATE).exchange(X25519PublicKey.from_public_bytes(fresh))
    salt = fresh + bytes.fromhex(GOLDEN_PUBLIC)
    key = HKDF(algorithm=SHA256(), length=32, salt=salt, info=GOLDEN_INFO).derive(shared)
    padded = AESGCM(key).decrypt(bytes(12), sealed[33:], GOLDEN_INFO)
    assert padded == b"\0\0\0\x0f" + GOLDEN_TEXT + bytes(45)


@settings(max_examples=50)
@given(st.binary(max_size=2000), st.tuples(*[st.text(max_size=20)] * 4))
def test_what_is_sealed_opens(text: bytes, context: IngressContext) -> None:
    pair = DayKeyPair.make()
    sealed = seal_to_day(pair.public, context, text)
    assert open_from_day(pair.private, context, sealed) == text
    assert seal_to_day(pair.public, context, text) != sealed


@pytest.mark.parametrize("place", range(4))
def test_no_part_of_the_context_may_differ(place: int) -> None:
    pair = DayKeyPair.make()
    sealed = seal_to_day(pair.public, CONTEXT, b"x")
    parts = list(CONTEXT)
    parts[place] += "0"
    with pytest.raises(CorruptFragment):
        open_from_day(pair.private, (parts[0], parts[1], parts[2], parts[3]), sealed)


def test_no_parts_may_be_exchanged() -> None:
    pair = DayKeyPair.make()
    sealed = seal_to_day(pair.public, CONTEXT, b"x")
    for tenant, connection, account, day in list(permutations(CONTEXT))[1:]:
        with pytest.raises(CorruptFragment):
            open_from_day(pair.private, (tenant, connection, account, day), sealed)


def test_another_day_key_does_not_open_and_the_public_half_is_no_private_one() -> None:
    pair = DayKeyPair.make()
    sealed = seal_to_day(pair.public, CONTEXT, b"x")
    for key in (DayKeyPair.make().private, pair.public):
        with pytest.raises(CorruptFragment):
            open_from_day(key, CONTEXT, sealed)


@given(st.binary(max_size=150))
def test_wrong_bytes_are_a_corrupt_fragment(raw: bytes) -> None:
    with pytest.raises(CorruptFragment) as caught:
        open_from_day(PRIVATE, CONTEXT, raw)
    assert sha256(raw).hexdigest() not in str(caught.value)


@pytest.mark.parametrize("place", [0, 1, 32, 33, -1])
def test_one_flipped_bit_is_corrupt(place: int) -> None:
    sealed = bytearray(bytes.fromhex(GOLDEN_SEALED))
    sealed[place] ^= 1
    with pytest.raises(CorruptFragment):
        open_from_day(PRIVATE, CONTEXT, bytes(sealed))


def test_a_public_key_of_low_order_is_refused() -> None:
    with pytest.raises(ValueError, match="shared key"):
        seal_to_day(bytes(32), CONTEXT, b"x")
    with pytest.raises(CorruptFragment):
        open_from_day(PRIVATE, CONTEXT, b"\x01" + bytes(32) + bytes(80))


def test_a_pair_shows_in_no_repr() -> None:
    pair = DayKeyPair.make()
    assert pair.private.hex() not in repr(pair)
    assert repr(pair.private) not in repr(pair)
