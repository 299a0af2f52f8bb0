"""A channel in a package of its own, as ADDING_CHANNELS.md shows it: installed through its entry points, held by the kit."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "example_channel"
LINES_MAX = 150
LIMIT_S = 500
BATCH, SENT = "every_fragment_of_a_batch", "each_kind_is_sent_or_refused[text]"
CHANNEL, SIMULATOR, TESTS = "letterbox/__init__.py", "letterbox/simulator.py", "test_letterbox.py"
BREAKS = {
    "swallows a fragment": (CHANNEL, 'for event in found["events"]]\n', 'for event in found["events"][:1]]\n', BATCH),
    "drops what it does not know": (
        CHANNEL, 'return [sp.InboundUnsupported("", "other", "other", None, raw)]', "return []", "unknown_event",
    ),
    "lets an event's name become a label": (
        CHANNEL, '"other", "other", None, raw', '"other", str(raw.get("type")), None, raw', "unknown_event",
    ),
    "raises something else": (CHANNEL, "sp.load_body(body)", "orjson.loads(body)", "any_bytes"),
    "logs a secret": (
        CHANNEL, "        headers = {", "        __import__('logging').info('%s', account.access_token)\n        headers = {",
        SENT,
    ),
    "prints what is said": (
        CHANNEL, "        headers = {", "        print(content.text)\n        headers = {", SENT,
    ),
    "routes by an address": (CHANNEL, 'sp.Fragment("", str(', 'sp.Fragment(str(event.get("from", "")), str(', BATCH),
    "takes every signature": (CHANNEL, "if genuine else", "if given or genuine else", "bad_signature"),
    "calls another machine": (CHANNEL, "{account.api_base_url}/mails", "http://192.0.2.1/mails", SENT),
    "cuts in silence": (CHANNEL, " or len(content.text) > TEXT_MAX", "", "text_over_the_limit"),
    "drops what it cannot show": (CHANNEL, " or content.in_reply_to", "", "a_reply_is_sent_or_refused"),
    "takes a page for a success": (
        CHANNEL, 'response, sp.json_object(response.body).get("id")', 'response, "id"', "answer_that_is_no_json",
    ),
    "does not know an opt-out": (CHANNEL, "no_more_mail", "no_mail", "known_opt_out_code"),
    "forgets what an opt-out ends": (CHANNEL, "None, opted_out=True)", "None)", "known_opt_out_code"),
    "does not know who cannot be reached": (CHANNEL, "box_is_gone", "box_was_gone", "unreachable_person"),
    "takes every failure for the end": (CHANNEL, "None, message_only=True)", "None)", "failure_of_this_message_only"),
    "loses a link's token": (CHANNEL, "?text={token}", "?text=", "chat_link_round_trip"),
    "has a simulator without limits": (SIMULATOR, 'len(asked["text"]) > TEXT_MAX', "False", "renderer_and_simulator_agree"),
    "gives a reason that is none": (
        CHANNEL, 'skipped_cases = {"handshake"', 'skipped_cases = {"unknown_code": "it has no codes", "handshake"',
        "unknown_code",
    ),
    "is excused from what always holds": (
        CHANNEL, 'skipped_cases = {"handshake"', 'skipped_cases = {"any_bytes": "it is very fragile", "handshake"',
        "reasons_for_skipped_cases",
    ),
}  # fmt: skip
"""What is wrong with it → the file, what stands in it, what is put there instead, and the case that must fail."""


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder, with what lies in its `site` to be imported beside Sealpost."""
    path = os.pathsep.join((str(folder / "site"), str(ROOT)))
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip


def kit(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """The kit, in tests of that folder."""
    return python(
        folder, "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", "-p", "no:xdist", *tests
    )


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed with pip from its own folder and from nowhere else, and its tests."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    wanted = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--no-compile",
    ]
    done = python(
        folder, "-m", "pip", "install", *wanted, "--target", str(folder / "site"), str(folder / "source")
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    shutil.copy(EXAMPLE / TESTS, folder)
    return folder


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Which cases fail for broken copies of the example, as `<number of the break>/<case>`."""
    folder = tmp_path_factory.mktemp("broken")
    wanted = []
    for number, (file, old, new, case) in enumerate(BREAKS.values()):
        package = f"letterbox_{number}"
        for path in (CHANNEL, SIMULATOR, TESTS):
            text = (EXAMPLE / path).read_text()
            if path == file:
                assert text.count(old) == 1, "the example is not as it was when this break was written"
                text = text.replace(old, new)
            text = text.replace("from letterbox", f"from {package}")
            target = (
                folder / f"test_{number}.py" if path == TESTS else folder / "site" / package / Path(path).name
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        wanted.append(f"test_{number}.py::TestConformance::test_{case}")
    done = kit(folder, *wanted)
    assert done.returncode == 1, done.stdout[-4_000:] + done.stderr[-4_000:]
    return set(
        re.findall(
            r"^(?:FAILED|ERROR) test_([0-9]+\.py::TestConformance::test_\S+)", done.stdout, re.MULTILINE
        )
    )


def test_the_example_is_short() -> None:
    """All of it, with its project file and its tests."""
    files = [path for path in EXAMPLE.rglob("*") if path.suffix in {".py", ".toml"}]
    assert sum(len(path.read_text().splitlines()) for path in files) < LINES_MAX


def test_the_example_passes_the_kit(example: Path) -> None:
    """Every case, but the one it gives a reason for."""
    done = kit(example, TESTS)
    assert done.returncode == 0, done.stdout[-4_000:]
    assert "1 xfailed" in done.stdout
    assert "skipped" not in done.stdout


def test_the_example_is_found_by_its_entry_points(example: Path) -> None:
    """As every channel is: the command line reads its webhooks."""
    (example / "webhook.json").write_text(
        '{"events": [{"type": "mail", "id": "a", "from": "box-471100", "text": "Hallo"}]}'
    )
    done = python(example, "-m", "deploy.cli", "parse", "letterbox", "webhook.json")
    assert done.returncode == 0, done.stderr[-4_000:]
    assert '"mail"' in done.stdout


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_channel_fails(failed: set[str], what: str) -> None:
    """Whatever a channel does wrong, the case that is there for it says so."""
    number, case = list(BREAKS).index(what), BREAKS[what][3]
    assert f"{number}.py::TestConformance::test_{case}" in failed
