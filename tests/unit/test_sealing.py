"""Sealed blocks: golden vectors, and what a block must not open with."""

from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Literal

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from schemas.envelope import KeyClass, SealedBlock
from schemas.ids import random_bytes
from vault.outcomes import Corrupt, Plain
from vault.sealing import NONCE_BYTES, TAG_BYTES, SealContext, open_block, pad, seal, seal_with_nonce, unpad

KEY = bytes(range(32))
NONCE = bytes(range(12))
CONTEXT = SealContext(
    tenant="t1",
    subject="00112233445566778899aabbccddeeff",
    event_id="ffeeddccbbaa99887766554433221100",
    event_type="sealpost.message.received.v1",
    key_class="content",
    gen="2026-11",
)
GOLDEN_TEXT = b'{"text":"hello"}'
GOLDEN_CT = (
    "AAECAwQFBgcICQoLRwLWC77Htn71NbWxk4EdAe+5pUnwe198OGflhR1pALIBEK78r8ESmHSkf+2Ihyg47llgjVrWo9o/lyoZGOP17nB2"
    "XrNRE3Lf/mVsEagWmuw="
)
GOLDEN_AAD = (
    b"\0\0\0\x011"
    b"\0\0\0\x02t1"
    b"\0\0\0\x2000112233445566778899aabbccddeeff"
    b"\0\0\0\x20ffeeddccbbaa99887766554433221100"
    b"\0\0\0\x1csealpost.message.received.v1"
    b"\0\0\0\x07content"
    b"\0\0\0\x072026-11"
    b"\0\0\0\x07A256GCM"
)

words = st.text(st.characters(codec="utf-8"), max_size=40)
classes: st.SearchStrategy[KeyClass] = st.sampled_from(["identity", "content", "evidence"])
contexts = st.builds(SealContext, words, words, words, words, classes, words)
Part = Literal["tenant", "subject", "event_id", "event_type"]
PARTS: tuple[Part, ...] = ("tenant", "subject", "event_id", "event_type")


def with_part(context: SealContext, part: Part, value: str) -> SealContext:
    """The context with one part replaced."""
    match part:
        case "tenant":
            return replace(context, tenant=value)
        case "subject":
            return replace(context, subject=value)
        case "event_id":
            return replace(context, event_id=value)
        case "event_type":
            return replace(context, event_type=value)


def test_golden_vector() -> None:
    assert CONTEXT.associated_data() == GOLDEN_AAD
    block = seal_with_nonce(KEY, CONTEXT, GOLDEN_TEXT, NONCE)
    assert block == SealedBlock(gen="2026-11", ct=GOLDEN_CT)
    assert open_block(KEY, CONTEXT, block) == Plain(GOLDEN_TEXT)


def test_golden_vector_without_our_code() -> None:
    raw = b64decode(GOLDEN_CT)
    padded = AESGCM(KEY).decrypt(raw[:12], raw[12:], GOLDEN_AAD)
    assert padded == b"\0\0\0\x10" + GOLDEN_TEXT + bytes(44)


@given(contexts, st.binary(max_size=300))
def test_what_is_sealed_opens(context: SealContext, text: bytes) -> None:
    key = random_bytes(32)
    assert open_block(key, context, seal(key, context, text)) == Plain(text)


@given(st.binary(max_size=300))
def test_sizes_tell_little(text: bytes) -> None:
    raw = b64decode(seal(KEY, CONTEXT, text).ct)
    assert (len(raw) - NONCE_BYTES - TAG_BYTES) % 64 == 0
    assert unpad(pad(text)) == text


@given(contexts, st.data())
def test_no_part_of_the_context_may_differ(context: SealContext, data: st.DataObject) -> None:
    block = seal(KEY, context, b"x")
    name = data.draw(st.sampled_from(PARTS))
    other = data.draw(words.filter(lambda word: word != getattr(context, name)))
    assert open_block(KEY, with_part(context, name, other), block) == Corrupt("tag")
    kind = data.draw(classes.filter(lambda word: word != context.key_class))
    assert open_block(KEY, replace(context, key_class=kind), block) == Corrupt("tag")
    generation = data.draw(words.filter(lambda word: word != context.gen))
    assert open_block(KEY, context, block.model_copy(update={"gen": generation})) == Corrupt("tag")


@given(contexts, contexts)
def test_two_contexts_never_share_associated_data(one: SealContext, other: SealContext) -> None:
    assert (one == other) == (one.associated_data() == other.associated_data())


@pytest.mark.parametrize(
    ("one", "other"), [("tenant", "subject"), ("subject", "event_id"), ("event_id", "event_type")]
)
def test_a_shifted_boundary_is_another_context(one: Part, other: Part) -> None:
    """`ab` + `c` is not `a` + `bc`."""
    left = with_part(with_part(CONTEXT, one, "ab"), other, "c")
    right = with_part(with_part(CONTEXT, one, "a"), other, "bc")
    assert open_block(KEY, right, seal(KEY, left, b"x")) == Corrupt("tag")


def test_another_key_is_corrupt_not_erased() -> None:
    assert open_block(random_bytes(32), CONTEXT, seal(KEY, CONTEXT, b"x")) == Corrupt("tag")


def test_nonces_differ_and_so_do_equal_plaintexts() -> None:
    sealed = [seal(KEY, CONTEXT, b"same").ct for _ in range(1000)]
    assert len({b64decode(ct)[:NONCE_BYTES] for ct in sealed}) == 1000
    assert len(set(sealed)) == 1000


def test_a_copied_block_opens_with_the_identity_it_was_sealed_for() -> None:
    block = seal(KEY, CONTEXT, b"yes")
    copy = block.model_copy(update={"sealed_in": CONTEXT.event_id, "type": CONTEXT.event_type})
    carrier = replace(CONTEXT, event_id="0" * 32, event_type="sealpost.consent.given.v1")
    assert open_block(KEY, carrier, copy) == Plain(b"yes")
    assert open_block(KEY, carrier, block) == Corrupt("tag")
    assert open_block(KEY, carrier, copy.model_copy(update={"sealed_in": "1" * 32})) == Corrupt("tag")


@given(st.binary(max_size=200))
def test_wrong_bytes_never_raise(raw: bytes) -> None:
    assert isinstance(open_block(KEY, CONTEXT, SealedBlock(gen="0", ct=b64encode(raw).decode())), Corrupt)


@pytest.mark.parametrize("text", ["", "=", "a", "ä", "AAAA AAAA", "_-_-"])
def test_wrong_encodings_never_raise(text: str) -> None:
    assert isinstance(open_block(KEY, CONTEXT, SealedBlock(gen="0", ct=text)), Corrupt)


@pytest.mark.parametrize("change", [0, 12, 40, -1])
def test_one_flipped_bit_is_corrupt(change: int) -> None:
    raw = bytearray(b64decode(GOLDEN_CT))
    raw[change] ^= 1
    assert open_block(KEY, CONTEXT, SealedBlock(gen="2026-11", ct=b64encode(raw).decode())) == Corrupt("tag")


def test_what_was_opened_shows_in_no_repr() -> None:
    assert "secret" not in repr(Plain("secret"))
    assert "secret" not in str([Plain("secret")])
