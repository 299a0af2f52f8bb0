"""Signing up by a form over Telegram: the token rides beside the words when Start is pressed; what is passed on carries none."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser

from deploy.settings import for_command
from deploy.setup import ProviderAccount, connect_account
from tests.acceptance_instance import RunningInstance, call, until
from tests.acceptance_quiet import await_quiet
from tests.embedding_page import open_page
from tests.signup_world import SignUpForm, approve_texts, draft_of
from tests.simulator_thread import SimulatorThread
from workers.channels.telegram import simulator
from workers.simulator import SimulatedAccount, SimulatorSettings

NUMBER, NAME, SECRET = "7000000009", "obsthof_bot", "webhook-secret-4713"
CONNECTION = "signup-telegram"


@dataclass(frozen=True, slots=True)
class Bot:
    """A simulated bot, a form that leads to it, and the people who use it."""

    url: str
    form: SignUpForm

    def act(self, person: str, **body: Any) -> str:
        """A person does something; her subject."""
        answer = call("POST", f"{self.url}/control/inbound", body={"from": person, "name": "Ada", **body})
        assert answer.status < 300, answer
        return self.form.instance.subject_of(person, "telegram")

    def phone(self, person: str) -> list[str]:
        """The texts that reached a person."""
        messages = call("GET", f"{self.url}/control/messages?to={person}").body["messages"]
        return [message["body"] for message in messages]


@pytest.fixture(scope="module")
def bot(instance: RunningInstance) -> Iterator[Bot]:
    """Connected to the sandbox's business, with the name that links are made of."""
    approve_texts(instance)
    token = f"{NUMBER}:bot-token"
    account = SimulatedAccount(NUMBER, NAME, token)
    webhook_url = f"{instance.ready['receiver_url']}/webhooks/telegram/{CONNECTION}"
    thread = SimulatorThread(simulator.serve, SimulatorSettings(webhook_url, SECRET, (account,)))
    try:
        wanted = ProviderAccount(
            instance.ready["tenant"], "telegram", CONNECTION, NUMBER, SECRET, "unused", token, thread.base, handle=NAME
        )  # fmt: skip
        connect_account(for_command(instance.data), wanted)

        def make() -> SignUpForm | None:
            body = {"purposes": ["newsletter"], "accounts": [NUMBER]}
            answer = instance.api("POST", "/v1/forms", "officer", body)
            return (
                SignUpForm(instance, instance.ready["tenant"], answer.body["form"])
                if answer.status == 201
                else None
            )

        form = until("the account is known", make)
        assert form is not None
        yield Bot(thread.base, form)
        await_quiet(instance)  # a message on its way would be tried again in the files after
    finally:
        thread.close()


def test_start_with_the_token_confirms_what_was_ticked(
    instance: RunningInstance, browser: Browser, bot: Bot
) -> None:
    """In the browser the button leads to the bot; the consent is Telegram's alone."""
    with open_page(browser, bot.form.url, locale="de-DE") as window:
        window.tick_all()
        window.send()
        link = window.sees("a[href*='t.me']").get_attribute("href") or ""
    assert link.startswith(f"https://t.me/{NAME}?start=sp-")
    subject = bot.act("7400000000091", text=draft_of(link))
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(subject))
    items = instance.api("GET", f"/v1/subjects/{subject}/consents").body["items"]
    assert {item["channel"] for item in items} == {"telegram"}
    assert until("the welcome", lambda: bot.phone("7400000000091"))[0].count("https://") == 1


def test_a_token_that_is_passed_on_does_nothing_and_stays_good(instance: RunningInstance, bot: Bot) -> None:
    """Whoever forwards it, or is forwarded it, has asked for nothing; the person whose it is may still use it."""
    draft = bot.form.tick()
    passed_on = bot.act("7400000000092", text=draft, forwarded=True)
    own = bot.act("7400000000093", text=draft)
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(own))
    assert instance.consent_types(passed_on) == []
    assert not [text for text in bot.phone("7400000000092") if "Möchten Sie" in text]
    refused = instance.send("7400000000092", "Birnen", "newsletter", channel="telegram")
    assert instance.item(passed_on, refused.body["message_id"], {"rejected"})["reason"] == "no_consent"
