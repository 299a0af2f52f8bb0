"""A running `sealpost up` as a black box: started once for the acceptance tests, driven by HTTP, ended with them."""

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from confluent_kafka import Consumer, Message, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from deploy import http_client
from deploy.http_client import Answer

SHORT_TIMES = {
    "SEALPOST_SESSION_S": "3",
    "SEALPOST_LEASE_S": "2",
    "SEALPOST_LEASE_OUTBOUND_S": "2",
    "SEALPOST_HTTP_S": "10",
    "SEALPOST_ECHO_S": "3",
    "SEALPOST_BACKUP_KEPT_DAYS": "2",
}
PATIENCE = {"SEALPOST_WEBHOOK_ANSWER_S": "10"}
"""The receiver's longest: on a busy machine a webhook that will be taken is not refused before."""
START_LIMIT_S = 500.0
ANSWER_LIMIT_S = 60.0
"""Longest wait for an HTTP answer: what must come comes late on a busy machine."""
CLI_LIMIT_S = 180.0
"""Longest run of a command: on a busy machine Python alone takes long to begin."""
STOP_LIMIT_S = 240.0
"""Above the sum of what roles, then parts, may take until they are killed."""
T = TypeVar("T")
Sample = tuple[str, frozenset[tuple[str, str]]]
"""Name and labels of one figure."""


class TopicRecord(NamedTuple):
    """One record as a consumer gets it."""

    key: bytes | None
    value: bytes | None
    partition: int
    headers: list[tuple[str, bytes | None]]


def until(what: str, look: Callable[[], T], limit_s: float = 240.0) -> T:
    """Look again until the result is true; the failure names `what`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.05)
    raise AssertionError(f"{what}: not seen within {limit_s:g} s")


def call(
    method: str, url: str, *, token: str | None = None, body: Any = None, timeout_s: float = ANSWER_LIMIT_S
) -> Answer:
    """One request, with more patience than an operator's."""
    return http_client.call(method, url, token=token, body=body, timeout_s=timeout_s)


@dataclass
class RunningInstance:
    """One instance and the shortest ways to act on it as a person, a business or an officer."""

    process: subprocess.Popen[bytes]
    ready_file: Path
    data: Path
    log: Path
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(491510000000, 491519999999)))

    @property
    def ready(self) -> dict[str, Any]:
        """The ready file as it stands now (process ids change)."""
        content: dict[str, Any] = json.loads(self.ready_file.read_text())
        return content

    @property
    def whatsapp(self) -> dict[str, str]:
        """The sandbox account."""
        account: dict[str, str] = self.ready["channels"]["whatsapp"]
        return account

    def api(self, method: str, path: str, role: str = "agent", body: Any = None) -> Answer:
        """One call of the HTTP API with a role's token."""
        ready = self.ready
        return call(method, ready["api_url"] + path, token=ready["tokens"][role], body=body)

    def new_number(self) -> str:
        """A number that nobody used before in this instance."""
        return str(next(self.numbers))

    def write(self, number: str, text: str, name: str = "Ada") -> None:
        """A person writes; the webhook must be taken."""
        body = {"from": number, "name": name, "text": text}
        answer = call("POST", f"{self.whatsapp['simulator_url']}/control/inbound", body=body)
        assert answer.status < 300, answer

    def post_webhook(self, value: dict[str, Any]) -> int:
        """Post one change of field `messages`, signed as the provider does; the HTTP status."""
        metadata = {"display_phone_number": "4930000000", "phone_number_id": self.whatsapp["account"]}
        change = {
            "field": "messages",
            "value": {"messaging_product": "whatsapp", "metadata": metadata, **value},
        }
        entry = {"id": "waba", "changes": [change]}
        body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
        return post_raw(self.whatsapp["webhook_url"], body, signature(self.whatsapp["app_secret"], body))

    def phone(self, number: str) -> list[dict[str, Any]]:
        """What the provider accepted for this number, in order."""
        answer = call("GET", f"{self.whatsapp['simulator_url']}/control/messages?to={number}")
        messages: list[dict[str, Any]] = answer.body["messages"]
        return messages

    def record(self) -> list[dict[str, Any]]:
        """Everything the provider accepted."""
        messages: list[dict[str, Any]] = call(
            "GET", f"{self.whatsapp['simulator_url']}/control/messages"
        ).body["messages"]
        return messages

    def subject_of(self, address: str, channel: str = "whatsapp") -> str:
        """Wait until the address has a subject."""
        body = {"channel": channel, "address": address}

        def look() -> str:
            answer = self.api("POST", "/v1/subjects/lookup", body=body)
            return str(answer.body["subject"]) if answer.status == 200 else ""

        return until("a subject", look)

    def sign_up(self, number: str, name: str = "Ada") -> str:
        """Walk the double opt-in; the subject."""
        before = len(self.phone(number))
        self.write(number, "START", name)
        until("the question", lambda: len(self.phone(number)) >= before + 1)
        self.write(number, "JA", name)
        until("the welcome", lambda: len(self.phone(number)) >= before + 2)
        return self.subject_of(number)

    def left_after_a_newsletter(self, number: str) -> tuple[str, str, str]:
        """Sign up, get a newsletter, write STOP, be refused the next: subject, message that arrived, message refused."""
        subject = self.sign_up(number)
        arrived = self.send(number, "Birnen sind da", "newsletter").body["message_id"]
        self.item(subject, arrived, {"delivered", "read"})
        self.write(number, "STOP")
        until("the withdrawal", lambda: "ConsentWithdrawn" in self.consent_types(subject))
        refused = self.send(number, "Noch eins", "newsletter").body["message_id"]
        self.item(subject, refused, {"rejected"})
        return subject, arrived, refused

    def send(
        self, address: str, text: str, purpose: str = "service", *, channel: str = "whatsapp", **more: Any
    ) -> Answer:
        """The business asks for a text."""
        to = {"channel": channel, "address": address}
        body = {"to": to, "purpose": purpose, "content": {"type": "text", "text": text}, **more}
        return self.api("POST", "/v1/messages", "producer", body)

    def item(self, subject: str, message: str, statuses: set[str], limit_s: float = 240.0) -> dict[str, Any]:
        """Wait until a message of a subject has one of the statuses."""

        def look() -> dict[str, Any] | None:
            answer = self.api("GET", f"/v1/subjects/{subject}/messages?limit=500")
            items = answer.body["items"] if answer.status == 200 else []
            return next((i for i in items if i["message_id"] == message and i["status"] in statuses), None)

        found = until(f"status in {sorted(statuses)}", look, limit_s)
        assert found is not None
        return found

    def consent_types(self, subject: str) -> list[str]:
        """Types of a subject's consent events, in order."""
        answer = self.api("GET", f"/v1/subjects/{subject}/consents")
        return [item["type"] for item in answer.body["items"]] if answer.status == 200 else []

    def erase(self, subject: str) -> dict[str, Any]:
        """Erase and wait for SubjectErased; the erasure."""
        accepted = self.api("POST", f"/v1/subjects/{subject}/erasure", "officer")
        assert accepted.status == 202, accepted

        def look() -> dict[str, Any] | None:
            answer = self.api("GET", f"/v1/erasures/{accepted.body['erasure_id']}", "officer")
            return (
                answer.body
                if answer.status == 200 and answer.body["state"] in {"erased", "settled"}
                else None
            )

        found = until("SubjectErased", look)
        assert found is not None
        return found

    def kill(self, role: str) -> int:
        """SIGKILL a role by the process id of the ready file; the id."""
        pid = int(self.ready["roles"][role]["pid"])
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_back(self, role: str, old_pid: int) -> None:
        """Wait until a killed role has a new process that says ready."""

        def look() -> bool:
            entry = self.ready["roles"][role]
            if entry["pid"] == old_pid:
                return False
            try:
                return (
                    call("GET", entry["metrics_url"].replace("/metrics", "/readyz"), timeout_s=10).status
                    == 200
                )
            except Exception:  # noqa: BLE001 - whatever it is, the role is not back yet
                return False

        until(f"{role} is back", look)


def signature(secret: str, body: bytes) -> str:
    """The header X-Hub-Signature-256 that Meta sends."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def post_raw(url: str, body: bytes, proof: str | None) -> int:
    """POST bytes as a webhook; the HTTP status."""
    headers = {"Content-Type": "application/json"}
    if proof is not None:
        headers["X-Hub-Signature-256"] = proof
    try:
        with urlopen(
            Request(url, data=body, headers=headers, method="POST"), timeout=ANSWER_LIMIT_S
        ) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def topic_records(bootstrap: str, topic: str) -> list[TopicRecord]:
    """Every record of a topic, each partition in order."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "reader",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 10,
    }
    consumer = Consumer(settings)
    try:
        numbers = consumer.list_topics(topic, timeout=60).topics[topic].partitions
        ranges = {n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=60) for n in numbers}
        left = {n: high for n, (low, high) in ranges.items() if high > low}
        consumer.assign([TopicPartition(topic, n, ranges[n][0]) for n in left])
        found: list[TopicRecord] = []
        while left:
            message = consumer.poll(60.0)
            assert message is not None, f"{topic} could not be read"
            assert message.error() is None, message.error()
            number, offset = message.partition(), message.offset()
            assert number is not None
            assert offset is not None
            if offset < ranges[number][1]:
                found.append(TopicRecord(message.key(), message.value(), number, _headers(message)))
            if offset + 1 >= ranges[number][1]:
                left.pop(number, None)
        return found
    finally:
        consumer.close()


def _headers(message: Message) -> list[tuple[str, bytes | None]]:
    """confluent-kafka's annotation knows more forms than a consumer ever gives."""
    given: Any = message.headers() or []
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in given]


def scrape(instance: RunningInstance, role: str) -> dict[Sample, float]:
    """All samples of one role, by name and labels."""
    with urlopen(instance.ready["roles"][role]["metrics_url"], timeout=ANSWER_LIMIT_S) as answer:
        text = answer.read().decode()
    return {
        (found.name, frozenset(found.labels.items())): found.value
        for family in text_string_to_metric_families(text)
        for found in family.samples
    }


def sample(instance: RunningInstance, role: str, name: str, /, **labels: str) -> float:
    """One sample of a role; 0 when there is none."""
    return scrape(instance, role).get((name, frozenset(labels.items())), 0.0)


@contextmanager
def running_instance(
    folder: Path, *arguments: str, times: dict[str, str] | None = None
) -> Iterator[RunningInstance]:
    """`sealpost up` on a data folder with free ports until the block ends (SIGINT, as Ctrl-C)."""
    folder.mkdir(parents=True, exist_ok=True)
    data, ready_file, log = folder / "data", folder / "ready.json", folder / "up.log"
    ready_file.unlink(missing_ok=True)
    environment = {**os.environ, **SHORT_TIMES, **PATIENCE, **(times or {})}
    command = [str(Path(sys.executable).with_name("sealpost")), "up", "--data", str(data)]
    command += ["--ready-file", str(ready_file), *arguments]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    instance = RunningInstance(process, ready_file, data, log)
    try:

        def look() -> bool:
            assert process.poll() is None, f"up ended with {process.returncode}:\n{log.read_text()[-4000:]}"
            return ready_file.exists()

        until("the ready file", look, START_LIMIT_S)
        yield instance
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"up did not end within {STOP_LIMIT_S:g} s of SIGINT") from None
