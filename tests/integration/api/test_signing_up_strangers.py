"""What strangers learn from the public routes, and how often they may ask."""

import pytest

from schemas.clock import boot_s
from tests.api_world import ApiWorld, Reply
from tests.form_world import SignUps, complete, got_from, posted
from workers.optin.public import READS
from workers.optin.words import WORDS


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
