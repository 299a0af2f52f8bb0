"""`make venv`: a virtual environment that holds exactly what requirements.lock names, each file checked against its hash.

Runs before anything is installed, so it uses the standard library alone. When nothing has changed since the last time it
returns at once and touches no network. Prints its first line at once, and one at least every 5 s.
"""

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".prepared"
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
SILENCE_MAX_S = 3.0
SHOWN_LINES = 25
"""Of pip's output, when it fails."""


def main() -> int:
    """Prepare if need be; 0, or 1 after words that say what failed."""
    wanted = fingerprint()
    if is_prepared(wanted):
        return 0
    if VENV.is_symlink():
        print(
            ".venv is a link: what it leads to would be emptied. Remove the link; then run this again.",
            file=sys.stderr,
        )
        return 1
    print(
        f"Sealpost: preparing .venv with Python {sys.version.split()[0]} (once, and when the lock changes)",
        flush=True,
    )
    STAMP.unlink(missing_ok=True)
    python = VENV / "bin" / "python"
    if not works(python) and not step("making .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)]):
        print("The module venv is missing? On Debian and Ubuntu: apt install python3-venv", file=sys.stderr)
        return 1
    pip = [
        str(python),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    fetched = step("fetching and installing packages", [*pip, "--require-hashes", "-r", str(LOCK)])
    if not fetched:
        print(
            "The first start needs a network (pip's own settings for proxies and indexes apply).",
            file=sys.stderr,
        )
        return 1
    ours = ["--no-index", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    if not step("installing Sealpost itself", [*pip, *ours]):
        return 1
    STAMP.write_text(wanted)
    return 0


def fingerprint() -> str:
    """What a prepared environment depends on: the lock, the project's settings, the interpreter, and where it lies."""
    digest = hashlib.sha256()
    for part in (LOCK.read_bytes(), PROJECT.read_bytes(), sys.version.encode(), str(ROOT).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def is_prepared(wanted: str) -> bool:
    """Whether the environment was made for just this."""
    try:
        return STAMP.read_text() == wanted and (VENV / "bin" / "python").exists()
    except OSError:
        return False


def works(python: Path) -> bool:
    """Whether the environment's interpreter is of our version, has pip, and lies where it was made; else it is made anew.

    Programs in an environment begin with the path of its interpreter: in a folder that was moved none of them starts.
    """
    ask = "import sys, pip; print(sys.version)"
    try:
        answer = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=False)
        program = (python.parent / "pip").read_text(errors="replace")
    except OSError:
        return False
    return (
        answer.returncode == 0
        and answer.stdout.strip() == sys.version.strip()
        and str(python.parent) in program
    )


def step(what: str, argv: list[str]) -> bool:
    """Run a command, with a line about it at least every few seconds; shows the end of its output when it fails."""
    print(f"  {what} ...", flush=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    output: list[str] = []
    ended = threading.Event()
    teller = threading.Thread(target=tell, args=(output, ended), daemon=True)
    teller.start()
    try:
        for line in process.stdout or ():
            output.append(line.rstrip())  # noqa: PERF401 - the other thread reads it meanwhile
        code = process.wait()
    finally:
        ended.set()
        process.terminate()
        process.wait()
    if code:
        print("\n".join(output[-SHOWN_LINES:]), file=sys.stderr)
        print(f"{what} failed ({code})", file=sys.stderr)
    return code == 0


def tell(output: list[str], ended: threading.Event) -> None:
    """Say every few seconds how far it is."""
    rounds = 0
    while not ended.wait(SILENCE_MAX_S):
        rounds += 1
        collected = sum(line.startswith("Collecting ") for line in output)
        doing = output[-1].split(" (")[0].strip()[:80] if output else ""
        if doing.startswith("Installing collected packages"):
            doing = "unpacking them"
        print(f"  ... {collected} packages, {rounds * SILENCE_MAX_S:.0f} s: {doing}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
