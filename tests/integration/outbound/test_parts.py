"""A text in several parts, on the real role: in order, each with its own status, and never with a hole in the middle."""

from collections.abc import Sequence

import pytest

from schemas.envelope import Event
from schemas.ids import random_id
from tests.outbound_commands import Person, message_of, text_command
from tests.receiving_world import await_until
from tests.sending_world import SendingWorld

TEXT = "Eins zwei. Drei vier. Fünf sechs."
SPANS = ((0, 10), (11, 21), (22, 33))
PIECES = [TEXT[start:stop] for start, stop in SPANS]


def parts_of(person: Person) -> Sequence[Event]:
    """The commands of one message, as the intake writes them: one sealed content, a span each."""
    whole = text_command(person, TEXT)
    spans = [
        {"part": n, "parts": 3, "text_from": start, "text_to": stop} for n, (start, stop) in enumerate(SPANS)
    ]
    return [whole.model_copy(update={"id": random_id(), "data": whole.data | span}) for span in spans]


def await_end(world: SendingWorld, *events: Event) -> None:
    """Every part of every message has its status."""
    wanted = len(events)
    await_until("the statuses of all parts", lambda: sum(map(len, world.ends().values())) == wanted)


def fail(world: SendingWorld, code: int, *, at: int) -> None:
    """The request number `at`, counted from 1, is answered with this error."""
    if at > 1:
        world.provider.fault(next=at - 1, delay_s=0)
    world.provider.fault(next=1, error=code)


def test_all_parts_arrive_in_order_each_with_its_status(world: SendingWorld) -> None:
    anna = world.somebody()
    commands, after = parts_of(anna.person), text_command(anna.person, "after")
    with world.outbound():
        world.send(*commands, after)
        await_end(world, *commands, after)
    assert world.provider.bodies(anna.number) == [*PIECES, "after"]
    assert [event.data["part"] for event in world.statuses.events()] == [0, 1, 2, 0]
    assert world.became(message_of(commands[0])) == ["submitted"] * 3
    echoes = [sent["biz_opaque_callback_data"] for sent in world.provider.messages(anna.number)[:3]]
    assert echoes == [f"{message_of(commands[0])}.{part}" for part in range(3)]


def told_by_the_vault(world: SendingWorld, event: Event) -> list[tuple[int, str]]:
    """Part, outcome and reason of every attempt, as whoever explains the message is told."""
    attempts = world.world.vault.attempts(event.tenant, message_of(event))
    return [(one.part, f"{one.outcome}:{one.reason}" if one.reason else str(one.outcome)) for one in attempts]


@pytest.mark.parametrize(
    ("failing", "arrived", "became"),
    [
        (1, [], ["failed:PERM", "rejected:part_failed", "rejected:part_failed"]),
        (2, PIECES[:1], ["submitted", "failed:PERM", "rejected:part_failed"]),
        (3, PIECES[:2], ["submitted", "submitted", "failed:PERM"]),
    ],
)
def test_behind_a_part_that_failed_no_other_goes(
    world: SendingWorld, failing: int, arrived: list[str], became: list[str]
) -> None:
    """The lane goes on with the next message; read again from the start, the same statuses are written and nobody is called."""
    anna = world.somebody()
    commands, after = parts_of(anna.person), text_command(anna.person, "after")
    fail(world, 131008, at=failing)
    with world.outbound():
        world.send(*commands, after)
        await_end(world, *commands, after)
    assert world.provider.bodies(anna.number) == [*arrived, "after"]
    assert world.became(message_of(commands[0])) == became
    assert told_by_the_vault(world, commands[0]) == list(enumerate(became))
    first = [event.to_bytes() for event in world.statuses.events()]
    again = f"again-{random_id()}"
    world.begin_at(again, world.begun)
    with world.outbound(again):
        await_end(world, *commands, after, *commands, after)
    assert world.provider.bodies(anna.number) == [*arrived, "after"]
    assert [event.to_bytes() for event in world.statuses.events()] == first * 2


def test_a_part_that_is_tried_again_holds_up_those_behind_it(world: SendingWorld) -> None:
    anna = world.somebody()
    commands = parts_of(anna.person)
    fail(world, 131016, at=2)
    with world.outbound():
        world.send(*commands)
        await_end(world, *commands)
    assert world.provider.bodies(anna.number) == PIECES
    assert world.became(message_of(commands[0])) == ["submitted"] * 3


def test_a_part_that_does_not_exist_is_not_sent(world: SendingWorld) -> None:
    """A span beyond the text is no reason to send something else."""
    anna = world.somebody()
    *commands, last = parts_of(anna.person)
    beyond = last.model_copy(update={"data": last.data | {"text_to": len(TEXT) + 1}})
    with world.outbound():
        world.send(*commands, beyond)
        await_end(world, *commands, beyond)
    assert world.provider.bodies(anna.number) == PIECES[:2]
    assert world.became(message_of(beyond)) == ["submitted", "submitted", "failed:PERM"]
