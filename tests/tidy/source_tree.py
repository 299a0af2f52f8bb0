"""The repository as the tidy test sees it: files, their syntax trees, their comments, who imports whom."""

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "vault", "streams", "workers", "projections", "deploy", "sealpost")


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file."""

    path: str
    """Relative to the repository, with slashes."""
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """Top folder."""
        return self.path.split("/", 1)[0]

    @property
    def module(self) -> str:
        """Dotted name under which it is imported."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def nodes(self) -> Iterator[ast.AST]:
        """All nodes of the tree."""
        return ast.walk(self.tree)

    def comments(self) -> Iterator[tuple[int, str]]:
        """(line, text) of every comment; strings that look like one are none."""
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string

    def strings(self) -> Iterator[tuple[int, str]]:
        """(line, value) of every string literal."""
        for node in self.nodes():
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, dotted name) of everything imported; `from a import b` names both `a` and `a.b`."""
        for node in self.nodes():
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.lineno, node.module
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)

    def at(self, line: int, words: str) -> str:
        """A finding: `path:line: words`."""
        return f"{self.path}:{line}: {words}"


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """The Python files below some top folders."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            found.append(Source(path.relative_to(ROOT).as_posix(), text, ast.parse(text)))
    return tuple(found)


def product() -> tuple[Source, ...]:
    """What is shipped."""
    return sources(*PACKAGES)


def everything() -> tuple[Source, ...]:
    """What is shipped, and the tests."""
    return sources(*PACKAGES, "tests")


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or an attribute of names; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""
