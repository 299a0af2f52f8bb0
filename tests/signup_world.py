"""Signing up outside the chat, on a running instance: forms of the sandbox's business, and what a page does without a browser."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from deploy.http_client import Answer
from schemas.entry_tokens import find_token
from tests.acceptance_instance import RunningInstance, call

NOTICE_URL = "https://sandbox.example/datenschutz"


def approve_texts(instance: RunningInstance) -> None:
    """An officer approves what stands beside the boxes; the sandbox's notices are published from the start."""
    for language in ("de", "en"):
        body = {"kind": "text", "reference": f"signup/1/{language}"}
        answer = instance.api("POST", "/v1/wordings/approval", "officer", body)
        assert answer.status in (200, 404), answer  # 404: another module of this session has approved it


def draft_of(link: str) -> str:
    """What the chat shows ready to be sent, or sends when Start is pressed."""
    carried = parse_qs(urlsplit(link).query)
    return carried["text"][0] if "text" in carried else f"/start {carried['start'][0]}"


@dataclass(frozen=True, slots=True)
class SignUpForm:
    """A form as its page and the widget use it."""

    instance: RunningInstance
    tenant: str
    form: str
    sources: Iterator[int] = field(default_factory=lambda: iter(range(2, 255)), repr=False)
    """Each sign-up comes from another address of the loopback network, as from another household: how many one may is limited."""

    @classmethod
    def make(cls, instance: RunningInstance, origins: tuple[str, ...] = (), **more: Any) -> "SignUpForm":
        """A new form of the sandbox for its newsletter."""
        body = {"purposes": ["newsletter"], "origins": list(origins), **more}
        answer = instance.api("POST", "/v1/forms", "officer", body)
        assert answer.status == 201, answer
        return cls(instance, instance.ready["tenant"], answer.body["form"])

    @property
    def tag(self) -> str:
        """As the script tag names it."""
        return f"{self.tenant}/{self.form}"

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self.instance.ready['api_url']}/optin/forms/{self.tag}"

    def offer(self, language: str = "de") -> Answer:
        """What the widget asks for."""
        return call("GET", f"{self.url}/offer?language={language}")

    def token(self, language: str = "de") -> str:
        """Tick everything as the widget does; the token of the first link, without the words before it."""
        found = find_token(self.tick(language))
        assert found is not None
        assert found.token is not None
        return found.token

    def tick(self, language: str = "de") -> str:
        """Tick everything as the widget does; the draft of the first link."""
        offer = self.offer(language).body
        body = {
            "language": offer["language"],
            "purposes": [box["purpose"] for box in offer["boxes"]],
            "accepted": True,
            "notice": offer["notice"]["reference"],
            "text": offer["text"],
        }
        place = urlsplit(f"{self.url}/signups")
        connection = HTTPConnection(
            place.hostname or "", place.port, timeout=60, source_address=(f"127.0.0.{next(self.sources)}", 0)
        )
        connection.request("POST", place.path, orjson.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = answer.read()
        connection.close()
        assert answer.status == 200, told
        return draft_of(orjson.loads(told)["links"][0]["url"])

    def end(self) -> None:
        """End it."""
        answer = self.instance.api("DELETE", f"/v1/forms/{self.form}", "officer")
        assert answer.status == 204, answer
