"""`python -m tests.bench NAME [--rounds N]`: measure, print a table, append to results.csv.

A bench is a module of this folder with `run(rounds: int)`.
"""

import argparse
import importlib
from pathlib import Path

OURS = ("__init__", "__main__", "report")
NAMES = sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in OURS)
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("name", nargs="?", default="step", choices=NAMES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    importlib.import_module(f"tests.bench.{arguments.name}").run(arguments.rounds)


if __name__ == "__main__":
    main()
