"""What became of a message, asked by its id, and what happened to a person: read models, claims and consents together."""

from typing import Any

import pytest

from projections.api.timelines import CONSENT_WORDS
from schemas import topics
from schemas.clock import month_of_ms, now_ms, to_text, today
from schemas.events import consents, messages, registry, statuses
from schemas.ids import message_id, random_id, random_token
from tests.api_world import CHANNEL, ApiWorld, Person, Reply, Tenant
from vault.permits import PermitRequest, Refusal


def asked_for(person: Person, purpose: str) -> str:
    """MessageRequested is in the log; the message's id."""
    message = message_id(today(), b"k", random_id(), "test", "asked")
    data = messages.MessageRequested(
        message=message,
        account=person.tenant.account,
        purpose=purpose,
        kind="text",
        delivery="at_least_once",
        expires=to_text(now_ms() + 600_000),
    )
    person.tenant.world.produce(person.event(data, {"content": {"type": "text", "text": "Birnen"}}))
    return message


def gate(person: Person, message: str, purpose: str) -> object:
    """The gate is asked once."""
    request = PermitRequest(
        tenant=person.tenant.name,
        subject=person.subject,
        message=message,
        part=0,
        account=person.tenant.account,
        channel=CHANNEL,
        purpose=purpose,
        kind="free_form",
        requested_at_ms=now_ms(),
        expires_ms=now_ms() + 600_000,
        delivery="at_least_once",
        token=random_token(),
        content_gen=month_of_ms(now_ms()),
    )
    return person.tenant.world.vault.permits([request])[0]


def explained(tenant: Tenant, message: str, role: str = "agent") -> Reply:
    """The answer."""
    return tenant.call("GET", f"/v1/messages/{message}/explanation", role)


@pytest.fixture
def person(tenant: Tenant) -> Person:
    """Somebody who has written."""
    made = tenant.person()
    made.introduce()
    return made


def test_a_message_that_waits(tenant: Tenant, person: Person) -> None:
    body = explained(tenant, asked_for(person, "service")).body
    assert (body["status"], body["direction"], body["subject"]) == ("requested", "out", person.subject)
    assert body["verdict"].startswith("Not sent yet; it was asked for ")
    assert [step["words"] for step in body["steps"]] == [
        "A text for the purpose service was asked for, over whatsapp."
    ]


def test_a_refusal_names_the_withdrawal(tenant: Tenant, person: Person) -> None:
    """The gate's own claim, the person's own act."""
    given = person.sign_up("JA")
    withdrawn = consents.ConsentWithdrawn(
        purpose="newsletter",
        method="keyword",
        acted_at=to_text(given.at_ms() + 1),
    )
    tenant.world.produce(person.event(withdrawn, {}))
    message = asked_for(person, "newsletter")
    person.until("/consents", lambda body: len(body["items"]) > 1)
    answer = gate(person, message, "newsletter")
    assert isinstance(answer, Refusal)
    rejected = statuses.MessageRejected(
        message=message, account=tenant.account, reason="consent_withdrawn", acted_at=to_text(now_ms())
    )
    tenant.world.produce(person.event(rejected, {}))
    person.until("/messages", lambda body: body["items"] and body["items"][-1]["status"] == "rejected")
    body = explained(tenant, message, "producer").body
    assert body["verdict"].startswith("Not sent: consent for newsletter withdrawn on ")
    assert body["verdict"].endswith(" by a keyword in the chat.")
    assert body["steps"][1]["words"].startswith("The gate refused it. (")


def test_nothing_of_other_tenants_of_nobody_and_of_the_erased(
    world: ApiWorld, tenant: Tenant, person: Person
) -> None:
    message = asked_for(person, "service")
    assert explained(tenant, message).status == 200
    assert explained(world.tenant(), message).status == 404
    assert explained(tenant, random_id()).status == 404
    assert explained(tenant, "nonsense").status == 404
    assert explained(tenant, message, "legal").status == 403
    assert tenant.call("POST", f"/v1/subjects/{person.subject}/erasure", "officer").status == 202
    person.until("", lambda body: body["state"] == "erased")
    reply = explained(tenant, message)
    # Once every store is clean nothing knows any more whose it was.
    assert reply.status == 404 or reply.body["steps"] == []


def words_of(body: Any, kind: str) -> list[str]:
    """What a timeline says of one kind."""
    return [item["words"] for item in body["items"] if item["kind"] == kind]


def test_a_timeline_from_the_first_word_to_the_erasure(tenant: Tenant, person: Person) -> None:
    """In order, in words, without a word that was said; of the erased only the erasure."""
    person.sign_up("JA")
    message = asked_for(person, "newsletter")
    person.write("Sind Birnen da?")
    body = person.until("/timeline", lambda found: len(words_of(found, "message")) >= 2)
    assert [item["at"] for item in body["items"]] == sorted(item["at"] for item in body["items"])
    assert "Consent to newsletter is given." in words_of(body, "consent")
    assert words_of(body, "subject") == ["The person wrote for the first time."]
    assert message in [item.get("name") for item in body["items"]]
    assert "Birnen" not in str(body)
    assert person.address.value not in str(body)
    assert tenant.call("GET", f"/v1/subjects/{person.subject}/timeline", "producer").status == 403
    assert tenant.call("GET", f"/v1/subjects/{random_id()}/timeline", "agent").status == 404
    assert tenant.call("POST", f"/v1/subjects/{person.subject}/erasure", "officer").status == 202
    body = person.until("/timeline", lambda found: len(words_of(found, "erasure")) >= 2)
    assert {item["kind"] for item in body["items"]} == {"erasure"}
    assert words_of(body, "erasure")[0] == "Their erasure was asked for by officer."
    assert "Their keys were destroyed: nobody can read their data again." in words_of(body, "erasure")


def test_every_consent_event_has_its_words() -> None:
    """A type that is added without a sentence fails here."""
    assert set(CONSENT_WORDS) == {
        model.__name__ for model, topic in registry.TOPIC_OF.items() if topic == topics.CONSENTS
    }
