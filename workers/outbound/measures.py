"""The `send` metrics of this role, children resolved once for each label."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import orjson
from prometheus_client import Counter, Gauge, Histogram

from schemas import topics
from schemas.metrics import counter, gauge, histogram
from streams.kafka.written import count_written
from streams.step.contract import Output


@cache
def result(channel: str, failure_class: str) -> Counter:
    """Answers of providers: `submitted`, a failure class, `unclear`, `no_answer` or `not_sent`."""
    return counter("sealpost_provider_results_total").labels(channel, failure_class)


@cache
def until_call(channel: str, bulk: bool) -> Histogram:
    """Seconds from the command's record to the provider call."""
    return histogram("sealpost_request_to_provider_seconds").labels(channel, "bulk" if bulk else "reply")


@cache
def stage(name: str) -> Histogram:
    """Seconds that a stage of the way takes."""
    return histogram("sealpost_stage_delay_seconds").labels(name)


@cache
def opened(result: str) -> Counter:
    """Sealed contents of commands: `plain`, `erased` (not opened, the person is erased) or `corrupt`."""
    return counter("sealpost_opens_total").labels(result)


@cache
def unknown(channel: str) -> Counter:
    """Calls whose outcome nobody knows, once the wait for the provider's status is over."""
    return counter("sealpost_send_outcome_unknown_total").labels(channel)


@cache
def duplicate(channel: str) -> Counter:
    """Second calls after an unknown outcome."""
    return counter("sealpost_send_duplicates_total").labels(channel)


def written(outputs: Iterable[Output]) -> None:
    """Counts the events and dead letters that were written."""
    count_written(outputs)
    for output in outputs:
        if output.topic == topics.DEADLETTERS:
            dead(orjson.loads(output.value)["reason"]).inc()


@cache
def dead(reason: str) -> Counter:
    """Commands that could not be handled."""
    return counter("sealpost_deadletters_total").labels("outbound", reason)


@cache
def pacing_wait(scope: str) -> Histogram:
    """Seconds that a message waits for the provider's rate: of the `account`, or of the `pair` of account and person."""
    return histogram("sealpost_pacing_wait_seconds").labels(scope)


@cache
def _parked(channel: str, why: str) -> Gauge:
    return gauge("sealpost_parked_messages").labels(channel, why)


@contextmanager
def parked(channel: str, why: str) -> Iterator[None]:
    """Counts a message as waiting for as long as the block runs."""
    child = _parked(channel, why)
    child.inc()
    try:
        yield
    finally:
        child.dec()
