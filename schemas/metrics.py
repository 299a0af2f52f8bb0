"""The catalogue of metrics: every name, kind, help text and label that Sealpost exports. Names are an interface.

`docs/metrics.md` is generated from here. No label ever names a person, an address, a message or a provider's id.
Resolve children once (`metric("…").labels(…)`), never per event.
"""

from dataclasses import dataclass
from typing import Literal

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

Kind = Literal["counter", "gauge", "histogram"]
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `unit` is part of the name already and stands here for the documentation."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS


CATALOGUE: tuple[Metric, ...] = (
    Metric("sealpost_webhook_requests_total", "counter", "Webhook requests answered.", ("channel", "code")),
    Metric("sealpost_webhook_ack_seconds", "histogram", "Webhook received until answered.", ("channel",)),
    Metric(
        "sealpost_webhook_last_received_timestamp_seconds",
        "gauge",
        "Last authentic webhook.",
        ("connection",),
    ),
    Metric(
        "sealpost_webhook_dropped_total",
        "counter",
        "Fragments answered 200 and not stored.",
        ("channel", "why"),
    ),
    Metric(
        "sealpost_webhook_refused_total",
        "counter",
        "Webhook requests refused. Over a limit: headers, body, slow, busy, memory, forgeries; by its signed time: replayed,"
        " ahead; by its proof: the channel's reason.",
        ("channel", "why"),
    ),
    Metric(
        "sealpost_signature_failures_total",
        "counter",
        "Webhooks with a wrong or missing proof.",
        ("channel",),
    ),
    Metric(
        "sealpost_http_requests_total",
        "counter",
        "Requests to the API and the public pages answered. `route` is the template, or other.",
        ("route", "method", "code"),
    ),
    Metric(
        "sealpost_http_request_seconds",
        "histogram",
        "Request to the API or a public page received until its answer begins.",
        ("route", "method"),
    ),
    Metric("sealpost_consumer_lag_records", "gauge", "Records between position and end.", ("role", "topic")),
    Metric(
        "sealpost_consumer_lag_seconds",
        "gauge",
        "While records wait: age of the last one handled; in outbound, of the oldest unfinished one.",
        ("role", "topic"),
    ),
    Metric(
        "sealpost_stage_delay_seconds",
        "histogram",
        "webhook: read until in Kafka; inbound: raw record until its events; permit: command until permit; provider: permit until"
        " answer; projection: event until shown. inbound and projection observe the oldest record of a batch.",
        ("stage",),
    ),
    Metric("sealpost_events_total", "counter", "Events written.", ("topic", "type")),
    Metric("sealpost_repeats_dropped_total", "counter", "Events handled before and dropped.", ("role",)),
    Metric("sealpost_deadletters_total", "counter", "Records that could not be handled.", ("role", "class")),
    Metric("sealpost_deadletters_waiting", "gauge", "Dead letters that can still be replayed."),
    Metric("sealpost_steps_total", "counter", "Steps committed.", ("role",)),
    Metric("sealpost_takeovers_total", "counter", "Partitions taken over.", ("role",)),
    Metric("sealpost_inbound_values_total", "counter", "Values parsed from webhooks.", ("channel", "kind")),
    Metric(
        "sealpost_inbound_dropped_total", "counter", "Inbound values dropped on purpose.", ("channel", "why")
    ),
    Metric("sealpost_permits_total", "counter", "Permits asked for.", ("outcome", "reason", "tenant")),
    Metric(
        "sealpost_requests_total", "counter", "Requests taken by the intake.", ("door", "outcome", "tenant")
    ),
    Metric(
        "sealpost_optin_steps_total", "counter", "Steps of the double opt-in.", ("entry", "step", "tenant")
    ),
    Metric(
        "sealpost_request_to_provider_seconds", "histogram", "Request to provider call.", ("channel", "lane")
    ),
    Metric("sealpost_provider_request_seconds", "histogram", "One call to a provider.", ("channel",)),
    Metric(
        "sealpost_provider_results_total", "counter", "Answers of providers by class.", ("channel", "class")
    ),
    Metric("sealpost_sends_in_flight", "gauge", "Calls to providers under way.", ("channel",)),
    Metric("sealpost_lanes", "gauge", "Lanes with unfinished messages."),
    Metric("sealpost_parked_messages", "gauge", "Messages that wait.", ("channel", "why")),
    Metric(
        "sealpost_send_outcome_unknown_total", "counter", "Calls whose outcome stayed unknown.", ("channel",)
    ),
    Metric(
        "sealpost_send_duplicates_total", "counter", "Second calls after an unknown outcome.", ("channel",)
    ),
    Metric("sealpost_account_state", "gauge", "1 for the state an account is in.", ("account", "state")),
    Metric("sealpost_pacing_wait_seconds", "histogram", "Waits for the provider's rate.", ("scope",)),
    Metric("sealpost_lease_seconds", "histogram", "Time to lease keys from the vault."),
    Metric("sealpost_opens_total", "counter", "Sealed blocks opened.", ("result",)),
    Metric("sealpost_erasures_open", "gauge", "Erasures requested and not finished."),
    Metric("sealpost_erasure_seconds", "histogram", "Stages of erasure, from T0.", ("stage",)),
    Metric(
        "sealpost_withdrawal_effect_seconds",
        "histogram",
        "The raw record of a person's stop until the vault refuses; calls under way end 25 s later at the latest.",
    ),
    Metric("sealpost_erasures_incomplete", "gauge", "Erasures whose receipts are overdue."),
    Metric("sealpost_projection_freshness_seconds", "gauge", "Age of the newest event shown.", ("model",)),
    Metric("sealpost_build_info", "gauge", "1, with the version as label.", ("version",)),
    Metric("sealpost_role_ready", "gauge", "1 when the role serves.", ("role",)),
    Metric("sealpost_component_up", "gauge", "1 when a part this role needs answers.", ("component",)),
)
_BY_NAME = {metric.name: metric for metric in CATALOGUE}
_MADE: dict[tuple[str, int], Counter | Gauge | Histogram] = {}


def counter(name: str, registry: CollectorRegistry = REGISTRY) -> Counter:
    """The counter of this name; KeyError when the catalogue does not have it."""
    made = _make(name, registry)
    assert isinstance(made, Counter)
    return made


def gauge(name: str, registry: CollectorRegistry = REGISTRY) -> Gauge:
    """The gauge of this name; KeyError when the catalogue does not have it."""
    made = _make(name, registry)
    assert isinstance(made, Gauge)
    return made


def histogram(name: str, registry: CollectorRegistry = REGISTRY) -> Histogram:
    """The histogram of this name; KeyError when the catalogue does not have it."""
    made = _make(name, registry)
    assert isinstance(made, Histogram)
    return made


def _make(name: str, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    key = (name, id(registry))
    if key not in _MADE:
        entry = _BY_NAME[name]
        if entry.kind == "counter":
            _MADE[key] = Counter(entry.name, entry.help, entry.labels, registry=registry)
        elif entry.kind == "gauge":
            _MADE[key] = Gauge(entry.name, entry.help, entry.labels, registry=registry)
        else:
            _MADE[key] = Histogram(
                entry.name, entry.help, entry.labels, registry=registry, buckets=entry.buckets
            )
    return _MADE[key]
