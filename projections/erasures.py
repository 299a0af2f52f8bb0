"""States of an erasure, in the order in which one gives way to the next. A refusal (the vault knew no such subject) is over
once the same erasure succeeds, after a restore for example."""

from typing import Literal

State = Literal["requested", "keys_destroyed", "incomplete", "erased", "settled", "refused"]
STATES: tuple[State, ...] = ("requested", "refused", "keys_destroyed", "incomplete", "erased", "settled")
RANK = {state: rank for rank, state in enumerate(STATES)}
