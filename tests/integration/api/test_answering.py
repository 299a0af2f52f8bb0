"""A message that answers one of the person's goes out where that one came, and only what the provider knows can be answered."""

from collections.abc import Mapping
from typing import Any

import pytest

from schemas import topics
from schemas.addresses import Address
from schemas.clock import now_ms, to_text, today
from schemas.events import messages, registry
from schemas.ids import message_id, random_id
from tests.api_world import CHANNEL, ApiWorld, Person, Reply, Tenant
from vault.subjects import Sender

ROW = {"id": "1", "title": "Birne", "description": "Conference"}
LIST = {"type": "list", "text": "Was?", "button": "Obst", "sections": [{"rows": [ROW]}]}


@pytest.fixture
def wanderer(tenant: Tenant) -> Person:
    """Somebody whom the vault knows from Telegram, where she wrote last."""
    address, now = Address("telegram", "chat", str(int(random_id()[:10], 16) + 1)), now_ms()
    with tenant.world.vault.transaction() as cursor:
        sender = Sender(tenant.name, "telegram", "bot-1", (address,), "Ada", now, now)
        (found,) = tenant.world.vault.resolve_senders(cursor, [sender])
    return Person(tenant, found.subject, address, "Ada")


def wrote(person: Person, account: str, provider_id: str = "wamid.x", channel: str = CHANNEL) -> str:
    """She wrote on this account, and it is shown; the message's id."""
    message, now = message_id(today(), b"k", random_id(), "test", "m"), to_text(now_ms())
    data = messages.MessageReceived(
        message=message, account=account, kind="text", provider_kind="text", acted_at=now
    )
    personal = {"text": "Hallo", "provider_id": provider_id, "provider_time": now}
    person.introduce()
    person.tenant.world.produce(person.event(data, {"content": personal}, channel))
    person.until("/messages", lambda shown: any(one["message_id"] == message for one in shown["items"]))
    return message


def answer(person: Person, message: str, to: Mapping[str, str] | None = None, **more: Any) -> Reply:
    """The business answers that message."""
    return person.tenant.send(to or {"subject": person.subject}, reply_to=message, **more)


def asked(world: ApiWorld, person: Person, reply: Reply) -> tuple[str | None, str]:
    """(channel, account) that a message was asked for on."""
    assert reply.status == 202, reply
    (event,) = (
        one
        for one in world.written(topics.MESSAGES, person.tenant.name)
        if one.type == registry.type_name(messages.MessageRequested)
        and one.data["message"] == reply.body["message_id"]
    )
    return event.channel, event.data["account"]


def test_the_answer_goes_out_on_the_account_of_what_it_answers(world: ApiWorld, ada: Person) -> None:
    """Whichever account she wrote on last; a read mark, too."""
    elsewhere = wrote(ada, "another-account")
    here = wrote(ada, ada.tenant.account)
    for to in (ada.to, {"subject": ada.subject}):
        assert asked(world, ada, answer(ada, elsewhere, to)) == (CHANNEL, "another-account")
        assert asked(world, ada, answer(ada, here, to)) == (CHANNEL, ada.tenant.account)
    mark = answer(ada, elsewhere, content={"type": "read_mark"})
    assert asked(world, ada, mark) == (CHANNEL, "another-account")


def test_the_answer_goes_out_on_the_channel_of_what_it_answers(world: ApiWorld, wanderer: Person) -> None:
    """422 where the request names another one; what that channel can show counts, and not what the last one can."""
    message = wrote(wanderer, "whatsapp-account")
    refused = answer(wanderer, message, {"channel": "telegram", "address": wanderer.address.value})
    assert (refused.status, refused.pointers) == (422, ["/reply_to"])
    assert asked(world, wanderer, answer(wanderer, message)) == (CHANNEL, "whatsapp-account")
    assert asked(world, wanderer, answer(wanderer, message, content=LIST)) == (CHANNEL, "whatsapp-account")
    elsewhere = wanderer.tenant.send({"subject": wanderer.subject}, content=LIST)
    assert (elsewhere.status, elsewhere.pointers) == (
        422,
        ["/content/sections/0/rows/0/description"],
    ), "Telegram shows none"


def test_a_press_is_answered_where_the_channel_can(world: ApiWorld, ada: Person) -> None:
    """On that channel; but not marked as read, for there is no message. Another act is not answered."""
    press, account = wrote(ada, ada.tenant.account, "callback:4382", "telegram"), ada.tenant.account
    assert asked(world, ada, answer(ada, press)) == ("telegram", account)
    other = wrote(ada, account, "update:4382", "telegram")
    for refused in (answer(ada, press, content={"type": "read_mark"}), answer(ada, other)):
        assert (refused.status, refused.pointers) == (422, ["/reply_to"])


@pytest.mark.parametrize("made", ["callback:4382", f"postback:{'0' * 64}", f"referral:{'0' * 64}"])
def test_what_the_provider_has_no_message_for_is_not_answered(ada: Person, made: str) -> None:
    """422, for an answer and for a read mark."""
    message = wrote(ada, ada.tenant.account, made)
    for content in ({"type": "text", "text": "Ja"}, {"type": "read_mark"}):
        refused = answer(ada, message, content=content)
        assert (refused.status, refused.pointers) == (422, ["/reply_to"])
        assert made not in refused.raw.decode()
