"""Child processes that come back when they die and never outlive this process.

It signals only processes that it started itself, by process id, and only while they are not reaped: a process id that the
system has given to somebody else is never touched. Used by `sealpost up` for every role and part, and by the tests.

One thread a child waits for its end and starts it again. The thread must be the one that started the child and must live
as long as it, because Linux delivers the parent's death signal when the starting *thread* ends.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from deploy.embedded.launch import KEEP_USER
from schemas.clock import boot_s, sleep_s
from schemas.errors import SealpostError

BACKOFF_FIRST_S = 0.2
"""Wait before the first restart; doubled by each further death."""
BACKOFF_MAX_S = 10.0
"""Longest wait: a part that cannot start must not eat a core, nor be forgotten."""
STABLE_S = 30.0
"""Alive this long counts as well again: the back-off begins anew."""
GRACE_S = 10.0
"""From the stop signal to SIGKILL; longer than any role needs to drain a batch."""
KILL_LIMIT_S = 30.0
"""From SIGKILL to the report that a process cannot be ended (it hangs in the kernel)."""
DEATHS_BORNE = 3
BORNE_S = 10.0
"""More deaths than this, over longer than this, and waiting for a start is given up: on a busy machine the last processes of
a killed predecessor may hold its port, lock or shared memory for seconds."""
POLL_S = 0.02
"""Between two looks whether a part answers."""
LAUNCHER = str(Path(__file__).with_name("launch.py"))

Changed = Callable[[str, int | None], None]
"""Called with (name, process id), or (name, None) when the process is gone; from the child's thread."""


class ChildFailed(SealpostError):
    """An embedded part did not start or did not stop; read the log file named in the message."""


def backoff_s(deaths: int) -> float:
    """Seconds to wait before the restart after the `deaths`-th death in a row (1, 2, …): 0.2, 0.4, … 10."""
    return float(min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(deaths - 1, 16)))


def bound_to_us(
    argv: tuple[str, ...], death_signal: Signals = signal.SIGKILL, user: tuple[int, int] | None = None
) -> list[str]:
    """The command that runs `argv` (as another user if given) and gets `death_signal` when this process dies."""
    uid, gid = user or (KEEP_USER, KEEP_USER)
    numbers = (os.getpid(), death_signal.value, uid, gid)
    return [sys.executable, "-I", "-S", LAUNCHER, *map(str, numbers), *argv]


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `argv[0]` is an absolute path; `environment` replaces the inherited one when given."""

    name: str
    argv: tuple[str, ...]
    log: Path
    """Both output streams are appended here, mode 0600."""
    environment: Mapping[str, str] | None = None
    folder: Path | None = None
    stop_signal: Signals = signal.SIGTERM
    grace_s: float = GRACE_S
    last_signal: Signals = signal.SIGKILL
    """Sent to the process when the grace is over; what does not end by that within KILL_LIMIT_S is killed with its group."""
    death_signal: Signals = signal.SIGKILL
    """Sent by the kernel when the supervisor dies, however it dies."""
    user: tuple[int, int] | None = None
    """(uid, gid) to run as; None keeps ours."""


class Child:
    """One supervised process: started, restarted when it dies, stopped on request; may be started again."""

    def __init__(self, program: Program, changed: Changed) -> None:
        self.program = program
        self.deaths = 0
        """Ends that nobody asked for, since it was made."""
        self.last_code: int | None = None
        """Return code of the last such end; negative = the signal that killed it."""
        self._changed = changed
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """Process id, or None while it is not running."""
        with self._lock:
            return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process and keep it running; nothing happens when it is already looked after."""
        if self._thread and self._thread.is_alive():
            return
        self._stopping.clear()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._keep, args=(started,), name=f"keep {self.program.name}", daemon=True
        )
        self._thread.start()
        started.wait()

    def send(self, wanted: Signals) -> bool:
        """Signal the process, if it runs; False when there is none."""
        with self._lock:
            if self._process is None:
                return False
            os.kill(self._process.pid, wanted)
            return True

    def stop(self) -> None:
        """End the process: stop signal, after its grace the last signal, then SIGKILL for its group; ChildFailed if even that
        fails."""
        self._stopping.set()
        thread = self._thread
        if thread is None:
            return
        self.send(signal.SIGCONT)  # a frozen process takes no other signal than SIGKILL
        self.send(self.program.stop_signal)
        thread.join(self.program.grace_s)
        if thread.is_alive() and self.program.last_signal != signal.SIGKILL:
            self.send(self.program.last_signal)
            thread.join(KILL_LIMIT_S)
        if thread.is_alive():
            self._kill_group()
            thread.join(KILL_LIMIT_S)
        if thread.is_alive():
            raise ChildFailed(f"{self.program.name} (process {self.pid}) cannot be ended")

    def await_ready(self, answers: Callable[[], bool], limit_s: float) -> None:
        """Wait until `answers()`; ChildFailed with the end of its log after the limit or when it has died again and again.

        A few deaths are borne: the port or the lock of a part that was killed may be free a moment later only.
        """
        name, log = self.program.name, self.program.log
        began, deaths_borne = boot_s(), self.deaths + DEATHS_BORNE
        end = began + limit_s
        while not answers():
            if self.deaths > deaths_borne and boot_s() > began + BORNE_S:
                raise ChildFailed(
                    f"{name} ends as soon as it starts (code {self.last_code}); {log}:\n{self.log_tail()}"
                )
            if boot_s() > end:
                raise ChildFailed(f"{name} did not answer within {limit_s:g} s; {log}:\n{self.log_tail()}")
            sleep_s(POLL_S)

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of the log, for the words of an error."""
        try:
            text = self.program.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _keep(self, started: threading.Event) -> None:
        deaths_in_a_row = 0
        while not self._stopping.is_set():
            since = boot_s()
            process = self._spawn()
            started.set()
            self._changed(self.program.name, process.pid)
            if self._stopping.is_set():  # stop() came before there was anything to signal
                self.send(self.program.stop_signal)
            code = self._await_end(process)
            self._changed(self.program.name, None)
            if self._stopping.is_set():
                return
            self.deaths, self.last_code = self.deaths + 1, code
            deaths_in_a_row = 1 if boot_s() - since >= STABLE_S else deaths_in_a_row + 1
            self._stopping.wait(backoff_s(deaths_in_a_row))

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = self.program
        argv = bound_to_us(program.argv, program.death_signal, program.user)
        program.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if program.environment is None else dict(program.environment),
                cwd=program.folder,
                process_group=0,  # Ctrl-C in the terminal is ours; the children are stopped in order
            )
        finally:
            os.close(log)
        with self._lock:
            self._process = process
        return process

    def _await_end(self, process: subprocess.Popen[bytes]) -> int:
        # Waiting without reaping keeps the process id ours until the lock is held, so that send() can never hit a stranger.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._kill_left_behind(process.pid)
            self._process = None
            return process.wait()

    def _kill_group(self) -> None:
        with self._lock:
            if self._process is not None:
                os.killpg(self._process.pid, signal.SIGKILL)

    @staticmethod
    def _kill_left_behind(group: int) -> None:
        """End what a dead child started itself; its group id is still ours, because the child is not reaped yet."""
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # nobody left, or (macOS) only the zombie


class Supervisor:
    """The children of this process, by name."""

    def __init__(self, changed: Changed | None = None) -> None:
        self._changed = changed or (lambda _name, _pid: None)
        self._children: dict[str, Child] = {}
        self._lock = threading.Lock()
        self._stopped = False

    def start(self, program: Program) -> Child:
        """Start a program and keep it running; ChildFailed when the name is taken or the supervisor was stopped."""
        child = Child(program, self._changed)
        with self._lock:
            if self._stopped:
                raise ChildFailed(f"{program.name} is not started: everything is being stopped")
            if program.name in self._children:
                raise ChildFailed(f"{program.name} is running already")
            self._children[program.name] = child
        child.start()
        return child

    def child(self, name: str) -> Child:
        """The child of a name; KeyError when there is none."""
        return self._children[name]

    def running(self) -> dict[str, int]:
        """Process ids of the children that are up."""
        pids = {name: child.pid for name, child in list(self._children.items())}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def stop(self, names: Iterable[str] | None = None) -> None:
        """Stop the named children at the same time; without names all of them, for good. ChildFailed if one stays."""
        with self._lock:
            self._stopped = self._stopped or names is None
            wanted = (
                list(self._children) if names is None else [name for name in names if name in self._children]
            )
            children = [self._children.pop(name) for name in wanted]
        if not children:
            return
        with ThreadPoolExecutor(len(children)) as pool:
            ends = [pool.submit(child.stop) for child in children]
        for end in ends:
            end.result()
