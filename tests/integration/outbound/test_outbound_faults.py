"""Role outbound when a channel, this program or the vault is at fault: every message ends with a status, and is kept."""

import threading
from base64 import b64decode
from collections.abc import Callable, Sequence

import psycopg
import pytest

from schemas.addresses import Address
from schemas.content import Content, TextContent
from schemas.envelope import Event
from schemas.events.messages import Delivery
from schemas.ids import random_id
from streams.kafka.producer import AsyncProducer
from streams.step.contract import Output
from tests.outbound_commands import message_of, text_command
from tests.receiving_world import await_until, sample
from tests.sending_world import SendingWorld
from vault.claims import Settlement
from vault.connections import AccountCredentials
from vault.errors import KeyRefused
from vault.permits import Answer, PermitRequest
from vault.vault import Vault
from workers.channel import AccountAccess, DeliverySteps
from workers.channels.whatsapp import send
from workers.channels.whatsapp.channel import WhatsApp
from workers.outbound.worker import OutboundStopped

BAD = "bad"
"""The text with which a test's channel breaks."""
Meddle = Callable[[Vault], None]


class Breaking(WhatsApp):
    """WhatsApp, but for one text: then it breaks as told."""

    def __init__(self, how: str) -> None:
        self.how = how

    def deliver(self, content: Content, address: Address, account: AccountAccess, echo: str) -> DeliverySteps:
        """One part to one address, or what no channel may do."""
        steps = send.deliver(content, address, account, echo)
        if not isinstance(content, TextContent) or content.text != BAD:
            return steps
        if self.how == "at once":
            raise LookupError(address.value)
        return self._broken(steps, address)

    def _broken(self, steps: DeliverySteps, address: Address) -> DeliverySteps:
        match self.how:
            case "before the first request":
                raise LookupError(address.value)
            case "yields nonsense":
                yield None  # type: ignore[misc]  # what no channel may do
            case "returns nonsense":
                return None  # type: ignore[return-value]  # what no channel may do
            case "after the response":
                yield next(steps)
                raise LookupError(address.value)
            case "returns nonsense after the response":
                yield next(steps)
        return None  # type: ignore[return-value]  # what no channel may do


def assert_kept(world: SendingWorld, command: Event, reason: str) -> None:
    """The command is a dead letter, and nothing of the error's text is anywhere in it."""
    (letter,) = world.letters()
    assert letter["reason"] == reason
    assert b64decode(letter["value"]) == command.to_bytes()
    world.dead_letters = [reason]


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("at once", "LookupError"),
        ("before the first request", "LookupError"),
        ("yields nonsense", "AttributeError"),
        ("returns nonsense", "TypeError"),
    ],
)
def test_a_channel_that_breaks_before_a_call_fails_the_message(
    world: SendingWorld, how: str, error: str
) -> None:
    """Failed, settled, kept; the lane goes on; a redelivery writes the same and calls nobody."""
    anna = world.somebody()
    bad, good = text_command(anna.person, BAD), text_command(anna.person, "good")
    channel = Breaking(how)
    with world.outbound(channel=channel):
        world.send(bad, good)
        world.await_all([bad, good])
        await_until("all are finished", lambda: world.committed() == 2)
    assert world.became(message_of(bad)) == ["failed:PERM"]
    assert world.became(message_of(good)) == ["submitted"]
    assert world.outcomes(bad) == [(1, "failed")]
    assert world.provider.bodies(anna.number) == ["good"]
    assert_kept(world, bad, error)
    first = {record.value for record in world.statuses.records()}
    again = f"again-{random_id()}"
    world.begin_at(again, world.begun)
    with world.outbound(again):
        await_until("all read again", lambda: world.committed(again) == 2)
    assert {record.value for record in world.statuses.records()} == first
    assert world.provider.bodies(anna.number) == ["good"]
    world.dead_letters = [error, error]


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
@pytest.mark.parametrize(
    ("how", "error"),
    [("after the response", "LookupError"), ("returns nonsense after the response", "TypeError")],
)
def test_a_channel_that_breaks_after_an_answer_leaves_the_outcome_unknown(
    world: SendingWorld, how: str, error: str, delivery: Delivery
) -> None:
    """The provider may have it: unknown, and never sent again, for the channel would break again."""
    anna = world.somebody()
    bad, good = text_command(anna.person, BAD, delivery=delivery), text_command(anna.person, "good")
    with world.outbound(channel=Breaking(how)):
        world.send(bad, good)
        world.await_all([bad, good])
        await_until("all are finished", lambda: world.committed() == 2)
    assert world.became(message_of(bad)) == ["unknown"]
    assert world.became(message_of(good)) == ["submitted"]
    assert world.outcomes(bad) == [(1, "unknown")]
    assert world.provider.bodies(anna.number) == [BAD, "good"]
    assert_kept(world, bad, error)


def test_a_fault_of_this_program_ends_the_message_with_a_status(world: SendingWorld) -> None:
    """Whatever raises before there is a permit: one is asked for, so that the message can be settled and is never sent."""
    anna, ben = world.somebody(), world.somebody(site=world.second)
    bad, good = text_command(anna.person, "bad"), text_command(ben.person, "good")

    def meddle(vault: Vault) -> None:
        asked = vault.account

        def find(account: str) -> AccountCredentials | None:
            if account == world.site.account:
                raise ArithmeticError(account)
            return asked(account)

        vault.account = find  # type: ignore[method-assign]  # a fault is injected

    with world.outbound(meddle=meddle):
        world.send(bad, good)
        world.await_all([bad, good])
        await_until("all are finished", lambda: world.committed() == 2)
    assert world.became(message_of(bad)) == ["failed:PERM"]
    assert world.outcomes(bad) == [(1, "failed")]
    assert world.became(message_of(good)) == ["submitted"]
    assert_kept(world, bad, "ArithmeticError")
    again = f"again-{random_id()}"
    world.begin_at(again, world.begun)
    with world.outbound(again):
        await_until("all read again", lambda: world.committed(again) == 2)
    assert world.provider.bodies(anna.number) == []
    world.dead_letters = ["ArithmeticError"] * 2


def permits_fail(bad: Event, error: Exception, repaired: threading.Event) -> Meddle:
    """The vault raises for every batch of questions that has this message in it, until it is repaired."""

    def meddle(vault: Vault) -> None:
        asked = vault.permits

        def permits(requests: Sequence[PermitRequest]) -> list[Answer]:
            if not repaired.is_set() and any(request.message == message_of(bad) for request in requests):
                raise error
            return asked(requests)

        vault.permits = permits  # type: ignore[method-assign]  # a fault is injected

    return meddle


def test_a_question_that_the_vault_cannot_take_ends_its_message_and_no_other(world: SendingWorld) -> None:
    """The data are at fault, so there is not even a claim: Failed is written all the same, others of the batch go on."""
    anna = world.somebody()
    others = [world.somebody() for _ in range(6)]
    bad = text_command(anna.person, "bad")
    good = [text_command(other.person, "good") for other in others]
    meddle = permits_fail(bad, psycopg.errors.UntranslatableCharacter(anna.number), threading.Event())
    with world.outbound(meddle=meddle):
        world.send(*good[:3], bad, *good[3:])
        world.await_all([bad, *good])
        await_until("all are finished", lambda: world.committed() == 7)
    assert world.became(message_of(bad)) == ["failed:PERM"]
    assert [world.became(message_of(command)) for command in good] == [["submitted"]] * 6
    assert_kept(world, bad, "UntranslatableCharacter")


@pytest.mark.parametrize("error", [KeyRefused("tenant"), psycopg.errors.IndexCorrupted("x")])
def test_for_a_fault_of_the_vault_a_message_waits(world: SendingWorld, error: Exception) -> None:
    """It is not the message's fault: nothing is dead-lettered, others go on, and it is sent once the vault is repaired."""
    anna, ben = world.somebody(), world.somebody()
    bad, good = text_command(anna.person, "later"), text_command(ben.person, "good")
    repaired = threading.Event()
    with world.outbound(meddle=permits_fail(bad, error, repaired)):
        world.send(bad, good)
        world.await_status(message_of(good), "submitted")
        await_until(
            "it waits", lambda: sample("sealpost_parked_messages", channel="whatsapp", why="vault_fault") == 1
        )
        assert world.became(message_of(bad)) == []
        repaired.set()
        world.await_status(message_of(bad), "submitted")
    assert world.outcomes(bad) == [(1, "submitted")]


def test_an_outcome_that_the_vault_cannot_take_is_kept_until_it_can(world: SendingWorld) -> None:
    """The provider has it; the vault fails at settling: no second call, no unknown, submitted once it is repaired."""
    anna = world.somebody()
    command = text_command(anna.person, "one", delivery="at_most_once")
    left = [4]

    def meddle(vault: Vault) -> None:
        asked = vault.settle

        def settle(settlements: Sequence[Settlement]) -> list[tuple[Output, ...]]:
            if left[0]:
                left[0] -= 1
                raise KeyRefused("tenant")
            return asked(settlements)

        vault.settle = settle  # type: ignore[method-assign]  # a fault is injected

    with world.outbound(meddle=meddle):
        world.send(command)
        world.await_status(message_of(command), "submitted")
    assert left == [0]
    assert world.became(message_of(command)) == ["submitted"]
    assert world.outcomes(command) == [(1, "submitted")]
    assert world.provider.bodies(anna.number) == ["one"]


@pytest.mark.parametrize(
    ("broken", "repaired"),
    [
        ("alter function vault.permits rename to gone", "alter function vault.gone rename to permits"),
        (
            "alter role current_user in database {database} set default_transaction_read_only = on",
            "alter role current_user in database {database} reset default_transaction_read_only",
        ),
    ],
)
def test_a_vault_that_can_answer_nobody_is_waited_for(
    world: SendingWorld, broken: str, repaired: str
) -> None:
    """Not in this release's shape, or read-only after a fail-over: not ready, nothing ends, all goes on afterwards."""
    people = [world.somebody() for _ in range(5)]
    commands = [text_command(person.person, "one") for person in people]

    def change(statement: str) -> None:
        with psycopg.connect(world.dsn, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            connection.execute(statement.format(database=connection.info.dbname))
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
            )

    with world.outbound() as role:
        change(broken)
        world.send(*commands)
        await_until("it is not ready", lambda: not role.ready())
        assert world.statuses.records() == []
        change(repaired)
        world.await_all(commands)
        await_until("it is ready", role.ready)
    assert set(map(tuple, world.ends().values())) == {("submitted",)}
    assert [world.provider.bodies(person.number) for person in people] == [["one"]] * 5


def test_a_lane_that_cannot_even_be_dead_lettered_ends_the_role(
    world: SendingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stands still in silence: the role ends, and the next process sends what is left, and nothing twice."""
    anna = world.somebody()
    command = text_command(anna.person, "one", delivery="at_most_once")

    def run_until_it_ends() -> None:
        with world.outbound() as role:
            world.send(command)
            await_until("the role ends", lambda: not role.ready())

    with monkeypatch.context() as broken:
        broken.setattr(AsyncProducer, "send_all", cannot)
        with pytest.raises(OutboundStopped, match="ArithmeticError"):
            run_until_it_ends()
    with world.outbound():
        world.await_status(message_of(command), "submitted")
    assert world.provider.bodies(anna.number) == ["one"]


async def cannot(*_: object) -> None:
    """In the place of producing."""
    raise ArithmeticError
