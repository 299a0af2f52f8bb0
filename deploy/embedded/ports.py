"""Loopback ports of a data folder: the same ones at the next start whenever they are still free.

Ports are taken from blocks, and a process that takes from a block locks it for as long as it lives: between the choice of a
port and the moment in which a part listens on it, and while a part is being started anew, no other instance may take it.

They lie below the range from which the system takes ports for outgoing connections. From inside it, a
client that tries to reach a part which is just restarting can be given that very port as its own and connect to itself;
the part could then never listen again.
"""

import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from schemas.errors import ConfigurationError

HOST = "127.0.0.1"
PORTS_FILE = "ports.json"
LOWEST_PORT = 15_000
OUTGOING_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
OUTGOING_DEFAULT = 32_768
BLOCK = 50
_locks: dict[int, int] = {}
"""Block (port // BLOCK) → descriptor of its lock file. Children do not inherit it."""
_given: set[int] = set()


class PortTaken(ConfigurationError):
    """A port that was asked for is in use; give another --port-base, or 0 for free ports."""


def is_free(port: int) -> bool:
    """True when a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def choose(names: Sequence[str], data: Path, base: int = 0) -> dict[str, int]:
    """A port for every name, remembered in the data folder.

    With a base: base, base + 1, … in the order of the names; PortTaken when one is in use. With 0: the remembered ports
    where they are still free, other free ones for the rest.
    """
    chosen = _from_base(names, base) if base else _free(names, data)
    _remember(data, chosen)
    return chosen


def _from_base(names: Sequence[str], base: int) -> dict[str, int]:
    chosen = {name: base + place for place, name in enumerate(names)}
    for name, port in chosen.items():
        if not is_free(port):
            raise PortTaken(f"port {port} ({name}) is in use")
    return chosen


def _free(names: Sequence[str], data: Path) -> dict[str, int]:
    known = _remembered(data)
    chosen = {
        name: known[name]
        for name in names
        if name in known and _is_ours(known[name] // BLOCK) and is_free(known[name])
    }
    candidates = _candidates(data)
    for name in names:
        if name not in chosen:
            taken = set(chosen.values()) | set(known.values())
            chosen[name] = next(port for port in candidates if port not in taken and is_free(port))
    _given.update(chosen.values())
    return chosen


def _candidates(data: Path) -> Iterator[int]:
    """Ports that this process has not given to anything yet, then, when there are no more, those that it has."""
    blocks = [*_locks, *(block for block in _blocks(data) if block not in _locks)]
    ports = [port for block in blocks for port in range(block * BLOCK, (block + 1) * BLOCK)]
    for again in (False, True):
        yield from (port for port in ports if (port in _given) == again and _is_ours(port // BLOCK))


def _blocks(data: Path) -> list[int]:
    """All blocks, beginning at a place given by folder and process."""
    first, count = LOWEST_PORT // BLOCK, (_outgoing_from() - LOWEST_PORT) // BLOCK
    place = int.from_bytes(sha256(f"{data.resolve()} {os.getpid()}".encode()).digest()[:8], "big")
    return [first + (place + step) % count for step in range(count)]


def _is_ours(block: int) -> bool:
    """True when this process holds the block; it then does until it ends."""
    if block in _locks:
        return True
    folder = Path(tempfile.gettempdir()) / f"sealpost-ports-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder / str(block), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{folder}: {error.strerror}; it keeps instances from taking one port"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    _locks[block] = descriptor
    return True


def _outgoing_from() -> int:
    try:
        first = int(OUTGOING_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = OUTGOING_DEFAULT
    # A machine whose range begins this low leaves nothing below it; then any port has to do.
    return first if first > LOWEST_PORT + 1_000 else 65_536


def _remembered(data: Path) -> dict[str, int]:
    try:
        content = json.loads((data / PORTS_FILE).read_text())
    except (OSError, ValueError):
        return {}  # a memory, not data: without it other ports are chosen
    if not isinstance(content, dict):
        return {}
    return {str(name): port for name, port in content.items() if isinstance(port, int)}


def _remember(data: Path, chosen: dict[str, int]) -> None:
    data.mkdir(parents=True, exist_ok=True)
    (data / PORTS_FILE).write_text(json.dumps({**_remembered(data), **chosen}, indent=2))
