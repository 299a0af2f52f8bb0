"""Every command of docs/claims.md, in its order, on an instance of its own: it prints what stands there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance_instance import running_instance
from tests.acceptance_pages import ROOT, Claim, Shell, matches, read_page, wrongly_shown
from tests.acceptance_quiet import await_still

PAGE = read_page((ROOT / "docs" / "claims.md").read_text())


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A reader's terminal beside `make run`, after the preparation. The commands kill and freeze: nobody else's instance."""
    folder: Path = tmp_path_factory.mktemp("claims")
    with running_instance(folder) as instance:
        terminal = Shell(folder / "checkout", instance)
        terminal.prepare(PAGE.preparation)
        yield terminal


@pytest.mark.parametrize("claim", PAGE.claims, ids=lambda claim: claim.promise)
def test_a_claim_is_shown_by_its_command(shell: Shell, claim: Claim) -> None:
    """What the command prints is what the page says. Before records are counted, what came before has come to its end."""
    if "before=$(records" in claim.command:
        await_still(shell.instance)
    wrong = wrongly_shown(shell, claim)
    assert not wrong, wrong


def test_every_promise_has_its_command() -> None:
    """No promise without a command, no command without a promise, no promise twice; nothing that anything would fulfil."""
    assert PAGE.faults == ()
    promises = [claim.promise for claim in PAGE.claims]
    assert sorted(set(promises)) == sorted(promises)
    assert len(promises) > 50


def test_promises_that_take_longer_name_a_test_that_exists() -> None:
    """Each row of the table names a file of tests, and the run of the whole suite runs it."""
    named = re.findall(
        r"^\| [^|]+ \| `(tests/[\w/]+\.py)` \|$", (ROOT / "docs" / "claims.md").read_text(), re.MULTILINE
    )
    assert len(named) >= 10
    assert not [
        name
        for name in named
        if not re.search(r"^def test_|^Test\w+ = ", (ROOT / name).read_text(), re.MULTILINE)
    ]


def test_a_promise_without_a_command_is_found() -> None:
    """The look at the page can fail."""
    shown = "```sh\ntrue\n```\n```text\nA # is no heading\n```\n"
    whole = read_page(f"# Page\n\n```sh\n# prepare\n```\n\n## Group\n\n### Promise\n\nWords.\n\n{shown}")
    assert whole.preparation == "# prepare\n"
    assert whole.claims == (Claim("Promise", "true\n", "A # is no heading\n"),)
    assert whole.faults == ()
    assert read_page("## Group\n\n### Promise\n\nWords.\n").faults
    assert read_page(f"## Group\n\n### Promise\n\n{shown}\n{shown}").faults
    assert read_page(f"## Promise\n\n{shown}").faults
    assert read_page(f"## Empty\n\n## Group\n\n### Promise\n\n{shown}").faults
    assert read_page("## Group\n\n### Promise\n\n```sh\ntrue\n```\n```text\n…\n```\n").faults


def test_a_claim_that_is_not_shown_is_found() -> None:
    """The comparison can fail."""
    assert matches("a 1 b\nc\n", "a … b\nc\n")
    assert matches("a\nb\nc\n", "a\n…\n")
    assert not matches("a 1 c\n", "a … b\n")
    assert not matches("a\nb\n", "a\n")
    assert not matches("", "0\n")
