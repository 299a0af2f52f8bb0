"""What a receiver takes, how long it waits, and which peers it believes: the named settings of the role."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from schemas.constants import DEADLETTER_MAX_BYTES, WEBHOOK_MAX_BYTES
from schemas.errors import ConfigurationError

Network = IPv4Network | IPv6Network

READ_S = 10.0
ANSWER_S = 5.0
ANSWER_MAX_S = 10.0
"""At a stop requests under way get so long to end; an answer must come before."""
REPLAY_S = 3_600.0
HEADERS_MAX = 100
HEADERS_MAX_BYTES = 32 * 1024
HEADERS_LEAST_BYTES = 256
AT_ONCE = 1_000
STRANGER_AT_ONCE = 200
FORGED_A_MINUTE = 300
HELD_MAX_BYTES = 256 * 1024 * 1024
NO_LIMIT = float("inf")
BASE64_GROWTH = 4 / 3
LETTER_SPARE_BYTES = 64 * 1024
"""What a dead letter holds besides the body."""
BODY_LARGEST_BYTES = int((DEADLETTER_MAX_BYTES - LETTER_SPARE_BYTES) / BASE64_GROWTH**3)
"""A body that cannot be read becomes a dead letter, in base64 three times over: as content, as ciphertext, as original bytes."""

assert WEBHOOK_MAX_BYTES <= BODY_LARGEST_BYTES


@dataclass(frozen=True, slots=True)
class ReceiverLimits:
    """Limits of one receiver. ConfigurationError names the setting that is out of its range."""

    body_max_bytes: int = WEBHOOK_MAX_BYTES
    """Largest body; above it 413."""
    headers_max: int = HEADERS_MAX
    """Most header fields of a request; above it 431."""
    headers_max_bytes: int = HEADERS_MAX_BYTES
    """Largest head of a request: path, query and headers; above it 431. An endless head would hold memory for ever."""
    read_s: float = READ_S
    """Longest a client may take to send the head of a request, and again its body; then 408. Slow clients would hold sockets and
    memory for ever."""
    answer_s: float = ANSWER_S
    """Longest a webhook may take from proof to answer; then 503. Providers give up and repeat after some seconds; an answer that
    comes later than they wait is worth nothing, and requests would pile up while Kafka is away."""
    at_once: int = AT_ONCE
    """Requests of one connection at one time; above it 503, and nothing of the request is read. Every provider repeats after a
    5xx; a 4xx (429 too) may tell it that the address is wrong, and some then switch the webhook off."""
    held_max_bytes: int = HELD_MAX_BYTES
    """Bodies held at one time by all connections; see `Shares`."""
    replay_s: float = REPLAY_S
    """Where the provider signs a time: oldest request taken; an older one is 403. Longer than a provider goes on repeating with
    the time of its first attempt, or webhooks of an outage would be lost."""
    forged_a_minute: int = FORGED_A_MINUTE
    """Requests without a right proof that one source may send to one connection in a minute; above it 429, and nothing is read;
    0: no limit. Secrets must not be tried without end."""
    stranger_at_once: int = STRANGER_AT_ONCE
    """Requests that one source may have under way at one connection before it has sent a right proof within the hour; all such
    sources together may have half of `at_once`. Above it 503. Without it anybody who knows the path holds every place of a
    connection with requests that do not end, and shuts its provider out."""
    trusted_proxies: tuple[Network, ...] = ()
    """Peers whose X-Forwarded-For is believed. Only the limits of forged requests and of strangers look at it; X-Forwarded-Proto
    is not read, for no answer depends on it."""

    def __post_init__(self) -> None:
        ranges: tuple[tuple[str, float, float, float], ...] = (
            ("WEBHOOK_BODY_BYTES", self.body_max_bytes, 1, BODY_LARGEST_BYTES),
            ("WEBHOOK_HEADERS", self.headers_max, 1, NO_LIMIT),
            ("WEBHOOK_HEADER_BYTES", self.headers_max_bytes, HEADERS_LEAST_BYTES, NO_LIMIT),
            ("WEBHOOK_READ_S", self.read_s, 0.001, NO_LIMIT),
            ("WEBHOOK_ANSWER_S", self.answer_s, 0.001, ANSWER_MAX_S),
            ("WEBHOOK_AT_ONCE", self.at_once, 1, NO_LIMIT),
            ("WEBHOOK_HELD_BYTES", self.held_max_bytes, self.body_max_bytes * 2, NO_LIMIT),
            ("WEBHOOK_REPLAY_S", self.replay_s, 0.001, NO_LIMIT),
            ("WEBHOOK_FORGED_A_MINUTE", self.forged_a_minute, 0, NO_LIMIT),
            ("WEBHOOK_STRANGER_AT_ONCE", self.stranger_at_once, 1, NO_LIMIT),
        )
        for name, value, least, most in ranges:
            if not least <= value <= most:
                words = f"at least {least:g}" + (f", at most {most:g}" if most != NO_LIMIT else "")
                raise ConfigurationError(f"SEALPOST_{name} must be {words}")


def read_networks(text: str) -> tuple[Network, ...]:
    """Addresses and networks (`10.0.0.0/8`) separated by commas; ConfigurationError when one is neither."""
    try:
        return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())
    except ValueError:
        raise ConfigurationError(
            "SEALPOST_TRUSTED_PROXIES must be addresses or networks separated by commas, as 10.0.0.0/8"
        ) from None


DEFAULTS = ReceiverLimits()
