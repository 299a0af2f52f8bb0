"""The routes of signing up over real HTTP: forms and what they lack, sign-ups, other sites, bodies that are none, limits, links,
a business's own form, withdrawals."""

from typing import Any
from urllib.parse import unquote, urlencode

import orjson
import psycopg
import pytest

from schemas import topics
from schemas.clock import boot_s, now_ms, to_text
from schemas.entry_tokens import find_token, token_hash
from schemas.events import registry, tenants
from schemas.ids import random_id
from tests.api_world import CHANNEL, ApiWorld
from tests.form_world import (
    FOREIGN,
    NOTICE_URL,
    NUMBER,
    ORIGIN,
    SETTLED_S,
    SignUps,
    approve_account,
    complete,
    fields,
    make_form,
    posted,
    publish,
    sent_from,
)
from tests.step_world import await_until
from workers.optin.public import SIGN_UPS
from workers.optin.words import WORDS

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def form(world: ApiWorld) -> SignUps:
    return complete(world)


def test_until_everything_is_there_a_form_shows_nothing_and_says_why(world: ApiWorld) -> None:
    """Agreement, notice, text, account, one after the other; drafts are shown to nobody."""
    tenant = world.tenant(dpa=False)
    made = make_form(tenant)
    form = SignUps(tenant, made["form"])

    def lacks(words: str) -> None:
        await_until(
            lambda: form.offer().status == 409 and words in form.offer().body["why"],
            SETTLED_S,
            f"the form lacks: {words}",
        )
        page = world.call("GET", form.place, headers={"Accept-Language": "en"})
        assert page.status == 409
        assert WORDS["en"]["unavailable"] in page.raw.decode()
        assert form.send({**GOOD_SHAPE}).status == 409

    lacks("no data-processing agreement")
    assert "no data-processing agreement" in made["missing"]
    world.call("POST", f"/v1/tenants/{tenant.name}/dpa", world.admin, {"version": "1"})
    lacks("No privacy notice")
    draft = world.call("GET", f"/optin/notices/{tenant.name}/privacy/1/de")
    assert (draft.status, WORDS["de"]["no_page"] in draft.raw.decode()) == (404, True)
    publish(tenant, "notice", url=NOTICE_URL)
    lacks("text is a draft")
    approval = {"kind": "text", "reference": "signup/1/de"}
    assert tenant.call("POST", "/v1/wordings/approval", "officer", approval).status == 200
    lacks("None of the form's accounts")
    approve_account(tenant, handle=None)
    lacks("None of the form's accounts")
    approve_account(tenant)
    await_until(lambda: form.offer().status == 200, SETTLED_S, "nothing is missing")
    (listed,) = tenant.call("GET", "/v1/forms", "officer").body
    assert listed["missing"] is None
    assert form.tokens() == 0


GOOD_SHAPE = {"language": "de", "purposes": ["newsletter"], "accepted": True, "notice": "x", "text": "x"}


def test_a_sign_up_is_recorded_and_leads_to_the_chat(world: ApiWorld, form: SignUps) -> None:
    """The token rides in the link alone; what is written names the opt-in, what was shown, and nobody."""
    reply = form.send(form.body(), ORIGIN)
    assert reply.status == 200, reply
    (link,) = reply.body["links"]
    found = find_token(unquote(link["url"]))
    assert found is not None
    assert found.token is not None
    assert (link["channel"], link["qr"]["label"]) == ("WhatsApp", "QR-Code, der WhatsApp öffnet")
    with psycopg.connect(world.vault_dsn) as connection:
        row = connection.execute(
            "select facts, origin from vault.entry_tokens where hash = %s", [token_hash(found.token)]
        ).fetchone()
    assert row is not None
    facts, origin = orjson.loads(row[0]), row[1]
    (asked,) = facts["purposes"]
    event = next(e for e in world.written(topics.CONSENTS, form.tenant.name) if e.subject == asked["optin"])
    assert event.type == "sealpost.optin.requested.v1"
    assert (event.data["form"], event.data["notice"], origin) == (form.form, "privacy/2/de", form.form)
    assert (event.data["acted_at"], event.data["text_hash"]) == (facts["requested_at"], facts["text_hash"])
    assert found.token.encode() not in event.to_bytes()
    assert "set-cookie" not in reply.headers


def test_what_is_not_ticked_is_not_recorded(world: ApiWorld) -> None:
    """Two purposes have a box each; one ticked is one opt-in. The order of the boxes is the form's."""
    tenant = complete(world).tenant
    defined = tenants.PurposeDefined(purpose="events", legal_basis="consent")
    world.produce(
        registry.build(
            defined, id=random_id(), role="test", tenant=tenant.name, subject=tenant.name, at_ms=now_ms()
        )
    )
    wanted = {"purposes": ["newsletter", "events"]}
    await_until(
        lambda: tenant.call("POST", "/v1/forms", "officer", wanted).status == 201,
        SETTLED_S,
        "the purpose is known",
    )
    form = SignUps(tenant, make_form(tenant, **wanted)["form"])
    boxes = form.offer().body["boxes"]
    assert [box["purpose"] for box in boxes] == ["newsletter", "events"]
    assert boxes[0]["label"] != boxes[1]["label"]
    page = world.call("GET", form.place).raw.decode()
    assert (page.count('type="checkbox"'), page.count(" checked")) == (3, 0)
    assert form.send(form.body(purposes=["events", "events"])).status == 200
    requested = [e for e in world.written(topics.CONSENTS, tenant.name) if e.data.get("form") == form.form]
    assert [event.data["purpose"] for event in requested] == ["events"]


def test_the_plain_page_leads_there_too(world: ApiWorld, form: SignUps) -> None:
    page = world.call("GET", form.place)
    assert page.status == 200
    assert "script" not in page.raw.decode()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "same-origin")
    done = posted(world, form.place, fields(form))
    assert (done.status, "https://wa.me/" in done.raw.decode()) == (200, True)
    assert "set-cookie" not in {**page.headers, **done.headers}


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"accepted": None}, 422, "choose"),
        ({"purpose": None}, 422, "choose"),
        ({"purpose": "service"}, 422, "choose"),
        ({"purpose": "<script>"}, 422, "choose"),
        ({"notice": "privacy/1/de"}, 409, "changed"),
        ({"text": None}, 409, "changed"),
        ({"text": "x" * 300}, 409, "changed"),
        ({"notice": "x" * 300}, 409, "changed"),
    ],
)
def test_the_plain_page_says_what_is_wrong(
    world: ApiWorld, form: SignUps, changes: dict[str, Any], status: int, word: str
) -> None:
    before = form.tokens()
    reply = posted(world, form.place, fields(form, **changes))
    assert (reply.status, WORDS["de"][word] in reply.raw.decode()) == (status, True)
    assert "<script>" not in reply.raw.decode()
    assert form.tokens() == before


def test_many_purposes_are_refused_on_the_page_and_in_the_widget(world: ApiWorld, form: SignUps) -> None:
    sent = urlencode([*fields(form).items(), *(("purpose", f"p{n}") for n in range(40))]).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert world.call("POST", form.place, raw=sent, headers=kind).status == 422
    flood = urlencode([("p", "")] * 100).encode()
    assert world.call("POST", form.place, raw=flood, headers=kind).status == 422
    assert world.call("POST", form.place, raw=b"x" * 10_000, headers=kind).status == 413
    assert world.call("POST", form.place, raw=b"\xff\xfe=%ff", headers=kind).status in (409, 422)
    assert form.send(form.body(purposes=[f"p{n}" for n in range(40)])).status == 422


def test_only_the_forms_own_sites_may_embed_it(world: ApiWorld, form: SignUps) -> None:
    """Others are told why, so that their owner can read it, and get nothing; `null` is no origin."""
    preflight = world.call("OPTIONS", f"{form.place}/signups", headers={"Origin": ORIGIN})
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, ORIGIN)
    assert "access-control-allow-credentials" not in preflight.headers
    offered = form.offer(ORIGIN)
    assert (offered.headers["access-control-allow-origin"], offered.headers["vary"]) == (ORIGIN, "Origin")
    before = form.tokens()
    for origin in (FOREIGN, "null", f"{ORIGIN}.evil.example", "http://www.example.org"):
        refused = world.call("OPTIONS", f"{form.place}/signups", headers={"Origin": origin})
        assert refused.status == 403
        assert "access-control-allow-origin" not in refused.headers
        for reply in (form.offer(origin), form.send(form.body(), origin)):
            assert reply.status == 403
            assert set(reply.body) == {"why"}
            assert "origins" in reply.body["why"]
        page = posted(world, form.place, fields(form), Origin=origin)
        assert (page.status, "wa.me" in page.raw.decode()) == (403, False)
    assert form.tokens() == before
    own = world.url
    assert form.send(form.body(), own).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}", b'{"purposes":["newsletter"]}', b"[" * 5_000,
        orjson.dumps({**GOOD_SHAPE, "address": "4915112345678"}),
        orjson.dumps({**GOOD_SHAPE, "accepted": "true"}),
        orjson.dumps({**GOOD_SHAPE, "purposes": "newsletter"}),
        orjson.dumps({**GOOD_SHAPE, "purposes": []}),
        orjson.dumps({**GOOD_SHAPE, "language": "d" * 500}),
    ],
)  # fmt: skip
def test_a_body_that_is_none_is_refused_without_a_word_of_it(
    world: ApiWorld, form: SignUps, raw: bytes
) -> None:
    before = form.tokens()
    reply = world.call("POST", f"{form.place}/signups", raw=raw, headers={"Content-Type": "application/json"})
    assert reply.status == 422, reply
    assert set(reply.body) == {"why"}
    assert b"49151" not in reply.raw
    assert form.tokens() == before


def test_a_box_of_another_purpose_and_an_unread_notice_are_refused(form: SignUps) -> None:
    before = form.tokens()
    for changes in ({"purposes": ["service"]}, {"purposes": ["newsletter", "x"]}, {"accepted": False}):
        reply = form.send(form.body(**changes))
        assert (reply.status, reply.body) == (422, {"word": "choose"})
    assert form.tokens() == before


def test_a_form_that_changed_meanwhile_is_to_be_read_again(world: ApiWorld) -> None:
    form = complete(world)
    old = form.body()
    publish(form.tenant, "text", version=3)
    await_until(lambda: form.offer().body["text"] == "signup/3/de", SETTLED_S, "the new text is shown")
    assert (form.send(old).status, form.send(old).body) == (409, {"word": "changed"})
    assert form.send(form.body()).status == 200


def test_a_published_version_cannot_be_said_otherwise(world: ApiWorld, form: SignUps) -> None:
    """The same again is fine; other words or another address are to count the version up, and nothing is written of them."""
    before = len(world.written(topics.TENANTS, form.tenant.name))
    publish(form.tenant, "notice", url=NOTICE_URL)
    publish(form.tenant, "text")
    shared = {"version": 2, "language": "de"}
    words = "Ja zu „{purpose}“ von {business}, und zu allem anderen."
    notice = "Unsere Hinweise\n\nWas wir tun, und warum."
    for changed in (
        {"kind": "text", "body": words},
        {"kind": "notice", "body": words, "url": NOTICE_URL},
        {"kind": "notice", "body": notice, "url": NOTICE_URL + "/neu"},
    ):
        refused = form.tenant.call("POST", "/v1/wordings", "officer", {**shared, **changed})
        assert (refused.status, refused.problem) == (409, "conflict")
        assert "count the version up" in refused.body["detail"]
    assert len(world.written(topics.TENANTS, form.tenant.name)) == before
    wordings = form.tenant.call("GET", "/v1/wordings", "officer").body["wordings"]
    assert [one["body"] for one in wordings if one["reference"] == "privacy/2/de"] == [notice]


@pytest.mark.parametrize(
    "place", ["nobody/" + "0" * 32, "{tenant}/" + "0" * 32, "{tenant}/x", "%00/%ff", "{tenant}/..%2f"]
)
def test_a_form_that_nobody_made_is_not_there(world: ApiWorld, form: SignUps, place: str) -> None:
    unknown = "/optin/forms/" + place.replace("{tenant}", form.tenant.name)
    page, offer = world.call("GET", unknown), world.call("GET", unknown + "/offer")
    sent = world.call("POST", unknown + "/signups", body=GOOD_SHAPE)
    assert (page.status, offer.status, sent.status) == (404, 404, 404)


def test_an_ended_form_is_gone_and_its_tokens_end(world: ApiWorld) -> None:
    form = complete(world)
    assert form.send(form.body()).status == 200
    assert form.tenant.call("DELETE", f"/v1/forms/{form.form}", "officer").status == 204
    await_until(lambda: form.offer().status == 404, SETTLED_S, "the form is gone")
    assert form.tenant.call("DELETE", f"/v1/forms/{form.form}", "officer").status == 404
    with psycopg.connect(world.vault_dsn) as connection:
        row = connection.execute(
            "select max(expires_ms) from vault.entry_tokens where tenant = %s", [form.tenant.name]
        ).fetchone()
    assert row is not None
    assert row[0] <= now_ms()


def test_one_source_may_sign_up_so_often_and_is_told_so_in_words(world: ApiWorld) -> None:
    """Another source is not held up by it."""
    form = complete(world)
    body, page = orjson.dumps(form.body()), urlencode(fields(form)).encode()
    began = boot_s()
    statuses = [
        sent_from(world, "127.0.0.9", f"{form.place}/signups", body)[0] for _ in range(SIGN_UPS.burst)
    ]
    assert statuses == [200] * SIGN_UPS.burst
    after = 0  # on a busy machine those of the burst take so long that others may follow
    while (last := sent_from(world, "127.0.0.9", f"{form.place}/signups", body))[0] == 200:
        after += 1
        assert after <= (boot_s() - began) / SIGN_UPS.every_s
    assert last == (429, b'{"word":"busy"}')
    status, told = sent_from(world, "127.0.0.9", form.place, page, "application/x-www-form-urlencoded")
    assert (status, WORDS["de"]["busy"] in told.decode()) == (429, True)
    assert sent_from(world, "127.0.0.10", f"{form.place}/signups", body)[0] == 200
    assert form.tokens() == SIGN_UPS.burst + after + 1


# What the business itself calls


def own_form(**changes: Any) -> dict[str, Any]:
    """What a business's own form sends."""
    return {
        "purposes": ["newsletter"], "text": {"id": "signup", "version": 2, "language": "de"}, "notice": "privacy/2/de",
        "shown_at": to_text(now_ms()), "language": "de", **changes,
    }  # fmt: skip


def test_a_businesss_own_form_gets_links(form: SignUps) -> None:
    reply = form.tenant.call("POST", "/v1/optins", "producer", own_form(campaign="herbst"))
    assert reply.status == 201, reply
    assert len(reply.body["optins"]) == 1
    link = unquote(reply.body["links"][0]["url"])
    assert link.startswith(f"https://wa.me/{NUMBER}?text=Ja, ")
    assert find_token(link) is not None
    for role in ("agent", "officer", "legal"):
        assert form.tenant.call("POST", "/v1/optins", role, own_form()).problem == "forbidden"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"purposes": ["service"]}, "/purposes/0"),
        ({"accounts": ["nobody's"]}, "/accounts/0"),
        ({"text": {"id": "signup", "version": 1, "language": "de"}}, "/text"),
        ({"notice": "privacy/1/de"}, "/notice"),
        ({"shown_at": "yesterday"}, "/shown_at"),
        ({"shown_at": "2026-11-25T10:00:00"}, "/shown_at"),
        ({"shown_at": to_text(now_ms() + 3_600_000)}, "/shown_at"),
        ({"shown_at": to_text(now_ms() - 8 * DAY_MS)}, "/shown_at"),
        ({"address": "4915112345678"}, "/address"),
        ({"language": "fr"}, "/language"),
    ],
)
def test_what_is_wrong_in_a_businesss_own_form_is_named(
    form: SignUps, changes: dict[str, Any], pointer: str
) -> None:
    """A draft is no text that anybody was shown; no address is taken."""
    before = form.tokens()
    reply = form.tenant.call("POST", "/v1/optins", "producer", own_form(**changes))
    assert (reply.status, reply.pointers) == (422, [pointer])
    assert b"49151" not in reply.raw
    assert form.tokens() == before


def test_links_of_a_campaign(world: ApiWorld, form: SignUps) -> None:
    """Made, told once, ended; an account without a number makes none."""
    tenant = form.tenant
    reply = tenant.call("POST", "/v1/links", "producer", {"account": tenant.account, "campaign": "plakat"})
    assert reply.status == 201, reply
    found = find_token(unquote(reply.body["url"]))
    assert found is not None
    assert reply.body["qr_svg"].startswith("<svg")
    events = [
        e for e in world.written(topics.TENANTS, tenant.name) if e.data.get("link") == reply.body["link"]
    ]
    assert [(e.data["campaign"], e.data["purpose"]) for e in events] == [("plakat", "newsletter")]
    assert str(found.token).encode() not in events[0].to_bytes()
    assert tenant.call("DELETE", f"/v1/links/{reply.body['link']}", "officer").status == 204
    assert tenant.call("DELETE", f"/v1/links/{NOBODY}", "officer").problem == "not_found"
    wrong = {"account": "nobody's", "campaign": "plakat"}
    assert tenant.call("POST", "/v1/links", "producer", wrong).pointers == ["/account/0"]
    mute = world.tenant()
    approve_account(mute, handle=None)
    wanted = {"account": mute.account, "campaign": "plakat"}
    await_until(
        lambda: mute.call("POST", "/v1/links", "officer", wanted).pointers == ["/account"],
        SETTLED_S,
        "the account is known, and has no number",
    )


NOBODY = "0" * 32


def test_a_withdrawal_needs_a_person(form: SignUps) -> None:
    body = {"channel": CHANNEL, "purpose": "newsletter"}
    person = form.tenant.person()
    for role in ("agent", "officer", "producer"):
        path = f"/v1/subjects/{person.subject}/withdrawals"
        assert form.tenant.call("POST", path, role, body).status == 202
    for nobody in (NOBODY, "x", "%00"):
        assert form.tenant.call("POST", f"/v1/subjects/{nobody}/withdrawals", "agent", body).status == 404
    wrong = form.tenant.call(
        "POST", f"/v1/subjects/{person.subject}/withdrawals", "agent", {"channel": CHANNEL}
    )
    assert wrong.pointers == ["/purpose"]
    withdrawn = [
        e for e in form.tenant.world.written(topics.CONSENTS, form.tenant.name) if e.subject == person.subject
    ]
    assert {(e.type, e.data["method"]) for e in withdrawn} == {("sealpost.consent.withdrawn.v1", "api")}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"channel": "4915112345678"}, "/channel"),
        ({"channel": "Ada Birnbaum"}, "/channel"),
        ({"channel": "%00"}, "/channel"),
        ({"purpose": "ada.birnbaum"}, "/purpose"),
        ({"purpose": "4915112345678"}, "/purpose"),
    ],
)
def test_no_free_text_becomes_a_clear_field_of_a_withdrawal(
    form: SignUps, changes: dict[str, str], pointer: str
) -> None:
    """A channel that is registered and a purpose that the tenant defined, and nothing else; the value is not told again."""
    person = form.tenant.person()
    body = {"channel": CHANNEL, "purpose": "newsletter", **changes}
    refused = form.tenant.call("POST", f"/v1/subjects/{person.subject}/withdrawals", "producer", body)
    assert (refused.status, refused.pointers) == (422, [pointer])
    assert next(iter(changes.values())).encode() not in refused.raw
    written = form.tenant.world.written(topics.CONSENTS, form.tenant.name)
    assert not [e for e in written if e.subject == person.subject]
    assert not form.tenant.world.vault.permissions(form.tenant.name, person.subject)
