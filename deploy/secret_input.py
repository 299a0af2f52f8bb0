"""Secrets come from a file, standard input or a prompt, never from the command line: others see it, and shells remember it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import typer

from schemas.errors import SealpostError

LARGEST_BYTES = 64 * 1024
STANDARD_INPUT = "-"


class SecretsUnreadable(SealpostError):
    """The secrets cannot be taken as they were given. Give a JSON object of texts, as {"app_secret": "…"}: `--secrets FILE`, or
    `--secrets -` for standard input; or leave it out at a terminal, and each is asked for."""


def read_secrets(source: str | None, needed: Sequence[str], optional: Sequence[str] = ()) -> dict[str, str]:
    """The secrets of these names. `source`: a file, `-`, or None to ask for each. Optional ones that are not given are left out.
    SecretsUnreadable names what is wrong, never what was read."""
    if source is None:
        return _asked(needed, optional)
    found = _object(source)
    strange = sorted(set(found) - {*needed, *optional})
    if strange:
        raise SecretsUnreadable(f"not known: {', '.join(one[:40] for one in strange)}")
    given = {name: _text(name, value) for name, value in found.items()}
    missing = [name for name in needed if not given.get(name)]
    if missing:
        raise SecretsUnreadable(f"missing: {', '.join(missing)}")
    return {name: value for name, value in given.items() if value}


def _asked(needed: Sequence[str], optional: Sequence[str]) -> dict[str, str]:
    if not sys.stdin.isatty():
        raise SecretsUnreadable("this is no terminal to ask at")
    given = {name: str(typer.prompt(name, hide_input=True)).strip() for name in needed}
    for name in optional:
        given[name] = str(
            typer.prompt(f"{name} (may be empty)", default="", hide_input=True, show_default=False)
        ).strip()
    return {name: value for name, value in given.items() if value}


def _object(source: str) -> dict[str, Any]:
    try:
        if source == STANDARD_INPUT:
            raw = sys.stdin.buffer.read(LARGEST_BYTES)
        else:
            with Path(source).open("rb") as file:
                raw = file.read(LARGEST_BYTES)
        found = orjson.loads(raw)
    except OSError as error:
        raise SecretsUnreadable(f"the file cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError:
        raise SecretsUnreadable("this is no JSON") from None
    if not isinstance(found, dict):
        raise SecretsUnreadable("this is no JSON object")
    return found


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise SecretsUnreadable(f"{name} is no text of one line")
    return value.strip()
