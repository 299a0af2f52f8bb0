"""States of an erasure, in the order in which one gives way to the next."""

from typing import Literal

State = Literal["requested", "keys_destroyed", "incomplete", "erased", "settled", "refused"]
STATES: tuple[State, ...] = ("requested", "keys_destroyed", "incomplete", "erased", "settled", "refused")
RANK = {state: rank for rank, state in enumerate(STATES)}
