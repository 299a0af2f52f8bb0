"""A process that is named by SEALPOST_MEMBER takes its dead predecessor's place in the group (docs/decisions/032)."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Consumer

from streams.kafka.consumer import (
    MEMBER_SETTING,
    ReadFailed,
    consumer_settings,
    raise_unless_passing,
    static_member,
)
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.step_world import World, await_until, expected_counts

ROOT = Path(__file__).parents[2]
SESSION_S = 89.0
LIMIT_S = 85.0
"""Below the session: who waits for the end of a dead member's session fails."""
SHORT_SESSION_S = 6.0
FEEDS = ("tests.step_role", "tests.faust_role")


class Role:
    """Processes of one role, all of the same name in the same group."""

    def __init__(self, world: World, folder: Path, module: str, session_s: float = SESSION_S) -> None:
        self._module = module
        self._config = orjson.dumps(
            {
                "bootstrap": world.bootstrap,
                "dsn": world.dsn,
                "source": world.source,
                "target": world.target,
                "role": "counting",
                "group": f"{world.name}.named",
                "priority": None,
                "session_s": session_s,
                "batch": 40,
                "data_dir": str(folder),
                "first": [],
            }
        ).decode()
        self._log = folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> "subprocess.Popen[bytes]":
        """Start one more."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", self._module, self._config],
                cwd=ROOT,
                env={**os.environ, MEMBER_SETTING: "one"},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def end(self) -> None:
        """End what still runs, and show what they said."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        print(self._log.read_text()[-4000:])


@pytest.fixture
def world(kafka_server: KafkaServer, postgres_server: PostgresServer) -> World:
    return World(kafka_server.bootstrap, postgres_server.fresh_database("members"))


@pytest.fixture(params=FEEDS)
def role(world: World, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Role]:
    made = Role(world, tmp_path, request.param)
    yield made
    made.end()


def test_a_killed_member_is_replaced_long_before_its_session_ends(world: World, role: Role) -> None:
    """Killed again and again, once stopped in order: the next process of the same name reads on at once, each number once."""
    ends = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]
    for turn, end in enumerate([*ends, signal.SIGTERM], 1):
        process = role.start()
        world.produce(range((turn - 1) * 100, turn * 100))
        await_until(lambda: sum(world.counts().values()) == turn * 100, LIMIT_S, f"process {turn} reads")  # noqa: B023  # called at once
        process.send_signal(end)
        process.wait(LIMIT_S)
    assert world.counts() == expected_counts(range(500))
    assert len(world.awaited_outputs(500)) == 500


def test_the_name_tells_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads other topics than before is another member: the group would hand it its former share unasked."""
    monkeypatch.setenv(MEMBER_SETTING, "one")
    assert static_member(["a", "b"]) == static_member(["b", "a"])
    assert len({static_member(["a", "b"]), static_member(["a"]), static_member()}) == 3
    monkeypatch.delenv(MEMBER_SETTING)
    assert static_member(["a"]) is None


@pytest.mark.parametrize(("former", "latter"), [FEEDS, FEEDS[::-1]])
def test_the_feed_may_be_changed(world: World, tmp_path: Path, former: str, latter: str) -> None:
    """Faust after the batch feed in one group, or the other way round: their protocols do not go together, so the latter waits,
    or ends and is started anew, until the session of the former is over; then it reads."""
    before, after = (Role(world, tmp_path, module, SHORT_SESSION_S) for module in (former, latter))
    try:
        world.produce(range(100))
        process = before.start()
        await_until(lambda: sum(world.counts().values()) == 100, LIMIT_S, "the former reads")
        process.terminate()
        process.wait(LIMIT_S)
        world.produce(range(100, 200))

        def read() -> bool:
            if not after.processes or after.processes[-1].poll() is not None:
                after.start()
            return sum(world.counts().values()) == 200

        await_until(read, LIMIT_S, "the latter reads")
        assert len(world.awaited_outputs(200)) == 200
    finally:
        before.end()
        after.end()


def test_of_two_processes_of_one_name_the_newer_serves(world: World, role: Role) -> None:
    """A name given twice by mistake: the older process ends with a reason even while nothing is to be read, nothing is lost."""
    world.produce(range(100))
    older = role.start()
    await_until(lambda: sum(world.counts().values()) == 100, LIMIT_S, "the older reads")
    newer = role.start()
    assert older.wait(LIMIT_S) == 1
    world.produce(range(100, 200))
    await_until(lambda: world.counts() == expected_counts(range(200)), LIMIT_S, "the newer goes on")
    assert newer.poll() is None
    assert len(world.awaited_outputs(200)) == 200


def test_a_consumer_whose_name_was_taken_does_not_wait_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """librdkafka's consumer is of no more use then, and says so in the place of a record: an error that does not pass."""
    monkeypatch.setenv(MEMBER_SETTING, "one")
    settings = consumer_settings(
        world.bootstrap, group=f"{world.name}.taken", client_id="taken", session_s=30.0, topics=[world.source]
    )

    def read(consumer: Consumer) -> bool:
        message = consumer.poll(0.1)
        error = message.error() if message is not None else None
        if error is not None:
            raise_unless_passing(error)
        return bool(consumer.assignment())

    older, newer = (Consumer({**settings, "auto.offset.reset": "earliest"}) for _ in range(2))
    older.subscribe([world.source])
    await_until(lambda: read(older), LIMIT_S, "the older has joined")
    newer.subscribe([world.source])
    await_until(lambda: read(newer), LIMIT_S, "the newer has taken its place")
    with pytest.raises(ReadFailed):
        await_until(lambda: read(older) and False, LIMIT_S, "the older is told")
    older.close()
    newer.close()
