"""A process of its own that supervises children, so that a test can kill it.

`python -m tests.embedded_host parts DATA` runs Kafka and PostgreSQL, `… programs DATA CODE…` runs each Python code. Prints one
JSON line, `{name: process id}`, when all are up, then waits for SIGTERM.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from deploy.embedded import folder, kafka, ports, postgres
from deploy.embedded.supervisor import Program, Supervisor

ROOT = Path(__file__).resolve().parent.parent


def start_parts(supervisor: Supervisor, data: Path) -> tuple[kafka.Kafka, postgres.Postgres]:
    """Both parts at the same time."""
    chosen = ports.choose(("kafka", "kafka_controller", "postgres"), data)
    with ThreadPoolExecutor(2) as pool:
        log = ignore_progress
        broker = pool.submit(kafka.start, supervisor, data, chosen["kafka"], chosen["kafka_controller"], log)
        server = pool.submit(postgres.start, supervisor, data, chosen["postgres"], log)
    return broker.result(), server.result()


def ignore_progress(_line: str) -> None:
    """For tests in which nobody waits."""


def serve(kind: str, data: Path, codes: list[str]) -> None:
    """Start, tell the process ids, and wait."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    supervisor = Supervisor()
    with folder.held(data):
        if kind == "parts":
            start_parts(supervisor, data)
        for number, code in enumerate(codes):
            program = Program(
                f"program-{number}", (sys.executable, "-c", code), data / "logs" / f"{number}.log"
            )
            supervisor.start(program)
        print(json.dumps(supervisor.running()), flush=True)
        stop.wait()
        supervisor.stop()


@contextmanager
def running_host(
    kind: str, data: Path, *codes: str
) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """A host and the process ids of its children; killed at the end of the block if it still runs."""
    argv = [sys.executable, "-m", "tests.embedded_host", kind, str(data), *codes]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def with_descendants(pids: dict[str, int]) -> list[psutil.Process]:
    """The processes and everything they started."""
    roots = [psutil.Process(pid) for pid in pids.values()]
    return [*roots, *(child for root in roots for child in root.children(recursive=True))]


def may_dump_core(pid: int) -> bool:
    """Whether the kernel would write this process's memory to a file, or could be asked to; not when it is gone."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    (core,) = (line for line in limits if line.startswith("Max core file size"))
    return core.split()[4:6] != ["0", "0"]


def has_ended(process: psutil.Process) -> bool:
    """Gone, or dead and only not yet reaped by whoever inherited it.

    A killed process is a zombie as soon as its first thread has ended; the others hold its sockets and files a little longer.
    """
    try:
        if not process.is_running():
            return True
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True


def is_root() -> bool:
    """Whether these tests run as root."""
    return os.geteuid() == 0


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
