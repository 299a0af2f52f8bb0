"""The limits of the receiver over real HTTP: beyond each the right answer, within it none; nobody's flood is another's outage."""

import gzip
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import orjson
import pytest

from schemas import topics
from schemas.clock import boot_s, now_ms
from schemas.constants import WEBHOOK_MAX_BYTES
from schemas.ids import random_id
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.receiving_world import (
    SECRET,
    ReceivingWorld,
    Running,
    Site,
    await_until,
    change,
    new_number,
    sample,
    sign,
    text,
    webhook,
)
from tests.unit.channels.connection import Secrets
from workers import proofs, registry
from workers.channel import Accepted, Authenticity, Channel, ConnectionSecrets, WebhookRequest
from workers.receiver.limits import ReceiverLimits, read_networks

RAW = topics.inbound("whatsapp")
KIB = 1024
SIGNED_AT = "x-signed-at"
BOMB_S = 10.0
"""The longest that may be set: a busy machine may read a body for longer than the default."""


@pytest.fixture(scope="module")
def world(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReceivingWorld]:
    """A vault of its own; each test takes a tenant of its own."""
    folder = tmp_path_factory.mktemp("limits")
    made = ReceivingWorld(kafka_server.bootstrap, postgres_server.fresh_database("limits"), folder)
    yield made
    made.close()


def path(site: Site) -> str:
    return f"/webhooks/whatsapp/{site.connection}"


def say(site: Site, words: str = "hallo") -> dict[str, object]:
    """A webhook of somebody."""
    return webhook(change(site, text(new_number(), words)))


def refused(why: str, channel: str = "whatsapp") -> float:
    return sample("sealpost_webhook_refused_total", channel=channel, why=why)


@contextmanager
def wire(running: Running) -> Iterator[socket.socket]:
    """A socket to the receiver."""
    with socket.create_connection(("127.0.0.1", running.role.port), timeout=60) as made:
        yield made


def begin(wire: socket.socket, site: Site, announced: int, sent: bytes = b"") -> None:
    """A request whose body is announced and does not come whole."""
    head = f"POST {path(site)} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n"
    wire.sendall(head.encode() + sent)


def status(wire: socket.socket) -> int:
    """The status of the next answer; 0 when the receiver hung up without one."""
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", wire.recv(64 * KIB))
    return int(found[1]) if found else 0


# ---- size ---------------------------------------------------------------------------------------------------------


def test_bodies(world: ReceivingWorld) -> None:
    """The limit is taken, one byte more is 413."""
    site = world.site()
    with world.receiver(limits=ReceiverLimits(body_max_bytes=2 * KIB)) as running:
        whole = orjson.dumps(say(site))
        assert running.post(site, whole + b" " * (2 * KIB - len(whole))) == 200
        before = refused("body")
        assert running.post(site, whole + b" " * (2 * KIB + 1 - len(whole))) == 413
        assert refused("body") == before + 1


def test_headers(world: ReceivingWorld) -> None:
    """431 for too many and for too long ones, whatever else is right; what is within passes."""
    site = world.site()
    body = orjson.dumps(say(site))
    signed = {"X-Hub-Signature-256": sign(body)}
    with world.receiver(limits=ReceiverLimits(headers_max=20, headers_max_bytes=4 * KIB)) as running:

        def ask(more: Mapping[str, str], query: str = "") -> int:
            return running.ask("POST", path(site) + query, body, {**signed, **more})[0]

        assert ask({f"x-{n}": "1" for n in range(15)}) == 200
        assert ask({f"x-{n}": "1" for n in range(21)}) == 431
        assert ask({"x-long": "1" * 3 * KIB}) == 200
        assert ask({"x-long": "1" * 5 * KIB}) == 431
        assert ask({}, "?q=" + "1" * 5 * KIB) == 431


def test_a_head_that_does_not_end(world: ReceivingWorld) -> None:
    """It is cut off at the limit, not kept in memory until it ends."""
    with world.receiver() as running, wire(running) as endless:
        before = refused("headers", "unknown")
        endless.sendall(b"GET / HTTP/1.1\r\nX-Endless: ")
        with pytest.raises(ConnectionError):
            endless.sendall(b"x" * 64 * 1024 * KIB)
        assert refused("headers", "unknown") == before + 1


# ---- time ---------------------------------------------------------------------------------------------------------


def test_slow_clients(world: ReceivingWorld) -> None:
    """408 for a head and for a body that do not end in time; a socket that says nothing is closed; others notice nothing."""
    site = world.site()
    with ExitStack() as opened:
        running = opened.enter_context(world.receiver(limits=ReceiverLimits(read_s=8.0)))
        silent, blank, head, body, unread = (opened.enter_context(wire(running)) for _ in range(5))
        blank.sendall(b"\r\n\r\n")
        head.sendall(b"POST /webhooks/whatsapp/x HTTP/1.1\r\nHost:")
        begin(body, site, 100, b"half of it")
        unread.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of it")
        assert running.post(site, say(site)) == 200
        assert [status(one) for one in (head, body, silent, blank)] == [408, 408, 0, 0]
        assert (status(unread), status(unread)) == (404, 0), "answered, and then not waited for"
        assert running.post(site, say(site)) == 200


def test_a_slow_but_steady_client_is_taken(world: ReceivingWorld) -> None:
    """Head and body in pieces, and a second request on the same socket."""
    site = world.site()
    body = orjson.dumps(say(site))
    request = (
        f"POST {path(site)} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {sign(body)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    with world.receiver() as running, wire(running) as steady:
        steady.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            for at in range(0, len(request), 40):
                steady.sendall(request[at : at + 40])
            assert status(steady) == 200


def test_requests_that_follow_one_another_without_waiting(world: ReceivingWorld) -> None:
    """The body of one does not count for the head of the next, though both come in one piece."""
    site = world.site()
    body = orjson.dumps(say(site)) + b" " * 20 * KIB
    head = f"POST {path(site)} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: {sign(body)}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with world.receiver(limits=ReceiverLimits(headers_max_bytes=4 * KIB)) as running, wire(running) as eager:
        eager.sendall(request + request[:30])
        assert status(eager) == 200
        eager.sendall(request[30:])
        assert status(eager) == 200


def test_the_time_until_the_answer(world: ReceivingWorld, kafka_server: KafkaServer) -> None:
    """503 after the time set, while Kafka says nothing: here longer than the default of 5 s."""
    site = world.site()
    with world.receiver(limits=ReceiverLimits(answer_s=7.5)) as running:
        assert running.post(site, say(site)) == 200
        kafka_server.pause()
        try:
            began = boot_s()
            assert running.post(site, say(site)) == 503
            assert boot_s() - began > 7
        finally:
            kafka_server.resume()


# ---- shares -------------------------------------------------------------------------------------------------------


def test_requests_of_one_connection_at_one_time(world: ReceivingWorld) -> None:
    """Above the limit 503 before the body is there; another connection is served; when one has ended the next is taken."""
    site, other = world.site(), world.site()
    with ExitStack() as opened:
        running = opened.enter_context(world.receiver(limits=ReceiverLimits(at_once=2, read_s=600)))
        assert running.post(site, say(site)) == 200
        first, second, third = (opened.enter_context(wire(running)) for _ in range(3))
        for one in (first, second):
            begin(one, site, 100)
        before = refused("busy")
        await_until("both are being read", lambda: shown_busy(running, site))
        begin(third, site, 100)
        assert status(third) == 503
        assert refused("busy") > before
        assert running.post(other, say(other)) == 200
        first.sendall(b"x" * 100)
        assert status(first) == 401
        assert running.post(site, say(site)) == 200


def shown_busy(running: Running, site: Site) -> bool:
    """A request more gets 503."""
    return running.ask("GET", path(site))[0] == 503


def test_memory_of_one_connection(world: ReceivingWorld) -> None:
    """One that fills memory gets 503; there is room for the others."""
    site, other = world.site(), world.site()
    limits = ReceiverLimits(body_max_bytes=512 * KIB, held_max_bytes=1024 * KIB, read_s=600)
    with ExitStack() as opened:
        running = opened.enter_context(world.receiver(limits=limits))
        assert running.post(site, say(site)) == 200
        first, second = (opened.enter_context(wire(running)) for _ in range(2))
        begin(first, site, 500 * KIB, b"x" * 400 * KIB)
        before = refused("memory")
        begin(second, site, 500 * KIB, b"x" * 400 * KIB)
        found: list[int] = []

        def one_is_refused() -> bool:
            for one in (first, second):
                one.settimeout(0.05)
                try:
                    found.append(status(one))
                except TimeoutError:
                    continue
            return bool(found)

        await_until("one of both is refused", one_is_refused)
        assert found == [503]
        assert refused("memory") == before + 1
        large = orjson.dumps(say(other))
        assert running.post(other, large + b" " * (300 * KIB - len(large))) == 200


def test_a_flood_of_one_connection_is_nothing_to_another(world: ReceivingWorld) -> None:
    """Senders that hold what they may, and others that never rest: the other connection's webhooks are all taken."""
    site, other = world.site(), world.site()
    limits = ReceiverLimits(
        body_max_bytes=512 * KIB, at_once=6, forged_a_minute=0, read_s=600, answer_s=BOMB_S
    )
    stop = threading.Event()
    with ExitStack() as opened, ThreadPoolExecutor(8) as many:
        running = opened.enter_context(world.receiver(limits=limits))
        assert [running.post(one, say(one)) for one in (site, other)] == [200, 200]
        for _ in range(limits.at_once):
            begin(opened.enter_context(wire(running)), site, 500 * KIB, b"x" * 100 * KIB)
        await_until("it has as many as it may", lambda: shown_busy(running, site))

        def flood() -> set[int]:
            found: set[int] = set()
            while not stop.is_set():
                found.add(running.post(site, b"x" * 300 * KIB, "guess"))
            return found

        floods = [many.submit(flood) for _ in range(8)]
        try:
            answers = [running.post(other, say(other)) for _ in range(30)]
        finally:
            stop.set()
        assert answers == [200] * 30
        assert {code for one in floods for code in one.result()} == {503}


def test_strangers_do_not_shut_the_provider_out(world: ReceivingWorld) -> None:
    """Who has proved nothing gets few places of a connection, all together half; who has gets the rest, also then."""
    site = world.site()
    limits = ReceiverLimits(
        at_once=8, stranger_at_once=2, read_s=600, trusted_proxies=read_networks("127.0.0.0/8")
    )
    with ExitStack() as opened:
        running = opened.enter_context(world.receiver(limits=limits))
        provider = Caller(running, "198.51.100.7")
        assert provider.post(site, SECRET) == 200

        def hold(source: str) -> socket.socket:
            held = opened.enter_context(wire(running))
            head = f"POST {path(site)} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {source}\r\nContent-Length: 100\r\n\r\n"
            held.sendall(head.encode())
            return held

        def is_full(source: str) -> bool:
            return Caller(running, source).post(site, "guess") == 503

        before = refused("busy")
        for _ in range(limits.stranger_at_once):
            hold("203.0.113.1")
        await_until("one stranger has what it may", lambda: is_full("203.0.113.1"))
        assert refused("busy") > before
        assert Caller(running, "203.0.113.2").post(site, "guess") == 401, (
            "another source has places of its own"
        )
        for _ in range(limits.stranger_at_once):
            hold("203.0.113.2")
        await_until("all strangers have half", lambda: is_full("203.0.113.3"))
        assert [provider.post(site, SECRET) for _ in range(5)] == [200] * 5
        for _ in range(limits.at_once // 2):
            hold(provider.address)
        await_until("the provider has the other half", lambda: provider.post(site, SECRET) == 503)


# ---- forged -------------------------------------------------------------------------------------------------------


@dataclass
class Caller:
    """Somebody whose requests come through the proxy before the receiver."""

    running: Running
    address: str

    def post(self, site: Site, secret: str) -> int:
        body = orjson.dumps(say(site))
        headers = {"X-Hub-Signature-256": sign(body, secret), "X-Forwarded-For": self.address}
        return self.running.ask("POST", path(site), body, headers)[0]


def test_secrets_cannot_be_tried_without_end(world: ReceivingWorld, caplog: pytest.LogCaptureFixture) -> None:
    """429 for one source at one connection, also for a right guess; other sources and connections are served, and so is a
    source that has sent what is right: it may stand for many."""
    site, other = world.site(), world.site()
    limits = ReceiverLimits(forged_a_minute=3, trusted_proxies=read_networks("127.0.0.0/8"))
    with world.receiver(limits=limits) as running:
        thief, provider = Caller(running, "203.0.113.9"), Caller(running, "198.51.100.7, 127.0.0.2")
        assert provider.post(site, SECRET) == 200
        assert [thief.post(site, f"guess {n}") for n in range(5)] == [401, 401, 401, 429, 429]
        assert thief.post(site, SECRET) == 429
        assert thief.post(other, "guess") == 401
        liar = Caller(running, f"198.51.100.7, {thief.address}")
        assert liar.post(site, SECRET) == 429, "what stands before the nearest hop is anybody's invention"
        assert [provider.post(site, "wrong") for _ in range(5)] == [401] * 5
        assert provider.post(site, SECRET) == 200
        query = "?hub.mode=subscribe&hub.verify_token=guess&hub.challenge=1"
        tried = [running.ask("GET", path(other) + query)[0] for _ in range(5)]
        assert tried == [403, 403, 403, 429, 429], "the proxy itself is a source, too"
    assert thief.address not in caplog.text
    assert "198.51.100.7" not in caplog.text


def test_without_a_trusted_proxy_nobody_says_who_they_are(world: ReceivingWorld) -> None:
    """The peer is the source; a header changes nothing."""
    site = world.site()
    with world.receiver(limits=ReceiverLimits(forged_a_minute=3)) as running:
        tried = [Caller(running, f"203.0.113.{n}").post(site, "guess") for n in range(5)]
        assert tried == [401, 401, 401, 429, 429]


# ---- replayed -----------------------------------------------------------------------------------------------------


class SigningTimes:
    """WhatsApp, if it said in a header when it signed (milliseconds)."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def authenticate(self, request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
        verdict = self._channel.authenticate(request, connection)
        if isinstance(verdict, Accepted):
            return Accepted(signed_at_ms=int(request.headers[SIGNED_AT]))
        return verdict


def test_what_was_signed_too_long_ago_is_refused(
    world: ReceivingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """403, counted with its reason, and no forgery; the same ahead of the clock; nothing of it is stored."""
    real = registry.channel
    monkeypatch.setattr(registry, "channel", lambda name: cast("Channel", SigningTimes(real(name))))
    site = world.site()
    limits = ReceiverLimits(replay_s=600, forged_a_minute=1)
    with world.receiver(limits=limits) as running:

        def post(age_s: float) -> int:
            body = orjson.dumps(say(site))
            signed = {"X-Hub-Signature-256": sign(body), SIGNED_AT: str(now_ms() - round(age_s * 1000))}
            return running.ask("POST", path(site), body, signed)[0]

        counted = {why: refused(why) for why in ("replayed", "ahead")}
        forged = sample("sealpost_signature_failures_total", channel="whatsapp")
        assert (post(0), post(540), post(-240)) == (200, 200, 200)
        assert (post(610), post(86_400), post(-360)) == (403, 403, 403)
        assert {why: refused(why) - count for why, count in counted.items()} == {"replayed": 2, "ahead": 1}
        assert sample("sealpost_signature_failures_total", channel="whatsapp") == forged
    assert len(world.records(RAW, site.tenant)) == 3


# ---- bombs --------------------------------------------------------------------------------------------------------


def bombs() -> dict[str, bytes]:
    """Bodies made to break who reads them; all are authentic."""
    huge = b"9" * 1_000_000
    return {
        "nested lists": b'{"entry": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
        "nested objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        "nested to the edge": b'{"object": "whatsapp_business_account", "entry": '
        + b"[" * 250
        + b"]" * 250
        + b"}",
        "huge number": b'{"object": "whatsapp_business_account", "entry": [{"id": ' + huge + b"}]}",
        "huge exponent": b'{"update_id": 1e999999999, "entry": -1e999999999}',
        "64 bits and one": b'{"update_id": 18446744073709551616, "object": 18446744073709551616}',
        "no UTF-8": b'{"object": "\xff\xfe\xc3\x28", "entry": []}',
        "half a character": b'{"object": "whatsapp_business_account", "entry": [{"id": "\\ud800"}]}',
        "the same key often": b"{" + b'"entry": [], ' * 100_000 + b'"object": "page"}',
        "not a number": b'{"object": NaN, "entry": Infinity}',
        "null": b"null",
        "nothing": b"",
        "zeros": b"\0" * 1_000,
        "gzip of 100 MiB": gzip.compress(b"\0" * (100 * KIB * KIB), 9),
        "many entries": b'{"object": "whatsapp_business_account", "entry": [' + b"{}," * 900_000 + b"{}]}",
    }


@pytest.mark.parametrize("channel", registry.channel_names())
def test_bombs(world: ReceivingWorld, channel: str) -> None:
    """Whatever is in an authentic body: an answer below 500, and the next webhook is taken."""
    site, target, secret = world.site(), f"b-{channel}-{random_id()}", "c2VjcmV0IG9mIGJvbWJz"
    with world.vault.transaction() as cursor:
        world.vault.add_connection(cursor, target, site.tenant, channel, secret, "v", "app")
    with world.receiver(limits=ReceiverLimits(answer_s=BOMB_S)) as running:
        for name, body in bombs().items():
            assert len(body) <= WEBHOOK_MAX_BYTES, name
            proved = proofs.proved(registry.channel(channel), Secrets(secret, "v", "app"), body, now_ms())
            assert proved is not None
            headers = {**proved.headers, "Content-Encoding": "gzip"}
            code = running.ask("POST", f"/webhooks/{channel}/{target}", body, headers, 6 * BOMB_S)[0]
            assert code < 500, (name, code)
        assert running.post(site, say(site)) == 200


# ---- several apps -------------------------------------------------------------------------------------------------


def test_several_apps_of_one_tenant(world: ReceivingWorld) -> None:
    """Each connection has its own secret and its own accounts; what is right for one is nothing to the other."""
    site = world.site()
    second = Site(site.tenant, f"{site.connection}-2", f"{site.account}-2", f"{site.number_id}2")
    with world.vault.transaction() as cursor:
        world.vault.add_connection(cursor, second.connection, site.tenant, "whatsapp", "other secret", "v2")
    world.approve(second)
    with world.receiver() as running:
        assert running.post(site, say(site)) == 200
        assert running.post(second, say(second), "other secret") == 200
        assert running.post(site, say(site), "other secret") == 401
        assert running.post(second, say(second)) == 401
        dropped = sample("sealpost_webhook_dropped_total", channel="whatsapp", why="unknown_account")
        assert running.post(second, say(site), "other secret") == 200
        assert (
            sample("sealpost_webhook_dropped_total", channel="whatsapp", why="unknown_account") == dropped + 1
        )
    found = [orjson.loads(r.value or b"")["data"] for r in world.records(RAW, site.tenant)]
    assert sorted((one["connection"], one["account"]) for one in found) == [
        (site.connection, site.account),
        (second.connection, second.account),
    ]
