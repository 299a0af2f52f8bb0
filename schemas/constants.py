"""Every time limit and size of Sealpost in one place (protocols §9).

A limit stands here with its unit in its name, what it bounds and what breaks without it. Relations between limits are
asserted when this module is imported and whenever a `Times` is made; tests shorten limits through the environment
(`SEALPOST_<NAME>`), never by patching.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from schemas.errors import ConfigurationError

DAY_S = 86_400
T2_MARGIN_S = 1.0
"""Added to the lease life: a lease is noted before the call that grants it, and clocks are read in different places."""
FORMAT_VERSION = 1
"""First part of the associated data of every sealed block; another layout is another version."""

PADDING_BYTES = 64
"""Plaintexts are padded to a multiple of this, so that sizes tell little."""

EVENT_MAX_BYTES = 900_000
"""Largest record an engine writes; above it an output is a dead letter when it is made, never a blocked outbox."""

DEADLETTER_MAX_BYTES = 8 * 1024 * 1024
"""Largest dead letter: it holds the original bytes in base64, so it may be larger than any record of an engine."""

WEBHOOK_MAX_BYTES = 3 * 1024 * 1024
"""Largest webhook body: WhatsApp payloads may reach 3 MB."""

BROKER_ANSWER_S = 10.0
"""A broker that has not answered a request for so long is left, and the partition's leader is looked up anew. A frozen leader
keeps its connections open: without a limit of ours librdkafka waits for it a minute, long after another broker leads."""

BATCH_RECORDS = 1_000
"""Records of one step; more gains little, costs latency and memory."""


@dataclass(frozen=True, slots=True)
class Times:
    """The time limits of one installation, in seconds."""

    lease_s: float = 60.0
    """Life of the right to hold a key. T2 = T1 + this + 1 s."""
    lease_outbound_s: float = 15.0
    """Life of a permit's keys. Sends end at T1 + this + http_s."""
    http_s: float = 10.0
    """One call to a provider. Without it a hanging provider holds a claim for ever."""
    claim_margin_s: float = 1.0
    """Between the last moment a worker may still call and the first at which another may take its claim over."""
    session_s: float = 10.0
    """Kafka session: how long a killed member keeps its partitions."""
    echo_s: float = 60.0
    """How long an unknown outcome waits for the provider's status before it is repeated or ends as unknown."""
    status_parked_s: float = 900.0
    """How long a status of an unknown message is kept."""
    follower_behind_s: float = 10.0
    """Role vault may be this far behind before permits that need consent wait."""
    basis_wait_s: float = 30.0
    """How long a message waits for the consent or the settings it names."""
    optin_s: float = 7.0 * DAY_S
    """An opt-in that is not confirmed dies after this."""
    ttl_default_s: float = 1.0 * DAY_S
    """A message expires after this when its request says nothing."""
    ttl_max_s: float = 6.0 * DAY_S
    """Longest life of a message: nothing outside this horizon is ever sent, whatever is replayed."""
    horizon_s: float = 9.0 * DAY_S
    """How long claims, outcomes, seen ids and requests are kept."""
    inbound_kept_s: float = 7.0 * DAY_S
    """Retention of the inbound topics."""
    day_key_s: float = 9.0 * DAY_S
    """Day keys die this long after the end of their day."""
    outbound_kept_s: float = 8.0 * DAY_S
    """Retention of the outbound topics; nothing unsent may be deleted by age."""
    window_s: float = 24.0 * 3600
    """Free-form content may be sent this long after the person's last message."""
    window_margin_s: float = 60.0
    """Kept free before the end of the window, for clocks that differ."""
    erasure_incomplete_s: float = 1.0 * DAY_S
    """Purge receipts missing after this are reported."""
    clock_skew_s: float = 300.0
    """Largest difference between a request's time and the broker's."""
    evidence_untied_s: float = 30.0 * DAY_S
    """Evidence that no consent names is destroyed after this."""

    def __post_init__(self) -> None:
        require = self._require
        require(
            self.ttl_max_s < self.horizon_s,
            "ttl_max_s must be below horizon_s: claims must outlive every message",
        )
        require(
            self.ttl_max_s + self.status_parked_s < self.outbound_kept_s,
            "ttl_max_s + status_parked_s must be below outbound_kept_s: Kafka would delete unsent commands",
        )
        require(self.ttl_default_s <= self.ttl_max_s, "ttl_default_s must not exceed ttl_max_s")
        require(self.inbound_kept_s < self.day_key_s, "day keys must outlive the inbound topics they open")
        require(
            self.lease_outbound_s <= self.lease_s,
            "lease_outbound_s must not exceed lease_s: T2 is computed from lease_s",
        )
        require(self.window_margin_s < self.window_s, "window_margin_s must be below window_s")

    @staticmethod
    def _require(holds: bool, words: str) -> None:
        if not holds:
            raise ConfigurationError(words)

    @property
    def leases_over_s(self) -> float:
        """From T1 to T2: after it nothing sealed with the subject's keys opens."""
        return self.lease_s + T2_MARGIN_S

    @property
    def takeover_s(self) -> float:
        """Age at which an open claim of another worker is unknown: lease + HTTP limit + margin."""
        return self.lease_outbound_s + self.http_s + self.claim_margin_s

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], otherwise: Mapping[str, float] | None = None
    ) -> "Times":
        """Each `SEALPOST_<NAME>` where set, else what `otherwise` says, else the default; ConfigurationError names what is
        not a number."""
        names = {field.name for field in fields(cls)}
        values = {name: seconds for name, seconds in (otherwise or {}).items() if name in names}
        for field in fields(cls):
            text = environment.get(f"SEALPOST_{field.name.upper()}")
            if text is None:
                continue
            try:
                values[field.name] = float(text)
            except ValueError:
                raise ConfigurationError(
                    f"SEALPOST_{field.name.upper()} is not a number of seconds"
                ) from None
        return cls(**values)


PRODUCTION = Times()

AGREED_TIMES = ("lease_s", "lease_outbound_s", "http_s", "claim_margin_s", "echo_s", "horizon_s", "day_key_s")
"""Times from which one process concludes what another may still do or hold: the vault records them, and every role compares at
its start. With others T2 would be stated before a lease has ended, or a claim taken over whose call still runs."""
