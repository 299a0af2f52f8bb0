"""Errors that should not happen: whose they are, and where they were raised."""

from traceback import walk_tb

import psycopg

from vault.errors import KeyRefused


def is_vaults(error: BaseException) -> bool:
    """True when the vault is at fault, not the message: another try may succeed once it is repaired, and nothing may be
    ended for it. What a statement says about the data it was given is the message's."""
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return False
    return isinstance(error, psycopg.Error | KeyRefused)


def where(error: BaseException) -> str:
    """Kind of an error and where it was raised; never its text, which may quote a person."""
    name = type(error).__name__
    for frame, line in walk_tb(error.__traceback__):
        name = f"{type(error).__name__} at {frame.f_globals.get('__name__', '?')}:{line}"
    return name
