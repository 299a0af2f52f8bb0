"""The proxy does what its modes say: otherwise every fault test behind it would prove nothing."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from schemas.ids import random_id
from schemas.topics import Topic
from streams.kafka import admin
from streams.kafka.producer import OrderedProducer, ProduceFailed
from streams.step.contract import Output
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.faults.proxy import HOST, Mode, Proxy, Way, own_port
from tests.step_world import await_until

SHORT_S = 0.3
"""How long is listened to who is to say nothing."""
LIMIT_S = 60.0


class Echo:
    """A server that answers what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.ends: list[str] = []
        self.taken: list[socket.socket] = []
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self._listening.accept()
            except OSError:
                return
            self.taken.append(taken)
            threading.Thread(target=self._answer, args=(taken,), daemon=True).start()

    def _answer(self, taken: socket.socket) -> None:
        try:
            while heard := taken.recv(65_536):
                self.heard += heard
                taken.sendall(heard)
            self.ends.append("end")
        except OSError:
            self.ends.append("reset")
        finally:
            taken.close()

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo()) as server:
        yield server


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as made:
        yield made


def client(proxy: Proxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=LIMIT_S)


def said(one: socket.socket, words: bytes) -> bytes:
    """Say words; what comes back of so many bytes."""
    one.sendall(words)
    return heard(one, len(words))


def unanswered(one: socket.socket, words: bytes) -> bool:
    """Say words; whether nothing comes back for a while."""
    one.settimeout(SHORT_S)
    answer = said(one, words)
    one.settimeout(LIMIT_S)
    return answer == b""


def heard(one: socket.socket, count: int) -> bytes:
    found = b""
    try:
        while len(found) < count:
            more = one.recv(count - len(found))
            if not more:
                break
            found += more
    except TimeoutError:
        return found
    return found


def await_heard(echo: Echo, words: bytes) -> None:
    """Wait until the server has heard this, and no more."""
    await_until(lambda: bytes(echo.heard) == words, LIMIT_S, "the server hears it")


def test_it_passes_both_ways_and_ends_with_its_ends(proxy: Proxy, echo: Echo) -> None:
    """A megabyte comes back whole; when the client says that it has ended, the server hears that, and its last words pass."""
    words = bytes(range(256)) * 4096
    with client(proxy) as one:
        threading.Thread(target=one.sendall, args=(words,), daemon=True).start()
        assert heard(one, len(words)) == words
        one.shutdown(socket.SHUT_WR)
        assert one.recv(1) == b""
    await_until(lambda: echo.ends == ["end"] and proxy.connections == 0, LIMIT_S, "both ends are closed")
    assert proxy.passed[Way.TO_SERVER] == proxy.passed[Way.TO_CLIENT] == len(words)


def test_cut_resets_and_refuses_until_healed(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as one:
        assert said(one, b"before") == b"before"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    await_until(lambda: echo.ends == ["reset"], LIMIT_S, "the server was reset")
    with pytest.raises(ConnectionRefusedError):
        client(proxy)
    proxy.heal()
    with client(proxy) as one:
        assert said(one, b"after") == b"after"


def test_cut_towards_the_client_leaves_the_server_waiting(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as one:
        said(one, b"before")
        proxy.cut(Way.TO_CLIENT)
        with pytest.raises(ConnectionResetError):
            one.recv(1)
    with pytest.raises(ConnectionRefusedError):
        client(proxy)
    assert echo.ends == []
    proxy.heal()
    await_until(lambda: echo.ends == ["reset"], LIMIT_S, "the server's side ends with the fault")


def test_cut_towards_the_server_leaves_the_client_waiting(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as one:
        said(one, b"before")
        proxy.cut(Way.TO_SERVER)
        await_until(lambda: echo.ends == ["reset"], LIMIT_S, "the server was reset")
        assert unanswered(one, b"is anybody there")
        with client(proxy) as other:
            assert unanswered(other, b"or here")
        assert bytes(echo.heard) == b"before"
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            one.recv(1)


@pytest.mark.parametrize("way", list(Way))
def test_stall_holds_bytes_back_and_loses_none(proxy: Proxy, echo: Echo, way: Way) -> None:
    with client(proxy) as one:
        said(one, b"before ")
        proxy.stall(way)
        assert unanswered(one, b"meanwhile ")
        await_heard(echo, b"before " if way is Way.TO_SERVER else b"before meanwhile ")
        proxy.heal()
        assert heard(one, 10) == b"meanwhile "
        assert said(one, b"after") == b"after"


def test_stall_holds_up_who_sends(proxy: Proxy) -> None:
    """No endless buffer: a sender is blocked before it has got rid of 64 MB."""
    proxy.stall()
    with client(proxy) as one:
        one.settimeout(SHORT_S)
        with pytest.raises(TimeoutError):
            one.sendall(b"x" * 64 * 1024 * 1024)


@pytest.mark.parametrize("way", list(Way))
def test_deaf_swallows_and_resets_at_the_end(proxy: Proxy, echo: Echo, way: Way) -> None:
    """What was lost stays lost: such a connection cannot go on as if nothing had happened."""
    with client(proxy) as one, client(proxy) as idle:
        said(one, b"before ")
        said(idle, b"idle ")
        proxy.deaf(way)
        assert unanswered(one, b"meanwhile")
        await_until(lambda: proxy.lost[way] == len(b"meanwhile"), LIMIT_S, "it is swallowed")
        await_heard(echo, b"before idle " + (b"" if way is Way.TO_SERVER else b"meanwhile"))
        proxy.heal()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
        assert said(idle, b"still here") == b"still here"


def test_delay_is_paid_by_every_chunk(proxy: Proxy) -> None:
    proxy.delay(15 * SHORT_S, Way.TO_SERVER)
    with client(proxy) as one:
        assert unanswered(one, b"late")
        assert heard(one, 4) == b"late"


def test_a_trigger_loses_the_answer_or_the_question(proxy: Proxy, echo: Echo) -> None:
    """The pattern is found across chunks; the mode holds for the very chunk that completes it."""
    with client(proxy) as one:
        proxy.arm(b"COMMIT", Way.TO_SERVER, Mode.DEAF, Way.TO_CLIENT)
        assert said(one, b"work COM") == b"work COM"
        assert proxy.armed()
        assert unanswered(one, b"MIT")
        await_until(lambda: not proxy.armed(), LIMIT_S, "it goes off")
        await_heard(echo, b"work COMMIT")
    proxy.heal()
    with client(proxy) as one:
        proxy.arm(b"COMMIT", Way.TO_SERVER, Mode.DEAF, Way.TO_SERVER)
        assert unanswered(one, b"work COMMIT")
        await_until(lambda: not proxy.armed(), LIMIT_S, "it goes off")
        assert bytes(echo.heard) == b"work COMMIT"


def test_a_trigger_cuts(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as one:
        proxy.arm(b"POST", Way.TO_CLIENT, None)
        one.sendall(b"POST")
        with pytest.raises(ConnectionResetError):
            one.recv(4)
    assert bytes(echo.heard) == b"POST"


def test_nobody_listens_behind_it() -> None:
    """A client is reset as soon as the server cannot be reached, and served again once it can."""
    with Proxy(own_port()) as proxy:
        # The reset may come while the client still connects.
        with pytest.raises(ConnectionResetError), client(proxy) as one:
            one.recv(1)
        assert proxy.connections == 0


def test_before_kafka(kafka_server: KafkaServer) -> None:
    """A client that comes through the door is told of no other way to the broker; a cut door leaves the others open."""
    topic = f"door-{random_id()[:8]}"
    admin.apply_topics(kafka_server.bootstrap, [Topic(topic, -1)], 1, 1, embedded=True)
    output = Output(topic, b"k", b"v")
    with kafka_server.proxy() as proxy:
        producer = OrderedProducer(proxy.address, client_id="door")
        producer.produce_all([output], LIMIT_S)
        proxy.cut()
        with pytest.raises(ProduceFailed):
            producer.produce_all([output], SHORT_S)
        producer.close()
        assert admin.end_offsets(kafka_server.bootstrap, topic) == {0: 1}
        proxy.heal()
        producer = OrderedProducer(proxy.address, client_id="door")
        producer.produce_all([output], LIMIT_S)
        producer.close()
    assert admin.end_offsets(kafka_server.bootstrap, topic) == {0: 2}


def test_before_postgres(postgres_server: PostgresServer) -> None:
    """The answer to a COMMIT is lost; the commit is not."""
    dsn = postgres_server.fresh_database("proxied")
    with postgres_server.proxy() as proxy, psycopg.connect(postgres_server.through(proxy, dsn)) as connection:
        connection.execute("create table kept (n integer)")
        proxy.arm(b"COMMIT", Way.TO_SERVER, Mode.DEAF, Way.TO_CLIENT)
        committing = threading.Thread(target=_commit, args=(connection,))
        committing.start()
        await_until(lambda: proxy.lost[Way.TO_CLIENT] > 0, LIMIT_S, "the answer is lost")
        assert committing.is_alive()
        proxy.heal()
        committing.join(LIMIT_S)
        assert not committing.is_alive()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)


def _commit(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
