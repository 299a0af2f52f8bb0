"""The way over Messenger and Instagram, from outside: an account is connected by the command line, a person walks the double
opt-in on it.
"""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.clock import now_ms
from schemas.ids import random_id
from tests.acceptance_instance import (
    CLI_LIMIT_S,
    RunningInstance,
    TopicRecord,
    call,
    post_raw,
    signature,
    topic_records,
    until,
)
from tests.acceptance_quiet import await_quiet
from tests.simulator_thread import SimulatorThread
from tests.unit.channels.meta_payloads import FIXTURES, NO_FIXTURES
from workers import registry
from workers.channel import UnparseableFragment
from workers.inbound_values import InboundEntry, InboundMessage
from workers.simulator import SimulatedAccount, SimulatorSettings

ACCOUNTS = {
    "messenger": ("page", SimulatedAccount("1234567890", "1234567890", "page token")),
    "instagram": ("instagram", SimulatedAccount("17841400000000001", "backhaus_berlin", "account token")),
}
"""Channel → what its webhooks call it, and our account there."""
APP_SECRET, VERIFY_TOKEN = random_id(), random_id()
SEALPOST = str(Path(sys.executable).with_name("sealpost"))


@dataclass
class Platform:
    """The simulated provider, an account of which is connected to the running instance."""

    instance: RunningInstance
    channel: str
    url: str
    webhook_url: str

    @property
    def account(self) -> SimulatedAccount:
        """Ours."""
        return ACCOUNTS[self.channel][1]

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
        return self.instance.subject_of(person, self.channel)

    def send(self, person: str, text: str, purpose: str) -> str:
        """The business asks for a text; the message's id."""
        answer = self.instance.send(person, text, purpose, channel=self.channel)
        assert answer.status == 202, answer
        return str(answer.body["message_id"])


def connect(instance: RunningInstance, channel: str, api_url: str) -> str:
    """As an operator does; the path of the webhook."""
    account = ACCOUNTS[channel][1]
    options = {
        "--connection": f"backhaus-{channel}", "--account": account.provider_account_id, "--app-secret": APP_SECRET,
        "--verify-token": VERIFY_TOKEN, "--access-token": account.access_token, "--api-url": api_url,
        "--data": str(instance.data),
    }  # fmt: skip
    command = [SEALPOST, "tenant", "connect", instance.ready["tenant"], channel]
    command += [word for option in options.items() for word in option]
    done = subprocess.run(command, capture_output=True, timeout=CLI_LIMIT_S, check=True)
    return done.stdout.decode().strip().removeprefix("webhook path: ")


@pytest.fixture(scope="module", params=sorted(ACCOUNTS))
def platform(instance: RunningInstance, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """The simulator in a thread of its own, and its account connected."""
    channel = str(request.param)
    receiver = instance.whatsapp["webhook_url"].split("/webhooks/")[0]
    webhook_url = f"{receiver}/webhooks/{channel}/backhaus-{channel}"
    settings = SimulatorSettings(webhook_url, APP_SECRET, (ACCOUNTS[channel][1],))
    provider = SimulatorThread(registry.simulator(channel), settings)
    try:
        assert webhook_url == receiver + connect(instance, channel, f"{provider.base}/v25.0")
        yield Platform(instance, channel, provider.base, webhook_url)
        await_quiet(instance)  # a message on its way would be tried again in the files after
    finally:
        provider.close()


def test_start_ja_service_message_stop(platform: Platform) -> None:
    """START → question with notice link; JA → welcome and consent; newsletter and service text arrive; STOPP → no more."""
    instance, person = platform.instance, "5678901234567890"
    platform.person_writes(person, text="START")
    question = until("the question", lambda: platform.phone(person))[0]
    assert "https://" in question
    assert "JA" in question
    platform.person_writes(person, text="JA")
    until("the welcome", lambda: len(platform.phone(person)) == 2)
    subject = platform.subject_of(person)
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(subject))

    for text, purpose in (("Neues aus dem Laden", "newsletter"), ("Ihr Brot ist fertig", "service")):
        message = platform.send(person, text, purpose)
        instance.item(subject, message, {"delivered", "read"})
        assert platform.phone(person)[-1] == text
    platform.person_writes(person, text="STOPP")
    until("the confirmation", lambda: "abgemeldet" in platform.phone(person)[-1])
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    refused = platform.send(person, "Noch eins", "newsletter")
    assert instance.item(subject, refused, {"rejected"})["reason"] == "consent_withdrawn"
    assert "Noch eins" not in platform.phone(person)


def test_the_echo_settles_a_send_whose_answer_was_lost(platform: Platform) -> None:
    """The provider took the text and cut the connection: its echo carries our id, and the text goes out once."""
    instance, person = platform.instance, "5678901234567891"
    platform.person_writes(person, text="Guten Tag")
    subject = platform.subject_of(person)
    fault = {"to": person, "next": 1, "drop": "after"}
    assert call("POST", f"{platform.url}/control/faults", body=fault).status == 200
    message = platform.send(person, "Einmal", "service")
    instance.item(subject, message, {"sent", "delivered", "read"})
    assert platform.phone(person) == ["Einmal"]


def test_a_link_opens_the_conversation_without_a_word(platform: Platform) -> None:
    """A click on a link with a token, in a thread that exists: the person is known and can be written to."""
    instance, person = platform.instance, "5678901234567892"
    platform.person_writes(person, ref="t0k3n")
    subject = platform.subject_of(person)
    instance.item(subject, platform.send(person, "Willkommen", "service"), {"delivered", "read"})


def test_a_button_is_an_act_of_the_person(platform: Platform) -> None:
    """STOP on a button withdraws, whatever link it came with."""
    instance, person = platform.instance, "5678901234567895"
    platform.person_writes(person, button={"id": "stop", "title": "STOP"}, ref="t0k3n")
    subject = platform.subject_of(person)
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))


def test_a_stop_in_another_apps_thread_withdraws(platform: Platform) -> None:
    """Another app has the conversation; the person's words are hers all the same."""
    instance, person = platform.instance, "5678901234567894"
    platform.person_writes(person, text="START")
    until("the question", lambda: platform.phone(person))
    platform.person_writes(person, quick_reply={"id": "yes", "title": "JA"})
    subject = platform.subject_of(person)
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(subject))
    platform.person_writes(person, text="STOP", standby=True)
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))


def test_every_webhook_counts_once_however_often_and_in_whatever_order(platform: Platform) -> None:
    """Alone and in batches, three times each: a message of the person for each that she sent, and no dead letter."""
    instance, person, account = platform.instance, "5678901234567893", platform.account.provider_account_id
    messages: list[dict[str, Any]] = [
        {"message": {"mid": "m_a", "text": "Hallo"}},
        {"message": {"mid": "m_b", "text": "Ja bitte", "quick_reply": {"payload": "p"}}},
        {"message": {"mid": "m_c", "attachments": [{"type": "image", "payload": {"url": "https://x/y"}}]}},
        {"message": {"mid": "m_d", "attachments": [{"type": "like_heart"}]}},
        {"message": {"mid": "m_e", "attachments": [{"type": "something_new"}]}},
        {"postback": {"title": "Los", "payload": "go", "referral": {"ref": "t0k3n"}}},
    ]
    others: list[dict[str, Any]] = [
        {"message": {"mid": "m_a", "is_deleted": True}},
        {"message_edit": {"mid": "m_b", "text": "Nein", "num_edit": 1}},
        {"reaction": {"mid": "m_c", "action": "react", "emoji": "👍", "reaction": "other"}},
        {"read": {"watermark": 1}},
        {"read": {"mid": "m_z"}},
        {"delivery": {"mids": ["m_y", "m_z"], "watermark": 1}},
        {"optin": {"type": "notification_messages", "notification_messages_token": "1"}},
        {"something_new": {"a": 1}},
    ]
    around = {"sender": {"id": person}, "recipient": {"id": account}}
    at_ms = now_ms()
    elements = [{**around, "timestamp": at_ms + n, **part} for n, part in enumerate(messages + others)]
    bodies = [[one] for one in elements] * 2 + [elements[:7], elements[7:]]
    letters = len(dead_letters(instance))
    random.Random(7).shuffle(bodies)
    for listed in bodies:
        entry = {"id": account, "time": at_ms, "messaging": listed}
        body = json.dumps({"object": ACCOUNTS[platform.channel][0], "entry": [entry]}).encode()
        assert post_raw(platform.webhook_url, body, signature(APP_SECRET, body)) == 200
    subject = platform.subject_of(person)

    def written() -> list[dict[str, Any]]:
        answer = instance.api("GET", f"/v1/subjects/{subject}/messages?limit=500")
        items = answer.body["items"] if answer.status == 200 else []
        return [item for item in items if item["direction"] == "in"]

    until("all messages", lambda: len(written()) >= len(messages))
    platform.person_writes(person, text="Ende")
    until("the last one", lambda: any("Ende" in str(item) for item in written()))
    assert len(written()) == len(messages) + 1
    assert len(dead_letters(instance)) == letters


def ours(webhook: dict[str, Any], account: str) -> dict[str, Any]:
    """A webhook with our account in place of the one it was for."""
    for entry in webhook["entry"]:
        entry["id"] = account
        for element in [*entry.get("messaging", []), *entry.get("standby", [])]:
            side = "sender" if element.get("message", {}).get("is_echo") else "recipient"
            element[side] = {"id": account}
    return webhook


def facts_in(platform: Platform, webhooks: list[dict[str, Any]]) -> set[str]:
    """The provider's ids of everything that people wrote, or came by."""
    channel, found = registry.channel(platform.channel), set()
    for webhook in webhooks:
        for fragment in channel.split(json.dumps(webhook).encode()):
            try:
                values = channel.parse(fragment.raw)
            except UnparseableFragment as error:
                if error.why != "no_address":
                    raise
                continue
            found |= {one.provider_id for one in values if isinstance(one, InboundMessage | InboundEntry)}
    return found


def received(platform: Platform) -> list[str]:
    """Ids of everything that people wrote on this channel, as the log has it."""
    records = topic_records(platform.instance.ready["kafka"], "sealpost.messages")
    events = [json.loads(record.value or b"{}") for record in records]
    return [
        event["id"]
        for event in events
        if (event.get("type"), event.get("channel")) == ("sealpost.message.received.v1", platform.channel)
    ]


@pytest.mark.skipif(not FIXTURES.exists(), reason=NO_FIXTURES)
def test_real_webhooks_say_each_fact_once(platform: Platform) -> None:
    """For our account, alone and in one batch, three times, in random order: each fact once, and no dead letter but what its
    author marks so."""
    paths = [p for p in FIXTURES.glob(f"{platform.channel}-*.json") if "-error-" not in p.name]
    fixtures = [json.loads(path.read_bytes()) for path in sorted(paths)]
    good = [one["payload"] for one in fixtures if not one["expect"].get("reject")]
    object_word, account = ACCOUNTS[platform.channel][0], platform.account.provider_account_id
    whole = [ours(one, account) for one in good if isinstance(one, dict) and one.get("object") == object_word]
    assert whole
    batch = {"object": object_word, "entry": [entry for one in whole for entry in one["entry"]]}
    bodies = [json.dumps(one).encode() for one in [*good, *whole, batch]] * 3
    random.Random(9).shuffle(bodies)
    letters, before = len(dead_letters(platform.instance)), set(received(platform))
    for body in bodies:
        assert post_raw(platform.webhook_url, body, signature(APP_SECRET, body)) == 200
    facts = facts_in(platform, whole)
    until("all are read", lambda: len(set(received(platform)) - before) >= len(facts))
    await_quiet(platform.instance)
    new = [one for one in received(platform) if one not in before]
    assert len(new) == len(set(new)) == len(facts)
    assert len(dead_letters(platform.instance)) == letters


def dead_letters(instance: RunningInstance) -> list[TopicRecord]:
    """Everything that could not be read."""
    return topic_records(instance.ready["kafka"], "sealpost.deadletters")


def test_the_handshake(platform: Platform) -> None:
    """Meta asks once, with the verify token, before it sends anything."""
    query = f"hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}&hub.challenge=1158201444"
    answer = call("GET", f"{platform.webhook_url}?{query}")
    assert (answer.status, str(answer.body)) == (200, "1158201444")
    assert call("GET", f"{platform.webhook_url}?{query.replace(VERIFY_TOKEN, 'x')}").status == 403
