"""Finds channels and their simulators by name, through entry points alone: built-in ones and those of third
parties alike.
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from schemas.addresses import Address
from workers.channel import Channel, UnknownChannel
from workers.simulator import Simulator

CHANNELS_GROUP = "sealpost.channels"
SIMULATORS_GROUP = "sealpost.simulators"


def channel_names() -> tuple[str, ...]:
    """Names of all installed channels, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=CHANNELS_GROUP)}))


@cache
def channel(name: str) -> Channel:
    """The channel of this name; UnknownChannel (with the nearest name) when nothing installed offers it."""
    found = cast("Channel", _load(CHANNELS_GROUP, name))
    if found.name != name:
        raise UnknownChannel(
            f"the entry point {name!r} of {CHANNELS_GROUP} gives a channel that calls itself {found.name!r}"
        )
    return found


def address_reader(name: str) -> Callable[[str], Address | None] | None:
    """How an address of a channel is read; None when there is no such channel."""
    try:
        return channel(name).read_address
    except UnknownChannel:
        return None


@cache
def simulator(name: str) -> Simulator:
    """The simulator of a channel; UnknownChannel when nothing installed offers it."""
    return cast("Simulator", _load(SIMULATORS_GROUP, name))


def _load(group: str, name: str) -> object:
    found = {entry.name: entry for entry in entry_points(group=group)}
    entry: EntryPoint | None = found.get(name)
    if entry is None:
        raise UnknownChannel(_unknown(group, name, sorted(found)))
    return entry.load()


def _unknown(group: str, name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"there is no channel {name!r}; did you mean {near[0]!r}?"
    if not names:
        return f"there is no channel {name!r}: no installed package has an entry point in {group}"
    return f"there is no channel {name!r}; there are: {', '.join(names)}"
