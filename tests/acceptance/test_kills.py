"""inbound and outbound killed five times each while messages run both ways: nothing lost, order kept (issue, item 3).

The truth is the provider's record, what the API shows, and the vault's claims at the moment of each kill.
"""

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance_instance import RunningInstance, call, sample, until
from tests.acceptance_quiet import behind, log_ends

SEED = 20261123
MESSAGES = 500
PEOPLE = 25
KILLS = 5
ROLES = ("inbound", "outbound")
ANSWER_DELAY_S = 0.1
"""How long the provider takes: so that calls are in flight whenever a kill comes."""
AHEAD = 30
"""Messages that go on in each direction after a kill, before the role must be back."""
GAP = 45
"""Messages from one kill to the next, more or less."""
APART = 8
"""How far one direction may be ahead of the other, so that a kill falls into both."""
SILENT = 12
"""Of so many people the provider reports nothing: of what was open at a kill nobody tells whether it arrived."""
OPEN = """select c.message, c.part from vault.claims c where c.refusal is null and not exists (
    select from vault.outcomes o where o.day = c.day and o.message = c.message and o.part = c.part and o.attempt >= c.attempt)"""
NO_ANSWER = "no answer of provider"
"""What the role logs of a call that was not answered in time: on a busy machine there may be some, open at no kill."""
SESSIONS = "select count(*) from pg_stat_activity where client_port = any(%s)"


@dataclass(frozen=True, slots=True)
class Kill:
    """What one kill found."""

    role: str
    done_before: tuple[int, int]
    """Messages in and out when it came."""
    done_after: tuple[int, int]
    """The same when the role was back."""
    waiting: int
    """Records that the role had not handled."""
    open_claims: frozenset[str]
    """Echoes of the messages whose call was under way or unknown."""


class AnotherFailed(Exception):
    """Another part of the traffic raised; it is told there why."""


@dataclass
class Traffic:
    """Messages in both directions, and the kills while they run."""

    instance: RunningInstance
    numbers: list[str]
    moments: list[int]
    """How many messages have gone each way when a kill comes."""
    accepted: dict[str, list[str]] = field(default_factory=dict)
    """Message ids of each number, in order."""
    kills: list[Kill] = field(default_factory=list)
    unexplained: int = 0
    """Calls without a known end that were open at no kill: those may be that the provider did not answer in time."""
    _limit: int = 0
    _done: list[int] = field(default_factory=lambda: [0, 0])
    _turn: threading.Condition = field(default_factory=threading.Condition)
    _failed: bool = False

    def run(self) -> None:
        """Both directions and the kills at once; what one of them raises is raised here, and ends the others."""
        with ThreadPoolExecutor(3) as pool:
            futures = [
                pool.submit(self._part, part) for part in (self._inward, self._outward, self._kill_all)
            ]
        for future in futures:
            future.result()

    def _part(self, work: Callable[[], None]) -> None:
        try:
            work()
        except AnotherFailed:
            pass
        except BaseException:
            with self._turn:
                self._failed = True
                self._turn.notify_all()
            raise

    def _inward(self) -> None:
        for i in self._steps(0):
            self.instance.write(self.numbers[i % PEOPLE], inward(i))

    def _outward(self) -> None:
        for i in self._steps(1):
            number = self.numbers[i % PEOPLE]
            delivery = "at_most_once" if at_most_once(i) else "at_least_once"
            answer = self.instance.send(number, outward(i), delivery=delivery)
            assert answer.status == 202, answer
            self.accepted.setdefault(number, []).append(answer.body["message_id"])

    def _steps(self, way: int) -> Iterator[int]:
        """The numbers of the messages of one direction, each when it may go."""
        for i in range(MESSAGES):
            self._wait(partial(self._may_go, way, i))
            yield i
            with self._turn:
                self._done[way] = i + 1
                self._turn.notify_all()

    def _may_go(self, way: int, i: int) -> bool:
        return i < self._limit and i < self._done[1 - way] + APART

    def _may_come(self, moment: int) -> bool:
        return min(self._done) >= moment

    def _wait(self, may: Callable[[], bool]) -> None:
        with self._turn:
            assert self._turn.wait_for(lambda: self._failed or may(), 240), "the others stand still"
            if self._failed:
                raise AnotherFailed

    def _kill_all(self) -> None:
        for number, moment in enumerate(self.moments):
            self._go_on(moment + AHEAD)
            self._wait(partial(self._may_come, moment))
            self._go_on(max(self._done) + AHEAD)
            self.kills.append(self._kill(ROLES[number % 2]))
        self._go_on(MESSAGES)

    def _go_on(self, limit: int) -> None:
        """So many messages may go each way."""
        with self._turn:
            self._limit = max(self._limit, limit)
            self._turn.notify_all()

    def _kill(self, role: str) -> Kill:
        """SIGKILL a role; what was open once the server had ended what it was in the middle of; wait until it is back."""
        pid = int(self.instance.ready["roles"][role]["pid"])
        os.kill(pid, signal.SIGSTOP)  # what it holds is looked at while it stands
        before = (self._done[0], self._done[1])
        server = int(conninfo_to_dict(self.instance.ready["vault_dsn"])["port"] or 0)
        sockets = psutil.Process(pid).net_connections("tcp4")
        ports = [int(s.laddr.port) for s in sockets if s.raddr[1:] == (server,)]
        os.kill(pid, signal.SIGKILL)
        with psycopg.connect(self.instance.ready["vault_dsn"], autocommit=True) as connection:
            until(
                "its statements have ended", lambda: connection.execute(SESSIONS, [ports]).fetchone() == (0,)
            )
            claims = frozenset(f"{message.hex}.{part}" for message, part in connection.execute(OPEN))
        waiting = behind(self.instance, log_ends(self.instance.ready["kafka"])).get(role, 0)
        self.instance.wait_back(role, pid)
        return Kill(role, before, (self._done[0], self._done[1]), waiting, claims)


def inward(i: int) -> str:
    """What people write."""
    return f"rein {i:04d}"


def outward(i: int) -> str:
    """What the business writes."""
    return f"raus {i:04d}"


def at_most_once(i: int) -> bool:
    """Which messages are at_most_once: both kinds reach every person."""
    return (i // PEOPLE) % 2 == 1


def ends_of(instance: RunningInstance, subject: str, accepted: list[str], silent: bool) -> dict[str, str]:
    """Wait until all messages of one person are there and at their end; the status of each accepted one."""
    final = {"submitted", "unknown"} if silent else {"sent", "delivered", "read", "unknown"}

    def look() -> dict[str, str] | None:
        answer = instance.api("GET", f"/v1/subjects/{subject}/messages?limit=500")
        items = answer.body["items"] if answer.status == 200 else []
        statuses = {str(item["message_id"]): str(item["status"]) for item in items}
        ends = {message: statuses.get(message, "") for message in accepted}
        there = len(received(items)) >= MESSAGES // PEOPLE
        return ends if there and set(ends.values()) <= final else None

    found = until(f"all messages of one person (seed {SEED})", look)
    assert found is not None
    return found


def received(items: list[dict[str, Any]]) -> list[str]:
    """Texts of the person in the order shown."""
    return [str(i["text"]) for i in items if i["direction"] == "in" and str(i["text"]).startswith("rein")]


def check_person(traffic: Traffic, number: str, subject: str) -> list[str]:
    """All of one person's messages are there, once and in order, but for what was open at a kill; what came twice."""
    instance, accepted = traffic.instance, traffic.accepted[number]
    ends = ends_of(instance, subject, accepted, number in traffic.numbers[:SILENT])
    mine = [i for i in range(MESSAGES) if traffic.numbers[i % PEOPLE] == number]
    items = instance.api("GET", f"/v1/subjects/{subject}/messages?limit=500").body["items"]
    assert received(items) == [inward(i) for i in mine], f"inbound: each once, in order (seed {SEED})"
    record = [m for m in instance.phone(number) if m["body"].startswith("raus")]
    bodies = [str(m["body"]) for m in record]
    assert bodies == sorted(bodies), f"order of outbound messages (seed {SEED})"
    deliveries = Counter(str(m["biz_opaque_callback_data"]) for m in record)
    was_open = Counter(echo for kill in traffic.kills if kill.role == "outbound" for echo in kill.open_claims)
    twice = []
    for i, message in zip(mine, accepted, strict=True):
        count, found_open = deliveries[f"{message}.0"], was_open[f"{message}.0"]
        if ends[message] == "unknown":
            assert at_most_once(i), f"{outward(i)} is given up (seed {SEED})"
            traffic.unexplained += not found_open
        else:
            assert count >= 1, f"{outward(i)} is {ends[message]} and never reached the provider (seed {SEED})"
        assert count <= 1 or not at_most_once(i), (
            f"{outward(i)} came {count} times, open at {found_open} kills (seed {SEED})"
        )
        traffic.unexplained += max(0, count - 1 - found_open)
        if count > 1:
            twice.append(outward(i))
    assert set(deliveries) <= {f"{message}.0" for message in accepted}
    return twice


def check_kills(kills: list[Kill]) -> None:
    """Five each, every one while messages ran both ways; some hit a role at work."""
    assert Counter(kill.role for kill in kills) == dict.fromkeys(ROLES, KILLS)
    for number, kill in enumerate(kills):
        print(
            f"kill {number}: {kill.role} at {kill.done_before}, {kill.waiting} waiting, {len(kill.open_claims)} open"
        )
        assert max(kill.done_before) < MESSAGES, "a kill came after the last message"
        assert all(after > before for before, after in zip(kill.done_before, kill.done_after, strict=True)), (
            "messages did not go on in both directions"
        )
    for role in ROLES:
        assert any(kill.waiting for kill in kills if kill.role == role), f"no kill hit {role} at work"
    assert any(kill.open_claims for kill in kills if kill.role == "outbound"), "no kill hit a call"


@pytest.fixture
def numbers(instance: RunningInstance) -> Iterator[list[str]]:
    """People who have written, with a provider that takes its time, so that calls are in flight."""
    numbers = [instance.new_number() for _ in range(PEOPLE)]
    for number in numbers:
        instance.write(number, "Hallo")
    url = f"{instance.whatsapp['simulator_url']}/control/faults"
    for number in numbers:
        fault: dict[str, Any] = {"to": number, "delay_s": ANSWER_DELAY_S}
        if number in numbers[:SILENT]:
            fault["statuses"] = []
        assert call("POST", url, body=fault).status < 300
    yield numbers
    assert call("POST", url, body={"clear": True}).status < 300


def not_answered(instance: RunningInstance) -> int:
    """Calls so far that the provider did not answer in time, as role outbound logs them."""
    return (instance.data / "logs" / "outbound.log").read_text(errors="replace").count(NO_ANSWER)


def test_kills_under_messages_in_both_directions(instance: RunningInstance, numbers: list[str]) -> None:
    """500 messages in and 500 out with ten kills: all there, each at its end, in order per person; a second delivery only of what
    was open at a kill, none with at_most_once."""
    chance = random.Random(SEED)
    subjects = {number: instance.subject_of(number) for number in numbers}
    moments = [20 + n * GAP + chance.randrange(GAP - AHEAD) for n in range(2 * KILLS)]
    traffic = Traffic(instance, numbers, moments)
    unanswered = not_answered(instance)
    traffic.run()
    check_kills(traffic.kills)
    twice = [text for number in numbers for text in check_person(traffic, number, subjects[number])]
    unanswered = not_answered(instance) - unanswered
    assert traffic.unexplained <= unanswered, (
        f"{traffic.unexplained} unknown or sent again, open at no kill; {unanswered} not answered in time (seed {SEED})"
    )
    print(f"seed {SEED}; second deliveries (at_least_once, claim open at a kill): {sorted(twice)}")


def test_a_stop_that_lies_unread_holds_newsletters_back(instance: RunningInstance) -> None:
    """inbound is frozen, the receiver takes the STOP: the newsletter waits for it and is rejected (decision 051)."""
    number = instance.new_number()
    subject = instance.sign_up(number)
    seen = len(instance.phone(number))
    pid = int(instance.ready["roles"]["inbound"]["pid"])
    os.kill(pid, signal.SIGSTOP)
    try:
        instance.write(number, "STOP")
        until("the gate knows", partial(behind_the_acts, instance.ready["vault_dsn"]))
        asked = instance.send(number, "Birnen", "newsletter")
        parked = partial(sample, instance, "outbound", "sealpost_parked_messages")
        until("it waits", lambda: parked(channel="whatsapp", why="vault_behind"))
        assert len(instance.phone(number)) == seen
    finally:
        os.kill(pid, signal.SIGCONT)
    ended = instance.item(subject, asked.body["message_id"], {"rejected", "sent", "delivered", "read"})
    assert (ended["status"], ended["reason"]) == ("rejected", "consent_withdrawn")


def behind_the_acts(dsn: str) -> bool:
    """No partition is known to be read within the last ten seconds."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select max(reached_ms) < vault.now_ms() - 10000 from vault.follower"
        ).fetchone()
    return row is not None and bool(row[0])
