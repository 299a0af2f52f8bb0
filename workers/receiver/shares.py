"""How much of a receiver one connection may use: requests and memory, so that its flood is no other's outage, and that of
strangers not the provider's.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Share:
    """What one connection uses now: by sources that have proved themselves, or by strangers (`of_strangers`)."""

    connection: str
    of_strangers: bool = False
    requests: int = 0
    held_bytes: int = 0
    by_source: dict[bytes, int] = field(default_factory=dict)
    """Requests of each stranger; empty where sources have proved themselves."""


class Shares:
    """The shares of all connections that have a request under way. For one event loop.

    Memory: a share may hold as much as is left free. One that floods holds half, n that flood hold 1/(n + 1) each, and as much
    always stays free for those who come.
    """

    def __init__(self, at_once: int, held_max_bytes: int, stranger_at_once: int) -> None:
        """`at_once`: requests of one connection, half of them at most of strangers; `stranger_at_once`: of one stranger;
        `held_max_bytes`: bodies of all."""
        self._at_once = at_once
        self._strangers_at_once = max(at_once // 2, 1)
        self._stranger_at_once = stranger_at_once
        self._held_max_bytes = held_max_bytes
        self._held_bytes = 0
        self._by_connection: dict[tuple[str, bool], Share] = {}

    def enter(self, connection: str, stranger: bytes | None = None) -> Share | None:
        """Begin a request, to be ended by `leave`; None when the connection, or this stranger, has as many as it may."""
        of_strangers = stranger is not None
        share = self._by_connection.get((connection, of_strangers)) or Share(connection, of_strangers)
        other = self._by_connection.get((connection, not of_strangers))
        if share.requests + (other.requests if other is not None else 0) >= self._at_once:
            return None
        if stranger is not None:
            under_way = share.by_source.get(stranger, 0)
            if share.requests >= self._strangers_at_once or under_way >= self._stranger_at_once:
                return None
            share.by_source[stranger] = under_way + 1
        share.requests += 1
        self._by_connection[connection, of_strangers] = share
        return share

    def leave(self, share: Share, held_bytes: int, stranger: bytes | None = None) -> None:
        """End a request that held so many bytes; `stranger` as it was at `enter`."""
        share.requests -= 1
        share.held_bytes -= held_bytes
        self._held_bytes -= held_bytes
        if stranger is not None:
            share.by_source[stranger] -= 1
            if not share.by_source[stranger]:
                del share.by_source[stranger]
        if not share.requests:
            del self._by_connection[share.connection, share.of_strangers]

    def hold(self, share: Share, count: int) -> bool:
        """Hold so many bytes more, until `leave`; False when the share now holds more than it may."""
        share.held_bytes += count
        self._held_bytes += count
        return share.held_bytes <= self._held_max_bytes - self._held_bytes
