"""A vault on a fresh database, and what its tests need around it: tenants, people, events for the role `vault`."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

import vault as vault_package
from schemas.addresses import Address
from schemas.clock import month_of_ms, now_ms, to_text, today
from schemas.constants import Times
from schemas.content import TextReference
from schemas.envelope import Event, EventData, Sealed, SealedBlock
from schemas.events import consents, deletions, registry, subscriptions, tenants
from schemas.ids import message_id, random_bytes, random_id, random_token
from schemas.topics import CHANNELS, CONSENTS, DELETIONS, SUBSCRIPTIONS, TENANTS, inbound
from streams.step.contract import Effects, Item, Output, Poison, Record
from streams.step.migrate import apply_migrations
from tests.step_world import await_until
from vault.keyring import MasterKey
from vault.keys import BlockToOpen, KeyNeed
from vault.permits import PermitRequest
from vault.role import VaultHandler
from vault.sealing import SealContext, seal
from vault.subjects import ResolvedSender, Sender
from vault.vault import Vault

CHANNEL = "whatsapp"
FAST = Times(lease_s=2.0, lease_outbound_s=1.0, http_s=0.8, claim_margin_s=0.2, echo_s=1.5)
"""Take-over after 2 s, unknown after 3.5 s: a busy machine asks twice within each."""
BLOCKED_S = 30.0
RAW_TOPICS = [inbound(channel) for channel in CHANNELS]
"""Those that role inbound reads."""


def migrate(dsn: str) -> None:
    """Bring an empty database into the vault's shape."""
    apply_migrations(dsn, Path(str(vault_package.__file__)).parent / "sql")


@dataclass(slots=True)
class World:
    """A vault and its role, without Kafka: events are applied in a transaction as the engine would do."""

    dsn: str
    vault: Vault
    master: MasterKey
    handler: VaultHandler = field(init=False)
    offset: int = 0

    def __post_init__(self) -> None:
        self.handler = VaultHandler(self.vault)

    @classmethod
    def make(cls, dsn: str, times: Times = FAST) -> "World":
        """Migrate, and make the day partitions."""
        migrate(dsn)
        master = MasterKey(random_bytes(32))
        world = cls(dsn, Vault(dsn, master, times), master)
        world.vault.make_partitions(today())
        return world

    def other_process(self, times: Times | None = None) -> Vault:
        """The same vault as another process sees it, with the same times unless others are named."""
        return Vault(self.dsn, self.master, times or self.vault.times)

    @contextmanager
    def sql(self) -> Iterator[psycopg.Cursor[Any]]:
        """A plain connection in autocommit."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            yield connection.cursor()

    # The role

    def record(self, event: Event, topic: str, partition: int = 0) -> Record:
        """The event as Kafka would give it."""
        self.offset += 1
        return Record(topic, partition, self.offset, event.key(), event.to_bytes(), now_ms())

    def apply(self, *events: Event) -> list[Event]:
        """Apply events in one step; what the role wrote, read back (dead letters apart)."""
        return [
            Event.from_bytes(o.value) for o in self.apply_records(self.record(e, topic_of(e)) for e in events)
        ]

    def apply_records(self, records: Iterable[Record]) -> list[Output]:
        """One step over records: prepare, apply; poison as the engine treats it."""
        effects = Effects()
        answers = self.handler.prepare(list(records))
        with self.vault.transaction() as cursor:
            for answer in answers:
                if isinstance(answer, Poison):
                    self.handler.poisoned(cursor, answer, effects)
            self.handler.apply(cursor, [a for a in answers if isinstance(a, Item)], effects)
        return [output for outputs in effects.outputs.values() for output in outputs]

    def caught_up(self, partitions: Sequence[int] = (0,)) -> None:
        """The role reached the ends of these partitions just now, and inbound those of its own."""
        with self.vault.transaction() as cursor:
            self.vault.inbound_read(cursor, RAW_TOPICS, partitions)
            self.handler.caught_up(cursor, partitions)

    # Tenants and people

    def tenant(self, *, dpa: bool = True) -> "Tenant":
        """A fresh tenant with an approved account and a follower that is up to date."""
        name = f"t-{random_id()[:8]}"
        account = f"a-{name}"
        registered = tenants.TenantRegistered(name=name, default_language="de")
        approved = tenants.ChannelApproved(connection=f"c-{name}", account=account)
        events = [tenant_event(name, registered), tenant_event(name, approved, CHANNEL)]
        if dpa:
            events.append(tenant_event(name, tenants.DpaSigned(version="1", signed_at=to_text(now_ms()))))
        self.apply(*events)
        self.caught_up()
        return Tenant(self, name, account)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant with one account."""

    world: World
    name: str
    account: str

    def sender(
        self, *addresses: Address, name: str | None = None, at_ms: int | None = None, **more: Any
    ) -> Sender:
        """Somebody writes."""
        at = now_ms() if at_ms is None else at_ms
        return Sender(self.name, CHANNEL, self.account, addresses, name, at, at, **more)

    def resolve(self, *senders: Sender) -> list[ResolvedSender]:
        """One inbound step."""
        with self.world.vault.transaction() as cursor:
            return self.world.vault.resolve_senders(cursor, senders)

    def person(self) -> "Person":
        """Somebody new has written."""
        address = phone()
        return Person(self, self.resolve(self.sender(address))[0].subject, address)


@dataclass(frozen=True, slots=True)
class Person:
    """A living subject with a phone number."""

    tenant: Tenant
    subject: str
    address: Address

    @property
    def vault(self) -> Vault:
        """The vault it lives in."""
        return self.tenant.world.vault

    def event(self, data: EventData) -> Event:
        """An event about the person."""
        return registry.build(
            data,
            id=random_id(),
            role="test",
            tenant=self.tenant.name,
            subject=self.subject,
            at_ms=now_ms(),
            channel=CHANNEL,
        )

    def given(
        self,
        at_ms: int,
        *,
        purpose: str = "newsletter",
        evidence: SealedBlock | None = None,
        optin: str | None = None,
    ) -> Event:
        """ConsentGiven."""
        return self.event(
            consents.ConsentGiven(
                optin=optin or random_id(),
                purpose=purpose,
                account=self.tenant.account,
                text=TextReference(id="consent_question", version=1, language="de"),
                notice="n1",
                method="keyword",
                language="de",
                acted_at=to_text(at_ms),
                sealed=Sealed(evidence=evidence) if evidence else None,
            )
        )

    def withdrawn(
        self, at_ms: int, *, purpose: str = "newsletter", evidence: SealedBlock | None = None
    ) -> Event:
        """ConsentWithdrawn."""
        return self.event(
            consents.ConsentWithdrawn(
                purpose=purpose,
                method="keyword",
                acted_at=to_text(at_ms),
                sealed=Sealed(evidence=evidence) if evidence else None,
            )
        )

    def asked_in(self, at_ms: int, optin: str, evidence: SealedBlock) -> Event:
        """OptInRequested."""
        return self.event(
            consents.OptInRequested(
                optin=optin,
                purpose="newsletter",
                account=self.tenant.account,
                entry_point="keyword",
                language="de",
                acted_at=to_text(at_ms),
                sealed=Sealed(evidence=evidence),
            )
        )

    def evidence(self, words: bytes = b"JA") -> tuple[KeyNeed, BlockToOpen]:
        """An evidence block as inbound makes it."""
        need = KeyNeed(self.tenant.name, self.subject, "evidence", random_id())
        event_id, kind = random_id(), "sealpost.message.received.v1"
        with self.vault.transaction() as cursor:
            key = self.vault.sealing_keys(cursor, [need])[need]
        assert isinstance(key, bytes)
        context = SealContext(self.tenant.name, self.subject, event_id, kind, "evidence", need.gen)
        block = seal(key, context, words).model_copy(update={"sealed_in": event_id, "type": kind})
        return need, BlockToOpen(self.tenant.name, self.subject, random_id(), "carrier", "evidence", block)

    def erasure(self, erasure: str | None = None) -> Event:
        """ErasureRequested."""
        t0 = to_text(now_ms())
        return self.event(
            deletions.ErasureRequested(erasure=erasure or random_id(), requested_by="person", t0=t0)
        )

    def ask(self, **more: Any) -> PermitRequest:
        """A permit for a free-form service message that was asked for just now."""
        now = now_ms()
        request = PermitRequest(
            tenant=self.tenant.name,
            subject=self.subject,
            message=message_id(today(), b"k", random_id(), "test", "m"),
            part=0,
            account=self.tenant.account,
            channel=CHANNEL,
            purpose="service",
            kind="free_form",
            requested_at_ms=now,
            expires_ms=now + 60_000,
            delivery="at_least_once",
            token=random_token(),
            partition=0,
        )
        return replace(request, **more)

    def content_key(self) -> bytes:
        """This month's content key, made if need be."""
        need = KeyNeed(self.tenant.name, self.subject, "content", month_of_ms(now_ms()))
        with self.vault.transaction() as cursor:
            key = self.vault.sealing_keys(cursor, [need])[need]
        assert isinstance(key, bytes)
        return key


def phone() -> Address:
    """A number nobody else in the tests has."""
    return Address(CHANNEL, "phone", "49" + str(int(random_id()[:9], 16)).zfill(11))


def bsuid() -> Address:
    """A business-scoped user id."""
    return Address(CHANNEL, "bsuid", "DE." + random_id())


def tenant_event(
    tenant: str, data: EventData, channel: str | None = None, *, at_ms: int | None = None
) -> Event:
    """An event of `tenants`, of now."""
    at = now_ms() if at_ms is None else at_ms
    return registry.build(
        data, id=random_id(), role="test", tenant=tenant, subject=tenant, at_ms=at, channel=channel
    )


def topic_of(event: Event) -> str:
    """The topic an event belongs to."""
    topic = registry.TOPIC_OF[registry.MODELS[event.type]]
    assert topic in (CONSENTS, DELETIONS, SUBSCRIPTIONS, TENANTS)
    return topic


def created(person: Person) -> Event:
    """SubjectCreated."""
    return person.event(subscriptions.SubjectCreated(account=person.tenant.account, entry_point="chat"))


def wait_until_blocked(world: World, count: int) -> None:
    """Wait until this many statements of the vault wait for a lock."""

    def blocked() -> bool:
        with world.sql() as cursor:
            cursor.execute(
                "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )
            row = cursor.fetchone()
        return row is not None and bool(row[0] >= count)

    await_until(blocked, BLOCKED_S, f"{count} wait for a lock")
