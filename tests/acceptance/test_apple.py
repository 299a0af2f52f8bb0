"""The double opt-in over Apple Messages, from outside: a business is connected as a tenant would connect it."""

import gzip
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import orjson
import pytest

from deploy.http_client import Answer
from schemas import clock
from tests.acceptance_instance import CLI_LIMIT_S, RunningInstance, call, until
from tests.acceptance_marker import everywhere, needles
from tests.acceptance_quiet import await_quiet
from tests.simulator_thread import SimulatorThread
from tests.unit.channels.apple_payloads import BUSINESS, FIXTURES, KEY, MSP_ID, NO_FIXTURES, SECRET, message
from workers.channels.apple import simulator, wire
from workers.simulator import SimulatedAccount, SimulatorSettings

SEALPOST = str(Path(sys.executable).with_name("sealpost"))
OPT_IN = ["OptInRequested", "ConsentRequested", "ConfirmationSent", "OptInConfirmed", "ConsentGiven"]
CONNECTION = "sandbox-apple"


class Gateway(SimulatorThread):
    """Apple's simulated gateway with one business, and the people who use it."""

    def __init__(self, instance: RunningInstance) -> None:
        self.instance = instance
        self.webhook_url = f"{instance.ready['receiver_url']}/webhooks/apple/{CONNECTION}"
        account = SimulatedAccount(BUSINESS, BUSINESS, f"{MSP_ID}:{SECRET}")
        super().__init__(simulator.serve, SimulatorSettings(self.webhook_url, SECRET, (account,)))

    def act(self, person: str, **body: Any) -> None:
        """A person does something; the webhook must be taken."""
        answer = call("POST", f"{self.base}/control/inbound", body={"from": person, **body})
        assert answer.status < 300, answer

    def messages(self, person: str) -> list[dict[str, Any]]:
        """What reached a person."""
        answer = call("GET", f"{self.base}/control/messages?to={quote(person, safe='')}")
        found: list[dict[str, Any]] = answer.body["messages"]
        return found

    def phone(self, person: str) -> list[str]:
        """The texts of it."""
        return [one["body"] for one in self.messages(person)]

    def subject_of(self, person: str) -> str:
        """Wait until the person has a subject."""
        return self.instance.subject_of(person, "apple")

    def send(self, person: str, text: str, purpose: str = "service") -> Answer:
        """The business asks for a text."""
        return self.instance.send(person, text, purpose, channel="apple")

    def sign_up(self, person: str) -> str:
        """Walk the double opt-in; the subject."""
        self.act(person, text="START")
        until("the question", lambda: self.phone(person))
        self.act(person, text="JA")
        until("the welcome", lambda: len(self.phone(person)) == 2)
        return self.subject_of(person)

    def connect(self) -> subprocess.CompletedProcess[bytes]:
        """Make the business an account of the sandbox tenant."""
        secrets = {
            "SEALPOST_APP_SECRET": SECRET,
            "SEALPOST_VERIFY_TOKEN": "unused",
            "SEALPOST_ACCESS_TOKEN": f"{MSP_ID}:{SECRET}",
        }
        command = (
            SEALPOST, "tenant", "connect", "sandbox", "apple", "--connection", CONNECTION, "--account", BUSINESS,
            "--app-id", MSP_ID, "--api-url", f"{self.base}/v1", "--data", str(self.instance.data),
        )  # fmt: skip
        return subprocess.run(
            command, env=os.environ | secrets, capture_output=True, timeout=CLI_LIMIT_S, check=False
        )

    def texts_in(self, subject: str) -> list[str | None]:
        """What a person wrote, as the business reads it."""
        answer = self.instance.api("GET", f"/v1/subjects/{subject}/messages?limit=500")
        items = answer.body["items"] if answer.status == 200 else []
        return [item["text"] for item in items if item["direction"] == "in"]

    def post(self, body: bytes, key: bytes = KEY, **claims: Any) -> int:
        """A webhook of the provider's, as it stands; the HTTP status."""
        made = {"aud": MSP_ID, "iat": clock.now_ms() // clock.MS_PER_S, **claims}
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {wire.made_token(made, key)}",
        }
        try:
            asked = Request(self.webhook_url, data=body, headers=headers, method="POST")
            with urlopen(asked, timeout=60) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code

    def letters(self) -> int:
        """Dead letters of this channel."""
        command = [SEALPOST, "deadletters", "list", "--data", str(self.instance.data)]
        listed = subprocess.run(command, capture_output=True, timeout=CLI_LIMIT_S, check=True).stdout
        return listed.count(b"sealpost.inbound.apple")


@pytest.fixture(scope="module")
def gateway(instance: RunningInstance) -> Iterator[Gateway]:
    """One business of the sandbox tenant."""
    found = Gateway(instance)
    try:
        done = found.connect()
        assert done.returncode == 0, done.stderr.decode()
        assert f"/webhooks/apple/{CONNECTION}" in done.stdout.decode()
        yield found
        await_quiet(instance)  # a message on its way would be tried again in the files after
    finally:
        found.close()


def test_double_opt_in_service_message_and_stop(instance: RunningInstance, gateway: Gateway) -> None:
    """START → question with notice link; JA → consent with evidence, welcome; a newsletter and a service text go out without
    any status of the provider; STOP → withdrawn, confirmed, and no newsletter any more."""
    person = "urn:mbid:AQ/first+person="
    gateway.act(person, text="START", intent="campaign_7")
    question = until("the question", lambda: gateway.phone(person))[0]
    assert "https://" in question
    gateway.act(person, text="JA")
    until("the welcome", lambda: len(gateway.phone(person)) == 2)
    subject = gateway.subject_of(person)
    until("the history", lambda: set(OPT_IN) <= set(instance.consent_types(subject)))
    consents = instance.api("GET", f"/v1/subjects/{subject}/consents").body["items"]
    evidence = str(next(c for c in consents if c["type"] == "ConsentGiven")["evidence"])
    assert "JA" in evidence
    assert person in evidence

    for text, purpose in (("Neues aus dem Laden", "newsletter"), ("Ihre Bestellung ist da", "service")):
        accepted = gateway.send(person, text, purpose)
        instance.item(subject, accepted.body["message_id"], {"submitted"})
        assert gateway.phone(person)[-1] == text
    gateway.act(person, text="STOP")
    until("the confirmation", lambda: "abgemeldet" in gateway.phone(person)[-1])
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    refused = gateway.send(person, "Noch eins", "newsletter").body["message_id"]
    assert instance.item(subject, refused, {"rejected"})["reason"] == "consent_withdrawn"
    assert "Noch eins" not in gateway.phone(person)


def test_an_answer_that_comes_twice_says_yes_once(instance: RunningInstance, gateway: Gateway) -> None:
    """As Apple posts every pressed button; the evidence names what stood on it."""
    person = "urn:mbid:second"
    gateway.act(person, text="Subscribe")
    until("the question", lambda: gateway.phone(person))
    gateway.act(person, button={"id": "yes", "title": "YES"})
    until("the welcome", lambda: len(gateway.phone(person)) == 2)
    subject = gateway.subject_of(person)
    until("consent", lambda: "ConsentGiven" in instance.consent_types(subject))
    await_quiet(instance)
    assert instance.consent_types(subject).count("ConsentGiven") == 1
    assert len(gateway.texts_in(subject)) == 2
    assert len(gateway.phone(person)) == 2
    consents = instance.api("GET", f"/v1/subjects/{subject}/consents").body["items"]
    assert "YES" in str(next(c for c in consents if c["type"] == "ConsentGiven")["evidence"])


def test_closing_the_chat_withdraws_and_writing_again_gives_no_consent_back(
    instance: RunningInstance, gateway: Gateway
) -> None:
    """Others go on meanwhile."""
    person, other = "urn:mbid:third", "urn:mbid:fourth"
    subject, stays = gateway.sign_up(person), gateway.sign_up(other)
    gateway.act(person, event="closed")
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    refused = gateway.send(person, "Neues", "newsletter").body["message_id"]
    assert instance.item(subject, refused, {"rejected"})["reason"] == "unreachable"
    gateway.act(person, text="Hallo noch einmal")
    until("it is read", lambda: "Hallo noch einmal" in gateway.texts_in(subject))
    accepted = gateway.send(person, "Ihre Bestellung").body["message_id"]
    instance.item(subject, accepted, {"submitted"})
    refused = gateway.send(person, "Neues", "newsletter").body["message_id"]
    assert instance.item(subject, refused, {"rejected"})["reason"] == "consent_withdrawn"
    newsletter = gateway.send(other, "Neues", "newsletter").body["message_id"]
    instance.item(stays, newsletter, {"submitted"})


def test_what_apple_did_not_sign_for_us_is_refused(gateway: Gateway) -> None:
    """A wrong key, another MSP, no time: 403. What it signed is taken, packed as well; a bomb is taken too and is no message."""
    body = orjson.dumps(message(id="signed-1", sourceId="urn:mbid:fifth", body="Hallo"))
    assert gateway.post(body, key=b"another") == 403
    assert gateway.post(body, aud="another") == 403
    assert gateway.post(body, iat=None) == 403
    assert gateway.post(gzip.compress(body)) == 200
    subject = gateway.subject_of("urn:mbid:fifth")
    until("it is read", lambda: gateway.texts_in(subject) == ["Hallo"])
    assert gateway.post(gzip.compress(b" " * 2**27, 9)) == 200


@pytest.mark.skipif(not FIXTURES.exists(), reason=NO_FIXTURES)
def test_real_messages_are_taken_whatever_they_are(gateway: Gateway) -> None:
    """Each of those that name our business, three times: 200, and nothing is dead-lettered; typing is no message."""
    before = gateway.letters()
    paths = sorted(FIXTURES.glob("apple-*.json")) * 3
    random.Random(7).shuffle(paths)
    for path in paths:
        payload = orjson.loads(path.read_bytes())["payload"]
        if "destinationId" in payload:
            payload["destinationId"] = BUSINESS
        assert gateway.post(gzip.compress(orjson.dumps(payload))) == 200
    subject = gateway.subject_of("OPAQUE-USER-ID")
    until("it is read", lambda: "Hello, Business!" in gateway.texts_in(subject))
    await_quiet(gateway.instance)
    assert gateway.letters() == before
    assert gateway.texts_in(subject) == ["Hello, Business!"]


def test_nothing_personal_or_secret_is_in_clear(instance: RunningInstance, gateway: Gateway) -> None:
    """The person's id and words, and the secret of the MSP: in no topic, table, file, log or metric."""
    person, word = "urn:mbid:AQAAmarker99", "Quärkstrüdel-98"
    gateway.act(person, text=f"Bitte {word}")
    subject = gateway.subject_of(person)
    sent = gateway.send(person, f"Gern: {word}").body["message_id"]
    instance.item(subject, sent, {"submitted"})
    gateway.act(person, event="closed")
    instance.item(
        subject, gateway.send(person, f"Nochmals {word}").body["message_id"], {"failed", "rejected"}
    )
    own_ids = [one["id"] for one in gateway.messages(person)]
    await_quiet(instance)
    assert everywhere(instance, needles(person, word, SECRET, *own_ids)) == set()
