"""What an answer to a send says about the person: she said no, or the account reaches her no more (decision 099)."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import topics
from schemas.clock import month_of_ms, now_ms
from schemas.envelope import Event
from schemas.events.statuses import MessageFailed
from schemas.ids import random_id
from streams.step.contract import Cursor, Output
from streams.step.errors import DatabaseAway
from tests import outbound_commands as commands
from tests.embedded_fixtures import PostgresServer
from tests.outbound_commands import message_of, record_of, text_command
from tests.receiving_world import await_until
from tests.sending_world import SendingWorld, Somebody, Tail
from tests.vault_world import Person
from tests.vault_world import World as VaultWorld
from vault.claims import Settlement
from vault.permissions import Lower
from vault.permits import Answer, Permit, Refusal
from vault.reach import Block
from vault.vault import Vault
from workers.outbound import about_person, statuses
from workers.outbound.commands import decode
from workers.outbound.statuses import Verdict

OPTED_OUT, UNREACHABLE, HELD_BACK = 131050, 131026, 130472
PURPOSES = ("newsletter",)


@pytest.fixture
def reaches(world: SendingWorld) -> Iterator[Tail]:
    """What is written about reach."""
    tail = Tail(world.bootstrap, topics.SUBSCRIPTIONS, world.site.tenant)
    yield tail
    tail.close()


def subscribed(world: SendingWorld) -> Somebody:
    """Somebody who wrote a while ago, with a consent of a second ago."""
    anna = world.somebody()
    with world.world.vault.transaction() as cursor:
        wrote_at(cursor, anna.living, now_ms() - 60_000)
    world.world.vaults.apply(anna.living.given(now_ms() - 1_000))
    return anna


def sent(world: SendingWorld, anna: Somebody, purpose: str = "service") -> Event:
    """A command, on its way."""
    world.world.vaults.caught_up(range(4))
    command = text_command(anna.person, purpose, purpose=purpose)
    world.send(command)
    return command


def ended(world: SendingWorld, anna: Somebody, purpose: str = "service") -> str:
    """What becomes of a message to her."""
    command = sent(world, anna, purpose)
    world.await_all([command])
    return world.became(message_of(command))[-1]


def wrote_at(cursor: Cursor, person: Person, at_ms: int) -> None:
    """As if the message that made her known were of this time."""
    cursor.execute("update vault.reach set last_inbound_ms = %s where subject = %s", [at_ms, person.subject])


def writes(anna: Somebody) -> None:
    """She writes now."""
    tenant = anna.living.tenant
    tenant.resolve(tenant.sender(anna.living.address))


def kinds(events: Sequence[Event]) -> list[str]:
    """Their types, in order."""
    return [event.type.removeprefix("sealpost.").removesuffix(".v1") for event in events]


def test_a_known_opt_out_code_withdraws_at_once(world: SendingWorld) -> None:
    """The newsletter ends for her; by this provider's switch other messages still come through."""
    anna = subscribed(world)
    world.provider.fault(next=1, error=OPTED_OUT)
    with world.outbound():
        before_ms = now_ms()
        assert ended(world, anna, "newsletter") == "failed:UNREACH"
        await_until("the withdrawal", lambda: len(world.consents.events()) == 1)
        (withdrawn,) = world.consents.events()
        assert kinds([withdrawn]) == ["consent.withdrawn"]
        assert withdrawn.data["method"] == "provider_preference"
        assert withdrawn.subject == anna.subject
        (row,) = anna.living.vault.permissions(world.site.tenant, anna.subject)
        assert row.withdrawn_at_ms is not None
        assert before_ms <= row.withdrawn_at_ms <= now_ms()
        assert ended(world, anna, "newsletter") == "rejected:consent_withdrawn"
        assert ended(world, anna) == "submitted"
        world.world.vaults.apply(anna.living.given(now_ms()))
        assert ended(world, anna, "newsletter") == "submitted", "she consents again: that is newer"


def test_who_cannot_be_reached_gets_nothing_until_she_writes(world: SendingWorld, reaches: Tail) -> None:
    """No consent ends. The gate refuses before the provider is asked a second time."""
    anna = subscribed(world)
    world.provider.fault(next=1, error=UNREACHABLE)
    with world.outbound():
        assert ended(world, anna) == "failed:UNREACH"
        for purpose in ("service", "newsletter"):
            assert ended(world, anna, purpose) == "rejected:unreachable"
        writes(anna)
        for purpose in ("service", "newsletter"):
            assert ended(world, anna, purpose) == "submitted"
    (changed,) = reaches.events()
    assert (kinds([changed]), changed.data["reachable"]) == (["reach.changed"], False)
    assert changed.data["account"] == world.site.account
    assert world.consents.events() == []


def test_a_failure_of_this_message_only_says_nothing_about_her(world: SendingWorld, reaches: Tail) -> None:
    anna = subscribed(world)
    world.provider.fault(next=1, error=HELD_BACK)
    with world.outbound():
        assert ended(world, anna, "newsletter") == "failed:UNREACH"
        assert ended(world, anna, "newsletter") == "submitted"
    assert (reaches.events(), world.consents.events()) == ([], [])


def test_a_crash_between_outcome_and_vault_loses_nothing(world: SendingWorld, reaches: Tail) -> None:
    """The outcome is stored, and the process ends before the vault says no: the next one does it, calls nobody, and every further
    reading writes the same bytes."""
    anna = subscribed(world)
    world.provider.fault(next=1, error=UNREACHABLE)
    asked: list[int] = []

    def away(vault: Vault) -> None:
        def note_block(*_: object, **__: object) -> Block:
            asked.append(1)
            raise DatabaseAway("a fault is injected")

        vault.note_block = note_block  # type: ignore[method-assign]  # a fault is injected

    with world.outbound(meddle=away):
        command = sent(world, anna)
        await_until("it is asked a second time", lambda: len(asked) > 1)
    assert world.outcomes(command) == [(1, "failed")]
    assert (world.statuses.events(), reaches.events()) == ([], [])
    with world.outbound():
        world.await_all([command])
        await_until("the reach", lambda: len(reaches.events()) == 1)
        assert ended(world, anna) == "rejected:unreachable"
    again = f"again-{random_id()}"
    world.begin_at(again, world.begun)
    with world.outbound(group=again):
        await_until("all read again", lambda: world.committed(again) == 2)
        await_until("the reach again", lambda: len(reaches.events()) == 2)
    assert len({record.value for record in reaches.records()}) == 1
    assert len({record.value for record in world.statuses.records()}) == 2
    assert world.provider.bodies(anna.number) == []


def between(act: Callable[[], object]) -> Callable[[Vault], None]:
    """What makes something happen after an outcome is stored and before it is heeded, once."""
    left = [act]

    def meddle(vault: Vault) -> None:
        asked = vault.settle

        def settle(settlements: Sequence[Settlement]) -> list[tuple[Output, ...]]:
            stored = asked(settlements)
            while left:
                left.pop()()
            return stored

        vault.settle = settle  # type: ignore[method-assign]  # something happens in between

    return meddle


def test_who_writes_meanwhile_is_reached(world: SendingWorld, reaches: Tail) -> None:
    """Inbound saw no block and says nothing of its end: so nothing says that there was one."""
    anna = subscribed(world)
    world.provider.fault(next=1, error=UNREACHABLE)
    with world.outbound(meddle=between(lambda: writes(anna))):
        assert ended(world, anna) == "failed:UNREACH"
        assert ended(world, anna) == "submitted"
    assert reaches.events() == []


def test_of_who_is_erased_meanwhile_nothing_is_noted(world: SendingWorld, reaches: Tail) -> None:
    """The vault has no row of her any more, and nothing but the status is written."""
    anna = subscribed(world)
    world.provider.fault(next=1, error={"code": OPTED_OUT})

    def erase() -> None:
        world.world.vaults.apply(anna.living.erasure())

    with world.outbound(meddle=between(erase)):
        assert ended(world, anna) == "failed:UNREACH"
    for table in ("reach", "permissions"):
        assert world.world.rows(f"select * from vault.{table} where subject = '{anna.subject}'") == []
    assert (reaches.events(), world.consents.events()) == ([], [])


# ---- any order --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vaults(postgres_server: PostgresServer) -> Iterator[VaultWorld]:
    made = VaultWorld.make(postgres_server.fresh_database("about_person"))
    yield made
    made.vault.close()


def outcome(person: Person, permitted_ms: int) -> tuple[Output, ...]:
    """What is stored for a message whose call began then, and was answered that she said no and is not reached."""
    sender = commands.Person(
        person.subject, b"k" * 32, month_of_ms(permitted_ms), person.tenant.name, person.tenant.account
    )
    message = decode(record_of(text_command(sender, "news")))
    verdict = Verdict(
        MessageFailed, "UNREACH", 403, opted_out=True, unreached=True, permitted_ms=permitted_ms
    )
    return statuses.outputs(
        message,
        verdict,
        purposes=PURPOSES,
        attempt=1,
        at_ms=permitted_ms,
        id_key=b"i" * 32,
        sealer=lambda *_: None,
    )


def gate(person: Person, **more: str) -> Answer:
    """What the gate says to a message for her."""
    person.tenant.world.caught_up()
    return person.vault.permits([replace(person.ask(), **more)])[0]  # type: ignore[arg-type]  # words of a request


def test_who_writes_while_it_is_heeded_is_told_to_be_reached(vaults: VaultWorld) -> None:
    """Her message waits for the block that is being noted, and ends it: both are said, or neither."""
    person, other = vaults.tenant().person(), vaults.other_process()
    with vaults.vault.transaction() as cursor:
        wrote_at(cursor, person, now_ms() - 60_000)
    noted, written = threading.Event(), threading.Event()
    lower = vaults.vault.lower_permissions

    def slowly(cursor: Cursor, lowers: Sequence[Lower]) -> None:
        noted.set()
        await_until("her message waits", lambda: waiting(vaults) or written.is_set())
        lower(cursor, lowers)

    def write() -> bool:
        assert noted.wait(60)
        with other.transaction() as cursor:
            (who,) = other.resolve_senders(cursor, [person.tenant.sender(person.address)])
        written.set()
        return who.reachable_again

    vaults.vault.lower_permissions = slowly  # type: ignore[method-assign]  # the moment is held
    try:
        with ThreadPoolExecutor(1) as pool:
            again = pool.submit(write)
            told = about_person.heed(vaults.vault, outcome(person, now_ms() - 5_000))
            said = any(output.topic == topics.SUBSCRIPTIONS for output in told)
            assert (said, again.result(60)) == (True, True)
        assert isinstance(gate(person), Permit)
    finally:
        del vaults.vault.lower_permissions
        other.close()


def waiting(vaults: VaultWorld) -> bool:
    """Whether a session of this database waits for a lock."""
    asked = (
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' limit 1"
    )
    with vaults.sql() as connection:
        return connection.execute(asked).fetchone() is not None


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    times=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    order=st.sampled_from(list(permutations(("failed", "wrote", "consented")))),
    repeated=st.lists(st.sampled_from(("failed", "wrote", "consented")), max_size=3),
)
def test_failure_message_and_consent_end_the_same_in_any_order(
    vaults: VaultWorld, times: list[int], order: tuple[str, ...], repeated: list[str]
) -> None:
    """The newest act counts, whatever is handled first and however often. Of the same moment the no does; of the same second as
    the failure, her message."""
    person = vaults.tenant().person()
    start_ms = now_ms() - 10_000
    start_ms -= start_ms % 1_000
    with vaults.vault.transaction() as cursor:
        wrote_at(cursor, person, 1)
    failed_ms, wrote_ms, consented_ms = (start_ms + 500 * time for time in times)
    given_once = person.given(consented_ms)
    stored = outcome(person, failed_ms)
    told: tuple[Output, ...] = ()
    for act in (*order, *repeated):
        match act:
            case "failed":
                told = about_person.heed(vaults.vault, stored)
            case "wrote":
                person.tenant.resolve(person.tenant.sender(person.address, at_ms=wrote_ms))
            case "consented":
                vaults.apply(given_once)
    blocked, withdrawn = failed_ms // 1_000 > wrote_ms // 1_000, failed_ms >= consented_ms
    service, newsletter = gate(person), gate(person, purpose="newsletter")
    if blocked:
        assert service == newsletter == Refusal("unreachable", 1)
    else:
        assert isinstance(service, Permit)
        assert isinstance(newsletter, Refusal if withdrawn else Permit)
    for row in vaults.vault.permissions(person.tenant.name, person.subject):
        assert row.active is not withdrawn
    assert set(told) <= set(stored)
