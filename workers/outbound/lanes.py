"""Lanes: all messages of one (account, subject) and kind, strictly one after the other."""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class Lanes(Generic[Key, Item]):
    """Queues by key, each with one head at work. Pure: who runs a lane is the caller's business.

    `add` says when a lane comes to life, `done` when it has nothing left; between the two exactly one runner may ask for the
    head. A lane exists only while it holds something.
    """

    def __init__(self) -> None:
        self._queues: dict[Key, deque[Item]] = {}

    def __len__(self) -> int:
        return len(self._queues)

    def add(self, key: Key, item: Item) -> bool:
        """Append; True when the lane was empty, so that a runner must be started for it."""
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = deque((item,))
            return True
        queue.append(item)
        return False

    def head(self, key: Key) -> Item:
        """The message whose turn it is; KeyError when the lane is empty."""
        return self._queues[key][0]

    def done(self, key: Key) -> bool:
        """Remove the head; True when another message follows it. KeyError when the lane is empty."""
        queue = self._queues[key]
        queue.popleft()
        if queue:
            return True
        del self._queues[key]
        return False
