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

from schemas import clock
from vault import ingress
from vault.errors import CorruptFragment
from vault.ingress import (
    FRESH_S,
    SECRETS_MAX,
    DayKeyPair,
    DayOpener,
    DaySealer,
    DaySealers,
    IngressContext,
)

PRIVATE = bytes(range(1, 33))
FRESH = bytes(range(33, 65))
SALT = bytes(range(65, 81))
CONTEXT: IngressContext = ("t1", "c1", "a1", "2026-11-23")
GOLDEN_PUBLIC = "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"
GOLDEN_TEXT = b'{"fragment":{}}'
GOLDEN_SEALED = (
    "025869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b4142434445464748494a4b4c4d4e4f5091b1701e"
    "b5e28d9fe5259606f32307727765d274774fa88d8276e5342622e13a243222bd7cb5628c9841b7cccba118eeaae0157d94e925d62e"
    "495705de5864f43deb191b5b2ba828b011fee153a59827"
)
GOLDEN_INFO = (
    b"\0\0\0\x10sealpost ingress"
    b"\0\0\0\x1aX25519-HKDF-SHA256-A256GCM"
    b"\0\0\0\x02t1\0\0\0\x02c1\0\0\0\x02a1\0\0\0\x0a2026-11-23"
)


def test_golden_vector() -> None:
    pair = DayKeyPair.of(PRIVATE)
    assert pair.public.hex() == GOLDEN_PUBLIC
    sealed = DaySealer(pair.public, FRESH).seal(CONTEXT, GOLDEN_TEXT, SALT)
    assert sealed.hex() == GOLDEN_SEALED
    assert DayOpener(PRIVATE).open(CONTEXT, sealed) == GOLDEN_TEXT


def test_golden_vector_without_our_code() -> None:
    sealed = bytes.fromhex(GOLDEN_SEALED)
    fresh = sealed[1:33]
    shared = X25519PrivateKey.from_private_bytes(PRIVATE).exchange(X25519PublicKey.from_public_bytes(fresh))
    salt = fresh + bytes.fromhex(GOLDEN_PUBLIC)
    info = GOLDEN_INFO + sealed[33:49]
    key = HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(shared)
    padded = AESGCM(key).decrypt(bytes(12), sealed[49:], GOLDEN_INFO)
    assert padded == b"\0\0\0\x0f" + GOLDEN_TEXT + bytes(45)


@settings(max_examples=50)
@given(st.binary(max_size=2000), st.tuples(*[st.text(max_size=20)] * 4))
def test_what_is_sealed_opens(text: bytes, context: IngressContext) -> None:
    pair = DayKeyPair.make()
    sealer, opener = DaySealer(pair.public), DayOpener(pair.private)
    sealed, again = sealer.seal(context, text), sealer.seal(context, text)
    assert opener.open(context, sealed) == opener.open(context, again) == text
    assert sealed != again


@pytest.mark.parametrize("place", range(4))
def test_no_part_of_the_context_may_differ(place: int) -> None:
    pair = DayKeyPair.make()
    sealed = DaySealer(pair.public).seal(CONTEXT, b"x")
    parts = list(CONTEXT)
    parts[place] += "0"
    with pytest.raises(CorruptFragment):
        DayOpener(pair.private).open((parts[0], parts[1], parts[2], parts[3]), sealed)


def test_no_parts_may_be_exchanged() -> None:
    pair = DayKeyPair.make()
    sealed = DaySealer(pair.public).seal(CONTEXT, b"x")
    for tenant, connection, account, day in list(permutations(CONTEXT))[1:]:
        with pytest.raises(CorruptFragment):
            DayOpener(pair.private).open((tenant, connection, account, day), sealed)


def test_another_day_key_does_not_open_and_the_public_half_is_no_private_one() -> None:
    pair = DayKeyPair.make()
    sealed = DaySealer(pair.public).seal(CONTEXT, b"x")
    for key in (DayKeyPair.make().private, pair.public):
        with pytest.raises(CorruptFragment):
            DayOpener(key).open(CONTEXT, sealed)


@given(st.binary(max_size=150))
def test_wrong_bytes_are_a_corrupt_fragment(raw: bytes) -> None:
    with pytest.raises(CorruptFragment) as caught:
        DayOpener(PRIVATE).open(CONTEXT, raw)
    assert sha256(raw).hexdigest() not in str(caught.value)


@pytest.mark.parametrize("place", [0, 1, 32, 33, 48, 49, -1])
def test_one_flipped_bit_is_corrupt(place: int) -> None:
    sealed = bytearray(bytes.fromhex(GOLDEN_SEALED))
    sealed[place] ^= 1
    with pytest.raises(CorruptFragment):
        DayOpener(PRIVATE).open(CONTEXT, bytes(sealed))


def test_a_public_key_of_low_order_is_refused() -> None:
    with pytest.raises(ValueError, match="shared key"):
        DaySealer(bytes(32))
    with pytest.raises(CorruptFragment):
        DayOpener(PRIVATE).open(CONTEXT, ingress.VERSION + bytes(32) + bytes(96))


def test_a_fresh_pair_serves_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """One shared secret a minute and day key; after it another fresh pair, and nothing of the first is kept."""
    now = clock.boot_s()
    monkeypatch.setattr(ingress, "boot_s", lambda: now)
    sealers, pair, other = DaySealers(), DayKeyPair.make(), DayKeyPair.make()
    first = sealers.of(pair.public)
    assert sealers.of(other.public) is not first
    now += FRESH_S - 0.1
    assert sealers.of(pair.public) is first
    now += 0.1
    assert sealers.of(pair.public) is not first
    assert len(sealers._made) == 1
    fresh = {sealer.seal(CONTEXT, b"x")[1:33] for sealer in (first, sealers.of(pair.public))}
    assert len(fresh) == 2


def test_an_opener_keeps_some_secrets_and_opens_everything() -> None:
    """More fresh pairs than it keeps, in turn."""
    pair = DayKeyPair.make()
    opener = DayOpener(pair.private)
    sealed = [DaySealer(pair.public).seal(CONTEXT, b"%d" % number) for number in range(SECRETS_MAX + 10)]
    for number, one in enumerate(sealed * 2):
        assert opener.open(CONTEXT, one) == b"%d" % (number % len(sealed))
        assert len(opener._secrets) <= SECRETS_MAX


def test_no_secret_shows_in_a_repr() -> None:
    pair = DayKeyPair.make()
    assert pair.private.hex() not in repr(pair)
    assert repr(pair.private) not in repr(pair)
    assert repr(DaySealer(pair.public)) == "DaySealer(…)"
    assert repr(DayOpener(pair.private)) == "DayOpener(…)"
