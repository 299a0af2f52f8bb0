"""What a record is shown as: clear fields, bars for what is sealed, and nothing that a terminal would obey."""

from base64 import b64encode

import orjson
from hypothesis import given
from hypothesis import strategies as st

from projections.log.shown import line, printable, shown
from schemas import topics
from schemas.envelope import Event
from schemas.ids import random_bytes, random_id
from streams.step.contract import Record
from vault.ingress import DayKeyPair, DaySealer
from vault.sealing import SealContext, seal

AT = 1_760_000_000_000
SUBJECT = random_id()


def record(topic: str, value: bytes | None) -> Record:
    return Record(topic, 2, 15, SUBJECT.encode(), value, AT)


def event(**data: object) -> Event:
    return Event(
        id=random_id(),
        source="sealpost/inbound",
        type="sealpost.message.received.v1",
        subject=SUBJECT,
        time="2026-05-03T14:02:11.123Z",
        tenant="acme",
        channel="whatsapp",
        data=data,
    )


def sealed(plaintext: bytes) -> dict[str, object]:
    context = SealContext("acme", SUBJECT, random_id(), "sealpost.message.received.v1", "content", "2026-05")
    return {"content": seal(random_bytes(32), context, plaintext).model_dump(exclude_none=True)}


def test_a_sealed_block_is_a_bar_of_its_size() -> None:
    """130 bytes are padded to 192 with their length; the ciphertext is nowhere."""
    block = sealed(b"x" * 130)
    one = shown(record(topics.MESSAGES, event(kind="text", sealed=block).to_bytes()))
    assert [(found.name, found.bytes, found.generation) for found in one.blocks] == [
        ("content", 192, "2026-05")
    ]
    text = line(one.as_json())
    assert text == (
        f"2025-10-09T08:53:20.000Z  messages/2:15  message.received.v1  acme  {SUBJECT}  kind=text  ▒ 192 B content"
    )
    assert str(block["content"]["ct"]) not in str(one.as_json())  # type: ignore[index]  # a dictionary, as made above


def test_a_raw_fragment_is_a_bar_of_the_day_key() -> None:
    ct = b64encode(DaySealer(DayKeyPair.make().public).seal(("acme", "c", "a", "2026-05-03"), b"{}")).decode()
    raw = event(connection="c", account="a", day="2026-05-03", alg="x", ct=ct).model_copy(
        update={"type": "sealpost.fragment.received.v1"}
    )
    one = shown(record(topics.inbound("whatsapp"), raw.to_bytes()))
    assert [found.name for found in one.blocks] == ["day key"]
    assert "ct" not in one.clear


def test_a_dead_letter_tells_why_and_not_what() -> None:
    letter = {"role": "inbound", "reason": "KeyError", "value": b64encode(b"4915112345678").decode()}
    one = shown(record(topics.DEADLETTERS, orjson.dumps(letter)))
    assert (one.type, one.clear["reason"], one.blocks[0].bytes) == ("dead letter", "KeyError", 13)
    assert "value" not in one.as_json()["data"]


@given(st.one_of(st.none(), st.binary(max_size=200), st.recursive(st.booleans(), st.lists).map(orjson.dumps)))
def test_whatever_lies_in_a_topic_is_shown(value: bytes | None) -> None:
    for topic in (topics.MESSAGES, topics.DEADLETTERS):
        one = shown(record(topic, value))
        assert line(one.as_json())
        assert one.event is None


NAMES = st.sampled_from(["sealed", "ct", "content", "gen", "day", "kind"])
JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(NAMES, some),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, JSON))
def test_whatever_an_event_holds_is_shown(data: dict[str, object]) -> None:
    """An envelope that is well, with data that no program of ours would write."""
    one = shown(record(topics.MESSAGES, event(**data).to_bytes()))
    assert line(one.as_json())


@given(st.text(max_size=200))
def test_no_line_moves_the_cursor(text: str) -> None:
    shown_text = printable(text)
    assert all(char.isprintable() for char in shown_text)
    assert printable(shown_text) == shown_text


def test_what_was_opened_stands_behind_the_bars_as_text() -> None:
    found = shown(record(topics.MESSAGES, event(kind="text", sealed=sealed(b"x")).to_bytes())).as_json()
    text = line(found, {"content": {"text": "\x1b[2J\u202e<b>"}})
    assert text.endswith('content: {"text":"\\u001b[2J\\u202e<b>"}')
