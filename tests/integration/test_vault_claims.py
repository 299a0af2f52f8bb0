"""Claims: who may send, what a redelivery gets, what becomes of an attempt that nobody settled."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.clock import boot_s, today
from schemas.constants import Times
from schemas.ids import message_id, random_id, random_token
from streams.step.contract import Output
from tests.embedded_fixtures import PostgresServer
from tests.receiving_world import await_until
from tests.vault_world import CHANNEL, Person, Tenant, World, wait_until_blocked
from vault.claims import EchoSettlement, OutcomeClass, Settlement
from vault.permits import Answer, Permit, PermitRequest, Refusal, Settled, Unknown, Wait

SLOW = Times(lease_s=60, lease_outbound_s=30, http_s=20, echo_s=40)
"""No limit passes by itself while a test runs, however busy the machine is: time passes where a test makes claims older."""
PATIENT = Times(lease_s=6, lease_outbound_s=3, http_s=2, echo_s=6)
"""They pass by themselves, and are long enough for a busy machine to ask twice within each."""
TAKEOVER_MS = round(SLOW.takeover_s * 1000)
ECHO_MS = round(SLOW.echo_s * 1000)


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    made = World.make(postgres_server.fresh_database("vault"), SLOW)
    yield made
    made.vault.close()


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


@pytest.fixture
def person(tenant: Tenant) -> Person:
    person = tenant.person()
    person.vault.permits([person.ask()])  # the first call tells the process how the clocks stand
    return person


def again(person: Person, request: PermitRequest, **more: object) -> Answer:
    """The command comes again, to another worker."""
    changed = replace(request, **{"token": random_token(), **more})  # type: ignore[arg-type]  # field values
    return person.vault.permits([changed])[0]


def age(world: World, request: PermitRequest, by_ms: int) -> None:
    """Let time pass for the claims of one message."""
    with world.sql() as cursor:
        cursor.execute(
            "update vault.claims set at_ms = at_ms - %s where message = %s", [by_ms, request.message]
        )


def outputs(text: str) -> tuple[Output, ...]:
    return (Output("sealpost.statuses", b"k", text.encode()),)


def settle(
    person: Person,
    request: PermitRequest,
    attempt: int,
    outcome: OutcomeClass,
    text: str = "x",
    index: bytes | None = None,
) -> tuple[Output, ...]:
    made = Settlement(
        person.tenant.name, request.message, request.part, attempt, outcome, outputs(text), index
    )
    return person.vault.settle([made])[0]


def taken_over(world: World, person: Person) -> PermitRequest:
    """Attempt 1 was granted to a worker that froze, attempt 2 to another one."""
    request = person.ask(delivery="at_least_once")
    assert isinstance(person.vault.permits([request])[0], Permit)
    age(world, request, TAKEOVER_MS + ECHO_MS)
    granted = again(person, request)
    assert isinstance(granted, Permit)
    assert granted.attempt == 2
    return request


@pytest.mark.finding(1)
def test_the_same_token_gets_the_same_answer_and_no_more_time(person: Person) -> None:
    request = person.ask()
    asked = boot_s()
    first = person.vault.permits([request])[0]
    again = boot_s()
    second = person.vault.permits([request])[0]
    assert isinstance(first, Permit)
    assert isinstance(second, Permit)
    assert (first.attempt, first.address) == (second.attempt, second.address) == (1, person.address)
    # Database milliseconds are whole, so the age may be read up to one short; the rest is what lay between the two questions.
    assert second.deadline_s - first.deadline_s < again - asked
    assert asked < first.deadline_s


def test_the_same_token_after_the_lease_is_as_good_as_none(world: World, person: Person) -> None:
    request = person.ask()
    person.vault.permits([request])
    age(world, request, round(SLOW.lease_outbound_s * 1000))
    waiting = person.vault.permits([request])[0]
    assert isinstance(waiting, Wait)
    assert waiting.reason == "busy"


@pytest.mark.finding(1)
def test_busy_then_echo_then_the_next_attempt(world: World, person: Person) -> None:
    request = person.ask(delivery="at_least_once")
    assert isinstance(person.vault.permits([request])[0], Permit)
    waiting = again(person, request)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "busy"
    assert 0 < waiting.retry_after_s <= SLOW.takeover_s
    age(world, request, TAKEOVER_MS)
    waiting = again(person, request)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "echo"
    assert 0 < waiting.retry_after_s <= SLOW.echo_s
    age(world, request, ECHO_MS)
    granted = again(person, request)
    assert isinstance(granted, Permit)
    assert granted.attempt == 2
    assert isinstance(again(person, request), Wait)


@pytest.mark.finding(1)
def test_at_most_once_ends_as_unknown(world: World, person: Person) -> None:
    request = person.ask(delivery="at_most_once")
    assert isinstance(person.vault.permits([request])[0], Permit)
    age(world, request, TAKEOVER_MS + ECHO_MS)
    assert again(person, request) == Unknown(1)
    assert settle(person, request, 1, "unknown", "nobody knows") == outputs("nobody knows")
    assert again(person, request) == Settled(outputs("nobody knows"))


def test_unknown_gives_way_to_what_was_found_out_later(world: World, person: Person) -> None:
    request = person.ask(delivery="at_most_once")
    person.vault.permits([request])
    age(world, request, TAKEOVER_MS + ECHO_MS)
    settle(person, request, 1, "unknown", "nobody knows")
    assert settle(person, request, 1, "submitted", "sent after all") == outputs("sent after all")
    assert settle(person, request, 1, "unknown", "nobody knows") == outputs("sent after all")
    assert again(person, request) == Settled(outputs("sent after all"))


def test_an_unknown_attempt_that_may_not_be_repeated_is_unknown_not_refused(
    world: World, person: Person
) -> None:
    request = person.ask(delivery="at_least_once")
    person.vault.permits([request])
    age(world, request, TAKEOVER_MS + ECHO_MS)
    assert again(person, request, expires_ms=1) == Unknown(1)
    world.apply(person.erasure())
    assert again(person, request) == Refusal("erased", 0)


def test_what_was_stored_first_is_what_everybody_writes(person: Person) -> None:
    request = person.ask()
    person.vault.permits([request])
    assert settle(person, request, 1, "submitted", "first") == outputs("first")
    assert settle(person, request, 1, "failed", "second") == outputs("first")
    assert again(person, request) == Settled(outputs("first"))


def test_the_failure_of_a_frozen_worker_does_not_contradict_what_was_taken(
    world: World, person: Person
) -> None:
    """It thaws after another has taken its claim over and sent: whoever asks, the message is submitted."""
    request = taken_over(world, person)
    assert settle(person, request, 2, "submitted", "taken") == outputs("taken")
    assert settle(person, request, 1, "failed", "no") == outputs("taken")
    assert again(person, request) == Settled(outputs("taken"))
    assert settle(person, request, 2, "submitted", "taken") == outputs("taken")


def test_of_two_failures_the_one_stored_first_counts(world: World, person: Person) -> None:
    request = taken_over(world, person)
    assert settle(person, request, 2, "failed", "second attempt") == outputs("second attempt")
    assert settle(person, request, 1, "failed", "first attempt") == outputs("second attempt")
    assert again(person, request) == Settled(outputs("second attempt"))


def test_what_the_provider_took_counts_also_when_a_failure_came_first(world: World, person: Person) -> None:
    request = taken_over(world, person)
    assert settle(person, request, 1, "failed", "no") == outputs("no")
    assert settle(person, request, 2, "submitted", "taken") == outputs("taken")
    assert again(person, request) == Settled(outputs("taken"))
    echo = EchoSettlement(person.tenant.name, request.message, 0, outputs("echo"))
    with person.vault.transaction() as cursor:
        assert person.vault.settle_by_echo(cursor, [echo]) == [False]


def test_two_attempts_are_settled_one_after_the_other(world: World, person: Person) -> None:
    """An echo settles attempt 2 in a transaction under way: attempt 1 waits and is told its outcome."""
    request = taken_over(world, person)
    echo = EchoSettlement(person.tenant.name, request.message, 0, outputs("echo"))
    with ThreadPoolExecutor(1) as pool:
        with person.vault.transaction() as cursor:
            assert person.vault.settle_by_echo(cursor, [echo]) == [True]
            failing = pool.submit(settle, person, request, 1, "failed", "no")
            wait_until_blocked(world, 1)
        assert failing.result(60) == outputs("echo")
    assert again(person, request) == Settled(outputs("echo"))


def test_a_released_claim_is_granted_again_at_once(person: Person) -> None:
    request = person.ask(delivery="at_most_once")
    person.vault.permits([request])
    for attempt in (1, 2, 3):
        assert settle(person, request, attempt, "retry", "never stored") == outputs("never stored")
        granted = again(person, request)
        assert isinstance(granted, Permit)
        assert granted.attempt == attempt + 1
        assert isinstance(again(person, request), Wait)


def test_a_refusal_is_settled_like_a_send(person: Person) -> None:
    request = person.ask(purpose="weather")
    refused = person.vault.permits([request])[0]
    assert refused == Refusal("unknown_purpose", 1)
    assert settle(person, request, 1, "rejected", "rejected") == outputs("rejected")
    assert again(person, request) == Settled(outputs("rejected"))
    # After a released attempt a refusal has the next number.
    request = person.ask()
    person.vault.permits([request])
    settle(person, request, 1, "retry")
    assert again(person, request, expires_ms=1) == Refusal("expired", 2)


@pytest.mark.finding(27)
def test_parts_are_claimed_apart(person: Person) -> None:
    request = person.ask()
    parts = [replace(request, part=part, token=random_token()) for part in range(3)]
    assert all(isinstance(answer, Permit) for answer in person.vault.permits(parts))
    settle(person, parts[1], 1, "submitted", "part 1")
    answers = person.vault.permits([replace(part, token=random_token()) for part in parts])
    assert [type(answer) for answer in answers] == [Wait, Settled, Wait]


def test_twice_in_one_batch_is_granted_once(person: Person) -> None:
    request = person.ask()
    answers = person.vault.permits([request, replace(request, token="other"), request])
    assert [type(answer) for answer in answers] == [Permit, Wait, Wait]


def test_many_workers_one_grant(person: Person) -> None:
    requests = [person.ask(delivery="at_most_once") for _ in range(40)]

    def worker(turn: int) -> list[Answer]:
        mine = [replace(request, token=f"{turn}") for request in requests]
        return person.vault.permits(mine if turn % 2 else mine[::-1])

    with ThreadPoolExecutor(4) as pool:
        answers = [answer for found in pool.map(worker, range(8)) for answer in found]
    assert sum(isinstance(answer, Permit) for answer in answers) == len(requests)
    assert all(isinstance(answer, Permit | Wait) for answer in answers)


def test_who_loses_the_race_for_a_claim_is_told_busy(world: World, person: Person) -> None:
    request = person.ask(delivery="at_most_once")
    with ThreadPoolExecutor(1) as pool:
        with person.vault.transaction() as cursor:
            cursor.execute(
                """insert into vault.claims (day, message, part, attempt, token, tenant, subject, account, purpose, at_ms)
                   values (%s, %s, 0, 1, 'first', %s, %s, 'a', 'service', vault.now_ms())""",
                [today(), request.message, person.tenant.name, person.subject],
            )
            asking = pool.submit(person.vault.permits, [request])
            wait_until_blocked(world, 1)
        (waiting,) = asking.result(60)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "busy"


@pytest.mark.finding(4)
def test_midnight_is_one_grant(world: World, person: Person) -> None:
    """The day in the message id decides where the claim lies, not the clock: claimed at 23:59:59.9, asked again at 00:00:00.1."""
    message = message_id(today() - timedelta(days=1), b"k", random_id(), "test", "m")
    request = person.ask(message=message, delivery="at_most_once")
    assert isinstance(person.vault.permits([request])[0], Permit)
    assert isinstance(again(person, request), Wait)
    with world.sql() as cursor:
        cursor.execute("select distinct day from vault.claims where message = %s", [message])
        assert cursor.fetchall() == [(today() - timedelta(days=1),)]


def test_echo_settles_an_open_claim_once(person: Person) -> None:
    request = person.ask()
    person.vault.permits([request])
    echo = EchoSettlement(person.tenant.name, request.message, 0, outputs("echo"), b"\1" * 17)
    with person.vault.transaction() as cursor:
        assert person.vault.settle_by_echo(cursor, [echo, echo]) == [True, False]
        assert person.vault.settle_by_echo(cursor, [echo]) == [False]
    assert again(person, request) == Settled(outputs("echo"))
    # The worker's own answer comes later: it writes what is stored.
    assert settle(person, request, 1, "submitted", "own") == outputs("echo")


def test_echo_settles_what_had_ended_as_unknown_but_no_stranger(world: World, person: Person) -> None:
    request = person.ask(delivery="at_most_once")
    person.vault.permits([request])
    settle(person, request, 1, "unknown", "unknown")
    echo = EchoSettlement(person.tenant.name, request.message, 0, outputs("echo"))
    foreign = replace(echo, tenant=world.tenant().name)
    never = replace(echo, message=person.ask().message)
    with person.vault.transaction() as cursor:
        assert person.vault.settle_by_echo(cursor, [foreign, never, replace(echo, message="x"), echo]) == [
            False,
            False,
            False,
            True,
        ]
    assert again(person, request) == Settled(outputs("echo"))


def test_echo_does_not_touch_refusals_and_released_claims(person: Person) -> None:
    refused, released = person.ask(expires_ms=1), person.ask()
    person.vault.permits([refused, released])
    settle(person, released, 1, "retry")
    echoes = [EchoSettlement(person.tenant.name, r.message, 0) for r in (refused, released)]
    with person.vault.transaction() as cursor:
        assert person.vault.settle_by_echo(cursor, echoes) == [False, False]


def test_look_up_by_echo_id_and_by_provider_id(world: World, person: Person) -> None:
    vault, tenant = person.vault, person.tenant.name
    sent, open_ = person.ask(), person.ask()
    vault.permits([sent, open_])
    index = vault.provider_index(tenant, CHANNEL, "wamid.HBgN")
    settle(person, sent, 1, "submitted", "s", index)
    with vault.transaction() as cursor:
        infos = vault.claims_of(cursor, [(sent.message, 0), (open_.message, 0), (sent.message, 7), ("x", 0)])
        assert set(infos) == {(sent.message, 0), (open_.message, 0)}
        info = infos[sent.message, 0]
        assert (info.tenant, info.subject, info.account, info.purpose) == (
            tenant,
            person.subject,
            sent.account,
            "service",
        )
        assert (info.attempt, info.has_outcome) == (1, True)
        assert not infos[open_.message, 0].has_outcome
        mine = (tenant, CHANNEL, "wamid.HBgN")
        other_tenant = (world.tenant().name, CHANNEL, "wamid.HBgN")
        found = vault.by_provider_id(
            cursor, [mine, (tenant, CHANNEL, "foreign"), other_tenant, (tenant, "telegram", "wamid.HBgN")]
        )
        assert found == {mine: [info]}
    assert b"wamid" not in index


@pytest.mark.finding(31)
def test_a_step_of_the_database_clock_pauses_take_overs(world: World, person: Person) -> None:
    request = person.ask()
    vault = world.other_process()
    vault.permits([person.ask()])
    person.vault.permits([request])
    age(world, request, TAKEOVER_MS + ECHO_MS)
    with world.sql() as cursor:
        cursor.execute(
            "create or replace function vault.now_ms() returns bigint language sql volatile as "
            "$$ select floor(extract(epoch from clock_timestamp()) * 1000)::bigint + 5000 $$"
        )
        try:
            waiting = vault.permits([replace(request, token="other")])[0]
            assert isinstance(waiting, Wait)
            assert waiting.reason == "busy"
            # Not at the next call either: the pause lasts as long as a call may.
            assert isinstance(vault.permits([replace(request, token="other")])[0], Wait)
            assert isinstance(vault.permits([person.ask()])[0], Permit), "what is new goes on"
        finally:
            cursor.execute(
                "create or replace function vault.now_ms() returns bigint language sql volatile as "
                "$$ select floor(extract(epoch from clock_timestamp()) * 1000)::bigint $$"
            )
    vault.close()


def test_a_fresh_process_does_not_take_over_at_its_first_look(world: World, person: Person) -> None:
    request = person.ask()
    person.vault.permits([request])
    age(world, request, TAKEOVER_MS + ECHO_MS)
    vault = world.other_process()
    assert isinstance(vault.permits([replace(request, token="b")])[0], Wait)
    assert isinstance(vault.permits([replace(request, token="c")])[0], Permit)
    vault.close()


def test_a_claim_of_a_time_to_come_does_not_block_its_lane_until_then(world: World, person: Person) -> None:
    """The database's clock was two hours ahead when the worker died, and is right again: the claim is as old as the clocks have
    agreed since, busy and waiting for the echo as long as any other."""
    request = person.ask(delivery="at_least_once")
    person.vault.permits([request])
    age(world, request, -2 * 3_600_000)
    vault = world.other_process(PATIENT)
    vault.permits([person.ask()])
    seen: list[str] = []

    def granted() -> bool:
        answer = vault.permits([replace(request, token=random_token())])[0]
        seen.append(answer.reason if isinstance(answer, Wait) else type(answer).__name__)
        return isinstance(answer, Permit)

    began = boot_s()
    await_until("the next attempt", granted, 60.0)
    assert boot_s() - began >= PATIENT.takeover_s + PATIENT.echo_s - 0.1
    assert list(dict.fromkeys(seen)) == ["busy", "echo", "Permit"]
    vault.close()


def test_the_same_token_gets_its_answer_whatever_is_known_of_the_clocks(world: World, person: Person) -> None:
    """The first answer of a process was lost: its token is its own at the second question too, and gets no more time."""
    request = person.ask()
    assert isinstance(person.vault.permits([request])[0], Permit)
    process = world.other_process()
    repeated = process.permits([request])[0]
    assert isinstance(repeated, Permit)
    assert repeated.attempt == 1
    assert repeated.deadline_s <= request.made_s + SLOW.lease_outbound_s + 0.001
    process.close()
    process = world.other_process()
    old = replace(request, made_s=request.made_s - SLOW.lease_outbound_s)
    waiting = process.permits([old])[0]
    assert isinstance(waiting, Wait)
    assert waiting.reason == "busy"
    process.close()


def test_nothing_is_kept_beyond_the_horizon(world: World, person: Person) -> None:
    request = person.ask()
    person.vault.permits([request])
    settle(person, request, 1, "submitted", "s")
    far = today() + timedelta(days=10)
    kept = world.other_process()
    assert kept.drop_partitions(far) >= 1
    assert again(person, request) == Refusal("expired", 0)
    assert settle(person, request, 1, "submitted", "own") == outputs("own")
    kept.make_partitions(today())
    kept.close()
