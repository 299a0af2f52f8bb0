"""Random stories: a claim through submit, crash, redelivery, echo, take-over and erasure; keys under threads and erasures."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.clock import boot_s, now_ms
from schemas.constants import Times
from schemas.events.messages import Delivery
from schemas.ids import random_id, random_token
from streams.step.contract import Output
from tests.embedded_fixtures import PostgresServer
from tests.vault_world import Person, Tenant, World
from vault.claims import EchoSettlement, OutcomeClass, Settlement
from vault.keys import KeyNeed
from vault.outcomes import Erased
from vault.permits import Answer, Permit, PermitRequest, Refusal, Settled, Unknown
from vault.vault import Vault

SLOW = Times(lease_s=60, lease_outbound_s=15, http_s=10, echo_s=0)
"""No limit passes by itself while a test runs: time passes only where a rule makes the claims older. Without a wait for the
echo nothing but the take-over time stands between two callers."""
WORKERS = 2
STORIES = 60
STEPS = 24


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    made = World.make(postgres_server.fresh_database("vault"), SLOW)
    yield made
    made.vault.close()


@dataclass(slots=True)
class Call:
    """A provider call under way: it may reach the provider until `ends_s` of the story's clock."""

    attempt: int
    ends_s: float
    reached: bool = False


@dataclass(slots=True)
class Worker:
    """An outbound process with the command in hand."""

    token: str
    permit: Permit | None = None
    call: Call | None = None


class ClaimStory:
    """One message, workers that may all hold its command, a provider that counts. `step` does one thing that can happen."""

    def __init__(
        self, world: World, tenant: Tenant, vaults: list[Vault], delivery: Delivery, chance: Random
    ) -> None:
        self.world, self.tenant, self.vaults, self.delivery, self.chance = (
            world,
            tenant,
            vaults,
            delivery,
            chance,
        )
        self.person: Person = tenant.person()
        self.request: PermitRequest = self.person.ask(delivery=delivery, expires_ms=now_ms() + 10**9)
        self.workers = [Worker(random_token()) for _ in vaults]
        self.passed_s = 0.0
        self.done: list[str] = []
        self.reached: list[int] = []
        self.open_reached: set[int] = set()
        self.stored: set[tuple[Output, ...]] = set()
        self.erased = False

    def step(self) -> None:
        """Do one of the things that can happen now; AssertionError when it may not happen."""
        choices: dict[Callable[[], None], float] = {
            self._ask: 4.0 * bool(self._idle()),
            self._start_call: 4.0 * bool(self._may_call()),
            self._reach_provider: 4.0 * bool(self._arriving()),
            self._answer_comes: 1.0 * bool(self._calling()),
            self._crash: 1.5 * bool(self._calling()),
            self._time_passes: 2.0,
            self._echo: 0.3 * bool(self.reached),
            self._erase: 0.02 * (not self.erased),
        }
        (action,) = self.chance.choices(list(choices), list(choices.values()))
        self.done.append(action.__name__)
        action()
        self._one_holder_at_a_time()

    def _clock_s(self) -> float:
        return boot_s() + self.passed_s

    def _settlement(self, attempt: int, outcome: OutcomeClass) -> Settlement:
        outputs = (Output("t", b"k", f"{outcome} {attempt} {random_id()}".encode()),)
        return Settlement(self.tenant.name, self.request.message, 0, attempt, outcome, outputs)

    def _settled(self, worker: Worker, made: Settlement) -> None:
        (stored,) = self.vaults[0].settle([made])
        if made.outcome in ("submitted", "failed"):
            self.open_reached.discard(made.attempt)
        if made.outcome != "retry":
            self.stored.add(stored)
        worker.permit = worker.call = None

    def _idle(self) -> list[int]:
        return [n for n, worker in enumerate(self.workers) if worker.call is None]

    def _may_call(self) -> list[Worker]:
        now = self._clock_s()
        return [
            w for w in self.workers if w.call is None and w.permit is not None and now < w.permit.deadline_s
        ]

    def _calling(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.call is not None]

    def _arriving(self) -> list[Call]:
        now = self._clock_s()
        return [
            w.call for w in self.workers if w.call is not None and not w.call.reached and now < w.call.ends_s
        ]

    def _ask(self) -> None:
        which = self.chance.choice(self._idle())
        worker = self.workers[which]
        if self.chance.random() < 0.6:
            worker.token = random_token()
        before = self._clock_s()
        answer: Answer = self.vaults[which].permits([replace(self.request, token=worker.token)])[0]
        worker.permit = None
        match answer:
            case Permit():
                assert not self.erased
                worker.permit = replace(answer, deadline_s=answer.deadline_s + self.passed_s)
                assert worker.permit.deadline_s <= before + SLOW.lease_outbound_s + 1
            case Settled(outputs):
                assert outputs in self.stored
            case Unknown(attempt):
                self._settled(worker, self._settlement(attempt, "unknown"))
            case Refusal(reason):
                assert self.erased
                assert reason == "erased"

    def _start_call(self) -> None:
        worker = self.chance.choice(self._may_call())
        assert worker.permit is not None
        worker.call = Call(worker.permit.attempt, self._clock_s() + SLOW.http_s)

    def _reach_provider(self) -> None:
        call = self.chance.choice(self._arriving())
        call.reached = True
        if self.reached:
            assert self.delivery == "at_least_once"
            assert self.open_reached, "a second delivery only while the outcome of an earlier one is open"
        self.reached.append(call.attempt)
        self.open_reached.add(call.attempt)

    def _answer_comes(self) -> None:
        worker = self.chance.choice(self._calling())
        yes = self.chance.random() < 0.7
        assert worker.call is not None
        if worker.call.reached:
            self._settled(worker, self._settlement(worker.call.attempt, "submitted" if yes else "failed"))
        else:
            self._settled(worker, self._settlement(worker.call.attempt, "retry"))

    def _crash(self) -> None:
        self.workers[self.workers.index(self.chance.choice(self._calling()))] = Worker(random_token())

    def _time_passes(self) -> None:
        seconds = self.chance.choice([9.0, 14.5, 27.0])
        self.passed_s += seconds
        with self.world.sql() as cursor:
            cursor.execute(
                "update vault.claims set at_ms = at_ms - %s where message = %s",
                [round(seconds * 1000), self.request.message],
            )

    def _echo(self) -> None:
        outputs = (Output("t", b"k", b"echo"),)
        echo = EchoSettlement(self.tenant.name, self.request.message, 0, outputs)
        with self.vaults[0].transaction() as cursor:
            if self.vaults[0].settle_by_echo(cursor, [echo])[0]:
                self.stored.add(outputs)

    def _erase(self) -> None:
        self.world.apply(self.person.erasure())
        self.erased = True

    def _one_holder_at_a_time(self) -> None:
        """Whoever may still call is alone."""
        now = self._clock_s()
        holders = {worker.permit.attempt for worker in self._may_call() if worker.permit is not None}
        callers = {w.call.attempt for w in self.workers if w.call is not None and now < w.call.ends_s}
        assert len(holders | callers) <= 1


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
def test_claims(world: World, delivery: Delivery) -> None:
    """Never two deliveries with at_most_once; with at_least_once a second one only while the first one's outcome is open."""
    vaults = [world.other_process(SLOW) for _ in range(WORKERS)]
    tenant = world.tenant()
    for vault in vaults:
        vault.permits([tenant.person().ask()])  # the first call tells a process how the clocks stand
    delivered = [0] * 10
    for seed in range(STORIES):
        story = ClaimStory(world, tenant, vaults, delivery, Random(seed))
        try:
            for _ in range(STEPS):
                story.step()
        except AssertionError as error:
            raise AssertionError(f"story {seed}: {story.done}") from error
        delivered[len(story.reached)] += 1
    assert delivered[1] > STORIES / 3, "the stories tell something"
    assert (sum(delivered[2:]) > STORIES / 20) == (delivery == "at_least_once")
    for vault in vaults:
        vault.close()


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_create_seal_and_erase_in_any_interleaving_leave_no_key(world: World, seed: int) -> None:
    """L2 under threads: people write, are sealed for, are erased and come back, all at once."""
    tenant = world.tenant()
    people = [tenant.person() for _ in range(3)]
    by_hand = psycopg.errors.CheckViolation
    start = threading.Barrier(6)

    def writer(number: int) -> None:
        chance = Random(seed + number)
        start.wait(60)
        for _ in range(12):
            person = chance.choice(people)
            need = KeyNeed(tenant.name, person.subject, "content", f"20{chance.randint(10, 99)}-01")
            with world.vault.transaction() as cursor:
                if chance.random() < 0.5:
                    (found,) = world.vault.resolve_senders(cursor, [tenant.sender(person.address)])
                    if not found.dropped:
                        need = need._replace(subject=found.subject)
                keys = world.vault.sealing_keys(cursor, [need])
                assert isinstance(keys[need], bytes | Erased)

    def vandal(number: int) -> None:
        chance = Random(seed + number)
        start.wait(60)
        with world.sql() as cursor:
            for _ in range(12):
                subject = chance.choice(people).subject
                try:
                    cursor.execute(
                        "insert into vault.keys (subject, tenant, class, gen, wrapped, kcv, created_ms) "
                        "values (%s, %s, 'content', %s, 'x', 'x', 1) on conflict (subject, tenant, class, gen) "
                        "do update set wrapped = excluded.wrapped, destroyed_ms = null",
                        [subject, tenant.name, f"hand-{chance.randint(1, 3)}"],
                    )
                except by_hand:
                    continue

    def eraser(number: int) -> None:
        chance = Random(seed + number)
        start.wait(60)
        for person in chance.sample(people, len(people)):
            threading.Event().wait(chance.random() * 0.03)
            world.apply(person.erasure())

    with ThreadPoolExecutor(6) as pool:
        jobs = [
            pool.submit(work, n) for n, work in enumerate([writer, writer, writer, vandal, vandal, eraser])
        ]
        for job in jobs:
            job.result(120)
    with world.sql() as cursor:
        cursor.execute(
            """select count(*) from vault.keys k join vault.subjects s using (subject, tenant)
               where s.tenant = %s and s.state = 'erased' and k.class <> 'evidence' and k.wrapped is not null""",
            [tenant.name],
        )
        assert cursor.fetchone() == (0,)
        cursor.execute(
            "select state, count(*) from vault.subjects where tenant = %s group by state", [tenant.name]
        )
        states = dict(cursor.fetchall())
        assert states["erased"] == len(people)
        cursor.execute(
            """select count(*) from vault.addresses a join vault.subjects s using (subject, tenant)
               where s.tenant = %s and s.state = 'erased'""",
            [tenant.name],
        )
        assert cursor.fetchone() == (0,)
