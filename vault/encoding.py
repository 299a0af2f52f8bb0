"""Unambiguous byte strings for associated data and stored outputs: every part is preceded by its length."""

from collections.abc import Iterable, Sequence

from streams.step.contract import Output

LENGTH_BYTES = 4


def length_prefixed(parts: Iterable[bytes]) -> bytes:
    """Join parts, each behind its length (4 bytes, big endian); no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(LENGTH_BYTES, "big") + part for part in parts)


def split_prefixed(data: bytes) -> list[bytes]:
    """Undo `length_prefixed`; ValueError when the bytes are cut."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + LENGTH_BYTES
        size = int.from_bytes(data[at:end], "big")
        if end + size > len(data):
            raise ValueError("cut in the middle of a part")
        parts.append(data[end : end + size])
        at = end + size
    return parts


def encode_outputs(outputs: Sequence[Output]) -> bytes:
    """Outputs as bytes, to be stored with a claim or a request and produced again byte for byte."""
    return length_prefixed(part for o in outputs for part in (o.topic.encode(), o.key, o.value))


def decode_outputs(data: bytes) -> list[Output]:
    """Undo `encode_outputs`; ValueError when the bytes are none."""
    parts = split_prefixed(data)
    if len(parts) % 3:
        raise ValueError("not a list of outputs")
    return [Output(parts[i].decode(), parts[i + 1], parts[i + 2]) for i in range(0, len(parts), 3)]
