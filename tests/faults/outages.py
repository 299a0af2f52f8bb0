"""Parts of the installation are away for minutes, its disk is full or slow, its wall clock is hours off.

Each is a run of its own on production times: what is in Kafka stays, what cannot be taken is refused, and when the part is
back everything is done, once.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from subprocess import run

import psycopg
from confluent_kafka.admin import AdminClient

from deploy.http_client import call
from schemas.clock import boot_s, sleep_s
from tests.faults.fire import Report, await_rest
from tests.faults.installation import Installation, running_installation
from tests.faults.killer import Blow
from tests.faults.traffic import Traffic
from tests.faults.wall_clock import WallClock
from tests.step_world import await_until

GROUPS = (
    "sealpost.inbound",
    "sealpost.outbound",
    "sealpost.vault",
    "sealpost.projector",
    "sealpost.streams.subscriber",
    "sealpost.streams.erasure",
)
ASK_S = 15.0
SETTLED_S = 30.0
"""After the database is gone: calls that were granted may still run, lease and HTTP limit of production being 25 s."""
REST_S = 420.0
FLOW = 50
"""Messages that must have been accepted and delivered after an outage, before the next one."""
HOURS = 3600
KILLED_BY_CLOCK = ("outbound", "inbound", "vault", "projector", "streams")
"""Roles killed after each step of the clock: take-overs and due times meet it."""
TMPFS_BYTES = 640 * 1024 * 1024
CHUNK = b"\0" * (1024 * 1024)


@dataclass(frozen=True, slots=True)
class Outages:
    """How long each lasts, in seconds."""

    seed: int
    rate_per_s: float = 10.0
    people: int = 100
    before_s: float = 20.0
    postgres_s: float = 600.0
    kafka_s: float = 120.0
    full_s: float = 60.0
    slow_s: float = 60.0
    clock_s: float = 60.0


@contextmanager
def traffic_on(
    name: str,
    folder: Path,
    plan: Outages,
    *,
    step_ms: int = 0,
    postgres_folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[Installation, Traffic, Report]]:
    """An installation under traffic; at the end of the block everything is brought to rest and judged."""
    report = Report(name, plan.seed)
    with running_installation(
        folder, postgres_folder=postgres_folder, environment=environment
    ) as installation:
        traffic = Traffic(installation, seed=plan.seed, people=plan.people, rate_per_s=plan.rate_per_s)
        installation.provider_takes(0.1, traffic.silent)
        traffic.start()
        sleep_s(plan.before_s)
        yield installation, traffic, report
        sleep_s(plan.before_s)
        traffic.stop()
        installation.await_ready()
        await_rest(installation, REST_S)
        report.judge(installation, traffic, step_ms=step_ms)


def members(installation: Installation) -> dict[str, frozenset[str]]:
    """Group → ids of its members: a member that had to join again has another one."""
    client = AdminClient({"bootstrap.servers": installation.kafka.bootstrap})
    found = client.describe_consumer_groups(list(GROUPS), request_timeout=ASK_S)
    return {
        name: frozenset(member.member_id for member in future.result(ASK_S).members)
        for name, future in found.items()
    }


def delivered(installation: Installation) -> int:
    """What the provider has accepted so far."""
    return int(call("GET", f"{installation.simulator_url}/control/state").body["messages"])


def run_outages(folder: Path, plan: Outages) -> Report:
    """PostgreSQL stopped for ten minutes, then Kafka for two."""
    with traffic_on("outages", folder, plan) as (installation, traffic, report):
        _postgres_away(installation, traffic, plan)
        await_flow(installation, traffic)
        _kafka_away(installation, traffic, plan)
        report.note("answers to webhooks", {str(code): n for code, n in traffic.said.webhooks.items()})
    return report


def _postgres_away(installation: Installation, traffic: Traffic, plan: Outages) -> None:
    """The receiver answers 200 throughout; nothing is sent; no role loses its group."""
    before = members(installation)
    assert all(before.values()), before
    installation.fault("stopped", "postgres")
    installation.postgres.stop()
    ends_s = boot_s() + plan.postgres_s
    sleep_s(min(SETTLED_S, plan.postgres_s / 2))
    answers, sent, written = Counter(traffic.said.webhooks), delivered(installation), traffic.inward
    sleep_s(max(0.0, ends_s - boot_s()))
    refused = Counter(traffic.said.webhooks) - answers
    assert set(refused) <= {200}, f"webhooks answered while PostgreSQL was away: {refused}"
    assert traffic.inward > written, "nobody wrote: the outage proves nothing"
    assert delivered(installation) == sent, "something was sent without a permit"
    assert members(installation) == before, "a role lost its group"
    installation.postgres.start()
    installation.fault("started", "postgres")


def _kafka_away(installation: Installation, traffic: Traffic, plan: Outages) -> None:
    """The receiver answers 503, and what it could not take comes again; nothing that was answered 200 is missing."""
    installation.fault("stopped", "kafka")
    installation.kafka.stop()
    sleep_s(plan.kafka_s / 4)
    answers = Counter(traffic.said.webhooks)
    sleep_s(plan.kafka_s * 3 / 4)
    seen = Counter(traffic.said.webhooks) - answers
    assert set(seen) == {503}, f"webhooks answered while Kafka was away: {seen}"
    installation.kafka.start()
    installation.fault("started", "kafka")


def await_flow(installation: Installation, traffic: Traffic) -> None:
    """Wait until messages flow both ways and nobody is far behind: the next fault does not meet the one before."""
    accepted, sent = traffic.outward, delivered(installation)

    def flows() -> bool:
        state = call("GET", f"{installation.simulator_url}/control/state").body
        more = min(traffic.outward - accepted, delivered(installation) - sent)
        return not state["webhooks"]["waiting"] and more >= FLOW

    await_until(flows, REST_S, "messages flow again")


def run_disk(folder: Path, plan: Outages) -> Report:
    """PostgreSQL's disk is full for a minute, then slow for one. A file system of its own in memory, which only root can make;
    without root the disk is only slow."""
    with (
        _small_disk(folder) as disk,
        traffic_on("disk", folder, plan, postgres_folder=disk) as (installation, traffic, report),
    ):
        if disk is not None:
            _disk_full(installation, disk, plan)
            await_flow(installation, traffic)
        else:
            report.notes.append("the full disk was not made: it needs root")
        _disk_slow(installation, plan)
    return report


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    if os.geteuid() != 0:
        yield None
        return
    disk = Path(tempfile.mkdtemp(prefix="small-disk-", dir=folder.parent))
    run(["/bin/mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES},mode=0711", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        run(["/bin/umount", "--lazy", str(disk)], check=True)
        disk.rmdir()


def _disk_full(installation: Installation, disk: Path, plan: Outages) -> None:
    """Filled to the last byte again and again: what the server frees by a checkpoint is gone at once."""
    installation.fault("full", "postgres")
    ballast = disk / "ballast"
    ends_s = boot_s() + plan.full_s
    with ballast.open("wb", buffering=0) as file:
        while boot_s() < ends_s:
            if not _fill(file.fileno(), CHUNK) and not _fill(file.fileno(), CHUNK[:4096]):
                sleep_s(0.2)
        assert not _takes_a_megabyte(installation), "the disk was not full: the run proves nothing"
    ballast.unlink()
    installation.fault("free", "postgres")


def _takes_a_megabyte(installation: Installation) -> bool:
    """The server finds room for one."""
    try:
        with psycopg.connect(installation.postgres.admin_dsn(), connect_timeout=2) as connection:
            connection.execute("create table room as select repeat('x', 1000) from generate_series(1, 1000)")
    except psycopg.Error:
        return False
    return True


def _fill(file: int, chunk: bytes) -> bool:
    """True when the chunk fitted."""
    try:
        return os.write(file, chunk) > 0
    except OSError:
        return False


def _disk_slow(installation: Installation, plan: Outages) -> None:
    """Every commit waits 100 ms before its log is flushed, as behind a disk that takes so long."""
    installation.fault("slow", "postgres")
    _set_commit_delay(installation, 100_000)
    sleep_s(plan.slow_s)
    _set_commit_delay(installation, 0)
    installation.fault("quick", "postgres")


def _set_commit_delay(installation: Installation, microseconds: int) -> None:
    with psycopg.connect(installation.postgres.admin_dsn(), autocommit=True) as connection:
        connection.execute("alter system set commit_siblings = 0")
        connection.execute(f"alter system set commit_delay = {int(microseconds)}")
        connection.execute("select pg_reload_conf()")


def run_clock(folder: Path, plan: Outages) -> Report:
    """The wall clock of everything steps two hours ahead, four back, and two ahead again, with roles killed in between."""
    clock = WallClock(folder / "clock")
    steps = ((2 * HOURS, "two hours ahead"), (-2 * HOURS, "two hours behind"), (0, "right"))
    running = traffic_on("clock", folder, plan, step_ms=4 * HOURS * 1000, environment=clock.environment)
    with running as (installation, _, report):
        victims = installation.victims()
        for offset_s, words in steps:
            clock.set_to(offset_s)
            installation.fault(words, "wall clock")
            sleep_s(plan.clock_s / 2)
            for role in KILLED_BY_CLOCK:
                installation.fault("SIGKILL", role)
                for name in victims.instances(role):
                    victims.send(name, SIGKILL)
                    report.blows[Blow.KILL] += 1
            sleep_s(plan.clock_s / 2)
    return report
