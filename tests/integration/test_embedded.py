"""The embedded Kafka and PostgreSQL: they keep their data, come back, stay apart, and leave nothing behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from deploy.embedded import folder, ports, postgres, postgres_user
from deploy.embedded.kafka import RECORD_MAX_BYTES
from deploy.embedded.supervisor import Supervisor
from schemas.constants import EVENT_MAX_BYTES
from schemas.ids import random_id
from tests.acceptance_instance import until
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.embedded_host import (
    ROOT,
    has_ended,
    ignore_progress,
    is_root,
    running_host,
    start_parts,
    with_descendants,
)

APPEND_TIME = 2
"""confluent-kafka's TIMESTAMP_LOG_APPEND_TIME."""
ANSWER_S = 60


def make_topic(bootstrap: str) -> str:
    """A topic of one partition."""
    name = f"kept-{random_id()[:8]}"
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(name, 1, 1)])[name].result(ANSWER_S)
    return name


def write(bootstrap: str, topic: str, value: bytes) -> None:
    """Produce one record and wait for its ack."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "message.max.bytes": RECORD_MAX_BYTES}
    )
    producer.produce(topic, value)
    assert producer.flush(ANSWER_S) == 0


def read_first(bootstrap: str, topic: str) -> Message:
    """The first record of a topic."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": random_id(), "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        message = until("a record", lambda: consumer.poll(1.0), ANSWER_S)
    finally:
        consumer.close()
    assert message is not None
    assert message.error() is None, message.error()
    return message


def test_broker_time_and_size(kafka_server: KafkaServer) -> None:
    """Records carry the broker's time, the largest event fits, and a topic is never made by a typing error."""
    topic = make_topic(kafka_server.bootstrap)
    write(kafka_server.bootstrap, topic, b"x" * EVENT_MAX_BYTES)
    message = read_first(kafka_server.bootstrap, topic)
    assert message.timestamp()[0] == APPEND_TIME
    assert len(message.value() or b"") == EVENT_MAX_BYTES
    client = AdminClient({"bootstrap.servers": kafka_server.bootstrap})
    client.list_topics(topic="mistyped", timeout=ANSWER_S)
    assert "mistyped" not in client.list_topics(timeout=ANSWER_S).topics


def test_killed_parts_come_back_with_their_data(
    kafka_server: KafkaServer, postgres_server: PostgresServer
) -> None:
    """SIGKILL of broker and server: same addresses, nothing acknowledged is lost."""
    topic = make_topic(kafka_server.bootstrap)
    write(kafka_server.bootstrap, topic, b"before")
    dsn = postgres_server.fresh_database("kept")
    with psycopg.connect(dsn) as connection:
        connection.execute("create table kept as select 'before' as word")
    old = {kafka_server.pid, postgres_server.pid}
    kafka_server.kill()
    postgres_server.kill()
    assert not old & {kafka_server.pid, postgres_server.pid}
    assert read_first(kafka_server.bootstrap, topic).value() == b"before"
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select word from kept").fetchone() == ("before",)


def test_a_server_that_cannot_end_in_time_is_ended_whole(postgres_server: PostgresServer) -> None:
    """A session that does not end holds up a shutdown; after the grace all of its processes go, and the next start works."""
    child = postgres_server.child
    usual = child.program
    child.program = replace(usual, grace_s=0.5)
    connection = psycopg.connect(postgres_server.admin_dsn(), autocommit=True)
    try:
        (session,) = connection.execute("select pg_backend_pid()").fetchone() or (0,)
        stuck = psutil.Process(session)
        stuck.suspend()
        postgres_server.stop()
        assert has_ended(stuck)
    finally:
        child.program = usual
        connection.close()
    postgres_server.start()


def test_nothing_outlives_a_killed_instance_and_the_next_one_goes_on(
    tmp_path: Path, kafka_server: KafkaServer, postgres_server: PostgresServer
) -> None:
    """A second instance beside the session's own; its supervisor is killed; what it leaves stops nobody from starting
    again, on other ports, with all data."""
    with running_host("parts", tmp_path) as (host, pids):
        processes = with_descendants(pids)
        port = json.loads((tmp_path / ports.PORTS_FILE).read_text())["kafka"]
        bootstrap = f"{ports.HOST}:{port}"
        assert bootstrap != kafka_server.bootstrap
        topic = make_topic(bootstrap)
        write(bootstrap, topic, b"before")
        with pytest.raises(folder.DataFolderInUse, match=str(host.pid)), folder.held(tmp_path):
            pass
        host.kill()
        host.wait()
        until("all ended", lambda: all(map(has_ended, processes)), 60)
    with socket.create_server((ports.HOST, port)):  # so that the next start has to take another one
        supervisor = Supervisor()
        try:
            with folder.held(tmp_path):
                broker, server = start_parts(supervisor, tmp_path)
                assert broker.bootstrap != bootstrap
                assert read_first(broker.bootstrap, topic).value() == b"before"
                assert server.ready()
        finally:
            supervisor.stop()
    assert kafka_server.pid
    assert postgres_server.pid


def test_each_database_has_one_owner(postgres_server: PostgresServer) -> None:
    """A role enters its own database and no other, and only with its password, and only over loopback."""
    server = postgres_server.part
    for name in postgres.DATABASES:
        with psycopg.connect(server.dsn(name)) as connection:
            assert connection.execute("select current_user, current_database()").fetchone() == (name, name)
            connection.execute("create table own_tables_only (id int)")
            connection.rollback()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(server.dsn("streams").removesuffix("streams") + "vault")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.dsn("vault").replace(server.passwords["vault"], "guessed"))


def test_the_servers_log_holds_no_values(postgres_server: PostgresServer) -> None:
    """Statements, parameters, keys and the values that an error quotes stay out of the log."""
    marker = "Zaphodine-Beeblebrox-4711"
    with psycopg.connect(postgres_server.fresh_database("log"), autocommit=True) as connection:
        connection.execute("create table people (name text primary key)")
        connection.execute("insert into people values (%s)", (marker,))
        for statement in (
            "insert into people values (%s)",
            "select %s::text::int",
            "select no_column from people where name = %s",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement, (marker,))
        with pytest.raises(psycopg.Error):
            connection.execute(f"select '{marker}' from nowhere")
    log = postgres_server.child.program.log.read_text()
    assert "ready to accept connections" in log
    assert marker not in log


def test_secrets_are_for_the_owner_only(postgres_server: PostgresServer, embedded_folder: Path) -> None:
    """Passwords and logs are closed to others; so is the folder of the server."""
    assert postgres_server.pid
    modes = {path.name: path.stat().st_mode & 0o777 for path in embedded_folder.iterdir()}
    assert modes["postgres-passwords.json"] == 0o600
    assert modes["postgres"] == modes["logs"] == 0o700


def test_a_stale_lock_with_a_living_process_id_is_seen_through(tmp_path: Path) -> None:
    """After a restart of a container the number in the lock file is likely somebody else's; here it is ours."""
    supervisor = Supervisor()
    try:
        chosen = ports.choose(("postgres",), tmp_path)
        postgres.start(supervisor, tmp_path, chosen["postgres"], ignore_progress)
        supervisor.stop(["postgres"])
        lock = tmp_path / "postgres" / "postmaster.pid"
        lock.write_text(f"{os.getpid()}\n{tmp_path / 'postgres'}\n")
        (tmp_path / "postgres.new").mkdir()  # an initialisation that was cut short
        assert postgres.start(supervisor, tmp_path, chosen["postgres"], ignore_progress).ready()
    finally:
        supervisor.stop()


def test_lost_passwords_are_named(tmp_path: Path) -> None:
    """Databases without their passwords are not made anew."""
    (tmp_path / "postgres").mkdir()
    with pytest.raises(postgres.PasswordsMissing, match=postgres.PASSWORDS_FILE.replace(".", r"\.")):
        postgres.start(Supervisor(), tmp_path, 1, ignore_progress)


@pytest.mark.skipif(not is_root(), reason="only root has to lend PostgreSQL to another user")
def test_root_lends_it_to_another_user_and_says_so(tmp_path: Path) -> None:
    """Root's folder is closed to everybody, and still it works."""
    closed = tmp_path / "only root enters"
    closed.mkdir(mode=0o700)
    supervisor, said = Supervisor(), list[str]()
    try:
        server = postgres.start(
            supervisor, closed, ports.choose(("postgres",), closed)["postgres"], said.append
        )
        owner = (closed / "postgres").stat().st_uid
        status = Path(f"/proc/{server.child.pid}/status").read_text()
        assert f"Uid:\t{owner}\t{owner}" in status
        assert owner != 0
        assert "runs as user" in said[0]
    finally:
        supervisor.stop()


@pytest.mark.skipif(not is_root(), reason="only root has to lend PostgreSQL to another user")
def test_without_setpriv_a_closed_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words name the folder that is closed and what to do."""
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    closed = tmp_path / "closed"
    (closed / "data").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(postgres_user.NoUserForPostgres, match="may not enter") as told:
        postgres_user.runner(
            closed / "data", closed / "data" / "postgres", postgres.program_folder(), signal.SIGQUIT
        )
    assert "ordinary user" in (type(told.value).__doc__ or "")


def test_a_way_is_open_or_closed_by_owner_group_and_others(tmp_path: Path) -> None:
    """The first closed folder from the root is named."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    status = inner.stat()
    inner.parent.chmod(0o710)
    stranger = 54_321
    assert postgres_user.first_closed(inner, status.st_uid, status.st_gid) is None
    below = postgres_user.first_closed(tmp_path, stranger, status.st_gid)
    assert postgres_user.first_closed(inner, stranger, stranger) == (below or inner.parent)


def test_ports_are_remembered_while_they_are_free(tmp_path: Path) -> None:
    """The same ports at the next start; another one when somebody has taken it; below the range of outgoing connections."""
    names = ("kafka", "postgres", "api")
    chosen = ports.choose(names, tmp_path)
    assert len(set(chosen.values())) == len(names)
    assert ports.choose(names, tmp_path) == chosen
    with socket.create_server((ports.HOST, chosen["postgres"])):
        again = ports.choose(names, tmp_path)
        assert again["postgres"] != chosen["postgres"]
        assert (again["kafka"], again["api"]) == (chosen["kafka"], chosen["api"])
        with pytest.raises(ports.PortTaken, match=str(chosen["postgres"])):
            ports.choose(("one",), tmp_path, base=chosen["postgres"])
    (tmp_path / ports.PORTS_FILE).write_text("damaged")
    assert set(ports.choose(names, tmp_path)) == set(names)


def test_a_port_base_counts_up(tmp_path: Path) -> None:
    """N, N + 1, … in the order of the names."""
    base = next(n for n in range(16_000, 30_000, 7) if ports.is_free(n) and ports.is_free(n + 1))
    assert ports.choose(("a", "b"), tmp_path, base) == {"a": base, "b": base + 1}


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    """The second is refused in words; after the first has ended, in whatever way, it may."""
    code = (
        f"from deploy.embedded.folder import held, Path\n"
        f"with held(Path({str(tmp_path)!r})): print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(folder.DataFolderInUse, match=str(holder.pid)), folder.held(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with folder.held(tmp_path):
        assert (tmp_path / folder.LOCK_FILE).read_text() == str(os.getpid())


def test_a_port_that_is_chosen_is_nobody_elses_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that remembers the very port takes another one, though nothing listens on it yet; once the first has
    ended it may have it. The locks are these processes' own: whoever else runs on the machine takes no part."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ports, "_locks", {})
    other = tmp_path / "other"
    other.mkdir()
    choosing = "import sys; from pathlib import Path; from deploy.embedded import ports"
    choosing += "; print(ports.choose(('one',), Path(sys.argv[1]))['one'])"

    def chosen_by_another() -> int:
        command = [sys.executable, "-c", choosing, str(other)]
        alone = {**os.environ, "TMPDIR": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=alone)
        return int(done.stdout)

    mine = ports.choose(("one",), tmp_path)["one"]
    (other / ports.PORTS_FILE).write_text(json.dumps({"one": mine}))
    theirs = chosen_by_another()
    assert theirs != mine
    assert chosen_by_another() == theirs
