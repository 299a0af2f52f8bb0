"""Renderer and simulator mean the same by every limit: the simulator takes what is sent, and would refuse what is refused."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.addresses import Address
from schemas.content import (
    ButtonsContent,
    Content,
    ListContent,
    MediaContent,
    ReadMarkContent,
    TemplateContent,
    TextContent,
)
from tests.unit.channels.any_json import EXAMPLES, any_json, any_object
from tests.unit.channels.test_whatsapp_send import ECHO, URL, Account
from workers.channel import UnsupportedContent
from workers.channels.whatsapp import send
from workers.channels.whatsapp.channel import CHANNEL
from workers.channels.whatsapp.simulated_sends import GraphError, read_request

OWN_NUMBER = "+1 555 078 3881"
ADDRESSES = st.sampled_from(
    [Address("whatsapp", "phone", "4915112345678"), Address("whatsapp", "bsuid", "US.99")]
)


def texts(*limits: int) -> st.SearchStrategy[str]:
    """Short ones, and those at a limit and one beyond."""
    edges = [n for limit in limits for n in (limit, limit + 1)]
    long = st.tuples(st.sampled_from(edges), st.sampled_from("xÄ😮")).map(lambda found: found[1] * found[0])
    return st.text(min_size=1, max_size=6) | long


IDS = st.sampled_from(["1", "2", "3", "x" * 200]) | st.text(min_size=1, max_size=4)
ANSWERED = st.none() | st.just("wamid.0")
ROWS = st.fixed_dictionaries({"id": IDS, "title": texts(24), "description": st.none() | texts(72)})
SECTIONS = st.fixed_dictionaries(
    {"title": st.none() | texts(24), "rows": st.lists(ROWS, min_size=1, max_size=6)}
)
SAID: st.SearchStrategy[tuple[Any, dict[str, Any]]] = st.one_of(
    st.tuples(st.just(TextContent), st.builds(dict, text=texts(4096), in_reply_to=ANSWERED)),
    st.tuples(
        st.just(MediaContent),
        st.builds(
            dict,
            type=st.just("media"),
            kind=st.sampled_from(["image", "video", "audio", "document"]),
            url=st.just(URL),
            caption=st.none() | texts(1024),
            filename=st.none() | st.just("a.pdf"),
            in_reply_to=ANSWERED,
        ),
    ),
    st.tuples(
        st.just(ButtonsContent),
        st.builds(
            dict,
            type=st.just("buttons"),
            text=texts(1024),
            buttons=st.lists(st.builds(dict, id=IDS, title=texts(20)), min_size=1, max_size=4),
            in_reply_to=ANSWERED,
        ),
    ),
    st.tuples(
        st.just(ListContent),
        st.builds(
            dict,
            type=st.just("list"),
            text=texts(1024),
            button=texts(20),
            sections=st.lists(SECTIONS, min_size=1, max_size=3),
            in_reply_to=ANSWERED,
        ),
    ),
    st.tuples(st.just(ReadMarkContent), st.builds(dict, type=st.just("read_mark"), of=ANSWERED)),
    st.tuples(
        st.just(TemplateContent),
        st.builds(dict, name=st.just("a"), language=st.just("de"), variables=st.lists(texts(4), max_size=2)),
    ),
)


def content_of(found: tuple[Any, dict[str, Any]]) -> Content | None:
    """The content, or None for what is none (words that are only blanks)."""
    model, fields = found
    try:
        content: Content = model(**fields)
    except ValidationError:
        return None
    return content


CONTENTS = SAID.map(content_of).filter(lambda found: found is not None)


def rendered(content: Content, address: Address) -> bytes | None:
    """The body of the request; None when it is refused."""
    try:
        return next(CHANNEL.deliver(content, address, Account(), ECHO)).body
    except UnsupportedContent:
        return None


def code_of(body: bytes) -> int:
    """The code with which the simulated API refuses; 0 when it takes the request."""
    try:
        read_request(body, OWN_NUMBER)
    except GraphError as error:
        return error.code
    return 0


def unchecked(_why: str) -> None:
    """In place of a refusal."""


@settings(max_examples=400)
@given(CONTENTS, ADDRESSES)
def test_what_one_sends_the_other_takes_and_no_more(content: Content, address: Address) -> None:
    """The same content, rendered without its checks, tells whether the simulator would have refused it by itself."""
    body = rendered(content, address)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(send, "_refuse", unchecked)
        whole = rendered(content, address)
    assert whole is not None
    code = code_of(whole)
    assert code in ((100, 131008, 131009) if body is None else (0,))
    assert body in (whole, None)


BASE: dict[str, Any] = {"messaging_product": "whatsapp", "to": "4915112345678"}


def interactive(**part: Any) -> dict[str, Any]:
    return {"type": "interactive", "interactive": {"body": {"text": "x"}, **part}}


def reply(title: str = "a", own_id: str = "1") -> dict[str, Any]:
    return {"type": "reply", "reply": {"id": own_id, "title": title}}


def listed(*sections: Any, button: Any = "b") -> dict[str, Any]:
    return interactive(type="list", action={"button": button, "sections": list(sections)})


def rows(count: int = 1, **changed: Any) -> list[dict[str, Any]]:
    return [{"id": f"{changed.get('start', 0)}-{n}", "title": "t", **changed} for n in range(count)]


@pytest.mark.parametrize(
    ("request_body", "code"),
    [
        ({"type": "image", "image": {}}, 131008),
        ({"type": "image", "image": {"link": "ftp://x"}}, 131009),
        ({"type": "image", "image": {"id": "1", "filename": "a"}}, 100),
        ({"type": "audio", "audio": {"id": "1", "caption": "a"}}, 100),
        ({"type": "video", "video": {"id": "1", "caption": "x" * 1025}}, 100),
        ({"type": "poll", "poll": {}}, 131051),
        (interactive(type="flow"), 131009),
        (interactive(type="button", body={}, action={"buttons": [reply()]}), 131008),
        (interactive(type="button", body={"text": "x" * 1025}, action={"buttons": [reply()]}), 131009),
        (interactive(type="button", action={"buttons": []}), 131009),
        (interactive(type="button", action={"buttons": [reply(f"{n}", f"{n}") for n in range(4)]}), 131009),
        (interactive(type="button", action={"buttons": [reply("x" * 21)]}), 131009),
        (interactive(type="button", action={"buttons": [reply(), reply("b")]}), 131009),
        (interactive(type="button", action={"buttons": [reply(), reply(own_id="2")]}), 131009),
        (interactive(type="button", action={"buttons": ["x"]}), 131009),
        (listed({"rows": rows()}, {"title": "t", "rows": rows(start=1)}), 131008),
        (listed({"title": "x" * 25, "rows": rows()}), 131009),
        (listed({"rows": rows(11)}), 131009),
        (listed({"title": "a", "rows": rows(6)}, {"title": "b", "rows": rows(5, start=1)}), 131009),
        (listed({"rows": rows(title="x" * 25)}), 131009),
        (listed({"rows": rows(description="x" * 73)}), 131009),
        (listed({"rows": rows(2, id="same")}), 131009),
        (listed({"rows": rows(id=None)}), 131008),
        (listed({"rows": rows()}, button="x" * 21), 131009),
        (listed(*[{"title": f"{n}", "rows": rows(start=n)} for n in range(11)]), 131009),
        ({"status": "typing", "message_id": "x"}, 100),
        ({"status": "read"}, 100),
    ],
)
def test_what_is_beyond_a_limit_is_refused_with_the_provider_s_code(
    request_body: dict[str, Any], code: int
) -> None:
    with pytest.raises(GraphError) as refused:
        read_request(orjson.dumps(BASE | request_body), OWN_NUMBER)
    assert refused.value.code == code


WORDS = st.sampled_from(
    [
        "type", "text", "body", "image", "link", "interactive", "action", "buttons", "sections", "rows", "status", "to", "reply",
        "title", "context", "message_id", "template", "components", "biz_opaque_callback_data",
    ]
)  # fmt: skip


@settings(max_examples=EXAMPLES)
@given(any_object(WORDS) | any_json(WORDS))
def test_any_request_is_taken_or_refused(found: Any) -> None:
    """Nothing that a client writes is an error of the simulator's own."""
    body = {**BASE, **found} if isinstance(found, dict) else found
    assert code_of(orjson.dumps(body)) >= 0
