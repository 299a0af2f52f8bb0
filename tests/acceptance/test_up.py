"""`sealpost up` as a black box: ready file, ends cleanly, side by side, continues with its data, roles come back."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from tests.acceptance_instance import SHORT_TIMES, RunningInstance, running_instance, until
from tests.embedded_host import may_dump_core, with_descendants

GROUPS = [
    f"sealpost.{name}"
    for name in ("inbound", "vault", "projector", "outbound", "streams.subscriber", "streams.erasure")
]
ROLES = {"receiver", "inbound", "api", "vault", "streams", "outbound", "projector", "clock"}


def processes_of(folder: Path) -> set[int]:
    """Ids of the processes that belong to an instance: by command line, environment (SEALPOST_DATA) or working folder."""
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and int(entry.name) != os.getpid() and belongs(entry, folder)
    }


def belongs(process: Path, folder: Path) -> bool:
    """True when a process in /proc names the folder or works in it (what PostgreSQL forks says so nowhere else)."""
    name = str(folder).encode()
    try:
        if name in (process / "cmdline").read_bytes():
            return True
        variables = (process / "environ").read_bytes().split(b"\0")
        return b"SEALPOST_DATA=" + name in variables or (process / "cwd").readlink().is_relative_to(folder)
    except OSError:
        return False  # it has ended, or is another user's


def test_no_process_dumps_its_memory(instance: RunningInstance) -> None:
    """Keys and clear text never reach a core file: no role, no part, nothing that these have started, nor `up` itself."""
    ready = instance.ready
    pids = {"up": instance.process.pid, **ready["services"]}
    pids |= {role: process["pid"] for role, process in ready["roles"].items()}
    assert {"kafka", "postgres", *ROLES} <= pids.keys()
    dumping = [p.pid for p in with_descendants(pids) if may_dump_core(p.pid)]
    assert dumping == []


def test_ready_file(instance: RunningInstance) -> None:
    """Mode 0600 and every key of the contract; each role has a live process and metrics."""
    ready = instance.ready
    assert stat.S_IMODE(instance.ready_file.stat().st_mode) == 0o600
    assert set(ready["roles"]) == ROLES
    assert set(ready["tokens"]) == {"admin", "officer", "agent", "producer"}
    assert set(ready["channels"]["whatsapp"]) == {
        "webhook_url", "connection", "account", "app_secret", "verify_token", "simulator_url",
    }  # fmt: skip
    for key in (
        "receiver_url",
        "api_url",
        "kafka",
        "vault_dsn",
        "streams_dsn",
        "projections_dsn",
        "data_dir",
        "tenant",
        "sandbox_url",
    ):
        assert ready[key], key
    for role in ready["roles"].values():
        os.kill(role["pid"], 0)
    until("where things are is said", lambda: ready["sandbox_url"] in instance.log.read_text())


def test_the_search_for_processes_finds_them_all(instance: RunningInstance) -> None:
    """Each role, the simulator, Kafka, PostgreSQL and its children: a search that cannot find proves nothing."""
    ready = instance.ready
    services = ready["services"]
    assert set(services) == {"simulator", "sandbox", "kafka", "postgres"}
    wanted = {name: role["pid"] for name, role in ready["roles"].items()} | services
    found = processes_of(instance.data)
    assert {name for name, pid in wanted.items() if pid not in found} == set()
    assert instance.process.pid in found
    children = {child.pid for child in psutil.Process(services["postgres"]).children(recursive=True)}
    assert len(children & found) >= 5, "checkpointer, writers and the roles' own connections"
    assert processes_of(instance.data / "nobody") == set()


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_killed_role_comes_back(instance: RunningInstance, role: str) -> None:
    """SIGKILL a role: another process is there, ready, and the ready file names it."""
    instance.wait_back(role, instance.kill(role))


def test_the_members_of_all_groups_are_named(instance: RunningInstance) -> None:
    """Each group has one member, known by name: whoever is started in the place of a dead one waits for no session."""
    client = AdminClient({"bootstrap.servers": instance.ready["kafka"]})

    def names() -> list[list[str]]:
        described = client.describe_consumer_groups(GROUPS, request_timeout=60).values()
        return [
            [str(member.group_instance_id) for member in future.result(60).members] for future in described
        ]

    until("one member in each group", lambda: all(len(members) == 1 for members in names()))
    assert all(name.startswith("up-") for members in names() for name in members)


def test_side_by_side_and_again(tmp_path: Path) -> None:
    """A second instance with another folder runs beside the first; after Ctrl-C no process is left and its data goes on."""
    with running_instance(tmp_path / "zwei für Ö") as second:
        number = second.new_number()
        subject = second.sign_up(number)
        folder = second.data
        command = [str(Path(sys.executable).with_name("sealpost")), "up", "--data", str(folder)]
        refused = subprocess.run(command, capture_output=True, timeout=240, check=False)
        assert refused.returncode != 0
        assert b"is used by process" in refused.stdout
    until("no process is left", lambda: not processes_of(folder))
    with running_instance(tmp_path / "zwei für Ö") as again:
        assert again.subject_of(number) == subject
        accepted = again.send(number, "Weiter", "newsletter")
        assert accepted.status == 202
        again.item(subject, accepted.body["message_id"], {"sent", "delivered", "read"})


def test_a_ready_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    sealpost = str(Path(sys.executable).with_name("sealpost"))
    command = [sealpost, "up", "--data", str(tmp_path / "data"), "--ready-file", "/proc/none/ready.json"]
    done = subprocess.run(command, capture_output=True, timeout=240, check=False)
    assert done.returncode == 2
    assert b"--ready-file /proc/none/ready.json: No such file" in done.stdout


def test_tour_ends_with_zero_and_leaves_nothing(tmp_path: Path) -> None:
    """`up --exit-after-tour` walks every step, ends with 0 and leaves no process behind."""
    command = [
        str(Path(sys.executable).with_name("sealpost")),
        "up",
        "--exit-after-tour",
        "--data",
        str(tmp_path / "data"),
    ]
    done = subprocess.run(
        command, capture_output=True, timeout=540, check=False, env={**os.environ, **SHORT_TIMES}
    )
    output = done.stdout.decode()
    assert done.returncode == 0, output[-3000:] + done.stderr.decode()[-2000:]
    assert output.count("✓") >= 9, output[-3000:]
    assert not processes_of(tmp_path / "data")


def test_kill_of_the_supervisor_leaves_no_process(tmp_path: Path) -> None:
    """kill -9 of `up` itself ends every child; the next start goes on with its data."""
    try:
        with running_instance(tmp_path / "three") as third:
            folder = third.data
            os.kill(third.process.pid, signal.SIGKILL)
            third.process.wait(60)
            until("no process is left", lambda: not processes_of(folder))
        with running_instance(tmp_path / "three") as again:
            again.sign_up(again.new_number())
    finally:
        assert not processes_of(tmp_path / "three" / "data")
