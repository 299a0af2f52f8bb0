"""Signing up while a part is away: whoever stands before the page reads it in words and may try again."""

import asyncio
from collections.abc import Iterator

import pytest

from schemas.http import create_app
from streams.kafka.producer import AsyncProducer
from streams.kafka.settings_follower import SettingsFollower
from tests.api_world import TIMES, ApiWorld, Reply, asgi_call
from tests.form_world import ORIGIN, SignUps, complete
from vault.keyring import MasterKey
from vault.vault import Vault
from workers.intake.producing import Counted
from workers.intake.router import UNAVAILABLE
from workers.optin.public import create_public_router
from workers.optin.web import PublicParts, source_of
from workers.optin.words import WORDS
from workers.registry import channel

CLOSED_PORT = "127.0.0.1:9"
NO_DATABASE = "postgresql://nobody@127.0.0.1:9/nothing?connect_timeout=1"


@pytest.fixture(scope="module")
def form(world: ApiWorld) -> SignUps:
    return complete(world)


@pytest.fixture(scope="module")
def settings(world: ApiWorld, form: SignUps) -> Iterator[SettingsFollower]:
    """What is published, read on the real Kafka before it went away."""
    follower = SettingsFollower(world.bootstrap)
    follower.start()
    follower.wait_ready(20)
    assert follower.tenant(form.tenant.name) is not None
    yield follower
    follower.stop()


def asked(
    vault: Vault, kafka: str, settings: SettingsFollower, *requests: tuple[str, str, object]
) -> list[Reply]:
    """Requests to public routes whose parts may be away."""

    async def ask() -> list[Reply]:
        producer = AsyncProducer(kafka, client_id="test-away", delivery_timeout_s=0.5)
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
