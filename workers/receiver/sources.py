"""Where requests come from, so that forged ones can be made to stop. No address is kept, only keyed hashes."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from schemas import clock
from schemas.ids import HashKey, keyed_hash, random_bytes
from workers.receiver.limits import Network

KEPT_MAX = 20_000
"""Sources remembered of those that forged, and of those that proved; of more the one that was longest silent is forgotten. Apart,
for who has many addresses must not make us forget the provider's."""
MINUTE_S = 60.0
PROVED_S = 3_600.0
"""A source that sent a right proof so lately is no stranger, and is not refused unread: a provider's machines, or a proxy that
nobody declared, send for many, and forged requests among theirs must not cost a webhook."""
IPV6_PREFIX = 64
"""One customer of a network has that many bits for themselves."""
HOPS_MAX = 20
"""Entries of X-Forwarded-For looked at, from the end; a request goes through fewer proxies."""
NO_PEER = ""
_FORWARDED = b"x-forwarded-for"


def source_of(peer: str, headers: Sequence[tuple[bytes, bytes]], trusted: Sequence[Network]) -> str:
    """Whose request it is: the peer, or the nearest hop that no trusted proxy is. `headers`: names in lower case.

    Each proxy appends whom it got the request from, so only what trusted ones wrote counts, read from the end; what stands
    before it is the sender's own invention.
    """
    if not trusted and ":" not in peer:
        return peer
    source = _address(peer)
    if not trusted or not _is_trusted(source, trusted):
        return _grouped(source)
    said = b",".join(value for name, value in headers if name == _FORWARDED).decode("latin-1")
    for hop in reversed(said.rsplit(",", HOPS_MAX)[-HOPS_MAX:]):
        found = _address(hop)
        if found == NO_PEER:
            break
        source = found
        if not _is_trusted(source, trusted):
            break
    return _grouped(source)


def _address(text: str) -> str:
    """The address in its one form, an IPv4 one that was mapped into IPv6 as itself; NO_PEER when it is none."""
    try:
        found = ip_address(text.strip())
    except ValueError:
        return NO_PEER
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    return address != NO_PEER and any(ip_address(address) in network for network in trusted)


def _grouped(address: str) -> str:
    if ":" not in address:
        return address
    return str(ip_network(f"{address}/{IPV6_PREFIX}", strict=False))


@dataclass(slots=True)
class _Record:
    """What one source forged at one connection in the minute since `since_s`, on the boot clock."""

    since_s: float
    forged: int = 0


class Forgeries:
    """Counts requests without a right proof, by connection and source. For one event loop.

    By connection too: a tenant whose secret is wrong makes forgeries of its provider's webhooks, and the provider's machines
    serve the others as well.
    """

    def __init__(self, a_minute: int, *, kept_max: int = KEPT_MAX) -> None:
        """`a_minute`: how many one source may send to one connection; 0: no limit."""
        self._a_minute = a_minute
        self._kept_max = kept_max
        self._hash = HashKey(random_bytes(32))
        self._records: OrderedDict[bytes, _Record] = OrderedDict()
        self._proved_s: OrderedDict[bytes, float] = OrderedDict()

    def key(self, connection: str, source: str) -> bytes:
        """What a source is remembered by; another in every process."""
        return keyed_hash(self._hash, connection, source)

    def refuses(self, key: bytes) -> bool:
        """True when this source has sent too many in this minute, and nothing right for long."""
        record = self._records.get(key)
        if not self._a_minute or record is None or record.forged < self._a_minute:
            return False
        return clock.boot_s() < record.since_s + MINUTE_S and not self.has_proved(key)

    def has_proved(self, key: bytes) -> bool:
        """True when this source sent a right proof within the hour."""
        proved_s = self._proved_s.get(key)
        return proved_s is not None and clock.boot_s() < proved_s + PROVED_S

    def forged(self, key: bytes) -> None:
        """It sent one."""
        record = self._record(key)
        now_s = clock.boot_s()
        if now_s >= record.since_s + MINUTE_S:
            record.since_s, record.forged = now_s, 0
        record.forged += 1

    def proved(self, key: bytes) -> None:
        """It sent one with a right proof."""
        self._proved_s[key] = clock.boot_s()
        self._proved_s.move_to_end(key)
        if len(self._proved_s) > self._kept_max:
            self._proved_s.popitem(last=False)

    def _record(self, key: bytes) -> _Record:
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record(clock.boot_s())
            if len(self._records) > self._kept_max:
                self._records.popitem(last=False)
        self._records.move_to_end(key)
        return record
