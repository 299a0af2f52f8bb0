"""What the kit throws at a channel: any bytes, any JSON with the provider's own words in it, and proper webhooks spoiled at any
place.
"""

import gzip
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from hypothesis import strategies as st

MARK = "quagga"
"""Begins every text that the kit makes up: what has it in clear has taken something over from outside."""
WORDS_MAX_CHARACTERS = 40
GROWN_BYTES = 3 * 1024 * 1024
"""As much as the receiver takes."""
NESTED = 100_000
BOMB_BYTES = 64 * 1024 * 1024
"""What a small body may say it is once it is unpacked."""
Path = tuple[str | int, ...]


def any_json(words: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Anything that JSON can say."""
    made_up = st.text(max_size=8).map(lambda text: MARK + text)
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False)
        | made_up
        | words
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | made_up, inner, max_size=5),
    )


def provider_words(documents: Sequence[Any]) -> st.SearchStrategy[str]:
    """Names and short texts that stand in samples: what gets past a channel's first look."""
    found = sorted({word for document in documents for word in _words(document)})
    return st.sampled_from(found or ["id"])


def spoiled(documents: Sequence[Any], anything: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A sample with up to three of its parts, at any depth, replaced by anything, or taken out."""
    return st.sampled_from(documents or [{}]).flatmap(
        lambda document: st.lists(
            st.tuples(st.sampled_from(list(_paths(document))), anything, st.booleans()), max_size=3
        ).map(lambda changes: _changed(document, changes))
    )


def read_all(bodies: Sequence[bytes]) -> list[Any]:
    """Those of the samples that are JSON."""
    found = []
    for body in bodies:
        try:
            found.append(orjson.loads(body))
        except orjson.JSONDecodeError:
            continue
    return found


def grown(document: Any) -> Iterator[bytes]:
    """The sample as large as the receiver takes: once for each of its lists, whose last element is repeated."""
    for path in _paths(document):
        listed = _at(document, path)
        if isinstance(listed, list) and listed:
            times = GROWN_BYTES // len(orjson.dumps(listed[-1]))
            yield orjson.dumps(_replaced(document, path, [*listed, *([listed[-1]] * times)]))


def oversize() -> Iterator[bytes]:
    """Bodies that are large, deep or long without being a webhook."""
    yield b"[" * NESTED
    yield b'{"a":' * NESTED + b"1" + b"}" * NESTED
    yield b'{"id":' + b"9" * NESTED + b"}"
    yield b'{"text":"' + b"a" * GROWN_BYTES + b'"}'
    yield b" " * GROWN_BYTES
    yield b"[" + b"{}," * (GROWN_BYTES // 3) + b"{}]"
    yield gzip.compress(bytes(BOMB_BYTES))


def _words(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for name, value in document.items():
            yield name
            yield from _words(value)
    elif isinstance(document, list):
        for value in document:
            yield from _words(value)
    elif isinstance(document, str) and len(document) <= WORDS_MAX_CHARACTERS:
        yield document


def _paths(document: Any, here: Path = ()) -> Iterator[Path]:
    yield here
    if isinstance(document, dict):
        for name, value in document.items():
            yield from _paths(value, (*here, name))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from _paths(value, (*here, number))


def _at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def _changed(document: Any, changes: Sequence[tuple[Path, Any, bool]]) -> Any:
    for path, value, remove in changes:
        try:
            document = _replaced(document, path, value, remove=remove)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has taken away what this one would change
    return document


def _replaced(document: Any, path: Path, value: Any, *, remove: bool = False) -> Any:
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(document, list) and isinstance(step, int):
        inner = [] if remove and not rest else [_replaced(document[step], rest, value, remove=remove)]
        return [*document[:step], *inner, *document[step + 1 :]]
    if not isinstance(document, dict):
        raise TypeError("there is nothing below")
    if remove and not rest:
        return {name: found for name, found in document.items() if name != step}
    return {**document, step: _replaced(document[step], rest, value, remove=remove)}
