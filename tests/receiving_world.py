"""What receiver and inbound need around them: topics, a vault, tenants with accounts, signed webhooks, and the two roles."""

import hashlib
import hmac
import http.client
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
from prometheus_client import REGISTRY

from schemas import topics
from schemas.clock import boot_s, now_ms
from schemas.constants import Times
from schemas.envelope import Event
from schemas.events import tenants
from schemas.ids import random_id
from streams.kafka import admin
from streams.kafka.consumer import read_to_end
from streams.kafka.producer import OrderedProducer
from streams.kafka.settings_follower import SettingsFollower
from streams.step.batch_feed import BatchFeed
from streams.step.contract import Record
from streams.step.engine import Engine
from tests.vault_world import CHANNEL, FAST, Person, Tenant, tenant_event
from tests.vault_world import World as VaultWorld
from vault.vault import Vault
from workers import registry
from workers.inbound.handler import InboundHandler
from workers.intake.tenants import Registrar
from workers.receiver.role import Receiver, ReceiverConfig

PARTITIONS = 4
READ_S = 60.0
TIMES = replace(FAST, session_s=6.0, status_parked_s=1.5)
SECRET = "app-secret"
OUTBOX = "select 1 from step.outbox where role = 'inbound' limit 1"
"""Outputs that inbound has recorded and that may not be acknowledged yet."""


def await_until(what: str, condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Wait for a condition, looking often; fails with `what` after the limit."""
    deadline = boot_s() + limit_s
    pause = threading.Event()
    while not condition():
        assert boot_s() < deadline, f"not within {limit_s} s: {what}"
        pause.wait(0.03)


def sample(name: str, **labels: str) -> float:
    """A metric's value now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def sign(body: bytes, secret: str = SECRET) -> str:
    """Meta's header."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Site:
    """A tenant with one connection and one account; `number_id` is the provider's id of the account."""

    tenant: str
    connection: str
    account: str
    number_id: str


@dataclass
class ReceivingWorld:
    """One test's vault on the session's Kafka, with the tenants it makes."""

    bootstrap: str
    dsn: str
    folder: Path
    times: Times = TIMES
    vaults: VaultWorld = field(init=False)

    def __post_init__(self) -> None:
        admin.apply_topics(self.bootstrap, topics.catalogue(), PARTITIONS, 1, embedded=True)
        self.vaults = VaultWorld.make(self.dsn, self.times)
        self.producer = OrderedProducer(self.bootstrap, client_id="receiving-world")
        self.registrar = Registrar(self.vaults.vault, self.producer)

    @property
    def vault(self) -> Vault:
        """The vault of the test itself."""
        return self.vaults.vault

    def close(self) -> None:
        """Let connections go."""
        self.producer.close()
        self.vault.close()

    # Tenants

    def site(self, *, dpa: bool = True, approved: bool = True) -> Site:
        """A fresh tenant as the API would make it, and as role vault would know it."""
        name = f"t-{random_id()[:8]}"
        site = Site(name, f"c-{name}", f"a-{name}", str(int(random_id()[:12], 16)))
        self.registrar.register(name, "Beispiel GmbH", "de")
        with self.vault.transaction() as cursor:
            self.vault.add_connection(cursor, site.connection, name, CHANNEL, SECRET, "verify-me")
        if approved:
            self.approve(site)
        if dpa:
            self.registrar.sign_dpa(name, "1")
            self.vaults.apply(
                tenant_event(name, tenants.DpaSigned(version="1", signed_at="2026-01-01T00:00:00Z"))
            )
        self.vaults.caught_up()
        return site

    def approve(self, site: Site) -> None:
        """Put the account's credentials into the vault and approve it."""
        with self.vault.transaction() as cursor:
            self.vault.add_account(cursor, site.account, site.connection, site.number_id, "token", "http://x")
        self.registrar.approve_channel(site.tenant, CHANNEL, site.connection, site.account)
        approved = tenants.ChannelApproved(connection=site.connection, account=site.account)
        self.vaults.apply(tenant_event(site.tenant, approved, CHANNEL))

    def person(self, site: Site, number: str) -> Person:
        """Who writes from this number."""
        tenant = Tenant(self.vaults, site.tenant, site.account)
        address = tenant_address(number)
        subject = self.vault.find_subject(site.tenant, address)
        assert subject is not None
        return Person(tenant, subject, address)

    # Topics

    def records(self, topic: str, tenant: str) -> list[Record]:
        """All records of a tenant in a topic of events, by partition and offset."""
        found = [
            r
            for r in read_to_end(self.bootstrap, topic, timeout_s=READ_S)
            if tenant.encode() in (r.value or b"")
        ]
        return sorted(found, key=lambda r: (r.partition, r.offset))

    def events(self, topic: str, tenant: str) -> list[Event]:
        """All events of a tenant in a topic."""
        return [Event.from_bytes(record.value) for record in self.records(topic, tenant)]

    def letters(self, tenant: str) -> list[dict[str, Any]]:
        """The tenant's dead letters, `value` decoded."""
        letters = [
            orjson.loads(r.value or b"")
            for r in read_to_end(self.bootstrap, topics.DEADLETTERS, timeout_s=READ_S)
        ]
        decoded = [{**letter, "value": b64decode(letter["value"] or "")} for letter in letters]
        return [letter for letter in decoded if tenant.encode() in letter["value"]]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query in the vault database."""
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(query).fetchall()

    # Roles

    @contextmanager
    def receiver(
        self, *, vault: bool = True, cache: Path | None = None, bootstrap: str | None = None, **more: Any
    ) -> Iterator["Running"]:
        """A receiver in a thread, ready. `bootstrap`: another way to the broker."""
        config = ReceiverConfig(bootstrap or self.bootstrap, cache=cache, times=self.times, **more)
        found = self.vaults.other_process(self.times) if vault else None
        role = Receiver(config, self.vaults.master, found)
        stop = threading.Event()
        thread = threading.Thread(target=role.run, args=(stop,), name="receiver", daemon=True)
        thread.start()
        try:
            await_until("the receiver is ready", role.ready)
            yield Running(role)
        finally:
            stop.set()
            thread.join(30)
            if found is not None:
                found.close()
        assert not thread.is_alive()

    @contextmanager
    def inbound(self) -> Iterator[None]:
        """The role inbound in a thread, on the batch feed."""
        settings, vault = SettingsFollower(self.bootstrap), self.vaults.other_process(self.times)
        settings.start()
        producer = OrderedProducer(self.bootstrap, client_id="inbound-world")
        handler = InboundHandler(vault, settings, self.times)
        engine = Engine(
            handler, self.dsn, producer, cluster=admin.ClusterIdentity(self.bootstrap), times=self.times
        )
        feed = BatchFeed(engine, self.bootstrap, times=self.times, group=f"inbound-{random_id()}")
        stop = threading.Event()
        thread = threading.Thread(target=feed.run, args=(stop,), name="inbound", daemon=True)
        thread.start()
        try:
            await_until("inbound is ready", lambda: feed.ready)
            yield
        finally:
            stop.set()
            thread.join(30)
            engine.close()
            producer.close()
            settings.stop()
            vault.close()
        assert not thread.is_alive()

    def await_inbound(self) -> None:
        """Wait until inbound has handled everything its topic holds now, and what it wrote of it is in the log: a step's rows are
        committed before its outputs are produced."""
        topic = topics.inbound(CHANNEL)
        ends = {part: end for part, end in admin.end_offsets(self.bootstrap, topic).items() if end}

        def done() -> bool:
            rows = self.rows("select partition, next_offset from step.position where role = 'inbound'")
            at = dict(rows)
            return all(at.get(part, 0) >= end for part, end in ends.items()) and not self.rows(OUTBOX)

        await_until("inbound has read all", done)

    def parked(self) -> int:
        """Wakes of inbound that still wait."""
        return int(self.rows("select count(*) from step.due where role = 'inbound'")[0][0])


def tenant_address(number: str) -> Any:
    """The address of a number."""
    address = registry.channel("whatsapp").read_address(number)
    assert address is not None
    return address


@dataclass(frozen=True, slots=True)
class Running:
    """A receiver that serves."""

    role: Receiver

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        timeout_s: float = 60,
    ) -> tuple[int, bytes]:
        """One request; status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.role.port, timeout=timeout_s)
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, site: Site, body: bytes | dict[str, Any], secret: str = SECRET) -> int:
        """A signed webhook; the HTTP status."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = {"X-Hub-Signature-256": sign(raw, secret), "Content-Type": "application/json"}
        return self.ask("POST", f"/webhooks/{CHANNEL}/{site.connection}", raw, headers)[0]


# ---- webhooks ---------------------------------------------------------------------------------------------------------


def change(
    site: Site, *items: dict[str, Any], number_id: str | None = None, names: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """A change of field `messages` with messages and statuses; `names`: (number, profile name)."""
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "4930123456", "phone_number_id": number_id or site.number_id},
    }
    if names:
        value["contacts"] = [{"wa_id": number, "profile": {"name": name}} for number, name in names]
    for item in items:
        value.setdefault("statuses" if "status" in item else "messages", []).append(item)
    return {"field": "messages", "value": value}


def webhook(*changes: dict[str, Any]) -> dict[str, Any]:
    """A body with one entry."""
    return {"object": "whatsapp_business_account", "entry": [{"id": "waba", "changes": list(changes)}]}


def text(number: str, words: str, *, at_s: int | None = None, wamid: str | None = None) -> dict[str, Any]:
    """A person's message."""
    seconds = now_ms() // 1000 if at_s is None else at_s
    return {
        "from": number,
        "id": wamid or f"wamid.{random_id()}",
        "timestamp": str(seconds),
        "type": "text",
        "text": {"body": words},
    }


def status(wamid: str, word: str, number: str, **more: Any) -> dict[str, Any]:
    """A status of a message."""
    return {"id": wamid, "status": word, "timestamp": str(now_ms() // 1000), "recipient_id": number, **more}


def new_number() -> str:
    """A number nobody else in the tests has."""
    return "49" + str(int(random_id()[:9], 16)).zfill(11)
