"""The role inbound on real Kafka and PostgreSQL, fed by a real receiver: each fragment once, in order, sealed."""

import threading
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas import topics
from schemas.clock import now_ms, today
from schemas.envelope import Event
from schemas.ids import message_id, random_id, random_token
from streams.step.contract import Output
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.receiving_world import (
    TIMES,
    ReceivingWorld,
    Running,
    Site,
    await_until,
    change,
    new_number,
    sample,
    status,
    text,
    webhook,
)
from vault.claims import Settlement
from vault.keys import BlockToOpen
from vault.outcomes import Plain
from vault.permits import Permit

FACTS = (topics.SUBSCRIPTIONS, topics.CONSENTS, topics.MESSAGES, topics.STATUSES, topics.DELETIONS)


@pytest.fixture(scope="module")
def world(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReceivingWorld]:
    """A vault of its own; each test takes a tenant of its own."""
    folder = tmp_path_factory.mktemp("inbound")
    made = ReceivingWorld(kafka_server.bootstrap, postgres_server.fresh_database("inbound"), folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(world: ReceivingWorld) -> Iterator[Running]:
    """Receiver and inbound at work."""
    with world.inbound(), world.receiver() as receiver:
        yield receiver


def handle(world: ReceivingWorld, running: Running, site: Site, body: dict[str, Any]) -> None:
    """Post, and wait until inbound has handled it."""
    assert running.post(site, body) == 200
    world.await_inbound()


def types(events: list[Event]) -> list[str]:
    """Short type names, in order."""
    return [event.type.removeprefix("sealpost.").removesuffix(".v1") for event in events]


def plain(world: ReceivingWorld, event: Event, key_class: Any) -> dict[str, Any]:
    """A sealed block, opened by the vault."""
    block = event.block(key_class)
    assert block is not None
    wanted = BlockToOpen(event.tenant, event.subject, event.id, event.type, key_class, block)
    (found,) = world.vault.open_blocks([wanted])
    assert isinstance(found, Plain), found
    content: dict[str, Any] = orjson.loads(found.value)
    return content


def send(world: ReceivingWorld, site: Site, number: str, wamid: str, *, settle: bool = True) -> str:
    """What outbound leaves in the vault for a message that the provider took; its id."""
    person = world.person(site, number)
    message = message_id(today(), b"k", random_id(), "test", "m")
    (permit,) = world.vault.permits([person.ask(message=message, token=random_token())])
    assert isinstance(permit, Permit), permit
    if settle:
        index = world.vault.provider_index(site.tenant, "whatsapp", wamid)
        world.vault.settle([Settlement(site.tenant, message, 0, permit.attempt, "submitted", (), index)])
    return message


def test_what_is_written_is_counted(world: ReceivingWorld, running: Running) -> None:
    """By topic and type; a repeated webhook writes nothing and counts nothing."""
    site, number = world.site(), new_number()
    expected = {
        (topics.SUBSCRIPTIONS, "subject.created"): 1,
        (topics.SUBSCRIPTIONS, "address.bound"): 1,
        (topics.SUBSCRIPTIONS, "profile.updated"): 1,
        (topics.MESSAGES, "message.received"): 2,
    }

    def counts() -> dict[tuple[str, str], float]:
        name = "sealpost_events_total"
        return {(t, e): sample(name, topic=t, type=f"sealpost.{e}.v1") for t, e in expected}

    before = counts()
    body = webhook(change(site, text(number, "eins"), text(number, "zwei"), names=[(number, "Ada")]))
    for _ in range(2):
        handle(world, running, site, body)
    written = {key: before[key] + count for key, count in expected.items()}
    await_until("all is counted", lambda: counts() == written)


@pytest.mark.finding(13)
def test_a_batch_is_handled_once_however_often_it_comes(world: ReceivingWorld, running: Running) -> None:
    """3 entries × 2 changes × messages and statuses; the same webhook five times changes no topic of facts."""
    site = world.site()
    numbers = [new_number() for _ in range(6)]
    for number in numbers:
        handle(
            world, running, site, webhook(change(site, text(number, "Hallo"), names=[(number, f"N{number}")]))
        )
    wamids = {number: f"wamid.{random_id()}" for number in numbers}
    sent = {number: send(world, site, number, wamids[number]) for number in numbers}
    changes = [
        change(
            site,
            text(number, "eins"),
            text(number, "zwei"),
            status(wamids[number], "sent", number),
            status(wamids[number], "delivered", number, biz_opaque_callback_data=f"{sent[number]}.0"),
        )
        for number in numbers
    ]
    entries = [{"id": f"waba-{n}", "changes": changes[2 * n : 2 * n + 2]} for n in range(3)]
    body = {"object": "whatsapp_business_account", "entry": entries}
    handle(world, running, site, body)

    def counts() -> Counter[str]:
        return Counter(name for topic in FACTS for name in types(world.events(topic, site.tenant)))

    before = counts()
    assert before == {
        "subject.created": 6,
        "address.bound": 6,
        "profile.updated": 6,
        "message.received": 18,
        "message.sent": 6,
        "message.delivered": 6,
    }
    for _ in range(5):
        handle(world, running, site, body)
    assert counts() == before
    said: dict[str, list[str]] = {}
    for event in world.events(topics.MESSAGES, site.tenant):
        said.setdefault(event.subject, []).append(plain(world, event, "content")["text"])
    assert list(said.values()) == [["Hallo", "eins", "zwei"]] * 6
    for event in world.events(topics.STATUSES, site.tenant):
        assert event.data["message"] in sent.values()
        assert plain(world, event, "content")["provider_id"] in wamids.values()
    assert world.letters(site.tenant) == []
    assert world.parked() == 0


@pytest.mark.finding(13)
def test_statuses_in_any_order(world: ReceivingWorld, running: Running) -> None:
    """A status before its message waits; reversed ones and a failure are written as they come; foreign ones are dropped."""
    site, number = world.site(), new_number()
    handle(world, running, site, webhook(change(site, text(number, "Hallo"))))
    wamid = f"wamid.{random_id()}"
    handle(world, running, site, webhook(change(site, status(wamid, "delivered", number))))
    assert world.events(topics.STATUSES, site.tenant) == []
    assert world.parked() == 1
    body = orjson.dumps(world.rows("select body, key from step.due where role = 'inbound'")).decode()
    assert wamid not in body
    assert number not in body
    message = send(world, site, number, wamid)
    # It is tried after 1, 5 and 20 s: on a busy machine the message may come after the second try.
    await_until(
        "the parked status is written", lambda: len(world.events(topics.STATUSES, site.tenant)) == 1, 60
    )
    error = {"code": 131026, "title": "Message undeliverable", "message": f"no {number}"}
    for item in (
        status(wamid, "read", number),
        status(wamid, "sent", number),
        status(wamid, "failed", number, errors=[error]),
    ):
        handle(world, running, site, webhook(change(site, item)))
    events = world.events(topics.STATUSES, site.tenant)
    assert types(events) == ["message.delivered", "message.read", "message.sent", "message.failed"]
    assert {event.data["message"] for event in events} == {message}
    assert events[-1].data["code"] == 131026
    assert number in plain(world, events[-1], "content")["provider_error"]
    foreign = sample("sealpost_inbound_dropped_total", channel="whatsapp", why="foreign_status")
    statuses = [status(f"wamid.{random_id()}", "sent", number) for _ in range(50)]
    old = {**status(f"wamid.{random_id()}", "sent", number), "timestamp": "1763900000"}
    handle(world, running, site, webhook(change(site, *statuses, old)))
    await_until("nothing waits", lambda: world.parked() == 0)
    assert len(world.events(topics.STATUSES, site.tenant)) == 4
    assert sample("sealpost_inbound_dropped_total", channel="whatsapp", why="foreign_status") >= foreign + 51


def test_an_opt_out_code_that_comes_by_status(world: ReceivingWorld, running: Running) -> None:
    """131050 withdraws, whatever was said before, and is caused by the status; messages of other purposes still reach her."""
    site, number, wamid = world.site(), new_number(), f"wamid.{random_id()}"
    handle(world, running, site, webhook(change(site, text(number, "Hallo"))))
    send(world, site, number, wamid)
    body = webhook(change(site, status(wamid, "failed", number, errors=[{"code": 131050}])))
    for _ in range(3):
        handle(world, running, site, body)
    (failed,) = world.events(topics.STATUSES, site.tenant)
    (withdrawn,) = world.events(topics.CONSENTS, site.tenant)
    assert types([withdrawn, failed]) == ["consent.withdrawn", "message.failed"]
    assert withdrawn.causationid == failed.id
    assert "reach.changed" not in types(world.events(topics.SUBSCRIPTIONS, site.tenant))
    send(world, site, number, f"wamid.{random_id()}")


def test_an_echo_settles_a_message_whose_sender_died(world: ReceivingWorld, running: Running) -> None:
    """The claim has no outcome: the status is written at once, MessageSubmitted a moment later, once."""
    site, number = world.site(), new_number()
    handle(world, running, site, webhook(change(site, text(number, "Hallo"))))
    wamid = f"wamid.{random_id()}"
    message = send(world, site, number, wamid, settle=False)
    echo = {"biz_opaque_callback_data": f"{message}.0"}
    items = (status(wamid, "sent", number, **echo), status(wamid, "delivered", number, **echo))
    handle(world, running, site, webhook(change(site, *items)))
    written = types(world.events(topics.STATUSES, site.tenant))
    assert written[:2] == ["message.sent", "message.delivered"], written
    await_until("it is settled", lambda: len(world.events(topics.STATUSES, site.tenant)) == 3)
    await_until("nothing waits", lambda: world.parked() == 0)
    submitted = world.events(topics.STATUSES, site.tenant)[-1]
    assert types([submitted]) == ["message.submitted"]
    assert plain(world, submitted, "content") == {"provider_id": wamid}
    with world.vault.transaction() as cursor:
        (claim,) = world.vault.claims_of(cursor, [(message, 0)]).values()
    assert claim.has_outcome
    handle(world, running, site, webhook(change(site, status(wamid, "read", number))))
    assert len(world.events(topics.STATUSES, site.tenant)) == 4


def test_stop_and_the_providers_switch(world: ReceivingWorld, running: Running) -> None:
    """Both withdraw every purpose that needs consent, with evidence that opens; the permission falls in the same step."""
    site, number, other = world.site(), new_number(), new_number()
    effects = sample("sealpost_withdrawal_effect_seconds_count")
    handle(world, running, site, webhook(change(site, text(number, "Stopp!"), names=[(number, "Ada")])))
    await_until("it is timed", lambda: sample("sealpost_withdrawal_effect_seconds_count") == effects + 1)
    (said,) = world.events(topics.MESSAGES, site.tenant)
    assert (said.data["intent"], said.data["language"]) == ("stop", "de")
    (withdrawn,) = world.events(topics.CONSENTS, site.tenant)
    assert (withdrawn.data["purpose"], withdrawn.data["method"]) == ("newsletter", "keyword")
    assert withdrawn.data["acted_at"] == said.data["acted_at"] == said.time
    assert withdrawn.data["sealed"]["evidence"]["sealed_in"] == said.id
    evidence = plain(world, withdrawn, "evidence")
    assert evidence == plain(world, said, "evidence")
    assert (evidence["text"], evidence["sender"], evidence["name"]) == ("Stopp!", number, "Ada")
    (row,) = world.vault.permissions(site.tenant, said.subject)
    assert (row.purpose, row.active, row.given_at_ms) == ("newsletter", False, None)
    assert row.withdrawn_at_ms is not None
    preference = {
        "wa_id": other,
        "detail": "User requested to stop marketing messages",
        "category": "marketing_messages",
        "value": "stop",
        "timestamp": now_ms() // 1000,
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"phone_number_id": site.number_id},
        "user_preferences": [preference],
    }
    handle(world, running, site, webhook({"field": "user_preferences", "value": value}))
    second = world.events(topics.CONSENTS, site.tenant)
    (switch,) = [event for event in second if event.id != withdrawn.id]
    assert switch.data["method"] == "provider_preference"
    assert plain(world, switch, "evidence")["sender"] == other
    assert world.vault.newest_reach(site.tenant, switch.subject) is None
    assert len(world.events(topics.MESSAGES, site.tenant)) == 1


def test_a_stranger_who_lifts_the_providers_switch_stays_one(world: ReceivingWorld, running: Running) -> None:
    """Lifting a prohibition is no consent and no message: it makes no subject, so the first message introduces one."""
    site, number = world.site(), new_number()
    preference = {
        "wa_id": number,
        "category": "marketing_messages",
        "value": "resume",
        "timestamp": now_ms() // 1000,
    }
    value = {"metadata": {"phone_number_id": site.number_id}, "user_preferences": [preference]}
    dropped = sample("sealpost_inbound_dropped_total", channel="whatsapp", why="resume")
    handle(world, running, site, webhook({"field": "user_preferences", "value": value}))
    assert sample("sealpost_inbound_dropped_total", channel="whatsapp", why="resume") == dropped + 1
    assert world.rows(f"select 1 from vault.subjects where tenant = '{site.tenant}'") == []
    handle(world, running, site, webhook(change(site, text(number, "Hallo"))))
    assert "subject.created" in types(world.events(topics.SUBSCRIPTIONS, site.tenant))


def test_what_is_not_understood(world: ReceivingWorld, running: Running) -> None:
    """Unsupported kinds are kept sealed; news about the account is counted; what is malformed is a dead letter."""
    site, number = world.site(), new_number()
    new = {
        "from": number, "id": f"wamid.{random_id()}", "timestamp": str(now_ms() // 1000), "type": "hologram",
        "hologram": {"id": "4711", "caption": "STOP"},
    }  # fmt: skip
    error = {"code": 131005, "title": "Access denied"}
    update = {"field": "account_update", "value": {"event": "DISABLED_UPDATE"}}
    broken = {**text(number, "kaputt"), "timestamp": "asdf"}
    bad = change(site)
    bad["value"]["errors"] = [error]
    before = sample("sealpost_inbound_values_total", channel="whatsapp", kind="account_error")
    handle(world, running, site, webhook(change(site, new), bad, update, change(site, broken)))
    (said,) = world.events(topics.MESSAGES, site.tenant)
    assert (said.data["kind"], said.data["provider_kind"]) == ("unsupported", "other")
    assert "intent" not in said.data
    assert plain(world, said, "content")["raw"]["value"]["messages"][0]["hologram"]["id"] == "4711"
    assert world.events(topics.CONSENTS, site.tenant) == []
    (letter,) = world.letters(site.tenant)
    assert (letter["role"], letter["reason"]) == ("inbound", "UnparseableFragment")
    assert b"kaputt" not in letter["value"]
    assert sample("sealpost_inbound_values_total", channel="whatsapp", kind="account_error") == before + 1


def test_an_act_of_before_the_erasure_makes_no_subject(world: ReceivingWorld, running: Running) -> None:
    """After T1 an older raw webhook writes nothing; a later message makes a new subject."""
    site, number = world.site(), new_number()
    long_ago_s = now_ms() // 1000 - 60
    handle(world, running, site, webhook(change(site, text(number, "Hallo"))))
    first = world.person(site, number)
    world.vaults.apply(first.erasure())
    counts = [len(world.events(topic, site.tenant)) for topic in FACTS]
    dropped = sample("sealpost_inbound_dropped_total", channel="whatsapp", why="erased")
    handle(world, running, site, webhook(change(site, text(number, "START", at_s=long_ago_s))))
    assert [len(world.events(topic, site.tenant)) for topic in FACTS] == counts
    assert sample("sealpost_inbound_dropped_total", channel="whatsapp", why="erased") == dropped + 1
    assert world.vault.find_subject(site.tenant, first.address) is None
    later_s = now_ms() // 1000 + 2
    handle(world, running, site, webhook(change(site, text(number, "START", at_s=later_s))))
    again = world.person(site, number)
    assert again.subject != first.subject
    assert types(world.events(topics.SUBSCRIPTIONS, site.tenant)).count("subject.created") == 2


def test_nothing_personal_is_in_clear(world: ReceivingWorld, running: Running) -> None:
    """Number, name and words of a person: not in any record, key or row."""
    site, number = world.site(), new_number()
    name, words = "Änne Marker-7281", "Bitte an den Marker-9377 denken"
    wamid = f"wamid.{b64encode(number.encode()).decode()}"
    item = text(number, words, wamid=wamid)
    foreign = status(f"{wamid}x", "sent", number)
    handle(world, running, site, webhook(change(site, item, foreign, names=[(number, name)])))
    assert len(world.events(topics.MESSAGES, site.tenant)) == 1
    clear = [
        m.encode()
        for m in (number, "Marker-7281", "Marker-9377", wamid, b64encode(number.encode()).decode()[:12])
    ]
    for topic in (*FACTS, topics.inbound("whatsapp")):
        for record in world.records(topic, site.tenant):
            assert not any(m in (record.key or b"") + (record.value or b"") for m in clear), topic
    tables = world.rows(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname in ('vault', 'step')"
    )
    for (table,) in tables:
        for (row,) in world.rows(f"select t::text from {table} t"):  # names from the catalogue
            assert not any(m in row.encode() for m in clear), table
            assert not any(m.hex() in row for m in clear), table
    await_until("nothing waits that another test would count", lambda: world.parked() == 0)


def damage(world: ReceivingWorld, site: Site, statement: str) -> None:
    """Change the tenant's rows by hand; leases on what stood there before run out."""
    with world.vaults.sql() as cursor:
        cursor.execute(statement.encode(), [site.tenant])
        assert cursor.rowcount
    threading.Event().wait(world.times.lease_s)


def exchanged(table: str) -> str:
    """The wrapped keys of a table's rows are no such keys any more."""
    return f"update vault.{table} set wrapped = decode(repeat('ab', 60), 'hex') where tenant = %s"


@pytest.mark.parametrize(
    "statement",
    [
        exchanged("day_keys"),
        "update vault.tenants set wrapped_ids = decode(repeat('ab', 60), 'hex') where tenant = %s",
        exchanged("keys") + " and class = 'identity'",
    ],
    ids=["day key", "tenant's id key", "a person's key"],
)
def test_the_damaged_key_of_one_tenant_stops_no_other(
    world: ReceivingWorld, running: Running, statement: str
) -> None:
    """Its fragments are dead letters with the class of the error, to be replayed once the row is repaired; it alarms."""
    site, other, numbers = world.site(), world.site(), [new_number() for _ in range(8)]
    handle(world, running, site, webhook(change(site, *(text(number, "Hallo") for number in numbers))))
    damage(world, site, statement)
    alarmed = refused()
    renamed = [(number, "Ada") for number in numbers]
    for one in (site, other, site):
        items = [text(number, "noch einmal") for number in numbers]
        assert running.post(one, webhook(change(one, *items, names=renamed))) == 200
    world.await_inbound()
    assert len(world.events(topics.MESSAGES, other.tenant)) == len(numbers)
    assert len(world.events(topics.MESSAGES, site.tenant)) == len(numbers), "only those of before"
    assert Counter(letter["reason"] for letter in world.letters(site.tenant)) == {
        "KeyRefused": 2 * len(numbers)
    }
    assert refused() == alarmed + 2 * len(numbers)


def test_a_parked_status_of_a_tenant_with_a_damaged_key_is_a_dead_letter_alone(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Its last try comes when leases on the key have run out."""
    times = replace(TIMES, lease_s=0.5, lease_outbound_s=0.4, status_parked_s=20.0)
    dsn = postgres_server.fresh_database("inbound")
    world = ReceivingWorld(kafka_server.bootstrap, dsn, tmp_path, times)
    with closing(world), world.inbound(), world.receiver() as running:
        site, other, number = world.site(), world.site(), new_number()
        alarmed = refused()
        wamid = f"wamid.{random_id()}"
        for one in (site, other):
            both = webhook(change(one, text(number, "Hallo"), status(wamid, "sent", number)))
            handle(world, running, one, both)
        assert world.parked() == 2
        damage(world, site, exchanged("day_keys"))
        send(world, other, number, wamid)
        await_until("both wakes are over", lambda: world.parked() == 0)
        await_until("one is a dead letter", lambda: refused() == alarmed + 1)
        assert types(world.events(topics.STATUSES, other.tenant)) == ["message.sent"]
        assert world.events(topics.STATUSES, site.tenant) == []


def refused() -> float:
    """Dead letters of inbound for a damaged key."""
    return sample("sealpost_deadletters_total", role="inbound", **{"class": "KeyRefused"})


def test_what_is_written_opened_and_how_long_it_took_is_counted(
    world: ReceivingWorld, running: Running
) -> None:
    """Two new people, a status of one's message; events by topic and type, raw fragments opened, the stages of both roles."""
    site, numbers = world.site(), (new_number(), new_number())

    def counts() -> dict[str, float]:
        stages = {
            stage: sample("sealpost_stage_delay_seconds_count", stage=stage)
            for stage in ("webhook", "inbound")
        }
        opens = {word: sample("sealpost_opens_total", result=word) for word in ("plain", "corrupt")}
        written = {
            name: sample("sealpost_events_total", topic=topic, type=f"sealpost.{name}.v1")
            for topic, name in (
                (topics.SUBSCRIPTIONS, "subject.created"),
                (topics.MESSAGES, "message.received"),
                (topics.STATUSES, "message.sent"),
                (topics.STATUSES, "message.submitted"),
            )
        }
        return stages | opens | written

    before = counts()
    handle(world, running, site, webhook(change(site, *(text(number, "Hallo") for number in numbers))))
    message = send(world, site, numbers[0], f"wamid.{random_id()}", settle=False)
    echo = {"biz_opaque_callback_data": f"{message}.0"}
    handle(
        world,
        running,
        site,
        webhook(change(site, status(f"wamid.{random_id()}", "sent", numbers[0], **echo))),
    )
    await_until("it is settled", lambda: len(world.events(topics.STATUSES, site.tenant)) == 2)
    after = {name: count - before[name] for name, count in counts().items()}
    assert after.pop("inbound") >= 2, "batches"
    assert after == {
        "webhook": 2,
        "plain": 4,  # two messages, the status, and the status again when it settles
        "corrupt": 0,
        "subject.created": 2,
        "message.received": 2,
        "message.sent": 1,
        "message.submitted": 1,
    }
    letter = world.records(topics.inbound("whatsapp"), site.tenant)[-1]
    event = Event.from_bytes(letter.value)
    ct = bytearray(b64decode(event.data["ct"]))
    ct[-1] ^= 1
    event = event.model_copy(update={"data": event.data | {"ct": b64encode(bytes(ct)).decode()}})
    world.producer.produce_all([Output(letter.topic, letter.key or b"", event.to_bytes())])
    world.await_inbound()
    assert sample("sealpost_opens_total", result="corrupt") == before["corrupt"] + 1
    assert [letter["reason"] for letter in world.letters(site.tenant)] == ["CorruptFragment"]
