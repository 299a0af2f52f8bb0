"""How long a role is away after SIGKILL, with production times (Kafka session 10 s): until its first event after it.

A whole embedded instance under light traffic; its supervisor starts the role again.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError

import psycopg

from schemas.clock import boot_s, now_ms
from schemas.ids import random_id
from tests.acceptance_instance import RunningInstance, running_instance, until
from tests.bench.latency import production
from tests.bench.report import Aim, Figures, Measured

PAUSE_S = 0.2
"""Between two messages of the traffic; no gap is measured more finely."""
AIM_S = 12.0
LIMIT_S = 90.0
QUIET_S = 3.0
"""Between two kills, so that a role is taken for well when it is killed."""
POSITIONS = "select coalesce(sum(next_offset), 0) from step.position where role = %s"
OUTCOMES = "select count(*) from vault.outcomes"


@dataclass
class Traffic:
    """People write all the time, each for the first time, and the business sends to one person."""

    running: RunningInstance
    number: str = ""
    taken: int = 0
    """Webhooks answered 200."""
    stop: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """The person who is sent to."""
        self.number = self.running.new_number()
        self.running.write(self.number, "hello")
        self.running.subject_of(self.number)

    def write(self) -> None:
        """Until the stop."""
        while not self.stop.wait(PAUSE_S):
            number = self.running.new_number()
            message = {
                "from": number,
                "id": f"wamid.{random_id()}",
                "timestamp": str(now_ms() // 1000),
                "type": "text",
                "text": {"body": "hello"},
            }
            contact = {"wa_id": number, "profile": {"name": "Ada"}}
            try:
                status = self.running.post_webhook({"messages": [message], "contacts": [contact]})
            except (URLError, ConnectionError):
                continue
            self.taken += status == 200

    def send(self) -> None:
        """Until the stop."""
        while not self.stop.wait(PAUSE_S):
            self.running.send(self.number, "answer")


@contextmanager
def traffic(running: RunningInstance) -> Iterator[Traffic]:
    """Until the end of the block."""
    made = Traffic(running)
    made.begin()
    threads = [threading.Thread(target=work) for work in (made.write, made.send)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stop.set()
        for thread in threads:
            thread.join()


def number_of(dsn: str, question: str, *parameters: str) -> int:
    """One number from a database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(question.encode(), parameters).fetchone()
    return int(row[0]) if row else 0


def away_s(running: RunningInstance, role: str, progress: Callable[[], int]) -> Measured:
    """Kill; seconds until `progress` moves again."""
    started = progress()
    until(f"{role} works", lambda: progress() > started, LIMIT_S)
    threading.Event().wait(QUIET_S)
    pid = running.kill(role)
    begin = boot_s()
    # What the dead process had under way may still be written by the database or the broker.
    threading.Event().wait(0.5)
    before = progress()
    until(f"{role} works again", lambda: progress() > before, LIMIT_S)
    found = boot_s() - begin
    running.wait_back(role, pid)
    return Measured(found)


def run(rounds: int) -> None:
    """Kill each role in turn, `rounds` times."""
    with (
        TemporaryDirectory(prefix="sealpost-bench-") as folder,
        running_instance(Path(folder) / "instance", times=production()) as running,
    ):
        ready = running.ready
        with traffic(running) as busy:
            watched: dict[str, Callable[[], int]] = {
                "receiver": lambda: busy.taken,
                "inbound": partial(number_of, ready["vault_dsn"], POSITIONS, "inbound"),
                "vault": partial(number_of, ready["vault_dsn"], POSITIONS, "vault"),
                "streams": partial(number_of, ready["streams_dsn"], POSITIONS, "streams.subscriber"),
                "projector": partial(number_of, ready["projections_dsn"], POSITIONS, "projector"),
                "outbound": partial(number_of, ready["vault_dsn"], OUTCOMES),
            }
            figures = Figures(
                "recovery after SIGKILL", "s", "receiver", {role: Aim(AIM_S, "at most") for role in watched}
            )
            figures.rounds(
                rounds, {role: partial(away_s, running, role, moved) for role, moved in watched.items()}
            )
        figures.finish()
