"""The query API: what is shown of a person, opened; what is shown once the person is erased."""

import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from functools import partial
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from schemas import topics
from schemas.clock import now_ms, to_text, today
from schemas.content import TextReference
from schemas.envelope import EventData
from schemas.events import deletions, messages, statuses, subscriptions
from schemas.ids import is_id, message_id, random_id
from streams.step.contract import Effects, Item, Record
from tests.api_world import CHANNEL, ApiWorld, Person, Tenant
from tests.step_world import await_until
from vault.role import VaultHandler
from workers.intake.tenants import Registrar

NOTICE_URL = "https://obsthof.example/datenschutz"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


@pytest.fixture(scope="module")
def tenant(world: ApiWorld) -> Tenant:
    found = world.tenant()
    registrar = Registrar(world.vault, world.producer)
    registrar.publish_notice(found.name, "de", NOTICE_URL)
    registrar.publish_notice(found.name, "de", NOTICE_URL + "-2", version=2)
    return found


def report(person: Person, model: type[EventData], message: str, **more: object) -> None:
    """A status event of a message."""
    fields = {"message": message, "account": person.tenant.account, "acted_at": to_text(now_ms()), **more}
    person.tenant.world.produce(person.event(model.model_validate(fields), {}))


def own_text(person: Person, text: str, purpose: str, about: str | None = None) -> str:
    """One of Sealpost's own texts is asked for; the message's id."""
    message = message_id(today(), b"k", random_id(), "test", "own")
    data = messages.MessageRequested(
        message=message,
        account=person.tenant.account,
        purpose=purpose,
        about=about,
        kind="own_text",
        text=TextReference(id=text, version=1, language="de"),
        notice="privacy/1/de" if text == "consent_question" else None,
        language="de",
        delivery="at_least_once",
        expires=to_text(now_ms() + 60_000),
    )
    person.tenant.world.produce(person.event(data, {}))
    return message


def test_look_up(tenant: Tenant) -> None:
    """By address, in any spelling, by POST; 404 for who never wrote, 422 for what is no address."""
    person = tenant.person()
    code, rest = person.address.value[:2], person.address.value[2:]
    spellings = (
        code + rest, f"+{code} {rest[:3]} {rest[3:]}", f"00{code}{rest}", f"00{code} {rest[:3]}/{rest[3:]}",
        f"+{code}-{rest}", f"+{code} (0){rest}", f"(+{code}) {rest}",
    )  # fmt: skip
    for address in spellings:
        assert tenant.send({"channel": CHANNEL, "address": address}).status == 202
        reply = tenant.call(
            "POST", "/v1/subjects/lookup", "producer", {"channel": CHANNEL, "address": address}
        )
        assert (reply.status, reply.body) == (200, {"subject": person.subject})
    nobody = tenant.call(
        "POST", "/v1/subjects/lookup", "agent", {"channel": CHANNEL, "address": "4915100000000"}
    )
    assert (nobody.status, nobody.problem) == (404, "not_found")
    for body, pointer in (
        ({"channel": CHANNEL, "address": "red-4711"}, "/address"),
        ({"channel": CHANNEL, "address": "0151 4711"}, "/address"),
        ({"channel": CHANNEL, "address": "+39 (0)6 4711"}, "/address"),
        ({"channel": "pigeon", "address": "4915100000000"}, "/channel"),
        ({"channel": CHANNEL}, "/address"),
        ({"channel": CHANNEL, "address": "4915100000000", "colour": "red-4711"}, "/colour"),
    ):
        reply = tenant.call("POST", "/v1/subjects/lookup", "agent", body)
        assert (reply.status, reply.pointers) == (422, [pointer])
        assert b"4711" not in reply.raw


def test_a_subject_before_the_projection_knows_it(tenant: Tenant) -> None:
    """The vault knows it: active, with empty lists."""
    person = tenant.person()
    assert person.get() == {
        "subject": person.subject,
        "state": "active",
        "profile": {"name": None},
        "addresses": [],
        "subscriptions": [],
        "permissions": [],
    }
    assert person.get("/messages") == {"items": []}
    assert person.get("/consents") == {"items": []}


def test_a_subject(tenant: Tenant) -> None:
    """State, profile, addresses, subscriptions; the name is the newest one, an address that was bound twice stands once."""
    person = tenant.person("Ada")
    person.introduce()
    person.name = "Ada Birnbaum"
    person.introduce()
    given = person.sign_up("JA")
    shown = person.until(
        "",
        # Three topics, whose order among one another is nobody's.
        lambda body: (
            body["subscriptions"] and body["permissions"] and body["profile"]["name"] == "Ada Birnbaum"
        ),
    )
    assert shown["state"] == "active"
    assert shown["addresses"] == [{"channel": CHANNEL, "kind": "phone", "address": person.address.value}]
    (subscription,) = shown["subscriptions"]
    assert TIME.match(subscription.pop("since"))
    assert subscription == {
        "list": "newsletter",
        "purpose": "newsletter",
        "channel": CHANNEL,
        "state": "active",
        "language": "de",
        "basis": given.id,
    }
    assert [(one["purpose"], one["state"]) for one in shown["permissions"]] == [("newsletter", "given")]
    assert shown["language"] == "de"
    assert TIME.match(shown["created_at"])
    assert not {"erased_at", "unreadable", "stale"} & set(shown)


def test_messages(tenant: Tenant) -> None:
    """In and out by time, with words, status, reason and times; our own texts rendered, templates with their variables."""
    person = tenant.person()
    person.introduce()
    person.write("Wann haben Sie geöffnet?")
    answer = tenant.send(person.to, "Heute bis 18 Uhr.").body["message_id"]
    template = {"type": "template", "name": "offer", "language": "de", "variables": ["Birne"]}
    offer = tenant.send(person.to, purpose="newsletter", content=template).body["message_id"]
    question = own_text(person, "consent_question", "service", about="newsletter")
    for model in (statuses.MessageRead, statuses.MessageSubmitted, statuses.MessageDelivered):
        report(person, model, answer)
    report(person, statuses.MessageRejected, offer, reason="no_consent")
    items = person.until(
        "/messages",
        lambda body: (
            [item["status"] for item in body["items"]] == ["received", "read", "rejected", "requested"]
        ),
    )["items"]
    written, answered, offered, asked = items
    assert (written["direction"], written["text"], written["kind"]) == (
        "in",
        "Wann haben Sie geöffnet?",
        "text",
    )
    assert set(written["times"]) == {"received"}
    assert is_id(written["message_id"])
    assert (answered["message_id"], answered["direction"], answered["text"]) == (
        answer,
        "out",
        "Heute bis 18 Uhr.",
    )
    assert (answered["purpose"], answered["channel"], answered["reason"]) == ("service", CHANNEL, None)
    assert set(answered["times"]) == {"requested", "submitted", "delivered", "read"}
    assert all(TIME.match(time) for time in answered["times"].values())
    assert (offered["reason"], offered["text"], offered["kind"]) == ("no_consent", None, "template")
    assert offered["template"] == {key: template[key] for key in ("name", "language", "variables")}
    assert asked["message_id"] == question
    assert "„Newsletter“ von Obsthof Birnbaum" in asked["text"]
    assert NOTICE_URL in asked["text"]
    assert "-2" not in asked["text"], "the notice that was shown, not the newest"


def said(person: Person, model: type[EventData], personal: dict[str, object], **fields: object) -> None:
    """An event of `sealpost.messages` with this content."""
    data = model.model_validate({"account": person.tenant.account, "acted_at": to_text(now_ms()), **fields})
    person.tenant.world.produce(person.event(data, {"content": personal}))


def test_what_became_of_a_message_is_shown(tenant: Tenant) -> None:
    """The last edit's words and that it was one, the reaction that stands, what staff wrote; nothing of what was taken back."""
    person = tenant.person()
    person.introduce()
    first, second, echo = random_id(), random_id(), random_id()
    received = {"kind": "text", "provider_kind": "text"}
    said(person, messages.MessageReceived, {"text": "Birnne"}, message=first, **received)
    said(person, messages.MessageReceived, {"text": "Geheim"}, message=second, **received)
    before, last = ({"provider_time": to_text(now_ms() + more)} for more in (-2_000, -1_000))
    said(person, messages.MessageEdited, {"text": "Birne!"}, message=first, **last)
    said(person, messages.MessageEdited, {"text": "Birne?"}, message=first, **before)
    said(person, messages.MessageReacted, {"emoji": "👍"}, message=first, **last)
    said(person, messages.MessageReacted, {"emoji": "👎"}, message=first, **before)
    said(person, messages.MessageEdited, {"text": "Geheimer"}, message=second)
    said(person, messages.MessageReacted, {"emoji": "🤫"}, message=second)
    said(person, messages.MessageRevoked, {"target": "x"}, message=second)
    said(person, messages.MessageEchoed, {"text": "Wir rufen an."}, message=echo)
    said(person, messages.MessageReacted, {"emoji": "👍", "target": "x"}, message=echo)
    said(person, messages.MessageReacted, {"emoji": "❤", "target": "y"})
    items = person.until("/messages", lambda body: len(body["items"]) == 4)["items"]
    edited, revoked, echoed, reacted = items
    assert (edited["text"], edited["reaction"]) == ("Birne!", "👍")
    assert TIME.match(edited["edited_at"])
    assert (revoked["text"], revoked["kind"]) == (None, "text")
    assert TIME.match(revoked["revoked_at"])
    assert "reaction" not in revoked
    assert (echoed["direction"], echoed["by"], echoed["text"]) == ("out", "staff", "Wir rufen an.")
    assert (echoed["status"], set(echoed["times"]), echoed["reaction"]) == ("sent", {"sent"}, "👍")
    assert (reacted["direction"], reacted["kind"], reacted["text"]) == ("in", "reaction", "❤")
    said(person, messages.MessageReacted, {"emoji": ""}, message=first)
    person.until("/messages", lambda body: "reaction" not in body["items"][0])
    words = [item["words"] for item in person.get("/timeline")["items"]]
    assert f"The business wrote to them over {CHANNEL}, past Sealpost." in words
    assert {"They changed a message.", "They took a message back."} <= set(words)
    explained = tenant.call("GET", f"/v1/messages/{echo}/explanation", "agent").body
    assert explained["verdict"] == f"Somebody of the business wrote it over {CHANNEL}, past Sealpost."


def test_what_was_taken_back_is_not_shown_where_it_was_written_under_another_id(tenant: Tenant) -> None:
    """The person was known under two ids when she wrote it; her act counts for both."""
    younger, older = tenant.person(), tenant.person()
    message = random_id()
    received = {"kind": "text", "provider_kind": "text", "message": message}
    said(younger, messages.MessageReceived, {"text": "Geheim"}, **received)
    younger.until("/messages", lambda body: body["items"])
    said(older, messages.MessageRevoked, {"target": "x"}, message=message)
    (item,) = younger.until("/messages", lambda body: "revoked_at" in body["items"][0])["items"]
    assert item["text"] is None


def test_an_address_that_is_theirs_no_more_is_not_shown(tenant: Tenant) -> None:
    """Bound, unbound, and bound again: the last word counts."""
    person = tenant.person()
    person.introduce()
    account, number = tenant.account, person.address.value
    identity = {"address": number, "kind": "phone"}
    gone = subscriptions.AddressUnbound(address_kind="phone", account=account, reason="changed")
    other = subscriptions.AddressBound(address_kind="phone", account=account)
    tenant.world.produce(
        person.event(gone, {"identity": identity}),
        person.event(other, {"identity": {"address": "4915100000001", "kind": "phone"}}),
    )
    person.until("", lambda body: [one["address"] for one in body["addresses"]] == ["4915100000001"])
    words = [item["words"] for item in person.get("/timeline")["items"]]
    assert f"An address on {CHANNEL} is theirs no more." in words
    tenant.world.produce(person.event(other, {"identity": identity}))
    person.until("", lambda body: {one["address"] for one in body["addresses"]} == {number, "4915100000001"})


def shows_blocked(blocked: object, body: Any) -> bool:
    """The answer names these accounts as blocked."""
    return bool(body.get("blocked") == blocked)


def test_a_block_is_shown_until_it_ends(tenant: Tenant) -> None:
    """With the account and since when; of who blocked nobody nothing is said."""
    person = tenant.person()
    person.introduce()
    person.until("", lambda body: body["addresses"] and "blocked" not in body)
    for reachable in (False, True):
        at = to_text(now_ms())
        data = subscriptions.ReachChanged(account=tenant.account, reachable=reachable, acted_at=at)
        tenant.world.produce(person.event(data, {}))
        blocked = None if reachable else [{"channel": CHANNEL, "account": tenant.account, "since": at}]
        person.until("", partial(shows_blocked, blocked))
        words = f"The account {tenant.account} on {CHANNEL} does not reach them any more."
        assert (words in [item["words"] for item in person.get("/timeline")["items"]]) is not reachable


def a_cursor(*parts: str) -> str:
    """A cursor of these parts."""
    return urlsafe_b64encode("|".join(parts).encode()).decode()


def test_pages_of_messages(tenant: Tenant) -> None:
    """`limit` and `cursor`: every message once, in order; a cursor of nothing is refused."""
    person = tenant.person()
    person.introduce()
    sent = [tenant.send(person.to, f"Nummer {number}").body["message_id"] for number in range(7)]
    person.until("/messages", lambda body: len(body["items"]) == 7)
    seen: list[str] = []
    cursor = ""
    while True:
        page = person.get(f"/messages?limit=3{cursor}")
        seen += [item["message_id"] for item in page["items"]]
        if "next" not in page:
            break
        cursor = f"&cursor={quote(page['next'])}"
    assert sorted(seen) == sorted(sent)
    texts = [item["text"] for item in person.get("/messages?limit=500")["items"]]
    assert texts == [f"Nummer {number}" for number in range(7)]
    for query, name in (
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        (f"cursor={a_cursor('2026-11-23T10:00:00.000Z', '0' * 32)}", "cursor"),
        (f"cursor={a_cursor('2026-11-23T10:00:00.000Z', '-1', '0' * 32)}", "cursor"),
        (f"cursor={a_cursor('2026-11-23T10:00:00.000Z', str(2**63), '0' * 32)}", "cursor"),
        (f"cursor={a_cursor('2026-11-23T10:00:00.000Z', '1', 'x')}", "cursor"),
    ):
        reply = tenant.call("GET", f"/v1/subjects/{person.subject}/messages?{query}", "agent")
        assert (reply.status, reply.pointers) == (422, [name])


def test_pages_of_one_millisecond(world: ApiWorld, tenant: Tenant) -> None:
    """Messages in both directions at one time are shown in the order of the log, in pages of every size."""
    person, moment = tenant.person(), to_text(now_ms())
    person.introduce()
    events = []
    for number in range(30):
        message, text = message_id(today(), b"k", random_id(), "test", "m"), f"Nummer {number}"
        data: EventData
        if number % 2:
            data = messages.MessageReceived(
                message=message, account=tenant.account, kind="text", provider_kind="text", acted_at=moment
            )
        else:
            data = messages.MessageRequested(
                message=message,
                account=tenant.account,
                purpose="service",
                kind="text",
                delivery="at_least_once",
                expires=to_text(now_ms() + 60_000),
            )
        event = person.event(data, {"content": {"type": "text", "text": text}})
        events.append(event.model_copy(update={"time": moment}))
    world.produce(*events)
    person.until("/messages", lambda body: len(body["items"]) == 30)
    for size in (1, 7, 30):
        texts, path = [], f"/messages?limit={size}"
        while path:
            page = person.get(path)
            texts += [item["text"] for item in page["items"]]
            path = f"/messages?limit={size}&cursor={quote(page['next'])}" if "next" in page else ""
        assert texts == [f"Nummer {number}" for number in range(30)]


def test_consents_with_evidence(tenant: Tenant) -> None:
    """In the order of the events, with the wording and notice as shown and the person's own words opened."""
    person = tenant.person()
    person.introduce()
    given = person.sign_up("JA, gern")
    items = person.until("/consents", lambda body: len(body["items"]) == 2, "officer")["items"]
    requested, consent = items
    assert [item["type"] for item in items] == ["ConsentRequested", "ConsentGiven"]
    assert requested["acted_at"] is None
    assert consent["event"] == given.id
    assert (consent["purpose"], consent["channel"], consent["method"]) == ("newsletter", CHANNEL, "keyword")
    assert TIME.match(consent["acted_at"])
    assert TIME.match(consent["recorded_at"])
    assert consent["text"]["id"] == "consent_question"
    assert "„Newsletter“ von Obsthof Birnbaum" in consent["text"]["wording"]
    assert NOTICE_URL + "\n" in consent["text"]["wording"]
    assert consent["notice"] == {"reference": "privacy/1/de", "url": NOTICE_URL}
    assert consent["evidence"] == {"text": "JA, gern", "sender": person.address.value}
    assert "evidence" not in requested
    assert person.get("/consents", "legal")["items"] == items


def test_a_block_that_does_not_open_is_null_and_said(world: ApiWorld, tenant: Tenant) -> None:
    """A changed ciphertext is neither shown as text nor as erased."""
    person = tenant.person("Ada")
    person.introduce()
    person.write("hallo")
    person.sign_up("JA")
    person.until("", lambda body: body["subscriptions"] and body["addresses"] and body["profile"]["name"])
    person.until("/messages", lambda body: len(body["items"]) == 1)
    person.until("/consents", lambda body: len(body["items"]) == 2)
    with psycopg.connect(world.projections_dsn) as connection:
        for table, column in (("subject", "profile"), ("message", "content"), ("consent", "evidence")):
            connection.execute(
                f"update projections.{table} set {column} = jsonb_set({column}::jsonb, '{{ct}}', %s)::json"
                f" where subject = %s and {column} is not null",
                ('"' + "A" * 120 + '"', person.subject),
            )
    shown = person.get()
    assert (shown["profile"], shown["unreadable"], len(shown["addresses"])) == ({"name": None}, True, 1)
    (item,) = person.get("/messages")["items"]
    assert (item["text"], item["unreadable"]) == (None, True)
    consent = person.get("/consents")["items"][1]
    assert (consent["evidence"], consent["unreadable"]) == (None, True)


def test_erasure(world: ApiWorld, tenant: Tenant) -> None:
    """202 with an id that stays the same; T0, T1 and the receipts are shown; then nothing of the person is."""
    person = tenant.person()
    person.introduce()
    person.write("vergiss mich")
    person.sign_up("JA")
    person.until("", lambda body: body["subscriptions"])
    path = f"/v1/subjects/{person.subject}/erasure"
    first, second = (tenant.call("POST", path, "officer") for _ in range(2))
    assert (first.status, first.body) == (second.status, second.body)
    assert first.status == 202
    erasure = first.body["erasure_id"]

    def shown() -> dict[str, object]:
        reply = tenant.call("GET", f"/v1/erasures/{erasure}", "officer")
        return dict(reply.body) if reply.status == 200 else {}

    await_until(lambda: len(shown().get("receipts", [])) == 2, 60, "both receipts")  # type: ignore[arg-type]  # a list
    found = shown()
    assert (found["state"], found["subject"], found["requested_by"]) == (
        "keys_destroyed",
        person.subject,
        "officer",
    )
    assert [receipt["store"] for receipt in found["receipts"]] == ["projections.v1", "vault"]  # type: ignore[attr-defined]  # a list
    assert str(found["t0"]) <= str(found["t1"]) < str(found["t2"]) < str(found["tr"])
    assert found["t3"] is None
    gone = person.get()
    assert gone == {"subject": person.subject, "state": "erased", "erased_at": found["t1"]}
    assert person.get("/messages") == {"state": "erased", "items": []}
    assert person.get("/consents", "legal") == {"state": "erased", "items": []}
    assert tenant.call("POST", "/v1/subjects/lookup", "agent", person.to).status == 404
    assert tenant.send(person.to).problem == "unknown_recipient"
    assert tenant.send({"subject": person.subject}).problem == "unknown_recipient"
    again = tenant.call("POST", path, "officer")
    assert (again.status, again.body) == (202, first.body)
    requested = {
        e.id
        for e in world.written(topics.DELETIONS, tenant.name)
        if e.type == "sealpost.erasure.requested.v1"
    }
    assert len(requested) == 1
    assert tenant.call("GET", f"/v1/erasures/{random_id()}", "agent").status == 404


def test_erased_in_the_vault_is_erased_at_once(tenant: Tenant, world: ApiWorld) -> None:
    """The vault's word counts while the projection is behind."""
    person = tenant.person()
    person.introduce()
    person.until("", lambda body: body["addresses"])
    requested = deletions.ErasureRequested(erasure=random_id(), requested_by="officer", t0=to_text(now_ms()))
    event = person.event(requested, {})
    handler, effects = VaultHandler(world.vault), Effects()
    items = handler.prepare([Record(topics.DELETIONS, 0, 0, event.key(), event.to_bytes(), now_ms())])
    with world.vault.transaction() as cursor:
        handler.apply(cursor, [item for item in items if isinstance(item, Item)], effects)
    # What the role vault would write is not written: the projection will not hear of it.
    assert effects.outputs
    assert set(person.get()) == {"subject", "state", "erased_at"}
    assert person.get("/messages") == {"state": "erased", "items": []}


def test_keys_of_certificates_are_shown_to_who_hands_them_on(tenant: Tenant, world: ApiWorld) -> None:
    """The public half of the key that signs, for officer and legal of any tenant."""
    signer = world.vault.certificate_signer()
    for role in ("officer", "legal"):
        shown = tenant.call("GET", "/v1/certificates/keys", role)
        assert shown.status == 200
        assert {
            "key": signer.key_id,
            "algorithm": "Ed25519",
            "public": b64encode(signer.public).decode(),
        } in shown.body["keys"]
        assert all(len(b64decode(found["public"])) == 32 for found in shown.body["keys"])
    assert tenant.call("GET", "/v1/certificates/keys", "agent").status == 403
