"""The API as it runs: role api, role vault and the projector in threads, on the session's Kafka and fresh databases.

People come into being as inbound makes them: through the vault, with sealed events behind it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import orjson
from starlette.types import ASGIApp, Message

import projections
import vault as vault_package
from deploy.api import Api
from deploy.embedded import ports
from deploy.settings import Settings
from projections.projector import ProjectorHandler
from schemas import topics
from schemas.addresses import Address
from schemas.clock import month_of_ms, now_ms, to_text, today
from schemas.constants import Times
from schemas.content import TextReference
from schemas.envelope import Event, EventData, InvalidEvent, KeyClass, Sealed, SealedBlock
from schemas.events import consents, messages, registry, subscriptions
from schemas.ids import message_id, random_bytes, random_id
from streams.kafka import admin
from streams.kafka.admin import ClusterIdentity
from streams.kafka.consumer import read_to_end
from streams.kafka.producer import OrderedProducer
from streams.step.batch_feed import BatchFeed
from streams.step.connections import PROMPT
from streams.step.contract import Handler, Output
from streams.step.engine import Engine
from streams.step.migrate import apply_migrations
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.step_world import await_until
from vault.keyring import MasterKey
from vault.keys import KeyNeed
from vault.role import VaultHandler
from vault.sealing import IDENTITY_GENERATION, SealContext, seal
from vault.subjects import Sender
from vault.vault import Vault

PARTITIONS = 4
HOST = "127.0.0.1"
CHANNEL = "whatsapp"
TIMES = Times(lease_s=0.5, lease_outbound_s=0.3, session_s=6.0)
SEEN_LIMIT_S = 60.0
QUESTION = TextReference(id="consent_question", version=1, language="de")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """Decoded JSON."""
        return orjson.loads(self.raw)

    @property
    def problem(self) -> str:
        """Code of a problem; fails when the answer is none."""
        assert self.headers["content-type"] == "application/problem+json", self
        assert self.body["status"] == self.status
        assert self.body["title"]
        return str(self.body["type"]).removeprefix("urn:sealpost:problem:")

    @property
    def pointers(self) -> list[str]:
        """The fields that a problem names."""
        return [error["pointer"] for error in self.body["errors"]]


@dataclass(slots=True)
class ApiWorld:
    """One installation."""

    url: str
    bootstrap: str
    vault_dsn: str
    projections_dsn: str
    vault: Vault
    producer: OrderedProducer
    admin: str

    def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; `raw` is sent as it is."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = raw if raw is not None else None if body is None else orjson.dumps(body)
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        request = Request(self.url + path, data=data, headers=sent, method=method)
        try:
            with urlopen(request, timeout=60) as answer:
                return Reply(answer.status, _lower(answer.headers), answer.read())
        except HTTPError as error:
            return Reply(error.code, _lower(error.headers), error.read())

    def tenant(self, *, dpa: bool = True, language: str = "de") -> "Tenant":
        """A fresh tenant with an account, registered through the API."""
        name = f"t-{random_id()[:8]}"
        body = {"id": name, "name": "Obsthof Birnbaum", "default_language": language}
        reply = self.call("POST", "/v1/tenants", self.admin, body)
        assert reply.status == 201, reply
        tenant = Tenant(self, name, f"a-{name}", reply.body["tokens"])
        if dpa:
            assert self.call("POST", f"/v1/tenants/{name}/dpa", self.admin, {"version": "1"}).status == 202
        return tenant

    def produce(self, *events: Event) -> None:
        """Write events as Sealpost's own roles would."""
        outputs = []
        for event in events:
            topic = registry.TOPIC_OF[registry.MODELS[event.type]]
            outputs.append(Output(topic, event.key(), event.to_bytes()))
        self.producer.produce_all(outputs, 60)

    def written(self, topic: str, tenant: str) -> list[Event]:
        """Every event in a topic that concerns a tenant; other tests may have left there what is none."""
        found: list[Event] = []
        for record in read_to_end(self.bootstrap, topic, timeout_s=60):
            with suppress(InvalidEvent):
                found.append(Event.from_bytes(record.value))
        return [event for event in found if event.tenant == tenant]


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


@dataclass(frozen=True, slots=True)
class Tenant:
    """A registered business."""

    world: ApiWorld
    name: str
    account: str
    tokens: Mapping[str, str]

    def call(self, method: str, path: str, role: str, body: Any = None, **more: Any) -> Reply:
        """One request with the token of a role."""
        return self.world.call(method, path, self.tokens[role], body, **more)

    def send(
        self, to: Mapping[str, str], text: str = "Guten Tag", role: str = "producer", **more: Any
    ) -> Reply:
        """Ask for a text; `more` are fields of the body."""
        body = {"to": to, "purpose": "service", "content": {"type": "text", "text": text}, **more}
        return self.call("POST", "/v1/messages", role, body)

    def person(self, name: str = "Ada Birnbaum") -> "Person":
        """Somebody writes for the first time: subject, keys, reach, and the events of it in the log."""
        address = Address(CHANNEL, "phone", "49" + str(int(random_id()[:9], 16)).zfill(11))
        now = now_ms()
        with self.world.vault.transaction() as cursor:
            sender = Sender(self.name, CHANNEL, self.account, (address,), name, now, now)
            (found,) = self.world.vault.resolve_senders(cursor, [sender])
        return Person(self, found.subject, address, name)


@dataclass(slots=True)
class Person:
    """A living subject; its events are sealed with its real keys."""

    tenant: Tenant
    subject: str
    address: Address = field(repr=False)
    name: str = field(repr=False)

    @property
    def to(self) -> dict[str, str]:
        """As a recipient by address."""
        return {"channel": CHANNEL, "address": self.address.value}

    def get(self, what: str = "", role: str = "agent") -> Any:
        """`GET /v1/subjects/{id}{what}`; must be answered 200."""
        reply = self.tenant.call("GET", f"/v1/subjects/{self.subject}{what}", role)
        assert reply.status == 200, reply
        return reply.body

    def until(self, what: str, seen: Callable[[Any], object], role: str = "agent") -> Any:
        """Ask again until the answer is as wanted; the answer."""
        await_until(
            lambda: bool(seen(self.get(what, role))), SEEN_LIMIT_S, f"the projection shows {what or 'it'}"
        )
        return self.get(what, role)

    def event(
        self, data: EventData, personal: Mapping[KeyClass, Mapping[str, Any]], channel: str = CHANNEL
    ) -> Event:
        """An event with its personal fields sealed."""
        now, event_id = now_ms(), random_id()
        blocks = {
            one: self._block(one, event_id, type(data), now, values) for one, values in personal.items()
        }
        sealed = data.model_copy(update={"sealed": Sealed(**blocks)}) if blocks else data
        return registry.build(
            sealed,
            id=event_id,
            role="test",
            tenant=self.tenant.name,
            subject=self.subject,
            at_ms=now,
            channel=channel,
        )

    def _block(
        self, key_class: KeyClass, event_id: str, model: type[EventData], now: int, values: Mapping[str, Any]
    ) -> SealedBlock:
        generations: dict[KeyClass, str] = {
            "identity": IDENTITY_GENERATION,
            "content": month_of_ms(now),
            "evidence": random_id(),
        }
        need = KeyNeed(self.tenant.name, self.subject, key_class, generations[key_class])
        vault = self.tenant.world.vault
        with vault.transaction() as cursor:
            key = vault.sealing_keys(cursor, [need])[need]
        assert isinstance(key, bytes)
        context = SealContext(
            need.tenant, need.subject, event_id, registry.type_name(model), key_class, need.gen
        )
        return seal(key, context, orjson.dumps(dict(values)))

    def introduce(self) -> None:
        """SubjectCreated, AddressBound, ProfileUpdated."""
        account = self.tenant.account
        self.tenant.world.produce(
            self.event(subscriptions.SubjectCreated(account=account, entry_point="message"), {}),
            self.event(
                subscriptions.AddressBound(address_kind="phone", account=account),
                {"identity": {"address": self.address.value, "kind": "phone"}},
            ),
            self.event(subscriptions.ProfileUpdated(), {"identity": {"name": self.name}}),
        )

    def write(self, text: str) -> None:
        """MessageReceived."""
        now = now_ms()
        data = messages.MessageReceived(
            message=message_id(today(), b"k", random_id(), "test", "m"),
            account=self.tenant.account,
            kind="text",
            provider_kind="text",
            acted_at=to_text(now),
        )
        personal = {"text": text, "provider_id": "wamid.x", "provider_time": to_text(now)}
        self.tenant.world.produce(self.event(data, {"content": personal}))

    def sign_up(self, words: str) -> Event:
        """ConsentRequested and ConsentGiven, with the words as evidence, and SubscriptionActivated; the consent."""
        account, optin, now = self.tenant.account, random_id(), to_text(now_ms())
        notice = "privacy/1/de"
        asked = consents.ConsentRequested(
            optin=optin, purpose="newsletter", account=account, text=QUESTION, notice=notice, message="0" * 32
        )
        given = self.event(
            consents.ConsentGiven(
                optin=optin,
                purpose="newsletter",
                account=account,
                text=QUESTION,
                notice=notice,
                method="keyword",
                language="de",
                acted_at=now,
            ),
            {"evidence": {"text": words, "sender": self.address.value}},
        )
        active = subscriptions.SubscriptionActivated(
            subscription=random_id(),
            list="newsletter",
            purpose="newsletter",
            basis=given.id,
            account=account,
            language="de",
            acted_at=now,
        )
        self.tenant.world.produce(self.event(asked, {}), given, self.event(active, {}))
        return given


async def asgi_call(app: ASGIApp, method: str, path: str, body: Any) -> Reply:
    """One request to an application that no server serves, with some bearer token."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer x"), (b"content-type", b"application/json")],
        "scheme": "http",
        "server": (HOST, 80),
        "client": (HOST, 1),
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {
            "type": "http.request",
            "body": b"" if body is None else orjson.dumps(body),
            "more_body": False,
        }

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


@contextmanager
def running_api(kafka: KafkaServer, postgres: PostgresServer, folder: Path) -> Iterator[ApiWorld]:
    """Everything the API needs, and the API, until the block ends."""
    admin.apply_topics(kafka.bootstrap, topics.catalogue(), PARTITIONS, 1, embedded=True)
    vault_dsn, projections_dsn = postgres.fresh_database("vault"), postgres.fresh_database("projections")
    for dsn, package in ((vault_dsn, vault_package), (projections_dsn, projections)):
        apply_migrations(dsn, Path(str(package.__file__)).parent / "sql")
    master = MasterKey(random_bytes(32))
    port = ports.choose(("api",), folder)["api"]
    settings = Settings(
        kafka=kafka.bootstrap, vault_dsn=vault_dsn, projections_dsn=projections_dsn, host=HOST, port=port
    )
    stop = threading.Event()
    producer = OrderedProducer(kafka.bootstrap, client_id="test-api")
    vault = Vault(vault_dsn, master, TIMES)
    vault.make_partitions(today())
    with ExitStack() as stack:
        stack.callback(vault.close)
        stack.callback(producer.close)
        for handler, dsn in (
            (VaultHandler(Vault(vault_dsn, master, TIMES)), vault_dsn),
            (ProjectorHandler(), projections_dsn),
        ):
            stack.enter_context(running_handler(handler, dsn, kafka.bootstrap, stop))
        api = Api(settings, Vault(vault_dsn, master, TIMES, pool_size=8, limits=PROMPT))
        serving = threading.Thread(target=api.run, args=(stop,), name="api", daemon=True)
        serving.start()
        stack.callback(serving.join, 60)
        stack.callback(stop.set)
        await_until(api.ready, 90, "the API serves")
        yield ApiWorld(
            f"http://{HOST}:{port}",
            kafka.bootstrap,
            vault_dsn,
            projections_dsn,
            vault,
            producer,
            vault.issue_token(None, "admin"),
        )


@contextmanager
def running_handler(handler: Handler, dsn: str, bootstrap: str, stop: threading.Event) -> Iterator[None]:
    """A role on the engine, in a thread; ends when `stop` is set."""
    producer = OrderedProducer(bootstrap, client_id=f"test-{handler.role}", give_up=stop)
    engine = Engine(handler, dsn, producer, cluster=ClusterIdentity(bootstrap), times=TIMES)
    feed = BatchFeed(engine, bootstrap, times=TIMES, group=f"test.{handler.role}.{random_id()}")
    thread = threading.Thread(target=feed.run, args=(stop,), name=handler.role, daemon=True)
    thread.start()
    try:
        await_until(lambda: feed.ready, 90, f"role {handler.role} reads")
        yield
    finally:
        stop.set()
        thread.join(60)
        engine.close()
        producer.close()
