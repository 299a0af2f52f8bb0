"""Role inbound on the real engine, Kafka and PostgreSQL, fed with typed values of a small channel that parses nothing."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import orjson

from schemas import topics
from schemas.addresses import Address
from schemas.clock import now_ms, today
from schemas.envelope import Event
from schemas.events import registry
from schemas.events.inbound import FragmentReceived
from schemas.ids import message_id, random_id, random_token
from streams.kafka import admin
from streams.kafka.producer import OrderedProducer
from streams.kafka.settings_follower import SettingsFollower
from streams.step.contract import Record
from streams.step.engine import Engine
from tests.receiving_world import PARTITIONS, ReceivingWorld, Site
from tests.vault_world import CHANNEL, Person, Tenant
from vault.claims import Settlement
from vault.ingress import INGRESS_ALGORITHM, DaySealer
from vault.keys import BlockToOpen
from vault.outcomes import Plain
from vault.permits import Permit
from workers import registry as channels
from workers.channel import Capabilities, Channel
from workers.inbound.handler import InboundHandler
from workers.inbound_values import (
    Inbound,
    InboundAddressChange,
    InboundEdit,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
)

PARTITION = 0
ACCOUNT_REF = "ref"


class SmallChannel:
    """Its fragments name values that the test holds; everything else of a channel is never asked for."""

    name = CHANNEL

    def __init__(self) -> None:
        self.capabilities: Capabilities = channels.channel(CHANNEL).capabilities
        self.values: list[Inbound] = []

    def parse(self, raw: dict[str, Any]) -> list[Inbound]:
        """The value that the fragment names."""
        return [self.values[raw["value"]]]


@dataclass
class ActingWorld:
    """One engine of role inbound, which handles what a test gives it, batch by batch."""

    world: ReceivingWorld
    engine: Engine
    channel: SmallChannel
    topic: str = topics.inbound(CHANNEL)
    sealed: dict[str, DaySealer] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls, world: ReceivingWorld) -> Iterator["ActingWorld"]:
        """Take over, and let go in the end."""
        settings, channel = SettingsFollower(world.bootstrap), SmallChannel()
        settings.start()
        producer = OrderedProducer(world.bootstrap, client_id="acting-world")
        handler = InboundHandler(world.vault, settings, world.times, channel=lambda _: cast(Channel, channel))
        handler.topics = (topics.inbound(CHANNEL),)
        engine = Engine(
            handler, world.dsn, producer, cluster=admin.ClusterIdentity(world.bootstrap), times=world.times
        )
        engine.take_over(tuple(range(PARTITIONS)))
        try:
            yield cls(world, engine, channel)
        finally:
            engine.close()
            producer.close()
            settings.stop()

    def site(self) -> Site:
        """A fresh tenant with an account."""
        return self.world.site()

    def tenant(self, site: Site) -> Tenant:
        """The tenant as tests of the vault see it."""
        return Tenant(self.world.vaults, site.tenant, site.account)

    def handle(self, site: Site, *values: Inbound, at_ms: int | None = None) -> None:
        """One step over fragments that hold these values, received at `at_ms`."""
        first = self.engine.position(self.topic, PARTITION) or 0
        records = []
        for number, value in enumerate(values):
            self.channel.values.append(value)
            raw = {"value": len(self.channel.values) - 1}
            records.append(self._record(site, raw, first + number, at_ms or now_ms()))
        self.engine.step(records)
        self.engine.tidy()

    def wait(self, seconds: float) -> None:
        """Handle what is due so long from now."""
        while self.engine.run_due(now_ms() + round(seconds * 1000)):
            self.engine.tidy()

    def _record(self, site: Site, raw: dict[str, Any], offset: int, at_ms: int) -> Record:
        day = today().isoformat()
        sealer = self.sealed.get(site.tenant)
        if sealer is None:
            query = f"select public from vault.day_keys where tenant = '{site.tenant}' and day = '{day}'"
            sealer = self.sealed[site.tenant] = DaySealer(self.world.rows(query)[0][0])
        plaintext = orjson.dumps({"fragment": raw})
        ct = sealer.seal((site.tenant, site.connection, site.account, day), plaintext)
        data = FragmentReceived(
            connection=site.connection,
            account=site.account,
            day=day,
            alg=INGRESS_ALGORITHM,
            ct=b64encode(ct).decode(),
        )
        event = registry.build(
            data,
            id=random_id(),
            role="receiver",
            tenant=site.tenant,
            subject=site.connection,
            at_ms=at_ms,
            channel=CHANNEL,
        )
        return Record(self.topic, PARTITION, offset, b"ab12", event.to_bytes(), at_ms)

    def subject(self, site: Site, address: Address) -> str | None:
        """Whom an address reaches."""
        return self.world.vault.find_subject(site.tenant, address)

    def person(self, site: Site, address: Address) -> Person:
        """Who is reached there."""
        subject = self.subject(site, address)
        assert subject is not None
        return Person(self.tenant(site), subject, address)

    def events(self, topic: str, site: Site, *kinds: str) -> list[Event]:
        """Events of the tenant, of these types (`message.edited`) where any are named."""
        wanted = {f"sealpost.{kind}.v1" for kind in kinds}
        return [e for e in self.world.events(topic, site.tenant) if not wanted or e.type in wanted]

    def plain(self, event: Event, key_class: Any = "content") -> dict[str, Any]:
        """A sealed block, opened by the vault."""
        block = event.block(key_class)
        assert block is not None
        wanted = BlockToOpen(event.tenant, event.subject, event.id, event.type, key_class, block)
        (found,) = self.world.vault.open_blocks([wanted])
        assert isinstance(found, Plain), found
        content: dict[str, Any] = orjson.loads(found.value)
        return content

    def send(self, person: Person, *, provider_id: str | None = None, settle: bool = True) -> str:
        """What outbound leaves in the vault for a message that the provider took; its id."""
        message = message_id(today(), b"k", random_id(), "test", "m")
        (permit,) = self.world.vault.permits([person.ask(message=message, token=random_token())])
        assert isinstance(permit, Permit), permit
        if settle:
            self.settle(person, message, provider_id or random_id())
        return message

    def settle(self, person: Person, message: str, provider_id: str) -> None:
        """The provider took the first attempt."""
        tenant = person.tenant.name
        index = self.world.vault.provider_index(tenant, CHANNEL, provider_id)
        self.world.vault.settle([Settlement(tenant, message, 0, 1, "submitted", (), index)])


# ---- values -----------------------------------------------------------------------------------------------------------


def wrote(
    *addresses: Address, text: str | None = "Hallo", at_ms: int | None = None, **more: Any
) -> InboundMessage:
    """A message."""
    base = InboundMessage(ACCOUNT_REF, random_id(), at_ms or now_ms(), addresses, None, "text", "text", text)
    return replace(base, **more)


def edited(address: Address, target: str, text: str | None) -> InboundEdit:
    """An edit."""
    return InboundEdit(ACCOUNT_REF, random_id(), now_ms(), (address,), target, text, {"edit": target})


def revoked(address: Address, target: str) -> InboundRevoke:
    """A message is taken back."""
    return InboundRevoke(ACCOUNT_REF, random_id(), now_ms(), (address,), target)


def reacted(address: Address, target: str, emoji: str) -> InboundReaction:
    """A reaction."""
    return InboundReaction(ACCOUNT_REF, random_id(), now_ms(), (address,), target, emoji)


def moved(old: Address, *new: Address, at_ms: int | None = None) -> InboundAddressChange:
    """A change of address."""
    return InboundAddressChange(ACCOUNT_REF, random_id(), at_ms or now_ms(), (old,), new)


def switched(address: Address, value: Any, at_ms: int | None = None) -> InboundOptOut:
    """The provider's switch for everything."""
    return InboundOptOut(ACCOUNT_REF, random_id(), at_ms or now_ms(), (address,), "all", value)
