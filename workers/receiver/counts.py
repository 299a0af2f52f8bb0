"""The metrics of a receiver, their children resolved once."""

from collections.abc import Callable
from typing import Protocol

from prometheus_client import Counter

from schemas import clock
from schemas.metrics import counter, gauge, histogram

NO_CHANNEL = "unknown"
"""Label of requests for a path, channel or connection that does not exist: strangers choose paths, so they are no label."""


class _Child(Protocol):
    def inc(self, amount: float = 1) -> None:
        """Count."""


class Counts:
    """What a receiver counts."""

    def __init__(self) -> None:
        self._requests = _children(counter("sealpost_webhook_requests_total"))
        self._dropped = _children(counter("sealpost_webhook_dropped_total"))
        self._letters = _children(counter("sealpost_deadletters_total"))
        self._forged = _children(counter("sealpost_signature_failures_total"))
        self._refused = _children(counter("sealpost_webhook_refused_total"))
        self._seconds = histogram("sealpost_webhook_ack_seconds")
        self._seconds_of: dict[str, Callable[[float], None]] = {}
        self._stage = histogram("sealpost_stage_delay_seconds").labels("webhook")
        self._last = gauge("sealpost_webhook_last_received_timestamp_seconds")
        self._last_of: dict[str, Callable[[float], None]] = {}

    def answered(self, channel: str, code: int, seconds: float) -> None:
        """A request was answered with this HTTP status after so long."""
        self._requests(channel, str(code)).inc()
        observe = self._seconds_of.get(channel)
        if observe is None:
            observe = self._seconds_of[channel] = self._seconds.labels(channel).observe
        observe(seconds)

    def stored(self, seconds: float) -> None:
        """What a webhook held is in Kafka, so long after it had been read."""
        self._stage.observe(seconds)

    def authentic(self, connection: str) -> None:
        """An authentic webhook came for this connection, now."""
        put = self._last_of.get(connection)
        if put is None:
            put = self._last_of[connection] = self._last.labels(connection).set
        put(clock.now_ms() / clock.MS_PER_S)

    def forged(self, channel: str) -> None:
        """A proof was wrong or missing."""
        self._forged(channel).inc()

    def refused(self, channel: str, why: str) -> None:
        """A request was refused for this reason, a word of a fixed list."""
        self._refused(channel, why).inc()

    def cut_off(self, code: int) -> None:
        """A request whose head never ended was answered with this HTTP status."""
        self._requests(NO_CHANNEL, str(code)).inc()
        self.refused(NO_CHANNEL, "slow" if code == 408 else "headers")

    def dropped(self, channel: str, why: str, fragments: int) -> None:
        """So many fragments were answered 200 and not stored."""
        self._dropped(channel, why).inc(fragments)

    def dead_letter(self, role: str, reason: str) -> None:
        """A part of a webhook was dead-lettered."""
        self._letters(role, reason).inc()


def _children(metric: Counter) -> Callable[..., _Child]:
    made: dict[tuple[str, ...], _Child] = {}

    def child(*labels: str) -> _Child:
        found = made.get(labels)
        if found is None:
            found = made[labels] = metric.labels(*labels)
        return found

    return child
