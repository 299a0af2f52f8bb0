"""How far a partition may be committed: never beyond its lowest unfinished message."""

import threading
from collections import deque


class Watermark:
    """Offsets of one partition that were taken and not finished.

    The poll thread takes and asks for the position, the event loop finishes: hence the lock. Offsets are taken in rising
    order and may have gaps (control records).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._order: deque[int] = deque()
        self._open: dict[int, tuple[int, int]] = {}
        self._next: int | None = None
        self._bytes = 0

    def take(self, offset: int, size: int = 0, time_ms: int = 0) -> None:
        """A message of `size` bytes and this broker time was read; ValueError when the offset is not above all before it."""
        with self._lock:
            if self._next is not None and offset < self._next:
                raise ValueError("offsets of a partition must rise")
            self._order.append(offset)
            self._open[offset] = (size, time_ms)
            self._bytes += size
            self._next = offset + 1

    def finish(self, offset: int) -> None:
        """A message needs nothing any more; ValueError when it was not taken or is finished already."""
        with self._lock:
            taken = self._open.pop(offset, None)
            if taken is None:
                raise ValueError("this offset is not open")
            self._bytes -= taken[0]
            while self._order and self._order[0] not in self._open:
                self._order.popleft()

    def position(self) -> int | None:
        """The offset to go on from after a restart: all below it are finished. None when nothing was taken yet."""
        with self._lock:
            return self._order[0] if self._order else self._next

    def oldest_ms(self) -> int | None:
        """Broker time of the lowest unfinished message; None when there is none."""
        with self._lock:
            return self._open[self._order[0]][1] if self._order else None

    def unfinished(self) -> int:
        """Messages that memory holds."""
        return len(self._open)

    def size(self) -> int:
        """Bytes of the messages that memory holds."""
        return self._bytes

    def span(self) -> int:
        """Messages from the lowest unfinished one to the newest: what a crash makes Kafka deliver again."""
        return len(self._order)
