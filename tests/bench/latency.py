"""From a reply's request at the API to the provider's first byte of it, while another tenant's bulk runs and its statuses return.

A whole embedded instance with production times. The bulk goes out at the provider's rate of each of its accounts.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import orjson

from deploy import instance
from deploy.http_client import call
from schemas.clock import boot_s, month_of_ms, now_ms
from schemas.constants import PRODUCTION
from streams.kafka.producer import OrderedProducer
from tests.acceptance_instance import RunningInstance, running_instance, until
from tests.bench import certificate
from tests.bench.ground import Child, child
from tests.bench.permits import populate
from tests.bench.report import Aim, Figures, Measured
from tests.outbound_commands import Person, output_of, text_command
from tests.receiving_world import SECRET
from tests.vault_world import CHANNEL, Tenant
from tests.vault_world import World as VaultWorld
from vault.keyring import MasterKey
from vault.vault import Vault
from workers.intake.tenants import Registrar

BULK = 20_000
ACCOUNTS = 3
"""Of the bulk's tenant: each sends at the provider's rate, 80 a second."""
REPLIES_PER_S = 10
IDLE_S = 20.0
PEOPLE = 50
PROVIDER_DELAY_MS = 100
OTHER = "bulk-tenant"


class World:
    """A running instance whose account, and another tenant's accounts, are on a provider of ours."""

    def __init__(self, running: RunningInstance, folder: Path, people: int = BULK) -> None:
        """`people`: of the other tenant."""
        self.running = running
        self._count = people
        found = instance.require(running.data)
        self.vault = Vault(found.vault_dsn, MasterKey.from_file(Path(found.master_key_file)), PRODUCTION)
        self.vaults = VaultWorld(
            found.vault_dsn, self.vault, MasterKey.from_file(Path(found.master_key_file))
        )
        self.producer = OrderedProducer(found.kafka, client_id="bench")
        self.registrar = Registrar(self.vault, self.producer)
        self.folder = folder
        self.own = running.whatsapp["account"]
        self.accounts = [f"{OTHER}-{number}" for number in range(ACCOUNTS)]
        self.numbers = [running.new_number() for _ in range(PEOPLE)]
        self.people: list[Person] = []

    def provider_config(self) -> dict[str, object]:
        """Where statuses go, by account."""
        certified, key = certificate.make(self.folder)
        port = int(self.running.ready["receiver_url"].rsplit(":", 1)[1])
        path = f"/webhooks/{CHANNEL}/{OTHER}"
        webhooks = {one: {"port": port, "path": path, "secret": SECRET} for one in self.accounts}
        return {"certificate": str(certified), "key": str(key), "webhooks": webhooks}

    def register(self, provider: Child) -> None:
        """The other tenant with its accounts, and our own account on the provider too."""
        self.url = f"http://127.0.0.1:{provider.read()['port']}"
        base = f"{self.url}/{PROVIDER_DELAY_MS}/v25.0"
        self.registrar.register(OTHER, "Beispiel AG", "de")
        with self.vault.transaction() as cursor:
            self.vault.add_connection(cursor, OTHER, OTHER, CHANNEL, SECRET, "verify-me")
            for one in self.accounts:
                self.vault.add_account(cursor, one, OTHER, one, "token", base)
            connection = self.running.whatsapp["connection"]
            self.vault.add_account(cursor, self.own, connection, self.own, "token", base)
        for one in self.accounts:
            self.registrar.approve_channel(OTHER, CHANNEL, OTHER, one)
        self.registrar.sign_dpa(OTHER, "1")

    def fill(self) -> None:
        """People of both tenants; ours write, so that their windows are open."""
        tenant = Tenant(self.vaults, OTHER, self.accounts[0])
        month = month_of_ms(now_ms())
        found = populate(tenant, self._count)
        with self.vault.transaction() as cursor:
            # Everybody is reached through one of the accounts.
            for share, one in enumerate(self.accounts):
                cursor.execute(
                    "update vault.reach set account = %s where tenant = %s and abs(hashtext(subject::text)) %% %s = %s",
                    [one, OTHER, ACCOUNTS, share],
                )
            cursor.execute("select subject, account from vault.reach where tenant = %s", [OTHER])
            account_of = {subject.hex: account for subject, account in cursor.fetchall()}
        self.people = [Person(subject, key, month, OTHER, account_of[subject]) for subject, key in found]
        for number in self.numbers:
            self.running.write(number, "hello")
        for number in self.numbers:
            self.running.subject_of(number)

    def write_bulk(self) -> None:
        """A command for each person of the other tenant."""
        commands = [text_command(one, "News of the week.", purpose="newsletter") for one in self.people]
        self.producer.produce_all([output_of(command, bulk=True) for command in commands])

    def arrived(self) -> dict[str, float]:
        """Message → boot second of its first arrival at the provider."""
        found: dict[str, float] = {}
        for echo, at in call("GET", f"{self.url}/arrivals", timeout_s=60).body:
            found.setdefault(echo.rsplit(".", 1)[0], at)
        return found

    def forget(self) -> None:
        """Arrivals so far do not count."""
        call("DELETE", f"{self.url}/stats", timeout_s=60)

    def count(self) -> int:
        """Arrivals since then."""
        return int(call("GET", f"{self.url}/stats", timeout_s=60).body["count"])


def replies(world: World, enough: threading.Event, limit_s: float) -> dict[str, float]:
    """Ask for replies at a steady rate until it is enough; message → boot second of its request."""
    asked: dict[str, float] = {}
    begin, end = boot_s(), boot_s() + limit_s

    def ask(number: int, planned_s: float) -> None:
        answer = world.running.send(world.numbers[number % PEOPLE], f"reply {number}")
        assert answer.status == 202, answer
        asked[answer.body["message_id"]] = planned_s

    with ThreadPoolExecutor(16) as pool:
        jobs = []
        for number in range(int(limit_s * REPLIES_PER_S)):
            planned = begin + number / REPLIES_PER_S
            enough.wait(max(0.0, planned - boot_s()))
            if enough.is_set() or boot_s() > end:
                break
            jobs.append(pool.submit(ask, number, planned))
        for job in jobs:
            job.result()
    return asked


def waits_ms(world: World, asked: dict[str, float]) -> list[float]:
    """How long each reply took to the provider; fails when one never came."""
    found: dict[str, float] = {}

    def all_there() -> bool:
        found.update(world.arrived())
        return asked.keys() <= found.keys()

    until("all replies", all_there, 60)
    return [(found[message] - at) * 1000 for message, at in asked.items()]


def measure(world: World, rounds: int) -> None:
    """Alone, then with the bulk, in turn."""
    aims = {"with bulk p99": Aim(250, "at most"), "alone p99": Aim(250, "at most")}
    figures = Figures(f"request to provider call, bulk of {BULK:,}", "ms", "alone p50", aims)
    bulk = Figures("bulk meanwhile", "sends/s", "bulk")

    def add(name: str, waits: list[float]) -> None:
        figures.add(f"{name} p50", Measured(median(waits)))
        figures.add(f"{name} p99", Measured(quantiles(waits, n=100)[98]))

    for _ in range(rounds):
        world.forget()
        add("alone", waits_ms(world, replies(world, threading.Event(), IDLE_S)))
        world.forget()
        done = threading.Event()
        begin = boot_s()
        world.write_bulk()
        with watching(world, done):
            asked = replies(world, done, 600.0)
        add("with bulk", waits_ms(world, asked))
        bulk.add("bulk", Measured(BULK / (boot_s() - begin)))
    figures.finish()
    bulk.finish()


@contextmanager
def watching(world: World, done: threading.Event) -> Iterator[None]:
    """Sets `done` once nearly all of the bulk has arrived."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            if world.count() >= BULK * 0.98:
                done.set()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def production() -> dict[str, str]:
    """The environment of an instance with production times."""
    return {f"SEALPOST_{name.upper()}": str(value) for name, value in asdict(PRODUCTION).items()}


def run(rounds: int) -> None:
    """Start an instance, measure."""
    with TemporaryDirectory(prefix="sealpost-bench-") as name:
        folder = Path(name)
        with running_instance(folder / "instance", times=production()) as running:
            world = World(running, folder)
            with child("tests.bench.provider", world.provider_config()) as provider:
                world.register(provider)
                world.fill()
                until("our account on the provider", lambda: on_provider(world), 60)
                measure(world, rounds)
            world.producer.close()
            world.vault.close()


def on_provider(world: World) -> bool:
    """True once a reply arrives: outbound holds credentials for as long as a lease."""
    answer = world.running.send(world.numbers[0], "first")
    assert answer.status == 202, orjson.dumps(answer.body)
    pause = threading.Event()
    pause.wait(1.0)
    return answer.body["message_id"] in world.arrived()
