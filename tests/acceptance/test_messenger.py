"""The way over Messenger, from outside: a page is connected by the command line, a person walks the double opt-in on it."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.http_client import call
from schemas.clock import now_ms
from schemas.ids import random_id
from tests.acceptance_instance import (
    RunningInstance,
    TopicRecord,
    post_raw,
    signature,
    topic_records,
    until,
)
from tests.simulator_thread import SimulatorThread
from workers import registry
from workers.simulator import SimulatedAccount, SimulatorSettings

PAGE = SimulatedAccount("1234567890", "1234567890", "page token")
CONNECTION, APP_SECRET, VERIFY_TOKEN = "backhaus-page", random_id(), random_id()
SEALPOST = str(Path(sys.executable).with_name("sealpost"))


@dataclass
class Messenger:
    """The simulated provider, a page of which is connected to the running instance."""

    instance: RunningInstance
    url: str
    webhook_url: str

    def person_writes(self, person: str, **said: Any) -> None:
        """The webhook must be taken."""
        answer = call("POST", f"{self.url}/control/inbound", body={"from": person, **said})
        assert answer.status == 200, answer

    def phone(self, person: str) -> list[str]:
        """What the provider accepted for this person, in order."""
        answer = call("GET", f"{self.url}/control/messages?to={person}")
        return [message["body"] for message in answer.body["messages"]]

    def subject_of(self, person: str) -> str:
        """Wait until the person has a subject."""
        return self.instance.subject_of(person, "messenger")

    def send(self, person: str, text: str, purpose: str) -> str:
        """The business asks for a text; the message's id."""
        answer = self.instance.send(person, text, purpose, channel="messenger")
        assert answer.status == 202, answer
        return str(answer.body["message_id"])


def connect(instance: RunningInstance, api_url: str) -> str:
    """As an operator does; the path of the webhook."""
    options = {
        "--connection": CONNECTION, "--account": PAGE.provider_account_id, "--app-secret": APP_SECRET,
        "--verify-token": VERIFY_TOKEN, "--access-token": PAGE.access_token, "--api-url": api_url,
        "--data": str(instance.data),
    }  # fmt: skip
    command = [SEALPOST, "tenant", "connect", instance.ready["tenant"], "messenger"]
    command += [word for option in options.items() for word in option]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return done.stdout.decode().strip().removeprefix("webhook path: ")


@pytest.fixture(scope="module")
def messenger(instance: RunningInstance) -> Iterator[Messenger]:
    """The simulator in a thread of its own, and its page connected."""
    receiver = instance.whatsapp["webhook_url"].split("/webhooks/")[0]
    webhook_url = f"{receiver}/webhooks/messenger/{CONNECTION}"
    settings = SimulatorSettings(webhook_url, APP_SECRET, (PAGE,))
    provider = SimulatorThread(registry.simulator("messenger"), settings)
    try:
        assert webhook_url == receiver + connect(instance, f"{provider.base}/v25.0")
        yield Messenger(instance, provider.base, webhook_url)
    finally:
        provider.close()


def test_start_ja_service_message_stop(messenger: Messenger) -> None:
    """START → question with notice link; JA → welcome and consent; newsletter and service text arrive; STOPP → no more."""
    instance, person = messenger.instance, "5678901234567890"
    messenger.person_writes(person, text="START")
    question = until("the question", lambda: messenger.phone(person))[0]
    assert "https://" in question
    assert "JA" in question
    messenger.person_writes(person, text="JA")
    until("the welcome", lambda: len(messenger.phone(person)) == 2)
    subject = messenger.subject_of(person)
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(subject))

    for text, purpose in (("Neues aus dem Laden", "newsletter"), ("Ihr Brot ist fertig", "service")):
        message = messenger.send(person, text, purpose)
        instance.item(subject, message, {"delivered"})
        assert messenger.phone(person)[-1] == text
    messenger.person_writes(person, text="STOPP")
    until("the confirmation", lambda: "abgemeldet" in messenger.phone(person)[-1])
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    refused = messenger.send(person, "Noch eins", "newsletter")
    assert instance.item(subject, refused, {"rejected"})["reason"] == "consent_withdrawn"
    assert "Noch eins" not in messenger.phone(person)


def test_the_echo_settles_a_send_whose_answer_was_lost(messenger: Messenger) -> None:
    """The provider took the text and cut the connection: its echo carries our id, and the text goes out once."""
    instance, person = messenger.instance, "5678901234567891"
    messenger.person_writes(person, text="Guten Tag")
    subject = messenger.subject_of(person)
    fault = {"to": person, "next": 1, "drop": "after"}
    assert call("POST", f"{messenger.url}/control/faults", body=fault).status == 200
    message = messenger.send(person, "Einmal", "service")
    instance.item(subject, message, {"sent", "delivered"})
    assert messenger.phone(person) == ["Einmal"]


def test_a_button_and_a_link_are_acts_of_the_person(messenger: Messenger) -> None:
    """STOP on a button withdraws; a click on a link with a token opens the window without a word."""
    instance, person = messenger.instance, "5678901234567892"
    messenger.person_writes(person, ref="t0k3n")
    subject = messenger.subject_of(person)
    instance.item(subject, messenger.send(person, "Willkommen", "service"), {"delivered"})
    messenger.person_writes(person, button={"id": "stop", "title": "STOP"})
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))


def test_every_webhook_counts_once_however_often_and_in_whatever_order(messenger: Messenger) -> None:
    """Alone and in batches, three times each: a message of the person for each act of hers, and no dead letter."""
    instance, person = messenger.instance, "5678901234567893"
    acts: list[dict[str, Any]] = [
        {"message": {"mid": "m_a", "text": "Hallo"}},
        {"message": {"mid": "m_b", "text": "Ja bitte", "quick_reply": {"payload": "p"}}},
        {"message": {"mid": "m_c", "attachments": [{"type": "image", "payload": {"url": "https://x/y"}}]}},
        {"message": {"mid": "m_a", "is_deleted": True}},
        {"postback": {"title": "Los", "payload": "go"}},
        {"referral": {"ref": "t0k3n", "source": "SHORTLINK", "type": "OPEN_THREAD"}},
        {"reaction": {"mid": "m_x", "action": "react", "emoji": "👍", "reaction": "other"}},
        {"message_edit": {"mid": "m_a", "text": "Hallo!", "num_edit": 1}},
    ]
    others: list[dict[str, Any]] = [
        {"read": {"watermark": 1}},
        {"delivery": {"mids": ["m_y", "m_z"], "watermark": 1}},
        {"optin": {"type": "notification_messages", "notification_messages_token": "1"}},
        {"something_new": {"a": 1}},
    ]
    around = {"sender": {"id": person}, "recipient": {"id": PAGE.provider_account_id}}
    at_ms = now_ms()
    elements = [{**around, "timestamp": at_ms + n, **part} for n, part in enumerate(acts + others)]
    bodies = [[one] for one in elements] * 2 + [elements[:7], elements[7:]]
    letters = len(dead_letters(instance))
    random.Random(7).shuffle(bodies)
    for listed in bodies:
        entry = {"id": PAGE.provider_account_id, "time": at_ms, "messaging": listed}
        body = json.dumps({"object": "page", "entry": [entry]}).encode()
        assert post_raw(messenger.webhook_url, body, signature(APP_SECRET, body)) == 200
    subject = messenger.subject_of(person)

    def items() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = instance.api("GET", f"/v1/subjects/{subject}/messages").body["items"]
        return found

    until("all acts", lambda: len(items()) >= len(acts))
    messenger.person_writes(person, text="Ende")
    until("the last one", lambda: any("Ende" in str(item) for item in items()))
    assert len(items()) == len(acts) + 1
    assert len(dead_letters(instance)) == letters


def dead_letters(instance: RunningInstance) -> list[TopicRecord]:
    """Everything that could not be read."""
    return topic_records(instance.ready["kafka"], "sealpost.deadletters")


def test_the_handshake(messenger: Messenger) -> None:
    """Meta asks once, with the verify token, before it sends anything."""
    query = f"hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}&hub.challenge=1158201444"
    answer = call("GET", f"{messenger.webhook_url}?{query}")
    assert (answer.status, str(answer.body)) == (200, "1158201444")
    assert call("GET", f"{messenger.webhook_url}?{query.replace(VERIFY_TOKEN, 'x')}").status == 403
