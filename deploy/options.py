"""What the commands of several groups take: the data folder, and names."""

import re
from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None, typer.Option("--data", envvar="SEALPOST_DATA", help="Data folder of an embedded instance.")
]
Handle = Annotated[
    str | None,
    typer.Option(
        help="What people see of the account and links are made of: phone number, page name, bot name, business id."
    ),
]


def name(value: str) -> str:
    """A name that may stand in an address; BadParameter when it may not."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value) is None:
        raise typer.BadParameter("letters, digits, dot, underscore and hyphen, at most 63 in all")
    return value
