"""The double opt-in over Telegram, from outside: the bot is connected to the running instance as a tenant would connect it."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.http_client import Answer, call
from tests.acceptance_instance import RunningInstance, until
from workers.channel import SimulatedAccount, SimulatorSettings
from workers.channels.telegram import simulator

SEALPOST = str(Path(sys.executable).with_name("sealpost"))
CONNECTION, BOT, TOKEN, SECRET = "sandbox-telegram", "7000000001", "7000000001:secret", "webhook-secret"
OPT_IN = ["OptInRequested", "ConsentRequested", "ConfirmationSent", "OptInConfirmed", "ConsentGiven"]


class Bot:
    """A simulated Telegram in a thread, and the people who use it."""

    def __init__(self, instance: RunningInstance) -> None:
        self.instance = instance
        self.base = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        settings = SimulatorSettings(
            webhook_url=f"{instance.ready['receiver_url']}/webhooks/telegram/{CONNECTION}",
            app_secret=SECRET,
            accounts=(SimulatedAccount(BOT, "sandbox_bot", TOKEN),),
            ready=self._listening,
        )
        self._task = self._loop.create_task(simulator.serve(settings))
        self._thread = threading.Thread(target=self._run, name="telegram", daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return

    def _listening(self, base: str) -> None:
        self.base = base
        self._ready.set()

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(20)

    def act(self, person: str, **body: Any) -> None:
        """A person does something; the webhook must be taken."""
        answer = call("POST", f"{self.base}/control/inbound", body={"from": person, "name": "Ada", **body})
        assert answer.status < 300, answer

    def phone(self, person: str) -> list[str]:
        """The texts that reached a person."""
        messages = call("GET", f"{self.base}/control/messages?to={person}").body["messages"]
        return [message["body"] for message in messages]

    def subject_of(self, person: str) -> str:
        """Wait until the person has a subject."""

        def look() -> str:
            address = {"channel": "telegram", "address": person}
            answer = self.instance.api("POST", "/v1/subjects/lookup", body=address)
            return str(answer.body["subject"]) if answer.status == 200 else ""

        return until("a subject", look)

    def send(self, person: str, text: str, purpose: str = "service") -> Answer:
        """The business asks for a text."""
        to = {"channel": "telegram", "address": person}
        body = {"to": to, "purpose": purpose, "content": {"type": "text", "text": text}}
        return self.instance.api("POST", "/v1/messages", "producer", body)

    def sign_up(self, person: str) -> str:
        """Walk the double opt-in; the subject."""
        self.act(person, text="/start")
        until("the question", lambda: self.phone(person))
        self.act(person, text="JA")
        until("the welcome", lambda: len(self.phone(person)) == 2)
        return self.subject_of(person)


@pytest.fixture(scope="module")
def bot(instance: RunningInstance) -> Iterator[Bot]:
    """A bot of the sandbox tenant."""
    found = Bot(instance)
    secrets = {
        "SEALPOST_APP_SECRET": SECRET,
        "SEALPOST_VERIFY_TOKEN": "unused",
        "SEALPOST_ACCESS_TOKEN": TOKEN,
    }
    arguments = (
        "--connection",
        CONNECTION,
        "--account",
        BOT,
        "--api-url",
        found.base,
        "--data",
        instance.data,
    )
    done = subprocess.run(
        [SEALPOST, "tenant", "connect", "sandbox", "telegram", *map(str, arguments)],
        env=os.environ | secrets, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert f"/webhooks/telegram/{CONNECTION}" in done.stdout.decode()
    yield found
    found.close()


def test_double_opt_in_service_message_and_stop(instance: RunningInstance, bot: Bot) -> None:
    """START → question with notice link; JA → consent with evidence, welcome; a newsletter and a service text go out without
    any status of the provider; STOP → withdrawn, confirmed, and no newsletter any more."""
    person = "7400000000001"
    bot.act(person, text="/start")
    question = until("the question", lambda: bot.phone(person))[0]
    assert "https://" in question
    bot.act(person, text="JA")
    until("the welcome", lambda: len(bot.phone(person)) == 2)
    subject = bot.subject_of(person)
    until("the history", lambda: set(OPT_IN) <= set(instance.consent_types(subject)))
    consents = instance.api("GET", f"/v1/subjects/{subject}/consents").body["items"]
    assert "JA" in str(next(c for c in consents if c["type"] == "ConsentGiven")["evidence"])

    for text, purpose in (("Neues aus dem Laden", "newsletter"), ("Ihre Bestellung ist da", "service")):
        accepted = bot.send(person, text, purpose)
        instance.item(subject, accepted.body["message_id"], {"submitted"})
        assert bot.phone(person)[-1] == text
    bot.act(person, text="/stop")
    until("the confirmation", lambda: "abgemeldet" in bot.phone(person)[-1])
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    refused = bot.send(person, "Noch eins", "newsletter").body["message_id"]
    assert instance.item(subject, refused, {"rejected"})["reason"] == "consent_withdrawn"
    assert "Noch eins" not in bot.phone(person)
