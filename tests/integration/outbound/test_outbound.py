"""Role outbound on a real Kafka, PostgreSQL and provider API: what becomes of a command, whatever the provider answers."""

from dataclasses import replace
from pathlib import Path

import pytest

from schemas import topics
from schemas.clock import boot_s, now_ms, to_text
from schemas.envelope import Event
from schemas.events import registry
from schemas.events.messages import Delivery
from schemas.events.statuses import MessageSubmitted
from schemas.ids import random_id
from streams.step.contract import Output
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.outbound_commands import message_of, own_text_command, template_command, text_command
from tests.receiving_world import await_until, sample
from tests.sending_world import CLOSED_PORT_URL, TIMES, SendingWorld
from vault.claims import EchoSettlement
from vault.connections import AccountLimits
from workers.channels.whatsapp.channel import WhatsApp


def test_every_kind_of_content_is_submitted_with_its_status_and_confirmation(world: SendingWorld) -> None:
    anna = world.somebody()
    world.world.registrar.publish_notice(world.site.tenant, "de", "https://example.org/privacy")
    commands = [
        text_command(anna.person, "Grüß dich"),
        template_command(anna.person, "news"),
        own_text_command(
            anna.person, purpose="newsletter", on_submitted="confirmation_sent", optin=random_id()
        ),
    ]
    with world.outbound():
        # The question is asked for `service` rules here: the consent gate has its own test.
        commands[2] = commands[2].model_copy(update={"data": commands[2].data | {"purpose": "service"}})
        world.send(*commands)
        world.await_all(commands)
    bodies = world.provider.bodies(anna.number)
    assert bodies[:2] == ["Grüß dich", "news Ada"]
    assert "https://example.org/privacy" in bodies[2]
    sent = world.provider.messages(anna.number)
    for command, message, status in zip(commands, sent, world.statuses.events(), strict=True):
        assert status.type == "sealpost.message.submitted.v1"
        assert message["biz_opaque_callback_data"] == f"{message_of(command)}.0"
        assert world.opened(status, anna.person) == {"provider_id": message["id"]}
        assert world.outcomes(command) == [(1, "submitted")]
    await_until("the confirmation", lambda: len(world.consents.events()) == 1)
    (confirmation,) = world.consents.events()
    assert confirmation.type == "sealpost.confirmation.sent.v1"
    assert world.opened(confirmation, anna.person) == {"provider_id": sent[2]["id"]}
    assert world.committed() == 3


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (131008, "PERM"),
        (130472, "UNREACH"),
        (131047, "WINDOW"),
        (135000, None),
        (131016, None),
        (131056, None),
    ],
)
def test_an_error_ends_the_message_or_is_tried_again(
    world: SendingWorld, code: int, reason: str | None
) -> None:
    anna = world.somebody()
    first, second = text_command(anna.person, "one"), text_command(anna.person, "two")
    world.provider.fault(next=1, error=code)
    with world.outbound():
        world.send(first, second)
        world.await_all([first, second])
    assert world.became(message_of(second)) == ["submitted"]
    if reason is None:
        assert world.became(message_of(first)) == ["submitted"]
        assert world.provider.bodies(anna.number) == ["one", "two"], (
            "order is kept while the first is tried again"
        )
        assert world.outcomes(first) == [(1, "retry"), (2, "submitted")]
    else:
        assert world.became(message_of(first)) == [f"failed:{reason}"]
        assert world.provider.bodies(anna.number) == ["two"]
        failed = next(e for e in world.statuses.events() if e.data["message"] == message_of(first))
        assert failed.data["code"] == code
        assert "provider_error" in world.opened(failed, anna.person)


def test_over_the_throughput_all_arrive_in_order(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The provider takes two a second, we send faster: 130429 is met, waited for, and nothing is lost or overtakes."""
    dsn = postgres_server.fresh_database("sending")
    world = SendingWorld(kafka_server.bootstrap, dsn, tmp_path, provider_rate_per_s=2.0)
    try:
        people = [world.somebody() for _ in range(6)]
        commands = [text_command(p.person, f"{n}") for n in range(4) for p in people]
        before = sample("sealpost_provider_results_total", channel="whatsapp", **{"class": "RATE"})
        with world.outbound():
            world.send(*commands)
            world.await_all(commands)
        assert sample("sealpost_provider_results_total", channel="whatsapp", **{"class": "RATE"}) > before
        for person in people:
            assert world.provider.bodies(person.number) == [f"{n}" for n in range(4)]
        assert {e.type for e in world.statuses.events()} == {"sealpost.message.submitted.v1"}
    finally:
        world.close()


class Rare(WhatsApp):
    """WhatsApp with a pair limit that a busy machine does not outlast: four at once to one person, then one in 15 s."""

    capabilities = replace(WhatsApp.capabilities, pair_interval_s=15.0, pair_burst=4)


def test_the_pair_limit_is_the_accounts_own(world: SendingWorld) -> None:
    """One account keeps what the channel declares: the fifth message to one person waits. The other has no pair limit."""
    world.limit(AccountLimits(rate_per_s=500.0, pair_interval_s=0), world.second)
    anna, ben = world.somebody(), world.somebody(site=world.second)
    limited = [text_command(anna.person, f"{n}") for n in range(5)]
    free = [text_command(ben.person, f"{n}") for n in range(20)]
    before = pair_waits()
    with world.outbound(channel=Rare()):
        world.send(*limited, *free)
        world.await_all([*limited, *free])
    assert world.provider.bodies(ben.number) == [f"{n}" for n in range(20)]
    assert world.provider.bodies(anna.number) == [f"{n}" for n in range(5)]
    asked, at_once = (after - so_far for after, so_far in zip(pair_waits(), before, strict=True))
    assert (asked, at_once) == (5, 4), "the limit applied to one account, and only the last message waited"


def pair_waits() -> tuple[float, float]:
    """How often a message came under a pair limit, and how often it did not have to wait for it."""
    name = "sealpost_pacing_wait_seconds"
    return sample(f"{name}_count", scope="pair"), sample(f"{name}_bucket", scope="pair", le="0.1")


@pytest.mark.parametrize("code", [190, 131031])
def test_a_broken_account_is_paused_others_go_on_and_it_comes_back(world: SendingWorld, code: int) -> None:
    anna, ben = world.somebody(), world.somebody(site=world.second)
    world.provider.fault(to=anna.number, error=code)
    waiting, other = text_command(anna.person, "wait"), text_command(ben.person, "go")
    short = text_command(anna.person, "too late", ttl_s=2.0)
    state = {"account": world.site.account, "state": "paused"}
    with world.outbound():
        world.send(waiting, short)
        await_until("the account is paused", lambda: sample("sealpost_account_state", **state) == 1)
        world.send(other)
        world.await_status(message_of(other), "submitted")
        assert world.became(message_of(waiting)) == []
        world.provider.fault(clear=True)
        world.await_status(message_of(waiting), "submitted")
        await_until("the account works", lambda: sample("sealpost_account_state", **state) == 0)
        world.await_all([short])
    assert world.provider.bodies(anna.number)[0] == "wait"


def test_what_waits_for_a_broken_account_expires(world: SendingWorld) -> None:
    anna = world.somebody()
    world.provider.fault(to=anna.number, error=190)
    commands = [text_command(anna.person, f"{n}", ttl_s=1.5) for n in range(2)]
    with world.outbound():
        world.send(*commands)
        world.await_all(commands)
    for command in commands:
        assert world.became(message_of(command)) == ["expired:expired"]
    assert world.provider.bodies(anna.number) == []
    assert world.committed() == 2


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_dropped_connection_with_at_most_once_ends_as_unknown(world: SendingWorld, drop: str) -> None:
    anna = world.somebody()
    world.provider.fault(next=1, drop=drop)
    first = text_command(anna.person, "one", delivery="at_most_once")
    second = text_command(anna.person, "two", delivery="at_most_once")
    before, started_s = unknowns(), boot_s()
    with world.outbound():
        world.send(first, second)
        world.await_all([first, second])
    assert boot_s() - started_s >= TIMES.takeover_s + TIMES.echo_s, "the provider's status was waited for"
    assert unknowns() == before + 1
    assert world.became(message_of(first)) == ["unknown"]
    assert world.became(message_of(second)) == ["submitted"]
    assert world.provider.bodies(anna.number) == (["two"] if drop == "before" else ["one", "two"])


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_dropped_connection_with_at_least_once_is_repeated_after_the_wait(
    world: SendingWorld, drop: str
) -> None:
    anna = world.somebody()
    world.provider.fault(next=1, drop=drop)
    first, second = text_command(anna.person, "one"), text_command(anna.person, "two")
    duplicates, before = sample("sealpost_send_duplicates_total", channel="whatsapp"), unknowns()
    started_s = boot_s()
    with world.outbound():
        world.send(first, second)
        world.await_all([first, second])
    assert boot_s() - started_s >= TIMES.takeover_s + TIMES.echo_s
    assert world.became(message_of(first)) == ["submitted"]
    assert world.provider.bodies(anna.number) == (
        ["one", "two"] if drop == "before" else ["one", "one", "two"]
    )
    assert sample("sealpost_send_duplicates_total", channel="whatsapp") == duplicates + 1
    assert unknowns() == before + 1


@pytest.mark.parametrize(
    ("delivery", "status", "times"), [("at_most_once", "unknown", 1), ("at_least_once", "submitted", 2)]
)
def test_an_answer_that_comes_too_late_counts_as_none(
    world: SendingWorld, delivery: Delivery, status: str, times: int
) -> None:
    """The provider takes the message after the HTTP limit: once is the end of it, or it is repeated after the wait."""
    anna = world.somebody()
    world.provider.fault(next=1, delay_s=TIMES.http_s + 2.0)
    first, second = text_command(anna.person, "one", delivery=delivery), text_command(anna.person, "two")
    with world.outbound():
        world.send(first, second)
        world.await_all([first, second])
    assert world.became(message_of(first)) == [status]
    assert world.became(message_of(second)) == ["submitted"]
    assert world.provider.bodies(anna.number) == ["one"] * times + ["two"]


def unknowns() -> float:
    """Calls whose outcome stayed unknown so far."""
    return sample("sealpost_send_outcome_unknown_total", channel="whatsapp")


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
def test_an_echo_settles_what_was_unknown_and_nothing_is_repeated(
    world: SendingWorld, delivery: Delivery
) -> None:
    """The business is never told unknown about a message that the provider reports a moment later."""
    anna = world.somebody()
    world.provider.fault(next=1, drop="after")
    command, before = text_command(anna.person, "one", delivery=delivery), unknowns()
    with world.outbound():
        world.send(command)
        await_until("the provider took it", lambda: len(world.provider.messages(anna.number)) == 1)
        await_until(
            "nobody knows", lambda: sample("sealpost_parked_messages", channel="whatsapp", why="busy") == 1
        )
        echoed = Output(topics.STATUSES, anna.subject.encode(), echo_status(world, command))
        with world.world.vault.transaction() as cursor:
            settled = world.world.vault.settle_by_echo(
                cursor, [EchoSettlement(command.tenant, message_of(command), 0, (echoed,))]
            )
        assert settled == [True]
        world.await_status(message_of(command), "submitted")
    assert world.provider.bodies(anna.number) == ["one"]
    assert [record.value for record in world.statuses.records()] == [echoed.value]
    assert unknowns() == before


def echo_status(world: SendingWorld, command: Event) -> bytes:
    """What inbound writes for a status that carries our echo."""
    at_ms = now_ms()
    data = MessageSubmitted(message=message_of(command), account=world.site.account, acted_at=to_text(at_ms))
    fields = {"id": random_id(), "role": "inbound", "tenant": command.tenant, "subject": command.subject}
    return registry.build(data, at_ms=at_ms, channel="whatsapp", **fields).to_bytes()


@pytest.mark.parametrize("delivery", ["at_most_once", "at_least_once"])
def test_a_refused_connection_is_not_sent_and_tried_again(world: SendingWorld, delivery: str) -> None:
    anna = world.somebody()
    world.credentials(CLOSED_PORT_URL)
    command = text_command(anna.person, "one", delivery=delivery)  # type: ignore[arg-type]  # one of the literals
    with world.outbound():
        world.send(command)
        await_until("a refused try", lambda: (1, "retry") in world.outcomes(command))
        assert world.became(message_of(command)) == []
        world.credentials()
        world.await_status(message_of(command), "submitted")
    assert world.provider.bodies(anna.number) == ["one"]


def test_an_account_that_was_just_connected_is_used_at_once(world: SendingWorld) -> None:
    """Without credentials a message is rejected; that there were none is not remembered."""
    anna = world.somebody()
    with world.world.vault.transaction() as cursor:
        cursor.execute("delete from vault.accounts where account = %s", [world.site.account])
    early, late = text_command(anna.person, "early"), text_command(anna.person, "late")
    with world.outbound():
        world.send(early)
        world.await_status(message_of(early), "rejected:unknown_account")
        world.credentials()
        world.send(late)
        world.await_all([late])
    assert world.became(message_of(late)) == ["submitted"]
    assert world.provider.bodies(anna.number) == ["late"]


def test_a_settled_command_calls_nobody_and_writes_the_same_bytes(world: SendingWorld) -> None:
    anna = world.somebody()
    refused = world.somebody(window=False)
    commands = [
        text_command(anna.person, "one"),
        text_command(anna.person, "late", ttl_s=-1),
        text_command(refused.person, "no window"),
        text_command(anna.person, "two"),
    ]
    with world.outbound():
        world.send(*commands)
        world.await_all(commands)
    first = {record.value for record in world.statuses.records()}
    assert len(first) == 4
    again = f"again-{random_id()}"
    world.begin_at(again, world.begun)
    with world.outbound(group=again):
        await_until("all read again", lambda: world.committed(again) == 4)
    records = [record.value for record in world.statuses.records()]
    assert len(records) == 8
    assert set(records) == first
    assert world.provider.bodies(anna.number) == ["one", "two"]
    assert world.provider.bodies(refused.number) == []


def test_the_gate_refuses_with_its_reason(world: SendingWorld) -> None:
    anna = world.somebody()
    closed, erased = world.somebody(window=False), world.somebody()
    with world.world.vault.transaction() as cursor:
        cursor.execute("update vault.reach set last_inbound_ms = 0 where subject = %s", [closed.subject])
    world.world.vaults.apply(erased.living.erasure())
    world.world.vaults.caught_up(range(4))
    no_consent = text_command(anna.person, "ad", purpose="newsletter")
    window = text_command(closed.person, "hello")
    template = template_command(closed.person, "news")
    gone = text_command(erased.person, "hello")
    last = text_command(anna.person, "fine")
    with world.outbound():
        world.send(no_consent, window, template, gone, last)
        world.await_all([no_consent, window, template, last])
        await_until("all are finished", lambda: world.committed() == 5)
    assert world.became(message_of(no_consent)) == ["rejected:no_consent"]
    assert world.became(message_of(window)) == ["rejected:window_closed"]
    assert world.became(message_of(template)) == ["submitted"]
    assert world.became(message_of(gone)) == [], "nothing is written about an erased person"
    assert [m["to"] for m in world.provider.messages()] == [closed.number, anna.number] or [
        m["to"] for m in world.provider.messages()
    ] == [anna.number, closed.number]


def test_a_record_that_is_no_command_is_dead_lettered_and_blocks_nobody(world: SendingWorld) -> None:
    anna = world.somebody()
    good = text_command(anna.person, "fine")
    bad = good.model_copy(update={"data": good.data | {"expires": f"never, {world.site.tenant}"}})
    foreign = text_command(anna.person, "x").model_copy(update={"tenant": f"unknown-{world.site.tenant}"})
    with world.outbound():
        world.send(bad, foreign, good)
        world.await_status(message_of(good), "submitted")
        await_until("all are finished", lambda: world.committed() == 3)
    world.dead_letters = ["InvalidEvent", "UnknownTenant"]


def opens(result: str) -> float:
    """Sealed contents opened so far, with this result."""
    return sample("sealpost_opens_total", result=result)


def test_stages_and_opens_are_counted(world: SendingWorld) -> None:
    """A message that goes, one whose block was changed, one of an erased person; what became of them is seen in the metrics."""
    anna, erased = world.somebody(), world.somebody()
    world.world.vaults.apply(erased.living.erasure())
    world.world.vaults.caught_up(range(4))
    good, gone = text_command(anna.person, "one"), text_command(erased.person, "two")
    changed = text_command(anna.person, "three")
    block = changed.data["sealed"]["content"] | {"ct": good.data["sealed"]["content"]["ct"]}
    changed = changed.model_copy(update={"data": changed.data | {"sealed": {"content": block}}})
    before = {result: opens(result) for result in ("plain", "erased", "corrupt")}
    stages = {name: stage_count(name) for name in ("permit", "provider")}
    with world.outbound():
        world.send(good, gone, changed)
        world.await_all([good, changed])
        await_until("all are finished", lambda: world.committed() == 3)
    assert world.became(message_of(changed)) == ["failed:PERM"]
    assert {result: opens(result) - count for result, count in before.items()} == {
        "plain": 1, "erased": 1, "corrupt": 1,
    }  # fmt: skip
    assert {name: stage_count(name) - count for name, count in stages.items()} == {"permit": 2, "provider": 1}
    assert sample("sealpost_stage_delay_seconds_sum", stage="provider") > 0


def stage_count(stage: str) -> float:
    """How often a stage was observed."""
    return sample("sealpost_stage_delay_seconds_count", stage=stage)


def test_what_was_asked_for_later_than_the_broker_had_it_is_rejected(world: SendingWorld) -> None:
    """The writer's clock was ahead, and with it the expiry. A command that was late to be produced goes, and a redelivery of a
    rejected one is not sent."""
    anna, skew_ms = world.somebody(), round(TIMES.clock_skew_s * 1000)
    now = now_ms()
    ahead = text_command(anna.person, "ahead", requested_at=to_text(now + skew_ms + 60_000))
    near = text_command(anna.person, "near", requested_at=to_text(now + skew_ms - 60_000))
    late = text_command(anna.person, "late", requested_at=to_text(now - 10 * skew_ms))
    with world.outbound():
        world.send(ahead, near, late, ahead)
        world.await_all([ahead, near, late])
        await_until("all are finished", lambda: world.committed() == 4)
    assert set(world.became(message_of(ahead))) == {"rejected:clock"}
    assert world.outcomes(ahead) == [(1, "rejected")]
    assert world.provider.bodies(anna.number) == ["near", "late"]
