"""Every command of docs/claims.md, in its order, on a running instance: it prints what stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance_instance import RunningInstance

CLAIMS = Path(__file__).parents[2] / "docs" / "claims.md"
CLAIM = re.compile(
    r"^## (?P<claim>.+?)\n.*?```sh\n(?P<command>.+?)```\n```text\n(?P<shown>.*?)```", re.MULTILINE | re.DOTALL
)
ANYTHING = "…"


def claims() -> list[tuple[str, str, str]]:
    """(promise, command, what it prints), in order."""
    text = CLAIMS.read_text()
    found = [(one["claim"], one["command"], one["shown"]) for one in CLAIM.finditer(text)]
    assert len(found) == text.count("\n## "), "a promise without a command"
    return found


def matches(shown: str, expected: str) -> bool:
    """Line by line; `…` stands for anything, a line of nothing else for any lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line == ANYTHING + "\n" else ".*".join(map(re.escape, line.split(ANYTHING)))
        for line in expected.splitlines(keepends=True)
    )
    return re.fullmatch(pattern, shown) is not None


def test_every_claim_is_shown_by_its_command(instance: RunningInstance) -> None:
    number = instance.new_number()
    subject, sent, refused = instance.left_after_a_newsletter(number)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATA": str(instance.data),
        "NUMBER": number,
        "SUBJECT": subject,
        "SENT": sent,
        "REFUSED": refused,
    }
    wrong = []
    for claim, command, expected in claims():
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if not matches(done.stdout, expected):
            wrong.append(f"{claim}\n{command}printed:\n{done.stdout}{done.stderr}")
    assert not wrong, "\n".join(wrong)


def test_a_claim_that_is_not_shown_is_found() -> None:
    """The comparison can fail."""
    assert matches("a 1 b\nc\n", "a … b\nc\n")
    assert matches("a\nb\nc\n", "a\n…\n")
    assert not matches("a 1 c\n", "a … b\n")
    assert not matches("a\nb\n", "a\n")
    assert not matches("", "0\n")
