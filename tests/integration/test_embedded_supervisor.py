"""Children come back with back-off, end when asked, and never outlive the supervisor, however that ends."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from deploy.embedded.supervisor import BACKOFF_MAX_S, ChildFailed, Program, Supervisor, backoff_s
from tests.acceptance_instance import until
from tests.embedded_host import has_ended, may_dump_core, running_host, with_descendants

SLEEP = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
LAST_WORDS = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGQUIT, lambda *_: (print('last words', flush=True), sys.exit()))
print('deaf', flush=True)
time.sleep(600)
"""
WITH_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{SLEEP}'])"


def program(folder: Path, code: str, name: str = "child", grace_s: float = 5.0) -> Program:
    """A Python program with its log in the folder."""
    return Program(name, (sys.executable, "-c", code), folder / f"{name}.log", grace_s=grace_s)


def is_another(supervisor: Supervisor, old: int) -> bool:
    """Whether the child runs under a new process id."""
    return supervisor.running().get("child", old) != old


def test_backoff_doubles_to_its_limit() -> None:
    """0.2 s, doubling, never more than 10 s."""
    assert [backoff_s(deaths) for deaths in (1, 2, 3, 6)] == [0.2, 0.4, 0.8, 6.4]
    assert backoff_s(7) == backoff_s(10_000) == BACKOFF_MAX_S


def test_a_killed_child_comes_back_and_is_reported(tmp_path: Path) -> None:
    """Both the end and the new process id are told; the second return takes longer than the first."""
    seen: list[tuple[str, int | None]] = []
    supervisor = Supervisor(lambda name, pid: seen.append((name, pid)))
    child = supervisor.start(program(tmp_path, SLEEP))
    waits = []
    try:
        for deaths in (1, 2):
            old = supervisor.running()["child"]
            since = time.monotonic()
            os.kill(old, signal.SIGKILL)
            until("a new process", partial(is_another, supervisor, old), 60)
            waits.append(time.monotonic() - since)
            assert (child.deaths, child.last_code) == (deaths, -signal.SIGKILL)
    finally:
        supervisor.stop()
    assert waits[0] >= backoff_s(1)
    assert waits[1] >= backoff_s(2)
    assert [pid is None for _name, pid in seen] == [False, True] * 3
    assert supervisor.running() == {}


def test_a_child_that_cannot_start_is_named(tmp_path: Path) -> None:
    """Waiting for a program that ends at once fails soon, with the end of its log."""
    supervisor = Supervisor()
    child = supervisor.start(program(tmp_path, "print('no such table'); raise SystemExit(3)"))
    with pytest.raises(ChildFailed, match=r"(?s)child ends as soon as it starts \(code 3\).*no such table"):
        child.await_ready(lambda: False, 120)
    supervisor.stop()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """What cannot be executed leaves words in the log."""
    supervisor = Supervisor()
    child = supervisor.start(Program("absent", (str(tmp_path / "absent"),), tmp_path / "absent.log"))
    with pytest.raises(ChildFailed, match=r"cannot start .*absent: No such file"):
        child.await_ready(lambda: False, 120)
    supervisor.stop()


def test_a_deaf_child_is_killed_after_its_grace(tmp_path: Path) -> None:
    """SIGTERM first, SIGKILL when it does not help."""
    supervisor = Supervisor()
    child = supervisor.start(program(tmp_path, STUBBORN, grace_s=0.3))
    child.await_ready(lambda: "deaf" in child.log_tail(), 60)
    process = psutil.Process(supervisor.running()["child"])
    supervisor.stop()
    assert has_ended(process)


def test_a_child_may_have_a_last_signal_of_its_own(tmp_path: Path) -> None:
    """What needs more than SIGKILL to end cleanly gets its own signal after the grace, before SIGKILL."""
    supervisor = Supervisor()
    wanted = replace(program(tmp_path, LAST_WORDS, grace_s=0.3), last_signal=signal.SIGQUIT)
    child = supervisor.start(wanted)
    child.await_ready(lambda: "deaf" in child.log_tail(), 60)
    supervisor.stop()
    assert "last words" in child.log_tail()


def test_a_frozen_child_is_ended(tmp_path: Path) -> None:
    """A stopped process does not hold up the end of everything."""
    supervisor = Supervisor()
    child = supervisor.start(program(tmp_path, SLEEP))
    process = psutil.Process(supervisor.running()["child"])
    assert child.send(signal.SIGSTOP)
    supervisor.stop()
    assert has_ended(process)


def test_what_a_child_started_ends_with_it(tmp_path: Path) -> None:
    """Nothing is left of a child's process group."""
    supervisor = Supervisor()
    supervisor.start(program(tmp_path, WITH_CHILD))
    running = supervisor.running()
    until("the grandchild", lambda: len(with_descendants(running)) == 2, 60)
    processes = with_descendants(running)
    supervisor.stop()
    until("all ended", lambda: all(map(has_ended, processes)), 60)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_child_dumps_its_memory(tmp_path: Path) -> None:
    """Neither a child nor what it starts, and neither can lift the limit again."""
    supervisor = Supervisor()
    supervisor.start(program(tmp_path, WITH_CHILD))
    running = supervisor.running()
    until("the grandchild", lambda: len(with_descendants(running)) == 2, 60)
    dumping = [process.pid for process in with_descendants(running) if may_dump_core(process.pid)]
    supervisor.stop()
    assert dumping == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_command_dumps_its_memory() -> None:
    """A role that some other supervisor starts (systemd, a container) forbids it to itself."""
    look = "lambda: print(resource.getrlimit(resource.RLIMIT_CORE))"
    code = f"import resource; from deploy import cli; cli.app = {look}; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(0, 0)\n"


def test_a_child_can_be_stopped_and_started_again(tmp_path: Path) -> None:
    """Stop is not a death: no back-off, no count."""
    supervisor = Supervisor()
    child = supervisor.start(program(tmp_path, SLEEP))
    child.stop()
    assert supervisor.running() == {}
    assert not child.send(signal.SIGTERM)
    child.start()
    assert list(supervisor.running()) == ["child"]
    assert child.deaths == 0
    supervisor.stop()
    with pytest.raises(ChildFailed, match="being stopped"):
        supervisor.start(program(tmp_path, SLEEP))


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    """Two children of one name would hide one another."""
    supervisor = Supervisor()
    supervisor.start(program(tmp_path, SLEEP))
    with pytest.raises(ChildFailed, match="running already"):
        supervisor.start(program(tmp_path, SLEEP))
    supervisor.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    """SIGKILL leaves the supervisor no time to end anything; the kernel does it, even for a child that ignores SIGTERM."""
    with running_host("programs", tmp_path, SLEEP, STUBBORN) as (host, pids):
        children = [psutil.Process(pid) for pid in pids.values()]
        assert len(children) == 2
        host.kill()
        host.wait()
        until("all children ended", lambda: all(map(has_ended, children)), 60)
