"""The tour: one person walks the whole way against a running instance, from outside, by HTTP only.

Each step states what it expects and waits for it, bounded in time; the first step that does not happen ends the tour.
"""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.http_client import Answer, Unreachable, call
from deploy.instance import ReadyFile
from schemas.clock import boot_s, now_ms
from schemas.errors import SealpostError

STEP_LIMIT_S = 60.0
POLL_S = 0.1
OPT_IN_TYPES = [
    "OptInRequested", "ConsentRequested", "ConfirmationSent", "OptInConfirmed", "ConsentGiven",
]  # fmt: skip


class TourFailed(SealpostError):
    """A step of the tour did not happen; the message names it. Look into the logs of the roles in the data folder."""


@dataclass(slots=True)
class Person:
    """Who walks: an unused number, and a name that is found nowhere at rest."""

    number: str
    name: str


@dataclass(slots=True)
class Tour:
    """The walk and what it knows so far."""

    ready: ReadyFile
    say: Callable[[str], None]
    stop: threading.Event
    person: Person = field(init=False)
    subject: str = ""

    def __post_init__(self) -> None:
        digits = f"{now_ms()}"[-9:]
        self.person = Person(number=f"4915{digits}", name=f"Tourine Wegwart {digits[-4:]}")

    @property
    def whatsapp(self) -> Any:
        """The sandbox account."""
        return self.ready.channels["whatsapp"]

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Every step: what it shows, and the function that does it and says what was seen."""
        yield "without a data-processing agreement nothing is sent", self.without_dpa
        yield "a person writes START and is asked, with the privacy notice", self.sign_up
        yield "JA confirms: consent with evidence, subscription, welcome", self.confirm
        yield "a chat: a service message and its delivery", self.chat
        yield "a newsletter rests on the consent", self.newsletter
        yield "STOPP ends it at once; a newsletter after it is refused", self.withdraw
        yield "erasure: keys destroyed, stores purged, certificate", self.erase
        yield "the person is found nowhere in the data folder", self.search
        yield "a later START makes a new subject", self.return_later

    def walk(self) -> None:
        """Walk all steps; TourFailed at the first that does not happen."""
        for number, (title, step) in enumerate(self.steps(), start=1):
            started = boot_s()
            try:
                seen = step()
            except Unreachable as error:
                raise TourFailed(f"step {number} ({title}): {error}") from None
            except TourFailed as error:
                raise TourFailed(f"step {number} ({title}): {error}") from None
            self.say(f"  ✓ {number}. {title} — {seen} ({boot_s() - started:.1f} s)")

    def api(self, method: str, path: str, role: str = "agent", body: Any = None) -> Answer:
        """One call of the HTTP API with the token of a role."""
        return call(method, self.ready.api_url + path, token=getattr(self.ready.tokens, role), body=body)

    def expect(self, answer: Answer, status: int, what: str) -> Any:
        """The body of an answer that must have this status."""
        if answer.status != status:
            code = (answer.body or {}).get("type", "") if isinstance(answer.body, dict) else ""
            raise TourFailed(f"{what}: expected HTTP {status}, got {answer.status} {code}")
        return answer.body

    def until(self, what: str, look: Callable[[], Any], limit_s: float = STEP_LIMIT_S) -> Any:
        """Look again until something is seen; TourFailed with `what` when the time is over."""
        end = boot_s() + limit_s
        while boot_s() < end:
            seen = look()
            if seen:
                return seen
            if self.stop.wait(POLL_S):
                raise TourFailed("interrupted")
        raise TourFailed(f"{what}: not seen within {limit_s:g} s")

    def write(self, text: str) -> None:
        """The person writes on their phone."""
        body = {"from": self.person.number, "name": self.person.name, "text": text}
        answer = call("POST", f"{self.whatsapp.simulator_url}/control/inbound", body=body)
        if answer.status >= 300:
            raise TourFailed(f"the simulator could not deliver the person's message (HTTP {answer.status})")

    def phone(self) -> list[dict[str, Any]]:
        """What arrived on the person's phone."""
        answer = call("GET", f"{self.whatsapp.simulator_url}/control/messages?to={self.person.number}")
        messages: list[dict[str, Any]] = self.expect(answer, 200, "the simulator's record")["messages"]
        return messages

    def arrives(self, pattern: str, *, after: int = 0) -> str:
        """Wait for a message on the phone that matches; its text."""

        def look() -> str | None:
            texts = [str(message["body"]) for message in self.phone()[after:]]
            return next((text for text in texts if re.search(pattern, text)), None)

        return str(self.until(f"a message like {pattern!r} on the phone", look))

    def send(self, purpose: str, text: str) -> Answer:
        """The business asks for a message to the person's number."""
        body = {
            "to": {"channel": "whatsapp", "address": self.person.number},
            "purpose": purpose,
            "content": {"type": "text", "text": text},
        }
        return self.api("POST", "/v1/messages", "producer", body)

    def status_of(self, message: str, statuses: set[str]) -> dict[str, Any]:
        """Wait until a message has one of these statuses in the projection."""

        def look() -> dict[str, Any] | None:
            answer = self.api("GET", f"/v1/subjects/{self.subject}/messages?limit=200")
            items = (answer.body or {}).get("items", []) if answer.status == 200 else []
            return next((i for i in items if i["message_id"] == message and i["status"] in statuses), None)

        found: dict[str, Any] = self.until(f"status {' or '.join(sorted(statuses))}", look)
        return found

    def without_dpa(self) -> str:
        """No agreement: 409 no_dpa. With one: 422 for somebody who never wrote."""
        tenant = self.ready.tenant
        self.expect(self.api("DELETE", f"/v1/tenants/{tenant}/dpa", "admin"), 202, "ending the agreement")
        refused = self.expect(self.send("service", "hello"), 409, "a send without agreement")
        if not str(refused.get("type", "")).endswith("no_dpa"):
            raise TourFailed("the refusal does not say no_dpa")
        body = {"version": "2026-01"}
        self.expect(
            self.api("POST", f"/v1/tenants/{tenant}/dpa", "admin", body), 202, "recording the agreement"
        )
        stranger = self.expect(self.send("service", "hello"), 422, "a send to somebody who never wrote")
        if not str(stranger.get("type", "")).endswith("unknown_recipient"):
            raise TourFailed("the refusal does not say unknown_recipient")
        return "409 no_dpa; with agreement 422 unknown_recipient for a number that never wrote"

    def sign_up(self) -> str:
        """START is answered by the question with the link to the notice."""
        self.write("START")
        self.arrives(r"https?://\S+")
        lookup = {"channel": "whatsapp", "address": self.person.number}

        def look() -> str | None:
            answer = self.api("POST", "/v1/subjects/lookup", body=lookup)
            return answer.body["subject"] if answer.status == 200 else None

        self.subject = str(self.until("the subject", look))
        return f"subject {self.subject[:8]}…"

    def confirm(self) -> str:
        """JA completes the double opt-in."""
        self.write("JA")
        self.arrives("bestätigt")

        def look() -> list[dict[str, Any]] | None:
            answer = self.api("GET", f"/v1/subjects/{self.subject}/consents")
            items = answer.body["items"] if answer.status == 200 else []
            return items if set(OPT_IN_TYPES) <= {item["type"] for item in items} else None

        items = self.until("the complete consent history", look)
        given = next(item for item in items if item["type"] == "ConsentGiven")
        if not isinstance(given.get("evidence"), dict) or "JA" not in str(given["evidence"]):
            raise TourFailed("the consent has no evidence of the person's words")

        def subscribed() -> bool:
            answer = self.api("GET", f"/v1/subjects/{self.subject}")
            subscriptions = (answer.body or {}).get("subscriptions", [])
            return answer.status == 200 and any(s["state"] == "active" for s in subscriptions)

        self.until("the subscription", subscribed)
        return ", ".join(item["type"] for item in items)

    def chat(self) -> str:
        """Both sides write; the answer is delivered."""
        self.write("Wann haben Sie geöffnet?")
        accepted = self.expect(self.send("service", "Heute bis 18 Uhr."), 202, "a service message")
        self.arrives("bis 18 Uhr")
        item = self.status_of(accepted["message_id"], {"delivered", "read"})
        return f"status {item['status']}"

    def newsletter(self) -> str:
        """A newsletter goes out on the ground of the consent."""
        accepted = self.expect(self.send("newsletter", "Neu im Laden: Birnen."), 202, "a newsletter")
        self.arrives("Birnen")
        item = self.status_of(accepted["message_id"], {"delivered", "read"})
        return f"status {item['status']}"

    def withdraw(self) -> str:
        """STOPP is confirmed; the next newsletter is rejected."""
        before = len(self.phone())
        self.write("STOPP")
        self.arrives("abgemeldet", after=before)
        accepted = self.expect(self.send("newsletter", "Noch mehr Birnen."), 202, "a newsletter after STOPP")
        item = self.status_of(accepted["message_id"], {"rejected"})
        if item["reason"] != "consent_withdrawn":
            raise TourFailed(f"rejected for {item['reason']}, expected consent_withdrawn")
        if any("Noch mehr" in str(message["body"]) for message in self.phone()):
            raise TourFailed("a newsletter reached the phone after STOPP")
        return "rejected, consent_withdrawn"

    def erase(self) -> str:
        """Erasure up to SubjectErased; nothing of the subject is shown any more."""
        accepted = self.expect(
            self.api("POST", f"/v1/subjects/{self.subject}/erasure", "officer"), 202, "erasure"
        )

        def look() -> dict[str, Any] | None:
            answer = self.api("GET", f"/v1/erasures/{accepted['erasure_id']}", "officer")
            return (
                answer.body
                if answer.status == 200 and answer.body["state"] in {"erased", "settled"}
                else None
            )

        erasure = self.until("SubjectErased", look, limit_s=120)
        shown = self.expect(self.api("GET", f"/v1/subjects/{self.subject}"), 200, "the erased subject")
        if shown.get("state") != "erased" or set(shown) != {"subject", "state", "erased_at"}:
            raise TourFailed("the erased subject still shows more than that it is erased")
        lookup = {"channel": "whatsapp", "address": self.person.number}
        self.expect(self.api("POST", "/v1/subjects/lookup", body=lookup), 404, "look-up of the erased number")
        messages = self.expect(self.api("GET", f"/v1/subjects/{self.subject}/messages"), 200, "messages")
        if messages.get("state") != "erased" or messages.get("items"):
            raise TourFailed("messages of the erased subject are still shown")
        stores = ", ".join(receipt["store"] for receipt in erasure["receipts"])
        return f"T0 {erasure['t0']}, T1 {erasure['t1']}, T2 {erasure['t2']}; receipts: {stores}"

    def search(self) -> str:
        """No file of the data folder holds the number or the name."""
        needles = [self.person.number.encode(), self.person.name.encode()]
        files = 0
        for path in Path(self.ready.data_dir).rglob("*"):
            if not path.is_file():
                continue
            try:
                content = path.read_bytes()
            except OSError:
                continue  # a file that Kafka or PostgreSQL removed meanwhile
            files += 1
            if any(needle in content for needle in needles):
                raise TourFailed(f"the person was found in {path.relative_to(self.ready.data_dir)}")
        if not files:
            raise TourFailed("the data folder could not be read")
        return f"{files} files searched for number and name"

    def return_later(self) -> str:
        """The same number is a new subject."""
        former = self.subject
        self.write("START")
        lookup = {"channel": "whatsapp", "address": self.person.number}

        def look() -> str | None:
            answer = self.api("POST", "/v1/subjects/lookup", body=lookup)
            return answer.body["subject"] if answer.status == 200 else None

        self.subject = str(self.until("a subject for the returned person", look))
        if self.subject == former:
            raise TourFailed("the returned person got the erased subject's id")
        return f"subject {self.subject[:8]}…, nothing of the former one"
