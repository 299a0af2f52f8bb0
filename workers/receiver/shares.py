"""How much of a receiver one connection may use: requests and memory, so that its flood is no other's outage."""

from dataclasses import dataclass


@dataclass(slots=True)
class Share:
    """What one connection uses now."""

    connection: str
    requests: int = 0
    held_bytes: int = 0


class Shares:
    """The shares of all connections that have a request under way. For one event loop.

    Memory: a connection may hold as much as is left free. One that floods holds half, n that flood hold 1/(n + 1) each, and
    as much always stays free for those who come.
    """

    def __init__(self, at_once: int, held_max_bytes: int) -> None:
        """`at_once`: requests of one connection; `held_max_bytes`: bodies of all."""
        self._at_once = at_once
        self._held_max_bytes = held_max_bytes
        self._held_bytes = 0
        self._by_connection: dict[str, Share] = {}

    def enter(self, connection: str) -> Share | None:
        """Begin a request, to be ended by `leave`; None when the connection has as many as it may."""
        share = self._by_connection.get(connection)
        if share is None:
            share = self._by_connection[connection] = Share(connection)
        if share.requests >= self._at_once:
            return None
        share.requests += 1
        return share

    def leave(self, share: Share, held_bytes: int) -> None:
        """End a request that held so many bytes."""
        share.requests -= 1
        share.held_bytes -= held_bytes
        self._held_bytes -= held_bytes
        if not share.requests:
            del self._by_connection[share.connection]

    def hold(self, share: Share, count: int) -> bool:
        """Hold so many bytes more, until `leave`; False when the connection now holds more than it may."""
        share.held_bytes += count
        self._held_bytes += count
        return share.held_bytes <= self._held_max_bytes - self._held_bytes
