"""The double opt-in over Telegram, from outside: bots are connected to the running instance as a tenant would connect them."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import orjson
import pytest

from deploy.http_client import Answer
from tests.acceptance_instance import CLI_LIMIT_S, RunningInstance, call, until
from tests.acceptance_marker import everywhere, needles
from tests.acceptance_quiet import await_quiet
from tests.simulator_thread import SimulatorThread
from tests.unit.channels.telegram_payloads import FIXTURES, NO_FIXTURES
from workers.channels.telegram import simulator
from workers.simulator import SimulatedAccount, SimulatorSettings

SEALPOST = str(Path(sys.executable).with_name("sealpost"))
SECRET, HIDDEN = "webhook-secret-4711", "token-secret-4712"
OPT_IN = ["OptInRequested", "ConsentRequested", "ConfirmationSent", "OptInConfirmed", "ConsentGiven"]


class Bot(SimulatorThread):
    """A simulated Telegram with one bot, and the people who use it."""

    def __init__(self, instance: RunningInstance, name: str, number: str) -> None:
        self.instance, self.name, self.number, self.token = instance, name, number, f"{number}:{HIDDEN}"
        self.webhook_url = f"{instance.ready['receiver_url']}/webhooks/telegram/{name}"
        account = SimulatedAccount(number, f"{name}_bot", self.token)
        super().__init__(simulator.serve, SimulatorSettings(self.webhook_url, SECRET, (account,)))

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
        return self.instance.subject_of(person, "telegram")

    def send(self, person: str, text: str, purpose: str = "service") -> Answer:
        """The business asks for a text."""
        return self.instance.send(person, text, purpose, channel="telegram")

    def sign_up(self, person: str) -> str:
        """Walk the double opt-in; the subject."""
        self.act(person, text="/start")
        until("the question", lambda: self.phone(person))
        self.act(person, text="JA")
        until("the welcome", lambda: len(self.phone(person)) == 2)
        return self.subject_of(person)

    def connect(self, account: str | None = None) -> subprocess.CompletedProcess[bytes]:
        """Make it an account of the sandbox tenant."""
        secrets = {
            "SEALPOST_APP_SECRET": SECRET,
            "SEALPOST_VERIFY_TOKEN": "unused",
            "SEALPOST_ACCESS_TOKEN": self.token,
        }
        command = (
            SEALPOST, "tenant", "connect", "sandbox", "telegram", "--connection", self.name,
            "--account", account or self.number, "--api-url", self.base, "--data", str(self.instance.data),
        )  # fmt: skip
        return subprocess.run(
            command, env=os.environ | secrets, capture_output=True, timeout=CLI_LIMIT_S, check=False
        )

    def texts_in(self, subject: str) -> list[str | None]:
        """What a person wrote, as the business reads it."""
        answer = self.instance.api("GET", f"/v1/subjects/{subject}/messages?limit=500")
        items = answer.body["items"] if answer.status == 200 else []
        return [item["text"] for item in items if item["direction"] == "in"]

    def last_press(self, subject: str) -> str:
        """Our id of the button that a person pressed last; "" where there is none yet."""
        answer = self.instance.api("GET", f"/v1/subjects/{subject}/messages?limit=500")
        items = answer.body["items"] if answer.status == 200 else []
        return next((one["message_id"] for one in reversed(items) if one["kind"] == "button_reply"), "")

    def presses(self) -> dict[str, int]:
        """How many presses were answered, and how many such calls refused."""
        found: dict[str, int] = call("GET", f"{self.base}/control/state").body["queries"]
        return found

    def post(self, body: bytes) -> int:
        """A webhook of the provider's, as it stands."""
        headers = {"Content-Type": "application/json", "X-Telegram-Bot-Api-Secret-Token": SECRET}
        with urlopen(
            Request(self.webhook_url, data=body, headers=headers, method="POST"), timeout=60
        ) as answer:
            return int(answer.status)


def connected(instance: RunningInstance, name: str, number: str) -> Iterator[Bot]:
    """A bot of the sandbox tenant."""
    found = Bot(instance, name, number)
    try:
        done = found.connect()
        assert done.returncode == 0, done.stderr.decode()
        assert f"/webhooks/telegram/{name}" in done.stdout.decode()
        yield found
        await_quiet(instance)  # a message on its way would be tried again in the files after
    finally:
        found.close()


@pytest.fixture(scope="module")
def bot(instance: RunningInstance) -> Iterator[Bot]:
    """The usual one."""
    yield from connected(instance, "sandbox-telegram", "7000000001")


@pytest.fixture(scope="module")
def second(instance: RunningInstance) -> Iterator[Bot]:
    """Another one of the same tenant."""
    yield from connected(instance, "sandbox-telegram-2", "7000000002")


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


def test_a_button_says_yes_as_well_as_words(instance: RunningInstance, bot: Bot) -> None:
    """The evidence names what stood on the button."""
    person = "7400000000002"
    bot.act(person, text="Subscribe")
    until("the question", lambda: bot.phone(person))
    bot.act(person, button={"id": "yes", "title": "YES"})
    until("the welcome", lambda: len(bot.phone(person)) == 2)
    subject = bot.subject_of(person)
    until("consent", lambda: "ConsentGiven" in instance.consent_types(subject))
    consents = instance.api("GET", f"/v1/subjects/{subject}/consents").body["items"]
    assert "YES" in str(next(c for c in consents if c["type"] == "ConsentGiven")["evidence"])


def test_an_answer_to_a_pressed_button_ends_its_spinner(instance: RunningInstance, bot: Bot) -> None:
    """Once, and only for the answer that names the press; both reach the person once."""
    person = "7400000000008"
    bot.act(person, text="/start")
    until("the question", lambda: bot.phone(person))
    subject = bot.subject_of(person)
    before = bot.presses()
    bot.act(person, button={"id": "pears", "title": "Birnen"})
    press = until("the press", lambda: bot.last_press(subject))
    plain = bot.send(person, "Guten Tag")
    instance.item(subject, plain.body["message_id"], {"submitted"})
    assert bot.presses()["answered"] == before["answered"]
    answer = instance.send(person, "Birnen, gern", "service", channel="telegram", reply_to=press)
    assert answer.status == 202, answer
    instance.item(subject, answer.body["message_id"], {"submitted"})
    after = bot.presses()
    assert (after["answered"], after["refused"]) == (before["answered"] + 1, before["refused"])
    assert bot.phone(person)[1:] == ["Guten Tag", "Birnen, gern"]


def test_blocking_the_bot_withdraws_and_unblocking_gives_nothing_back(
    instance: RunningInstance, bot: Bot
) -> None:
    """A service text to who has blocked ends as not reachable, whether the gate knows or the provider says so: others go on."""
    person = "7400000000003"
    subject = bot.sign_up(person)
    bot.act(person, event="blocked")
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    message = bot.send(person, "Ihre Bestellung").body["message_id"]
    ended = instance.item(subject, message, {"failed", "rejected"})
    assert ended["reason"] in ("UNREACH", "unreachable")
    bot.act(person, event="unblocked")

    def reached() -> bool:
        again = bot.send(person, "Ihre Bestellung, noch einmal").body["message_id"]
        return bool(instance.item(subject, again, {"submitted", "rejected"})["status"] == "submitted")

    until("she is reached again", reached)
    refused = bot.send(person, "Neues", "newsletter").body["message_id"]
    assert instance.item(subject, refused, {"rejected"})["reason"] == "consent_withdrawn"


def test_an_answer_alone_tells_that_she_blocked_the_bot(instance: RunningInstance, bot: Bot) -> None:
    """No webhook said so. The first newsletter fails and withdraws; nothing goes out until she writes, and no newsletter then."""
    person = "7400000000010"
    subject = bot.sign_up(person)
    signed_up_s = int(time.time())
    until("the second of her yes is over", lambda: time.time() > signed_up_s + 1)
    error = {"code": 403, "details": "Forbidden: bot was blocked by the user"}
    fault = {"next": 1, "to": person, "error": error}
    assert call("POST", f"{bot.base}/control/faults", body=fault).status == 200
    first = bot.send(person, "Neues", "newsletter").body["message_id"]
    assert instance.item(subject, first, {"failed"})["reason"] == "UNREACH"
    second = bot.send(person, "Ihre Bestellung").body["message_id"]
    assert instance.item(subject, second, {"rejected"})["reason"] == "unreachable"
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))

    def blocked() -> list[str]:
        shown = instance.api("GET", f"/v1/subjects/{subject}").body.get("blocked", [])
        return [str(one["channel"]) for one in shown]

    until("the block is shown", lambda: blocked() == ["telegram"])
    bot.act(person, text="Hallo")
    until("its end is shown", lambda: blocked() == [])
    third = bot.send(person, "Ihre Bestellung").body["message_id"]
    instance.item(subject, third, {"submitted"})
    last = bot.send(person, "Neues", "newsletter").body["message_id"]
    assert instance.item(subject, last, {"rejected"})["reason"] == "consent_withdrawn"
    assert "Neues" not in bot.phone(person)


def test_what_is_passed_on_or_said_in_a_group_starts_nothing(instance: RunningInstance, bot: Bot) -> None:
    """A forwarded START is shown and asked nothing about; a group makes no subject."""
    person, member = "7400000000004", "7400000000005"
    bot.act(person, text="START", forwarded=True)
    bot.act(member, text="START", group_id=-1001234567890)
    subject = bot.subject_of(person)
    until("the message", lambda: bot.texts_in(subject) == ["START"])
    await_quiet(instance)
    assert instance.consent_types(subject) == []
    assert bot.phone(person) == bot.phone(member) == []
    lookup = {"channel": "telegram", "address": member}
    assert instance.api("POST", "/v1/subjects/lookup", body=lookup).status == 404


def test_each_bot_counts_its_messages_anew(bot: Bot, second: Bot) -> None:
    """The same number on two bots is two messages of one person; on one bot it is a repetition."""
    person = "7400000000006"
    for _ in range(3):
        bot.act(person, text="Birnen?", id=77)
    second.act(person, text="Äpfel?", id=77)
    subject = bot.subject_of(person)
    until("both", lambda: len(bot.texts_in(subject)) >= 2)
    await_quiet(bot.instance)
    assert sorted(map(str, bot.texts_in(subject))) == ["Birnen?", "Äpfel?"]
    assert second.subject_of(person) == subject


def test_a_connection_has_one_bot(bot: Bot) -> None:
    """Updates name no bot: a second one on the connection is refused, and nothing changes for the first."""
    done = bot.connect(account="7000000003")
    assert done.returncode == 2
    assert "another account" in done.stderr.decode()
    assert HIDDEN not in done.stderr.decode()
    bot.act("7400000000007", text="Hallo")


@pytest.mark.skipif(not FIXTURES.exists(), reason=NO_FIXTURES)
def test_real_updates_are_taken_whatever_they_are(bot: Bot) -> None:
    """Each of them three times, in random order: 200, each fact once, and nothing is dead-lettered."""
    command = [SEALPOST, "deadletters", "list", "--data", str(bot.instance.data)]

    def letters() -> int:
        listed = subprocess.run(command, capture_output=True, timeout=CLI_LIMIT_S, check=True).stdout
        return listed.count(b"sealpost.inbound.telegram")

    assert letters() == 0
    paths = sorted(FIXTURES.glob("telegram-[io]*.json")) * 3
    random.Random(7).shuffle(paths)
    for path in paths:
        assert bot.post(orjson.dumps(orjson.loads(path.read_bytes())["payload"])) == 200
    subject = bot.subject_of("1111111")
    until("it is read", lambda: bot.texts_in(subject))
    await_quiet(bot.instance)
    assert letters() == 0
    assert len(bot.texts_in(subject)) == 1, (
        "the text and the document have the same number: the first one counts"
    )


def test_nothing_personal_or_secret_is_in_clear(instance: RunningInstance, bot: Bot) -> None:
    """The person's id, name and words, the bot's token and the webhook's secret: in no topic, table, file, log or metric."""
    person, word = "7499999999999", "Quärkstrüdel-99"
    bot.act(person, text=f"Bitte {word}", name=f"Ada {word}")
    subject = bot.subject_of(person)
    instance.item(subject, bot.send(person, f"Gern: {word}").body["message_id"], {"submitted"})
    bot.act(person, event="blocked")
    instance.item(subject, bot.send(person, f"Nochmals {word}").body["message_id"], {"failed", "rejected"})
    await_quiet(instance)
    assert everywhere(instance, needles(person, word, HIDDEN, SECRET)) == set()
