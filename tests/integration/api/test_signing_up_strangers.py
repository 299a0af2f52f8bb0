"""What strangers learn from the public routes, and how often they may ask."""

import asyncio
from unittest.mock import patch

import pytest

from schemas.clock import boot_s
from schemas.http import create_app
from streams.kafka.producer import AsyncProducer
from streams.kafka.settings_follower import SettingsFollower
from tests.api_world import TIMES, ApiWorld, Reply, asgi_call
from tests.form_world import SignUps, complete, got_from, posted
from workers.intake.producing import Counted
from workers.intake.router import UNAVAILABLE
from workers.optin import public
from workers.optin.limiter import Limit, Limiter
from workers.optin.public import READS, create_public_router
from workers.optin.web import PublicParts
from workers.optin.words import WORDS
from workers.registry import channel


@pytest.fixture(scope="module")
def form(world: ApiWorld) -> SignUps:
    return complete(world)


@pytest.mark.parametrize(
    "place",
    ["forms/{tenant}/" + "0" * 32, "notices/{tenant}/privacy/1/en", "preferences/{tenant}/" + "A" * 51],
)
@pytest.mark.parametrize("language", ["de", "en", "fr", None])
def test_nobody_learns_which_businesses_there_are(world: ApiWorld, place: str, language: str | None) -> None:
    """Without a form, a notice or a key that is one, the answer is the same for a tenant that nobody registered."""
    tenant = world.tenant(language="en")
    headers = {"Accept-Language": language} if language else {}

    def told(name: str) -> tuple[Reply, Reply]:
        path = "/optin/" + place.replace("{tenant}", name)
        return world.call("GET", path, headers=headers), posted(world, path, {"act": "x"}, **headers)

    for known, nobodys in zip(told(tenant.name), told("nobody"), strict=True):
        assert (known.status, known.raw) == (nobodys.status, nobodys.raw)
        assert known.status in (404, 405)
        assert "Birnbaum" not in known.raw.decode()


def test_notices_are_read_so_often_by_one_source(world: ApiWorld, form: SignUps) -> None:
    place = f"/optin/notices/{form.tenant.name}/privacy/2/de"
    began = boot_s()
    seen = [got_from(world, "127.0.0.11", place)[0] for _ in range(READS.burst)]
    assert seen == [200] * READS.burst
    after = 0
    while (last := got_from(world, "127.0.0.11", place))[0] == 200:
        after += 1
        assert after <= 1 + (boot_s() - began) / READS.every_s
    assert (last[0], WORDS["de"]["busy"] in last[1].decode()) == (429, True)
    assert got_from(world, "127.0.0.12", place)[0] == 200


def test_a_flood_of_sign_ups_from_many_sources_is_bounded_by_the_form(
    world: ApiWorld, form: SignUps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source is below its own limit; what is refused leaves nothing, and another form is not held up by it. A source over
    its own limit takes nothing from the form's."""
    monkeypatch.setattr(public, "SIGN_UPS", Limit(burst=2, every_s=1_000.0))
    monkeypatch.setattr(public, "FORM_SIGN_UPS", Limit(burst=4, every_s=1_000.0))
    other = complete(world)
    bodies = {one.form: one.body() for one in (form, other)}
    before = form.tokens()
    sources = ["a", "a", "a", "a", "b", "c", "d", "e"]
    asked = [(form, source) for source in sources] + [(other, "f")]

    async def ask() -> list[tuple[int, object]]:
        producer = AsyncProducer(world.bootstrap, client_id="test-strangers")
        follower = SettingsFollower(world.bootstrap)
        follower.start()
        follower.wait_ready(60)
        source, replies = "", []
        parts = PublicParts(world.vault, Counted(producer), follower, TIMES, channel, lambda _: source)
        app = create_app("test", "0", [create_public_router(parts)], unavailable=UNAVAILABLE)
        for to, asking in asked:
            source = asking
            replies.append(await asgi_call(app, "POST", f"{to.place}/signups", bodies[to.form]))
        follower.stop()
        await producer.close()
        return [(reply.status, reply.body.get("word")) for reply in replies]

    busy, done = (429, "busy"), (200, None)
    answers = asyncio.run(ask())
    assert answers == [done, done, busy, busy, done, done, busy, busy, done]
    assert form.tokens() == before + 4


def test_a_form_takes_a_rush() -> None:
    """Hundreds at once, and ten a second: more than a campaign brings, from one process."""
    rush = Limiter(public.FORM_SIGN_UPS)
    with patch("workers.optin.limiter.boot_s", lambda: 0.0):
        assert sum(rush.allows("shop/form") for _ in range(700)) == 600
    with patch("workers.optin.limiter.boot_s", lambda: 10.0):
        assert sum(rush.allows("shop/form") for _ in range(700)) in (99, 100)
