"""Who may use the page: whoever has the address with the key that `sealpost up` printed, from the page itself.

It listens on loopback, where any web site open in the same browser and any other user of the machine can knock. So: the key, once
in the address and then in a cookie; only the host names of loopback (a name that was rebound to 127.0.0.1 is another host); and
nothing that another site's page asks for. Pure.
"""

import hmac
from collections.abc import Mapping
from enum import Enum

JSON = "application/json"
ENTRANCE = "/enter/"
"""The key follows."""


class Refused(Enum):
    """Why a request is not answered: HTTP status, and what to say."""

    HOST = (421, "This is the sandbox of a Sealpost on this machine; open it as 127.0.0.1 or localhost.")
    ORIGIN = (403, "Another site's page has asked for this; only the sandbox page itself may.")
    KEY = (401, "Open the address that `sealpost up` printed; it is `sandbox_url` in the ready file.")
    BODY = (415, "Only JSON is taken here.")

    @property
    def status(self) -> int:
        """HTTP status."""
        return int(self.value[0])

    @property
    def words(self) -> str:
        """What to do."""
        return str(self.value[1])


def cookie_name(port: int) -> str:
    """Cookies do not know ports: several instances side by side need a name each."""
    return f"sandbox-{port}"


def hosts(port: int) -> frozenset[str]:
    """The values of `Host` that are meant for this server."""
    return frozenset((f"127.0.0.1:{port}", f"localhost:{port}"))


def refused_before_key(method: str, headers: Mapping[str, str], port: int) -> Refused | None:
    """Who knocks: wrong host, other site, no JSON; None for nothing of it. `headers` finds names whatever their case."""
    host = headers.get("Host", "")
    if host not in hosts(port):
        return Refused.HOST
    if headers.get("Origin", f"http://{host}") != f"http://{host}":
        return Refused.ORIGIN
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return Refused.ORIGIN
    if method != "GET" and headers.get("Content-Type", "").partition(";")[0].strip() != JSON:
        return Refused.BODY
    return None


def has_key(given: str | None, key: str) -> bool:
    """Compared in a time that tells nothing."""
    return given is not None and hmac.compare_digest(given.encode(), key.encode())
