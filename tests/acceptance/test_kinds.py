"""Every kind of message through the whole of a running instance: what the phone gets, and what is refused at the door."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance_instance import RunningInstance, running_instance, until

PICTURE = {"type": "media", "kind": "image", "url": "https://example.org/pear.png", "caption": "Birnen"}
BUTTONS = {
    "type": "buttons",
    "text": "Sollen wir liefern?",
    "buttons": [{"id": "yes", "title": "Bitte"}, {"id": "no", "title": "Lieber nicht"}],
}
LIST = {
    "type": "list",
    "text": "Was darf es sein?",
    "button": "Obst",
    "sections": [{"title": "Kern", "rows": [{"id": "1", "title": "Birne", "description": "Conference"}]}],
}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    """An instance of its own."""
    with running_instance(tmp_path_factory.mktemp("kinds")) as running:
        yield running


def ask(instance: RunningInstance, subject: str, content: dict[str, Any], **more: Any) -> Any:
    """The business asks for a message."""
    body = {"to": {"subject": subject}, "purpose": "service", "content": content, **more}
    return instance.api("POST", "/v1/messages", "producer", body)


def last_received(instance: RunningInstance, subject: str) -> str:
    """Id of what the person wrote last, once it is shown."""

    def look() -> str:
        answer = instance.api("GET", f"/v1/subjects/{subject}/messages?limit=500")
        items = answer.body["items"] if answer.status == 200 else []
        return next((i["message_id"] for i in reversed(items) if i["direction"] == "in"), "")

    return until("a message received", look)


@pytest.mark.parametrize("content", [PICTURE, BUTTONS, LIST], ids=lambda c: c["type"])
def test_each_kind_arrives(instance: RunningInstance, content: dict[str, Any]) -> None:
    number = instance.new_number()
    instance.write(number, "Guten Tag")
    subject = instance.subject_of(number)
    asked = ask(instance, subject, content)
    assert asked.status == 202, asked
    shown = instance.item(subject, asked.body["message_id"], {"delivered", "read"})
    assert shown["kind"] == content["type"]
    (on_phone,) = instance.phone(number)
    assert on_phone["type"] == ("image" if content["type"] == "media" else "interactive")


def test_a_message_answers_one_and_marks_it_as_read(instance: RunningInstance) -> None:
    """Named by our id of it; the provider's own id is looked up, and stands nowhere in clear."""
    number, other = instance.new_number(), instance.new_number()
    instance.write(number, "Sind die Birnen da?")
    instance.write(other, "Hallo")
    subject, stranger = instance.subject_of(number), instance.subject_of(other)
    written, foreign = last_received(instance, subject), last_received(instance, stranger)
    asked = ask(instance, subject, {"type": "text", "text": "Ja"}, reply_to=written)
    assert asked.status == 202, asked
    instance.item(subject, asked.body["message_id"], {"delivered", "read"})
    marked = ask(instance, subject, {"type": "read_mark"}, reply_to=written)
    assert marked.status == 202, marked
    instance.item(subject, marked.body["message_id"], {"submitted", "sent", "delivered", "read"})
    for wrong in (foreign, "0" * 32):
        refused = ask(instance, subject, {"type": "text", "text": "Ja"}, reply_to=wrong)
        assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/reply_to")
    bare = ask(instance, subject, {"type": "read_mark"})
    assert (bare.status, bare.body["errors"][0]["pointer"]) == (422, "/reply_to")
    assert any(one.get("in_reply_to") for one in instance.phone(number)), "the phone shows what was answered"


def test_what_the_channel_cannot_carry_is_refused_at_the_door(instance: RunningInstance) -> None:
    number = instance.new_number()
    instance.write(number, "Guten Tag")
    subject = instance.subject_of(number)
    four = BUTTONS | {"buttons": [{"id": str(n), "title": f"Nr. {n}"} for n in range(4)]}
    for content, pointer in (
        (four, "/content/buttons"),
        (PICTURE | {"caption": "x" * 1_025}, "/content/caption"),
        (PICTURE | {"url": "http://example.org/pear.png"}, "/content/url"),
        (BUTTONS | {"buttons": []}, "/content/buttons"),
    ):
        refused = ask(instance, subject, content)
        assert refused.status == 422, refused
        assert refused.body["errors"][0]["pointer"] == pointer
    assert instance.phone(number) == []
