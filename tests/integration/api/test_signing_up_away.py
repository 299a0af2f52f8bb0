"""Signing up while a part is away: whoever stands before the page reads it in words and may try again."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from schemas import topics
from schemas.clock import now_ms
from schemas.envelope import Event
from schemas.http import create_app
from schemas.settings import Form
from streams.kafka.producer import AsyncProducer, OrderedProducer, ProduceFailed
from streams.kafka.settings_follower import SettingsFollower
from streams.step.connections import PROMPT
from streams.step.errors import DatabaseAway
from tests.api_world import CHANNEL, TIMES, ApiWorld, Person, Reply, asgi_call
from tests.embedded_fixtures import PostgresServer
from tests.form_world import ORIGIN, SignUps, complete
from vault.entry_tokens import EntryTokensPart
from vault.errors import UnknownTenant
from vault.keyring import MasterKey
from vault.requests import RequestsPart
from vault.vault import Vault
from workers.intake.producing import Counted
from workers.intake.router import UNAVAILABLE
from workers.intake.tenants import Registrar
from workers.optin.public import create_public_router
from workers.optin.web import PublicParts, source_of
from workers.optin.withdrawing import Withdrawal, Withdrawals
from workers.optin.words import WORDS
from workers.registry import channel

CLOSED_PORT = "127.0.0.1:9"
WAITS_S = {True: 0.5, False: 30.0}
"""How long a producer waits for Kafka: for one that never comes, and for one that is there on a busy machine."""
NO_DATABASE = "postgresql://nobody@127.0.0.1:9/nothing?connect_timeout=1"


@pytest.fixture(scope="module")
def form(world: ApiWorld) -> SignUps:
    return complete(world)


@pytest.fixture(scope="module")
def settings(world: ApiWorld, form: SignUps) -> Iterator[SettingsFollower]:
    """What is published, read on the real Kafka before it went away."""
    follower = SettingsFollower(world.bootstrap)
    follower.start()
    follower.wait_ready(60)
    assert follower.tenant(form.tenant.name) is not None
    yield follower
    follower.stop()


def asked(
    vault: Vault, kafka: str, settings: SettingsFollower, *requests: tuple[str, str, object]
) -> list[Reply]:
    """Requests to public routes whose parts may be away."""

    async def ask() -> list[Reply]:
        producer = AsyncProducer(
            kafka, client_id="test-away", delivery_timeout_s=WAITS_S[kafka == CLOSED_PORT]
        )
        parts = PublicParts(vault, Counted(producer), settings, TIMES, channel, source_of(()))
        app = create_app("test", "0", [create_public_router(parts)], unavailable=UNAVAILABLE)
        replies = [await asgi_call(app, *request) for request in requests]
        await producer.close(0)
        return replies

    return asyncio.run(ask())


def test_without_kafka_a_form_is_shown_and_a_sign_up_can_be_tried_again(
    world: ApiWorld, form: SignUps, settings: SettingsFollower
) -> None:
    body = form.body()
    offer, sent, page = asked(
        world.vault,
        CLOSED_PORT,
        settings,
        ("GET", f"{form.place}/offer", None),
        ("POST", f"{form.place}/signups", body),
        ("GET", form.place, None),
    )
    assert (offer.status, page.status) == (200, 200)
    assert (sent.status, sent.body) == (503, {"word": "away"})
    assert form.send(body, ORIGIN).status == 200


def test_without_the_vault_nobody_sees_an_error_of_a_machine(
    form: SignUps, settings: SettingsFollower
) -> None:
    """Form and preference page alike; nothing was withdrawn, and nothing says so."""
    person, body = form.tenant.person(), form.body()
    key = form.tenant.world.vault.preference_key(form.tenant.name, person.subject)
    vault = Vault(NO_DATABASE, MasterKey(bytes(32)), TIMES)
    page = f"/optin/preferences/{form.tenant.name}/{key}"
    sent, looked, changed = asked(
        vault,
        CLOSED_PORT,
        settings,
        ("POST", f"{form.place}/signups", body),
        ("GET", page, None),
        ("POST", page, {"act": "withdraw_all"}),
    )
    vault.close()
    assert (sent.status, sent.body) == (503, {"word": "away"})
    for reply in (looked, changed):
        assert (reply.status, WORDS["de"]["away"] in reply.raw.decode()) == (503, True)


ALL = [Withdrawal(CHANNEL, purpose, "page", "de") for purpose in ("newsletter", "service")]


def withdrawn(person: Person) -> set[str]:
    """Purposes that the vault refuses by a withdrawal."""
    known = person.tenant.world.vault.permissions(person.tenant.name, person.subject)
    return {one.purpose for one in known if one.withdrawn_at_ms is not None}


def waiting(person: Person) -> list[list[Event]]:
    """Recorded withdrawals of the person that nobody has produced."""
    events = [
        [Event.from_bytes(output.value) for output in one.outputs]
        for one in person.tenant.world.vault.unproduced(0)
        if one.source == "withdrawal"
    ]
    return [one for one in events if one[0].subject == person.subject]


def withdraw(person: Person, kafka: str, vault: Vault) -> bool:
    """All of hers at once."""

    async def ask() -> bool:
        producer = AsyncProducer(
            kafka, client_id="test-away", delivery_timeout_s=WAITS_S[kafka == CLOSED_PORT]
        )
        try:
            withdrawals = Withdrawals(vault, Counted(producer))
            return await withdrawals.withdraw(person.tenant.name, person.subject, ALL)
        finally:
            await producer.close(0)

    return asyncio.run(ask())


def test_a_withdrawal_that_kafka_did_not_take_is_recorded_for_role_clock(
    world: ApiWorld, form: SignUps
) -> None:
    """What the vault has lowered is said some time: the events lie beside it until they are in the log."""
    person = form.tenant.person()
    with pytest.raises(ProduceFailed):
        withdraw(person, CLOSED_PORT, world.vault)
    assert withdrawn(person) == {"newsletter", "service"}
    (events,) = waiting(person)
    assert [(e.type, e.channel, e.data["purpose"], e.data["method"]) for e in events] == [
        ("sealpost.consent.withdrawn.v1", CHANNEL, one.purpose, "page") for one in ALL
    ]
    assert len({e.id for e in events}) == 2
    done = form.tenant.person()
    assert withdraw(done, world.bootstrap, world.vault)
    assert (withdrawn(done), waiting(done)) == ({"newsletter", "service"}, [])
    written = [e for e in world.written(topics.CONSENTS, form.tenant.name) if e.subject == done.subject]
    assert [e.data["purpose"] for e in written] == ["newsletter", "service"]


def test_of_several_withdrawals_all_are_recorded_or_none(
    form: SignUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A permission is not lowered without its event."""
    person = form.tenant.person()

    def fails(*_: object, **__: object) -> None:
        raise UnknownTenant("the transaction fails")

    monkeypatch.setattr(RequestsPart, "record_request", fails)
    with pytest.raises(UnknownTenant):
        withdraw(person, form.tenant.world.bootstrap, form.tenant.world.vault)
    assert (withdrawn(person), waiting(person)) == (set(), [])


def test_while_the_vaults_database_is_away_a_withdrawal_needs_kafka_alone(
    world: ApiWorld, form: SignUps, postgres_server: PostgresServer
) -> None:
    """From a process that knows the tenant."""
    first, second = form.tenant.person(), form.tenant.person()
    vault = Vault(world.vault_dsn, world.vault.keyring, TIMES, limits=PROMPT)

    async def ask() -> list[bool]:
        producer = AsyncProducer(world.bootstrap, client_id="test-away")
        withdrawals = Withdrawals(vault, Counted(producer))
        done = [await withdrawals.withdraw(form.tenant.name, first.subject, ALL)]
        with postgres_server.frozen():
            done.append(await withdrawals.withdraw(form.tenant.name, second.subject, ALL))
        await producer.close(0)
        return done

    assert asyncio.run(ask()) == [True, True]
    vault.close()
    written = [e for e in world.written(topics.CONSENTS, form.tenant.name) if e.subject == second.subject]
    assert [e.data["purpose"] for e in written] == ["newsletter", "service"]


def ends(form: SignUps) -> list[int]:
    """When the form's tokens end."""
    with psycopg.connect(form.tenant.world.vault_dsn) as connection:
        rows = connection.execute("select expires_ms from vault.entry_tokens where origin = %s", [form.form])
        return [row[0] for row in rows]


def test_ending_a_form_can_be_repeated_after_a_failure(
    world: ApiWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the vault or without Kafka the form is still there to be ended; in the end its tokens open nothing."""
    form = complete(world)
    assert form.send(form.body(), ORIGIN).status == 200
    path = f"/v1/forms/{form.form}"

    def fails(*_: object) -> None:
        raise DatabaseAway("the vault is away")

    with monkeypatch.context() as patched:
        patched.setattr(EntryTokensPart, "end_entry_tokens", fails)
        assert form.tenant.call("DELETE", path, "officer").status == 503
    assert form.offer().status == 200
    producer = OrderedProducer(CLOSED_PORT, client_id="test-away", delivery_timeout_s=0.5)
    named = Form(form.form, ("newsletter",), (), (ORIGIN,), None)
    with pytest.raises(ProduceFailed):
        Registrar(world.vault, producer).publish_form(form.tenant.name, named, active=False)
    producer.close()
    assert max(ends(form)) <= now_ms()
    assert form.tenant.call("DELETE", path, "officer").status == 204
    assert form.offer().status == 404
    assert max(ends(form)) <= now_ms()
