"""Pages whose commands run: a preparation, then `### promise` with one command and what it prints, grouped by `## ` headings."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance_instance import RunningInstance

ROOT = Path(__file__).parents[1]
ANYTHING = "…"
COMMAND_LIMIT_S = 400
SHOWN = re.compile(r"```sh\n(?P<command>.+?)```\n+```text\n(?P<printed>.*?)```", re.DOTALL)
HEADING = re.compile(r"^(?P<marks>##+) (?P<title>.+)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Claim:
    """A promise, the command that shows it, and what the command prints."""

    promise: str
    command: str
    printed: str


@dataclass(frozen=True, slots=True)
class Page:
    """What a reader types first, and the claims in their order."""

    preparation: str
    claims: tuple[Claim, ...]
    faults: tuple[str, ...]
    """Headings that promise something and do not show it, or show it twice."""


def sections(text: str) -> list[tuple[str, str, str]]:
    """(marks, title, body) of every heading; a `#` within a block is no heading."""
    blank = FENCED.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
    found = list(HEADING.finditer(blank))
    ends = [heading.start() for heading in found[1:]] + [len(text)]
    return [
        (heading["marks"], heading["title"], text[heading.end() : end])
        for heading, end in zip(found, ends, strict=True)
    ]


def read_page(text: str) -> Page:
    """A page as a whole."""
    first = HEADING.search(FENCED.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text))
    head = text[: first.start()] if first else text
    blocks = re.findall(r"```sh\n(.+?)```", head, re.DOTALL)
    claims, faults, parts = [], [], sections(text)
    for number, (marks, title, body) in enumerate(parts):
        shown = list(SHOWN.finditer(body))
        if marks == "###" and len(shown) == 1 and set(shown[0]["printed"].split()) == {ANYTHING}:
            faults.append(f"{title}: whatever is printed is right")
        elif marks == "###" and len(shown) == 1 and body.count("```") == 4:
            claims.append(Claim(title, shown[0]["command"], shown[0]["printed"]))
        elif marks == "###":
            faults.append(f"{title}: not one command and what it prints")
        elif "```" in body:
            faults.append(f"{title}: a command that shows no promise")
        elif number + 1 == len(parts) or parts[number + 1][0] == marks:
            faults.append(f"{title}: a group without promises")
    return Page("".join(blocks), tuple(claims), tuple(faults))


def section(text: str, title: str) -> str:
    """What stands under one `## ` heading of a page, with the headings below it."""
    start = text.index(f"\n## {title}\n") + len(f"\n## {title}\n")
    end = text.find("\n## ", start)
    return text[start:] if end < 0 else text[start:end]


def matches(printed: str, expected: str) -> bool:
    """Line by line; `…` stands for anything, a line of nothing else for any lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line == ANYTHING + "\n" else ".*".join(map(re.escape, line.split(ANYTHING)))
        for line in expected.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, printed) is not None


class Shell:
    """A reader's terminal in a checkout whose `.sealpost` is the instance: each command in a shell of its own that knows what was
    prepared."""

    def __init__(self, folder: Path, instance: RunningInstance) -> None:
        folder.mkdir()
        for name in ROOT.iterdir():
            if name.name not in (".git", ".sealpost"):
                (folder / name.name).symlink_to(name)
        (folder / ".sealpost").symlink_to(instance.data)
        (instance.data / "ready.json").symlink_to(instance.ready_file)
        self.instance = instance
        self._folder = folder
        self._known = folder.parent / f"{folder.name}.known"

    def prepare(self, commands: str) -> None:
        """Run the preparation; later commands know its variables and functions."""
        done = self._bash(f"set -e\n{commands}\nset +e\n{{ declare -px; declare -f; }} > '{self._known}'")
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, command: str) -> tuple[str, str]:
        """What a command prints, and what it complains of."""
        done = self._bash(f". '{self._known}'\n{command}")
        return done.stdout, done.stderr

    def _bash(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=self._folder,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )


def wrongly_shown(shell: Shell, claim: Claim) -> str:
    """Empty when the command prints what stands on the page, else what it printed."""
    printed, complaints = shell.run(claim.command)
    if matches(printed, claim.printed):
        return ""
    return f"{claim.promise}\n{claim.command}printed:\n{printed}{complaints}"
