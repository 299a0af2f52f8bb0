"""The catalogue of topics (DESIGN §5).

All subject-keyed topics have the same partition count, fixed for life, and the same partitioner (murmur2) in every client,
so that one subject is one partition number everywhere.
"""

from dataclasses import dataclass, field

from schemas.constants import DAY_S, DEADLETTER_MAX_BYTES, PRODUCTION, Times

EMBEDDED_PARTITIONS = 4
CLUSTER_PARTITIONS = 48
UNLIMITED = -1
MONTHS_13_S = 396 * DAY_S


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: its name, how long it is kept (seconds, -1 = for ever), its partitions (0 = the installation's count)."""

    name: str
    kept_s: int
    partitions: int = 0
    compact: bool = False
    config: dict[str, str] = field(default_factory=dict)


SUBSCRIPTIONS = "sealpost.subscriptions"
CONSENTS = "sealpost.consents"
MESSAGES = "sealpost.messages"
STATUSES = "sealpost.statuses"
DELETIONS = "sealpost.deletions"
TENANTS = "sealpost.tenants"
DEADLETTERS = "sealpost.deadletters"
INGRESS_KEYS = "sealpost.ingresskeys"
GUARDED = (CONSENTS, DELETIONS)
"""Topics in which a record that cannot be handled is never passed over: it stops or restricts (protocols §1)."""
CHANNELS = ("apple", "instagram", "messenger", "telegram", "whatsapp")
"""Channels whose topics are made; a channel's folder and its entry here come together."""

_DAY_SEGMENTS = {"segment.ms": str(DAY_S * 1000)}


def inbound(channel: str) -> str:
    """Topic of a channel's raw, sealed webhook fragments."""
    return f"sealpost.inbound.{channel}"


def outbound(channel: str, *, bulk: bool = False) -> str:
    """Topic of a channel's send commands: replies, or bulk."""
    return f"sealpost.outbound.{channel}.bulk" if bulk else f"sealpost.outbound.{channel}"


def catalogue(times: Times = PRODUCTION) -> tuple[Topic, ...]:
    """Every topic of an installation, kept as long as its times say: their relations hold only if Kafka keeps to them."""
    topics = [
        Topic(SUBSCRIPTIONS, UNLIMITED),
        Topic(CONSENTS, UNLIMITED),
        Topic(MESSAGES, MONTHS_13_S),
        Topic(STATUSES, MONTHS_13_S),
        Topic(DELETIONS, UNLIMITED),
        Topic(TENANTS, UNLIMITED, partitions=1),
        Topic(
            DEADLETTERS,
            round(times.day_key_s),
            config={**_DAY_SEGMENTS, "max.message.bytes": str(DEADLETTER_MAX_BYTES)},
        ),
        Topic(INGRESS_KEYS, 14 * DAY_S, partitions=1, compact=True),
    ]
    for channel in CHANNELS:
        topics.append(Topic(inbound(channel), round(times.inbound_kept_s), config=_DAY_SEGMENTS))
        topics.append(Topic(outbound(channel), round(times.outbound_kept_s)))
        topics.append(Topic(outbound(channel, bulk=True), round(times.outbound_kept_s)))
    return tuple(topics)
