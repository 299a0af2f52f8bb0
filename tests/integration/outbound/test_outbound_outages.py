"""Role outbound while a part is away, while an account stands still, while everything goes wrong at once, and at its end."""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from schemas import topics
from schemas.envelope import Event
from schemas.events.messages import Delivery
from streams.step.contract import Output
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.outbound_commands import text_command
from tests.receiving_world import await_until, sample
from tests.sending_world import TIMES, SendingWorld, Somebody
from vault.claims import Settlement
from vault.connections import AccountLimits
from vault.vault import Vault
from workers.outbound.turns import Limits

SEED = 20_261_123
CALL_S = 8.0
"""How long a call takes that something happens to: a test on a busy machine must see it and act before it is over."""
CALLS_ARE_LONG = pytest.mark.parametrize(
    "world", [replace(TIMES, http_s=30.0)], indirect=True, ids=["long calls"]
)
"""No limit ends such a call."""


def in_flight() -> float:
    """Calls under way."""
    return sample("sealpost_sends_in_flight", channel="whatsapp")


@contextmanager
def away(server: PostgresServer, how: str) -> Iterator[None]:
    """PostgreSQL is `stopped` or `frozen` for the block."""
    if how == "frozen":
        with server.frozen():
            yield
        return
    server.stop()
    try:
        yield
    finally:
        server.start()


def series(people: list[Somebody], each: int, delivery: Delivery = "at_least_once") -> list[Event]:
    """Numbered texts, the people in turn."""
    return [text_command(p.person, f"{n}", delivery=delivery) for n in range(each) for p in people]


def assert_each_once_in_order(world: SendingWorld, people: list[Somebody], each: int) -> None:
    """Everybody got everything once, in order."""
    for person in people:
        assert world.provider.bodies(person.number) == [f"{n}" for n in range(each)]


@CALLS_ARE_LONG
@pytest.mark.parametrize("how", ["stopped", "frozen"])
@pytest.mark.finding(16)
def test_postgres_away_no_call_starts_and_outcomes_are_kept(
    world: SendingWorld, postgres_server: PostgresServer, how: str
) -> None:
    """Calls under way when PostgreSQL goes are settled when it is back; nothing is sent meanwhile, nothing twice."""
    people = [world.somebody() for _ in range(4)]
    commands = series(people, 3, "at_most_once")
    world.provider.fault(next=4, delay_s=CALL_S)
    with world.outbound():
        world.send(*commands)
        await_until("four calls under way", lambda: in_flight() == 4)
        with away(postgres_server, how):
            await_until("the calls are answered", lambda: in_flight() == 0)
            assert len(world.provider.messages()) == 4
            assert world.statuses.records() == []
        world.await_all(commands)
    assert_each_once_in_order(world, people, 3)
    assert set(map(tuple, world.ends().values())) == {("submitted",)}
    assert world.committed() == 12


@CALLS_ARE_LONG
def test_kafka_away_what_is_settled_is_written_later(world: SendingWorld, kafka_server: KafkaServer) -> None:
    people = [world.somebody() for _ in range(4)]
    commands = series(people, 3, "at_most_once")
    world.provider.fault(next=4, delay_s=CALL_S)
    with world.outbound():
        world.send(*commands)
        await_until("four calls under way", lambda: in_flight() == 4)
        kafka_server.pause()
        try:
            first = commands[:4]
            await_until("settled", lambda: all(world.outcomes(c) == [(1, "submitted")] for c in first))
        finally:
            kafka_server.resume()
        world.await_all(commands)
        await_until("all are finished", lambda: world.committed() == 12)
    assert_each_once_in_order(world, people, 3)


@pytest.mark.finding(11)
def test_an_account_at_a_standstill_fills_its_share_and_loses_nothing(world: SendingWorld) -> None:
    """Memory is bounded: the partitions of a broken account are paused; what fits beside it goes on; then all of it goes."""
    stuck, free = world.somebody(), world.somebody(site=world.second)
    world.limit(AccountLimits(rate_per_s=500.0, pair_interval_s=0))
    world.provider.fault(to=stuck.number, error=190)
    waiting, other = series([stuck], 40), series([free], 1)
    limits = Limits(pause_first_s=0.3, messages_per_partition=20)
    with world.outbound(limits=limits) as role:
        world.send(*other, *waiting)
        world.await_all(other)
        await_until(
            "a try", lambda: sample("sealpost_account_state", account=world.site.account, state="paused") == 1
        )
        await_until("it is paused", lambda: any(p.paused for p in role.partitions()))
        held = max(p.watermark.unfinished() for p in role.partitions())
        assert held < 40
        assert role.ready()
        more = series([stuck], 20)
        world.send(*more)
        await_until("what lies in Kafka is seen", lambda: lag("records") == 60)
        age_s = lag("seconds")
        await_until("the oldest grows older", lambda: lag("seconds") >= max(age_s, 0.1) + 0.5)
        world.provider.fault(clear=True)
        world.await_all([*waiting, *more])
        await_until("nothing waits", lambda: lag("records") == lag("seconds") == 0)
    assert world.provider.bodies(stuck.number) == [f"{n}" for n in (*range(40), *range(20))]


def lag(unit: str) -> float:
    """How far the role is behind in its topic of replies."""
    return sample(f"sealpost_consumer_lag_{unit}", role="outbound", topic=topics.outbound("whatsapp"))


def test_the_end_lets_calls_finish_and_leaves_nothing_unknown(world: SendingWorld) -> None:
    """SIGTERM in the middle: calls under way are settled, the rest is sent by the next process, nothing twice."""
    people = [world.somebody() for _ in range(10)]
    commands = series(people, 6, "at_most_once")
    world.provider.fault(next=60, delay_s=0.8)
    with world.outbound():
        world.send(*commands)
        await_until("calls are under way", lambda: in_flight() >= 5 and len(world.provider.messages()) >= 12)
    assert in_flight() == 0
    done = world.committed()
    with world.outbound():
        world.await_all(commands)
        await_until("all are finished", lambda: world.committed() == 60)
    assert 0 < done < 60
    assert_each_once_in_order(world, people, 6)
    assert set(map(tuple, world.ends().values())) == {("submitted",)}


@pytest.mark.finding(11)
def test_order_per_person_holds_under_random_faults(world: SendingWorld) -> None:
    """Errors, delays, dropped connections, all at random: whoever got something twice or in part, order is kept."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    people = [world.somebody() for _ in range(12)]
    deliveries: list[Delivery] = ["at_most_once", "at_least_once"]
    commands = [
        text_command(p.person, f"{n}", delivery=rng.choice(deliveries)) for n in range(8) for p in people
    ]
    for _ in range(30):
        kind = rng.choice(["error", "delay", "drop"])
        one: dict[str, Any] = {"to": rng.choice(people).number, "next": 1}
        if kind == "error":
            world.provider.fault(**one, error=rng.choice([131016, 130429, 131056, 131008, 131000, 190]))
        elif kind == "delay":
            world.provider.fault(**one, delay_s=rng.choice([0.1, 0.4]))
        else:
            world.provider.fault(**one, drop=rng.choice(["before", "after"]))
    with world.outbound():
        world.send(*commands)
        world.await_all(commands, 100.0)
        await_until("all are finished", lambda: world.committed() == len(commands))
    once = {f"{c.data['message']}.0" for c in commands if c.data["delivery"] == "at_most_once"}
    seen = [str(m["biz_opaque_callback_data"]) for m in world.provider.messages()]
    assert all(seen.count(echo) <= 1 for echo in once)
    assert all(seen.count(echo) <= 2 for echo in set(seen))
    for person in people:
        bodies = [int(body) for body in world.provider.bodies(person.number)]
        assert bodies == sorted(bodies)
    found = world.ends()
    ends = [found[str(c.data["message"])] for c in commands]
    assert {end[-1].split(":")[0] for end in ends} <= {"submitted", "failed", "unknown"}
    submitted = {
        f"{c.data['message']}.0" for c, end in zip(commands, ends, strict=True) if end == ["submitted"]
    }
    assert submitted <= set(seen)


@pytest.mark.finding(7)
def test_a_reply_overtakes_the_bulk_that_waits_for_the_rate(world: SendingWorld) -> None:
    people = [world.somebody() for _ in range(8)]
    bulk = [text_command(p.person, f"bulk {n}", delivery="at_most_once") for n in range(8) for p in people]
    reply = text_command(people[0].person, "reply")
    world.limit(AccountLimits(rate_per_s=4.0))
    with world.outbound():
        world.send(*bulk, bulk=True)
        await_until("the bulk is under way", lambda: len(world.provider.messages()) >= 4)
        world.send(reply)
        world.await_status(str(reply.data["message"]), "submitted")
        world.await_all(bulk)
    order = [str(message["body"]) for message in world.provider.messages()]
    assert order.index("reply") < 50, "it waited behind the bulk"
    for person in people:
        bodies = [body for body in world.provider.bodies(person.number) if body != "reply"]
        assert bodies == [f"bulk {n}" for n in range(8)]


def test_a_call_that_is_over_makes_room_while_its_outcome_is_settled(world: SendingWorld) -> None:
    """A turn stands for a call: with room for one, the second goes although the first outcome is not settled yet."""
    people = [world.somebody() for _ in range(2)]
    commands = [text_command(person.person, "one") for person in people]
    both = threading.Event()

    def meddle(vault: Vault) -> None:
        asked = vault.settle

        def settle(settlements: Sequence[Settlement]) -> list[tuple[Output, ...]]:
            assert both.wait(60), "the second call waited for the first one's settlement"
            return asked(settlements)

        vault.settle = settle  # type: ignore[method-assign]  # a slow vault

    with world.outbound(limits=replace(world.limits, calls=1), meddle=meddle):
        world.send(*commands)
        await_until("both went", lambda: len(world.provider.messages()) == 2)
        assert world.statuses.records() == []
        both.set()
        world.await_all(commands)
    assert set(map(tuple, world.ends().values())) == {("submitted",)}
