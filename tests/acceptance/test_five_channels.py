"""One form, five channels: the double opt-in walked in a browser against every simulator, as far as each channel goes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Browser

from schemas.clock import to_ms
from schemas.entry_tokens import find_token
from tests.acceptance_instance import CLI_LIMIT_S, RunningInstance, call, running_instance, until
from tests.embedding_page import EmbeddingSite, open_page
from tests.signup_world import SignUpForm, approve_texts
from tests.simulator_thread import SimulatorThread
from workers import registry
from workers.simulator import SimulatedAccount, SimulatorSettings

SEALPOST = str(Path(sys.executable).with_name("sealpost"))
SECRET = "c2VjcmV0LW9mLXRoZS1mb3Jt"
"""Of every connection; Apple's are base64."""


@dataclass(frozen=True)
class Way:
    """A channel as a person uses it: our account there, how the link's token comes back, and whether a delivery is reported."""

    account: SimulatedAccount
    api: str
    person: str
    arrives: str
    options: tuple[str, ...] = ()
    said: dict[str, Any] = field(default_factory=dict)
    """What the person does in the chat that the link has opened: `{token}` and `{draft}` are filled in."""


WAYS = {
    "apple": Way(
        SimulatedAccount("3f0c8d1e-0000-4000-8000-0000000000a1", "3f0c8d1e-0000-4000-8000-0000000000a1", f"msp-1:{SECRET}"),
        "/v1", "urn:mbid:AQform", "submitted", ("--app-id", "msp-1"), {"text": "Guten Tag", "intent": "{token}"},
    ),
    "instagram": Way(
        SimulatedAccount("17841400000000077", "obsthof.birnbaum", "token-i"), "/v25.0", "56789012345678077", "sent",
        said={"text": "Guten Tag", "ref": "{token}"},
    ),
    "messenger": Way(
        SimulatedAccount("123456789077", "123456789077", "token-m"), "/v25.0", "56789012345678078", "delivered",
        said={"text": "Guten Tag", "ref": "{token}"},
    ),
    "telegram": Way(
        SimulatedAccount("7000000077", "Obsthof_bot", "7000000077:token-t"), "", "7077", "submitted",
        said={"text": "/start {token}"},
    ),
}  # fmt: skip
"""WhatsApp is the sandbox's own."""


@dataclass
class Phone:
    """A person's phone on one channel of the running instance."""

    instance: RunningInstance
    channel: str
    base: str
    person: str
    said: dict[str, Any]

    def comes_by(self, link: str) -> None:
        """Open the link and do what the channel then asks for."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
        draft = query.get("text", "")
        found = find_token(" ".join(query.values()))
        assert found is not None
        assert found.token is not None
        filled = {
            name: value.format(token=found.token, draft=draft) if isinstance(value, str) else value
            for name, value in self.said.items()
        }
        self.acts(**filled)

    def acts(self, **body: Any) -> None:
        """A person does something; the webhook must be taken."""
        answer = call("POST", f"{self.base}/control/inbound", body={"from": self.person, **body})
        assert answer.status < 300, answer

    def reads(self) -> list[str]:
        """What has arrived, in order."""
        answer = call("GET", f"{self.base}/control/messages?to={quote(self.person, safe='')}")
        return [message["body"] for message in answer.body["messages"]]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningInstance]:
    """An instance of its own: its form reaches five channels."""
    with running_instance(tmp_path_factory.mktemp("five")) as running:
        approve_texts(running)
        yield running


@pytest.fixture(scope="module")
def phones(instance: RunningInstance) -> Iterator[dict[str, Phone]]:
    """All simulators, their accounts connected as an operator does."""
    whatsapp = Phone(
        instance, "whatsapp", instance.whatsapp["simulator_url"], "491510000077", {"text": "{draft}"}
    )
    found = {"whatsapp": whatsapp}
    simulators: list[SimulatorThread] = []
    try:
        for channel, way in WAYS.items():
            url = f"{instance.ready['receiver_url']}/webhooks/{channel}/obsthof-{channel}"
            settings = SimulatorSettings(url, SECRET, (way.account,))
            simulators.append(SimulatorThread(registry.simulator(channel), settings))
            connect(instance, channel, way, simulators[-1].base + way.api)
            found[channel] = Phone(instance, channel, simulators[-1].base, way.person, way.said)
        yield found
    finally:
        for simulator in simulators:
            simulator.close()


def connect(instance: RunningInstance, channel: str, way: Way, api_url: str) -> None:
    """With the name that people see, of which links are made."""
    secrets = {
        "SEALPOST_APP_SECRET": SECRET,
        "SEALPOST_VERIFY_TOKEN": "hello",
        "SEALPOST_ACCESS_TOKEN": way.account.access_token,
    }
    command = (
        SEALPOST, "tenant", "connect", instance.ready["tenant"], channel, "--connection", f"obsthof-{channel}",
        "--account", way.account.provider_account_id, "--api-url", api_url, "--handle", way.account.number, *way.options,
        "--data", str(instance.data),
    )  # fmt: skip
    done = subprocess.run(
        command, env=os.environ | secrets, capture_output=True, timeout=CLI_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module")
def form(instance: RunningInstance, phones: dict[str, Phone]) -> Iterator[tuple[EmbeddingSite, SignUpForm]]:
    """The widget on a business's site, for every account there is."""
    assert len(phones) == len(registry.channel_names())
    site = EmbeddingSite(instance.ready["api_url"])
    made = SignUpForm.make(instance, (site.origin,), campaign="herbst")
    site.embed(made.tag)
    yield site, made
    site.close()


def links(browser: Browser, site: EmbeddingSite) -> dict[str, str]:
    """Tick everything in the widget; the link of each channel."""
    hosts = {
        "wa.me": "whatsapp", "m.me": "messenger", "ig.me": "instagram", "t.me": "telegram",
        "bcrw.apple.com": "apple",
    }  # fmt: skip
    with open_page(browser, f"{site.origin}/", site.api_url) as window:
        window.tick_all()
        window.send()
        shown = window.sees("a.button", len(hosts)).all()
        addresses = [one.get_attribute("href") or "" for one in shown]
        window.is_accessible()
        window.picture("widget-five-channels")
    return {hosts[urlsplit(address).hostname or ""]: address for address in addresses}


@pytest.mark.parametrize("channel", ["apple", "instagram", "messenger", "telegram", "whatsapp"])
def test_ticked_in_the_widget_confirmed_in_the_chat(
    instance: RunningInstance,
    phones: dict[str, Phone],
    browser: Browser,
    form: tuple[EmbeddingSite, SignUpForm],
    channel: str,
) -> None:
    """The first message with the link's token gives the consent, with every step; a newsletter arrives; STOP ends it, and the
    token gives nothing back."""
    site, made = form
    phone = phones[channel]
    link = links(browser, site)[channel]
    phone.comes_by(link)
    subject = instance.subject_of(phone.person, channel)
    until("the consent", lambda: "ConsentGiven" in instance.consent_types(subject))
    welcome = until("the welcome", phone.reads)[0]
    assert welcome.count("https://sandbox.example/datenschutz") == 1
    steps = instance.api("GET", f"/v1/subjects/{subject}/consents").body["items"]
    assert [step["type"] for step in steps] == ["OptInRequested", "OptInConfirmed", "ConsentGiven"]
    given = steps[-1]
    assert (given["channel"], given["method"], given["form"], given["campaign"]) == (
        channel, "first_message", made.form, "herbst",
    )  # fmt: skip
    assert to_ms(given["requested_at"]) < to_ms(given["acted_at"])
    newsletter = instance.send(phone.person, "Birnen sind da", "newsletter", channel=channel)
    reached = (
        {"sent", "delivered", "read"}
        if channel == "whatsapp"
        else {WAYS[channel].arrives, "delivered", "read"}
    )
    instance.item(subject, newsletter.body["message_id"], reached)
    assert phone.reads()[-1] == "Birnen sind da"
    phone.acts(text="STOP")
    until("the good-bye", lambda: "abgemeldet" in phone.reads()[-1])
    phone.comes_by(link)
    until("the question", lambda: "JA" in phone.reads()[-1])
    refused = instance.send(phone.person, "Noch eins", "newsletter", channel=channel)
    item = instance.item(subject, refused.body["message_id"], {"rejected"})
    assert item["reason"] == "consent_withdrawn"
