"""Signing up outside the chat, from outside: what a token opens, for whom, how often, and what it never does."""

import time
from typing import Any

import orjson
import psycopg
import pytest

from deploy.settings import for_command
from deploy.setup import ProviderAccount, connect_account
from schemas import topics
from schemas.clock import now_ms
from schemas.entry_tokens import ALPHABET, make_token, token_hash
from tests.acceptance_instance import RunningInstance, call, topic_records, until
from tests.acceptance_quiet import await_quiet
from tests.signup_world import NOTICE_URL, SignUpForm, approve_texts, draft_of

QUESTION = "Möchten Sie Nachrichten"
OTHER = "obsthof"


@pytest.fixture(scope="module")
def form(instance: RunningInstance) -> SignUpForm:
    """A form of the sandbox."""
    approve_texts(instance)
    return SignUpForm.make(instance, campaign="herbst")


def wrote(instance: RunningInstance, text: str) -> tuple[str, str]:
    """Somebody new writes: number and subject."""
    number = instance.new_number()
    instance.write(number, text)
    return number, instance.subject_of(number)


def is_given(instance: RunningInstance, subject: str) -> None:
    """Wait until the subject's consent is there."""
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(subject))


def is_asked(instance: RunningInstance, number: str, subject: str) -> None:
    """The person gets the question in the chat; nothing is given, and no newsletter goes out."""
    until("the question", lambda: any(QUESTION in message["body"] for message in instance.phone(number)))
    until("the request", lambda: "ConsentRequested" in instance.consent_types(subject))
    assert "ConsentGiven" not in instance.consent_types(subject)
    is_refused(instance, number, subject, "no_consent")


def is_refused(instance: RunningInstance, number: str, subject: str, reason: str) -> None:
    """A newsletter to this person is refused, and does not reach the phone."""
    answer = instance.send(number, "Birnen, die niemand will", "newsletter")
    assert instance.item(subject, answer.body["message_id"], {"rejected"})["reason"] == reason
    assert all("niemand will" not in message["body"] for message in instance.phone(number))


def items(instance: RunningInstance, subject: str) -> list[dict[str, Any]]:
    """The history of consents."""
    found: list[dict[str, Any]] = instance.api("GET", f"/v1/subjects/{subject}/consents").body["items"]
    return found


def test_who_only_ticks_gets_nothing_and_is_nobody(instance: RunningInstance, form: SignUpForm) -> None:
    """One event under the opt-in's own random id, with nothing sealed; no message is asked for, no subject comes into being."""
    await_quiet(instance)  # others of before may still come into being
    known, sent = len(subjects_of(instance, topics.SUBSCRIPTIONS)), len(instance.record())
    before = subjects_of(instance, topics.CONSENTS)
    token = form.token()
    (optin,) = subjects_of(instance, topics.CONSENTS) - before
    found = [one for one in events_of(instance, topics.CONSENTS) if one["subject"] == optin]
    assert [one["type"] for one in found] == ["sealpost.optin.requested.v1"]
    assert "sealed" not in found[0]["data"]
    assert (found[0]["data"]["form"], found[0]["data"]["campaign"]) == (form.form, "herbst")
    number, _ = wrote(instance, "Guten Tag")
    await_quiet(instance)
    assert len(subjects_of(instance, topics.SUBSCRIPTIONS)) == known + 1, "more than the one who wrote"
    others = [message for message in instance.record()[sent:] if number not in str(message.get("to"))]
    assert not others
    assert token.encode() not in b"".join(one.value or b"" for one in all_records(instance, topics.CONSENTS))


def all_records(instance: RunningInstance, topic: str) -> list[Any]:
    """What lies in a topic."""
    return list(topic_records(instance.ready["kafka"], topic))


def events_of(instance: RunningInstance, topic: str) -> list[dict[str, Any]]:
    """Events of a topic."""
    return [orjson.loads(record.value) for record in all_records(instance, topic) if record.value]


def subjects_of(instance: RunningInstance, topic: str) -> set[str]:
    """Whom a topic speaks of."""
    return {event["subject"] for event in events_of(instance, topic)}


@pytest.mark.parametrize("words", ["Anmelden", "START"])
def test_who_only_writes_the_words_is_asked(instance: RunningInstance, words: str) -> None:
    """Without a token the chat asks first."""
    number, subject = wrote(instance, words)
    is_asked(instance, number, subject)


def test_a_token_is_found_in_a_sentence_in_any_spelling(instance: RunningInstance, form: SignUpForm) -> None:
    """Lower case, another hyphen, words around it."""
    token = form.token().lower().replace("-", "–")
    _, subject = wrote(instance, f"Hallo, hier bin ich ({token}), liebe Grüße")
    is_given(instance, subject)
    assert [item["type"] for item in items(instance, subject)] == [
        "OptInRequested", "OptInConfirmed", "ConsentGiven",
    ]  # fmt: skip


def test_a_token_opens_once_and_only_for_the_first(instance: RunningInstance, form: SignUpForm) -> None:
    """Another person with the same token is asked in the chat; the first one's consent stands."""
    token = form.tick()
    first_number, first = wrote(instance, token)
    is_given(instance, first)
    number, subject = wrote(instance, token)
    is_asked(instance, number, subject)
    accepted = instance.send(first_number, "Birnen sind da", "newsletter")
    instance.item(first, accepted.body["message_id"], {"sent", "delivered", "read"})


def edited(token: str) -> str:
    """One character of it is another."""
    place = ALPHABET.index(token[6])
    return token[:6] + ALPHABET[(place + 1) % len(ALPHABET)] + token[7:]


def test_an_edited_token_and_one_made_up_lead_to_the_question(
    instance: RunningInstance, form: SignUpForm
) -> None:
    for token in (edited(form.token()), make_token()):
        number, subject = wrote(instance, token)
        is_asked(instance, number, subject)


def test_the_token_of_an_ended_form_leads_to_the_question(instance: RunningInstance) -> None:
    """What was ticked there counts no more, as when the seven days are over; the page is gone."""
    approve_texts(instance)
    short = SignUpForm.make(instance)
    token = short.tick()
    short.end()
    number, subject = wrote(instance, token)
    is_asked(instance, number, subject)
    until("the end of the form", lambda: short.offer().status == 404)


def test_a_token_whose_seven_days_are_over_leads_to_the_question(
    instance: RunningInstance, form: SignUpForm
) -> None:
    """Its end is moved to a moment ago."""
    token = form.token()
    with psycopg.connect(instance.ready["vault_dsn"]) as connection:
        moved = connection.execute(
            "update vault.entry_tokens set expires_ms = %s where hash = %s", [now_ms() - 1, token_hash(token)]
        )
        assert moved.rowcount == 1
    number, subject = wrote(instance, token)
    is_asked(instance, number, subject)


def test_another_tenants_token_leads_to_the_question(instance: RunningInstance) -> None:
    """It opens nothing here, and stays unused there."""
    other = other_tenant(instance)
    number, subject = wrote(instance, other.tick())
    is_asked(instance, number, subject)


def other_tenant(instance: RunningInstance) -> SignUpForm:
    """A second business of this installation, with a form of its own."""
    registered = instance.api("POST", "/v1/tenants", "admin", {"id": OTHER, "name": "Obsthof"})
    assert registered.status == 201, registered
    officer, api = registered.body["tokens"]["officer"], instance.ready["api_url"]
    assert instance.api("POST", f"/v1/tenants/{OTHER}/dpa", "admin", {"version": "1"}).status == 202
    account = ProviderAccount(
        OTHER, "whatsapp", "obsthof-whatsapp", "200000000000002", "s" * 32, "v" * 32, "a" * 32,
        instance.whatsapp["simulator_url"], handle="4940000000",
    )  # fmt: skip
    connect_account(for_command(instance.data), account)
    for kind, reference in (("notice", "privacy/1/de"), ("text", "signup/1/de")):
        wanted = {"kind": kind, "reference": reference}
        approved = call("POST", f"{api}/v1/wordings/approval", token=officer, body=wanted)
        assert approved.status == 200, approved
    made = call("POST", f"{api}/v1/forms", token=officer, body={"purposes": ["newsletter"]})
    assert made.status == 201, made
    assert made.body["missing"] is None
    return SignUpForm(instance, OTHER, made.body["form"])


def test_an_old_token_revives_nothing_after_stop(instance: RunningInstance, form: SignUpForm) -> None:
    """STOP withdraws; the same token again only leads to the question."""
    token = form.tick()
    number, subject = wrote(instance, token)
    is_given(instance, subject)
    instance.write(number, "STOPP")
    until("the withdrawal", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    instance.write(number, token)
    until("the question", lambda: any(QUESTION in message["body"] for message in instance.phone(number)))
    assert instance.consent_types(subject).count("ConsentGiven") == 1
    is_refused(instance, number, subject, "consent_withdrawn")


def test_a_token_ticked_before_stop_and_sent_after_it_does_not_sign_up(
    instance: RunningInstance, form: SignUpForm
) -> None:
    """The withdrawal is later than the tick: what she writes now is a START."""
    late = form.tick()
    number, subject = wrote(instance, form.tick())
    is_given(instance, subject)
    instance.write(number, "STOPP")
    until("the withdrawal", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    instance.write(number, late)
    until("the question", lambda: any(QUESTION in message["body"] for message in instance.phone(number)))
    assert instance.consent_types(subject).count("ConsentGiven") == 1
    is_refused(instance, number, subject, "consent_withdrawn")


def test_a_link_of_a_campaign_asks_in_the_chat(instance: RunningInstance) -> None:
    """As often as it is followed; the proof names link and campaign, and a yes gives the consent."""
    body = {"account": instance.whatsapp["account"], "campaign": "plakat"}
    made = instance.api("POST", "/v1/links", "officer", body)
    assert made.status == 201, made
    assert made.body["qr_svg"].startswith("<svg")
    followed = [wrote(instance, draft_of(made.body["url"])) for _ in range(2)]
    for number, subject in followed:
        is_asked(instance, number, subject)
        requested = items(instance, subject)[0]
        assert (requested["entry_point"], requested["link"], requested["campaign"]) == (
            "link", made.body["link"], "plakat",
        )  # fmt: skip
    number, subject = followed[0]
    instance.write(number, "JA")
    is_given(instance, subject)


def test_a_businesss_own_form_signs_up_when_the_person_writes(instance: RunningInstance) -> None:
    """The API carries text, notice and time; nothing is given before the person has written."""
    approve_texts(instance)
    shown_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = {
        "purposes": ["newsletter"], "text": {"id": "signup", "version": 1, "language": "de"}, "notice": "privacy/1/de",
        "shown_at": shown_at, "language": "de",
    }  # fmt: skip
    made = instance.api("POST", "/v1/optins", "producer", body)
    assert made.status == 201, made
    number, subject = wrote(instance, draft_of(made.body["links"][0]["url"]))
    is_given(instance, subject)
    requested, _, given = items(instance, subject)
    assert requested["acted_at"][:19] == shown_at[:19]
    assert (given["entry_point"], given["optin"]) == ("api", made.body["optins"][0])
    until("the welcome", lambda: instance.phone(number))
    assert instance.phone(number)[0]["body"].count(NOTICE_URL) == 1


def test_the_business_records_a_withdrawal(instance: RunningInstance, form: SignUpForm) -> None:
    """By letter or at the counter: it holds from the answer on."""
    number, subject = wrote(instance, form.tick())
    is_given(instance, subject)
    body = {"channel": "whatsapp", "purpose": "newsletter"}
    answer = instance.api("POST", f"/v1/subjects/{subject}/withdrawals", "agent", body)
    assert answer.status == 202, answer
    is_refused(instance, number, subject, "consent_withdrawn")
