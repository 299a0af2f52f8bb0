"""The habits of this code base (DESIGN §4), held by a test: what ruff, mypy and import-linter do not know.

A finding is corrected, not excused. EXCUSED exists for the day on which a rule is tightened; it may only shrink.
"""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator

from schemas.metrics import CATALOGUE
from tests.tidy.source_tree import PACKAGES, ROOT, Source, dotted, everything, product, sources

FUNCTION_MAX_LINES = 70
FILE_MAX_LINES = 500
EXCUSED: frozenset[str] = frozenset()
"""Paths of files in which findings are borne for now."""

CLOCK_AND_CHANCE = ("schemas/clock.py", "schemas/ids.py")
"""The only files that read a clock or draw a random number; everywhere else a test could not fix them."""
FORBIDDEN_MODULES = {"time", "random", "secrets", "uuid"}
FORBIDDEN_CALLS = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "date.today",
    "datetime.date.today",
    "os.urandom",
    "os.getrandom",
}
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}
CHANNEL_FILES = {
    "__init__.py",
    "README.md",
    "channel.py",
    "errors.py",
    "receive.py",
    "send.py",
    "simulator.py",
    "wire.py",
}
MORE_CHANNEL_FILES = {"facts.py", "news.py", "simulated_sends.py"}
"""What a channel has beside them where one of them would be longer than a file may be: the flat reading for the command line,
what webhooks say that is neither message nor status, and how the simulator reads a request to send."""
IGNORES = {
    "type: ignore": re.compile(r"type: ignore\[[a-z-]+(, ?[a-z-]+)*\]\s*(#|-|–|—)?\s*\w+"),
    "noqa": re.compile(r"noqa: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*\s*(#|-|–|—)\s*\w+"),
    "pragma: no cover": re.compile(r"pragma: no cover\s*(#|-|–|—)\s*\w+"),
}
OPEN_WORK = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\(docs/[\w/.-]+\.md\))")
SKIPS = {"skip", "skipif", "xfail"}
SKIP_MARKS = {f"pytest.mark.{name}" for name in SKIPS}
METRIC = re.compile(r"sealpost_[a-z0-9_]+")
FINDINGS = 35
"""Findings of the review that the design answers, numbered from 1."""
METRIC_KINDS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}


def none(findings: Iterable[str]) -> None:
    """Fail with all findings that are not excused."""
    left = [finding for finding in findings if finding.split(":", 1)[0] not in EXCUSED]
    assert not left, "\n" + "\n".join(left)


def test_functions_are_short() -> None:
    """A function fits on a screen."""

    def findings() -> Iterator[str]:
        for source in everything():
            for node in source.nodes():
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    if lines > FUNCTION_MAX_LINES:
                        yield source.at(
                            node.lineno, f"{node.name} has {lines} lines, {FUNCTION_MAX_LINES} at most"
                        )

    none(findings())


def test_files_are_short() -> None:
    """A file is one subject."""
    counted = ((source, len(source.text.splitlines())) for source in everything())
    none(
        source.at(1, f"{lines} lines, {FILE_MAX_LINES} at most")
        for source, lines in counted
        if lines > FILE_MAX_LINES
    )


def test_clock_and_randomness_have_one_source() -> None:
    """Times and random values come from schemas.clock and schemas.ids, so that a test can fix them."""

    def findings() -> Iterator[str]:
        for source in product():
            if source.path in CLOCK_AND_CHANCE:
                continue
            for line, name in source.imports():
                if name.split(".")[0] in FORBIDDEN_MODULES:
                    yield source.at(line, f"imports {name}; use schemas.clock or schemas.ids")
            for node in source.nodes():
                if isinstance(node, ast.Attribute) and dotted(node) in FORBIDDEN_CALLS:
                    yield source.at(node.lineno, f"{dotted(node)}; use schemas.clock or schemas.ids")

    none(findings())


def test_tests_draw_only_from_a_seed() -> None:
    """A fault that a test made can be made again: random.Random(seed), never the module's own generator."""

    def findings() -> Iterator[str]:
        for source in sources("tests"):
            for node in source.nodes():
                name = dotted(node)
                if name.startswith("random.") and name.count(".") == 1 and name != "random.Random":
                    yield source.at(getattr(node, "lineno", 0), f"{name}; use random.Random(seed)")

    none(findings())


def test_no_error_is_swallowed() -> None:
    """No bare except, and no `except Exception` that does nothing."""

    def findings() -> Iterator[str]:
        for source in everything():
            for node in source.nodes():
                if not isinstance(node, ast.ExceptHandler):
                    continue
                if node.type is None:
                    yield source.at(node.lineno, "bare except")
                elif dotted(node.type) in ("Exception", "BaseException") and all(
                    map(_does_nothing, node.body)
                ):
                    yield source.at(node.lineno, "swallows every error")

    none(findings())


def test_only_deploy_prints() -> None:
    """Libraries and roles log; the command line talks."""
    none(
        source.at(node.lineno, "print")
        for source in product()
        if source.package != "deploy"
        for node in source.nodes()
        if isinstance(node, ast.Call) and dotted(node.func) == "print"
    )


def test_every_ignore_has_code_and_reason() -> None:
    """`# type: ignore[code] - reason`, `# noqa: CODE - reason`."""
    none(
        source.at(line, f"{comment!r} lacks its code or its reason")
        for source in everything()
        for line, comment in source.comments()
        for kind, whole in IGNORES.items()
        if kind in comment and not whole.search(comment)
    )


def test_open_work_has_a_page() -> None:
    """What is left open is written down under docs/, and the comment names the page: TODO(docs/….md)."""
    none(
        source.at(line, comment)
        for source in everything()
        for line, comment in source.comments()
        if OPEN_WORK.search(comment)
    )


def test_every_file_is_used() -> None:
    """A file in a package has an importer, or is an entry point."""
    imported = {name for source in product() for _line, name in source.imports()}
    named = {value.split(":")[0] for source in product() for _line, value in source.strings()}
    used = imported | named | _entry_points()
    none(
        source.at(1, "nothing imports it")
        for source in product()
        if source.package != "sealpost"  # its importers are other people's programs
        and not source.path.endswith("__init__.py")
        and source.module not in used
        and not _is_program(source)
    )


def test_names_say_what_is_inside() -> None:
    """No module is called utils, helpers or manager."""
    none(
        source.at(1, "a name that could hold anything")
        for source in everything()
        if EMPTY_NAMES & set(source.module.split("."))
    )


def test_skipped_tests_say_why() -> None:
    """pytest's skip, skipif and xfail carry a reason."""

    def findings() -> Iterator[str]:
        for source in sources("tests"):
            called = {id(node.func) for node in source.nodes() if isinstance(node, ast.Call)}
            for node in source.nodes():
                if isinstance(node, ast.Call) and last_name(node.func) in SKIPS:
                    positional = node.args if last_name(node.func) == "skip" else []
                    said = [*positional, *(word.value for word in node.keywords if word.arg == "reason")]
                    if not any(_says(one) for one in said):
                        yield source.at(node.lineno, "no reason")
                elif (
                    isinstance(node, ast.Attribute) and dotted(node) in SKIP_MARKS and id(node) not in called
                ):
                    yield source.at(node.lineno, "no reason")

    none(findings())


def test_every_finding_of_the_review_has_its_test_or_a_reason() -> None:
    """`pytest.mark.finding(n)` on a test, or a row of the first table of docs/decisions/080."""
    named = {
        argument.value
        for source in everything()
        for node in source.nodes()
        if isinstance(node, ast.Call) and dotted(node.func) == "pytest.mark.finding"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }
    page = (ROOT / "docs/decisions/080-findings-of-the-review.md").read_text().split("Closed in part")[0]
    reasons = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert named | reasons == set(range(1, FINDINGS + 1))
    assert not named & reasons, "a finding with a test needs no reason"


def test_no_fault_test_is_skipped() -> None:
    """What can go wrong is made to go wrong on every machine: a fault that cannot be made is a failure, not a gap."""
    none(
        source.at(node.lineno, f"{last_name(node)} in a fault test")
        for source in sources("tests/faults")
        for node in source.nodes()
        if isinstance(node, ast.Name | ast.Attribute) and last_name(node) in {*SKIPS, "importorskip"}
    )


def test_channels_look_alike() -> None:
    """Every channel folder has the files of DESIGN §4, so that who knows one knows all."""
    folders = (
        path for path in (ROOT / "workers/channels").iterdir() if path.is_dir() and path.name != "__pycache__"
    )
    found = {path.name: {file.name for file in path.iterdir()} - {"__pycache__"} for path in folders}
    assert found, "there is no channel"
    strange = {name: (files - MORE_CHANNEL_FILES) ^ CHANNEL_FILES for name, files in found.items()}
    assert {name: files for name, files in strange.items() if files} == {}


def test_every_metric_is_in_the_catalogue() -> None:
    """Names of metrics are an interface: they stand in schemas/metrics.py, and only there metrics are made."""
    known = {metric.name for metric in CATALOGUE}

    def findings() -> Iterator[str]:
        for source in product():
            if source.path == "schemas/metrics.py":
                continue
            for line, value in source.strings():
                if METRIC.fullmatch(value) and value not in known:
                    yield source.at(line, f"{value} is not in the catalogue")
            for node in source.nodes():
                if (
                    isinstance(node, ast.Call)
                    and last_name(node.func) in METRIC_KINDS
                    and _names_prometheus(source)
                ):
                    yield source.at(node.lineno, "metrics are made in schemas/metrics.py")

    none(findings())


def test_lock_file_names_no_address() -> None:
    """Where packages come from is the machine's business; that they are the right ones is the hashes'."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    addresses = [line for line in lines if "://" in line or line.startswith("-")]
    assert addresses == []
    unpinned = [line for line in lines if re.match(r"\w", line) and not re.search(r"==\S+( ;.*)? \\$", line)]
    assert unpinned == []


def test_every_top_folder_introduces_itself() -> None:
    """A reader finds a README.md wherever they enter."""
    assert [name for name in (*PACKAGES, "tests", "docs") if not (ROOT / name / "README.md").exists()] == []


def test_excuses_are_needed() -> None:
    """The list of exceptions only shrinks: an excused file still exists."""
    assert [path for path in EXCUSED if not (ROOT / path).exists()] == []


def last_name(node: ast.AST) -> str:
    """`skip` of `pytest.mark.skip`."""
    return dotted(node).rsplit(".", 1)[-1]


def _names_prometheus(source: Source) -> bool:
    return any(name.startswith("prometheus_client") for _line, name in source.imports())


def _says(node: ast.expr) -> bool:
    """A text, or the name of one."""
    return isinstance(node, ast.JoinedStr | ast.Name | ast.Attribute) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(node.value)
    )


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass | ast.Continue)


def _entry_points() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project.get("scripts", {}), *project.get("entry-points", {}).values()]
    return {target.split(":")[0] for group in groups for target in group.values()}


def _is_program(source: Source) -> bool:
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in source.tree.body)
