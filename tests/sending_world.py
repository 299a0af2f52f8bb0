"""What role outbound needs around it: topics, a vault with people, a simulated provider, and the role itself."""

import threading
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, TopicPartition

from deploy.http_client import call
from schemas import clock, topics
from schemas.constants import Times
from schemas.envelope import Event
from schemas.errors import SealpostError
from schemas.ids import random_id
from streams.kafka import admin
from streams.kafka.consumer import read_to_end
from streams.kafka.settings_follower import SettingsFollower
from streams.step.contract import Record
from tests import outbound_commands as commands
from tests.receiving_world import ReceivingWorld, Site, await_until
from tests.simulator_thread import SimulatorThread
from tests.vault_world import CHANNEL, Tenant
from tests.vault_world import Person as Living
from vault.connections import AccountLimits
from vault.outcomes import Plain
from vault.sealing import SealContext, open_block
from vault.vault import Vault
from workers.channel import Channel
from workers.channels.whatsapp import simulator
from workers.channels.whatsapp.channel import CHANNEL as WHATSAPP
from workers.outbound.turns import Limits
from workers.outbound.worker import OutboundConfig, OutboundWorker
from workers.simulator import SimulatedAccount, SimulatorSettings

TIMES = Times(
    lease_s=3.0,
    lease_outbound_s=3.0,
    http_s=4.0,
    claim_margin_s=0.2,
    echo_s=1.0,
    session_s=3.0,
    basis_wait_s=2.0,
    follower_behind_s=60.0,
)
"""Take-over after 7.2 s, a repetition after 8.2 s. On a busy machine, too, a provider that means to answer does so
within the limit of a call."""
TOKEN = "provider-token"
CLOSED_PORT_URL = "http://127.0.0.1:9"
"""Nobody listens there: refused at once."""


class Provider(SimulatorThread):
    """A simulator in a thread of its own, with the ways a test acts on it."""

    def __init__(self, numbers: Sequence[str], *, rate_per_s: float = 1_000.0, **more: Any) -> None:
        accounts = tuple(SimulatedAccount(number, "4930123456", TOKEN) for number in numbers)
        settings = SimulatorSettings(
            CLOSED_PORT_URL, "secret", accounts, rate_per_s=rate_per_s, statuses=(), **more
        )
        super().__init__(simulator.serve, settings)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the control side."""
        return call(method, f"{self.base}/control{path}", body=body).body

    def open_window(self, number: str, account: str) -> None:
        """The person writes to this account (the report of it reaches nobody)."""
        self.control("POST", "/inbound", {"from": number, "text": "hi", "account": account})

    def fault(self, **fault: Any) -> None:
        """Something goes wrong from now on."""
        answer = self.control("POST", "/faults", fault)
        assert "active" in answer, answer

    def messages(self, number: str | None = None) -> list[dict[str, Any]]:
        """What was accepted, in order."""
        found: list[dict[str, Any]] = self.control(
            "GET", f"/messages?to={number}" if number else "/messages"
        )["messages"]
        return found

    def bodies(self, number: str) -> list[str]:
        """The texts one person was sent, in order."""
        return [message["body"] for message in self.messages(number)]


class Tail:
    """Everything written to a topic since the tail was made, of one tenant."""

    def __init__(self, bootstrap: str, topic: str, tenant: str) -> None:
        self._tenant = tenant.encode()
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"tail-{random_id()}"})
        ends = admin.end_offsets(bootstrap, topic)
        self._consumer.assign([TopicPartition(topic, number, end) for number, end in ends.items()])
        self._records: list[Record] = []

    def records(self) -> list[Record]:
        """All of them so far, in the order of arrival (per partition: of the log)."""
        for message in self._consumer.consume(10_000, 0.1):
            if message.error() is None and self._tenant in (message.value() or b""):
                place = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
                self._records.append(Record(*place, message.key(), message.value(), message.timestamp()[1]))
        return list(self._records)

    def events(self) -> list[Event]:
        """The same, read."""
        return [Event.from_bytes(record.value) for record in self.records()]

    def close(self) -> None:
        """Let the client go."""
        self._consumer.close()


@dataclass(frozen=True)
class Somebody:
    """A person with an open window: the subject and the number it is reached at."""

    person: commands.Person
    living: Living
    number: str

    @property
    def subject(self) -> str:
        """The subject's id."""
        return self.person.subject


@dataclass
class SendingWorld:
    """One tenant with one account on a simulated provider, and the role outbound in front of it."""

    bootstrap: str
    dsn: str
    folder: Path
    times: Times = TIMES
    limits: Limits = field(default_factory=lambda: Limits(pause_first_s=0.3))
    account_limits: AccountLimits = field(default_factory=lambda: AccountLimits(rate_per_s=500.0))
    provider_rate_per_s: float = 1_000.0
    dead_letters: list[str] = field(default_factory=list)
    """Reasons of the dead letters that the test provokes."""
    world: ReceivingWorld = field(init=False)
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.world = ReceivingWorld(self.bootstrap, self.dsn, self.folder, self.times)
        self.site = self.world.site()
        self.second = Site(
            self.site.tenant,
            self.site.connection,
            f"{self.site.account}-2",
            str(int(self.site.number_id) + 1),
        )
        self.world.approve(self.second)
        self.world.vaults.caught_up(range(4))
        numbers = (self.site.number_id, self.second.number_id)
        self.provider = Provider(numbers, rate_per_s=self.provider_rate_per_s)
        for site in (self.site, self.second):
            self.credentials(site=site)
            self.limit(self.account_limits, site)
        self.group = f"outbound-{random_id()}"
        self.begin_at_end(self.group)
        self.statuses = Tail(self.bootstrap, topics.STATUSES, self.site.tenant)
        self.consents = Tail(self.bootstrap, topics.CONSENTS, self.site.tenant)

    def close(self) -> None:
        """End everything; nothing may have been dead-lettered but what the test meant to be."""
        letters = [letter["reason"] for letter in self.letters()]
        self.provider.close()
        self.statuses.close()
        self.consents.close()
        self.world.close()
        assert sorted(letters) == self.dead_letters

    def credentials(self, url: str | None = None, token: str = TOKEN, site: Site | None = None) -> None:
        """Where the account's API is, and with which token."""
        site = site or self.site
        base = f"{self.provider.base}/v25.0" if url is None else url
        with self.world.vault.transaction() as cursor:
            self.world.vault.add_account(cursor, site.account, site.connection, site.number_id, token, base)

    def limit(self, limits: AccountLimits, site: Site | None = None) -> None:
        """How fast the account may send."""
        with self.world.vault.transaction() as cursor:
            self.world.vault.limit_account(cursor, (site or self.site).account, limits)

    def begin_at_end(self, group: str) -> None:
        """Other tests' commands are not ours: the group begins where the topics end now."""
        both = (topics.outbound(CHANNEL), topics.outbound(CHANNEL, bulk=True))
        self.begun = {
            (topic, number): end
            for topic in both
            for number, end in admin.end_offsets(self.bootstrap, topic).items()
        }
        self.begin_at(group, self.begun)

    def begin_at(self, group: str, offsets: Mapping[tuple[str, int], int]) -> None:
        """A group that has read this far."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group})
        consumer.commit(
            offsets=[TopicPartition(*part, offset) for part, offset in offsets.items()], asynchronous=False
        )
        consumer.close()

    def somebody(self, *, site: Site | None = None, window: bool = True) -> Somebody:
        """A person who wrote just now."""
        site = site or self.site
        living = Tenant(self.world.vaults, site.tenant, site.account).person()
        gen = clock.month_of_ms(clock.now_ms())
        person = commands.Person(living.subject, living.content_key(), gen, site.tenant, site.account)
        if window:
            self.provider.open_window(living.address.value, site.number_id)
        return Somebody(person, living, living.address.value)

    def send(self, *events: Event, bulk: bool = False) -> None:
        """Write commands, in order."""
        self.world.producer.produce_all([commands.output_of(event, bulk=bulk) for event in events])

    @contextmanager
    def outbound(
        self,
        group: str | None = None,
        limits: Limits | None = None,
        *,
        channel: Channel = WHATSAPP,
        meddle: Callable[[Vault], None] | None = None,
        dsn: str | None = None,
    ) -> Iterator[OutboundWorker]:
        """The role in a thread, ready; ended in order, what it raised is raised here. `meddle` may make its vault misbehave,
        `dsn` is another way to the vault's database."""
        settings = SettingsFollower(self.bootstrap)
        vault = Vault(dsn or self.dsn, self.world.vaults.master, self.times)
        settings.start()
        if meddle is not None:
            meddle(vault)
        config = OutboundConfig(
            self.bootstrap, {CHANNEL: channel}, self.times, limits or self.limits, group or self.group
        )
        worker = OutboundWorker(config, vault, settings)
        stop = threading.Event()
        errors: list[SealpostError] = []

        def run() -> None:
            try:
                worker.run(stop)
            except SealpostError as error:
                errors.append(error)

        thread = threading.Thread(target=run, name="outbound", daemon=True)
        thread.start()
        try:
            await_until("outbound is ready", worker.ready)
            yield worker
        finally:
            stop.set()
            thread.join(60)
            settings.stop()
            vault.close()
        assert not thread.is_alive()
        if errors:
            raise errors[0]

    # What came of it

    def ends(self) -> dict[str, list[str]]:
        """The statuses of each message, in order, as `kind` or `kind:reason`."""
        found: dict[str, list[str]] = {}
        for event in self.statuses.events():
            words = (event.type.split(".")[2], event.data.get("reason"))
            found.setdefault(event.data["message"], []).append(":".join(word for word in words if word))
        return found

    def became(self, message: str) -> list[str]:
        """The statuses of one message."""
        return self.ends().get(message, [])

    def await_status(self, message: str, wanted: str, limit_s: float = 60.0) -> None:
        """Wait until a message's last status is this."""
        await_until(f"{wanted} of a message", lambda: self.became(message)[-1:] == [wanted], limit_s)

    def await_all(self, events: Sequence[Event], limit_s: float = 90.0) -> None:
        """Wait until every command has a status."""
        wanted = {event.data["message"] for event in events}

        def done() -> bool:
            return wanted <= {event.data["message"] for event in self.statuses.events()}

        await_until(f"statuses of {len(wanted)} messages", done, limit_s)

    def opened(self, event: Event, person: commands.Person) -> dict[str, Any]:
        """The sealed content of an event of ours."""
        block = event.block("content")
        assert block is not None
        context = SealContext(event.tenant, event.subject, event.id, event.type, "content", block.gen)
        opened = open_block(person.key, context, block)
        assert isinstance(opened, Plain)
        content: dict[str, Any] = orjson.loads(opened.value)
        return content

    def committed(self, group: str | None = None) -> int:
        """Commands that the group has finished since the world was made."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group or self.group})
        try:
            parts = [TopicPartition(topic, number) for topic, number in self.begun]
            return sum(o.offset - self.begun[(o.topic, o.partition)] for o in consumer.committed(parts, 60))
        finally:
            consumer.close()

    def outcomes(self, event: Event) -> list[tuple[int, str]]:
        """(attempt, class) of a message in the vault."""
        rows = self.world.rows(
            f"select attempt, class from vault.outcomes where message = '{event.data['message']}' order by attempt"
        )
        return [(int(attempt), str(name)) for attempt, name in rows]

    def letters(self) -> list[dict[str, Any]]:
        """Dead letters of role outbound that hold our tenant's name."""
        found = [
            orjson.loads(r.value or b"")
            for r in read_to_end(self.bootstrap, topics.DEADLETTERS, timeout_s=60)
        ]
        return [
            letter
            for letter in found
            if letter["role"] == "outbound" and self.site.tenant.encode() in b64decode(letter["value"] or "")
        ]
