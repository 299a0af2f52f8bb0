"""The receiver on real Kafka, over real HTTP: what it answers, what it stores, and what it does when parts are away."""

import stat
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import date

import orjson
import pytest

from schemas import ids, topics
from schemas.clock import boot_s
from schemas.constants import WEBHOOK_MAX_BYTES
from schemas.envelope import Event
from schemas.events import registry
from schemas.events.inbound import FragmentReceived
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.receiving_world import (
    SECRET,
    ReceivingWorld,
    Running,
    Site,
    change,
    new_number,
    sample,
    sign,
    text,
    webhook,
)
from workers.receiver.limits import ReceiverLimits

RAW = topics.inbound("whatsapp")


@pytest.fixture(scope="module")
def world(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReceivingWorld]:
    """A vault of its own; each test takes a tenant of its own."""
    folder = tmp_path_factory.mktemp("receiver")
    made = ReceivingWorld(kafka_server.bootstrap, postgres_server.fresh_database("receiver"), folder)
    yield made
    made.close()


def opened(world: ReceivingWorld, value: bytes | None) -> tuple[Event, FragmentReceived, dict[str, object]]:
    """A raw record with its content."""
    event = Event.from_bytes(value)
    data = registry.read(event)
    assert isinstance(data, FragmentReceived)
    opener = world.vault.day_opener(event.tenant, date.fromisoformat(data.day))
    assert opener is not None
    context = (event.tenant, data.connection, data.account, data.day)
    return event, data, orjson.loads(opener.open(context, b64decode(data.ct)))


def say(site: Site, words: str) -> dict[str, object]:
    """A webhook of somebody."""
    return webhook(change(site, text(new_number(), words)))


def test_only_what_is_proved_is_taken(world: ReceivingWorld) -> None:
    """401 without, with a wrong and with another's signature; 404, 405; the handshake; nothing is stored of all that."""
    site = world.site()
    path = f"/webhooks/whatsapp/{site.connection}"
    body = orjson.dumps(say(site, "hallo"))
    with world.receiver() as running:
        forged = sample("sealpost_signature_failures_total", channel="whatsapp")
        assert running.ask("POST", path, body)[0] == 401
        assert running.ask("POST", path, body, {"X-Hub-Signature-256": "sha256=" + "0" * 64})[0] == 401
        assert running.post(site, body, "another secret") == 401
        assert running.ask("POST", path, body + b" ", {"X-Hub-Signature-256": sign(body)})[0] == 401
        assert sample("sealpost_signature_failures_total", channel="whatsapp") == forged + 4
        signed = {"X-Hub-Signature-256": sign(body)}
        assert running.ask("POST", "/webhooks/whatsapp/nobody", body, signed)[0] == 404
        assert running.ask("POST", f"/webhooks/telegram/{site.connection}", body, signed)[0] == 404
        assert running.ask("POST", "/", body, signed)[0] == 404
        assert running.ask("PUT", path, body, signed)[0] == 405
        query = "?hub.mode=subscribe&hub.verify_token=verify-me&hub.challenge=31415"
        assert running.ask("GET", path + query) == (200, b"31415")
        assert running.ask("GET", path + query.replace("verify-me", "wrong"))[0] == 403
        assert sample("sealpost_signature_failures_total", channel="whatsapp") == forged + 4
    assert world.records(RAW, site.tenant) == []


def test_a_proof_that_is_given_twice_is_none(world: ReceivingWorld) -> None:
    """Whichever of the two is right: what stands before the receiver and the receiver could read different ones."""
    site = world.site()
    body = orjson.dumps(say(site, "hallo"))
    right, wrong = sign(body), sign(body, "another secret")
    with world.receiver() as running:
        for first, second in ((right, wrong), (wrong, right), (right, right)):
            headers = {"X-Hub-Signature-256": first, "x-hub-signature-256": second}
            assert running.ask("POST", f"/webhooks/whatsapp/{site.connection}", body, headers)[0] == 401
        assert running.post(site, body) == 200


def test_the_limit_of_a_body(world: ReceivingWorld) -> None:
    """413 above the limit, whatever length was announced; the limit itself is taken."""
    site = world.site()
    with world.receiver() as running:
        assert running.post(site, b"x" * (WEBHOOK_MAX_BYTES + 1)) == 413
        assert running.post(site, b"x" * (WEBHOOK_MAX_BYTES * 3)) == 413
        assert running.post(site, b" " * WEBHOOK_MAX_BYTES) == 200
    (letter,) = world.letters(site.tenant)
    assert letter["reason"] == "UnparseableBody"


@pytest.mark.finding(35)
def test_fragments_are_sealed_and_in_order(world: ReceivingWorld) -> None:
    """Every part of a batch is a record of its own, in order per person; nothing personal stands in clear."""
    site = world.site()
    numbers = [new_number() for _ in range(3)]
    marker = "Zwölf Boxkämpfer 4711"
    changes = [
        change(site, *(text(number, f"{marker} {n}") for number in numbers), names=[(numbers[0], "Änne Ⓩ")])
        for n in range(20)
    ]
    counted = sample("sealpost_events_total", topic=RAW, type=FragmentReceived.TYPE)
    with world.receiver() as running:
        assert running.post(site, webhook(*changes)) == 200
    records = world.records(RAW, site.tenant)
    assert len(records) == 60
    assert sample("sealpost_events_total", topic=RAW, type=FragmentReceived.TYPE) == counted + 60
    said: dict[str, list[str]] = {}
    for record in records:
        event, data, content = opened(world, record.value)
        assert (event.tenant, data.account, event.channel) == (site.tenant, site.account, "whatsapp")
        message = content["fragment"]["value"]["messages"][0]  # type: ignore[index]  # as the channel split it
        said.setdefault(message["from"], []).append(message["text"]["body"])
        secrets = world.vault._secrets([site.tenant])[site.tenant]  # the key that hides the sender
        assert record.key == ids.keyed_hash(secrets.routing, message["from"])[:2].hex().encode()
        for clear in (*numbers, marker, "Änne", b64encode(marker.encode()).decode()[:16], SECRET):
            assert clear.encode() not in (record.value or b"") + (record.key or b"")
    assert said == {number: [f"{marker} {n}" for n in range(20)] for number in numbers}


def test_authentic_but_not_parseable(world: ReceivingWorld) -> None:
    """200, dead-lettered whole and sealed, counted."""
    site = world.site()
    body = b'{"object": "whatsapp_business_account", "entry": [not json 4915112345678'
    before = sample("sealpost_deadletters_total", role="receiver", **{"class": "UnparseableBody"})
    with world.receiver() as running:
        assert running.post(site, body) == 200
        assert running.post(site, {"object": "page", "entry": []}) == 200
    assert sample("sealpost_deadletters_total", role="receiver", **{"class": "UnparseableBody"}) == before + 2
    letters = world.letters(site.tenant)
    assert [(letter["role"], letter["reason"]) for letter in letters] == [("receiver", "UnparseableBody")] * 2
    bodies = [b64decode(str(opened(world, letter["value"])[2]["body"])) for letter in letters]
    assert body in bodies
    assert all(b"4915112345678" not in letter["value"] for letter in letters)
    assert world.records(RAW, site.tenant) == []


@pytest.mark.finding(34)
def test_without_an_agreement_nothing_is_stored(world: ReceivingWorld) -> None:
    """200 and a count; an agreement signed a moment before is seen; ended, nothing is stored any more."""
    site = world.site(dpa=False)
    dropped = sample("sealpost_webhook_dropped_total", channel="whatsapp", why="no_dpa")
    with world.receiver() as running:
        assert running.post(site, say(site, "eins")) == 200
        assert running.post(site, b"no json") == 200
        assert sample("sealpost_webhook_dropped_total", channel="whatsapp", why="no_dpa") == dropped + 2
        world.registrar.sign_dpa(site.tenant, "1")
        assert running.post(site, say(site, "zwei")) == 200
    assert len(world.records(RAW, site.tenant)) == 1
    assert world.letters(site.tenant) == []


def test_new_connections_and_accounts_are_found_at_once(world: ReceivingWorld) -> None:
    """What was recorded a moment ago is known; another's account on a known connection is dropped and counted."""
    with world.receiver() as running:
        site = world.site(approved=False)
        assert running.post(site, say(site, "zu früh")) == 200
        assert world.records(RAW, site.tenant) == []
        dropped = sample("sealpost_webhook_dropped_total", channel="whatsapp", why="unknown_account")
        world.approve(site)
        foreign = change(site, text(new_number(), "fremd"), number_id="999")
        assert running.post(site, webhook(foreign, change(site, text(new_number(), "unser")))) == 200
        assert (
            sample("sealpost_webhook_dropped_total", channel="whatsapp", why="unknown_account") == dropped + 1
        )
    (record,) = world.records(RAW, site.tenant)
    assert "unser" in orjson.dumps(opened(world, record.value)[2]).decode()


@pytest.mark.finding(16)
def test_postgres_away(world: ReceivingWorld, postgres_server: PostgresServer) -> None:
    """The receiver goes on, and another one starts from the sealed file alone."""
    site = world.site()
    cache = world.folder / "receiver" / "connections.sealed"
    with world.receiver(cache=cache) as running:
        assert running.post(site, say(site, "vorher")) == 200
        assert stat.S_IMODE(cache.stat().st_mode) == 0o600
        assert SECRET.encode() not in cache.read_bytes()
        postgres_server.pause()
        try:
            began = boot_s()
            assert [running.post(site, say(site, "ohne")) for _ in range(20)] == [200] * 20
            assert boot_s() - began < 60
            assert running.role.ready()
            with world.receiver(cache=cache) as other:
                assert other.post(site, say(site, "neu gestartet")) == 200
        finally:
            postgres_server.resume()
    assert len(world.records(RAW, site.tenant)) == 22


def test_kafka_away(world: ReceivingWorld, kafka_server: KafkaServer) -> None:
    """503 within the time a provider waits; everything it got 200 for is there; recovery without help."""
    site = world.site()
    with world.receiver(limits=ReceiverLimits()) as running, ThreadPoolExecutor(16) as many:
        assert running.post(site, say(site, "vorher")) == 200
        began = boot_s()

        def ask(numbers: range) -> dict[str, Future[int]]:
            return {f"Nr. {n};": many.submit(running.post, site, say(site, f"Nr. {n};")) for n in numbers}

        asked = ask(range(150))
        next(as_completed(asked.values())).result()
        kafka_server.pause()
        try:
            asked |= ask(range(150, 200))  # should all of the others have been answered by now
            assert running.post(site, say(site, "weg")) == 503
            assert 4 < boot_s() - began < 40
        finally:
            kafka_server.resume()
        codes = {words: answer.result() for words, answer in asked.items()}
        assert await_ok(running, site) == 200
    assert set(codes.values()) == {200, 503}
    stored = [orjson.dumps(opened(world, r.value)[2]).decode() for r in world.records(RAW, site.tenant)]
    taken = ["vorher", "nachher", *(words for words, code in codes.items() if code == 200)]
    assert [words for words in taken if not any(words in one for one in stored)] == []


def await_ok(running: Running, site: Site) -> int:
    """Post as a provider does: again until it is taken."""
    code = 0
    for _ in range(20):
        code = running.post(site, say(site, "nachher"))
        if code == 200:
            break
    return code


def test_a_day_without_a_key_is_no_loss(world: ReceivingWorld) -> None:
    """503 until the key of today is published; other tenants notice nothing."""
    site, other = world.site(), world.site()
    with world.receiver() as running:
        published = running.role._keys._keys  # as if role clock had not made keys for this tenant
        for key in [key for key in published if key[0] == site.tenant]:
            del published[key]
        assert running.post(site, say(site, "ohne Schlüssel")) == 503
        assert running.post(other, say(other, "mit Schlüssel")) == 200
        assert running.role.ready()
    assert (len(world.records(RAW, site.tenant)), len(world.records(RAW, other.tenant))) == (0, 1)
