"""The names in the answers of the HTTP API are those that callers were promised, at every stage of what they tell of."""

from schemas.clock import now_ms, to_ms, to_text
from schemas.constants import Times
from schemas.events import deletions, statuses
from schemas.ids import is_id, random_id
from streams.processors.erasure.processor import ErasureLedger
from tests.api_world import TIMES, ApiWorld, Tenant
from tests.step_world import await_until

ERASURE = {"erasure_id", "subject", "state", "t0", "t1", "t2", "tr", "t3", "receipts"}
MESSAGE = {"message_id", "direction", "text", "status", "reason", "times"}


def test_message_id(tenant: Tenant) -> None:
    """POST /v1/messages says the id and nothing else, and the list uses the same."""
    person = tenant.person()
    reply = tenant.send(person.to)
    assert reply.status == 202
    assert set(reply.body) == {"message_id"}
    items = person.until("/messages", lambda body: body["items"])["items"]
    assert [item["message_id"] for item in items] == [reply.body["message_id"]]


def test_items_of_messages(tenant: Tenant) -> None:
    """Every item has all six names, whatever it is and however much of it is known; null where there is nothing."""
    person = tenant.person()
    person.introduce()
    person.write("hallo")
    sent = tenant.send(person.to, "Guten Tag").body["message_id"]
    template = {"type": "template", "name": "offer", "language": "de"}
    refused = tenant.send(person.to, purpose="newsletter", content=template).body["message_id"]
    unknown = f"{refused[:8]}{random_id()[:24]}"
    for model, message, reason in (
        (statuses.MessageSubmitted, sent, None),
        (statuses.MessageRejected, refused, "no_consent"),
        (statuses.MessageSent, unknown, None),
    ):
        fields = {
            "message": message,
            "account": tenant.account,
            "acted_at": to_text(now_ms()),
            "reason": reason,
        }
        tenant.world.produce(person.event(model.model_validate(fields), {}))
    reached = {"received", "submitted", "rejected", "sent"}
    body = person.until("/messages", lambda body: {item["status"] for item in body["items"]} == reached)
    assert set(body) == {"items"}
    for item in body["items"]:
        assert set(item) >= MESSAGE
        assert is_id(item["message_id"])
        assert item["direction"] in ("in", "out")
        assert isinstance(item["times"], dict)
        assert all(to_ms(time) > 0 for time in item["times"].values())
    by_status = {item["status"]: item for item in body["items"]}
    assert {status: (item["text"], item["reason"]) for status, item in by_status.items()} == {
        "received": ("hallo", None),
        "submitted": ("Guten Tag", None),
        "rejected": (None, "no_consent"),
        "sent": (None, None),
    }
    assert set(by_status["submitted"]["times"]) == {"requested", "submitted"}
    page = person.get("/messages?limit=1")
    assert set(page) == {"items", "next"}
    assert isinstance(page["next"], str)


def test_subject_and_look_up(tenant: Tenant) -> None:
    person = tenant.person()
    person.introduce()
    person.sign_up("JA")
    shown = person.until("", lambda body: body["subscriptions"] and body["addresses"])
    assert {"subject", "state", "profile", "addresses", "subscriptions"} <= set(shown)
    found = tenant.call("POST", "/v1/subjects/lookup", "agent", person.to)
    assert (found.status, found.body) == (200, {"subject": person.subject})
    history = person.until("/consents", lambda body: len(body["items"]) == 2, "officer")
    assert set(history) == {"items"}
    assert history["items"][1]["evidence"]["text"] == "JA"


def test_an_erasure_at_every_stage(world: ApiWorld, tenant: Tenant) -> None:
    """`erasure_id` everywhere; all names from the first answer on; T2 as soon as T1 is known, and the same one at the end."""
    person = tenant.person()
    person.introduce()
    accepted = tenant.call("POST", f"/v1/subjects/{person.subject}/erasure", "officer")
    assert accepted.status == 202
    assert set(accepted.body) == {"erasure_id"}
    erasure, seen = accepted.body["erasure_id"], []

    def state() -> str:
        reply = tenant.call("GET", f"/v1/erasures/{erasure}", "officer")
        assert reply.status == 200, reply
        seen.append(reply.body)
        return str(reply.body["state"])

    await_until(lambda: state() == "keys_destroyed" and len(seen[-1]["receipts"]) == 2, 60, "both receipts")
    destroyed = seen[-1]
    assert to_ms(destroyed["t2"]) - to_ms(destroyed["t1"]) == TIMES.leases_over_s * 1000
    dates = {name: destroyed[name] for name in ("t0", "t1", "t2", "tr")} | {"t3": destroyed["tr"]}
    erased = deletions.SubjectErased.model_validate(
        {"erasure": erasure, "receipts": destroyed["receipts"], **dates}
    )
    world.produce(person.event(erased, {}))
    await_until(lambda: state() == "erased", 60, "SubjectErased is shown")
    for body in seen:
        assert set(body) >= ERASURE
        assert (body["erasure_id"], body["subject"]) == (erasure, person.subject)
        assert (body["t1"] is None) == (body["t2"] is None)
        assert all(set(receipt) == {"store", "purged_at"} for receipt in body["receipts"])
    assert {body["t2"] for body in seen if body["t2"]} == {destroyed["t2"]}
    gone = person.get()
    assert set(gone) == {"subject", "state", "erased_at"}
    assert (gone["subject"], gone["state"], gone["erased_at"]) == (person.subject, "erased", destroyed["t1"])
    assert person.get("/messages") == {"state": "erased", "items": []}
    lookup = tenant.call("POST", "/v1/subjects/lookup", "agent", person.to)
    assert (lookup.status, lookup.problem) == (404, "not_found")


def test_t2_is_the_processors() -> None:
    """What the API says ahead of time is what the processor will write."""
    for times in (Times(), Times(lease_s=20.0)):
        ledger = ErasureLedger(times)
        t1 = "2026-11-23T10:00:00.000Z"
        assert ledger.t2_ms(t1) - to_ms(t1) == times.leases_over_s * 1000
