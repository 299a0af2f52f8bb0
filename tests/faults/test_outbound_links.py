"""Role outbound with a bad line to the vault or to the provider: what nobody knows is told, nothing is sent twice by mistake.

The simulator's record is the truth, the vault's claims are what was promised (review 1).
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.constants import Times
from schemas.envelope import Event
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.faults.proxy import Mode, Proxy, Way
from tests.outbound_commands import text_command
from tests.receiving_world import await_until, sample
from tests.sending_world import TIMES, SendingWorld

USUAL = replace(TIMES, lease_s=6.0, lease_outbound_s=6.0, http_s=6.0)
"""A provider that means to answer does so in time, and no permit runs out before its call, also when the machine stands still for
some seconds; a repetition after 13 s."""
PATIENT = replace(TIMES, lease_s=15.0, lease_outbound_s=15.0, http_s=8.0)
"""Permit and call outlive the time that a test on a busy machine takes to heal the line, or to look."""


@pytest.fixture(params=[USUAL])
def world(
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[SendingWorld]:
    times: Times = request.param
    made = SendingWorld(kafka_server.bootstrap, postgres_server.fresh_database("lines"), tmp_path, times)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def vault_line(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with postgres_server.proxy() as proxy:
        yield proxy


@pytest.fixture
def provider_line(world: SendingWorld) -> Iterator[Proxy]:
    """Stands before the simulator; both accounts go through it."""
    with Proxy(int(world.provider.base.rsplit(":", 1)[1])) as proxy:
        for site in (world.site, world.second):
            world.credentials(f"http://{proxy.address}/v25.0", site=site)
        yield proxy


def claims(world: SendingWorld, command: Event) -> list[tuple[int, str]]:
    """(attempt, token) of a message, in order."""
    query = f"select attempt, token from vault.claims where message = '{command.data['message']}' order by attempt"
    return [(int(attempt), str(token)) for attempt, token in world.world.rows(query)]


def uuid_text(command: Event) -> bytes:
    """The message id as it stands in a statement's parameters."""
    return str(command.data["message"]).encode()


@pytest.mark.parametrize("world", [PATIENT], indirect=True)
@pytest.mark.parametrize("calls_before", [0, 1])
def test_the_permits_answer_is_lost_and_asked_for_again(
    world: SendingWorld, postgres_server: PostgresServer, vault_line: Proxy, calls_before: int
) -> None:
    """Review 1c: the claim is committed, its answer never comes. The same token gets the same answer: one claim, one call."""
    ada = world.somebody()
    command = text_command(ada.person, "once", delivery="at_most_once")
    before = [text_command(ada.person, "before") for _ in range(calls_before)]
    with world.outbound(dsn=postgres_server.through(vault_line, world.dsn)):
        world.send(*before)
        world.await_all(before)
        vault_line.arm(uuid_text(command), Way.TO_SERVER, Mode.DEAF, Way.TO_CLIENT)
        world.send(command)
        await_until("the claim is committed", lambda: len(claims(world, command)) == 1)
        assert len(world.provider.messages()) == calls_before, "nothing is sent without the answer"
        granted = claims(world, command)
        vault_line.heal()
        world.await_status(str(command.data["message"]), "submitted")
    assert claims(world, command) == granted
    assert world.provider.bodies(ada.number)[calls_before:] == ["once"]
    assert world.outcomes(command) == [(1, "submitted")]


@pytest.mark.parametrize("world", [PATIENT], indirect=True)
def test_the_answer_to_the_settlement_is_lost(
    world: SendingWorld, postgres_server: PostgresServer, vault_line: Proxy
) -> None:
    """The outcome is committed, the worker does not know: it settles again, and writes the status once by id."""
    ada = world.somebody()
    command = text_command(ada.person, "once", delivery="at_most_once")
    with world.outbound(dsn=postgres_server.through(vault_line, world.dsn)):
        world.provider.fault(next=1, delay_s=5.0)  # time enough to see the call under way
        world.send(command)
        await_until(
            "the call is under way", lambda: sample("sealpost_sends_in_flight", channel="whatsapp") == 1
        )
        vault_line.arm(uuid_text(command), Way.TO_SERVER, Mode.DEAF, Way.TO_CLIENT)
        await_until("it is settled", lambda: world.outcomes(command) == [(1, "submitted")])
        assert world.became(str(command.data["message"])) == []
        vault_line.heal()
        world.await_status(str(command.data["message"]), "submitted")
    assert len({event.id for event in world.statuses.events()}) == 1
    assert world.provider.bodies(ada.number) == ["once"]


FAULTS = {
    "deaf after the request was written": (b"POST", Mode.DEAF, (Way.TO_CLIENT,), 1),
    "deaf to the request": (b"POST", Mode.DEAF, (Way.TO_SERVER,), 0),
    "reset after the request was written": (b"POST", None, (Way.TO_SERVER, Way.TO_CLIENT), 0),
}
"""(what sets it off on the way to the provider, mode, ways, messages that the provider took)."""


@pytest.mark.parametrize("how", FAULTS)
def test_no_answer_of_the_provider_is_unknown_once_and_repeated_if_allowed(
    world: SendingWorld, provider_line: Proxy, how: str
) -> None:
    """at_most_once ends as unknown and is never repeated; at_least_once is sent again, as attempt 2; both are counted."""
    pattern, mode, ways, taken = FAULTS[how]
    ada, bob = world.somebody(), world.somebody(site=world.second)
    once = text_command(ada.person, "once", delivery="at_most_once")
    again = text_command(bob.person, "again", delivery="at_least_once")
    after = text_command(ada.person, "after", delivery="at_most_once")
    unknown = sample("sealpost_send_outcome_unknown_total", channel="whatsapp")
    doubles = sample("sealpost_send_duplicates_total", channel="whatsapp")
    with world.outbound():
        for command in (once, again):
            provider_line.arm(pattern, Way.TO_SERVER, mode, *ways)
            world.send(command)
            await_until("it has met the fault", lambda: not provider_line.armed())
            await_until(
                "the call has ended", lambda: sample("sealpost_sends_in_flight", channel="whatsapp") == 0
            )
            provider_line.heal()
        world.send(after)
        world.await_status(str(once.data["message"]), "unknown")
        world.await_status(str(again.data["message"]), "submitted", 120)
        world.await_status(str(after.data["message"]), "submitted")
    assert world.provider.bodies(ada.number) == ["once"] * taken + ["after"]
    assert world.provider.bodies(bob.number) == ["again"] * (taken + 1)
    assert [attempt for attempt, _ in claims(world, once)] == [1]
    assert [attempt for attempt, _ in claims(world, again)] == [1, 2]
    assert sample("sealpost_send_duplicates_total", channel="whatsapp") == doubles + 1
    assert sample("sealpost_send_outcome_unknown_total", channel="whatsapp") == unknown + 2


def test_a_provider_that_refuses_connections_took_nothing(world: SendingWorld, provider_line: Proxy) -> None:
    """Refused before a byte was written: not unknown, the claim is released, and even at_most_once is tried again."""
    ada = world.somebody()
    command = text_command(ada.person, "once", delivery="at_most_once")
    with world.outbound():
        provider_line.cut()
        world.send(command)
        await_until("it was tried", lambda: (1, "retry") in world.outcomes(command))
        provider_line.heal()
        world.await_status(str(command.data["message"]), "submitted")
    assert world.provider.bodies(ada.number) == ["once"]
    assert world.outcomes(command)[-1][1] == "submitted"
