"""A wall clock for child processes that a test can set while they run; their boot clock goes on as it is.

A small library, compiled when it is needed (`cc`), is preloaded into Kafka, PostgreSQL and the roles alike.
"""

import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from schemas.clock import now_ms

SOURCE = Path(__file__).with_name("wall_clock.c")
NOON_S = 43_200
DAY_S = 86_400
NEAR_S = 60
COMPILE_S = 60


class WallClock:
    """Shared by everything that is started with `environment`."""

    def __init__(self, folder: Path) -> None:
        """Compile; it begins at noon of this UTC day, so that two hours either way stay within it."""
        folder.mkdir(parents=True, exist_ok=True)
        compiler = shutil.which("cc")
        assert compiler is not None, (
            "a C compiler is needed to change the wall clock of a process (package gcc)"
        )
        library = folder / "wall_clock.so"
        argv = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
        subprocess.run(argv, check=True, timeout=COMPILE_S)
        self._file = folder / "wall_clock"
        self._noon_s = NOON_S - now_ms() // 1000 % DAY_S
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(self._file)}
        for readable in (library, folder):
            readable.chmod(0o755)
        self.set_to(0)
        self._file.chmod(0o644)
        self._must_work()

    def set_to(self, seconds: int) -> None:
        """Noon and so many seconds, at once, for everybody."""
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("q", self._noon_s + seconds))

    def _must_work(self) -> None:
        """A process of ours sees another time of day, and waits no longer for it."""
        words = "import time, threading; print(time.time()); threading.Event().wait(0.1); time.sleep(0.1)"
        done = subprocess.run(
            [sys.executable, "-c", words],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=COMPILE_S,
            check=True,
        )
        seen = float(done.stdout) - now_ms() / 1000
        assert abs(seen - self._noon_s) < NEAR_S, f"the wall clock is {seen:.0f} s off, not {self._noon_s}"
