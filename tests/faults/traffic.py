"""People and a business that go on whatever happens: messages both ways, sign-ups, stops and erasures, at a bounded rate.

What they did is kept (`Said`), for the ledger to compare with. Everybody's messages are sent by one thread, in order; who gets an
error asks again with the same idempotency key, as a business would.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Literal

from deploy.http_client import Answer, Unreachable, call
from schemas.clock import boot_s
from schemas.ids import received_id
from tests.faults.installation import Installation
from tests.step_world import await_until

CHANNEL = "whatsapp"
FIRST_NUMBER = 491_520_000_000
SILENT = 4
"""Of one person in so many the provider reports nothing: no echo settles what a kill has left unknown."""
LANES = 6
"""Threads each way; a person belongs to one of them."""
ACTS_MAX = 8
"""Of one person: below the ten answers an hour that Sealpost gives."""
RETRY_S = 0.3
CALL_S = 40.0
"""Above the simulator's own limit for a webhook."""
ERASED_S = 240.0
TEXT_SHARE = 0.8
"""Of what the business sends: texts for the purpose `service`; the rest are newsletters as templates."""


@dataclass
class Person:
    """Somebody with a phone."""

    number: str
    wrote: int = 0
    acts: int = 0
    asked: bool = False
    subscribed: bool = False
    erased: int = 0
    away: threading.Event = field(default_factory=threading.Event)
    """Set while the person is being erased: nobody writes to or fro."""

    def next_words(self, chance: random.Random) -> str:
        """What the person writes now."""
        if not self.wrote:
            return "Hallo"
        if self.asked and chance.random() < 0.5:
            self.asked, self.subscribed, self.acts = False, True, self.acts + 1
            return "JA"
        if self.acts < ACTS_MAX and not self.asked and chance.random() < 0.08:
            self.acts += 1
            if self.subscribed:
                self.subscribed = False
                return "STOP"
            self.asked = True
            return "START"
        return f"rein {self.wrote}"


@dataclass
class Said:
    """What was written and promised. Each field is filled by one thread a key."""

    id_key: bytes
    tenant: str
    written: dict[str, str] = field(default_factory=dict)
    """Provider's id of a person's message → the person's number."""
    erased: dict[str, set[str]] = field(default_factory=dict)
    """Number → provider's ids written before its erasure: a raw fragment of before T1 may be dropped."""
    accepted: dict[str, str] = field(default_factory=dict)
    """Message → delivery."""
    erasures: set[str] = field(default_factory=set)
    webhooks: Counter[int] = field(default_factory=Counter)
    """First answers to webhooks, by HTTP status (502: none)."""
    refused: dict[str, int] = field(default_factory=dict)
    """What the API answered instead of 202 → how often."""

    def written_events(self) -> dict[str, bool]:
        """Event id → whether it must be in the log; the simulator repeats every webhook until it is taken."""
        before = set().union(*self.erased.values())
        return {
            received_id(self.id_key, self.tenant, CHANNEL, wamid, "message"): wamid not in before
            for wamid in list(self.written)
        }


class Traffic:
    """Runs until `stop`; `inward` and `outward` count what was sent so far."""

    def __init__(self, installation: Installation, *, seed: int, people: int, rate_per_s: float) -> None:
        """`rate_per_s`: in each direction."""
        self._installation = installation
        self._seed = seed
        self._gap_s = LANES / rate_per_s
        self.people = [Person(str(FIRST_NUMBER + number)) for number in range(people)]
        with_vault = installation.vault()
        tenant = installation.found.tenant
        self.said = Said(with_vault.tenant_ids(tenant), tenant)
        with_vault.close()
        self._stop = threading.Event()
        self._quiet: dict[Literal["in", "out"], threading.Event] = {
            "in": threading.Event(), "out": threading.Event(),
        }  # fmt: skip
        self._threads = [
            threading.Thread(target=self._lane, args=(way, lane), name=f"{way} {lane}", daemon=True)
            for way in ("in", "out")
            for lane in range(LANES)
        ]
        self.failures: list[str] = []

    def written(self, count: int) -> bool:
        """True when so many were written each way; fails when a lane has failed."""
        assert not self.failures, self.failures[:5]
        return min(self.inward, self.outward) >= count

    @property
    def inward(self) -> int:
        """Messages that persons wrote."""
        return len(self.said.written)

    @property
    def outward(self) -> int:
        """Messages that were accepted."""
        return len(self.said.accepted)

    @property
    def silent(self) -> list[str]:
        """Numbers of whose messages the provider reports nothing."""
        return [person.number for person in self.people[::SILENT]]

    def start(self) -> None:
        """Begin to write, both ways."""
        for thread in self._threads:
            thread.start()

    def quiet(self, way: Literal["in", "out"], *, on: bool = True) -> None:
        """Nobody writes this way for now, or again."""
        self._quiet[way].set() if on else self._quiet[way].clear()

    def stop(self) -> None:
        """Write no more; what is being asked for is asked for until it is answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join(ERASED_S)
            assert not thread.is_alive(), f"{thread.name} does not end"
        assert not self.failures, self.failures[:5]

    def erase(self, person: Person) -> None:
        """Have one person erased, as an officer does, and wait for the end; then the person may come back."""
        person.away.set()
        try:
            subject = self._subject_of(person)
            if subject is None:
                return
            token = self._tokens().officer
            taken = self._until_answered("POST", f"/v1/subjects/{subject}/erasure", token, None, {202})
            self.said.erasures.add(subject)
            name = next(iter(taken.body.values()))

            def ended() -> bool:
                answer = self._ask("GET", f"/v1/erasures/{name}", token)
                return (
                    answer is not None
                    and answer.status == 200
                    and answer.body["state"] in ("erased", "settled")
                )

            await_until(ended, ERASED_S, "an erasure ends")
            mine = {wamid for wamid, number in list(self.said.written.items()) if number == person.number}
            self.said.erased[person.number] = mine
            person.erased += 1
            person.wrote, person.acts, person.asked, person.subscribed = 0, 0, False, False
        finally:
            person.away.clear()

    def _subject_of(self, person: Person) -> str | None:
        body = {"channel": CHANNEL, "address": person.number}
        answer = self._until_answered("POST", "/v1/subjects/lookup", self._tokens().agent, body, {200, 404})
        return str(answer.body["subject"]) if answer.status == 200 else None

    # Lanes

    def _lane(self, way: Literal["in", "out"], lane: int) -> None:
        chance = random.Random(f"{self._seed} {way} {lane}")
        people = self.people[lane::LANES]
        work: Callable[[Person, random.Random, int], None] = self._write if way == "in" else self._send
        number, next_s = 0, boot_s()
        try:
            while not self._stop.is_set():
                next_s = max(next_s + self._gap_s * chance.uniform(0.5, 1.5), boot_s() - 5.0)
                if self._stop.wait(max(0.0, next_s - boot_s())) or self._quiet[way].is_set():
                    next_s = boot_s()
                    self._stop.wait(0.1)
                    continue
                person = self._pick(people, chance)
                if person is not None and (way == "in" or person.wrote):
                    work(person, chance, number)
                    number += 1
        except Exception as error:  # noqa: BLE001 - told at the end, where the test fails with it
            self.failures.append(f"{way} {lane}: {type(error).__name__}: {error}")

    @staticmethod
    def _pick(people: Sequence[Person], chance: random.Random) -> Person | None:
        person = chance.choice(people)
        return None if person.away.is_set() else person

    def _write(self, person: Person, chance: random.Random, number: int) -> None:
        """A person writes; whether the webhook is taken now or later is the simulator's business."""
        wamid = f"wamid.{self._seed:x}.{person.number}.{person.erased}.{person.wrote}.{number}"
        words = person.next_words(chance)
        self.said.written[wamid] = person.number
        person.wrote += 1
        body = {"from": person.number, "name": "Ada", "text": words, "id": wamid}
        answer = call(
            "POST", f"{self._installation.simulator_url}/control/inbound", body=body, timeout_s=CALL_S
        )
        assert answer.body["id"] == wamid
        self.said.webhooks[answer.status] += 1

    def _send(self, person: Person, chance: random.Random, number: int) -> None:
        """The business asks for a message, again and again under one key until it is answered."""
        delivery = chance.choice(("at_most_once", "at_least_once"))
        is_text = chance.random() < TEXT_SHARE
        content: dict[str, Any] = {"type": "text", "text": f"raus {number}"}
        if not is_text:
            content = {"type": "template", "name": "news", "language": "de", "variables": ["Birnen"]}
        body = {
            "to": {"channel": CHANNEL, "address": person.number},
            "purpose": "service" if is_text else "newsletter",
            "content": content,
            "delivery": delivery,
            "idempotency_key": f"{threading.current_thread().name} {number}",
        }
        answer = self._until_answered("POST", "/v1/messages", self._tokens().producer, body, {202, 422})
        if answer.status == 202:
            self.said.accepted[str(answer.body["message_id"])] = delivery
        else:
            self._count(f"422 {answer.body.get('type', '').rpartition(':')[2]}")

    # HTTP

    def _tokens(self) -> Any:
        return self._installation.found.tokens

    def _until_answered(self, method: str, path: str, token: str, body: Any, wanted: set[int]) -> Answer:
        pause = threading.Event()
        while True:
            answer = self._ask(method, path, token, body)
            if answer is not None and answer.status in wanted:
                return answer
            self._count("no answer" if answer is None else str(answer.status))
            assert answer is None or answer.status in (500, 503), (
                f"{method} {path}: {answer.status} {answer.body}"
            )
            pause.wait(RETRY_S)

    def _ask(self, method: str, path: str, token: str, body: Any = None) -> Answer | None:
        try:
            return call(method, self._installation.api_url + path, token=token, body=body, timeout_s=CALL_S)
        except (Unreachable, OSError, HTTPException):
            return None  # nobody there, or cut off in the middle of an answer

    def _count(self, what: str) -> None:
        self.said.refused[what] = self.said.refused.get(what, 0) + 1
