"""CPython set for processes that handle events in batches: its collector of reference cycles."""

import gc

YOUNG = 50_000
"""Containers made and not freed before the youngest are looked at. A batch of a thousand events keeps some twenty thousand until
it is done; with Python's 700 the collector walks through them thirty times a batch and finds nothing, for a sixth of the time."""
MIDDLE, OLD = 20, 50
"""How many times rarer the older ones are looked at; among them are the leased keys, up to a hundred thousand."""


def set_for_batches() -> None:
    """For this process, from now on."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)
