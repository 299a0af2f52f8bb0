"""Resident memory of every role while a million events pass through a whole instance: at the end beside that at 200,000.

Another tenant's bulk goes out and its statuses come back, people write, some for the first time, the business asks the API for
replies and reads, and people are erased. Fails when a role has grown by more than a tenth. One run, whatever the rounds.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

from schemas import topics
from schemas.clock import boot_s, now_ms
from streams.kafka import admin, group_offsets
from tests.acceptance_instance import RunningInstance, running_instance, until
from tests.acceptance_quiet import OUTBOUND_GROUP
from tests.bench.ground import child
from tests.bench.latency import World, on_provider, production
from tests.bench.report import Aim, Figures, Measured
from tests.outbound_commands import output_of, text_command
from tests.receiving_world import text
from tests.vault_world import CHANNEL
from vault.connections import AccountLimits

EVENTS = 1_000_000
EARLY = 200_000
WINDOW = 50_000
"""Memory is the median of what is seen over so many events: behind EARLY, and before the end."""
GROWTH = 1.1
LIMIT_S = 2_400.0
PEOPLE = 40_000
"""Of the bulk: everybody gets several messages."""
BACKLOG = 4_000
CHUNK = 1_000
"""Commands written at once whenever fewer than BACKLOG wait: nobody's memory is to depend on a heap of work."""
WEBHOOK_MESSAGES = 10
"""In one webhook; the first is from somebody new."""
WEBHOOK_S = 0.04
KNOWN = 5_000
REPLY_S = 0.1
ERASE_EVERY = 50
"""Replies; then somebody who wrote is erased."""
SAMPLE_S = 1.0


class Soak:
    """Traffic of all kinds until `stop`, each kind in a thread of its own."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._running = world.running
        self._stop = threading.Event()
        self._numbers: list[str] = []
        self._ids = count()
        self._failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,))
            for work in (self._bulk, self._people, self._business)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """AssertionError when a thread has failed."""
        assert not self._failures, self._failures

    def stop(self) -> None:
        """End all threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told by the thread that watches
            self._failures.append(f"{work.__name__}: {type(error).__name__}: {error}")

    def _bulk(self) -> None:
        people = cycle(self._world.people)
        while not self._stop.wait(0.2):
            while self._waiting() < BACKLOG and not self._stop.is_set():
                commands = [
                    text_command(one, "News of the week.", purpose="newsletter")
                    for one in islice(people, CHUNK)
                ]
                self._world.producer.produce_all([output_of(command, bulk=True) for command in commands])

    def _waiting(self) -> int:
        """Commands that role outbound has not done yet."""
        bootstrap, topic = self._running.ready["kafka"], topics.outbound(CHANNEL, bulk=True)
        ends = admin.end_offsets(bootstrap, topic)
        done = group_offsets.read(bootstrap, OUTBOUND_GROUP, [(topic, number) for number in ends])
        return sum(end - done.get((topic, number), 0) for number, end in ends.items())

    def _people(self) -> None:
        while not self._stop.wait(WEBHOOK_S):
            new = self._running.new_number()
            # Whoever wrote last is as new as can be; the others come round again and again.
            numbers = [
                new,
                *(self._numbers[next(self._ids) % len(self._numbers)] for _ in range(9) if self._numbers),
            ]
            self._numbers = [*self._numbers[-KNOWN:], new]
            status = self._running.post_webhook(
                {
                    "messages": [text(number, "Is the blue one still there?") for number in numbers],
                    "contacts": [{"wa_id": number, "profile": {"name": "Ada"}} for number in set(numbers)],
                }
            )
            assert status == 200, status

    def _business(self) -> None:
        own = self._world.numbers
        for number in count():
            if self._stop.wait(REPLY_S):
                return
            answer = self._running.send(own[number % len(own)], f"reply {number}")
            assert answer.status == 202, answer
            subject = self._running.subject_of(own[number % len(own)])
            assert self._running.api("GET", f"/v1/subjects/{subject}/messages").status == 200
            if number % ERASE_EVERY == ERASE_EVERY - 1:
                self._erase(self._running.new_number())

    def _erase(self, number: str) -> None:
        """Somebody who wrote once."""
        self._running.write(number, "hello")
        subject = self._running.subject_of(number)
        assert self._running.api("POST", f"/v1/subjects/{subject}/erasure", "officer").status == 202


def events_by_topic(bootstrap: str) -> dict[str, int]:
    """So far."""
    return {
        topic.name: sum(admin.end_offsets(bootstrap, topic.name).values()) for topic in topics.catalogue()
    }


def rss_mib(running: RunningInstance) -> dict[str, float]:
    """Role → resident memory; a role must still be the process that it was."""
    return {
        role: psutil.Process(entry["pid"]).memory_info().rss / (1 << 20)
        for role, entry in running.ready["roles"].items()
    }


def watch(world: World, soak: Soak) -> list[tuple[int, dict[str, float]]]:
    """(events so far, memory) until there are enough."""
    bootstrap, begin, pause = world.running.ready["kafka"], boot_s(), threading.Event()
    seen: list[tuple[int, dict[str, float]]] = []
    pids = {role: entry["pid"] for role, entry in world.running.ready["roles"].items()}
    told = 0
    while not seen or seen[-1][0] < EVENTS:
        pause.wait(SAMPLE_S)
        soak.check()
        assert boot_s() - begin < LIMIT_S, f"{seen[-1][0]:,} events within {LIMIT_S:g} s"
        seen.append((sum(events_by_topic(bootstrap).values()), rss_mib(world.running)))
        if seen[-1][0] >= told:
            shown = ", ".join(f"{role} {mib:.0f}" for role, mib in seen[-1][1].items())
            print(f"  {seen[-1][0]:>9,} events after {boot_s() - begin:4.0f} s, MiB: {shown}", flush=True)
            told += EARLY // 2
    now = {role: entry["pid"] for role, entry in world.running.ready["roles"].items()}
    assert now == pids, "a role was started again: its memory says nothing"
    return seen


def growth(seen: list[tuple[int, dict[str, float]]]) -> dict[str, tuple[float, float]]:
    """Role → MiB at EARLY and at the end, each the median over WINDOW."""

    def over(low: int, high: int) -> dict[str, float]:
        some = [mib for events, mib in seen if low <= events <= high]
        return {role: median(one[role] for one in some) for role in some[0]}

    early, late = over(EARLY, EARLY + WINDOW), over(seen[-1][0] - WINDOW, seen[-1][0])
    return {role: (early[role], late[role]) for role in early}


@contextmanager
def soaking(world: World) -> Iterator[Soak]:
    """Traffic until the end of the block."""
    soak = Soak(world)
    soak.start()
    try:
        yield soak
    finally:
        soak.stop()


def unpaced(world: World) -> None:
    """The provider's rate is not what is looked at."""
    limits = AccountLimits(rate_per_s=1e6, pair_interval_s=0)
    with world.vault.transaction() as cursor:
        for account in world.accounts:
            world.vault.limit_account(cursor, account, limits)


def run(rounds: int) -> None:  # noqa: ARG001  # one run tells it, however long
    """Start an instance, load it until a million events are in its log, compare."""
    with TemporaryDirectory(prefix="sealpost-bench-") as name:
        folder = Path(name)
        with running_instance(folder / "instance", times=production()) as running:
            world = World(running, folder, people=PEOPLE)
            with child("tests.bench.provider", world.provider_config()) as provider:
                world.register(provider)
                world.fill()
                unpaced(world)
                until("our account on the provider", lambda: on_provider(world), 60)
                world.forget()
                begin_ms = now_ms()
                with soaking(world) as soak:
                    seen = watch(world, soak)
                    counts = events_by_topic(running.ready["kafka"])
            world.producer.close()
            world.vault.close()
    found = growth(seen)
    seconds = (now_ms() - begin_ms) / 1000
    command = f"memory: {EVENTS:,} events in {seconds:,.0f} s, end beside {EARLY:,}"
    figures = Figures(command, "times", "receiver", dict.fromkeys(found, Aim(GROWTH, "at most")))
    print("  " + ", ".join(f"{topic} {count:,}" for topic, count in counts.items() if count))
    for role, (early, late) in found.items():
        print(f"  {role:<10} {early:7.1f} MiB → {late:7.1f} MiB")
        figures.add(role, Measured(late / early))
    figures.finish()
    grown = {role: f"{late / early:.2f}" for role, (early, late) in found.items() if late > GROWTH * early}
    assert not grown, f"memory grew by more than a tenth: {grown}"
