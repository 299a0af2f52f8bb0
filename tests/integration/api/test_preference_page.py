"""The preference page over real HTTP: whose key opens it, for how long, and what it changes."""

from unittest.mock import patch
from urllib.parse import urlsplit

import pytest

from schemas import topics
from schemas.clock import now_ms
from tests.api_world import CHANNEL, ApiWorld, Tenant
from tests.form_world import FOREIGN, SETTLED_S, SignUps, complete, posted
from tests.step_world import await_until
from workers.optin.words import WORDS

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def form(world: ApiWorld) -> SignUps:
    return complete(world)


def preferences(tenant: Tenant, subject: str) -> str:
    """The path of the person's page."""
    reply = tenant.call("POST", f"/v1/subjects/{subject}/preferences-link", "agent")
    assert reply.status == 200, reply
    return str(urlsplit(reply.body["url"]).path)


def test_a_key_opens_one_persons_page_for_a_day(world: ApiWorld, form: SignUps) -> None:
    """Not after its end, not with another tenant, not when a character is another."""
    person = form.tenant.person()
    path = preferences(form.tenant, person.subject)
    page = world.call("GET", path)
    assert (page.status, "Newsletter" in page.raw.decode()) == (200, True)
    assert person.address.value not in page.raw.decode()
    with patch("vault.preference_links.now_ms", lambda: now_ms() - DAY_MS - 2_000):
        late = world.vault.preference_key(form.tenant.name, person.subject)
    other = world.tenant()
    place, _, key = path.rpartition("/")
    flipped = key[:30] + ("A" if key[30] != "A" else "B") + key[31:]
    over = (
        f"{place}/{late}",
        f"{place}/{flipped}",
        f"{place}/x",
        f"{place}/{'A' * 500}",
        f"/optin/preferences/{other.name}/{key}",
    )
    for gone in (*over, f"/optin/preferences/nobody/{key}", f"{place}/%ff%00"):
        for reply in (world.call("GET", gone), posted(world, gone, {"act": "withdraw_all"})):
            assert (reply.status, WORDS["de"]["over"] in reply.raw.decode()) == (404, True), gone


def test_after_an_erasure_a_key_opens_nothing(world: ApiWorld, form: SignUps) -> None:
    person = form.tenant.person()
    path = preferences(form.tenant, person.subject)
    assert form.tenant.call("POST", f"/v1/subjects/{person.subject}/erasure", "officer").status == 202
    await_until(lambda: world.call("GET", path).status == 404, SETTLED_S, "the page is gone")
    gone = form.tenant.call("POST", f"/v1/subjects/{person.subject}/preferences-link", "agent")
    assert gone.problem == "not_found"


def test_a_person_withdraws_all_on_her_page_and_no_other_site_does_it_for_her(
    world: ApiWorld, form: SignUps
) -> None:
    person = form.tenant.person()
    person.introduce()
    person.sign_up("JA")
    path = preferences(form.tenant, person.subject)
    await_until(
        lambda: 'value="withdraw"' in world.call("GET", path).raw.decode(), SETTLED_S, "the consent is shown"
    )
    for origin in (FOREIGN, "null"):
        assert posted(world, path, {"act": "withdraw_all"}, Origin=origin).status == 403
    assert 'value="withdraw"' in world.call("GET", path).raw.decode()
    done = posted(world, path, {"act": "withdraw_all"}, Origin=world.url)
    assert (done.status, WORDS["de"]["withdrawn"] in done.raw.decode()) == (200, True)
    assert 'value="withdraw"' not in done.raw.decode()
    written = [e for e in world.written(topics.CONSENTS, form.tenant.name) if e.subject == person.subject]
    assert (written[-1].type, written[-1].data["method"]) == ("sealpost.consent.withdrawn.v1", "page")


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"accepted": ""}, 422, "choose"),
        ({"ticked": ""}, 422, "choose"),
        ({"notice": "privacy/1/de"}, 409, "changed"),
        ({"purpose": "service"}, 422, "away"),
        ({"act": "erase"}, 422, "away"),
    ],
)
def test_signing_up_on_the_preference_page_needs_both_boxes_and_what_was_read(
    world: ApiWorld, form: SignUps, changes: dict[str, str], status: int, word: str
) -> None:
    person, before = form.tenant.person(), form.tokens()
    path = preferences(form.tenant, person.subject)
    sent = {
        "act": "give", "channel": CHANNEL, "purpose": "newsletter", "ticked": "yes", "accepted": "yes",
        "notice": "privacy/2/de", "text": "signup/2/de",
    }  # fmt: skip
    refused = posted(world, path, {**sent, **changes})
    assert (refused.status, WORDS["de"][word] in refused.raw.decode()) == (status, True)
    assert form.tokens() == before
    done = posted(world, path, sent)
    assert (done.status, "https://wa.me/" in done.raw.decode()) == (200, True)
