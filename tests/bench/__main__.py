"""`python -m tests.bench [NAME …] [--rounds N]`: measure, print tables, append to results.csv. Without names: everything.

A bench is a module of this folder with `run(rounds: int)`. Each runs in a process of its own, so that none inherits threads and
clients of the one before.
"""

import argparse
import importlib
import subprocess
import sys

from schemas import collector

BENCHES = (
    "step",
    "receiver",
    "inbound",
    "opening",
    "processors",
    "projector",
    "outbound",
    "permits",
    "latency",
    "recovery",
    "memory",
)
"""In the order in which they run."""
ROUNDS = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHES)
    strange = set(names) - set(BENCHES)
    if strange:
        parser.error(f"no bench is called {', '.join(sorted(strange))}; there are {', '.join(BENCHES)}")
    if len(names) == 1:
        print(f"== {names[0]}", flush=True)
        collector.set_for_batches()
        importlib.import_module(f"tests.bench.{names[0]}").run(arguments.rounds)
        return 0
    own = [sys.executable, "-m", "tests.bench", "--rounds", str(arguments.rounds)]
    return max([subprocess.run([*own, name], check=False).returncode for name in names])


if __name__ == "__main__":
    sys.exit(main())
