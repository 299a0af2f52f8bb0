"""Random stories: a claim through submit, crash, redelivery, echo, take-over and erasure; keys under threads and erasures."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from schemas.clock import boot_s, now_ms
from schemas.constants import Times
from schemas.ids import random_id, random_token
from streams.step.contract import Output
from tests.embedded_fixtures import PostgresServer
from tests.vault_world import Person, Tenant, World
from vault.claims import EchoSettlement, OutcomeClass, Settlement
from vault.keys import KeyNeed
from vault.outcomes import Erased
from vault.permits import Answer, Permit, PermitRequest, Refusal, Settled, Unknown
from vault.vault import Vault

SLOW = Times(lease_s=60, lease_outbound_s=15, http_s=10, echo_s=60)
"""No limit passes by itself while a test runs: time passes only where a rule makes the claims older."""
WORKERS = 3


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


class ClaimStory(RuleBasedStateMachine):
    """One message, three workers that may all hold its command, a provider that counts."""

    world: World
    tenant: Tenant
    vaults: list[Vault]
    delivery: str

    def __init__(self) -> None:
        super().__init__()
        self.person: Person = self.tenant.person()
        self.request: PermitRequest = self.person.ask(delivery=self.delivery, expires_ms=now_ms() + 10**9)
        self.workers = [Worker(random_token()) for _ in range(WORKERS)]
        self.passed_s = 0.0
        self.reached: list[int] = []
        self.open_reached: set[int] = set()
        self.stored: set[tuple[Output, ...]] = set()
        self.erased = False
        for vault in self.vaults:
            vault.permits([self.person.ask()])

    def clock_s(self) -> float:
        return boot_s() + self.passed_s

    def settlement(self, attempt: int, outcome: OutcomeClass) -> Settlement:
        outputs = (Output("t", b"k", f"{outcome} {attempt} {random_id()}".encode()),)
        return Settlement(self.tenant.name, self.request.message, 0, attempt, outcome, outputs)

    def settled(self, worker: Worker, made: Settlement) -> None:
        (stored,) = self.vaults[0].settle([made])
        if made.outcome in ("submitted", "failed"):
            self.open_reached.discard(made.attempt)
        if made.outcome != "retry":
            self.stored.add(stored)
        worker.permit = worker.call = None

    @rule(which=st.integers(0, WORKERS - 1), fresh=st.booleans())
    def ask(self, which: int, fresh: bool) -> None:
        worker = self.workers[which]
        if worker.call is not None:
            return
        if fresh:
            worker.token = random_token()
        before = self.clock_s()
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
                self.settled(worker, self.settlement(attempt, "unknown"))
            case Refusal(reason):
                assert self.erased
                assert reason == "erased"

    @rule(which=st.integers(0, WORKERS - 1))
    def start_call(self, which: int) -> None:
        worker = self.workers[which]
        if worker.permit is not None and worker.call is None and self.clock_s() < worker.permit.deadline_s:
            worker.call = Call(worker.permit.attempt, self.clock_s() + SLOW.http_s)

    @rule(which=st.integers(0, WORKERS - 1))
    def reach_provider(self, which: int) -> None:
        call = self.workers[which].call
        if call is not None and not call.reached and self.clock_s() < call.ends_s:
            call.reached = True
            if self.reached:
                assert self.delivery == "at_least_once"
                assert self.open_reached, "a second delivery only while the outcome of an earlier one is open"
            self.reached.append(call.attempt)
            self.open_reached.add(call.attempt)

    @rule(which=st.integers(0, WORKERS - 1), yes=st.booleans())
    def answer_comes(self, which: int, yes: bool) -> None:
        worker = self.workers[which]
        if worker.call is None:
            return
        if worker.call.reached:
            self.settled(worker, self.settlement(worker.call.attempt, "submitted" if yes else "failed"))
        else:
            self.settled(worker, self.settlement(worker.call.attempt, "retry"))

    @rule(which=st.integers(0, WORKERS - 1))
    def crash(self, which: int) -> None:
        self.workers[which] = Worker(random_token())

    @rule(seconds=st.sampled_from([1.0, 14.0, 26.5, 60.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.passed_s += seconds
        with self.world.sql() as cursor:
            cursor.execute(
                "update vault.claims set at_ms = at_ms - %s where message = %s",
                [round(seconds * 1000), self.request.message],
            )

    @precondition(lambda self: self.reached)
    @rule()
    def echo(self) -> None:
        outputs = (Output("t", b"k", b"echo"),)
        echo = EchoSettlement(self.tenant.name, self.request.message, 0, outputs)
        with self.vaults[0].transaction() as cursor:
            if self.vaults[0].settle_by_echo(cursor, [echo])[0]:
                self.stored.add(outputs)

    @precondition(lambda self: not self.erased)
    @rule(really=st.integers(0, 9))
    def erase(self, really: int) -> None:
        if really == 0:
            self.world.apply(self.person.erasure())
            self.erased = True

    @invariant()
    def never_twice_with_at_most_once(self) -> None:
        assert self.delivery != "at_most_once" or len(self.reached) <= 1

    @invariant()
    def one_holder_at_a_time(self) -> None:
        """Whoever may still call is alone."""
        now = self.clock_s()
        holders = {
            worker.permit.attempt if worker.permit is not None else 0
            for worker in self.workers
            if worker.permit is not None and (worker.call is None and now < worker.permit.deadline_s)
        }
        callers = {w.call.attempt for w in self.workers if w.call is not None and now < w.call.ends_s}
        assert len(holders | callers) <= 1


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
def test_claims(world: World, delivery: str) -> None:
    vaults = [world.other_process(SLOW) for _ in range(WORKERS)]
    story = type(
        "Story",
        (ClaimStory,),
        {"world": world, "tenant": world.tenant(), "vaults": vaults, "delivery": delivery},
    )
    run_state_machine_as_test(
        story,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    for vault in vaults:
        vault.close()


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_create_seal_and_erase_in_any_interleaving_leave_no_key(world: World, seed: int) -> None:
    """L2 under threads: people write, are sealed for, are erased and come back, all at once."""
    tenant = world.tenant()
    people = [tenant.person() for _ in range(3)]
    by_hand = psycopg.errors.CheckViolation
    start = threading.Barrier(6)

    def writer(number: int) -> None:
        chance = Random(seed + number)
        start.wait(10)
        for _ in range(12):
            person = chance.choice(people)
            need = KeyNeed(tenant.name, person.subject, "content", f"20{chance.randint(10, 99)}-01")
            with world.vault.transaction() as cursor:
                if chance.random() < 0.5:
                    (found,) = world.vault.resolve_senders(cursor, [tenant.sender(person.address)])
                    if not found.dropped:
                        need = replace(need, subject=found.subject)
                keys = world.vault.sealing_keys(cursor, [need])
                assert isinstance(keys[need], bytes | Erased)

    def vandal(number: int) -> None:
        chance = Random(seed + number)
        start.wait(10)
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
        start.wait(10)
        for person in chance.sample(people, len(people)):
            threading.Event().wait(chance.random() * 0.03)
            world.apply(person.erasure())

    with ThreadPoolExecutor(6) as pool:
        jobs = [
            pool.submit(work, n) for n, work in enumerate([writer, writer, writer, vandal, vandal, eraser])
        ]
        for job in jobs:
            job.result(30)
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
